//! What can go wrong with stored data, damage told apart from disk trouble.

use std::path::{Path, PathBuf};

use crate::codec::{CodecError, FORMAT_VERSION, Key};

/// A failure of the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The path is not there.
    #[error("{path} does not exist; `swirl import` and `swirl corpus create` make a database")]
    Missing {
        /// The directory asked for.
        path: PathBuf,
    },
    /// The path is something else than a database.
    #[error("{path} is no swirl database: {why}")]
    NotADatabase {
        /// The path asked for.
        path: PathBuf,
        /// What was found there.
        why: String,
    },
    /// A newer program wrote it.
    #[error(
        "{path} has format version {found}; this program reads up to {FORMAT_VERSION}: use a newer \
         swirl"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// Another process writes to it.
    #[error(
        "{path} is open for writing in another process: end that one, or open with --read-only"
    )]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// A write to a database opened for reading.
    #[error("the database is open read-only")]
    ReadOnly,
    /// Stored bytes are not what was written.
    #[error("damaged data at {place}: {why}; run 'swirl verify' for the whole extent")]
    Damaged {
        /// Family and key.
        place: String,
        /// What was found.
        why: String,
    },
    /// The disk, the operating system or RocksDB refused.
    #[error("{doing}: {why}")]
    Environment {
        /// What was being done.
        doing: String,
        /// What the system said.
        why: String,
    },
    /// A name that is not there, or is there already.
    #[error("{0}")]
    Name(String),
}

impl StoreError {
    pub(super) fn record(key: &Key, error: CodecError) -> StoreError {
        StoreError::Damaged {
            place: format!("{} {key:?}", key.family().name()),
            why: error.to_string(),
        }
    }

    pub(super) fn key(error: CodecError) -> StoreError {
        StoreError::Damaged { place: "key".to_owned(), why: error.to_string() }
    }

    pub(super) fn codec(place: impl Into<String>) -> impl FnOnce(CodecError) -> StoreError {
        let place = place.into();
        move |error| StoreError::Damaged { place, why: error.to_string() }
    }

    pub(super) fn io(doing: &str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
        let doing = format!("{doing} {}", path.display());
        move |error| StoreError::Environment { doing, why: error.to_string() }
    }
}
