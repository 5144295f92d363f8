//! The log of a run as JSON lines, `DB/runs/NAME/log.jsonl`: what the store has as metrics, for
//! programs that follow a file.
//!
//! A line holds the numbers of a step that the options ask for (`logging_steps`), or of one
//! evaluation: `{"step":10,"loss":1.25,...}`. A run that goes on drops the lines behind the step
//! it goes on from, since it makes those steps again.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::session::error::SessionError;

const FILE: &str = "log.jsonl";

/// The log of one run.
pub(super) struct Journal {
    path: PathBuf,
    file: Option<File>,
}

impl Journal {
    /// Returns the log in a run's folder.
    pub(super) fn new(directory: &Path) -> Journal {
        Journal { path: directory.join(FILE), file: None }
    }

    /// Opens the log behind the lines of the first `steps` steps.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn begin(&mut self, steps: u64) -> Result<(), SessionError> {
        let kept = match fs::read_to_string(&self.path) {
            Ok(text) if steps > 0 => {
                let is_kept = |line: &&str| {
                    let line: Value = serde_json::from_str(line).unwrap_or_default();
                    line["step"].as_u64().is_some_and(|step| step <= steps)
                };
                text.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
            }
            _ => String::new(),
        };
        fs::write(&self.path, kept).map_err(|e| self.failed(&e))?;
        let file = OpenOptions::new().append(true).open(&self.path);
        self.file = Some(file.map_err(|e| self.failed(&e))?);
        Ok(())
    }

    /// Adds a line.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&mut self, step: u64, numbers: &[(&str, f64)]) -> Result<(), SessionError> {
        let mut line = Map::from_iter([("step".to_owned(), Value::from(step))]);
        line.extend(numbers.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = writeln!(file, "{}", Value::Object(line));
        written.map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &std::io::Error) -> SessionError {
        SessionError::Environment(format!("{}: {error}", self.path.display()))
    }
}
