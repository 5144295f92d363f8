//! Step-wise RL as it goes: actions are sampled at stored states, judged and never executed.
//!
//! With s a stored state, a_1 .. a_n actions sampled at it by the policy of now, p the policy and q
//! the one at the start, an optimiser step minimises
//!
//! ```text
//! L   = mean over states of mean over samples of -A_i sum over tokens of log p
//! A_i = r_i - mean of r_j over the other samples of the state             leave_one_out
//! r_i = value of the judge - beta (log p(a_i | s) - log q(a_i | s))       held fixed
//! ```
//!
//! That is REINFORCE with the leave-one-out baseline (Kool et al. 2019; Ahmadian et al. 2024), on
//! policy: each batch of samples makes one step. The divergence inside the reward is its estimator
//! k1; one in the loss (`kl_loss_coef`) is k2 or k3.
//!
//! ```text
//! a chosen state ----- sampling.rs   n actions, by seed, row, step, epoch and number
//!                 |--- form.rs       is it an action? else `malformed_reward`, unjudged
//!                 |--- judge.rs      the others, all of a step at once; failures drop the sample
//!                 |--- advantage.rs  rewards less baseline, state by state
//!                 |--- batch.rs      trunk once, the samples as its branches
//!                 `--- step.rs       forward, backward, update; held-out states
//! ```
//!
//! What a sample is follows from weights, tokens, options and seed alone, so a run that was killed
//! goes on with the samples that it would have had, given a judge that says the same again.

mod advantage;
mod batch;
mod form;
mod judge;
mod sampling;
mod step;
mod tally;

pub use advantage::leave_one_out;
pub use form::{ActionForm, Malformed, OneAction};
pub use judge::{ActionJudge, Online, Proposal, Verdict};

pub(super) use sampling::Sampling;
