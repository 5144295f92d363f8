//! The server: routes, limits, hostile clients, the Model Context Protocol, tools elsewhere.

mod client;
mod hostile;
mod limits;
mod protocol;
mod proxied;
mod routes;
mod sample;
mod stopping;
