//! What can go wrong with rollouts.

use super::policy::PolicyError;
use crate::tools::RecordError;

/// Why a rollout ended early.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// Whoever asked does not want it any more.
    #[error("cancelled")]
    Cancelled,
    /// The policy cannot act.
    #[error("the policy: {0}")]
    Policy(PolicyError),
    /// A call cannot be recorded or replayed.
    #[error(transparent)]
    Recording(#[from] RecordError),
    /// Some episodes could not be played to their ends.
    #[error(
        "{lost} of the episodes could not be played to the end, the first because {first}; the \
         others are stored, and the same statement plays what is missing"
    )]
    Lost {
        /// How many.
        lost: u64,
        /// What the first of them met.
        first: String,
    },
}

impl From<PolicyError> for RolloutError {
    fn from(error: PolicyError) -> RolloutError {
        match error {
            PolicyError::Cancelled => RolloutError::Cancelled,
            PolicyError::Record(error) => RolloutError::Recording(error),
            other => RolloutError::Policy(other),
        }
    }
}
