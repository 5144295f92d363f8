//! The project's own JSONL: what export writes and import reads back without loss.
//!
//! Every line stands for itself and names the version, so files can be concatenated and cut:
//!
//! ```text
//! {"swirl":1,"judge":{"name":"human","kind":"human"}}
//! {"swirl":1,"trajectory":{"source":"hotpotqa","id":"7",...},"labels":[{"target":...}]}
//! {"swirl":1,"labels_of":{"source":"hotpotqa","id":"7","labels":[{"place":...}]}}
//! {"swirl":1,"dataset":{"name":"good",...}}
//! {"swirl":1,"dataset_rows":{"dataset":"good",...}}
//! ```
//!
//! Fields are those of [`crate::model`]; an unknown one is refused and not dropped.

use std::io::{self, BufWriter, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::dataset::{DatasetManifest, DatasetRows, WrittenRow};
use super::error::{ExchangeError, Fault, Place};
use super::json;
use super::parser::{Names, Parser};
use super::record::{Draft, LabelRecord, PlacedLabel, Record};
use crate::model::{Judge, Label, Trajectory};

/// The version that is written, and the newest that is read.
pub const NATIVE_VERSION: u32 = 1;

/// The bytes hashed at once: enough for all lanes of the widest instructions.
const HASHED_AT_ONCE: usize = 64 << 10;

/// Returns the BLAKE3 of what a trajectory says, its identifier left out: the identifier of
/// trajectories whose source gives them none.
pub fn content_hash(trajectory: &Trajectory) -> [u8; 32] {
    content_hash_of(&mut trajectory.clone())
}

/// Returns what [`content_hash`] returns, without a copy of the trajectory, which is the same
/// afterwards.
pub(super) fn content_hash_of(trajectory: &mut Trajectory) -> [u8; 32] {
    let id = std::mem::take(&mut trajectory.id);
    let mut text = BufWriter::with_capacity(HASHED_AT_ONCE, blake3::Hasher::new());
    // Plain data cannot fail to be written as JSON; numbers without a text become null. A hasher
    // takes every byte.
    let written = serde_json::to_writer(&mut text, trajectory).map(|()| text.flush());
    debug_assert!(matches!(written, Ok(Ok(()))));
    trajectory.id = id;
    *text.get_ref().finalize().as_bytes()
}

/// A line as it is written.
#[derive(Default, Serialize)]
struct Written<'a> {
    swirl: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    judge: Option<&'a Judge>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trajectory: Option<&'a Trajectory>,
    #[serde(skip_serializing_if = "<[Label]>::is_empty")]
    labels: &'a [Label],
    #[serde(skip_serializing_if = "Option::is_none")]
    labels_of: Option<LabelsOf<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<&'a DatasetManifest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_rows: Option<&'a DatasetRows>,
}

/// A line as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    swirl: u32,
    judge: Option<Judge>,
    trajectory: Option<Box<Trajectory>>,
    #[serde(default)]
    labels: Vec<Label>,
    labels_of: Option<ReadLabelsOf>,
    dataset: Option<Box<DatasetManifest>>,
    dataset_rows: Option<Box<DatasetRows>>,
}

/// Labels of a trajectory that stands elsewhere, as they are written.
#[derive(Serialize)]
struct LabelsOf<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    id: &'a str,
    labels: &'a [PlacedLabel],
    #[serde(skip_serializing_if = "<[Judge]>::is_empty")]
    judges: &'a [Judge],
}

/// Labels of a trajectory that stands elsewhere, as they are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadLabelsOf {
    source: Option<String>,
    id: String,
    labels: Vec<PlacedLabel>,
    #[serde(default)]
    judges: Vec<Judge>,
}

/// Reads the project's own JSONL.
pub(super) struct Native {
    names: Names,
}

impl Native {
    pub(super) fn new(names: Names) -> Native {
        Native { names }
    }

    fn trajectory(&self, mut trajectory: Box<Trajectory>) -> Box<Trajectory> {
        if let Some(source) = &self.names.source {
            trajectory.source = source.clone();
        }
        if let Some(split) = &self.names.split {
            trajectory.split = Some(split.clone());
        }
        trajectory
    }

    /// Reads a line of a dataset, which pins its trajectories as they are called in the file.
    fn dataset(&self, line: Read) -> Result<Vec<Record>, Fault> {
        if self.names.source.is_some() || self.names.split.is_some() {
            let message = "a dataset holds the trajectories as their source names them; import \
                           without --source and --split";
            return Err(Fault::of("dataset", message));
        }
        let Read { judge: None, trajectory: None, labels_of: None, dataset, dataset_rows, .. } =
            line
        else {
            return Err(Fault::whole(EXPECTED));
        };
        match (dataset, dataset_rows, line.labels.is_empty()) {
            (Some(dataset), None, true) => Ok(vec![Record::Dataset(dataset)]),
            (None, Some(rows), true) => Ok(vec![Record::DatasetRows(rows)]),
            _ => Err(Fault::whole(EXPECTED)),
        }
    }
}

/// What a line holds.
const EXPECTED: &str = "expected one of judge, trajectory (with labels), labels_of, dataset and \
                        dataset_rows";

impl Parser for Native {
    fn parse(&self, text: &str, place: Place) -> Result<Vec<Record>, Fault> {
        let line: Read = match serde_json::from_str(text) {
            Ok(line) => line,
            // A line of a newer version has fields of its own: its version is what matters.
            Err(error) => {
                check_version(text)?;
                return Err(json::fault(&error, text, ""));
            }
        };
        if line.swirl != NATIVE_VERSION {
            check_version(text)?;
        }
        if line.dataset.is_some() || line.dataset_rows.is_some() {
            return self.dataset(line);
        }
        match (line.judge, line.trajectory, line.labels_of) {
            (Some(judge), None, None) if line.labels.is_empty() => Ok(vec![Record::Judge(judge)]),
            (None, Some(trajectory), None) => {
                let trajectory = *self.trajectory(trajectory);
                let (labels, judges) = (line.labels, Vec::new());
                Ok(vec![Draft { place, trajectory, labels, judges }.finish()])
            }
            (None, None, Some(ReadLabelsOf { source, id, labels, judges })) => {
                let source = self.names.source.clone().or(source);
                let record = LabelRecord { place, source, id, labels, judges };
                Ok(vec![Record::Labels(Box::new(record))])
            }
            _ => Err(Fault::whole(EXPECTED)),
        }
    }
}

/// Refuses a line whose version is not the one that is read.
fn check_version(text: &str) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Version<'a> {
        #[serde(borrow)]
        swirl: Option<&'a RawValue>,
    }
    let Ok(Version { swirl }) = serde_json::from_str::<Version<'_>>(text) else { return Ok(()) };
    let found = swirl.map_or("nothing", RawValue::get);
    match found.parse::<u64>() {
        Ok(version) if version == u64::from(NATIVE_VERSION) => Ok(()),
        Ok(version) if version > u64::from(NATIVE_VERSION) => Err(Fault::of(
            "swirl",
            format!(
                "found version {version}; this program reads version {NATIVE_VERSION}; a newer one \
                 is needed"
            ),
        )),
        _ => Err(Fault::of("swirl", format!("found {found}; expected {NATIVE_VERSION}"))),
    }
}

/// Writes the project's own JSONL. The same records give the same bytes.
#[derive(Debug)]
pub struct NativeWriter<W: Write> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> NativeWriter<W> {
    /// Returns a writer to `out`, which should be buffered.
    pub fn new(out: W) -> NativeWriter<W> {
        NativeWriter { out, line: Vec::new() }
    }

    /// Writes a judge.
    ///
    /// # Errors
    /// The underlying writer's.
    pub fn write_judge(&mut self, judge: &Judge) -> io::Result<()> {
        self.write(Written { judge: Some(judge), ..Written::default() })
    }

    /// Writes a trajectory with its labels.
    ///
    /// # Errors
    /// The underlying writer's; `InvalidData` with an [`ExchangeError::Unwritable`] for a number
    /// that JSON has no text for (infinite, or not a number). Nothing is written then.
    pub fn write_trajectory(
        &mut self,
        trajectory: &Trajectory,
        labels: &[Label],
    ) -> io::Result<()> {
        let values = labels.iter().map(|label| label.value);
        check_finite(&trajectory.id, "labels", values)?;
        for (step, number) in trajectory.steps.iter().zip(1..) {
            let field = |name: &str| format!("steps[{}].{name}", number - 1);
            check_finite(&trajectory.id, &field("latency_ms"), step.latency_ms.into_iter())?;
            check_finite(&trajectory.id, &field("cost"), step.cost.into_iter())?;
            let logprobs = step.logprobs.iter().flatten().map(|value| f64::from(*value));
            check_finite(&trajectory.id, &field("logprobs"), logprobs)?;
        }
        self.write(Written { trajectory: Some(trajectory), labels, ..Written::default() })
    }

    /// Writes labels of a trajectory that stands elsewhere.
    ///
    /// # Errors
    /// As [`NativeWriter::write_trajectory`].
    pub fn write_labels(&mut self, record: &LabelRecord) -> io::Result<()> {
        let LabelRecord { place: _, source, id, labels, judges } = record;
        check_finite(id, "labels", labels.iter().map(|label| label.value))?;
        let labels_of = Some(LabelsOf { source: source.as_deref(), id, labels, judges });
        self.write(Written { labels_of, ..Written::default() })
    }

    /// Writes what a dataset says of itself.
    ///
    /// # Errors
    /// The underlying writer's.
    pub fn write_dataset(&mut self, dataset: &DatasetManifest) -> io::Result<()> {
        self.write(Written { dataset: Some(dataset), ..Written::default() })
    }

    /// Writes rows of a dataset.
    ///
    /// # Errors
    /// As [`NativeWriter::write_trajectory`], for a reward.
    pub fn write_dataset_rows(&mut self, rows: &DatasetRows) -> io::Result<()> {
        for (trajectory, step, reward, _) in rows.rows.iter().map(WrittenRow::parts) {
            let id = rows.trajectories.get(trajectory as usize).map_or("", |t| t.1.as_str());
            check_finite(id, &format!("reward of step {step}"), reward.into_iter())?;
        }
        self.write(Written { dataset_rows: Some(rows), ..Written::default() })
    }

    /// Flushes and returns the underlying writer.
    ///
    /// # Errors
    /// The underlying writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn write(&mut self, line: Written<'_>) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, &Written { swirl: NATIVE_VERSION, ..line })?;
        // Kept JSON may hold line breaks, which can only stand between its tokens.
        for byte in &mut self.line {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }
}

/// Refuses numbers that JSON has no text for.
fn check_finite(id: &str, field: &str, values: impl Iterator<Item = f64>) -> io::Result<()> {
    for value in values {
        if !value.is_finite() {
            let error = ExchangeError::Unwritable {
                id: id.to_owned(),
                field: field.to_owned(),
                message: format!("found {value}; expected a finite number"),
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
    Ok(())
}
