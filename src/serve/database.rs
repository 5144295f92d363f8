//! A database as what is served.

use std::sync::Arc;

use serde_json::{Value, json};

use super::backend::{Backend, Cancelled, Corpus, Document, Hit, Refusal, ToolOutput, ToolSpec};
use crate::db::{self, DbError};
use crate::diag::list_some;
use crate::session::{Session, SessionError, tool_names};
use crate::tools::{CassetteError, RecordError, RecordedTool, Recorder, Tool, Toolbox};

/// What a cassette calls the list of what was served.
const LISTING: &str = "serve";

/// Corpora of a database and tools; their calls may go through a recorder.
pub struct DatabaseBackend {
    listed: Vec<Corpus>,
    /// The corpora of `listed`, in its order; none where everything is replayed.
    corpora: Vec<Arc<db::Corpus>>,
    tools: Toolbox,
    recorder: Option<Arc<Recorder>>,
}

impl DatabaseBackend {
    /// Opens corpora by `open`. Without names it is all that are sealed.
    ///
    /// # Errors
    /// What `open` says; one is named twice; damage, or what the disk says.
    pub fn open_corpora(
        session: &Session,
        names: &[String],
        open: impl Fn(&str) -> Result<Arc<db::Corpus>, SessionError>,
    ) -> Result<Vec<Arc<db::Corpus>>, SessionError> {
        let sealed = || -> Result<Vec<String>, SessionError> {
            let corpora = session.database().store().corpora().map_err(DbError::from)?;
            let sealed = corpora.into_iter().filter(|corpus| corpus.fingerprint.is_some());
            Ok(sealed.map(|corpus| corpus.name).collect())
        };
        let names = if names.is_empty() { sealed()? } else { names.to_vec() };
        if let Some((_, twice)) = names.iter().enumerate().find(|(at, n)| names[..*at].contains(n))
        {
            let message = format!("the corpus '{twice}' is named twice");
            return Err(SessionError::mistake("serve", message));
        }
        names.iter().map(|name| open(name)).collect()
    }

    /// Returns the backend over corpora and tools.
    pub fn new(corpora: Vec<Arc<db::Corpus>>, tools: Toolbox) -> DatabaseBackend {
        let is_only = corpora.len() == 1;
        let listed = corpora.iter().map(|corpus| listed(corpus, is_only)).collect();
        DatabaseBackend { listed, corpora, tools, recorder: None }
    }

    /// Returns the backend with its calls recorded, and what it offers beside them.
    ///
    /// # Errors
    /// Recordings cannot be read or written.
    pub fn recorded(self, recorder: Arc<Recorder>) -> Result<DatabaseBackend, CassetteError> {
        let tools: Vec<&ToolSpec> = self.tools.specs().collect();
        let offered = json!({"corpora": self.listed, "tools": tools});
        recorder.keep_listing(LISTING, |earlier| joined(earlier, offered))?;
        Ok(DatabaseBackend { recorder: Some(recorder), ..self })
    }

    /// Returns what was served when calls were recorded, every call answered from the recordings.
    /// Of the corpora it is those with `names`; without names all.
    ///
    /// # Errors
    /// The recordings do not say what was served, or there was no corpus of a name.
    pub fn replayed(
        recorder: Arc<Recorder>,
        names: &[String],
    ) -> Result<DatabaseBackend, SessionError> {
        let mistake = |message: String| SessionError::mistake("serve", message);
        let listing = recorder.listing(LISTING).map_err(|error| mistake(error.to_string()))?;
        let mut listing = listing.ok_or_else(|| {
            mistake("the cassette does not say what was served: record calls by serving".to_owned())
        })?;
        let read =
            |error: serde_json::Error| mistake(format!("the list of what was served: {error}"));
        let mut listed: Vec<Corpus> =
            serde_json::from_value(listing["corpora"].take()).map_err(read)?;
        let specs: Vec<ToolSpec> = serde_json::from_value(listing["tools"].take()).map_err(read)?;
        if let Some(missing) = names.iter().find(|name| !listed.iter().any(|c| c.name == **name)) {
            let known = list_some(listed.iter().map(|corpus| corpus.name.as_str()));
            return Err(mistake(format!(
                "corpus '{missing}' was not served when calls were recorded; served were: {known}"
            )));
        }
        listed.retain(|corpus| names.is_empty() || names.contains(&corpus.name));
        let mut tools = Toolbox::new();
        for spec in specs {
            tools.add(Arc::new(Listed(spec))).map_err(|taken| mistake(taken.to_string()))?;
        }
        Ok(DatabaseBackend { listed, corpora: Vec::new(), tools, recorder: Some(recorder) })
    }

    fn listed(&self, name: &str) -> Result<&Corpus, Refusal> {
        self.listed.iter().find(|corpus| corpus.name == name).ok_or_else(|| self.unknown(name))
    }

    fn open(&self, name: &str) -> Result<&Arc<db::Corpus>, Refusal> {
        let found = self.corpora.iter().find(|corpus| corpus.record().name == name);
        found.ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> Refusal {
        let known = list_some(self.listed.iter().map(|corpus| corpus.name.as_str()));
        Refusal::UnknownCorpus { name: name.to_owned(), known }
    }

    /// Returns the result for programs of a tool's call, through the recorder.
    fn played(
        &self,
        recorder: &Arc<Recorder>,
        tool: &str,
        arguments: &Value,
        cancelled: Cancelled,
    ) -> Result<Value, Refusal> {
        let missing = || Refusal::Internal(format!("there is no tool '{tool}'"));
        let tool = self.tools.get(tool).ok_or_else(missing)?;
        let output = play(tool, recorder, arguments, cancelled)?;
        match output.structured {
            Some(structured) => Ok(structured),
            None if cancelled() => Err(Refusal::Cancelled),
            None => Err(Refusal::Internal(output.text)),
        }
    }
}

/// A tool that was offered; its calls are replayed.
struct Listed(ToolSpec);

impl Tool for Listed {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call(&self, _arguments: &Value, _cancelled: &dyn Fn() -> bool) -> ToolOutput {
        ToolOutput::error("this tool is only known from recordings")
    }
}

fn listed(corpus: &db::Corpus, is_only: bool) -> Corpus {
    let record = corpus.record();
    let [tool, _] = tool_names(&record.name, is_only);
    Corpus {
        name: record.name.clone(),
        fingerprint: corpus.fingerprint(),
        documents: record.documents,
        description: record.description.clone(),
        tool,
    }
}

/// Returns what was offered earlier and what is offered now; of two of one name the latter.
fn joined(earlier: Option<Value>, mut now: Value) -> Value {
    let mut earlier = earlier.unwrap_or_default();
    for list in ["corpora", "tools"] {
        let (Value::Array(old), Value::Array(new)) = (earlier[list].take(), &mut now[list]) else {
            continue;
        };
        for element in old {
            if !new.iter().any(|other| other["name"] == element["name"]) {
                new.push(element);
            }
        }
    }
    now
}

fn play(
    tool: &Arc<dyn Tool>,
    recorder: &Arc<Recorder>,
    arguments: &Value,
    cancelled: Cancelled,
) -> Result<ToolOutput, Refusal> {
    let tool = RecordedTool::new(Arc::clone(tool), Arc::clone(recorder));
    match tool.play(arguments, cancelled) {
        Ok(played) => Ok(played.output),
        Err(error @ RecordError::Missing(_)) => Err(Refusal::NotRecorded(error.to_string())),
        Err(error @ RecordError::Arguments { .. }) => Err(Refusal::Invalid(error.to_string())),
        Err(error @ RecordError::Cassette(_)) => Err(Refusal::Internal(error.to_string())),
    }
}

fn refusal(error: DbError) -> Refusal {
    match error {
        DbError::Stopped => Refusal::Cancelled,
        other => Refusal::Internal(other.to_string()),
    }
}

/// Returns a field of a recorded result.
fn field<T: serde::de::DeserializeOwned>(result: &mut Value, name: &str) -> Result<T, Refusal> {
    serde_json::from_value(result[name].take())
        .map_err(|error| Refusal::Internal(format!("a recorded result, {name}: {error}")))
}

impl Backend for DatabaseBackend {
    fn corpora(&self) -> Vec<Corpus> {
        self.listed.clone()
    }

    fn search(
        &self,
        corpus: &str,
        query: &str,
        k: usize,
        cancelled: Cancelled,
    ) -> Result<Vec<Hit>, Refusal> {
        if let Some(recorder) = &self.recorder {
            let (tool, arguments) = (&self.listed(corpus)?.tool, json!({"query": query, "k": k}));
            let mut result = self.played(recorder, tool, &arguments, cancelled)?;
            let hits: Vec<Value> = field(&mut result, "hits")?;
            let hit = |mut hit: Value| {
                Ok(Hit {
                    id: field(&mut hit, "id")?,
                    title: field(&mut hit, "title")?,
                    text: field(&mut hit, "text")?,
                    score: field(&mut hit, "score")?,
                })
            };
            return hits.into_iter().map(hit).collect();
        }
        let found = self.open(corpus)?.search(query, k, cancelled).map_err(refusal)?;
        let hit = |found: db::Found| Hit {
            id: found.id,
            title: found.document.title,
            text: found.document.text,
            score: found.score,
        };
        Ok(found.into_iter().map(hit).collect())
    }

    fn document(&self, corpus: &str, id: &str) -> Result<Option<Document>, Refusal> {
        if let Some(recorder) = &self.recorder {
            let tool = self.listed(corpus)?.tool.replacen("search", "get_document", 1);
            let mut result = self.played(recorder, &tool, &json!({"id": id}), &|| false)?;
            let title = field(&mut result, "title")?;
            let text: Option<String> = field(&mut result, "text")?;
            return Ok(text.map(|text| Document { id: id.to_owned(), title, text }));
        }
        let found = self.open(corpus)?.document(id).map_err(refusal)?;
        let document = |found: crate::codec::DocumentRecord| Document {
            id: id.to_owned(),
            title: found.title,
            text: found.text,
        };
        Ok(found.map(document))
    }

    fn tools(&self) -> Vec<ToolSpec> {
        self.tools.specs().cloned().collect()
    }

    fn call(
        &self,
        tool: &str,
        arguments: &Value,
        cancelled: Cancelled,
    ) -> Result<ToolOutput, Refusal> {
        let output = match (self.tools.find(tool, arguments), &self.recorder) {
            (Err(told), _) => told,
            (Ok(tool), None) => tool.call(arguments, cancelled),
            (Ok(tool), Some(recorder)) => play(tool, recorder, arguments, cancelled)?,
        };
        if cancelled() { Err(Refusal::Cancelled) } else { Ok(output) }
    }
}
