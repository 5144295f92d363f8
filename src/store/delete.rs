//! Deleting trajectories.
//!
//! ```text
//!   delete     a tombstone says which rows are gone: no view made from then on shows them
//!   compact    their records, labels, samples and examples go, and the texts that nothing else
//!              refers to; their rows stay where they are, blank but for what numbers them
//! ```
//! Ordinals and rows are never given again. A compaction that was killed is done again: tombstones
//! say whether they are swept, which is written when all is.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::compute::take;

use super::StoreError;
use super::append::body_hash;
use super::engine::{Changes, Engine};
use super::fold::{Folded, Folding, all_columns, table_of};
use super::open::{Durability, Store, Writer};
use super::state::State;
use super::view::{ColumnRef, View, arrow_error, integers};
use crate::codec::{
    CHUNK_ROWS, Catalogue, DeletedTrajectory, Family, HeaderRecord, IdRecord, KEPT_OF_DELETED, Key,
    Record, TableId, TombstoneRecord, stored_columns,
};

/// Trajectories looked up together, and swept in one batch.
const TOGETHER: usize = 1_024;

/// Entries removed in one batch.
const DELETIONS_MAX: usize = 65_536;

/// The rows that are deleted.
#[derive(Clone, Debug, Default)]
pub(super) struct Deleted {
    /// By table, ascending, with something between one run and the next.
    runs: [Vec<Range<u64>>; 2],
}

impl Deleted {
    /// Takes rows out as well.
    pub fn add(&mut self, trajectories: &[DeletedTrajectory]) {
        let rows = |t: &DeletedTrajectory| t.first_row..t.first_row + u64::from(t.n_steps);
        self.runs[0].extend(trajectories.iter().map(|t| t.ordinal..t.ordinal + 1));
        self.runs[1].extend(trajectories.iter().map(rows).filter(|rows| !rows.is_empty()));
        for runs in &mut self.runs {
            runs.sort_unstable_by_key(|run| run.start);
            runs.dedup_by(|next, before| {
                let joins = next.start <= before.end;
                if joins {
                    before.end = before.end.max(next.end);
                }
                joins
            });
        }
    }

    /// Returns the rows of these trajectories.
    pub fn of(trajectories: &[DeletedTrajectory]) -> Deleted {
        let mut deleted = Deleted::default();
        deleted.add(trajectories);
        deleted
    }

    /// Returns the runs of deleted rows among `rows`.
    pub fn within(&self, table: TableId, rows: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let runs = &self.runs[table.code() as usize];
        let from = runs.partition_point(|run| run.end <= rows.start);
        let here = runs[from..].iter().take_while(move |run| run.start < rows.end);
        here.map(move |run| run.start.max(rows.start)..run.end.min(rows.end))
    }

    /// Whether a row is deleted.
    pub fn holds(&self, table: TableId, row: u64) -> bool {
        self.within(table, row..row + 1).next().is_some()
    }

    /// Returns the row behind the last that is deleted.
    pub fn end(&self, table: TableId) -> u64 {
        self.runs[table.code() as usize].last().map_or(0, |run| run.end)
    }

    /// Returns how many rows are deleted.
    pub fn count(&self, table: TableId) -> u64 {
        self.runs[table.code() as usize].iter().map(|run| run.end - run.start).sum()
    }
}

/// A dataset that holds some of the trajectories to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinning {
    /// Its name.
    pub dataset: String,
    /// How many of them it holds.
    pub trajectories: u64,
}

/// What became of a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The trajectories are gone.
    Done {
        /// How many.
        trajectories: u64,
        /// Their steps.
        steps: u64,
        /// The datasets that held some of them, and are dropped.
        datasets: Vec<Pinning>,
    },
    /// Nothing was deleted: these datasets hold some of the trajectories.
    Pinned(Vec<Pinning>),
}

/// What a compaction removed for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Deleted trajectories whose records are removed.
    pub trajectories: u64,
    /// Deleted trajectories that an earlier view may still read: the next compaction sweeps them.
    pub waiting: u64,
}

impl View {
    /// Returns the number of rows of a table that are there.
    pub fn count(&self, table: TableId) -> u64 {
        let all = self.rows(table);
        all - self.deleted(table, 0..all).map(|run| run.end - run.start).sum::<u64>()
    }

    /// Returns the runs of deleted rows among `rows`, ascending.
    pub fn deleted(&self, table: TableId, rows: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        self.state.deleted.within(table, rows)
    }

    /// Whether a row is deleted.
    pub fn is_deleted(&self, table: TableId, row: u64) -> bool {
        self.state.deleted.holds(table, row)
    }

    /// Whether a trajectory of this ordinal is there.
    pub fn is_there(&self, ordinal: u64) -> bool {
        let table = TableId::Trajectories;
        ordinal < self.rows(table) && !self.is_deleted(table, ordinal)
    }

    /// Returns the ordinals of all trajectories among `rows`.
    pub fn ordinals(&self, rows: Range<u64>) -> impl Iterator<Item = u64> {
        rows.filter(|ordinal| self.is_there(*ordinal))
    }
}

impl Store {
    /// Deletes trajectories in one commit. Where datasets hold some of them, these are dropped with
    /// `cascade`, and without nothing is deleted.
    ///
    /// # Errors
    /// Damage, or what the disk says; then nothing is deleted.
    pub fn delete(
        self: &Arc<Store>,
        ordinals: impl IntoIterator<Item = u64>,
        cascade: bool,
    ) -> Result<Deletion, StoreError> {
        let _writer = self.writer();
        let view = self.view();
        let ordinals = ordinals.into_iter().filter(|ordinal| view.is_there(*ordinal));
        let ordinals: BTreeSet<u64> = ordinals.collect();
        let datasets = self.pinning(&ordinals)?;
        if !datasets.is_empty() && !cascade {
            return Ok(Deletion::Pinned(datasets));
        }
        let mut changes = Changes::default();
        for pinning in &datasets {
            self.drop_dataset_changes(&pinning.dataset, &mut changes)?;
        }
        let trajectories = rows_of(&view, &ordinals)?;
        let steps = trajectories.iter().map(|t| u64::from(t.n_steps)).sum();
        let done = Deletion::Done { trajectories: trajectories.len() as u64, steps, datasets };
        if trajectories.is_empty() {
            return Ok(done);
        }
        let mut deleted = view.state.deleted.as_ref().clone();
        deleted.add(&trajectories);
        let sequence = view.sequence() + 1;
        changes.put(&Key::Tombstone(sequence), &TombstoneRecord { trajectories, swept: false });
        let deleted = Arc::new(deleted);
        let next = State { sequence, deleted, ..view.state.as_ref().clone() };
        self.publish(changes, next, Durability::Now)?;
        Ok(done)
    }

    /// Returns the datasets that hold any of these trajectories.
    fn pinning(&self, ordinals: &BTreeSet<u64>) -> Result<Vec<Pinning>, StoreError> {
        let mut found = Vec::new();
        for dataset in self.datasets()? {
            let rows = self.dataset_rows(&dataset.name)?;
            let held: HashSet<u64> =
                rows.iter().map(|row| row.trajectory).filter(|of| ordinals.contains(of)).collect();
            if !held.is_empty() {
                found.push(Pinning { dataset: dataset.name, trajectories: held.len() as u64 });
            }
        }
        Ok(found)
    }

    /// Removes what deleted trajectories left behind, if no view from before may still read it.
    /// Nothing may be left beside the columns.
    pub(super) fn sweep_deleted(&self, writer: &mut Writer) -> Result<Swept, StoreError> {
        let waiting = self.not_swept()?;
        let gone: Vec<DeletedTrajectory> =
            waiting.iter().flat_map(|(_, record)| &record.trajectories).copied().collect();
        let count = gone.len() as u64;
        if count == 0 {
            return Ok(Swept::default());
        }
        if !writer.retired.is_empty() {
            return Ok(Swept { trajectories: 0, waiting: count });
        }
        let ordinals = Deleted::of(&gone);
        for part in gone.chunks(TOGETHER) {
            self.sweep_records(part)?;
        }
        self.sweep_derived(&ordinals)?;
        self.sweep_bodies()?;
        self.blank(&ordinals, writer)?;
        let mut changes = Changes::default();
        for (key, record) in waiting {
            changes.put(&key, &TombstoneRecord { swept: true, ..record });
        }
        self.engine.write(changes, true)?;
        Ok(Swept { trajectories: count, waiting: 0 })
    }

    /// Returns the tombstones of trajectories that left something behind.
    pub(super) fn not_swept(&self) -> Result<Vec<(Key, TombstoneRecord)>, StoreError> {
        let mut found = tombstones(&self.engine)?;
        found.retain(|(_, record)| !record.swept);
        Ok(found)
    }

    /// Removes records, ids, labels and samples of trajectories.
    fn sweep_records(&self, trajectories: &[DeletedTrajectory]) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        for DeletedTrajectory { ordinal, n_steps, .. } in trajectories {
            let key = Key::Trajectory(*ordinal);
            // An earlier sweep may have been killed behind it: a batch takes all of a trajectory.
            let Some(header) = self.engine.record::<HeaderRecord>(&key)? else { continue };
            changes.delete(&key);
            let id = Key::Id(header.source, header.id);
            // The name may belong to a trajectory that was imported since.
            let named = self.engine.record::<IdRecord>(&id)?;
            if named.is_some_and(|record| record.ordinal == *ordinal) {
                changes.delete(&id);
            }
            (1..=*n_steps).for_each(|step| changes.delete(&Key::Step(*ordinal, step)));
            let prefix = Key::trajectory_prefix(*ordinal);
            for family in [Family::Label, Family::Sample] {
                self.engine.scan(family, &prefix, &[], |key, _| {
                    changes.delete(&Key::decode(family, key).map_err(StoreError::key)?);
                    Ok(true)
                })?;
            }
        }
        self.engine.write(changes, false)
    }

    /// Removes what training runs made of trajectories, and all tokens: they are made again.
    fn sweep_derived(&self, gone: &Deleted) -> Result<(), StoreError> {
        let is_gone = |key: &Key| match key {
            Key::Example { trajectory, .. } => gone.holds(TableId::Trajectories, *trajectory),
            _ => true,
        };
        for family in [Family::Example, Family::Token] {
            self.sweep_family(family, |key, _, changes| {
                if is_gone(&key) {
                    changes.delete(&key);
                }
            })?;
        }
        Ok(())
    }

    /// Removes the long texts that no record refers to.
    fn sweep_bodies(&self) -> Result<(), StoreError> {
        let bodies = self.state().next_body;
        let mut used = vec![0u64; bodies.div_ceil(64) as usize];
        let mut mark = |number: u64| {
            if let Some(word) = used.get_mut((number / 64) as usize) {
                *word |= 1 << (number % 64);
            }
        };
        self.engine.scan_references(&mut mark, &mut || true)?;
        let is_used = |number: u64| {
            used.get((number / 64) as usize).is_some_and(|word| word >> (number % 64) & 1 == 1)
        };
        self.sweep_family(Family::Body, |key, value, changes| {
            if matches!(key, Key::Body(number) if number < bodies && !is_used(number)) {
                changes.delete(&Key::BodyId(body_hash(&String::from_utf8_lossy(value))));
                changes.delete(&key);
            }
        })
    }

    /// Visits every entry of a family, and makes the changes that this asks for.
    fn sweep_family(
        &self,
        family: Family,
        mut visit: impl FnMut(Key, &[u8], &mut Changes),
    ) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        self.engine.scan(family, &[], &[], |key, value| {
            visit(Key::decode(family, key).map_err(StoreError::key)?, value, &mut changes);
            if changes.deletions() >= DELETIONS_MAX {
                self.engine.write(std::mem::take(&mut changes), false)?;
            }
            Ok(true)
        })?;
        self.engine.write(changes, false)
    }

    /// Blanks the rows of deleted trajectories, chunk by chunk.
    fn blank(&self, gone: &Deleted, writer: &mut Writer) -> Result<(), StoreError> {
        for table in TableId::ALL {
            let folded = self.state().manifest.folded_rows[table.code() as usize];
            for chunk in 0..folded.div_ceil(CHUNK_ROWS) as u32 {
                let first = u64::from(chunk) * CHUNK_ROWS;
                let runs: Vec<_> = gone.within(table, first..first + CHUNK_ROWS).collect();
                if runs.is_empty() {
                    continue;
                }
                let runs = runs.iter().map(|run| run.start - first..run.end - first);
                let state = self.state();
                let mut folding = Folding::of(self, &state);
                folding.blank(table, chunk, &runs.collect::<Vec<_>>())?;
                let Folding { changes, replaced, manifest, .. } = folding;
                self.publish_fold(Folded { state, changes, replaced, manifest }, writer)?;
            }
        }
        Ok(())
    }
}

/// Returns the rows that trajectories have.
fn rows_of(view: &View, ordinals: &BTreeSet<u64>) -> Result<Vec<DeletedTrajectory>, StoreError> {
    let all: Vec<i64> = ordinals.iter().map(|ordinal| *ordinal as i64).collect();
    let table = TableId::Trajectories;
    let (Some(first_row), Some(n_steps)) =
        (view.stored(table, "_first_row"), view.stored(table, "n_steps"))
    else {
        return Ok(Vec::new());
    };
    let mut found = Vec::with_capacity(all.len());
    for part in all.chunks(TOGETHER) {
        let first_rows = view.of_trajectories(first_row, part)?;
        let n_steps = view.of_trajectories(n_steps, part)?;
        let numbers = integers(&first_rows)?.values().iter().zip(integers(&n_steps)?.values());
        found.extend(part.iter().zip(numbers).map(|(ordinal, (first_row, n_steps))| {
            let (ordinal, first_row) = (*ordinal as u64, *first_row as u64);
            DeletedTrajectory { ordinal, first_row, n_steps: *n_steps as u32 }
        }));
    }
    Ok(found)
}

fn tombstones(engine: &Engine) -> Result<Vec<(Key, TombstoneRecord)>, StoreError> {
    let mut found = Vec::new();
    engine.scan(Family::Tombstone, &[], &[], |key, value| {
        let key = Key::decode(Family::Tombstone, key).map_err(StoreError::key)?;
        let record = TombstoneRecord::decode(value).map_err(|e| StoreError::record(&key, e))?;
        found.push((key, record));
        Ok(true)
    })?;
    Ok(found)
}

/// Returns all trajectories that were deleted, by their ordinals.
pub(super) fn load_deleted(engine: &Engine) -> Result<Vec<DeletedTrajectory>, StoreError> {
    let found = tombstones(engine)?.into_iter();
    let mut gone: Vec<_> = found.flat_map(|(_, record)| record.trajectories).collect();
    gone.sort_unstable_by_key(|deleted| deleted.ordinal);
    Ok(gone)
}

/// Returns the columns of a table whose values go with a trajectory.
pub(super) fn blanked(catalogue: &Catalogue, table: TableId) -> Vec<ColumnRef> {
    let goes = |column: &ColumnRef| match column {
        ColumnRef::Stored(table, at) => stored_columns(*table)
            .get(*at as usize)
            .is_some_and(|column| !KEPT_OF_DELETED.contains(&column.name)),
        ColumnRef::Label(_) => true,
    };
    let all = all_columns(catalogue).into_iter().filter(|c| table_of(catalogue, *c) == table);
    all.filter(goes).collect()
}

/// Returns the array with nothing in `rows`, ascending runs.
pub(super) fn without(array: &ArrayRef, rows: &[Range<u64>]) -> Result<ArrayRef, StoreError> {
    let mut kept: Vec<Option<u64>> = (0..array.len() as u64).map(Some).collect();
    for run in rows {
        let end = (run.end as usize).min(kept.len());
        kept[(run.start as usize).min(end)..end].fill(None);
    }
    take(array, &UInt64Array::from(kept), None).map_err(arrow_error)
}
