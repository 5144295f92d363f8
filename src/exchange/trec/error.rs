//! What can go wrong with a file of a retrieval experiment.

use std::path::{Path, PathBuf};

use super::super::error::{ExchangeError, Fault};

/// A file of topics, judgements or a run that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TrecError {
    /// The file is missing, damaged or cannot be written.
    #[error(transparent)]
    File(#[from] ExchangeError),
    /// A line that is not what the file should hold.
    #[error("{}, line {line}{}: {message}", path.display(), in_field(.field))]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The column or field; `None` where the line as a whole is meant.
        field: Option<String>,
        /// What was found and what was expected.
        message: String,
    },
    /// There is nothing in it.
    #[error("{}: found no line; expected {expected}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What each line should be.
        expected: &'static str,
    },
    /// A value that the columns of a run cannot hold.
    #[error("the {field} '{value}' cannot stand in a run: {reason}")]
    Unwritable {
        /// The column.
        field: &'static str,
        /// What should have stood in it.
        value: String,
        /// Why it cannot.
        reason: &'static str,
    },
}

fn in_field(field: &Option<String>) -> String {
    field.as_ref().map(|field| format!(", {field}")).unwrap_or_default()
}

impl TrecError {
    /// Returns the error that a fault in a line is.
    pub(super) fn line(path: &Path, line: u64, fault: Fault) -> TrecError {
        TrecError::Line { path: path.to_owned(), line, field: fault.field, message: fault.message }
    }
}
