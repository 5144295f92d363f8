//! The union of what can go wrong, and the exit code of each kind.

use crate::db::DbError;
use crate::diag::Diagnostic;
use crate::exchange::ExchangeError;
use crate::lm::LmError;
use crate::query::QueryError;
use crate::rollout::{PolicyError, RolloutError};
use crate::store::StoreError;
use crate::text::TextError;
use crate::train::TrainError;

/// A failure of a statement or command.
#[derive(Debug)]
pub enum SessionError {
    /// The user's mistake, with the text it is in.
    Mistake {
        /// What is wrong and where.
        diagnostic: Diagnostic,
        /// The text that the place refers to.
        text: String,
    },
    /// The database.
    Database(DbError),
    /// A query, beyond mistakes.
    Query(QueryError),
    /// Training.
    Train(TrainError),
    /// A model's files.
    Model(LmError),
    /// Output could not be written.
    Output(std::io::Error),
    /// The operating system refused.
    Environment(String),
    /// It was cancelled.
    Cancelled,
}

impl SessionError {
    /// Returns the error of a mistake without a place.
    pub fn mistake(code: &'static str, message: impl Into<String>) -> SessionError {
        SessionError::Mistake { diagnostic: Diagnostic::new(code, message), text: String::new() }
    }

    /// Returns the process's exit code: 1 the user's input, 3 data, 4 environment, 70 a bug, 130
    /// cancelled.
    pub fn exit_code(&self) -> u8 {
        match self {
            SessionError::Mistake { .. } => 1,
            SessionError::Database(error) => database_code(error),
            SessionError::Query(error) => match error {
                QueryError::Placed(..) => 1,
                QueryError::Database(error) => database_code(error),
                QueryError::Cancelled => 130,
                QueryError::Resources(_) | QueryError::Environment(_) => 4,
                QueryError::Bug(_) => 70,
            },
            SessionError::Train(TrainError::Files { .. } | TrainError::Thread(_)) => 4,
            SessionError::Train(TrainError::Damaged { .. }) => 3,
            SessionError::Train(TrainError::Model(error)) | SessionError::Model(error) => {
                model_code(error)
            }
            SessionError::Train(_) => 1,
            SessionError::Output(_) | SessionError::Environment(_) => 4,
            SessionError::Cancelled => 130,
        }
    }

    /// Whether another process has the database open for writing.
    pub fn is_locked(&self) -> bool {
        matches!(self, SessionError::Database(DbError::Store(StoreError::Locked { .. })))
    }

    /// Returns the error as a message to a person, with a line end.
    pub fn render(&self) -> String {
        match self {
            SessionError::Mistake { diagnostic, text } => diagnostic.render(text),
            other => format!("error: {other}\n"),
        }
    }
}

fn model_code(error: &LmError) -> u8 {
    match error {
        LmError::Damaged { .. } => 3,
        LmError::Io { .. } => 4,
        _ => 1,
    }
}

fn database_code(error: &DbError) -> u8 {
    match error {
        DbError::Store(store) => match store {
            StoreError::Damaged { .. } | StoreError::Newer { .. } => 3,
            StoreError::Environment { .. } => 4,
            _ => 1,
        },
        DbError::TextAhead { .. } => 3,
        DbError::Text(TextError::Damaged { .. }) => 3,
        DbError::Text(TextError::TooManyWords(_)) => 1,
        DbError::Text(_) => 4,
        DbError::Exchange(ExchangeError::Compression { .. }) => 3,
        DbError::NotAsSaved(_) => 3,
        DbError::Ranking(error) if error.is_mended_by_building() => 3,
        DbError::Ranking(_) | DbError::Corpus { .. } | DbError::Vectors(_) | DbError::Model(_) => 1,
        DbError::Exchange(_) | DbError::Selection(_) | DbError::Dataset { .. } => 1,
        DbError::Stopped => 130,
    }
}

impl std::fmt::Display for SessionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SessionError::Mistake { diagnostic, .. } => f.write_str(&diagnostic.message),
            SessionError::Database(error) => error.fmt(f),
            SessionError::Query(error) => error.fmt(f),
            SessionError::Train(error) => error.fmt(f),
            SessionError::Model(error) => error.fmt(f),
            SessionError::Output(error) => write!(f, "writing the output: {error}"),
            SessionError::Environment(why) => f.write_str(why),
            SessionError::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for SessionError {}

impl From<DbError> for SessionError {
    fn from(error: DbError) -> SessionError {
        SessionError::Database(error)
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> SessionError {
        SessionError::Database(error.into())
    }
}

impl From<ExchangeError> for SessionError {
    fn from(error: ExchangeError) -> SessionError {
        SessionError::Database(error.into())
    }
}

impl From<TrainError> for SessionError {
    fn from(error: TrainError) -> SessionError {
        SessionError::Train(error)
    }
}

impl From<RolloutError> for SessionError {
    fn from(error: RolloutError) -> SessionError {
        match error {
            RolloutError::Cancelled => SessionError::Cancelled,
            RolloutError::Policy(PolicyError::Chat(_)) | RolloutError::Lost { .. } => {
                SessionError::Environment(error.to_string())
            }
            RolloutError::Policy(_) => SessionError::mistake("policy", error.to_string()),
            RolloutError::Recording(_) => SessionError::mistake("recording", error.to_string()),
        }
    }
}

impl From<LmError> for SessionError {
    fn from(error: LmError) -> SessionError {
        SessionError::Model(error)
    }
}
