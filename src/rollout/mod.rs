//! Rollouts: who proposes actions, what tools make of them, who judges them.
//!
//! ```text
//! question -> Episode -> Policy -> Proposed -> calls of tools -> .. -> Trajectory, Counts
//!                           a chat server, or a model in this process
//! state, action -> ProcessJudge -> Verdict      a policy with a judge's prompt
//! gold, answer  -> OutcomeJudge -> Verdict
//! executed step -> ProgramJudge -> Verdict      no model at all
//! verdicts of two judges -> audit
//! ```
//!
//! Invariant: a process judge sees state and action only; nothing that it is given holds a gold
//! answer, an observation of the action or a later step.
//!
//! Invariant: a verdict that cannot be read is no verdict. It is counted, with its text, and is
//! never a 0.
//!
//! What is absent: databases, clocks, random numbers. They are handed in; trajectories are handed
//! on as they finish.

mod episode;
mod error;
pub mod judge;
mod local;
mod policy;
mod protocol;
mod remote;
mod tag_form;
mod waves;

pub use episode::{Counts, Episode, Question, answer_of, check_form, trajectory_id};
pub use error::RolloutError;
pub use local::{LocalOptions, LocalPolicy};
pub use policy::{
    ActRequest, OnProposed, OnScored, Policy, PolicyError, PolicyIdentity, PolicyKind, Proposed,
};
pub use protocol::{
    AnswerForm, CallForm, InstructionsIn, OnBoth, OnLimit, OnMalformed, OnRepeated, OnToolError,
    Protocol, StopTags,
};
pub use remote::{RemotePolicy, sampling_json};
pub use tag_form::{NoTag, TagForm};
pub use waves::{MakeCall, Setting, all_proposed, play};
