//! The tools that a database gives to agents.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use serde_json::{Map, Value, json};

use super::error::SessionError;
use super::statement::{Session, Sink};
use crate::db::{Corpus, DbError, Found, Retrieval};
use crate::query::syntax::StatementKind;
use crate::tools::{Calculator, NameTaken, Tool, ToolOutput, ToolSpec, Toolbox};
use crate::train::Event;

/// Documents that a search returns where the agent does not say how many.
const K_DEFAULT: usize = 3;

/// The most that an agent may ask for.
const K_MAX: usize = 100;

/// Rows, and bytes of rows, that a statement of an agent returns.
const ROWS_MAX: usize = 200;
const ROWS_BYTES_MAX: usize = 64 << 10;

/// How often a running statement is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Returns what the tools of a corpus are called: `search` and `get_document` where there is one
/// corpus, else with `_NAME` behind.
pub fn tool_names(corpus: &str, is_only: bool) -> [String; 2] {
    ["search", "get_document"].map(|tool| match is_only {
        true => tool.to_owned(),
        false => {
            let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
            format!("{tool}_{}", corpus.chars().map(plain).collect::<String>())
        }
    })
}

/// Returns the tools of a session: search and get_document of each corpus, the calculator, and
/// `query` where that is wanted.
///
/// # Errors
/// Two corpora have names that give one tool's name.
pub fn toolbox(
    session: &Arc<Session>,
    corpora: &[Arc<Corpus>],
    with_query: bool,
) -> Result<Toolbox, NameTaken> {
    let mut toolbox = corpus_tools(corpora, K_DEFAULT)?;
    if with_query {
        toolbox.add(Arc::new(Query::new(session)))?;
    }
    Ok(toolbox)
}

/// Returns the tools of [`toolbox`] that need no session; a search returns `k` documents where the
/// agent does not say how many.
pub(super) fn corpus_tools(corpora: &[Arc<Corpus>], k: usize) -> Result<Toolbox, NameTaken> {
    let mut toolbox = Toolbox::new();
    for corpus in corpora {
        let [search, document] = tool_names(&corpus.record().name, corpora.len() == 1);
        toolbox.add(Arc::new(Search::new(search, corpus, k)))?;
        toolbox.add(Arc::new(GetDocument::new(document, corpus)))?;
    }
    toolbox.add(Arc::new(Calculator::new()))?;
    Ok(toolbox)
}

fn of_corpus(spec: ToolSpec, corpus: &Corpus) -> ToolSpec {
    ToolSpec { corpus: Some(corpus.fingerprint()), ..spec }
}

fn failed(error: &DbError) -> ToolOutput {
    match error {
        DbError::Stopped => ToolOutput::error("the search was cancelled before it had an answer"),
        other => ToolOutput::error(other.to_string()),
    }
}

fn hit(found: &Found) -> Value {
    json!({
        "id": found.id,
        "title": found.document.title,
        "text": found.document.text,
        "score": found.score,
    })
}

/// Searches a corpus.
struct Search {
    spec: ToolSpec,
    corpus: Arc<Corpus>,
    /// Documents where the agent does not say how many.
    k: usize,
}

impl Search {
    fn new(name: String, corpus: &Arc<Corpus>, k: usize) -> Search {
        let about = &corpus.record().description;
        let of = if about.is_empty() { &corpus.record().name } else { about };
        let description = format!(
            "Searches {} documents ({of}) {} and returns the best ones with their ids.",
            corpus.record().documents,
            match corpus.retrieval() {
                Retrieval::Bm25 => "for words",
                Retrieval::Dense => "by meaning",
                Retrieval::Hybrid => "by words and meaning",
            }
        );
        let parameters = json!({
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "the words to search for"},
                "k": {
                    "type": "integer", "minimum": 1, "maximum": K_MAX,
                    "description": format!("how many documents ({k} if not given)"),
                },
            },
            "required": ["query"],
            "additionalProperties": false,
        });
        // What is answered where no k is given belongs to the version.
        let version = if k == K_DEFAULT { "1".to_owned() } else { format!("1, k = {k}") };
        let spec = of_corpus(ToolSpec::new(name, description, parameters, version), corpus);
        Search { spec, corpus: corpus.clone(), k }
    }
}

impl Tool for Search {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call(&self, arguments: &Value, cancelled: &dyn Fn() -> bool) -> ToolOutput {
        let query = arguments["query"].as_str().unwrap_or_default();
        let k = arguments["k"].as_u64().map_or(self.k, |k| k as usize);
        let found = match self.corpus.search(query, k, cancelled) {
            Ok(found) => found,
            Err(error) => return failed(&error),
        };
        let mut text = String::new();
        for (place, found) in found.iter().enumerate() {
            let title = found.document.title.as_deref().unwrap_or_default();
            let gap = if place > 0 { "\n\n" } else { "" };
            let space = if title.is_empty() { "" } else { " " };
            text += &format!("{gap}[{}] {title}{space}(id: {})\n", place + 1, found.id);
            text += &found.document.text;
        }
        if found.is_empty() {
            text = "no document was found".to_owned();
        }
        let hits: Vec<Value> = found.iter().map(hit).collect();
        ToolOutput::text(text).with_structured(json!({"hits": hits}))
    }
}

/// Returns a document by its id.
struct GetDocument {
    spec: ToolSpec,
    corpus: Arc<Corpus>,
}

impl GetDocument {
    fn new(name: String, corpus: &Arc<Corpus>) -> GetDocument {
        let description = "Returns the whole document of an id that a search returned.";
        let parameters = json!({
            "type": "object",
            "properties": {"id": {"type": "string", "description": "the document's id"}},
            "required": ["id"],
            "additionalProperties": false,
        });
        let spec = of_corpus(ToolSpec::new(name, description, parameters, "1"), corpus);
        GetDocument { spec, corpus: corpus.clone() }
    }
}

impl Tool for GetDocument {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call(&self, arguments: &Value, _: &dyn Fn() -> bool) -> ToolOutput {
        let id = arguments["id"].as_str().unwrap_or_default();
        match self.corpus.document(id) {
            Ok(Some(document)) => {
                let title = document.title.as_ref().map(|title| format!("{title}\n"));
                let text = title.unwrap_or_default() + &document.text;
                ToolOutput::text(text).with_structured(json!({
                    "id": id, "title": document.title, "text": document.text,
                }))
            }
            Ok(None) => ToolOutput::error(format!(
                "there is no document '{id}' in {}: take an id from a search",
                self.corpus.record().name
            ))
            .with_structured(json!({"id": id, "title": null, "text": null})),
            Err(error) => failed(&error),
        }
    }
}

/// Runs a statement that only reads.
struct Query {
    spec: ToolSpec,
    session: Arc<Session>,
    /// One statement at a time: they share how they are cancelled.
    turn: Mutex<()>,
}

impl Query {
    fn new(session: &Arc<Session>) -> Query {
        let description = "Runs one read-only statement (SQL, FROM ... |> ..., SHOW, DESCRIBE) \
                           over the trajectories and returns its rows. SHOW TABLES and DESCRIBE \
                           steps say what there is.";
        let parameters = json!({
            "type": "object",
            "properties": {"statement": {"type": "string"}},
            "required": ["statement"],
            "additionalProperties": false,
        });
        let mut spec = ToolSpec::new("query", description, parameters, "1");
        // What is imported or labelled in between changes the answer.
        spec.has_state = true;
        Query { spec, session: session.clone(), turn: Mutex::default() }
    }

    fn run(&self, text: &str, rows: &mut Rows) -> Result<(), SessionError> {
        let statements = self.session.parse(text)?;
        let [statement] = statements.as_slice() else {
            let message = format!("expected one statement, found {}", statements.len());
            return Err(SessionError::mistake("one-statement", message));
        };
        let only_reads = match &statement.kind {
            StatementKind::Query(query) => query.then.is_none(),
            StatementKind::Describe { .. } | StatementKind::Show(_) => true,
            StatementKind::Explain { analyze, .. } => !analyze,
            _ => false,
        };
        if !only_reads {
            let message =
                "only statements that read are run here: queries, SHOW, DESCRIBE, EXPLAIN";
            return Err(SessionError::mistake("read-only", message));
        }
        if let super::Outcome::Text(text) = self.session.run(statement, text, rows)? {
            rows.text = text;
        }
        Ok(())
    }
}

impl Tool for Query {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call(&self, arguments: &Value, cancelled: &dyn Fn() -> bool) -> ToolOutput {
        let text = arguments["statement"].as_str().unwrap_or_default();
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.session.cancel().clear();
        let mut rows = Rows::default();
        let ran = std::thread::scope(|scope| {
            let (ended, end) = std::sync::mpsc::channel();
            let rows = &mut rows;
            let running = scope.spawn(move || {
                let ran = self.run(text, rows);
                let _ = ended.send(());
                ran
            });
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = end.recv_timeout(LOOK) {
                if cancelled() {
                    self.session.cancel().cancel();
                }
            }
            running.join()
        });
        self.session.cancel().clear();
        match ran {
            Ok(Ok(())) => rows.output(),
            // Enough was read: it was the sink that ended it.
            Ok(Err(SessionError::Output(_))) if rows.is_cut => rows.output(),
            Ok(Err(error)) => ToolOutput::error(error.render()),
            Err(_) => ToolOutput::error("the statement failed by a bug of this program"),
        }
    }
}

/// Rows as an agent reads them: a JSON object a line.
#[derive(Default)]
struct Rows {
    text: String,
    rows: Vec<Value>,
    is_cut: bool,
}

impl Rows {
    fn output(self) -> ToolOutput {
        let mut text = self.text;
        if self.is_cut {
            text +=
                &format!("(the first {} rows; use LIMIT, WHERE or AGGREGATE)\n", self.rows.len());
        }
        if text.is_empty() {
            text = "no rows".to_owned();
        }
        ToolOutput::text(text).with_structured(json!({"rows": self.rows, "is_cut": self.is_cut}))
    }
}

impl Sink for Rows {
    fn begin(&mut self, _: &Schema) -> std::io::Result<()> {
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch) -> std::io::Result<()> {
        for row in json_rows(batch)? {
            if self.rows.len() >= ROWS_MAX || self.text.len() >= ROWS_BYTES_MAX {
                self.is_cut = true;
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.text += &row.to_string();
            self.text.push('\n');
            self.rows.push(row);
        }
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.text += &format!("note: {text}\n");
    }

    fn train(&mut self, _: &Event) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

/// Returns rows as objects: numbers and truth values as such, everything else as text.
fn json_rows(batch: &RecordBatch) -> std::io::Result<Vec<Value>> {
    let mut rows = vec![Map::new(); batch.num_rows()];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let kind = match column.data_type() {
            DataType::Boolean => DataType::Boolean,
            kind if kind.is_integer() => DataType::Int64,
            kind if kind.is_numeric() => DataType::Float64,
            _ => DataType::Utf8,
        };
        let column = cast(column, &kind).map_err(std::io::Error::other)?;
        for (at, row) in rows.iter_mut().enumerate() {
            let value = match &kind {
                _ if column.is_null(at) => Value::Null,
                DataType::Boolean => column.as_boolean().value(at).into(),
                DataType::Int64 => column.as_primitive::<Int64Type>().value(at).into(),
                DataType::Float64 => column.as_primitive::<Float64Type>().value(at).into(),
                _ => column.as_string::<i32>().value(at).into(),
            };
            row.insert(field.name().clone(), value);
        }
    }
    Ok(rows.into_iter().map(Value::Object).collect())
}
