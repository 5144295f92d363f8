//! What can go wrong with a database.

use crate::exchange::ExchangeError;
use crate::lm::LmError;
use crate::store::StoreError;
use crate::text::TextError;
use crate::text::ranking::RankingError;
use crate::vectors::VectorsError;

/// A failure of the database.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// Of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Of the text index.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Of a file that is read or written.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// Of a corpus's ranked index.
    #[error(transparent)]
    Ranking(RankingError),
    /// Of a corpus's vectors.
    #[error(transparent)]
    Vectors(#[from] VectorsError),
    /// Of the model that makes vectors.
    #[error(transparent)]
    Model(#[from] LmError),
    /// A corpus that cannot be what was asked for.
    #[error("corpus '{name}': {why}")]
    Corpus {
        /// The corpus.
        name: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The text index knows a commit that the store does not.
    #[error(
        "the text index has seen commit {text}, the store ends at commit {store}: acknowledged \
         data was lost; restore the database from a backup, or delete its folder 'text' to go on \
         with what is left"
    )]
    TextAhead {
        /// The commit the index has seen.
        text: u64,
        /// The store's last commit.
        store: u64,
    },
    /// Rows that are no steps of stored trajectories, or come twice.
    #[error("{0}")]
    Selection(String),
    /// A dataset of a file that cannot be saved as it was; its trajectories and labels stay.
    #[error("dataset '{name}' was not saved: {why}")]
    Dataset {
        /// The dataset.
        name: String,
        /// What keeps it from being what it was.
        why: String,
    },
    /// Datasets that are not what was saved.
    #[error("{0}")]
    NotAsSaved(String),
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}

impl From<RankingError> for DbError {
    fn from(error: RankingError) -> DbError {
        match error {
            RankingError::Cancelled => DbError::Stopped,
            other => DbError::Ranking(other),
        }
    }
}
