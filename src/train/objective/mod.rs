//! What is minimised, as arithmetic on log-probabilities.
//!
//! A loss depends on the weights through the log-probabilities of action tokens alone (and through
//! the divergence at them, where it is exact). So losses and their derivatives by those numbers
//! are computed here, in f64 and by hand, and handed to the backward pass as coefficients.
//!
//! ```text
//!   policy.rs      sft, reinforce, ppo,    a sum over tokens, each for itself
//!                  swirl
//!   preference.rs  dpo                     a function of two actions at one state
//!   label.rs       kto                     a function of one action and a reference point
//!   group.rs       grpo                    a sum over the action tokens of a played trajectory
//!   criterion.rs   which of them a run has, over the actions of a forward pass
//! ```
//!
//! All of them are means over what an optimiser step holds (tokens, actions or pairs), counted
//! before its first forward pass: a loss does not depend on how the step is cut into batches and
//! packed into sequences. Only pairs must stay in one forward pass, and do.
//!
//! Actions that are sampled while training (`swirl`, see [`super::online`]) have the loss of a
//! policy too: [`ActionLogProbs::weight`] is their advantage, known once they are judged.
//!
//! Trajectories that are played while training (`grpo`, see [`super::episodes`]) have a ratio to
//! the policy that played and a divergence from the one at the start, which are two.
//!
//! Room for more. An objective with a value head needs a second number for each token beside
//! `now`, and a second list of derivatives in [`ActionLoss`], as the exact divergence has: `Batch`
//! is where it would be read from the states.

mod criterion;
mod group;
mod label;
mod policy;
mod preference;

pub use criterion::{Criterion, RewardSums};
pub use group::{GroupCounts, GroupLoss, PlayedLogProbs};
pub use label::{LabelLoss, reference_point};
pub use policy::{ActionLogProbs, ActionLoss, Clip, Counts, PolicyLoss};
pub use preference::{PairLoss, PreferenceLoss};
