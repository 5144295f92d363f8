//! Datasets, runs and metrics: named records.

use super::StoreError;
use super::engine::Changes;
use super::open::{Durability, Store};
use super::state::State;
use crate::codec::{
    DatasetRecord, DatasetRow, Family, Key, MetricRecord, Record, RunRecord, TableId,
};

/// Rows in one record of a dataset.
const DATASET_ROWS: usize = 16_384;

impl Store {
    /// Stores a dataset. Datasets never change: a name that is there is refused.
    ///
    /// # Errors
    /// [`StoreError::Name`] when the name is taken; else what the disk says.
    pub fn save_dataset(
        &self,
        dataset: &DatasetRecord,
        rows: &[DatasetRow],
    ) -> Result<(), StoreError> {
        let _writer = self.writer();
        if self.dataset(&dataset.name)?.is_some() {
            let name = &dataset.name;
            return Err(StoreError::Name(format!(
                "dataset '{name}' is there already and datasets never change: choose another name"
            )));
        }
        let deleted = &self.state().deleted;
        let table = TableId::Trajectories;
        if let Some(row) = rows.iter().find(|row| deleted.holds(table, row.trajectory)) {
            let message = format!("trajectory {} was deleted meanwhile", row.trajectory);
            return Err(StoreError::Name(message));
        }
        let mut changes = Changes::default();
        changes.put(&Key::Dataset(dataset.name.clone(), 0), dataset);
        for (chunk, rows) in rows.chunks(DATASET_ROWS).zip(1..).map(|(r, c)| (c, r)) {
            changes.put(&Key::Dataset(dataset.name.clone(), chunk), &rows.to_vec());
        }
        self.commit(changes)
    }

    /// Removes a dataset's manifest and rows; the trajectories stay.
    ///
    /// # Errors
    /// [`StoreError::Name`] when there is none of that name; what the disk says.
    pub fn drop_dataset(&self, name: &str) -> Result<DatasetRecord, StoreError> {
        let _writer = self.writer();
        let Some(dataset) = self.dataset(name)? else {
            return Err(StoreError::Name(format!("there is no dataset '{name}'")));
        };
        let mut changes = Changes::default();
        self.drop_dataset_changes(name, &mut changes)?;
        self.commit(changes)?;
        Ok(dataset)
    }

    /// Adds the removal of a dataset to the changes.
    pub(super) fn drop_dataset_changes(
        &self,
        name: &str,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        self.engine.scan(Family::Dataset, &Key::name_prefix(name), &[], |key, _| {
            changes.delete(&Key::decode(Family::Dataset, key).map_err(StoreError::key)?);
            Ok(true)
        })
    }

    /// Returns the dataset of that name.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn dataset(&self, name: &str) -> Result<Option<DatasetRecord>, StoreError> {
        self.engine.record(&Key::Dataset(name.to_owned(), 0))
    }

    /// Returns the rows of a dataset in the order they were saved.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn dataset_rows(&self, name: &str) -> Result<Vec<DatasetRow>, StoreError> {
        let mut rows = Vec::new();
        let from = Key::Dataset(name.to_owned(), 1).encode();
        self.engine.scan(Family::Dataset, &Key::name_prefix(name), &from, |_, value| {
            let chunk = Vec::<DatasetRow>::decode(value);
            rows.extend(chunk.map_err(StoreError::codec(format!("dataset {name}")))?);
            Ok(true)
        })?;
        Ok(rows)
    }

    /// Returns every dataset by name.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn datasets(&self) -> Result<Vec<DatasetRecord>, StoreError> {
        let mut datasets = Vec::new();
        self.engine.scan(Family::Dataset, &[], &[], |key, value| {
            let key = Key::decode(Family::Dataset, key).map_err(StoreError::key)?;
            if let Key::Dataset(_, 0) = key {
                let record = DatasetRecord::decode(value);
                datasets.push(record.map_err(|e| StoreError::record(&key, e))?);
            }
            Ok(true)
        })?;
        Ok(datasets)
    }

    /// Stores a run, or what became of it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn put_run(&self, run: &RunRecord) -> Result<(), StoreError> {
        let _writer = self.writer();
        let mut changes = Changes::default();
        changes.put(&Key::Run(run.id.clone()), run);
        self.commit(changes)
    }

    /// Returns the run of that id.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn run(&self, id: &str) -> Result<Option<RunRecord>, StoreError> {
        self.engine.record(&Key::Run(id.to_owned()))
    }

    /// Returns every run by id.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        let mut runs = Vec::new();
        self.engine.scan(Family::Run, &[], &[], |key, value| {
            let place = || format!("run {key:02x?}");
            runs.push(RunRecord::decode(value).map_err(StoreError::codec(place()))?);
            Ok(true)
        })?;
        Ok(runs)
    }

    /// Stores what a run measured at one of its steps. Numbers written again for the same step
    /// replace the old ones: a resumed run repeats the steps after its checkpoint.
    ///
    /// # Errors
    /// What the disk says.
    pub fn put_metrics(
        &self,
        run: &str,
        step: u64,
        metrics: &[(&str, f64)],
    ) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        for (name, value) in metrics {
            let key = Key::Metric(run.to_owned(), step, (*name).to_owned());
            changes.put(&key, &MetricRecord { value: *value });
        }
        // Not synced: a metric lost with the power is measured again when the run resumes.
        self.engine.write(changes, false)
    }

    /// Visits every metric: run, step, name, value.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn scan_metrics(
        &self,
        mut visit: impl FnMut(String, u64, String, f64),
    ) -> Result<(), StoreError> {
        self.engine.scan(Family::Metric, &[], &[], |key, value| {
            let key = Key::decode(Family::Metric, key).map_err(StoreError::key)?;
            let record = MetricRecord::decode(value).map_err(|e| StoreError::record(&key, e))?;
            if let Key::Metric(run, step, name) = key {
                visit(run, step, name, record.value);
            }
            Ok(true)
        })
    }

    fn commit(&self, changes: Changes) -> Result<(), StoreError> {
        let state = self.state();
        let next = State { sequence: state.sequence + 1, ..state.as_ref().clone() };
        self.publish(changes, next, Durability::Now)
    }
}
