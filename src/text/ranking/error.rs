//! What can go wrong with a ranked index.

use std::io;
use std::path::{Path, PathBuf};

/// Why a ranked index cannot be built or cannot answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RankingError {
    /// There is no index.
    #[error("there is no ranked index in {directory}; build it from the documents")]
    Missing {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// It was built from other documents, with another analysis, or by another version.
    #[error(
        "the ranked index in {directory} has {what} '{found}' where '{expected}' is needed; \
         build it again from the documents"
    )]
    Outdated {
        /// Where it lies.
        directory: PathBuf,
        /// What differs: its format or its key.
        what: &'static str,
        /// What it has.
        found: String,
        /// What is needed.
        expected: String,
    },
    /// The files are not what was written.
    #[error("the ranked index is damaged: {file}: {reason}; build it again from the documents")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A field that the index does not have.
    #[error("the ranked index has {count} fields and no field {field} (they count from 0)")]
    UnknownField {
        /// The field asked for.
        field: usize,
        /// How many there are.
        count: usize,
    },
    /// A document with more or fewer texts than there are fields.
    #[error("a document has {found} texts where the ranked index has {count} fields")]
    UnlikeFields {
        /// How many texts it has.
        found: usize,
        /// How many fields there are.
        count: usize,
    },
    /// A name that is not greater than the one before.
    #[error("document '{name}' comes after '{before}', and names must ascend")]
    NotAscending {
        /// The name.
        name: String,
        /// The name before.
        before: String,
    },
    /// A document number that the index does not have.
    #[error("the ranked index has {count} documents and no document {number} (they count from 0)")]
    UnknownDocument {
        /// The number asked for.
        number: u32,
        /// How many there are.
        count: u32,
    },
    /// A parameter outside of what the formula is made for.
    #[error("{name} is {found} and must be {expected}")]
    BadParameter {
        /// Its name.
        name: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// More documents than numbers.
    #[error("a ranked index holds at most {limit} documents")]
    TooManyDocuments {
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
    /// A thread or an analysis failed.
    #[error("the ranked index failed: {0}")]
    Failed(String),
}

impl RankingError {
    /// Returns whether building the index again from its documents mends it.
    pub fn is_mended_by_building(&self) -> bool {
        matches!(
            self,
            RankingError::Missing { .. }
                | RankingError::Outdated { .. }
                | RankingError::Damaged { .. }
        )
    }

    /// Returns the error of a file that is not as written.
    pub(super) fn damaged(file: &Path, reason: impl Into<String>) -> RankingError {
        RankingError::Damaged { file: file.to_path_buf(), reason: reason.into() }
    }

    /// Returns how an error of the system becomes one of the index.
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> RankingError {
        let path = path.to_path_buf();
        move |source| RankingError::Io { path, action, source }
    }
}
