//! What is minimised, as arithmetic on log-probabilities.
//!
//! Let l be the log-probability of an action's token under the policy that is trained, s the same
//! under the policy at the start, A the action's weight (its reward less the baseline). The loss
//! of an optimiser step is a sum over the tokens of its chosen actions:
//!
//! ```text
//! L = sum over tokens of c (policy + beta * divergence)
//!
//! policy      -A l                                        without clipping
//!             -min(r A, clip(r, 1 - e, 1 + e) A)          with it; r = exp(l - s)
//! divergence  d^2 / 2  (k2)   or   exp(-d) - 1 + d  (k3)  with d = l - s
//! c           1 / tokens              token-mean
//!             1 / actions             seq-mean-token-sum
//!             1 / (actions * tokens of the action)   seq-mean-token-mean
//! ```
//!
//! `tokens` and `actions` count the whole step, so c is known before the first forward pass, and
//! the loss does not depend on how the step is cut into batches and packed into sequences. Zero
//! weights do not occur unless a divergence is asked for (see the plan).
//!
//! Since L depends on the weights through l alone, dL/dl is computed here, in f64 and by hand,
//! and handed to the backward pass as a coefficient of each log-probability. The clipped form is
//! PPO's (Schulman et al. 2017) against the start policy; the estimators are Schulman's k2 and k3.
//! Without clipping and divergence this is REINFORCE on stored actions, a weighted likelihood.

use super::config::{KlType, LossAggregation, TrainConfig};

/// The loss of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// How the losses of tokens become one.
    pub aggregation: LossAggregation,
    /// How far the ratio may move a token's loss; `None`: no clipping.
    pub epsilon: Option<f64>,
    /// The weight of the divergence.
    pub kl_coef: f64,
    /// Its estimator.
    pub kl_type: KlType,
}

/// What an optimiser step holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Chosen actions.
    pub actions: usize,
    /// Their tokens, ends of turn included.
    pub tokens: usize,
}

/// An action's log-probabilities, a number for each token.
#[derive(Clone, Copy, Debug)]
pub struct ActionLogProbs<'a> {
    /// Its weight: reward less baseline.
    pub weight: f64,
    /// Under the policy that is trained.
    pub now: &'a [f32],
    /// Under the policy at the start; needed for clipping and divergence only.
    pub start: Option<&'a [f32]>,
}

/// What an action adds to the loss of its optimiser step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionLoss {
    /// Its part of the loss.
    pub loss: f64,
    /// The derivative of the loss by each token's log-probability.
    pub derivatives: Vec<f32>,
    /// The estimated divergence, summed over tokens, before its coefficient.
    pub divergence: f64,
    /// Tokens whose loss is clipped.
    pub clipped: usize,
}

impl Loss {
    /// Returns the loss that the options ask for.
    pub fn new(config: &TrainConfig) -> Loss {
        Loss {
            aggregation: config.aggregation(),
            epsilon: config.epsilon,
            kl_coef: config.kl(),
            kl_type: config.kl_loss_type.unwrap_or_default(),
        }
    }

    /// Returns what one action adds to the loss of an optimiser step that holds `counts`.
    pub fn of_action(&self, action: ActionLogProbs<'_>, counts: Counts) -> ActionLoss {
        let scale = match self.aggregation {
            LossAggregation::TokenMean => 1.0 / counts.tokens as f64,
            LossAggregation::SeqMeanTokenSum => 1.0 / counts.actions as f64,
            LossAggregation::SeqMeanTokenMean => {
                1.0 / (counts.actions as f64 * action.now.len() as f64)
            }
        };
        let mut sum = ActionLoss::default();
        for (index, now) in action.now.iter().enumerate() {
            let now = f64::from(*now);
            // Without a start policy the difference is not looked at.
            let start = action.start.and_then(|s| s.get(index)).map_or(now, |s| f64::from(*s));
            let (policy, by_policy, clipped) = self.policy(action.weight, now, start);
            let (divergence, by_divergence) = self.divergence(now - start);
            sum.loss += scale * (policy + self.kl_coef * divergence);
            sum.derivatives.push((scale * (by_policy + self.kl_coef * by_divergence)) as f32);
            sum.divergence += divergence;
            sum.clipped += usize::from(clipped);
        }
        sum
    }

    /// Returns a token's policy loss, its derivative by the log-probability, and whether it is
    /// clipped.
    fn policy(&self, weight: f64, now: f64, start: f64) -> (f64, f64, bool) {
        let Some(epsilon) = self.epsilon else { return (-weight * now, -weight, false) };
        let ratio = (now - start).exp();
        let bounded = ratio.clamp(1.0 - epsilon, 1.0 + epsilon);
        let clipped = bounded * weight < ratio * weight;
        let derivative = if clipped { 0.0 } else { -ratio * weight };
        (-(ratio * weight).min(bounded * weight), derivative, clipped)
    }

    /// Returns a token's divergence and its derivative, from the log-ratio.
    fn divergence(&self, log_ratio: f64) -> (f64, f64) {
        match self.kl_type {
            KlType::K1 => (log_ratio, 1.0),
            KlType::K2 => (0.5 * log_ratio * log_ratio, log_ratio),
            KlType::K3 => {
                let inverse = (-log_ratio).exp();
                (inverse - 1.0 + log_ratio, 1.0 - inverse)
            }
        }
    }
}
