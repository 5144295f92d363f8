//! What every client of HTTP here has in common: addresses, headers, how a client behaves, and how
//! a caller that blocks waits for one.
//!
//! A client calls what it is told to call and nothing else: no redirect is followed by itself, no
//! proxy is taken from the environment, certificates are those that the system trusts. No address
//! is shown with a password or a query string in it.

mod address;
mod client;
mod headers;
mod worker;

pub use address::{parse_address, shown_address};
pub use client::{client_builder, innermost_cause};
pub use headers::{bearer, header_text};
pub use worker::{Waited, Worker};
