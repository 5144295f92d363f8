//! Walking everything against everything.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Float64Type;

use super::StoreError;
use super::append::body_hash;
use super::fold::live_keys;
use super::open::Store;
use super::view::{ColumnRef, View, arrow_error};
use crate::codec::{
    Family, HeaderRecord, IdRecord, Key, Record, StepRows, TableId, TrajectoryRows, stored_columns,
};
use crate::model::{Target, Trajectory};

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Family and key, table and row.
    pub place: String,
    /// What was found, and what was expected.
    pub what: String,
}

/// What a walk saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Trajectories walked.
    pub trajectories: u64,
    /// Steps walked.
    pub steps: u64,
    /// Long texts walked.
    pub bodies: u64,
    /// Labels walked.
    pub labels: u64,
    /// Datasets walked.
    pub datasets: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Trajectories checked together: few, for each may be large.
const BATCH: u64 = 64;

/// Findings after which the walk ends: more would not be read.
const FINDINGS_MAX: usize = 100;

impl Store {
    /// Checks every block's checksum, then records against ids, bodies, columns, labels and
    /// datasets. `hash_of` gives the canonical content hash of a trajectory. `progress` is told
    /// the trajectories done and the number of all; it returns false to stop.
    ///
    /// # Errors
    /// Only what keeps the walk from going on; damage is a finding.
    pub fn verify(
        self: &std::sync::Arc<Store>,
        hash_of: &dyn Fn(&Trajectory) -> [u8; 32],
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<VerifyReport, StoreError> {
        let view = self.view();
        let mut walk = Walk { store: self, view: &view, report: VerifyReport::default() };
        walk.checked("files", |walk| walk.store.engine.verify_checksums());
        walk.checked("columns", Walk::chunks);
        walk.checked("bodies", Walk::bodies);
        let all = view.rows(TableId::Trajectories);
        let mut first = 0;
        while first < all && walk.report.findings.len() < FINDINGS_MAX {
            let end = all.min(first + BATCH);
            walk.checked("trajectories", |walk| walk.trajectories(first, end, hash_of));
            first = end;
            if !progress(first, all) {
                return Ok(walk.report);
            }
        }
        walk.checked("ids", Walk::ids);
        walk.checked("labels", Walk::labels);
        walk.checked("datasets", Walk::datasets);
        Ok(walk.report)
    }
}

impl Store {
    /// Returns what is wrong with the records, ids and columns of one trajectory.
    ///
    /// # Errors
    /// Damage that keeps it from being read.
    pub fn verify_trajectory(
        self: &std::sync::Arc<Store>,
        ordinal: u64,
        hash_of: &dyn Fn(&Trajectory) -> [u8; 32],
    ) -> Result<Vec<Finding>, StoreError> {
        let view = self.view();
        let mut walk = Walk { store: self, view: &view, report: VerifyReport::default() };
        walk.trajectories(ordinal, ordinal + 1, hash_of)?;
        Ok(walk.report.findings)
    }
}

struct Walk<'a> {
    store: &'a Store,
    view: &'a View,
    report: VerifyReport,
}

impl Walk<'_> {
    fn found(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(Finding { place: place.into(), what: what.into() });
        }
    }

    /// Runs a part of the walk; what stops it is a finding, and the next part still runs.
    fn checked(&mut self, part: &str, run: impl FnOnce(&mut Self) -> Result<(), StoreError>) {
        if let Err(error) = run(self) {
            self.found(part, error.to_string());
        }
    }

    /// Every live chunk is there. Versions that wait for their last view are there too and no
    /// damage: they go when it ends.
    fn chunks(&mut self) -> Result<(), StoreError> {
        let live = live_keys(&self.view.state);
        let mut seen = 0;
        self.store.engine.scan_keys(Family::Column, |key| {
            if live.contains(&key) {
                seen += 1;
            }
        })?;
        if seen < live.len() {
            let what = format!("{seen} chunks, the manifest names {}", live.len());
            self.found("column", what);
        }
        Ok(())
    }

    /// Every long text has the hash it is found by, and its number.
    fn bodies(&mut self) -> Result<(), StoreError> {
        let mut count = 0;
        let mut wrong = Vec::new();
        self.store.engine.scan(Family::Body, &[], &[], |key, value| {
            let number = Key::decode(Family::Body, key).map_err(StoreError::key)?;
            if number >= Key::Body(self.view.state.next_body) {
                return Ok(false);
            }
            count += 1;
            let hash = std::str::from_utf8(value).map(body_hash);
            let found = match hash {
                Ok(hash) => self.store.engine.get(&Key::BodyId(hash))?,
                Err(_) => None,
            };
            if found.as_deref() != Some(key) {
                wrong.push(format!("{number:?}"));
            }
            Ok(wrong.len() < FINDINGS_MAX)
        })?;
        self.report.bodies = count;
        for place in wrong {
            self.found(place, "its text is not the one it was stored under");
        }
        let mut ids = 0;
        self.store.engine.scan_keys(Family::BodyId, |_| ids += 1)?;
        if ids != count {
            self.found("body_id", format!("{ids} entries for {count} bodies"));
        }
        Ok(())
    }

    /// Records against ids, content hashes and columns.
    fn trajectories(
        &mut self,
        first: u64,
        end: u64,
        hash_of: &dyn Fn(&Trajectory) -> [u8; 32],
    ) -> Result<(), StoreError> {
        let table = TableId::Trajectories;
        let mut from = first;
        let gone: Vec<_> = self.view.deleted(table, first..end).collect();
        for run in gone {
            self.neighbours(from..run.start, hash_of)?;
            from = run.end;
        }
        self.neighbours(from..end, hash_of)
    }

    /// The same of trajectories none of which is deleted.
    fn neighbours(
        &mut self,
        ordinals: Range<u64>,
        hash_of: &dyn Fn(&Trajectory) -> [u8; 32],
    ) -> Result<(), StoreError> {
        let first = ordinals.start;
        let ordinals: Vec<u64> = ordinals.collect();
        let headers = self.view.headers(&ordinals)?;
        let whole = self.view.trajectories(&ordinals)?;
        let n_steps = whole.iter().map(|t| t.steps.len()).sum();
        let mut rows =
            (TrajectoryRows::with_capacity(whole.len()), StepRows::with_capacity(n_steps));
        for ((ordinal, header), trajectory) in ordinals.iter().zip(&headers).zip(&whole) {
            self.identity(*ordinal, header, trajectory, hash_of)?;
            rows.0.push(trajectory, header.first_row);
            rows.1.push(*ordinal, trajectory);
        }
        self.report.trajectories += whole.len() as u64;
        self.report.steps += whole.iter().map(|t| t.steps.len() as u64).sum::<u64>();
        let failed = || StoreError::codec("rows");
        let trajectories = rows.0.finish().map_err(failed())?;
        self.compare(TableId::Trajectories, first, &trajectories)?;
        let steps = rows.1.finish().map_err(failed())?;
        let first_row = headers.first().map_or(0, |h| h.first_row);
        self.compare(TableId::Steps, first_row, &steps)
    }

    fn identity(
        &mut self,
        ordinal: u64,
        header: &HeaderRecord,
        trajectory: &Trajectory,
        hash_of: &dyn Fn(&Trajectory) -> [u8; 32],
    ) -> Result<(), StoreError> {
        let place = format!("trajectory {ordinal} ('{}')", header.id);
        match self.view.find(&header.source, &header.id)? {
            Some((found, _)) if found != ordinal => {
                self.found(place, format!("its id leads to trajectory {found}"));
            }
            Some((_, hash)) if hash != hash_of(trajectory) => {
                self.found(place, "its content is not what was stored");
            }
            Some(_) => {}
            None => self.found(place, "its id leads nowhere"),
        }
        Ok(())
    }

    /// Compares rows made from records with the stored columns.
    fn compare(
        &mut self,
        table: TableId,
        first_row: u64,
        expected: &RecordBatch,
    ) -> Result<(), StoreError> {
        for (at, column) in stored_columns(table).iter().enumerate() {
            let reference = ColumnRef::Stored(table, at as u16);
            let found = self.range(table, reference, first_row, expected.num_rows() as u64)?;
            if &found == expected.column(at) {
                continue;
            }
            let row = (0..found.len().min(expected.num_rows()))
                .find(|r| found.slice(*r, 1) != expected.column(at).slice(*r, 1))
                .map_or(first_row, |r| first_row + r as u64);
            let what = format!("column {} differs from the records", column.name);
            self.found(format!("{} row {row}", table.name()), what);
        }
        Ok(())
    }

    /// Returns rows `first .. first + rows` of a column.
    fn range(
        &self,
        table: TableId,
        column: ColumnRef,
        first: u64,
        rows: u64,
    ) -> Result<ArrayRef, StoreError> {
        let end = first + rows;
        let mut parts: Vec<ArrayRef> = Vec::new();
        for segment in self.view.segments(table) {
            let from = first.max(segment.first_row);
            let to = end.min(segment.first_row + segment.rows);
            if from < to {
                let array = self.view.column(&segment, column)?;
                parts.push(array.slice((from - segment.first_row) as usize, (to - from) as usize));
            }
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        if parts.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.view.data_type(column)));
        }
        arrow::compute::concat(&parts).map_err(arrow_error)
    }

    /// Every id leads to a trajectory.
    fn ids(&mut self) -> Result<(), StoreError> {
        let all = self.view.rows(TableId::Trajectories);
        let there = self.view.count(TableId::Trajectories);
        let mut count = 0u64;
        let mut wrong = Vec::new();
        self.store.engine.scan(Family::Id, &[], &[], |key, value| {
            let key = Key::decode(Family::Id, key).map_err(StoreError::key)?;
            let record = IdRecord::decode(value).map_err(|e| StoreError::record(&key, e))?;
            count += u64::from(self.view.is_there(record.ordinal));
            if record.ordinal >= all {
                wrong.push((format!("{key:?}"), record.ordinal));
            }
            Ok(wrong.len() < FINDINGS_MAX)
        })?;
        for (place, ordinal) in wrong {
            self.found(place, format!("it leads to trajectory {ordinal} of {all}"));
        }
        if count != there {
            self.found("id", format!("{count} ids for {there} trajectories"));
        }
        Ok(())
    }

    /// Every newest fact is the value of its column, and columns hold nothing else.
    fn labels(&mut self) -> Result<(), StoreError> {
        let mut newest: HashMap<(usize, u64), f64> = HashMap::new();
        let mut count = 0;
        let columns = self.view.labels().to_vec();
        let view = self.view;
        let mut strays = Vec::new();
        let mut header: Option<(u64, HeaderRecord)> = None;
        self.store.scan_labels(|trajectory, sequence, label| {
            if sequence > view.sequence() || !view.is_there(trajectory) {
                return Ok(true);
            }
            count += 1;
            if header.as_ref().is_none_or(|(o, _)| *o != trajectory) {
                header = view.headers(&[trajectory])?.pop().map(|h| (trajectory, h));
            }
            let first_row = header.as_ref().map_or(0, |(_, h)| h.first_row);
            let (on_steps, row) = match label.target {
                Target::Step(step) => (true, first_row + u64::from(step) - 1),
                _ => (false, trajectory),
            };
            let name = label.name.as_str();
            let at = columns
                .iter()
                .position(|c| c.on_steps == on_steps && c.name == name && c.judge == label.judge);
            match at {
                Some(at) => drop(newest.insert((at, row), label.value)),
                None => strays.push(format!("{name}@{}", label.judge)),
            }
            Ok(true)
        })?;
        self.report.labels = count;
        for stray in strays {
            self.found(format!("label {stray}"), "it has no column");
        }
        for (at, column) in columns.iter().enumerate() {
            let table = if column.on_steps { TableId::Steps } else { TableId::Trajectories };
            let reference = ColumnRef::Label(at as u16);
            let values = self.range(table, reference, 0, self.view.rows(table))?;
            for (row, value) in values.as_primitive::<Float64Type>().iter().enumerate() {
                let fact = newest.get(&(at, row as u64)).copied();
                let is_gone = || self.view.state.deleted.holds(table, row as u64);
                if fact.map(f64::to_bits) != value.map(f64::to_bits) && !is_gone() {
                    let place = format!("\"{}@{}\" row {row}", column.name, column.judge);
                    self.found(place, format!("the column says {value:?}, the label {fact:?}"));
                }
            }
        }
        Ok(())
    }

    /// Every row of a dataset is a step that is still what it was.
    fn datasets(&mut self) -> Result<(), StoreError> {
        for dataset in self.store.datasets()? {
            self.report.datasets += 1;
            let rows = self.store.dataset_rows(&dataset.name)?;
            let place = format!("dataset '{}'", dataset.name);
            if rows.len() as u64 != dataset.rows {
                self.found(&*place, format!("{} rows, expected {}", rows.len(), dataset.rows));
            }
            let mut ordinals: Vec<u64> = rows.iter().map(|r| r.trajectory).collect();
            ordinals.sort_unstable();
            ordinals.dedup();
            ordinals.retain(|ordinal| self.view.is_there(*ordinal));
            let hashes = self.view.content_hashes(&ordinals)?;
            let hashes: HashMap<u64, [u8; 32]> = ordinals.into_iter().zip(hashes).collect();
            for row in rows {
                if hashes.get(&row.trajectory) != Some(&row.content_hash) {
                    let what = format!("trajectory {} is not what was saved", row.trajectory);
                    self.found(&*place, what);
                }
            }
        }
        Ok(())
    }
}
