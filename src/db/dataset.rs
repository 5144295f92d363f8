//! Datasets: frozen selections of sub-trajectories.

use std::collections::{HashMap, HashSet};

use super::DbError;
use super::database::Database;
use crate::codec::{DatasetRecord, DatasetRow};
use crate::store::View;

/// Rows whose trajectories are looked up together.
pub(super) const NAMED: usize = 4_096;

/// One selected sub-trajectory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewRow {
    /// The trajectory's ordinal.
    pub trajectory: u64,
    /// The step; `None`: all steps of the trajectory.
    pub step: Option<u32>,
    /// The reward it is saved with; of a pair 1 (chosen) and 0.
    pub reward: Option<f64>,
    /// The pair that it is a side of, from 0.
    pub pair: Option<u64>,
}

/// A selection and where it comes from.
pub struct DatasetDraft<'a> {
    /// The name it gets.
    pub name: &'a str,
    /// The statement as typed.
    pub statement: &'a str,
    /// The seeds that the statement names.
    pub seeds: Vec<u64>,
    /// The labels that the statement uses, as `name@judge`.
    pub judges: Vec<String>,
    /// Trajectories left out because a step had no label.
    pub undecided: u64,
    /// Whether a row may come twice.
    pub with_duplicates: bool,
    /// The time, in microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
    /// The version of the program.
    pub program: &'a str,
}

impl Database {
    /// Saves a selection made on `view` under a name, for ever.
    ///
    /// # Errors
    /// [`DbError::Selection`] for no rows, rows that come twice, or steps that do not exist; a
    /// name that is taken.
    pub fn save_dataset(
        &self,
        view: &View,
        draft: DatasetDraft<'_>,
        rows: &[NewRow],
    ) -> Result<DatasetRecord, DbError> {
        let rows = pin(view, rows)?;
        if rows.is_empty() {
            return Err(DbError::Selection("the selection is empty: nothing was saved".into()));
        }
        let mut seen = HashSet::with_capacity(rows.len());
        let twice = rows.iter().find(|r| !seen.insert((r.trajectory, r.step, r.pair)));
        if let Some(row) = twice.filter(|_| !draft.with_duplicates) {
            let header = view.headers(&[row.trajectory])?;
            let id = header.first().map_or("", |h| h.id.as_str());
            return Err(DbError::Selection(format!(
                "step {} of '{id}' comes more than once; SAVE AS {} WITH DUPLICATES keeps it so",
                row.step, draft.name
            )));
        }
        let trajectories: HashSet<u64> = rows.iter().map(|r| r.trajectory).collect();
        let record = DatasetRecord {
            name: draft.name.to_owned(),
            statement: draft.statement.to_owned(),
            sequence: view.sequence(),
            seeds: draft.seeds,
            saw_gold: saw_gold(view, &draft.judges),
            judges: draft.judges,
            rows: rows.len() as u64,
            trajectories: trajectories.len() as u64,
            undecided: draft.undecided,
            hash: dataset_hash(view, &rows)?,
            created_at: draft.created_at,
            horizon: Some(view.horizon()),
            program: Some(draft.program.to_owned()),
            origin: None,
        };
        self.store().save_dataset(&record, &rows)?;
        Ok(record)
    }
}

/// Returns the rows with their content hashes, one for each step.
///
/// # Errors
/// [`DbError::Selection`] for a trajectory or step that does not exist; what the disk says.
pub fn pin(view: &View, rows: &[NewRow]) -> Result<Vec<DatasetRow>, DbError> {
    let mut ordinals: Vec<u64> = rows.iter().map(|r| r.trajectory).collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    if let Some(stray) = ordinals.iter().find(|ordinal| !view.is_there(**ordinal)) {
        return Err(DbError::Selection(format!("there is no trajectory {stray}")));
    }
    let headers = view.headers(&ordinals)?;
    let hashes = view.content_hashes(&ordinals)?;
    let known: HashMap<u64, (u32, [u8; 32])> = ordinals
        .iter()
        .zip(headers.iter().zip(hashes))
        .map(|(o, (header, hash))| (*o, (header.n_steps, hash)))
        .collect();
    let mut pinned = Vec::with_capacity(rows.len());
    for row in rows {
        let Some((n_steps, content_hash)) = known.get(&row.trajectory).copied() else { continue };
        let steps = match row.step {
            Some(step) if step == 0 || step > n_steps => {
                let what = format!("trajectory {} has no step {step}", row.trajectory);
                return Err(DbError::Selection(what));
            }
            Some(step) => step..=step,
            None => 1..=n_steps,
        };
        let NewRow { trajectory, reward, pair, .. } = *row;
        let pin = |step| DatasetRow { trajectory, step, content_hash, reward, pair };
        pinned.extend(steps.map(pin));
    }
    Ok(pinned)
}

/// Returns BLAKE3 over all rows: source, id, step, content, reward and pair of each, in order.
/// Ordinals are left out, so that the same selection in another database has the same hash.
///
/// # Errors
/// Damage, a trajectory that is gone included; what the disk says.
pub fn dataset_hash(view: &View, rows: &[DatasetRow]) -> Result<[u8; 32], DbError> {
    let mut hasher = blake3::Hasher::new();
    for part in rows.chunks(NAMED) {
        let names = names(view, part)?;
        for row in part {
            if let Some((source, id)) = names.get(&row.trajectory) {
                for text in [source, id] {
                    hasher.update(&(text.len() as u64).to_be_bytes());
                    hasher.update(text.as_bytes());
                }
            }
            hasher.update(&row.step.to_be_bytes());
            hasher.update(&row.content_hash);
            match row.reward {
                Some(reward) => hasher.update(&[1]).update(&reward.to_bits().to_be_bytes()),
                None => hasher.update(&[0]),
            };
            // Selections without pairs keep the hash they had before there were any.
            if let Some(pair) = row.pair {
                hasher.update(&[2]).update(&pair.to_be_bytes());
            }
        }
    }
    Ok(*hasher.finalize().as_bytes())
}

/// Returns source and id of the trajectories that rows name, by ordinal.
pub(super) fn names(
    view: &View,
    rows: &[DatasetRow],
) -> Result<HashMap<u64, (String, String)>, DbError> {
    let mut ordinals: Vec<u64> = rows.iter().map(|r| r.trajectory).collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    let headers = view.headers(&ordinals)?;
    Ok(ordinals.into_iter().zip(headers.into_iter().map(|h| (h.source, h.id))).collect())
}

/// Returns whether any judge among `name@judge` labels saw gold answers; `None` where one of
/// them does not say and none is known to have.
fn saw_gold(view: &View, labels: &[String]) -> Option<bool> {
    let judges = &view.catalogue().judges;
    let mut known = true;
    for label in labels {
        let name = label.split_once('@').map_or(label.as_str(), |(_, judge)| judge);
        let judge = judges.iter().find(|j| j.name() == name).and_then(|j| j.judge().ok());
        match judge.and_then(|j| j.sees_gold) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => known = false,
        }
    }
    known.then_some(false)
}
