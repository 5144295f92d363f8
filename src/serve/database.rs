//! A database as what is served.

use std::sync::Arc;

use serde_json::Value;

use super::backend::{Backend, Cancelled, Corpus, Document, Hit, Refusal, ToolOutput, ToolSpec};
use crate::db::{self, DbError};
use crate::diag::list_some;
use crate::session::{Session, tool_names};
use crate::tools::{RecordedTool, Recorder, Toolbox};

/// Sealed corpora of a database, its tools, and what records their calls.
pub struct DatabaseBackend {
    corpora: Vec<Arc<db::Corpus>>,
    tools: Toolbox,
}

impl DatabaseBackend {
    /// Opens corpora; their indices are built first where that is needed. Without names it is all
    /// that are sealed.
    ///
    /// # Errors
    /// There is no corpus of a name, or none at all; damage, or what the disk says.
    pub fn open_corpora(
        session: &Session,
        names: &[String],
    ) -> Result<Vec<Arc<db::Corpus>>, crate::session::SessionError> {
        let sealed = || -> Result<Vec<String>, crate::session::SessionError> {
            let corpora = session.database().store().corpora().map_err(DbError::from)?;
            let sealed = corpora.into_iter().filter(|corpus| corpus.fingerprint.is_some());
            Ok(sealed.map(|corpus| corpus.name).collect())
        };
        let names = if names.is_empty() { sealed()? } else { names.to_vec() };
        names.iter().map(|name| session.open_corpus(name)).collect()
    }

    /// Returns the backend over corpora and tools.
    pub fn new(corpora: Vec<Arc<db::Corpus>>, tools: Toolbox) -> DatabaseBackend {
        DatabaseBackend { corpora, tools }
    }

    fn corpus(&self, name: &str) -> Result<&Arc<db::Corpus>, Refusal> {
        let unknown = || Refusal::UnknownCorpus {
            name: name.to_owned(),
            known: list_some(self.corpora.iter().map(|corpus| corpus.record().name.as_str())),
        };
        self.corpora.iter().find(|corpus| corpus.record().name == name).ok_or_else(unknown)
    }
}

/// Returns the tools behind a recorder, each under its name.
pub fn recorded(tools: &Toolbox, recorder: &Arc<Recorder>) -> Toolbox {
    let mut recorded = Toolbox::new();
    for tool in tools.specs().filter_map(|spec| tools.get(&spec.name)) {
        // Their names differ already.
        let _ = recorded.add(Arc::new(RecordedTool::new(tool.clone(), recorder.clone())));
    }
    recorded
}

fn refusal(error: DbError) -> Refusal {
    match error {
        DbError::Stopped => Refusal::Cancelled,
        other => Refusal::Internal(other.to_string()),
    }
}

impl Backend for DatabaseBackend {
    fn corpora(&self) -> Vec<Corpus> {
        let is_only = self.corpora.len() == 1;
        let corpus = |corpus: &Arc<db::Corpus>| {
            let record = corpus.record();
            let [tool, _] = tool_names(&record.name, is_only);
            Corpus {
                name: record.name.clone(),
                fingerprint: corpus.fingerprint(),
                documents: record.documents,
                description: record.description.clone(),
                tool,
            }
        };
        self.corpora.iter().map(corpus).collect()
    }

    fn search(
        &self,
        corpus: &str,
        query: &str,
        k: usize,
        cancelled: Cancelled,
    ) -> Result<Vec<Hit>, Refusal> {
        let found = self.corpus(corpus)?.search(query, k, cancelled).map_err(refusal)?;
        let hit = |found: db::Found| Hit {
            id: found.id,
            title: found.document.title,
            text: found.document.text,
            score: found.score,
        };
        Ok(found.into_iter().map(hit).collect())
    }

    fn document(&self, corpus: &str, id: &str) -> Result<Option<Document>, Refusal> {
        let found = self.corpus(corpus)?.document(id).map_err(refusal)?;
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
        let output = self.tools.call(tool, arguments, cancelled);
        if cancelled() { Err(Refusal::Cancelled) } else { Ok(output) }
    }
}
