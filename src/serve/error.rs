//! Why the server does not start or ends.

use std::io;
use std::net::SocketAddr;

/// Why the server does not start or ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Whoever reaches the address could read everything.
    #[error(
        "{address} can be reached from other machines: give a token that clients must send as \
         `Authorization: Bearer TOKEN`, or listen on 127.0.0.1"
    )]
    TokenNeeded {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The token is empty or has characters that a header cannot carry.
    #[error("the token must be one or more visible ASCII characters without spaces")]
    Token,
    /// A limit of nothing would refuse everything.
    #[error("the limit {name} is 0; it must be at least 1")]
    Limit {
        /// The field of `Limits`.
        name: &'static str,
    },
    /// More documents by default than a request may ask for.
    #[error("the default number of documents is {topk}; it must be between 1 and {hits}")]
    Topk {
        /// The number asked for.
        topk: usize,
        /// The limit.
        hits: usize,
    },
    /// An origin that no browser sends.
    #[error("the origin '{origin}' has no scheme; write it as https://name or http://name:port")]
    Origin {
        /// The origin as given.
        origin: String,
    },
    /// A corpus or tool cannot be served under its name.
    #[error("the {kind} name '{name}' {problem}")]
    Name {
        /// `corpus` or `tool`.
        kind: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The schema of a tool's arguments is not an object.
    #[error("the tool '{name}' has arguments whose JSON schema is not an object")]
    Schema {
        /// The tool's name.
        name: String,
    },
    /// The corpus to search by default does not exist.
    #[error("there is no corpus '{name}' to search by default; there are: {known}")]
    UnknownCorpus {
        /// The name asked for.
        name: String,
        /// The names that there are, as a list.
        known: String,
    },
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Threads cannot be started, or a stream of standard input and output broke.
    #[error("the server cannot run: {0}")]
    Run(#[from] io::Error),
    /// The other side of standard input and output does not speak the protocol.
    #[error("the client does not speak the Model Context Protocol: {0}")]
    Protocol(String),
}
