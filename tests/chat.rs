//! The client of chat servers. The server is one in this process, which misbehaves as it is told.

mod asking;
mod crowd;
mod failing;
pub mod server;
mod streams;
