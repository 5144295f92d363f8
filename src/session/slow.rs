//! A log of slow statements: one JSON object a line, with what every operator did.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::datasets::moment;
use super::error::SessionError;

/// Statements that take at least so long are written to a file.
pub struct SlowLog {
    path: PathBuf,
    file: Mutex<File>,
    least: Duration,
}

impl SlowLog {
    /// Opens the file; what is in it stays.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn open(path: &Path, least: Duration) -> Result<SlowLog, SessionError> {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let file = opened
            .map_err(|e| SessionError::Environment(format!("opening {}: {e}", path.display())))?;
        Ok(SlowLog { path: path.to_owned(), file: Mutex::new(file), least })
    }

    /// Writes down a statement that has `taken` long enough. `began` is in microseconds since
    /// 1970-01-01T00:00:00Z; `outcome` is what became of it, and `plans` what its queries did.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub(super) fn tell(
        &self,
        statement: &str,
        (began, taken): (i64, Duration),
        outcome: &str,
        plans: &[String],
    ) -> Result<(), SessionError> {
        if taken < self.least {
            return Ok(());
        }
        let plans: Vec<Vec<&str>> = plans.iter().map(|plan| plan.lines().collect()).collect();
        let entry = json!({
            "began": moment(began)?,
            "seconds": taken.as_secs_f64(),
            "statement": statement,
            "outcome": outcome,
            "plans": plans,
        });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |e| SessionError::Environment(format!("writing {}: {e}", self.path.display()));
        writeln!(file, "{entry}").map_err(failed)
    }
}
