//! What can be set: address, token, names of hosts, limits.

use std::net::SocketAddr;
use std::time::Duration;

use super::error::ServeError;

/// Where and for whom the server listens.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// What clients must send as `Authorization: Bearer ..`. Needed off loopback.
    pub token: Option<String>,
    /// Names by which clients may call this server beside loopback's, without a port.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call this server beside loopback's: `https://name[:port]`.
    pub allowed_origins: Vec<String>,
    /// The corpus that `/retrieve` searches where a request names none. With one corpus it is that
    /// one.
    pub corpus: Option<String>,
    /// How many documents `/retrieve` returns where `topk` is missing or null.
    pub topk: usize,
    /// What clients cannot exceed.
    pub limits: Limits,
}

impl Default for Options {
    /// Returns loopback, port 8000 (that of Search-R1's server), no token, three documents.
    fn default() -> Options {
        Options {
            address: SocketAddr::from(([127, 0, 0, 1], 8000)),
            token: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            corpus: None,
            topk: 3,
            limits: Limits::default(),
        }
    }
}

/// What clients cannot exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes of a query.
    pub query_bytes: usize,
    /// Queries of a request.
    pub queries: usize,
    /// Documents of an answer to a query.
    pub hits: usize,
    /// Bytes of the texts of an answer.
    pub answer_bytes: usize,
    /// Bytes of all requests and answers that are held at once.
    pub held_bytes: usize,
    /// Calls of the backend that run at once.
    pub running: usize,
    /// Requests that wait for one of those.
    pub waiting: usize,
    /// Connections that are open at once. One that waits for its client's next request longest
    /// makes room for a new one.
    pub connections: usize,
    /// From a request's head to its answer.
    pub request_time: Duration,
    /// From the first wait for a request's head to its end; idle connections end with it too.
    pub head_time: Duration,
    /// How long a client may leave an answer unread.
    pub write_time: Duration,
    /// From the order to stop to the end of what still runs.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 4 << 20,
            query_bytes: 64 << 10,
            queries: 1024,
            hits: 1000,
            answer_bytes: 64 << 20,
            held_bytes: 512 << 20,
            running: 4,
            waiting: 512,
            connections: 512,
            request_time: Duration::from_secs(30),
            head_time: Duration::from_secs(30),
            write_time: Duration::from_secs(30),
            stop_time: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// The limits that are counts, by name.
    fn counts(&self) -> [(&'static str, usize); 8] {
        [
            ("body_bytes", self.body_bytes),
            ("query_bytes", self.query_bytes),
            ("queries", self.queries),
            ("hits", self.hits),
            ("answer_bytes", self.answer_bytes),
            ("held_bytes", self.held_bytes),
            ("running", self.running),
            ("connections", self.connections),
        ]
    }
}

impl Options {
    /// Checks what does not depend on a backend.
    ///
    /// # Errors
    /// An address off loopback without a token, a token that no header can carry, a limit of
    /// nothing, an answer of more documents than the limit, an origin without a scheme.
    pub fn validate(&self) -> Result<(), ServeError> {
        if self.token.is_none() && !self.address.ip().is_loopback() {
            return Err(ServeError::TokenNeeded { address: self.address });
        }
        if let Some(token) = &self.token
            && (token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(ServeError::Token);
        }
        if let Some((name, _)) = self.limits.counts().into_iter().find(|(_, count)| *count == 0) {
            return Err(ServeError::Limit { name });
        }
        if self.topk == 0 || self.topk > self.limits.hits {
            return Err(ServeError::Topk { topk: self.topk, hits: self.limits.hits });
        }
        match self.allowed_origins.iter().find(|origin| !origin.contains("://")) {
            Some(origin) => Err(ServeError::Origin { origin: origin.clone() }),
            None => Ok(()),
        }
    }
}
