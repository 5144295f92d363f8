//! What a new format has to bring.

use std::path::Path;

use super::agentprocess::AgentProcess;
use super::chat::Chat;
use super::error::{Fault, Place};
use super::format::Format;
use super::native::Native;
use super::r1searcher::R1Searcher;
use super::record::Record;
use super::steps::Steps;
use super::taubench::TauBench;
use super::verifiers::Verifiers;

/// Reads the records of one format. Several threads share one parser.
pub trait Parser: Send + Sync {
    /// Returns what the text of one record holds: a line without its end, or an element of an
    /// array. White space around it is gone; it is not empty.
    ///
    /// # Errors
    /// The field and what is wrong with it. A record is taken whole or not at all.
    fn parse(&self, text: &str, place: Place) -> Result<Vec<Record>, Fault>;
}

/// What trajectories are called beyond what their records say.
#[derive(Clone, Debug)]
pub struct Names {
    /// The source of every record, whatever it says.
    pub source: Option<String>,
    /// The split of every record, whatever it says.
    pub split: Option<String>,
    /// Columns of a table of steps: our name and theirs.
    pub columns: Vec<(String, String)>,
    /// The source of records that name none: the file's name without its extensions.
    pub stem: String,
}

/// Returns the parser of a format for the file at `path`.
pub(super) fn of(format: Format, names: Names, path: &Path) -> Box<dyn Parser> {
    match format {
        Format::Chat => Box::new(Chat::new(names)),
        Format::AgentProcess => Box::new(AgentProcess::new(names)),
        Format::TauBench => Box::new(TauBench::new(names)),
        Format::R1Searcher => Box::new(R1Searcher::new(names)),
        Format::Verifiers => Box::new(Verifiers::new(names, path)),
        Format::Steps => Box::new(Steps::new(names)),
        Format::Swirl => Box::new(Native::new(names)),
    }
}
