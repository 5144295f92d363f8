//! Rollouts: policies and tools take turns, judges look at what came of it.
//!
//! ```text
//!   questions -> Episode -> Actor (a model here, or a server) -> Act -> calls of tools -> ...
//!                    '-- ended --> Trajectory, Counts
//! ```
//!
//! Nothing here reads a clock or the store: trajectories are handed on as they finish.

mod episode;
mod error;
mod local;
mod protocol;
mod waves;

pub use episode::{Act, Counts, Episode, Question, Unread, check_form, trajectory_id};
pub use error::RolloutError;
pub use local::{LocalOptions, LocalPolicy, State};
pub use protocol::{
    AnswerForm, InstructionsIn, OnBoth, OnLimit, OnMalformed, OnRepeated, OnToolError, Protocol,
};
pub use waves::{Actor, Setting, play};
