//! Several rankings made one.

use std::collections::BTreeMap;

/// The constant of the paper: how little the first ranks are above the next ones.
pub const FUSION_CONSTANT: f64 = 60.0;

/// Why rankings cannot be fused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FusionError {
    /// A document stands twice in one ranking.
    #[error(
        "ranking {ranking} (they count from 1) has '{document}' at ranks {first} and {second}; \
         keep the better one"
    )]
    RankedTwice {
        /// The ranking, from 1.
        ranking: usize,
        /// The document.
        document: String,
        /// Its better rank.
        first: usize,
        /// Its other rank.
        second: usize,
    },
    /// The constant is not a number from 0 on.
    #[error("the constant of the fusion is {found}; expected a number from 0 to 1000000")]
    Constant {
        /// What it is.
        found: f64,
    },
}

/// Returns all documents of the rankings by reciprocal rank fusion, the best first, each with the
/// sum of 1 / (constant + rank) over the rankings it stands in; ranks count from 1 (Cormack, Clarke
/// and Büttcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
/// methods", with a constant of 60, [`FUSION_CONSTANT`]).
///
/// Of equal sums the lower identifier comes first. A document's parts are summed from the largest
/// to the smallest, so that the order of the rankings does not show, to the last bit.
///
/// # Errors
/// `RankedTwice`; `Constant`.
pub fn fuse<Id: Ord + Copy + std::fmt::Display>(
    rankings: &[&[Id]],
    constant: f64,
) -> Result<Vec<(Id, f64)>, FusionError> {
    if !(0.0..=1e6).contains(&constant) {
        return Err(FusionError::Constant { found: constant });
    }
    let mut ranks: BTreeMap<Id, Vec<(usize, usize)>> = BTreeMap::new();
    for (ranking, ids) in (1..).zip(rankings) {
        for (rank, id) in (1..).zip(*ids) {
            let of_document = ranks.entry(*id).or_default();
            if let Some((_, first)) = of_document.last().filter(|(last, _)| *last == ranking) {
                return Err(FusionError::RankedTwice {
                    ranking,
                    document: id.to_string(),
                    first: *first,
                    second: rank,
                });
            }
            of_document.push((ranking, rank));
        }
    }
    let sum = |(id, ranks): (Id, Vec<(usize, usize)>)| {
        let mut ranks: Vec<usize> = ranks.into_iter().map(|(_, rank)| rank).collect();
        ranks.sort_unstable();
        (id, ranks.iter().map(|rank| 1.0 / (constant + *rank as f64)).sum())
    };
    let mut fused: Vec<(Id, f64)> = ranks.into_iter().map(sum).collect();
    // Stable: identifiers of equal sums stay in their order.
    fused.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(fused)
}
