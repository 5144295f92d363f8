//! Models of the hub: what is fetched, what the cache is like, what can go wrong. The hub is a
//! mirror in this process.

mod failing;
mod fetching;
mod mirror;
mod names;
mod program;
mod resuming;
mod sharing;
