//! What training runs made of each action.

use super::StoreError;
use super::engine::Changes;
use super::open::Store;
use crate::codec::{ExampleRecord, Family, Key, Record};

/// Whose action it is: ordinal, step, and the pair it is a side of, from 1, or 0.
pub type ExampleOf = (u64, u32, u64);

impl Store {
    /// Stores what an epoch of a run made of actions. What is written again replaces what was
    /// there, but for a log-probability that it leaves out: a resumed run repeats the steps after
    /// its checkpoint, and those at the end of an epoch come later than those before.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn put_examples(
        &self,
        run: &str,
        epoch: u64,
        examples: &[(ExampleOf, ExampleRecord)],
    ) -> Result<(), StoreError> {
        let key = |((trajectory, step, pair), _): &(ExampleOf, ExampleRecord)| Key::Example {
            run: run.to_owned(),
            epoch,
            trajectory: *trajectory,
            step: *step,
            pair: *pair,
        };
        let keys: Vec<Key> = examples.iter().map(key).collect();
        let encoded: Vec<Vec<u8>> = keys.iter().map(Key::encode).collect();
        let stored = self.engine.get_many(Family::Example, &encoded)?;
        let mut changes = Changes::default();
        for ((key, stored), (_, example)) in keys.iter().zip(stored).zip(examples) {
            let mut example = example.clone();
            if let Some(bytes) = stored {
                let earlier =
                    ExampleRecord::decode(&bytes).map_err(|e| StoreError::record(key, e))?;
                // The step that an action was part of, and not the last one of the epoch.
                if example.log_prob_start.is_none() {
                    example.training_step = earlier.training_step;
                }
                example.log_prob_start = example.log_prob_start.or(earlier.log_prob_start);
                example.log_prob_end = example.log_prob_end.or(earlier.log_prob_end);
                example.log_prob_reference =
                    example.log_prob_reference.or(earlier.log_prob_reference);
            }
            changes.put(key, &example);
        }
        // Not synced: what is lost with the power is measured again when the run resumes.
        self.engine.write(changes, false)
    }

    /// Visits every example: run, epoch, whose action it is, what was made of it.
    ///
    /// # Errors
    /// Damage, or what the disk says; what `visit` returns.
    pub fn scan_examples(
        &self,
        mut visit: impl FnMut(&str, u64, ExampleOf, ExampleRecord) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.engine.scan(Family::Example, &[], &[], |key, value| {
            let key = Key::decode(Family::Example, key).map_err(StoreError::key)?;
            let record = ExampleRecord::decode(value).map_err(|e| StoreError::record(&key, e))?;
            match &key {
                Key::Example { run, epoch, trajectory, step, pair } => {
                    visit(run, *epoch, (*trajectory, *step, *pair), record)
                }
                _ => Ok(true),
            }
        })
    }
}
