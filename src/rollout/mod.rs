//! Rollouts: who proposes actions, who judges them.
//!
//! ```text
//! state, tools -> Policy -> Proposed            a chat server, or a model in this process
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
//! What is absent: models, databases, clocks, random numbers. They are handed in.

pub mod judge;
mod policy;
mod remote;

pub use policy::{
    ActRequest, OnProposed, Policy, PolicyError, PolicyIdentity, PolicyKind, Proposed,
};
pub use remote::RemotePolicy;
