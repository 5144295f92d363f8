//! Writing runs.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::error::ExchangeError;
use super::super::output::{self, OutputFile};
use super::error::TrecError;

/// A run that is being written, compressed as its name says. Only [`RunWriter::finish`] completes
/// it.
pub struct RunWriter {
    file: OutputFile,
    path: PathBuf,
    tag: String,
}

impl RunWriter {
    /// Creates a run file, over one that is there. `tag` names the run in every line.
    ///
    /// # Errors
    /// The file cannot be created; the tag is empty or holds white space.
    pub fn create(path: &Path, tag: &str) -> Result<RunWriter, TrecError> {
        word("tag", tag)?;
        Ok(RunWriter { file: output::create(path)?, path: path.to_owned(), tag: tag.to_owned() })
    }

    /// Writes the ranking of a topic, best first: ranks count from 1, scores are written so that
    /// reading gives the same number.
    ///
    /// Who reads a run orders it by score, and what is tied by document, descending: the ranks are
    /// for people.
    ///
    /// # Errors
    /// An identifier is empty or holds white space, a score is no number; the file cannot be
    /// written.
    pub fn write<'a>(
        &mut self,
        topic: &str,
        ranking: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<(), TrecError> {
        word("topic", topic)?;
        for ((document, score), rank) in ranking.into_iter().zip(1_u64..) {
            word("document", document)?;
            if !score.is_finite() {
                return Err(unwritable("score", score.to_string(), "it is no number"));
            }
            writeln!(self.file, "{topic} Q0 {document} {rank} {score} {}", self.tag)
                .map_err(|source| ExchangeError::file(&self.path, source))?;
        }
        Ok(())
    }

    /// Completes the file and hands it to the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> Result<(), TrecError> {
        Ok(self.file.finish()?)
    }
}

/// Returns an error if a text is no single word.
fn word(field: &'static str, text: &str) -> Result<(), TrecError> {
    if text.is_empty() {
        return Err(unwritable(field, String::new(), "it is empty"));
    }
    if text.contains(char::is_whitespace) {
        return Err(unwritable(field, text.to_owned(), "white space parts the columns"));
    }
    Ok(())
}

fn unwritable(field: &'static str, value: String, reason: &'static str) -> TrecError {
    TrecError::Unwritable { field, value, reason }
}
