//! Tools: the calculator, the toolbox, recording and replaying of calls.

mod calculator;
mod recording;
mod replay;
mod toolbox;
