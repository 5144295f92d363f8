//! Datasets that come from a file: their rows are collected, held against what the file says of
//! them, and saved in one commit at its end.

use std::collections::HashSet;

use super::DbError;
use super::database::Database;
use super::dataset::dataset_hash;
use crate::codec::{DatasetRecord, DatasetRow};
use crate::diag::hexadecimal;
use crate::exchange::{DatasetManifest, DatasetRows, WrittenRow};
use crate::store::View;

/// The datasets of one file so far.
#[derive(Default)]
pub(super) struct Restoring {
    datasets: Vec<Restored>,
}

struct Restored {
    manifest: DatasetManifest,
    rows: Vec<DatasetRow>,
    /// The record of that name and hash, if there is one: nothing is saved then.
    known: Option<DatasetRecord>,
    seen: u64,
}

fn refused(name: &str, why: impl Into<String>) -> DbError {
    DbError::Dataset { name: name.to_owned(), why: why.into() }
}

impl Restoring {
    /// Takes what a dataset says of itself.
    ///
    /// # Errors
    /// [`DbError::Dataset`] when its name is taken by another.
    pub fn begin(&mut self, database: &Database, manifest: DatasetManifest) -> Result<(), DbError> {
        let name = &manifest.name;
        let known = database.store().dataset(name)?;
        let twice = self.datasets.iter().find(|other| other.manifest.name == *name);
        let hash = known.as_ref().map(|k| k.hash).or(twice.map(|other| other.manifest.hash));
        if hash.is_some_and(|hash| hash != manifest.hash) {
            let found = hash.map(|hash| hexadecimal(&hash[..6])).unwrap_or_default();
            let why = format!("another dataset of that name is there, with hash {found}");
            return Err(refused(name, why));
        }
        if twice.is_none() {
            self.datasets.push(Restored { manifest, rows: Vec::new(), known, seen: 0 });
        }
        Ok(())
    }

    /// Takes rows, whose trajectories are stored by now.
    ///
    /// # Errors
    /// [`DbError::Dataset`] for a trajectory that is not there or has other content, a step that it
    /// does not have, and rows that are missing before these.
    pub fn take(&mut self, view: &View, part: &DatasetRows) -> Result<(), DbError> {
        let name = &part.dataset;
        let Some(restored) = self.datasets.iter_mut().find(|d| d.manifest.name == *name) else {
            return Err(refused(name, "its rows stand before the line that describes it"));
        };
        if part.first < restored.seen {
            // A file that was joined to itself.
            return Ok(());
        }
        if part.first > restored.seen {
            let (seen, first) = (restored.seen, part.first);
            return Err(refused(name, format!("row {first} follows on row {seen} of the file")));
        }
        restored.seen += part.rows.len() as u64;
        if restored.known.is_some() {
            return Ok(());
        }
        let mut found = Vec::with_capacity(part.trajectories.len());
        for pinned in &part.trajectories {
            let (source, id, hash) = (&pinned.0, &pinned.1, pinned.2);
            match view.find(source, id)? {
                Some((ordinal, content)) if content == hash => found.push((ordinal, hash)),
                Some(_) => {
                    let why = format!(
                        "'{id}' of source '{source}' is stored with other content than it pins"
                    );
                    return Err(refused(name, why));
                }
                None => {
                    let why = format!(
                        "'{id}' of source '{source}' is neither in the file before its rows nor \
                         in the database"
                    );
                    return Err(refused(name, why));
                }
            }
        }
        let ordinals: Vec<u64> = found.iter().map(|(ordinal, _)| *ordinal).collect();
        let lengths: Vec<u32> = view.headers(&ordinals)?.iter().map(|h| h.n_steps).collect();
        for (at, step, reward, pair) in part.rows.iter().map(WrittenRow::parts) {
            let at = at as usize;
            let (Some((trajectory, content_hash)), Some(n_steps)) =
                (found.get(at), lengths.get(at))
            else {
                return Err(refused(name, format!("a row names trajectory {at} of its line")));
            };
            if step == 0 || step > *n_steps {
                let id = &part.trajectories[at].1;
                return Err(refused(name, format!("'{id}' has no step {step}")));
            }
            let (trajectory, content_hash) = (*trajectory, *content_hash);
            restored.rows.push(DatasetRow { trajectory, step, content_hash, reward, pair });
        }
        Ok(())
    }

    /// Saves the datasets whose rows came whole, and tells of each whether it is new.
    ///
    /// # Errors
    /// [`DbError::Dataset`] when rows are missing, or the hash over them is another than the
    /// file's; that dataset is not saved then.
    pub fn finish(
        self,
        database: &Database,
        told: &mut dyn FnMut(&DatasetRecord, bool),
    ) -> Result<(), DbError> {
        for Restored { manifest, rows, known, seen } in self.datasets {
            let name = &manifest.name;
            if seen != manifest.rows {
                let why = format!(
                    "the file has {seen} of its {} rows: it was cut off, fetch it again",
                    manifest.rows
                );
                return Err(refused(name, why));
            }
            if let Some(known) = known {
                told(&known, false);
                continue;
            }
            let trajectories: HashSet<u64> = rows.iter().map(|r| r.trajectory).collect();
            let hash = dataset_hash(&database.view(), &rows)?;
            if hash != manifest.hash || trajectories.len() as u64 != manifest.trajectories {
                let why = "the hash over its rows is not the one in the file: the file was altered";
                return Err(refused(name, why));
            }
            let record = record(manifest);
            database.store().save_dataset(&record, &rows)?;
            told(&record, true);
        }
        Ok(())
    }
}

fn record(manifest: DatasetManifest) -> DatasetRecord {
    let DatasetManifest { name, statement, seeds, judges, saw_gold, .. } = manifest;
    let DatasetManifest { rows, trajectories, undecided, hash, .. } = manifest;
    let DatasetManifest { database, sequence, created_at, program, .. } = manifest;
    DatasetRecord {
        name,
        statement,
        sequence,
        seeds,
        judges,
        saw_gold,
        rows,
        trajectories,
        undecided,
        hash,
        created_at,
        horizon: None,
        program,
        origin: Some(database),
    }
}
