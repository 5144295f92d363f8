//! How a client behaves, and why it failed.

use reqwest::{Client, ClientBuilder, redirect};

/// Returns the beginning of a client: no redirects, no proxy, the program's name.
pub fn client_builder() -> ClientBuilder {
    // Fails where it is set already, by an earlier client.
    let _set = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("swirldb/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(redirect::Policy::none())
}

/// Returns the innermost reason of an error, without an address: the outermost text says only that
/// a request failed, the innermost says why.
pub fn innermost_cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
