//! The names of measures of rankings.

use std::fmt;

/// What is measured; see [`Measure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Ndcg,
    Recall,
    AveragePrecision,
    ReciprocalRank,
    Precision,
}

impl Kind {
    const ALL: [Kind; 5] =
        [Kind::Ndcg, Kind::Recall, Kind::AveragePrecision, Kind::ReciprocalRank, Kind::Precision];

    /// The name in ir-measures.
    fn name(self) -> &'static str {
        match self {
            Kind::Ndcg => "nDCG",
            Kind::Recall => "R",
            Kind::AveragePrecision => "AP",
            Kind::ReciprocalRank => "RR",
            Kind::Precision => "P",
        }
    }

    /// The names in trec_eval of the measure without and with a cutoff.
    fn trec_names(self) -> (Option<&'static str>, Option<&'static str>) {
        match self {
            Kind::Ndcg => (Some("ndcg"), Some("ndcg_cut")),
            Kind::Recall => (None, Some("recall")),
            Kind::AveragePrecision => (Some("map"), Some("map_cut")),
            Kind::ReciprocalRank => (Some("recip_rank"), None),
            Kind::Precision => (None, Some("P")),
        }
    }

    fn needs_cutoff(self) -> bool {
        matches!(self, Kind::Recall | Kind::Precision)
    }
}

/// A measure of a ranking, by the name it has in ir-measures, or the one in trec_eval:
///
/// | here | trec_eval | what |
/// |---|---|---|
/// | `nDCG@10`, `nDCG` | `ndcg_cut_10`, `ndcg` | normalised discounted cumulative gain |
/// | `R@100` | `recall_100` | share of the relevant documents that is found |
/// | `AP`, `AP@100` | `map`, `map_cut_100` | average precision; its mean is MAP |
/// | `RR`, `RR@10` | `recip_rank` | one over the rank of the first relevant document |
/// | `P@30` | `P_30` | share of the documents that is relevant |
///
/// `(rel=2)` behind the name, as in `P(rel=2)@5`, makes documents relevant from 2 on; nDCG has
/// gains instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Measure {
    kind: Kind,
    relevant_from: i64,
    cutoff: Option<usize>,
}

/// A name that no measure has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is no measure: {problem}")]
pub struct MeasureError {
    /// What was written.
    pub name: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// What names look like, for messages.
const EXPECTED: &str = "expected nDCG@10, R@100, AP, RR, P@30 or the like";

impl Measure {
    /// Parses a name.
    ///
    /// # Errors
    /// Another name, with the nearest one; a cutoff that is missing, 0 or no number.
    pub fn parse(name: &str) -> Result<Measure, MeasureError> {
        let failed = |problem| MeasureError { name: name.to_owned(), problem };
        let (head, cutoff) = split_cutoff(name);
        let (head, relevant_from) = split_relevance(head).map_err(failed)?;
        let cutoff = match cutoff {
            None => None,
            Some(digits) => match digits.parse::<usize>() {
                Ok(cutoff) if cutoff > 0 => Some(cutoff),
                _ => return Err(failed(format!("found the cutoff '{digits}'; {EXPECTED}"))),
            },
        };
        let named = |kind: &Kind| {
            let (without, with) = kind.trec_names();
            let trec = if cutoff.is_some() { with } else { without };
            head == kind.name() || Some(head) == trec
        };
        let Some(kind) = Kind::ALL.into_iter().find(named) else {
            return Err(failed(suggestion(head, cutoff)));
        };
        if kind.needs_cutoff() && cutoff.is_none() {
            let example = Measure { kind, relevant_from, cutoff: Some(10) };
            return Err(failed(format!("it needs a cutoff; did you mean '{example}'?")));
        }
        if kind == Kind::Ndcg && relevant_from != 1 {
            return Err(failed("nDCG has gains and no least relevance; leave (rel=..) out".into()));
        }
        Ok(Measure { kind, relevant_from, cutoff })
    }

    pub(super) fn kind(self) -> Kind {
        self.kind
    }

    /// Returns the relevance from which on a document counts as relevant.
    pub fn relevant_from(self) -> i64 {
        self.relevant_from
    }

    /// Returns how many documents of a ranking count; `None`: all.
    pub fn cutoff(self) -> Option<usize> {
        self.cutoff
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if self.relevant_from != 1 {
            write!(f, "(rel={})", self.relevant_from)?;
        }
        self.cutoff.map_or(Ok(()), |cutoff| write!(f, "@{cutoff}"))
    }
}

/// Returns a name without its cutoff, and that: behind `@`, or as trec_eval has it.
fn split_cutoff(name: &str) -> (&str, Option<&str>) {
    if let Some((head, cutoff)) = name.split_once('@') {
        return (head, Some(cutoff));
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match name.rsplit_once(['_', '.']) {
        Some((head, cutoff)) if is_number(cutoff) => (head, Some(cutoff)),
        _ => (name, None),
    }
}

/// Returns a name without `(rel=..)`, and the relevance.
fn split_relevance(head: &str) -> Result<(&str, i64), String> {
    let Some((name, rest)) = head.split_once('(') else { return Ok((head, 1)) };
    let number = rest.strip_suffix(')').and_then(|rest| rest.trim().strip_prefix("rel="));
    match number.and_then(|digits| digits.trim().parse().ok()) {
        Some(relevance) if relevance > 0 => Ok((name, relevance)),
        _ => Err(format!("found '({rest}'; expected (rel=N) with N from 1 on")),
    }
}

/// Returns what may have been meant by another name.
fn suggestion(head: &str, cutoff: Option<usize>) -> String {
    // Names that others use for the same.
    const ALIASES: [(&str, Kind); 8] = [
        ("ndcg", Kind::Ndcg),
        ("recall", Kind::Recall),
        ("map", Kind::AveragePrecision),
        ("average_precision", Kind::AveragePrecision),
        ("mrr", Kind::ReciprocalRank),
        ("recip_rank", Kind::ReciprocalRank),
        ("precision", Kind::Precision),
        ("prec", Kind::Precision),
    ];
    let lower = head.to_lowercase();
    let names = Kind::ALL.map(|kind| (kind.name(), kind));
    let all = || names.iter().chain(&ALIASES).copied();
    let alias = all().find(|(name, _)| name.to_lowercase() == lower);
    let near = crate::diag::did_you_mean(head, all().map(|(name, _)| name));
    let meant = alias.or_else(|| all().find(|(name, _)| Some(*name) == near));
    let Some((_, kind)) = meant.filter(|_| !head.is_empty()) else { return EXPECTED.to_owned() };
    let cutoff = cutoff.or(kind.needs_cutoff().then_some(10));
    format!("did you mean '{}'?", Measure { kind, relevant_from: 1, cutoff })
}
