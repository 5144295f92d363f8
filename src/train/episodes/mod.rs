//! Trajectory-level reinforcement learning as it goes: whole trajectories are played by the policy
//! of now, tools included, and their final answers judged.
//!
//! A generation is `train_batch_size` questions, each played `num_generations` times with the
//! weights of now. With r_1 .. r_n the values of the answers of one question
//!
//! ```text
//! A_i = (r_i - mean of r) / (deviation of r + 1e-4)     scale_rewards = 'group'
//!       (r_i - mean of r) / (deviation of all + 1e-4)   'batch'
//!        r_i - mean of r                                'none'
//! ```
//!
//! the deviation by n - 1, as TRL has it (`GRPOTrainer`, trl 1.16). Every action token of
//! trajectory i has the advantage A_i; observations and prompts have none and no loss.
//! `num_iterations` optimiser steps are made on a generation, the loss is
//! [`super::objective::GroupLoss`]'s.
//!
//! ```text
//! questions ------ player.rs      plays and judges: tools and rules are known to the caller only
//!             |--- generation.rs  advantages; tokens as they were sampled and read
//!             |--- batch.rs       the prompt of a question once, its trajectories as branches
//!             |--- step.rs        forward, backward, update; held-out questions
//!             `--- tally.rs       what a step is told by
//! ```
//!
//! What is trained on is what was sampled, token by token: where the state of an action begins with
//! all tokens of the action before, both are in one sequence; where it was written otherwise (an
//! action that its text does not spell the same way), it stands in a sequence apart.
//!
//! A trajectory follows from weights, tokens, rules, tools, options and a seed made of the run's
//! seed, question, generation and number, so a run that was killed goes on with the trajectories
//! that it would have had, given tools and a judge that say the same again. Nothing that was played
//! is in a checkpoint: checkpoints are between generations.

mod batch;
mod generation;
mod player;
mod step;
mod tally;

pub use generation::group_advantages;
pub use player::{Asked, EpisodePlayer, Played, Turn, Worth};

pub(super) use generation::Generation;
