//! Whether what datasets pin is still what was saved.

use super::DbError;
use super::database::Database;
use super::dataset::dataset_hash;
use crate::codec::{DatasetRow, TableId};
use crate::exchange::content_hash;
use crate::store::{Finding, VerifyReport, View};

/// Trajectories read together.
const READ: usize = 128;

/// Broken trajectories that are described; the rest is counted.
const DESCRIBED_MAX: usize = 20;

/// What became of the trajectories that a dataset pins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinReport {
    /// Trajectories that were looked at.
    pub trajectories: u64,
    /// How many are not what was saved.
    pub broken: u64,
    /// The first of these.
    pub described: Vec<BrokenPin>,
}

/// A trajectory that is not what was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenPin {
    /// Its source, where it can still be said.
    pub source: Option<String>,
    /// Its id, where it can still be said.
    pub id: Option<String>,
    /// What is wrong.
    pub what: String,
}

/// One pinned trajectory: ordinal, content, the last step that is named.
type Pin = (u64, [u8; 32], u32);

impl Database {
    /// Checks everything stored as [`Store::verify`](crate::store::Store::verify) does, and the
    /// hash of every dataset.
    ///
    /// # Errors
    /// Only what keeps the walk from going on; damage is a finding.
    pub fn verify(
        &self,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<VerifyReport, DbError> {
        let mut report = self.store().verify(&content_hash, progress)?;
        let view = self.view();
        for dataset in self.store().datasets()? {
            let rows = self.store().dataset_rows(&dataset.name)?;
            let what = match dataset_hash(&view, &rows) {
                Ok(hash) if hash == dataset.hash => continue,
                Ok(_) => "the hash over its rows is not the one it was saved with".to_owned(),
                Err(error) => error.to_string(),
            };
            report.findings.push(Finding { place: format!("dataset '{}'", dataset.name), what });
        }
        Ok(report)
    }

    /// Reads every trajectory that rows pin and compares its content with what was saved.
    ///
    /// # Errors
    /// [`DbError::Stopped`] when `go_on` returns false; what the disk says. Damage is reported.
    pub fn check_pins(
        &self,
        view: &View,
        rows: &[DatasetRow],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<PinReport, DbError> {
        let mut pins: Vec<Pin> =
            rows.iter().map(|r| (r.trajectory, r.content_hash, r.step)).collect();
        pins.sort_unstable();
        // Of equal pins the one with the last step stays.
        pins.reverse();
        pins.dedup_by_key(|(ordinal, hash, _)| (*ordinal, *hash));
        pins.reverse();
        let mut report = PinReport::default();
        for part in pins.chunks(READ) {
            if !go_on() {
                return Err(DbError::Stopped);
            }
            let ordinals: Vec<u64> = part.iter().map(|(ordinal, ..)| *ordinal).collect();
            let whole = match ordinals.iter().all(|ordinal| view.is_there(*ordinal)) {
                true => view.trajectories(&ordinals).ok(),
                false => None,
            };
            let is_good = |whole: &[crate::model::Trajectory]| {
                part.iter().zip(whole).all(|((_, hash, step), trajectory)| {
                    *step as usize <= trajectory.steps.len() && content_hash(trajectory) == *hash
                })
            };
            report.trajectories += part.len() as u64;
            if whole.is_some_and(|whole| is_good(&whole)) {
                continue;
            }
            for pin in part {
                if let Some(broken) = self.broken(view, pin) {
                    report.broken += 1;
                    if report.described.len() < DESCRIBED_MAX {
                        report.described.push(broken);
                    }
                }
            }
        }
        Ok(report)
    }

    /// Returns what is wrong with one pinned trajectory, if anything is.
    fn broken(&self, view: &View, pin: &Pin) -> Option<BrokenPin> {
        let (ordinal, hash, step) = *pin;
        let nameless = |what: String| Some(BrokenPin { source: None, id: None, what });
        let all = view.rows(TableId::Trajectories);
        if ordinal >= all {
            return nameless(format!("trajectory {ordinal} is gone: there are {all}"));
        }
        if !view.is_there(ordinal) {
            return nameless(format!("trajectory {ordinal} was deleted"));
        }
        let header = match view.headers(&[ordinal]).map(|mut headers| headers.pop()) {
            Ok(Some(header)) => header,
            Ok(None) => return nameless(format!("trajectory {ordinal} is gone")),
            Err(error) => return nameless(format!("trajectory {ordinal} is gone: {error}")),
        };
        let found = match view.trajectories(&[ordinal]).map(|mut whole| whole.pop()) {
            Ok(Some(trajectory)) => content_hash(&trajectory),
            Ok(None) => return nameless(format!("trajectory {ordinal} is gone")),
            Err(error) => {
                let (source, id) = (Some(header.source), Some(header.id));
                return Some(BrokenPin { source, id, what: error.to_string() });
            }
        };
        let what = if step > header.n_steps {
            format!("step {step} is gone: there are {}", header.n_steps)
        } else if found == hash {
            return None;
        } else {
            self.altered(view, ordinal, header.first_row, found)
        };
        Some(BrokenPin { source: Some(header.source), id: Some(header.id), what })
    }

    /// Says how the content of a trajectory differs from what was saved, as far as its columns,
    /// which were made with it, tell.
    fn altered(&self, view: &View, ordinal: u64, first_row: u64, found: [u8; 32]) -> String {
        let stored =
            view.content_hashes(&[ordinal]).ok().and_then(|hashes| hashes.first().copied());
        if stored == Some(found) {
            return "it is stored with other content than the dataset pins".to_owned();
        }
        let message = "its stored content has changed";
        let findings = self.store().verify_trajectory(ordinal, &content_hash).unwrap_or_default();
        let of_step = |finding: &Finding| {
            let row: u64 = finding.place.strip_prefix("steps row ")?.parse().ok()?;
            Some(format!("step {}: {}", row.checked_sub(first_row)? + 1, finding.what))
        };
        let steps: Vec<String> = findings.iter().filter_map(of_step).collect();
        match steps.is_empty() {
            true => format!("{message}; which step cannot be said"),
            false => format!("{message}: {}", steps.join("; ")),
        }
    }
}
