//! Bulk loading: the records of a large commit become sorted tables that RocksDB takes in as they
//! are, without its log and without merging them later.
//!
//! ```text
//!   commit   trajectory, step, body, label ──► tables, synced ──► taken in, family by family
//!            ids, delta, sequence ──────────────────────────────► one batch, when all are in
//! ```
//! Keys of these families are new and behind all others. What was taken in and whose batch did not
//! follow lies beyond the rows and bodies that the sequence knows: no view looks there, and whoever
//! writes next removes it before its keys are given again.

use std::path::Path;

use rayon::prelude::*;

use super::StoreError;
use super::engine::{Changes, Entry};
use super::open::{Durability, Store, Writer};
use super::state::State;
use crate::codec::{Family, Key, TableId};

/// The families to which a commit of new trajectories adds behind all other keys.
const ASCENDING: [Family; 4] = [Family::Body, Family::Step, Family::Label, Family::Trajectory];

/// A commit that adds this many bytes to those families is loaded in bulk; a smaller one is
/// cheaper in the log.
const BULK_BYTES_MIN: usize = 2 << 20;

/// The bytes of a table before compression, about.
const TABLE_BYTES: usize = 32 << 20;

impl Store {
    /// Publishes a commit of new records, in bulk where it is large, without waiting for the disk.
    pub(super) fn publish_records(
        &self,
        writer: &mut Writer,
        mut changes: Changes,
        next: State,
    ) -> Result<(), StoreError> {
        if writer.torn {
            self.remove_unpublished()?;
        }
        if changes.bytes(&ASCENDING) >= BULK_BYTES_MIN {
            writer.torn = true;
            self.load(&mut changes)?;
        }
        self.publish(changes, next, Durability::Later)?;
        writer.torn = false;
        Ok(())
    }

    /// Moves the entries of the ascending families into tables, several at a time.
    fn load(&self, changes: &mut Changes) -> Result<(), StoreError> {
        let mut tables: Vec<(Family, Vec<Entry>)> = Vec::new();
        for family in ASCENDING {
            let mut entries = changes.take(family);
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            entries.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    std::mem::swap(later, earlier);
                }
                same
            });
            tables.extend(cut(entries).into_iter().map(|part| (family, part)));
        }
        let built = tables.into_par_iter().enumerate().map(|(number, (family, entries))| {
            Ok((family, self.engine.build_table(family, number, &entries)?))
        });
        let built = built.collect::<Result<Vec<_>, StoreError>>()?;
        for family in ASCENDING {
            let of_family = built.iter().filter(|(of, _)| *of == family);
            let paths: Vec<_> = of_family.map(|(_, path)| path.as_path()).collect();
            self.engine.ingest(family, &paths)?;
        }
        self.engine.remove_incoming()
    }

    /// Removes the entries of a bulk load whose commit did not come to its end.
    pub(super) fn remove_unpublished(&self) -> Result<(), StoreError> {
        let state = self.state();
        let rows = state.rows[TableId::Trajectories.code() as usize];
        let mut changes = Changes::default();
        let label = |trajectory| {
            let (name, judge) = (String::new(), String::new());
            Key::Label { trajectory, step: 0, name, judge, sequence: 0 }
        };
        let body = Key::Body(state.next_body);
        for first in [body, Key::Trajectory(rows), Key::Step(rows, 0), label(rows)] {
            self.engine.scan_keys_from(&first, |key| changes.delete(&key))?;
        }
        if changes.is_empty() { Ok(()) } else { self.engine.write(changes, false) }
    }
}

/// Puts the table of a number back that a bulk load lost, and returns whether it could. Where the
/// disk fails while the list of tables is written, RocksDB removes those it was about to list, and
/// may find them listed when it opens next. The files they were made of are still in `incoming`
/// then, those of one family behind the other.
pub(super) fn put_back(records: &Path, number: &str) -> bool {
    let waiting = std::fs::read_dir(records.with_file_name("incoming"));
    let place = |path: &Path| {
        let (_, place) = path.file_stem()?.to_str()?.rsplit_once('-')?;
        place.parse::<usize>().ok()
    };
    let tables = waiting.into_iter().flatten().flatten().map(|entry| entry.path());
    let first = tables.filter_map(|path| Some((place(&path)?, path))).min();
    let table = records.join(format!("{number}.sst"));
    first.is_some_and(|(_, path)| std::fs::rename(path, table).is_ok())
}

/// Cuts ascending entries into runs of about the size of a table.
fn cut(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut runs: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = TABLE_BYTES;
    for entry in entries {
        if bytes >= TABLE_BYTES {
            runs.push(Vec::new());
            bytes = 0;
        }
        bytes += entry.0.len() + entry.1.len();
        if let Some(run) = runs.last_mut() {
            run.push(entry);
        }
    }
    runs
}
