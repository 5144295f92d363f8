//! What can go wrong: with a whole file, and with one record of it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::documents::DocumentFormat;
use super::format::Format;

/// Where a record stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A line, counted from 1.
    Line(u64),
    /// An element of the file's one array, counted from 0.
    Entry(u64),
    /// A row of a table, counted from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(number) => write!(f, "line {number}"),
            Place::Entry(index) => write!(f, "entry {index}"),
            Place::Row(number) => write!(f, "row {number}"),
        }
    }
}

/// Why a parser refuses a record: the field and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The path of the field, such as `messages[3].tool_calls[0].function.name`; `None` where
    /// the record as a whole is meant.
    pub field: Option<String>,
    /// What was found and what was expected.
    pub message: String,
}

impl Fault {
    /// Returns a fault of one field.
    pub fn of(field: impl Into<String>, message: impl Into<String>) -> Fault {
        Fault { field: Some(field.into()), message: message.into() }
    }

    /// Returns a fault of the record as a whole.
    pub fn whole(message: impl Into<String>) -> Fault {
        Fault { field: None, message: message.into() }
    }

    /// Returns the fault of a record that stands at `place`.
    pub fn at(self, place: Place) -> BadRecord {
        BadRecord { place, field: self.field, message: self.message }
    }
}

/// A record that could not be read. The others of its file are not touched by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadRecord {
    /// Where it stands.
    pub place: Place,
    /// The path of the field, such as `messages[3].tool_calls[0].function.name`; `None` where
    /// the record as a whole is meant.
    pub field: Option<String>,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{}, {field}: {}", self.place, self.message),
            None => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

/// A file that cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The file is missing, is a directory, may not be read, or its disk fails.
    #[error("{}: {}", path.display(), source)]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The compressed bytes are damaged or end too early.
    #[error(
        "{}: the {method} data is damaged or cut off near byte {offset} of the file, after \
         {decoded} bytes of text ({reason}); the records before it were read; fetch the file again",
        path.display()
    )]
    Compression {
        /// The file.
        path: PathBuf,
        /// `gzip` or `zstd`.
        method: &'static str,
        /// Bytes of the file consumed when the damage showed.
        offset: u64,
        /// Bytes of text decoded before it.
        decoded: u64,
        /// What the decoder says.
        reason: String,
    },
    /// The Parquet file is damaged, cut off, or written in a way that is not read.
    #[error(
        "{}: the Parquet file is damaged, cut off or not written as expected, after {decoded} \
         bytes of its rows as JSON ({reason}); the rows before it were read",
        path.display()
    )]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Bytes of text decoded before the damage showed.
        decoded: u64,
        /// What the decoder says.
        reason: String,
    },
    /// There is no record in it.
    #[error("{}: {found}; expected at least one record", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What there is instead.
        found: &'static str,
    },
    /// No format, or more than one, fits what the file begins with.
    #[error("{}: {found}; --as names the format: {}", path.display(), Format::names().join(", "))]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What it begins with, and which formats were considered.
        found: String,
    },
    /// No format of documents fits what the file begins with.
    #[error(
        "{}: {found}; --as names the format: {}",
        path.display(),
        DocumentFormat::names().join(", ")
    )]
    UnrecognisedDocuments {
        /// The file.
        path: PathBuf,
        /// What it begins with, and what was expected.
        found: String,
    },
    /// What the file begins with is no question of any form.
    #[error("{}: {found}", path.display())]
    UnrecognisedQuestions {
        /// The file.
        path: PathBuf,
        /// What it begins with, and what was expected.
        found: String,
    },
    /// A file that is not what EXPORT CORPUS writes.
    #[error("{}: {found}; expected a corpus as EXPORT CORPUS writes it", path.display())]
    NotACorpus {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// A reading thread ended without a result.
    #[error("{}: a reading thread ended early; this is a bug of this program", path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
    },
    /// A record that a format cannot carry.
    #[error("trajectory '{id}', {field}: {message}")]
    Unwritable {
        /// The trajectory.
        id: String,
        /// The field.
        field: String,
        /// Why it cannot be written, and what would help.
        message: String,
    },
}

impl ExchangeError {
    /// Returns the error of an operation of the system on `path`.
    pub fn file(path: &Path, source: io::Error) -> ExchangeError {
        ExchangeError::File { path: path.to_owned(), source }
    }
}
