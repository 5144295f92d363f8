//! What is served: corpora and tools, as the server sees them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::tools::{ToolOutput, ToolSpec};

/// Asked now and then by long work: true means that nobody waits for the answer any more.
pub type Cancelled<'a> = &'a dyn Fn() -> bool;

/// Answers what clients ask. Calls may block; they come from several threads at once.
pub trait Backend: Send + Sync + 'static {
    /// Returns the corpora. Asked once, when the server starts: they are sealed.
    fn corpora(&self) -> Vec<Corpus>;

    /// Returns the `k` best documents of a corpus for a query, best first.
    ///
    /// # Errors
    /// Says why the query has no answer, or that it was cancelled.
    fn search(
        &self,
        corpus: &str,
        query: &str,
        k: usize,
        cancelled: Cancelled,
    ) -> Result<Vec<Hit>, Refusal>;

    /// Returns the document of a corpus with this id, or none if it has none.
    ///
    /// # Errors
    /// Says why documents cannot be read.
    fn document(&self, corpus: &str, id: &str) -> Result<Option<Document>, Refusal>;

    /// Returns the tools. Asked once, when the server starts.
    fn tools(&self) -> Vec<ToolSpec>;

    /// Calls a tool. What goes wrong in the tool itself is an output with `is_error`.
    ///
    /// # Errors
    /// Says why the tool could not be called at all, or that it was cancelled.
    fn call(
        &self,
        tool: &str,
        arguments: &Value,
        cancelled: Cancelled,
    ) -> Result<ToolOutput, Refusal>;
}

/// A sealed corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corpus {
    /// What it is called in paths and requests.
    pub name: String,
    /// Its fingerprint in hexadecimal digits.
    pub fingerprint: String,
    /// How many documents it has.
    pub documents: u64,
    /// What it holds, for people.
    pub description: String,
    /// The tool that searches it.
    pub tool: String,
}

/// A document that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The document's id.
    pub id: String,
    /// Its title, if it has one.
    pub title: Option<String>,
    /// Its text.
    pub text: String,
    /// Its score; a finite number.
    pub score: f64,
}

/// A document of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The document's id.
    pub id: String,
    /// Its title, if it has one.
    pub title: Option<String>,
    /// Its text.
    pub text: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such corpus.
    #[error("there is no corpus '{name}'; there are: {known}")]
    UnknownCorpus {
        /// The name that was asked for.
        name: String,
        /// The names that there are, as a list.
        known: String,
    },
    /// There is no such tool.
    #[error("there is no tool '{name}'; there are: {known}")]
    UnknownTool {
        /// The name that was asked for.
        name: String,
        /// The names that there are, as a list.
        known: String,
    },
    /// The call is not recorded, and no new ones are made.
    #[error("{0}")]
    NotRecorded(String),
    /// The request cannot be answered as it is; the text says what was expected.
    #[error("{0}")]
    Invalid(String),
    /// The work ended because `cancelled` said so.
    #[error("the request was cancelled")]
    Cancelled,
    /// It is not the client's fault: damage, a disk that fails, a bug.
    #[error("{0}")]
    Internal(String),
}
