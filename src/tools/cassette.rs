//! Where recordings are kept, and in which modes they are used.

use super::call::{Call, CallKey, CallKind, Recording};

/// How calls and recordings meet: the modes of `vcrpy`, by its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RecordMode {
    /// What is recorded is replayed. A new call is made and recorded if the cassette was new when
    /// it was opened, else refused.
    #[default]
    Once,
    /// What is recorded is replayed; new calls are made and recorded.
    NewEpisodes,
    /// What is recorded is replayed; new calls are refused. Nothing outside is ever called.
    None,
    /// Every call is made and recorded, over what was recorded before.
    All,
}

impl RecordMode {
    /// Every mode.
    pub const ALL: [RecordMode; 4] =
        [RecordMode::Once, RecordMode::NewEpisodes, RecordMode::None, RecordMode::All];

    /// Returns the word used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordMode::Once => "once",
            RecordMode::NewEpisodes => "new_episodes",
            RecordMode::None => "none",
            RecordMode::All => "all",
        }
    }

    /// Returns the mode that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<RecordMode> {
        RecordMode::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// What came of looking for the recording of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// It was there and answered the call.
    Hit,
    /// It was not there, and the call was refused.
    Miss,
}

/// Recordings by their key. Threads share one.
pub trait Cassette: Send + Sync {
    /// Returns the recording of this key.
    ///
    /// # Errors
    /// It cannot be read.
    fn find(&self, key: &CallKey) -> Result<Option<Recording>, CassetteError>;

    /// Keeps a recording unless there is one of its key, and returns the one that is kept now: of
    /// two equal calls at once, both get the answer of the first.
    ///
    /// # Errors
    /// It cannot be written.
    fn insert(&self, recording: Recording) -> Result<Recording, CassetteError>;

    /// Keeps a recording in the place of the one of its key.
    ///
    /// # Errors
    /// It cannot be written.
    fn replace(&self, recording: Recording) -> Result<(), CassetteError>;

    /// Keeps count of what came of looking for a call. A cassette that cannot be written keeps
    /// none.
    ///
    /// # Errors
    /// It cannot be written though it should.
    fn count(&self, _call: &Call, _key: &CallKey, _lookup: Lookup) -> Result<(), CassetteError> {
        Ok(())
    }

    /// Whether there was no recording in it when it was opened. Recordings made since then do not
    /// change that.
    fn is_new(&self) -> bool;

    /// Calls `each` with recorded calls of this name, in any order, until it returns false. They
    /// are looked at to explain a call that is not there: an implementation may stop after some
    /// thousands.
    ///
    /// # Errors
    /// They cannot be read.
    fn scan_calls(
        &self,
        kind: CallKind,
        name: &str,
        each: &mut dyn FnMut(&Call) -> bool,
    ) -> Result<(), CassetteError>;
}

/// Recordings that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("recordings: {message}")]
pub struct CassetteError {
    /// What failed, and where.
    pub message: String,
}
