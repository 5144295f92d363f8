//! Recordings in memory, and a clock that moves when it is read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use swirldb::tools::{Call, CallKey, CallKind, Cassette, CassetteError, Clock, Recording};

/// Recordings in memory.
#[derive(Default)]
pub struct Memory {
    recordings: Mutex<HashMap<CallKey, Recording>>,
    is_old: bool,
}

impl Memory {
    /// Returns what another one holds, opened once more.
    pub fn reopened(&self) -> Arc<Memory> {
        let recordings = self.recordings.lock().unwrap().clone();
        let is_old = !recordings.is_empty();
        Arc::new(Memory { recordings: Mutex::new(recordings), is_old })
    }

    pub fn all(&self) -> Vec<Recording> {
        let mut all: Vec<Recording> = self.recordings.lock().unwrap().values().cloned().collect();
        all.sort_by_key(|recording| recording.recorded_at_microseconds);
        all
    }
}

impl Cassette for Memory {
    fn find(&self, key: &CallKey) -> Result<Option<Recording>, CassetteError> {
        Ok(self.recordings.lock().unwrap().get(key).cloned())
    }

    fn insert(&self, recording: Recording) -> Result<Recording, CassetteError> {
        let mut recordings = self.recordings.lock().unwrap();
        Ok(recordings.entry(recording.key).or_insert(recording).clone())
    }

    fn replace(&self, recording: Recording) -> Result<(), CassetteError> {
        self.recordings.lock().unwrap().insert(recording.key, recording);
        Ok(())
    }

    fn is_new(&self) -> bool {
        !self.is_old
    }

    fn scan_calls(
        &self,
        kind: CallKind,
        name: &str,
        each: &mut dyn FnMut(&Call) -> bool,
    ) -> Result<(), CassetteError> {
        for recording in self.recordings.lock().unwrap().values() {
            let is_one = recording.call.kind == kind && recording.call.name == name;
            if is_one && !each(&recording.call) {
                break;
            }
        }
        Ok(())
    }
}

/// A clock that moves by a millisecond whenever it is read.
#[derive(Default)]
pub struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now_microseconds(&self) -> i64 {
        1_760_000_000_000_000 + self.0.fetch_add(1_000, Ordering::SeqCst)
    }

    fn elapsed_microseconds(&self) -> u64 {
        self.0.fetch_add(1_000, Ordering::SeqCst) as u64
    }
}
