//! Recorded calls in the store: cassettes by name.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::error::SessionError;
use super::statement::Session;
use crate::codec::RecordingRecord;
use crate::db::DbError;
use crate::exchange::create;
use crate::store::Store;
use crate::tools::{
    Call, CallKey, CallKind, Cassette, CassetteError, Clock, DriftReport, Lookup, RecordMode,
    Recorder, Recording, ToolOutput, Toolbox, read_recordings, replay, write_recording,
};

/// A cassette of a database.
struct StoreCassette {
    store: Arc<Store>,
    name: String,
    is_new: bool,
    /// Whether hits and misses are counted.
    counts: bool,
    clock: SystemClock,
}

impl Session {
    /// Returns what records calls into a cassette, or replays them.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn recorder(&self, cassette: &str, mode: RecordMode) -> Result<Recorder, SessionError> {
        check_name(cassette)?;
        let store = self.database().store().clone();
        let mut is_new = true;
        store.scan_recordings(Some(cassette), |_, _, record| {
            is_new = record.output.is_none();
            is_new
        })?;
        let clock = SystemClock::new();
        let counts = self.database().is_writable();
        let cassette = StoreCassette { store, name: cassette.to_owned(), is_new, counts, clock };
        Ok(Recorder::new(Arc::new(cassette), Arc::new(clock), mode))
    }

    /// Returns the recordings of a cassette in the order they were made.
    ///
    /// # Errors
    /// There is none; damage, or what the disk says.
    pub fn recordings(&self, cassette: &str) -> Result<Vec<Recording>, SessionError> {
        let mut recordings = Vec::new();
        let mut wrong = None;
        self.database().store().scan_recordings(Some(cassette), |_, key, record| {
            match recording(key, record) {
                Ok(recording) => recordings.extend(recording),
                Err(error) => wrong = Some(error),
            }
            wrong.is_none()
        })?;
        if let Some(error) = wrong {
            return Err(SessionError::Environment(error.to_string()));
        }
        if recordings.is_empty() {
            let message =
                format!("there is no cassette '{cassette}', or nothing is recorded in it");
            return Err(SessionError::mistake("unknown-cassette", message));
        }
        recordings.sort_by_key(|r| (r.recorded_at_microseconds, r.key));
        Ok(recordings)
    }

    /// Makes the recorded calls of a cassette again and says what has drifted.
    ///
    /// # Errors
    /// As [`Session::recordings`].
    pub fn replay(&self, cassette: &str, tools: &Toolbox) -> Result<DriftReport, SessionError> {
        let recordings = self.recordings(cassette)?;
        self.progress().begin("replaying calls", recordings.len() as u64);
        let each = recordings.into_iter().map(|recording| {
            self.progress().advance(1);
            Ok::<_, SessionError>(recording)
        });
        let report = replay(each, tools, &|| self.cancel().is_cancelled());
        self.progress().end();
        report
    }

    /// Writes a cassette to a file, a line a recording. Returns how many.
    ///
    /// # Errors
    /// As [`Session::recordings`]; the file cannot be written.
    pub fn export_recordings(&self, cassette: &str, path: &Path) -> Result<u64, SessionError> {
        let recordings = self.recordings(cassette)?;
        let mut out = create(path).map_err(DbError::from)?;
        for recording in &recordings {
            write_recording(&mut out, recording).map_err(SessionError::Output)?;
        }
        out.finish().map_err(DbError::from)?;
        Ok(recordings.len() as u64)
    }

    /// Stores the recordings of a file in a cassette. Returns how many were new, and how many were
    /// left out because the same call has another answer there.
    ///
    /// # Errors
    /// The file cannot be read, or a line is no recording; the cassette has no name.
    pub fn import_recordings(
        &self,
        cassette: &str,
        path: &Path,
    ) -> Result<(u64, u64), SessionError> {
        check_name(cassette)?;
        let store = self.database().store();
        let (mut new, mut conflicts) = (0, 0);
        for recording in read_recordings(path).map_err(DbError::from)? {
            let recording = recording.map_err(DbError::from)?;
            let recording = recording.map_err(|bad| {
                SessionError::mistake("recording", format!("{}: {bad}", path.display()))
            })?;
            let key = *recording.key.as_bytes();
            store.change_recording(cassette, key, false, |earlier| {
                let record = record(recording);
                match &earlier {
                    Some(earlier) if earlier.output.is_some() => {
                        let same = earlier.output == record.output
                            && earlier.structured == record.structured
                            && earlier.is_error == record.is_error;
                        conflicts += u64::from(!same);
                    }
                    _ => new += 1,
                }
                joined(earlier, record, false)
            })?;
        }
        store.sync()?;
        Ok((new, conflicts))
    }
}

impl Cassette for StoreCassette {
    fn find(&self, key: &CallKey) -> Result<Option<Recording>, CassetteError> {
        let found = self.store.recording(&self.name, *key.as_bytes()).map_err(failed)?;
        found.map_or(Ok(None), |record| recording(*key.as_bytes(), record))
    }

    fn insert(&self, new: Recording) -> Result<Recording, CassetteError> {
        let key = *new.key.as_bytes();
        let kept = self
            .store
            .change_recording(&self.name, key, true, |earlier| joined(earlier, record(new), false));
        let kept = recording(key, kept.map_err(failed)?)?;
        kept.ok_or_else(|| failed("what was recorded has no output"))
    }

    fn replace(&self, new: Recording) -> Result<(), CassetteError> {
        let key = *new.key.as_bytes();
        let kept = self
            .store
            .change_recording(&self.name, key, true, |earlier| joined(earlier, record(new), true));
        kept.map(drop).map_err(failed)
    }

    fn count(&self, call: &Call, key: &CallKey, lookup: Lookup) -> Result<(), CassetteError> {
        if !self.counts {
            return Ok(());
        }
        let now = self.clock.now_microseconds();
        // A count that a power cut takes is no loss.
        let counted = self.store.change_recording(&self.name, *key.as_bytes(), false, |earlier| {
            let mut record = earlier.unwrap_or_else(|| refused(call.clone(), now));
            match lookup {
                Lookup::Hit => record.hits += 1,
                Lookup::Miss => record.misses += 1,
            }
            record
        });
        counted.map(drop).map_err(failed)
    }

    fn is_new(&self) -> bool {
        self.is_new
    }

    fn scan_calls(
        &self,
        kind: CallKind,
        name: &str,
        each: &mut dyn FnMut(&Call) -> bool,
    ) -> Result<(), CassetteError> {
        let mut wrong = None;
        let scanned = self.store.scan_recordings(Some(&self.name), |_, key, record| {
            if record.kind != kind.as_str() || record.name != name {
                return true;
            }
            match recording(key, record) {
                Ok(Some(recording)) => each(&recording.call),
                Ok(None) => true,
                Err(error) => {
                    wrong = Some(error);
                    false
                }
            }
        });
        scanned.map_err(failed)?;
        wrong.map_or(Ok(()), Err)
    }
}

fn failed(error: impl std::fmt::Display) -> CassetteError {
    CassetteError { message: error.to_string() }
}

/// Returns the recording that a record is, `None` if the call was never made.
fn recording(key: [u8; 32], record: RecordingRecord) -> Result<Option<Recording>, CassetteError> {
    let Some(text) = record.output else { return Ok(None) };
    let kind = CallKind::parse(&record.kind);
    let kind = kind.ok_or_else(|| failed(format!("a recording of kind '{}'", record.kind)))?;
    let structured = record.structured.map(|json| serde_json::from_str(&json));
    let structured = structured.transpose().map_err(failed)?;
    Ok(Some(Recording {
        key: CallKey::from_bytes(key),
        call: Call {
            kind,
            name: record.name,
            version: record.version,
            corpus: record.corpus,
            arguments: record.arguments,
            occurrence: record.occurrence,
        },
        output: ToolOutput { text, is_error: record.is_error, structured },
        latency_microseconds: record.latency_microseconds,
        recorded_at_microseconds: record.recorded_at,
    }))
}

/// Returns the record of a call that was refused and never made.
fn refused(call: Call, now: i64) -> RecordingRecord {
    RecordingRecord {
        kind: call.kind.as_str().to_owned(),
        name: call.name,
        version: call.version,
        corpus: call.corpus,
        arguments: call.arguments,
        occurrence: call.occurrence,
        output: None,
        is_error: false,
        structured: None,
        hits: 0,
        misses: 0,
        latency_microseconds: 0,
        recorded_at: now,
    }
}

fn record(recording: Recording) -> RecordingRecord {
    let Recording { call, output, .. } = recording;
    RecordingRecord {
        output: Some(output.text),
        is_error: output.is_error,
        structured: output.structured.map(|value| value.to_string()),
        latency_microseconds: recording.latency_microseconds,
        ..refused(call, recording.recorded_at_microseconds)
    }
}

fn check_name(cassette: &str) -> Result<(), SessionError> {
    match cassette.is_empty() {
        true => Err(SessionError::mistake("unknown-cassette", "a cassette has a name")),
        false => Ok(()),
    }
}

/// Returns what is kept of a new recording beside an earlier one: the earlier, unless `over`; what
/// was counted stays.
fn joined(earlier: Option<RecordingRecord>, new: RecordingRecord, over: bool) -> RecordingRecord {
    match earlier {
        Some(earlier) if earlier.output.is_some() && !over => earlier,
        Some(earlier) => RecordingRecord { hits: earlier.hits, misses: earlier.misses, ..new },
        None => new,
    }
}

/// The system's clocks.
#[derive(Clone, Copy)]
pub(super) struct SystemClock(Instant);

impl SystemClock {
    pub(super) fn new() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl crate::chat::Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time.min(Duration::from_millis(50)));
    }
}

impl Clock for SystemClock {
    fn now_microseconds(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| since.as_micros() as i64)
    }

    fn elapsed_microseconds(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}
