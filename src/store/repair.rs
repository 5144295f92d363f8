//! Repair: columns, and what is not yet in them, are made anew from the records.
//!
//! ```text
//!   kept      records, ids, texts, labels; names and judges; datasets, runs, corpora, recordings
//!   dropped   the families column and delta, whatever state they are in
//!   made      every chunk of every column, and the manifest that names them
//! ```
//! How many trajectories there are is how many ids lead to one that no tombstone names, and how
//! many these name: ids are written in the batch that made them visible. All records are read once
//! before anything is dropped: one that cannot be read ends the repair with everything as it was.
//! From then until the last batch an entry of `meta` says that a repair is at work, and nobody
//! opens the database but another repair, which begins again.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::StoreError;
use super::append::label_column;
use super::delete::{Deleted, load_deleted};
use super::engine::{Changes, Engine, Mode};
use super::fold::{Folding, is_due};
use super::label::row_of;
use super::open::{
    Durability, Limits, REPAIRING, Store, empty_manifest, folded_state, memory, read_marker,
};
use super::state::State;
use super::view::{View, arrow_error};
use crate::codec::{
    DeletedTrajectory, Family, HeaderRecord, IdRecord, Key, LabelCell, Record, StepRows, TableId,
    TrajectoryRows,
};
use crate::model::{Label, Target};

/// What a repair made columns of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Trajectories.
    pub trajectories: u64,
    /// Their steps.
    pub steps: u64,
    /// Their labels, those that newer ones replaced included.
    pub labels: u64,
}

/// Trajectories read together: few, for each may be large.
const BATCH: usize = 16;

impl Store {
    /// Makes the columns of the database at `path` anew. `progress` is told the trajectories done
    /// and the number of all, which are read twice; it returns false to stop. If it does so in the
    /// second half, the database has to be repaired again.
    ///
    /// # Errors
    /// A record that cannot be read, or is missing: then no column can be made of it, only a backup
    /// has it, and everything is as it was. What the disk says.
    pub fn repair(
        path: &Path,
        limits: Limits,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Option<RepairReport>, StoreError> {
        read_marker(path)?;
        let engine = Engine::open(&path.join("records"), Mode::Write, false, &memory(limits))?;
        let deleted = load_deleted(&engine)?;
        let all = trajectories(&engine, &Deleted::of(&deleted))?;
        let state = folded_state(&engine, empty_manifest())?;
        let store = Arc::new(Store::of(path, engine, state.clone(), limits)?);
        for first in (0..all).step_by(BATCH) {
            let end = all.min(first + BATCH as u64);
            read(&store.view(), first..end)?;
            if !progress(end, 2 * all) {
                return Ok(None);
            }
        }
        drop(store);
        let mut engine = Engine::open(&path.join("records"), Mode::Write, false, &memory(limits))?;
        let mut begun = Changes::default();
        begun.put_bytes(&Key::Meta(REPAIRING.to_owned()), Vec::new());
        engine.write(begun, true)?;
        engine.empty(Family::Column)?;
        engine.empty(Family::Delta)?;
        let store = Arc::new(Store::of(path, engine, state.clone(), limits)?);
        let mut repair = Repair { store, deleted, state, report: RepairReport::default() };
        for first in (0..all).step_by(BATCH) {
            let end = all.min(first + BATCH as u64);
            repair.take(first..end)?;
            if !progress(all + end, 2 * all) {
                return Ok(None);
            }
        }
        repair.finish().map(Some)
    }
}

/// Reads all there is of trajectories.
fn read(view: &View, ordinals: Range<u64>) -> Result<(), StoreError> {
    let ordinals: Vec<u64> = there(view, ordinals).collect();
    view.trajectories(&ordinals)?;
    ordinals.into_iter().try_for_each(|ordinal| view.store.labels_of(ordinal).map(drop))
}

/// Returns the ordinals of those that are not deleted.
fn there(view: &View, ordinals: Range<u64>) -> impl Iterator<Item = u64> {
    ordinals.filter(|ordinal| !view.is_deleted(TableId::Trajectories, *ordinal))
}

/// Returns how many trajectories there are and were.
fn trajectories(engine: &Engine, deleted: &Deleted) -> Result<u64, StoreError> {
    let table = TableId::Trajectories;
    let (mut count, mut next) = (0u64, deleted.end(table));
    engine.scan(Family::Id, &[], &[], |key, value| {
        let place = || format!("id {key:02x?}");
        let record = IdRecord::decode(value).map_err(StoreError::codec(place()))?;
        count += u64::from(!deleted.holds(table, record.ordinal));
        next = next.max(record.ordinal + 1);
        Ok(true)
    })?;
    let gone = deleted.count(table);
    match count + gone == next {
        true => Ok(next),
        false => {
            let last = next - 1;
            let why = format!("{count} ids, {gone} deleted; the last leads to trajectory {last}");
            Err(StoreError::Damaged { place: "family id".into(), why })
        }
    }
}

struct Repair {
    store: Arc<Store>,
    /// By ordinal.
    deleted: Vec<DeletedTrajectory>,
    /// What is made so far; never published before the end.
    state: State,
    report: RepairReport,
}

impl Repair {
    /// Makes rows and label values of trajectories.
    fn take(&mut self, ordinals: Range<u64>) -> Result<(), StoreError> {
        let view = View::new(self.store.clone(), Arc::new(self.state.clone()));
        let all = ordinals;
        let ordinals: Vec<u64> = there(&view, all.clone()).collect();
        let headers = view.headers(&ordinals)?;
        let whole = view.trajectories(&ordinals)?;
        let mut trajectories = TrajectoryRows::with_capacity(BATCH);
        let n_steps = whole.iter().map(|t| t.steps.len()).sum();
        let mut steps = StepRows::with_capacity(n_steps);
        let mut row = self.state.rows[TableId::Steps.code() as usize];
        let mut records = headers.iter().zip(&whole);
        for ordinal in all {
            let at = self.deleted.binary_search_by_key(&ordinal, |deleted| deleted.ordinal);
            let gone = at.ok().map(|at| &self.deleted[at]);
            let record = if gone.is_none() { records.next() } else { None };
            let first_row = gone.map(|deleted| deleted.first_row);
            let first_row = first_row.or(record.map(|(header, _)| header.first_row)).unwrap_or(row);
            if first_row != row {
                let why = format!("its first row is {first_row}, expected {row}");
                return Err(StoreError::Damaged { place: format!("trajectory {ordinal}"), why });
            }
            if let Some(deleted) = gone {
                trajectories.push_deleted(deleted);
                steps.push_deleted(deleted);
                row += u64::from(deleted.n_steps);
            }
            if let Some((_, trajectory)) = record {
                trajectories.push(trajectory, first_row);
                steps.push(ordinal, trajectory);
                row += trajectory.steps.len() as u64;
                self.report.steps += trajectory.steps.len() as u64;
            }
        }
        let failed = || StoreError::codec("rows");
        let batches = [trajectories.finish().map_err(failed())?, steps.finish().map_err(failed())?];
        for (table, rows) in TableId::ALL.into_iter().zip(batches) {
            self.state.push_tail(table, rows).map_err(arrow_error)?;
        }
        self.labels(&ordinals, &headers)?;
        self.report.trajectories += ordinals.len() as u64;
        if is_due(&self.state, 1) { self.fold() } else { Ok(()) }
    }

    /// Lays the labels of trajectories over the columns, newer ones over older ones.
    fn labels(&mut self, ordinals: &[u64], headers: &[HeaderRecord]) -> Result<(), StoreError> {
        let mut catalogue = self.state.catalogue.as_ref().clone();
        let mut cells = Vec::new();
        for (ordinal, header) in ordinals.iter().zip(headers) {
            for (_, label) in self.store.labels_of(*ordinal)? {
                let Label { target, name, judge, value, .. } = &label;
                let row = row_of(target, *ordinal, header.first_row);
                let on_steps = *target != Target::Trajectory;
                let at = label_column(&mut catalogue, name.as_str(), judge, on_steps);
                cells.push(LabelCell { label: at, row, value: *value });
                self.report.labels += 1;
            }
        }
        self.state.catalogue = Arc::new(catalogue);
        self.state.push_cells(cells);
        Ok(())
    }

    /// Writes what waits into chunks.
    fn fold(&mut self) -> Result<(), StoreError> {
        let mut folding = Folding::of(&self.store, &self.state);
        folding.run()?;
        let Folding { mut changes, replaced, manifest, .. } = folding;
        replaced.iter().for_each(|key| changes.delete(key));
        self.store.engine.write(changes, false)?;
        self.state = self.state.folded(manifest, &self.state);
        Ok(())
    }

    /// Puts what was made in the place of what was there.
    fn finish(mut self) -> Result<RepairReport, StoreError> {
        self.fold()?;
        let Repair { store, state, report, .. } = self;
        let mut changes = Changes::default();
        changes.put(&Key::Meta("manifest".to_owned()), state.manifest.as_ref());
        changes.put(&Key::Meta("catalogue".to_owned()), state.catalogue.as_ref());
        for name in [REPAIRING, super::fold::RETIRED] {
            changes.delete(&Key::Meta(name.to_owned()));
        }
        store.publish(changes, state, Durability::Now)?;
        store.flush()?;
        Ok(report)
    }
}
