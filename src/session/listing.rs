//! What DESCRIBE and SHOW list.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::error::SessionError;
use super::statement::{Outcome, Session, Sink, mistake};
use super::{corpora, datasets};
use crate::codec::ColumnType;
use crate::diag::{Diagnostic, did_you_mean, list_some};
use crate::query::row_count;
use crate::query::syntax::{Name, ShowWhat};
use crate::query::table::{
    LabelNames, ScanTable, StreamedTable, TableFunction, document_columns, table_columns,
};
use crate::store::View;
use crate::train::Event;

/// Returns the columns of a table: name, type, meaning; `None` if there is no such table.
pub(super) fn described(view: &View, table: &str) -> Option<Vec<[String; 3]>> {
    if let Some(table) = ScanTable::ALL.into_iter().find(|t| t.name() == table) {
        let columns = table_columns(view, table, &[]).into_iter().filter(|c| !c.hidden);
        return Some(columns.map(|c| [c.name, type_name(&c.kind.data_type()), c.about]).collect());
    }
    let streamed = StreamedTable::ALL.into_iter().find(|t| t.name() == table);
    let called = || TableFunction::ALL.into_iter().find(|f| f.name() == table);
    let columns = streamed.map(|t| t.columns()).or_else(|| called().map(|f| f.columns()))?;
    let shown = columns.iter().filter(|(name, _, _)| !name.starts_with('_'));
    let row = |(name, kind, about): &(&str, ColumnType, &str)| {
        [(*name).to_owned(), type_name(&kind.data_type()), (*about).to_owned()]
    };
    Some(shown.map(row).collect())
}

/// Returns the name of a type as DESCRIBE gives it.
pub(super) fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "text".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::List(of) => format!("{}[]", type_name(of.data_type())),
        other => other.to_string().to_lowercase(),
    }
}

pub(super) fn columns(
    session: &Session,
    view: &View,
    (schema, table): (Option<&Name>, &Name),
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    if let Some(schema) = schema {
        let rows = saved_columns(session, view, schema, table, text)?;
        return list(sink, ["column", "type", "meaning"], rows);
    }
    let Some(rows) = described(view, &table.text) else {
        let message = format!("unknown table '{}'", table.text);
        let diagnostic = Diagnostic::new("unknown-table", message).at(table.span);
        let names = || {
            let scanned = ScanTable::ALL.iter().map(|t| t.name());
            scanned.chain(StreamedTable::ALL.iter().map(|t| t.name()))
        };
        let help = match did_you_mean(&table.text, names()) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("tables: {}", list_some(names())),
        };
        return Err(mistake(diagnostic.help(help), text));
    };
    list(sink, ["column", "type", "meaning"], rows)
}

/// Returns the columns of `dataset.name` or `corpus.name`: those that a query of it shows.
fn saved_columns(
    session: &Session,
    view: &View,
    schema: &Name,
    table: &Name,
    text: &str,
) -> Result<Vec<[String; 3]>, SessionError> {
    let meanings: HashMap<String, String> = match schema.text.as_str() {
        "corpus" => {
            corpora::known(session, table, text)?;
            document_columns().map(|(name, about)| (name.to_owned(), about.to_owned())).collect()
        }
        "dataset" => {
            datasets::known(session, table, text)?;
            let steps = described(view, ScanTable::Steps.name()).unwrap_or_default();
            steps.into_iter().map(|[name, _, about]| (name, about)).collect()
        }
        other => {
            let message = format!("there is no '{other}.{}'", table.text);
            let help = "tables with two names are dataset.NAME and corpus.NAME";
            let unknown = Diagnostic::new("unknown-table", message).at(schema.span.to(table.span));
            return Err(mistake(unknown.help(help), text));
        }
    };
    let quoted = table.text.replace('"', "\"\"");
    let query = format!("SELECT * FROM {}.\"{quoted}\" LIMIT 0", schema.text);
    let mut shown = Shown(Vec::new());
    for statement in session.parse(&query)? {
        session.run(&statement, &query, &mut shown)?;
    }
    let row = |(name, kind): (String, String)| {
        let about = meanings.get(&name).cloned().unwrap_or_default();
        [name, kind, about]
    };
    Ok(shown.0.into_iter().map(row).collect())
}

/// Keeps names and types of columns, and no rows.
struct Shown(Vec<(String, String)>);

impl Sink for Shown {
    fn begin(&mut self, schema: &Schema) -> std::io::Result<()> {
        let column = |field: &Arc<Field>| (field.name().clone(), type_name(field.data_type()));
        self.0 = schema.fields().iter().map(column).collect();
        Ok(())
    }

    fn batch(&mut self, _: &RecordBatch) -> std::io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn train(&mut self, _: &Event) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

pub(super) fn show(
    session: &Session,
    view: &View,
    what: &ShowWhat,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let (columns, from) = match what {
        ShowWhat::Tables => return tables(session, view, sink),
        ShowWhat::Columns { schema, table } => {
            return self::columns(session, view, (schema.as_ref(), table), text, sink);
        }
        ShowWhat::Functions => {
            let names = session.engine().function_names().into_iter();
            return list(sink, ["function"], names.map(|n| [n]).collect());
        }
        ShowWhat::Labels => return labels(view, sink),
        ShowWhat::Corpora => ("corpus, documents, fingerprint, description", "corpora"),
        ShowWhat::Corpus { name } => return corpora::show(session, name, text, sink),
        ShowWhat::Dataset { name } => return datasets::show(session, name, text, sink),
        ShowWhat::Datasets => {
            ("dataset, rows, trajectories, undecided, judges, created_at", "datasets")
        }
        ShowWhat::Runs => ("run, kind, status, dataset, started_at, ended_at, error", "runs"),
        ShowWhat::Judges => ("judge, kind, sees_gold, default_for", "judges"),
    };
    let text = format!("SELECT {columns} FROM {from}");
    let statements = session.parse(&text)?;
    match statements.first() {
        Some(statement) => session.run(statement, &text, sink),
        None => Ok(Outcome::Text(String::new())),
    }
}

fn tables(session: &Session, view: &View, sink: &mut dyn Sink) -> Result<Outcome, SessionError> {
    let count = |name: &str| row_count(view, name).map_or(String::new(), |n| n.to_string());
    let scanned = ScanTable::ALL.iter().map(|t| t.name());
    let streamed = StreamedTable::ALL.iter().map(|t| t.name());
    let mut rows: Vec<[String; 2]> =
        scanned.chain(streamed).map(|name| [name.to_owned(), count(name)]).collect();
    let store = session.database().store();
    for dataset in store.datasets()? {
        rows.push([format!("dataset.{}", dataset.name), dataset.rows.to_string()]);
    }
    for corpus in store.corpora()? {
        rows.push([format!("corpus.{}", corpus.name), corpus.documents.to_string()]);
    }
    list(sink, ["table", "rows"], rows)
}

fn labels(view: &View, sink: &mut dyn Sink) -> Result<Outcome, SessionError> {
    let names = LabelNames::new(view.catalogue());
    let mut rows = Vec::new();
    for label in view.labels() {
        let default = names.default_judge(&label.name, label.on_steps) == Some(&label.judge);
        rows.push([
            label.name.clone(),
            label.judge.clone(),
            if label.on_steps { "step" } else { "trajectory" }.to_owned(),
            if default { "yes" } else { "" }.to_owned(),
        ]);
    }
    list(sink, ["label", "judge", "of", "meant by its bare name"], rows)
}

/// Gives rows of texts to the sink.
pub(super) fn list<const N: usize>(
    sink: &mut dyn Sink,
    names: [&str; N],
    rows: Vec<[String; N]>,
) -> Result<Outcome, SessionError> {
    let fields = names.map(|name| Field::new(name, DataType::Utf8View, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let column = |at: usize| -> ArrayRef {
        let texts = rows.iter().map(|row| row[at].as_str());
        Arc::new(StringViewArray::from_iter_values(texts))
    };
    let batch = RecordBatch::try_new(schema.clone(), (0..N).map(column).collect());
    let batch = batch.map_err(|e| SessionError::Environment(e.to_string()))?;
    let written = sink.begin(&schema).and_then(|()| sink.batch(&batch)).and_then(|()| sink.end());
    written.map_err(SessionError::Output)?;
    Ok(Outcome::Rows { rows: rows.len() as u64, undecided: 0 })
}
