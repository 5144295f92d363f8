//! Why a tool elsewhere gave no answer.

use std::io;

/// Why a tool elsewhere gave no answer, or cannot be asked at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// A part of the request's template does not hold.
    #[error("{part} of the request is '{text}': {problem}")]
    Template {
        /// Which part: URL, header, body.
        part: String,
        /// What was given.
        text: String,
        /// What is wrong, or was expected.
        problem: String,
    },
    /// The arguments of a call do not fill the request.
    #[error("the argument '{name}' {problem}")]
    Argument {
        /// The argument.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The arguments of a call are no object.
    #[error("the arguments must be a JSON object: {{\"name\": value}}")]
    Arguments,
    /// The server has no tool of this name.
    #[error("the server has no tool '{name}'; it has: {known}")]
    UnknownTool {
        /// The name that was asked for.
        name: String,
        /// The names that there are, as a list.
        known: String,
    },
    /// The command cannot be started.
    #[error("the command '{program}' cannot be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing answers there, or the connection broke.
    #[error("{target} cannot be reached: {problem}")]
    Unreachable {
        /// The address or command.
        target: String,
        /// What went wrong.
        problem: String,
    },
    /// The server broke the Model Context Protocol or refused the call.
    #[error("{target} does not answer as the Model Context Protocol wants: {problem}")]
    Protocol {
        /// The address or command.
        target: String,
        /// What went wrong, and the end of what a command wrote to standard error.
        problem: String,
    },
    /// There was no answer in time.
    #[error("there was no answer within {seconds} s")]
    OutOfTime {
        /// The time limit.
        seconds: f64,
    },
    /// The answer is longer than it may be.
    #[error("the answer has more than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The answer is not text.
    #[error("the answer is not UTF-8 from byte {at}")]
    NotText {
        /// Place of the first byte that is not.
        at: usize,
    },
    /// The caller wished to end.
    #[error("the call was cancelled")]
    Cancelled,
    /// Threads cannot be started, or one of them broke.
    #[error("the call cannot be made: {0}")]
    Run(#[from] io::Error),
}
