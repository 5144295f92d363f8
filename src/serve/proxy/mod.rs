//! Tools elsewhere, called from here: an address that takes HTTP, or a server of the Model Context
//! Protocol, started as a command or reached by its address.
//!
//! Calls block until there is an answer, the time limit, or the caller's wish to end; they may come
//! from several threads. What the tool says is an output, errors of its own included (a status of
//! 300 and above, `isError`); a `ProxyError` means that it said nothing that could be used.
//! Redirects are not followed and no proxy is taken from the environment: what is called is what
//! was named. Behind `https` the certificate must be one that the system trusts; `SSL_CERT_FILE`
//! names others.

mod error;
mod http;
mod mcp;
mod template;
mod worker;

pub use error::ProxyError;
pub use http::{HttpTarget, HttpTool, Method};
pub use mcp::{McpTarget, McpTools};
pub use worker::ProxyLimits;
