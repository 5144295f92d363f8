//! The loss of trajectories that were played in groups: GRPO and its kin.
//!
//! Let l be the log-probability of an action's token under the policy that is trained, o the same
//! under the policy that played and s under the one at the start, A the trajectory's advantage. The
//! loss of an optimiser step is a sum over the action tokens of its trajectories, observations and
//! prompts left out:
//!
//! ```text
//! L = sum over tokens of c (max(-r A, -clip(r, 1 - e, 1 + h) A) + beta * divergence)
//!
//! r           exp(l - o)
//! divergence  exp(-d) - 1 + d  (k3)   or   d^2 / 2  (k2)   with d = l - s
//! c           1 / tokens                                    dapo
//!             1 / (trajectories * tokens of the trajectory) grpo
//!             1 / (trajectories * max_completion_length)    dr_grpo
//! ```
//!
//! `tokens` and `trajectories` count all that was played together and judged, those of advantage
//! zero included. `grpo` is the form of Shao et al. (2024, arXiv 2402.03300), `dapo` that of Yu et
//! al. (2025, arXiv 2503.14476), e and h apart as there, `dr_grpo` that of Liu et al. (2025, arXiv
//! 2503.20783); names and constants are TRL's (`GRPOConfig.loss_type`). On the first step on what
//! was played o is l itself: r is 1 and its derivative by l too.

use crate::train::config::{KlType, LossType, TrainConfig};

use super::policy::{ActionLoss, Clip, estimated, surrogate};

/// The loss of played trajectories.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupLoss {
    /// How the losses of tokens become one; those of pairs and labels are taken as
    /// [`LossType::Dapo`].
    pub loss_type: LossType,
    /// How far the ratio may move a token's loss.
    pub clip: Clip,
    /// The weight of the divergence.
    pub beta: f64,
    /// Which divergence.
    pub kl_type: KlType,
    /// The tokens that the loss of a trajectory is divided by, for [`LossType::DrGrpo`].
    pub length: usize,
}

/// What was played together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// Trajectories.
    pub trajectories: usize,
    /// The tokens of their actions.
    pub tokens: usize,
}

/// Log-probabilities of tokens of a trajectory's actions: all, or some of them.
#[derive(Clone, Copy, Debug)]
pub struct PlayedLogProbs<'a> {
    /// The trajectory's advantage.
    pub advantage: f64,
    /// The action tokens of the whole trajectory.
    pub tokens: usize,
    /// Under the policy that is trained.
    pub now: &'a [f32],
    /// Under the policy that played; `None`: it is the one that is trained.
    pub old: Option<&'a [f32]>,
    /// Under the policy at the start, where a divergence from it is asked for.
    pub start: Option<&'a [f32]>,
}

impl GroupLoss {
    /// Returns the loss that the options ask for.
    pub fn new(config: &TrainConfig) -> GroupLoss {
        let low = config.epsilon.unwrap_or(0.2);
        GroupLoss {
            loss_type: config.loss(),
            clip: Clip { low, high: config.epsilon_high.unwrap_or(low), dual: None },
            beta: config.group_divergence(),
            kl_type: config.kl_loss_type.unwrap_or(KlType::K3),
            length: config.completion_length(),
        }
    }

    /// Returns what tokens of a trajectory add to the loss of an optimiser step on what `counts`
    /// says was played.
    pub fn of_tokens(&self, played: PlayedLogProbs<'_>, counts: GroupCounts) -> ActionLoss {
        let share = |tokens: usize| 1.0 / (counts.trajectories as f64 * tokens.max(1) as f64);
        let scale = match self.loss_type {
            LossType::Grpo => share(played.tokens),
            LossType::DrGrpo => share(self.length),
            _ => 1.0 / counts.tokens.max(1) as f64,
        };
        let mut sum = ActionLoss::default();
        for (index, now) in played.now.iter().enumerate() {
            let now = f64::from(*now);
            let of = |values: Option<&[f32]>| {
                values.and_then(|values| values.get(index)).map_or(now, |value| f64::from(*value))
            };
            let (old, start) = (of(played.old), of(played.start));
            let (policy, by_policy, clipped) =
                surrogate(Some(self.clip), played.advantage, now, old);
            let (divergence, by_divergence) = estimated(self.kl_type, now - start);
            sum.loss += scale * (policy + self.beta * divergence);
            sum.derivatives.push((scale * (by_policy + self.beta * by_divergence)) as f32);
            sum.divergence += divergence;
            sum.clipped += usize::from(clipped);
        }
        sum
    }
}
