//! Actions proposed at stored states and not executed.

use super::StoreError;
use super::engine::Changes;
use super::open::{Durability, Store};
use crate::codec::{Family, Key, Record, SampleRecord};

/// At which state a sample was proposed, and which it is: ordinal, step, number.
pub type SampleOf = (u64, u32, u32);

impl Store {
    /// Stores samples of a run. One that is there already is replaced: a run that goes on draws the
    /// same again.
    ///
    /// # Errors
    /// What the disk says; then none of them is stored.
    pub fn put_samples(
        &self,
        run: &str,
        samples: &[(SampleOf, SampleRecord)],
        durability: Durability,
    ) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        for ((trajectory, step, sample), record) in samples {
            let (run, trajectory, step, sample) = (run.to_owned(), *trajectory, *step, *sample);
            changes.put(&Key::Sample { trajectory, step, run, sample }, record);
        }
        self.engine.write(changes, durability == Durability::Now)
    }

    /// Visits every sample in the order of trajectories, steps, runs and numbers, until `visit`
    /// returns false.
    ///
    /// # Errors
    /// Damage, or what the disk says; what `visit` returns.
    pub fn scan_samples(
        &self,
        mut visit: impl FnMut(&str, SampleOf, SampleRecord) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.engine.scan(Family::Sample, &[], &[], |key, value| {
            let key = Key::decode(Family::Sample, key).map_err(StoreError::key)?;
            let record = SampleRecord::decode(value).map_err(|e| StoreError::record(&key, e))?;
            match &key {
                Key::Sample { trajectory, step, run, sample } => {
                    visit(run, (*trajectory, *step, *sample), record)
                }
                _ => Ok(true),
            }
        })
    }

    /// Returns the numbers of a run's samples at the states of a trajectory: step and number.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn samples_of(&self, run: &str, trajectory: u64) -> Result<Vec<(u32, u32)>, StoreError> {
        let mut found = Vec::new();
        let prefix = Key::trajectory_prefix(trajectory);
        self.engine.scan(Family::Sample, &prefix, &prefix, |key, _| {
            let key = Key::decode(Family::Sample, key).map_err(StoreError::key)?;
            if let Key::Sample { run: of, step, sample, .. } = key
                && of == run
            {
                found.push((step, sample));
            }
            Ok(true)
        })?;
        Ok(found)
    }
}
