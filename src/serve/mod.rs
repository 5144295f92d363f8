//! Corpora and tools over HTTP and the Model Context Protocol.
//!
//! ```text
//!  socket -> connection -> guard -> routes -> one route -> pool -> Backend
//!            places,       Host,    path,     JSON in,     permits,
//!            time limits   Origin,  body      JSON out     deadline
//!                          token
//! ```
//!
//! This module knows no store, no statement and no index: what it serves is a `Backend`, whose
//! calls may block and therefore run on a bounded number of threads. Everything that a client can
//! make grow has a limit in `Limits`: connections, bytes of requests and answers held at once,
//! queries of a request, hits, running and waiting calls, and the time each of them may take. Over
//! a limit the answer is an error that names the limit; the service goes on.
//!
//! Errors are `{"error": {"code": "..", "message": ".."}}`. The one exception is what is not HTTP:
//! hyper itself answers that, with a status and no body.
//!
//! What is absent: TLS for those who call (a proxy in front has it), HTTP/2, sessions of the Model
//! Context Protocol (each request stands alone, so nothing is kept for a client that went away).

mod backend;
mod body;
mod calls;
mod connection;
mod database;
mod error;
mod guard;
mod json;
mod mcp;
mod options;
mod places;
mod pool;
mod proxied;
pub mod proxy;
mod pyserini;
mod reply;
mod retrieve;
mod routes;
mod server;
mod service;
mod tools;

pub use backend::{Backend, Corpus, Document, Hit, Refusal, ToolOutput, ToolSpec};
pub use database::DatabaseBackend;
pub use error::ServeError;
pub use mcp::McpServer;
pub use options::{Limits, Options};
pub use proxied::{ProxiedError, read_proxied};
pub use server::{Event, EventSink, Server, Stop, Summary, serve_stdio};
