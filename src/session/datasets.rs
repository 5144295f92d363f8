//! What is done with saved datasets: shown, compared, written to a file, removed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringViewBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;

use super::error::SessionError;
use super::export::judges;
use super::listing::list;
use super::statement::{Outcome, Session, Sink, mistake};
use super::verification;
use crate::codec::{DatasetRecord, DatasetRow};
use crate::db::{ChangedRow, DbError, Difference, difference};
use crate::diag::{Diagnostic, hexadecimal, nearest};
use crate::exchange::{
    DatasetManifest, DatasetRows, NativeWriter, PinnedTrajectory, WrittenRow, create,
};
use crate::query::syntax::{Name, SavedStatement};
use crate::store::View;

/// Rows that are looked up, and written on one line of a file, together.
const ROWS: usize = 4_096;

/// Trajectories read together.
const READ: usize = 128;

/// Runs a statement about datasets.
pub(super) fn run(
    session: &Session,
    statement: &SavedStatement,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    match statement {
        SavedStatement::Diff { first, second } => {
            let first = known(session, first, text)?;
            let second = known(session, second, text)?;
            diff(session, first, second, sink)
        }
        SavedStatement::Verify { name } => {
            let datasets = match name {
                Some(name) => vec![known(session, name, text)?],
                None => session.database().store().datasets()?,
            };
            verification::verify(session, datasets, sink)
        }
        SavedStatement::Export { name, path } => {
            let dataset = known(session, name, text)?;
            write(session, std::slice::from_ref(&dataset), Path::new(&path.text))?;
            let path = path.text.clone();
            Ok(Outcome::DatasetExported { dataset: Box::new(dataset), path })
        }
        SavedStatement::Drop { name } => drop_dataset(session, name, text),
    }
}

/// Writes a dataset with its trajectories, their labels and the judges to a file, compressed as its
/// name says. `swirl import` reads it.
///
/// # Errors
/// There is no dataset of that name; what the disk says.
pub fn export_dataset(
    session: &Session,
    name: &str,
    path: &Path,
) -> Result<DatasetRecord, SessionError> {
    let name = Name { text: name.to_owned(), span: crate::diag::Span::new(0, name.len()) };
    let dataset = known(session, &name, &name.text)?;
    write(session, std::slice::from_ref(&dataset), path)?;
    Ok(dataset)
}

/// Returns the dataset of a name.
pub(super) fn known(
    session: &Session,
    name: &Name,
    text: &str,
) -> Result<DatasetRecord, SessionError> {
    let store = session.database().store();
    if let Some(found) = store.dataset(&name.text)? {
        return Ok(found);
    }
    let names: Vec<String> = store.datasets()?.into_iter().map(|d| d.name).collect();
    let message = format!("unknown dataset '{}'", name.text);
    let unknown = Diagnostic::new("unknown-dataset", message).at(name.span);
    let help = nearest(&name.text, &names, "datasets", "|> SAVE AS name saves one");
    Err(mistake(unknown.help(help), text))
}

/// `SHOW DATASET name`: what it says of itself.
pub(super) fn show(
    session: &Session,
    name: &Name,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let found = known(session, name, text)?;
    let rows = session.database().store().dataset_rows(&found.name)?;
    let seeds: Vec<String> = found.seeds.iter().map(u64::to_string).collect();
    let gold = match found.saw_gold {
        Some(true) => "a judge saw gold answers",
        Some(false) => "no judge saw gold answers",
        None => "not known of every judge",
    };
    let saved_in = match found.origin {
        None => "this database".to_owned(),
        Some(identity) if identity == session.database().store().identity() => {
            "this database, and brought back from a file".to_owned()
        }
        Some(identity) => format!("database {}", hexadecimal(&identity)),
    };
    let row = |key: &str, value: String| [key.to_owned(), value];
    let rows = vec![
        row("dataset", found.name.clone()),
        row("status", status(session, &found, &rows)?),
        row("statement", found.statement.clone()),
        row("rows", found.rows.to_string()),
        row("trajectories", found.trajectories.to_string()),
        row("undecided", found.undecided.to_string()),
        row("labels", found.judges.join(", ")),
        row("gold answers", gold.to_owned()),
        row("rewards", rewards(&rows)),
        row("seeds", seeds.join(", ")),
        row("saved in", saved_in),
        row("sequence", found.sequence.to_string()),
        row("created_at", moment(found.created_at)?),
        row("program", found.program.clone().unwrap_or_else(|| "not known".to_owned())),
        row("hash", hexadecimal(&found.hash)),
    ];
    list(sink, ["property", "value"], rows)
}

/// Says whether every row is there and pins the content that is stored, as the ids tell without
/// reading it: VERIFY DATASET reads all of it.
fn status(
    session: &Session,
    dataset: &DatasetRecord,
    rows: &[DatasetRow],
) -> Result<String, SessionError> {
    if rows.len() as u64 != dataset.rows {
        return Ok(format!("broken: {} of {} rows are there", rows.len(), dataset.rows));
    }
    let view = session.database().view();
    let mut pins: Vec<(u64, [u8; 32])> =
        rows.iter().map(|row| (row.trajectory, row.content_hash)).collect();
    pins.sort_unstable();
    pins.dedup();
    let (there, gone): (Vec<_>, Vec<_>) = pins.into_iter().partition(|pin| view.is_there(pin.0));
    let mut broken = gone.len();
    for part in there.chunks(ROWS) {
        let ordinals: Vec<u64> = part.iter().map(|pin| pin.0).collect();
        let stored = view.content_hashes(&ordinals)?;
        broken += part.iter().zip(stored).filter(|(pin, stored)| pin.1 != *stored).count();
    }
    Ok(match broken {
        0 => "complete".to_owned(),
        1 => "broken: 1 trajectory is not what was saved".to_owned(),
        many => format!("broken: {many} trajectories are not what was saved"),
    })
}

/// Returns what the rewards of rows are like, in a sentence.
fn rewards(rows: &[DatasetRow]) -> String {
    let values: Vec<f64> = rows.iter().filter_map(|row| row.reward).collect();
    if values.is_empty() {
        return "none".to_owned();
    }
    let count = |holds: fn(&f64) -> bool| values.iter().filter(|value| holds(value)).count();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (above, below) = (count(|v| *v > 0.0), count(|v| *v < 0.0));
    let without = rows.len() - values.len();
    let without = if without > 0 { format!(", {without} without") } else { String::new() };
    format!(
        "{}, from {least} to {most}, mean {mean:.4}; {above} above 0, {below} below{without}",
        values.len()
    )
}

/// Returns a time in microseconds since 1970-01-01T00:00:00Z as RFC 3339 writes it.
pub(super) fn moment(micros: i64) -> Result<String, SessionError> {
    let array = TimestampMicrosecondArray::from(vec![micros]);
    let text = array_value_to_string(&array, 0);
    text.map(|text| format!("{text}Z")).map_err(|e| SessionError::Environment(e.to_string()))
}

/// `DIFF DATASET first second`
fn diff(
    session: &Session,
    first: DatasetRecord,
    second: DatasetRecord,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let store = session.database().store();
    let mut rows = (store.dataset_rows(&first.name)?, store.dataset_rows(&second.name)?);
    let view = session.database().view();
    let mut writer = ChangeWriter::new(&view);
    sink.begin(&writer.schema).map_err(SessionError::Output)?;
    let difference = differing(session, &mut rows.0, &mut rows.1, &mut |row| {
        writer.waiting.push(row);
        if writer.waiting.len() < ROWS {
            return Ok(());
        }
        sink.batch(&writer.batch()?).map_err(SessionError::Output)
    })?;
    if !writer.waiting.is_empty() {
        sink.batch(&writer.batch()?).map_err(SessionError::Output)?;
    }
    sink.end().map_err(SessionError::Output)?;
    let (first, second) = (Box::new(first), Box::new(second));
    Ok(Outcome::Compared { first, second, difference })
}

/// Visits the rows that two selections do not share, and stops when the statement is cancelled.
pub(super) fn differing(
    session: &Session,
    first: &mut [DatasetRow],
    second: &mut [DatasetRow],
    visit: &mut dyn FnMut(ChangedRow) -> Result<(), SessionError>,
) -> Result<Difference, SessionError> {
    let mut failed = None;
    let found = difference(first, second, |row| {
        if session.cancel().is_cancelled() {
            return Err(DbError::Stopped);
        }
        visit(row).map_err(|error| {
            failed = Some(error);
            DbError::Stopped
        })
    });
    match (failed, found) {
        (Some(error), _) => Err(error),
        (None, Err(DbError::Stopped)) => Err(SessionError::Cancelled),
        (None, found) => Ok(found?),
    }
}

/// Makes batches of changed rows.
struct ChangeWriter<'a> {
    view: &'a View,
    schema: SchemaRef,
    waiting: Vec<ChangedRow>,
}

impl ChangeWriter<'_> {
    fn new(view: &View) -> ChangeWriter<'_> {
        let fields = [
            ("change", DataType::Utf8View),
            ("trajectory_id", DataType::Utf8View),
            ("source", DataType::Utf8View),
            ("step", DataType::Int64),
            ("reward_a", DataType::Float64),
            ("reward_b", DataType::Float64),
        ];
        let fields = fields.map(|(name, kind)| Field::new(name, kind, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        ChangeWriter { view, schema, waiting: Vec::new() }
    }

    fn batch(&mut self) -> Result<RecordBatch, SessionError> {
        let rows = std::mem::take(&mut self.waiting);
        let names = names(self.view, rows.iter().map(|row| row.trajectory))?;
        let mut changes = StringViewBuilder::new();
        let (mut ids, mut sources) = (StringViewBuilder::new(), StringViewBuilder::new());
        let mut steps = Int64Builder::new();
        let (mut first, mut second) = (Float64Builder::new(), Float64Builder::new());
        for row in &rows {
            let name = names.get(&row.trajectory);
            changes.append_value(row.change.as_str());
            ids.append_option(name.map(|(_, id)| id.as_str()));
            sources.append_option(name.map(|(source, _)| source.as_str()));
            steps.append_value(i64::from(row.step));
            first.append_option(row.first_reward);
            second.append_option(row.second_reward);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(changes.finish()),
            Arc::new(ids.finish()),
            Arc::new(sources.finish()),
            Arc::new(steps.finish()),
            Arc::new(first.finish()),
            Arc::new(second.finish()),
        ];
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|e| SessionError::Environment(e.to_string()))
    }
}

/// Returns source and id of trajectories, by ordinal; one that is gone has none.
pub(super) fn names(
    view: &View,
    ordinals: impl Iterator<Item = u64>,
) -> Result<HashMap<u64, (String, String)>, SessionError> {
    let mut ordinals: Vec<u64> = ordinals.filter(|ordinal| view.is_there(*ordinal)).collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    let headers = view.headers(&ordinals)?;
    Ok(ordinals.into_iter().zip(headers.into_iter().map(|h| (h.source, h.id))).collect())
}

/// `DROP DATASET name`: refused while a run was trained on it or is held against it.
fn drop_dataset(session: &Session, name: &Name, text: &str) -> Result<Outcome, SessionError> {
    let dataset = known(session, name, text)?;
    let store = session.database().store();
    let runs = store.runs()?;
    let uses = |config: &str| {
        let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
        let held_out = config.get("eval_dataset").and_then(|names| names.as_array());
        held_out.is_some_and(|names| names.iter().any(|n| n.as_str() == Some(&dataset.name)))
    };
    let user =
        runs.iter().find(|run| run.dataset.as_ref() == Some(&dataset.name) || uses(&run.config));
    if let Some(run) = user {
        let message = format!("run '{}' uses dataset '{}'", run.id, dataset.name);
        let diagnostic = Diagnostic::new("dataset-in-use", message)
            .at(name.span)
            .help("what a run was trained on, and held against, stays as long as the run");
        return Err(mistake(diagnostic, text));
    }
    Ok(Outcome::Dropped(Box::new(store.drop_dataset(&dataset.name)?)))
}

/// Writes datasets to a file: what they say of themselves, judges, the trajectories of all of them
/// in the order they were stored, with their labels, and the rows of each in their order.
pub(super) fn write(
    session: &Session,
    datasets: &[DatasetRecord],
    path: &Path,
) -> Result<(), SessionError> {
    let store = session.database().store();
    let view = session.database().view();
    let mut rows = Vec::with_capacity(datasets.len());
    for dataset in datasets {
        rows.push(store.dataset_rows(&dataset.name)?);
    }
    let mut ordinals: Vec<u64> = rows.iter().flatten().map(|row| row.trajectory).collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    let mut file = create(path)?;
    let mut writer = NativeWriter::new(&mut file);
    for dataset in datasets {
        writer.write_dataset(&manifest(session, dataset)).map_err(SessionError::Output)?;
    }
    for judge in judges(session)? {
        writer.write_judge(&judge).map_err(SessionError::Output)?;
    }
    // The labels it was selected by. Those of a dataset from a file came with the file, under
    // sequences of this database; several datasets were selected at several times.
    let until = match datasets {
        [dataset] if dataset.origin.is_none() => dataset.sequence,
        _ => view.sequence(),
    };
    for part in ordinals.chunks(READ) {
        if session.cancel().is_cancelled() {
            return Err(SessionError::Cancelled);
        }
        for (ordinal, trajectory) in part.iter().zip(view.trajectories(part)?) {
            let labels = view.labels_at(*ordinal, until)?;
            let written = writer.write_trajectory(&trajectory, &labels);
            written.map_err(SessionError::Output)?;
        }
    }
    for (dataset, rows) in datasets.iter().zip(&rows) {
        let mut first = 0;
        for part in rows.chunks(ROWS) {
            let line = line(&view, &dataset.name, first, part)?;
            writer.write_dataset_rows(&line).map_err(SessionError::Output)?;
            first += part.len() as u64;
        }
    }
    writer.finish().map_err(SessionError::Output)?;
    file.finish()?;
    Ok(())
}

fn manifest(session: &Session, dataset: &DatasetRecord) -> DatasetManifest {
    DatasetManifest {
        name: dataset.name.clone(),
        statement: dataset.statement.clone(),
        seeds: dataset.seeds.clone(),
        judges: dataset.judges.clone(),
        saw_gold: dataset.saw_gold,
        rows: dataset.rows,
        trajectories: dataset.trajectories,
        undecided: dataset.undecided,
        hash: dataset.hash,
        database: dataset.origin.unwrap_or_else(|| session.database().store().identity()),
        sequence: dataset.sequence,
        created_at: dataset.created_at,
        program: dataset.program.clone(),
    }
}

/// Returns rows as a line of a file.
fn line(
    view: &View,
    dataset: &str,
    first: u64,
    rows: &[DatasetRow],
) -> Result<DatasetRows, SessionError> {
    let names = names(view, rows.iter().map(|row| row.trajectory))?;
    let mut places: HashMap<u64, u32> = HashMap::new();
    let mut trajectories = Vec::new();
    let mut written = Vec::with_capacity(rows.len());
    for row in rows {
        let place = *places.entry(row.trajectory).or_insert_with(|| {
            let (source, id) = names.get(&row.trajectory).cloned().unwrap_or_default();
            trajectories.push(PinnedTrajectory(source, id, row.content_hash));
            (trajectories.len() - 1) as u32
        });
        written.push(match row.pair {
            None => WrittenRow::Single(place, row.step, row.reward),
            Some(pair) => WrittenRow::Paired(place, row.step, row.reward, pair),
        });
    }
    Ok(DatasetRows { dataset: dataset.to_owned(), first, trajectories, rows: written })
}
