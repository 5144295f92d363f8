//! One statement in, one outcome out.
//!
//! A session holds the database, the query engine and what the user has chosen (output, judges).
//! Rows, progress and training events go to a [`Sink`]; nothing here prints. The clock and random
//! numbers enter the program here.

mod create_model;
mod describe;
mod error;
mod export;
mod listing;
mod select;
mod statement;
mod training;

pub use create_model::{NewModel, create_model};
pub use describe::train_plan;
pub use error::SessionError;
pub use export::{ExportFormat, export};
pub use statement::{Outcome, Session, SessionOptions, Sink};
pub use training::TrainSummary;

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time in microseconds since 1970-01-01T00:00:00Z.
pub fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Returns a random number that names a database.
///
/// # Errors
/// The operating system has no random numbers.
pub fn random_identity() -> Result<[u8; 16], SessionError> {
    let mut identity = [0; 16];
    getrandom::fill(&mut identity).map_err(|e| SessionError::Environment(e.to_string()))?;
    Ok(identity)
}
