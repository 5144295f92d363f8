//! Recorded calls, by cassette and key.

use super::StoreError;
use super::engine::Changes;
use super::open::Store;
use crate::codec::{Family, Key, Record, RecordingRecord};

impl Store {
    /// Returns the recording of a call in a cassette.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn recording(
        &self,
        cassette: &str,
        call: [u8; 32],
    ) -> Result<Option<RecordingRecord>, StoreError> {
        self.engine.record(&Key::Recording(cassette.to_owned(), call))
    }

    /// Stores what `change` makes of the recording of a call and returns it. `durable`: it survives
    /// a power cut once this returns.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn change_recording(
        &self,
        cassette: &str,
        call: [u8; 32],
        durable: bool,
        change: impl FnOnce(Option<RecordingRecord>) -> RecordingRecord,
    ) -> Result<RecordingRecord, StoreError> {
        let _writer = self.writer();
        let key = Key::Recording(cassette.to_owned(), call);
        let earlier: Option<RecordingRecord> = self.engine.record(&key)?;
        let changed = change(earlier.clone());
        if earlier.as_ref() != Some(&changed) {
            let mut changes = Changes::default();
            changes.put(&key, &changed);
            self.engine.write(changes, durable)?;
        }
        Ok(changed)
    }

    /// Visits the recordings of a cassette, or of all, in the order of cassettes and keys, until
    /// `visit` returns false.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn scan_recordings(
        &self,
        cassette: Option<&str>,
        mut visit: impl FnMut(&str, [u8; 32], RecordingRecord) -> bool,
    ) -> Result<(), StoreError> {
        let prefix = cassette.map(Key::name_prefix).unwrap_or_default();
        self.engine.scan(Family::Recording, &prefix, &[], |key, value| {
            let key = Key::decode(Family::Recording, key).map_err(StoreError::key)?;
            let record = RecordingRecord::decode(value).map_err(|e| StoreError::record(&key, e))?;
            match &key {
                Key::Recording(cassette, call) => Ok(visit(cassette, *call, record)),
                _ => Ok(true),
            }
        })
    }
}
