//! What can go wrong with rollouts.

use crate::lm::LmError;
use crate::tools::RecordError;

/// Why a rollout ended early.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// Whoever asked does not want it any more.
    #[error("cancelled")]
    Cancelled,
    /// The policy cannot act.
    #[error("the policy: {0}")]
    Policy(String),
    /// The model fails.
    #[error(transparent)]
    Model(#[from] LmError),
    /// A call cannot be recorded or replayed.
    #[error(transparent)]
    Recording(#[from] RecordError),
}
