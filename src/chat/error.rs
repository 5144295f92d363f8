//! Why a chat server gave no answer.

use std::io;
use std::time::Duration;

/// Why a chat server gave no answer that can be used. Nothing in it holds a key or a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// An option or a request cannot be used.
    #[error("{setting} {problem}; expected {expected}")]
    Setting {
        /// Which one, with its value unless that is a secret.
        setting: String,
        /// What is wrong with it.
        problem: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The server refuses the request, and would refuse it again.
    #[error("{url} answers {status}: {message}; {advice}")]
    Refused {
        /// The address.
        url: String,
        /// The status.
        status: u16,
        /// What the server says.
        message: String,
        /// What to do.
        advice: String,
    },
    /// The server wants fewer requests.
    #[error(
        "{url} takes no more requests for now{}: {message}; lower concurrency or \
         requests_per_minute",
        after.map(|time| format!(" (for {} s)", time.as_secs())).unwrap_or_default()
    )]
    Busy {
        /// The address.
        url: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
        /// What the server says.
        message: String,
    },
    /// The server cannot answer now.
    #[error("{url} answers {status}: {message}; look at the server's log, and try later")]
    Server {
        /// The address.
        url: String,
        /// The status.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// Nothing answers there, or the connection broke before an answer began.
    #[error("{url} cannot be reached: {problem}; check base_url, and that the server runs")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong.
        problem: String,
    },
    /// There was no whole answer in time.
    #[error("{url} gave no whole answer within {seconds} s; raise timeout or lower max_tokens")]
    OutOfTime {
        /// The address.
        url: String,
        /// The limit.
        seconds: f64,
    },
    /// The answer ended before it was whole.
    #[error("the answer of {url} was cut off: {problem}")]
    Cut {
        /// The address.
        url: String,
        /// Where it stopped.
        problem: String,
    },
    /// The answer makes no sense.
    #[error("{url} does not answer as a chat server: {problem}; check base_url")]
    Protocol {
        /// The address.
        url: String,
        /// What was found, and what was expected.
        problem: String,
    },
    /// The answer is longer than it may be.
    #[error("the answer of {url} has more than {limit_bytes} bytes; lower max_tokens")]
    TooLarge {
        /// The address.
        url: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// It was tried again, and failed each time.
    #[error("{last} (tried {tries} times)")]
    GaveUp {
        /// How often it was tried.
        tries: u32,
        /// What the last try came to.
        last: Box<ChatError>,
    },
    /// The caller wished to end.
    #[error("the requests were cancelled")]
    Cancelled,
    /// Threads cannot be started, or one of them broke.
    #[error("requests cannot be made: {0}")]
    Run(#[from] io::Error),
}

impl ChatError {
    /// Whether every other request of the client would fail as well: nobody answers there, the key
    /// or the model is unknown, the options cannot be used, the caller wished to end.
    pub fn stops_all(&self) -> bool {
        match self {
            ChatError::Setting { .. }
            | ChatError::Unreachable { .. }
            | ChatError::Cancelled
            | ChatError::Run(_) => true,
            ChatError::Refused { status, .. } => !matches!(status, 400 | 413 | 422),
            ChatError::GaveUp { last, .. } => last.stops_all(),
            ChatError::Busy { .. }
            | ChatError::Server { .. }
            | ChatError::OutOfTime { .. }
            | ChatError::Cut { .. }
            | ChatError::Protocol { .. }
            | ChatError::TooLarge { .. } => false,
        }
    }
}
