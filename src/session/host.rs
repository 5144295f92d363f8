//! What only the operating system knows: the time, and random numbers.

use std::time::{SystemTime, UNIX_EPOCH};

use super::error::SessionError;

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

/// The version of this program.
pub(super) const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");
