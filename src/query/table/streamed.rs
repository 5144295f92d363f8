//! Tables that are streamed: calls, labels, judges, datasets, runs and what they measured, corpora,
//! recordings.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringViewBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;

use super::columns::LabelNames;
use super::corpora::{CORPORA, RECORDINGS, write_corpora, write_recordings};
use super::examples::{EXAMPLES, write_examples};
use super::reading::external;
use super::samples::{SAMPLES, write_samples};
use crate::codec::{ColumnType, TableId, call_error};
use crate::diag::hexadecimal;
use crate::model::{Message, Target, ToolCall, Trajectory};
use crate::store::{StoreError, View};

/// A table that is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamedTable {
    /// A row a tool call.
    ToolCalls,
    /// A row a label ever given.
    Labels,
    /// A row a judge.
    Judges,
    /// A row a dataset.
    Datasets,
    /// A row an import or training run.
    Runs,
    /// A row a number measured by a run.
    Metrics,
    /// A row an action that a run was trained on, in each epoch.
    Examples,
    /// A row an action proposed at a stored state.
    Samples,
    /// A row a corpus.
    Corpora,
    /// A row a recorded call.
    Recordings,
}

/// Name, type and meaning of a column.
pub type Spec = (&'static str, ColumnType, &'static str);

/// Writes the rows of a table.
pub(super) type Writer = Arc<dyn Fn(&View, &mut Rows) -> Result<(), StoreError> + Send + Sync>;

use ColumnType::{Boolean, Float, Integer, Text, Timestamp};

const TOOL_CALLS: &[Spec] = &[
    ("_trajectory", Integer, ""),
    ("_step", Integer, ""),
    ("trajectory_id", Text, "identifier of the trajectory within its source"),
    ("source", Text, "the collection it came from"),
    ("step", Integer, "number of the step, 1..K"),
    ("call", Integer, "which call of the step, from 1"),
    ("call_id", Text, "identifier that the result refers to"),
    ("tool", Text, "the tool's name"),
    ("arguments", Text, "the arguments as the policy wrote them"),
    ("output", Text, "the result; null where none came back"),
    ("error", Boolean, "whether the result is an error; null where none came back"),
];
const LABELS: &[Spec] = &[
    ("trajectory_id", Text, "identifier of the trajectory within its source"),
    ("source", Text, "the collection it came from"),
    ("step", Integer, "the step; null for a label of the trajectory"),
    ("sample", Integer, "the sample; null for a label of a step or trajectory"),
    ("name", Text, "which property is valued"),
    ("judge", Text, "who gave it"),
    ("value", Float, "the value; in [0, 1] for process and outcome"),
    ("raw", Text, "the source's own value"),
    ("verdict", Text, "the verdict in the judge's word"),
    ("rationale", Text, "why"),
    ("run_id", Text, "the run that made it"),
    ("sequence", Integer, "the commit it came with"),
    ("current", Boolean, "whether it is the newest of its target, name and judge"),
];
const JUDGES: &[Spec] = &[
    ("judge", Text, "the name that labels carry"),
    ("kind", Text, "human, model, program or source"),
    ("definition", Text, "what makes it this judge, as JSON"),
    ("sees_gold", Boolean, "whether it was shown gold answers; null if unknown"),
    ("default_for", Text, "labels whose bare name means this judge"),
];
const DATASETS: &[Spec] = &[
    ("dataset", Text, "the name"),
    ("rows", Integer, "sub-trajectories"),
    ("trajectories", Integer, "trajectories among them"),
    ("undecided", Integer, "trajectories left out because a step had no label"),
    ("statement", Text, "the statement as typed"),
    ("judges", Text, "the labels it used"),
    ("saw_gold", Boolean, "whether a judge it used was shown gold answers"),
    ("sequence", Integer, "the commit it was selected at"),
    ("hash", Text, "BLAKE3 over its rows"),
    ("created_at", Timestamp, "when it was saved"),
];
const RUNS: &[Spec] = &[
    ("run", Text, "the name"),
    ("kind", Text, "import, generate, evaluate, judge, train or study"),
    ("status", Text, "running, finished, stopped or failed"),
    ("statement", Text, "what started it"),
    ("dataset", Text, "the dataset it used"),
    ("seed", Integer, "its seed"),
    ("config", Text, "its options and what it pins, as JSON"),
    ("output", Text, "what it made, as JSON"),
    ("error", Text, "why it failed"),
    ("started_at", Timestamp, "when it began"),
    ("ended_at", Timestamp, "when it ended"),
];
const METRICS: &[Spec] = &[
    ("run", Text, "the run"),
    ("step", Integer, "the training step, from 1"),
    ("name", Text, "what was measured"),
    ("value", Float, "the number"),
];

impl StreamedTable {
    /// Every streamed table.
    pub const ALL: [StreamedTable; 10] = [
        StreamedTable::ToolCalls,
        StreamedTable::Labels,
        StreamedTable::Judges,
        StreamedTable::Datasets,
        StreamedTable::Runs,
        StreamedTable::Metrics,
        StreamedTable::Examples,
        StreamedTable::Samples,
        StreamedTable::Corpora,
        StreamedTable::Recordings,
    ];

    /// Returns the name in statements.
    pub fn name(self) -> &'static str {
        match self {
            StreamedTable::ToolCalls => "tool_calls",
            StreamedTable::Labels => "labels",
            StreamedTable::Judges => "judges",
            StreamedTable::Datasets => "datasets",
            StreamedTable::Runs => "runs",
            StreamedTable::Metrics => "metrics",
            StreamedTable::Examples => "examples",
            StreamedTable::Samples => "samples",
            StreamedTable::Corpora => "corpora",
            StreamedTable::Recordings => "recordings",
        }
    }

    /// Returns the columns: name, type, meaning. Hidden ones begin with `_`.
    pub fn columns(self) -> &'static [Spec] {
        match self {
            StreamedTable::ToolCalls => TOOL_CALLS,
            StreamedTable::Labels => LABELS,
            StreamedTable::Judges => JUDGES,
            StreamedTable::Datasets => DATASETS,
            StreamedTable::Runs => RUNS,
            StreamedTable::Metrics => METRICS,
            StreamedTable::Examples => EXAMPLES,
            StreamedTable::Samples => SAMPLES,
            StreamedTable::Corpora => CORPORA,
            StreamedTable::Recordings => RECORDINGS,
        }
    }

    fn write(self, view: &View, rows: &mut Rows) -> Result<(), StoreError> {
        match self {
            StreamedTable::ToolCalls => write_calls(view, rows),
            StreamedTable::Labels => write_labels(view, rows),
            StreamedTable::Judges => write_judges(view, rows),
            StreamedTable::Datasets => write_datasets(view, rows),
            StreamedTable::Runs => write_runs(view, rows),
            StreamedTable::Metrics => write_metrics(view, rows),
            StreamedTable::Examples => write_examples(view, rows),
            StreamedTable::Samples => write_samples(view, rows),
            StreamedTable::Corpora => write_corpora(view, rows),
            StreamedTable::Recordings => write_recordings(view, rows),
        }
    }
}

/// Returns the table over a view.
///
/// # Errors
/// DataFusion's message, should schema and stream ever differ.
pub fn provider(view: &View, table: StreamedTable) -> Result<Arc<dyn TableProvider>> {
    let write: Writer = Arc::new(move |view, rows| table.write(view, rows));
    streaming(view, table.name(), table.columns(), write)
}

/// Returns a table of any rows over a view.
///
/// # Errors
/// As [`provider`].
pub(super) fn streaming(
    view: &View,
    name: &'static str,
    columns: &'static [Spec],
    write: Writer,
) -> Result<Arc<dyn TableProvider>> {
    let field = |(name, kind, _): &Spec| Field::new(*name, kind.data_type(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let stream = Stream { view: view.clone(), name, columns, write, schema: schema.clone() };
    Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(stream)])?))
}

struct Stream {
    view: View,
    name: &'static str,
    columns: &'static [Spec],
    write: Writer,
    schema: SchemaRef,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartitionStream for Stream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows are written by a thread of their own, two batches ahead of the reader; it ends
    /// when the reader goes away.
    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (sender, receiver) = sync_channel(2);
        let (view, write) = (self.view.clone(), self.write.clone());
        let mut rows = Rows::new(self.name, self.columns, self.schema.clone(), sender);
        std::thread::spawn(move || {
            let written = write(&view, &mut rows).and_then(|()| rows.flush());
            // A reader that went away is no failure, and then there is nobody to tell.
            if let Err(error) = written
                && let Some(sender) = &rows.sender
            {
                drop(sender.send(Err(external(error))));
            }
        });
        let batches = Batches(receiver);
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(batches)))
    }
}

struct Batches(Receiver<Result<RecordBatch>>);

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.0.recv().ok()
    }
}

/// One value of a row.
pub(super) enum Value<'a> {
    Boolean(Option<bool>),
    Integer(Option<i64>),
    Float(Option<f64>),
    Text(Option<&'a str>),
}

enum Builder {
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Float(Float64Builder),
    Text(StringViewBuilder),
    Timestamp(TimestampMicrosecondBuilder),
}

/// Rows on their way to the reader.
pub(super) struct Rows {
    name: &'static str,
    schema: SchemaRef,
    builders: Vec<Builder>,
    rows: usize,
    bytes: usize,
    sender: Option<SyncSender<Result<RecordBatch>>>,
}

const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 8 << 20;

impl Rows {
    fn new(
        name: &'static str,
        columns: &'static [Spec],
        schema: SchemaRef,
        sender: SyncSender<Result<RecordBatch>>,
    ) -> Rows {
        let builder = |(_, kind, _): &Spec| match kind {
            Boolean => Builder::Boolean(BooleanBuilder::new()),
            Integer => Builder::Integer(Int64Builder::new()),
            Float => Builder::Float(Float64Builder::new()),
            Timestamp => Builder::Timestamp(TimestampMicrosecondBuilder::new()),
            Text | ColumnType::TextList => Builder::Text(StringViewBuilder::new()),
        };
        let builders = columns.iter().map(builder).collect();
        Rows { name, schema, builders, rows: 0, bytes: 0, sender: Some(sender) }
    }

    /// Adds a row; returns whether anyone still reads.
    pub fn push(&mut self, values: &[Value<'_>]) -> Result<bool, StoreError> {
        for (builder, value) in self.builders.iter_mut().zip(values) {
            match (builder, value) {
                (Builder::Boolean(b), Value::Boolean(v)) => b.append_option(*v),
                (Builder::Integer(b), Value::Integer(v)) => b.append_option(*v),
                (Builder::Timestamp(b), Value::Integer(v)) => b.append_option(*v),
                (Builder::Float(b), Value::Float(v)) => b.append_option(*v),
                (Builder::Text(b), Value::Text(v)) => {
                    self.bytes += v.map_or(0, str::len);
                    b.append_option(*v);
                }
                _ => {
                    let place = self.name.to_owned();
                    let why = "a value of another type than its column".to_owned();
                    return Err(StoreError::Damaged { place, why });
                }
            }
        }
        self.rows += 1;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(self.sender.is_some())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.rows == 0 {
            return Ok(());
        }
        (self.rows, self.bytes) = (0, 0);
        let finish = |b: &mut Builder| -> ArrayRef {
            match b {
                Builder::Boolean(b) => Arc::new(b.finish()),
                Builder::Integer(b) => Arc::new(b.finish()),
                Builder::Float(b) => Arc::new(b.finish()),
                Builder::Text(b) => Arc::new(b.finish()),
                Builder::Timestamp(b) => Arc::new(b.finish()),
            }
        };
        let arrays = self.builders.iter_mut().map(finish).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays);
        let batch = batch.map_err(|e| DataFusionError::ArrowError(Box::new(e), None));
        if let Some(sender) = &self.sender
            && sender.send(batch).is_err()
        {
            self.sender = None;
        }
        Ok(())
    }
}

/// Visits every call of every step with its result, until `visit` returns false: ordinal,
/// trajectory, step, which call of it from 1.
pub(super) fn each_call(
    view: &View,
    mut visit: impl FnMut(
        (i64, &Trajectory, i64, i64),
        &ToolCall,
        Option<&Message>,
    ) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    const TRAJECTORIES: u64 = 64;
    let all = view.rows(TableId::Trajectories);
    let mut first = 0;
    while first < all {
        let ordinals: Vec<u64> = view.ordinals(first..all.min(first + TRAJECTORIES)).collect();
        first += TRAJECTORIES;
        for (ordinal, t) in ordinals.iter().zip(view.trajectories(&ordinals)?) {
            for (step, number) in t.steps.iter().zip(1i64..) {
                for ((call, result), at) in step.call_results().into_iter().zip(1i64..) {
                    if !visit((*ordinal as i64, &t, number, at), call, result)? {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

fn write_calls(view: &View, rows: &mut Rows) -> Result<(), StoreError> {
    each_call(view, |(ordinal, t, step, at), call, result| {
        rows.push(&[
            Value::Integer(Some(ordinal)),
            Value::Integer(Some(step)),
            Value::Text(Some(&t.id)),
            Value::Text(Some(&t.source)),
            Value::Integer(Some(step)),
            Value::Integer(Some(at)),
            Value::Text(call.id.as_deref()),
            Value::Text(Some(&call.name)),
            Value::Text(Some(&call.arguments)),
            Value::Text(result.map(|m| m.text())),
            Value::Boolean(result.and_then(call_error)),
        ])
    })
}

/// A label waits until the next is known: the newest of its target, name and judge is current.
fn write_labels(view: &View, rows: &mut Rows) -> Result<(), StoreError> {
    let store = view.store().clone();
    let mut waiting: Option<(u64, u64, crate::model::Label)> = None;
    let mut identity: Option<(u64, String, String)> = None;
    let mut write = |rows: &mut Rows, (ordinal, sequence, label), current: bool| {
        if identity.as_ref().is_none_or(|(o, _, _)| *o != ordinal) {
            let header = view.headers(&[ordinal])?.pop();
            identity = header.map(|h| (ordinal, h.id, h.source));
        }
        let label: crate::model::Label = label;
        let (id, source) = match &identity {
            Some((_, id, source)) => (Some(id.as_str()), Some(source.as_str())),
            None => (None, None),
        };
        let (step, sample) = match label.target {
            Target::Trajectory => (None, None),
            Target::Step(step) => (Some(i64::from(step)), None),
            Target::Sample { step, sample, .. } => (Some(i64::from(step)), Some(i64::from(sample))),
        };
        rows.push(&[
            Value::Text(id),
            Value::Text(source),
            Value::Integer(step),
            Value::Integer(sample),
            Value::Text(Some(label.name.as_str())),
            Value::Text(Some(&label.judge)),
            Value::Float(Some(label.value)),
            Value::Text(label.raw.as_deref()),
            Value::Text(label.verdict.as_deref()),
            Value::Text(label.rationale.as_deref()),
            Value::Text(label.run_id.as_deref()),
            Value::Integer(Some(sequence as i64)),
            Value::Boolean(Some(current)),
        ])
    };
    store.scan_labels(|ordinal, sequence, label| {
        if sequence > view.sequence() || !view.is_there(ordinal) {
            return Ok(true);
        }
        let before = waiting.replace((ordinal, sequence, label.clone()));
        let Some(before) = before else { return Ok(true) };
        let same = before.0 == ordinal
            && before.2.target == label.target
            && before.2.name == label.name
            && before.2.judge == label.judge;
        write(rows, before, !same)
    })?;
    match waiting {
        Some(last) => write(rows, last, true).map(|_| ()),
        None => Ok(()),
    }
}

fn write_judges(view: &View, rows: &mut Rows) -> Result<(), StoreError> {
    let catalogue = view.catalogue();
    let names = LabelNames::new(catalogue);
    let damaged = |e: crate::codec::CodecError| StoreError::Damaged {
        place: "meta catalogue".to_owned(),
        why: e.to_string(),
    };
    for record in &catalogue.judges {
        let judge = record.judge().map_err(damaged)?;
        let mut labels: Vec<&str> = Vec::new();
        for on_steps in [true, false] {
            let of = names.names(on_steps).into_iter();
            let of = of.filter(|n| names.default_judge(n, on_steps) == Some(&judge.name));
            labels.extend(of.filter(|n| !labels.contains(n)).collect::<Vec<_>>());
        }
        let labels = labels.join(", ");
        rows.push(&[
            Value::Text(Some(&judge.name)),
            Value::Text(Some(judge.kind.as_str())),
            Value::Text(judge.definition.as_ref().map(|d| d.as_str())),
            Value::Boolean(judge.sees_gold),
            Value::Text(Some(&labels)),
        ])?;
    }
    Ok(())
}

fn write_datasets(view: &View, rows: &mut Rows) -> Result<(), StoreError> {
    for d in view.store().datasets()? {
        let hash = hexadecimal(&d.hash);
        rows.push(&[
            Value::Text(Some(&d.name)),
            Value::Integer(Some(d.rows as i64)),
            Value::Integer(Some(d.trajectories as i64)),
            Value::Integer(Some(d.undecided as i64)),
            Value::Text(Some(&d.statement)),
            Value::Text(Some(&d.judges.join(", "))),
            Value::Boolean(d.saw_gold),
            Value::Integer(Some(d.sequence as i64)),
            Value::Text(Some(&hash)),
            Value::Integer(Some(d.created_at)),
        ])?;
    }
    Ok(())
}

fn write_runs(view: &View, rows: &mut Rows) -> Result<(), StoreError> {
    for run in view.store().runs()? {
        rows.push(&[
            Value::Text(Some(&run.id)),
            Value::Text(Some(&run.kind)),
            Value::Text(Some(run.status.as_str())),
            Value::Text(Some(&run.statement)),
            Value::Text(run.dataset.as_deref()),
            Value::Integer(run.seed.map(|s| s as i64)),
            Value::Text(Some(&run.config)),
            Value::Text(run.output.as_deref()),
            Value::Text(run.error.as_deref()),
            Value::Integer(Some(run.started_at)),
            Value::Integer(run.ended_at),
        ])?;
    }
    Ok(())
}

fn write_metrics(view: &View, rows: &mut Rows) -> Result<(), StoreError> {
    let mut failed = None;
    view.store().scan_metrics(|run, step, name, value| {
        let pushed = rows.push(&[
            Value::Text(Some(&run)),
            Value::Integer(Some(step as i64)),
            Value::Text(Some(&name)),
            Value::Float(Some(value)),
        ]);
        failed = failed.take().or(pushed.err());
    })?;
    failed.map_or(Ok(()), Err)
}
