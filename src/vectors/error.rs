//! What can go wrong with vectors on disk.

use std::io;
use std::path::{Path, PathBuf};

/// Why vectors cannot be written or cannot answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VectorsError {
    /// There is no file.
    #[error("there are no vectors in {path}; make them from the documents")]
    Missing {
        /// Where they were looked for.
        path: PathBuf,
    },
    /// They were made from other documents, by another encoder, or by another version.
    #[error(
        "the vectors in {path} have {what} '{found}' where '{expected}' is needed; make them again \
         from the documents"
    )]
    Outdated {
        /// The file.
        path: PathBuf,
        /// What differs: format, key or dimensions.
        what: &'static str,
        /// What it has.
        found: String,
        /// What is needed.
        expected: String,
    },
    /// The file is not what was written.
    #[error("the vectors are damaged: {path}: {reason}; make them again from the documents")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// Someone else writes them.
    #[error("{path} is being written by another process; wait for it or stop it")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A vector of more or fewer numbers than there are dimensions.
    #[error("a vector has {found} numbers where {expected} are needed")]
    Dimensions {
        /// How many it has.
        found: usize,
        /// How many are needed.
        expected: usize,
    },
    /// A vector that is not of length 1.
    #[error("a vector has length {length} and must have length 1 (to 0.0005)")]
    NotUnit {
        /// Its length; not a number where it has such numbers.
        length: f64,
    },
    /// A setting outside of what the file is made for.
    #[error("{name} is {found} and must be {expected}")]
    BadParameter {
        /// Its name.
        name: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A row that is not there.
    #[error("there are {count} vectors and no vector {number} (they count from 0)")]
    UnknownRow {
        /// The number asked for.
        number: u32,
        /// How many there are.
        count: u32,
    },
    /// More vectors than numbers.
    #[error("a file holds at most {limit} vectors")]
    TooMany {
        /// The most it holds.
        limit: u32,
    },
    /// The caller's closure said stop.
    #[error("the search was stopped before it had an answer")]
    Cancelled,
    /// The disk or the system failed.
    #[error("{path} cannot be {action}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was done to it.
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
}

impl VectorsError {
    /// Returns whether making the vectors again from their documents mends it.
    pub fn is_mended_by_building(&self) -> bool {
        matches!(
            self,
            VectorsError::Missing { .. }
                | VectorsError::Outdated { .. }
                | VectorsError::Damaged { .. }
        )
    }

    /// Returns the error of a file that is not as written.
    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> VectorsError {
        VectorsError::Damaged { path: path.to_path_buf(), reason: reason.into() }
    }

    /// Returns how an error of the system becomes one of vectors.
    pub(super) fn io(
        path: &Path,
        action: &'static str,
    ) -> impl Fn(io::Error) -> VectorsError + use<> {
        let path = path.to_path_buf();
        move |source| VectorsError::Io { path: path.clone(), action, source }
    }
}
