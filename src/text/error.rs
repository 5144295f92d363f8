//! What can go wrong with the index.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tantivy::TantivyError;
use tantivy::directory::error::{LockError, OpenDirectoryError, OpenReadError, OpenWriteError};

/// Why the index cannot answer or take rows.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The files are not what was written. The index holds nothing that the store does not:
    /// remove it (`TextIndex::recreate`) and add all rows again.
    #[error("the full-text index is damaged ({0}); it is derived data and can be rebuilt")]
    Damaged(String),
    /// There is no index, or one of another version; a writer builds it anew.
    #[error("the full-text index in {directory} is {found}; open the database once for writing")]
    Outdated {
        /// Where it was looked for.
        directory: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// Another writer has the index open.
    #[error("another process is writing the full-text index; only one can at a time")]
    Locked,
    /// A row was added to an index that was opened for reading.
    #[error("the full-text index was opened for reading and cannot be written")]
    ReadOnly,
    /// A column that the index does not hold.
    #[error("column '{0}' has no full-text index")]
    UnknownColumn(String),
    /// A phrase ends with the beginning of too many words.
    #[error(
        "more than 65,536 words begin with '{0}': write more of the word, or leave the star out"
    )]
    TooManyWords(String),
    /// The disk or the system failed.
    #[error("the full-text index cannot be read or written: {0}")]
    Io(Arc<io::Error>),
    /// The indexing thread stopped; rows added since the last commit are not in the index.
    #[error("the full-text index failed: {0}")]
    Failed(String),
}

impl From<io::Error> for TextError {
    fn from(error: io::Error) -> TextError {
        from_io(&Arc::new(error))
    }
}

fn from_io(error: &Arc<io::Error>) -> TextError {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            TextError::Damaged(error.to_string())
        }
        _ => TextError::Io(Arc::clone(error)),
    }
}

impl From<TantivyError> for TextError {
    fn from(error: TantivyError) -> TextError {
        match error {
            TantivyError::IoError(error) => from_io(&error),
            TantivyError::OpenReadError(error) => error.into(),
            TantivyError::OpenWriteError(OpenWriteError::IoError { io_error, .. })
            | TantivyError::OpenDirectoryError(OpenDirectoryError::IoError { io_error, .. })
            | TantivyError::LockFailure(LockError::IoError(io_error), _) => from_io(&io_error),
            TantivyError::LockFailure(LockError::LockBusy, _) => TextError::Locked,
            TantivyError::DataCorruption(_)
            | TantivyError::IncompatibleIndex(_)
            | TantivyError::FieldNotFound(_)
            | TantivyError::SchemaError(_)
            | TantivyError::InternalError(_) => TextError::Damaged(error.to_string()),
            // Only the planning of a phrase says so (`fields`).
            TantivyError::InvalidArgument(beginning) => TextError::TooManyWords(beginning),
            other => TextError::Failed(other.to_string()),
        }
    }
}

impl From<OpenReadError> for TextError {
    fn from(error: OpenReadError) -> TextError {
        match error {
            OpenReadError::FileDoesNotExist(path) => {
                TextError::Damaged(format!("{} is missing", path.display()))
            }
            OpenReadError::IoError { io_error, .. } => from_io(&io_error),
            OpenReadError::IncompatibleIndex(_) => TextError::Damaged(error.to_string()),
        }
    }
}
