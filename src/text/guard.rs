//! Calls into tantivy, with its panics and its errors told apart.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tantivy::TantivyError;
use tantivy::directory::error::OpenReadError;

use super::error::TextError;

/// Why an index did not open.
pub enum Opening {
    /// There is no index.
    Absent,
    /// tantivy wrote it in a format that it no longer reads.
    Outdated,
    /// Anything else.
    Failed(TextError),
}

impl From<Opening> for TextError {
    fn from(opening: Opening) -> TextError {
        match opening {
            Opening::Absent => TextError::Damaged("meta.json is missing".to_owned()),
            Opening::Outdated => TextError::Damaged("it has files of another version".to_owned()),
            Opening::Failed(error) => error,
        }
    }
}

/// Calls tantivy; a panic, which is its answer to some damaged files, becomes an error.
pub fn guarded<T>(call: impl FnOnce() -> tantivy::Result<T>) -> Result<T, Opening> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(path))))
            if path == Path::new("meta.json") =>
        {
            Err(Opening::Absent)
        }
        Ok(Err(
            TantivyError::IncompatibleIndex(_)
            | TantivyError::OpenReadError(OpenReadError::IncompatibleIndex(_)),
        )) => Err(Opening::Outdated),
        Ok(Err(error)) => Err(Opening::Failed(error.into())),
        Err(_) => {
            let reason = "tantivy panicked on it".to_owned();
            Err(Opening::Failed(TextError::Damaged(reason)))
        }
    }
}
