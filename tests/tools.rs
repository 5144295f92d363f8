//! Tools: the calculator, the toolbox, recording and replaying of calls.

mod calculator;
pub mod memory;
mod recording;
mod replay;
mod toolbox;
