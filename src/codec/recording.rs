//! Records of calls of tools, judges and policies.

use bincode::{Decode, Encode};

use super::record::Record;

/// A call and what came back; its key is the record's.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct RecordingRecord {
    /// `tool`, `judge` or `policy`.
    pub kind: String,
    /// What was called.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The fingerprint of the corpus that it answers from, in hexadecimal digits.
    pub corpus: Option<String>,
    /// The arguments as canonical JSON.
    pub arguments: String,
    /// How many equal calls came before it, where the answer may depend on that.
    pub occurrence: u32,
    /// The answer, or the text of the error; `None` for a call that was refused and never made.
    pub output: Option<String>,
    /// Whether the answer is an error.
    pub is_error: bool,
    /// The answer as JSON, for tools that have one.
    pub structured: Option<String>,
    /// How often it answered a call.
    pub hits: u64,
    /// How often the call was refused because it was not recorded.
    pub misses: u64,
    /// How long it took, in microseconds.
    pub latency_microseconds: u64,
    /// When it ended, or was refused first, in microseconds since 1970-01-01T00:00:00Z.
    pub recorded_at: i64,
}

impl Record for RecordingRecord {
    const WHAT: &'static str = "recording";
}
