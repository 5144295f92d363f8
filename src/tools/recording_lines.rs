//! Recordings as lines of JSON.
//!
//! One line each:
//! `{"swirl_recording":1,"key":"..","kind":"tool","name":"search","version":"1","corpus":null,`
//! `"arguments":{..},"occurrence":0,"output":"..","is_error":false,"structured":null,`
//! `"latency_microseconds":1250,"recorded_at_microseconds":1760000000000000}`.
//! The arguments stand there in their canonical form. Reading makes the key again and refuses a
//! line that says another one: a recording edited by hand must not answer a call it was not made
//! for.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::call::{Call, CallKey, CallKind, Recording};
use super::canonical::canonical_json;
use super::tool::ToolOutput;
use crate::exchange::{BadRecord, ExchangeError, Fault, Lines};

/// The layout of a line.
const LAYOUT: u32 = 1;

/// The longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = 256 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    swirl_recording: u32,
    key: String,
    kind: String,
    name: String,
    version: String,
    #[serde(default)]
    corpus: Option<String>,
    #[serde(borrow)]
    arguments: &'a RawValue,
    occurrence: u32,
    output: String,
    is_error: bool,
    #[serde(default)]
    structured: Option<Value>,
    latency_microseconds: u64,
    recorded_at_microseconds: i64,
}

/// Writes a recording as one line.
///
/// # Errors
/// `out` cannot be written, or the arguments are no JSON.
pub fn write_recording(out: &mut impl Write, recording: &Recording) -> io::Result<()> {
    let call = &recording.call;
    let line = Line {
        swirl_recording: LAYOUT,
        key: recording.key.to_string(),
        kind: call.kind.as_str().to_owned(),
        name: call.name.clone(),
        version: call.version.clone(),
        corpus: call.corpus.clone(),
        arguments: serde_json::from_str(&call.arguments)?,
        occurrence: call.occurrence,
        output: recording.output.text.clone(),
        is_error: recording.output.is_error,
        structured: recording.output.structured.clone(),
        latency_microseconds: recording.latency_microseconds,
        recorded_at_microseconds: recording.recorded_at_microseconds,
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// Returns the recording that a line writes.
///
/// # Errors
/// The field and what is wrong with it.
pub fn parse_recording(text: &str) -> Result<Recording, Fault> {
    #[derive(Deserialize)]
    struct Layout {
        swirl_recording: Option<u32>,
    }
    let layout = serde_json::from_str::<Layout>(text);
    match layout.map(|layout| layout.swirl_recording) {
        Ok(Some(LAYOUT)) | Err(_) => {}
        Ok(Some(layout)) => {
            let message = format!(
                "found layout {layout}; this program reads layout {LAYOUT}: use the version of the \
                 program that wrote it"
            );
            return Err(Fault::of("swirl_recording", message));
        }
        Ok(None) => {
            return Err(Fault::of("swirl_recording", "missing; expected a recording"));
        }
    }
    let line: Line<'_> =
        serde_json::from_str(text).map_err(|error| Fault::whole(error.to_string()))?;
    let kind = CallKind::parse(&line.kind).ok_or_else(|| {
        Fault::of("kind", format!("found '{}'; expected tool, judge or policy", line.kind))
    })?;
    let arguments = canonical_json(line.arguments.get())
        .map_err(|error| Fault::of("arguments", error.to_string()))?;
    let call = Call {
        kind,
        name: line.name,
        version: line.version,
        corpus: line.corpus,
        arguments,
        occurrence: line.occurrence,
    };
    let key = call.key();
    if CallKey::parse(&line.key) != Some(key) {
        let message = format!("found '{}'; the key of this call is {key}", line.key);
        return Err(Fault::of("key", message));
    }
    let output =
        ToolOutput { text: line.output, is_error: line.is_error, structured: line.structured };
    Ok(Recording {
        key,
        call,
        output,
        latency_microseconds: line.latency_microseconds,
        recorded_at_microseconds: line.recorded_at_microseconds,
    })
}

/// Returns the recordings of a file, plain or compressed with gzip or zstd, in its order.
///
/// # Errors
/// The file cannot be opened. Of the items: a line that is no recording is an [`Ok`] with its place
/// and field, and reading goes on behind it; damage of the file is an [`Err`] and ends it.
pub fn read_recordings(
    path: &Path,
) -> Result<
    impl Iterator<Item = Result<Result<Recording, BadRecord>, ExchangeError>> + use<>,
    ExchangeError,
> {
    let lines = Lines::open(path, LINE_BYTES_MAX)?;
    Ok(lines.map(|line| {
        line.map(|line| {
            line.and_then(|line| parse_recording(&line.text).map_err(|fault| fault.at(line.place)))
        })
    }))
}
