//! Losses of single tokens: likelihood, policy gradient, clipped ratio, divergence.
//!
//! Let l be the log-probability of an action's token under the policy that is trained, s the same
//! under the policy at the start, A the action's weight (its reward, or its advantage). The loss
//! of an optimiser step is a sum over the tokens of its chosen actions:
//!
//! ```text
//! L = sum over tokens of c (policy + beta * divergence)
//!
//! policy      -A l                                        without clipping
//!             max(-r A, -clip(r, 1 - e, 1 + h) A)         with it; r = exp(l - s)
//!             min(that, -C A)                             where A < 0 and C is given
//! divergence  d^2 / 2  (k2)   or   exp(-d) - 1 + d  (k3)  with d = l - s
//!             sum over the vocabulary of p (log p - log q)  (full)
//! c           1 / tokens              token-mean
//!             1 / actions             seq-mean-token-sum
//!             1 / (actions * tokens of the action)   seq-mean-token-mean
//! ```
//!
//! `tokens` and `actions` count the whole step. Zero weights do not occur unless a divergence is
//! asked for (see the plan). The clipped form is PPO's (Schulman et al. 2017) against the start
//! policy, e and h apart as in DAPO (Yu et al. 2025), C the dual clip (Ye et al. 2020); the
//! estimators are Schulman's k2 and k3. Without clipping and divergence this is REINFORCE on
//! stored actions, a weighted likelihood.

use crate::train::config::{KlType, LossAggregation, Objective, TrainConfig};

/// The loss of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyLoss {
    /// How the losses of tokens become one.
    pub aggregation: LossAggregation,
    /// How far the ratio may move a token's loss; `None`: the ratio is not looked at.
    pub clip: Option<Clip>,
    /// The weight of the divergence.
    pub kl_coef: f64,
    /// Which divergence.
    pub kl_type: KlType,
}

/// Bounds of the ratio of probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// Below 1 - `low` a falling ratio moves no loss.
    pub low: f64,
    /// Above 1 + `high` a rising one does not.
    pub high: f64,
    /// With a weight below zero the ratio counts for this at most.
    pub dual: Option<f64>,
}

/// What an optimiser step holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Chosen actions; a pair has two.
    pub actions: usize,
    /// Their tokens, ends of turn included.
    pub tokens: usize,
}

/// An action's log-probabilities, a number for each token.
#[derive(Clone, Copy, Debug)]
pub struct ActionLogProbs<'a> {
    /// Its weight: reward less baseline, or the advantage; for labels 1 or 0; for pairs 1 (chosen)
    /// or -1 (rejected).
    pub weight: f64,
    /// Under the policy that is trained.
    pub now: &'a [f32],
    /// Under the policy at the start, where the objective needs it.
    pub start: Option<&'a [f32]>,
    /// The exact divergence from the start policy at each token, where it is asked for.
    pub divergence: Option<&'a [f32]>,
}

/// What an action adds to the loss of its optimiser step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionLoss {
    /// Its part of the loss.
    pub loss: f64,
    /// The derivative of the loss by each token's log-probability.
    pub derivatives: Vec<f32>,
    /// The derivative of the loss by each token's exact divergence; empty without one.
    pub by_divergence: Vec<f32>,
    /// The divergence, summed over tokens, before its coefficient.
    pub divergence: f64,
    /// Tokens whose loss is clipped.
    pub clipped: usize,
}

impl ActionLogProbs<'_> {
    /// Returns by how much the action's log-probability has grown since the start.
    pub fn log_ratio(&self) -> f64 {
        let sum = |values: &[f32]| values.iter().map(|l| f64::from(*l)).sum::<f64>();
        self.start.map_or(0.0, |start| sum(self.now) - sum(start))
    }
}

impl PolicyLoss {
    /// Returns the loss that the options ask for.
    pub fn new(config: &TrainConfig) -> PolicyLoss {
        let clip = |low: f64, dual| Clip { low, high: config.epsilon_high.unwrap_or(low), dual };
        PolicyLoss {
            aggregation: config.aggregation(),
            clip: match config.objective {
                Objective::Ppo => {
                    let dual = config.clip_ratio_c.unwrap_or(3.0);
                    Some(clip(config.epsilon.unwrap_or(0.2), Some(dual)))
                }
                _ => config.epsilon.map(|low| clip(low, None)),
            },
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
            let (policy, by_policy, clipped) = surrogate(self.clip, action.weight, now, start);
            let exact = action.divergence.and_then(|d| d.get(index)).map(|d| f64::from(*d));
            let (divergence, by_estimate) = match exact {
                Some(exact) => (exact, 0.0),
                None => estimated(self.kl_type, now - start),
            };
            sum.loss += scale * (policy + self.kl_coef * divergence);
            sum.derivatives.push((scale * (by_policy + self.kl_coef * by_estimate)) as f32);
            if exact.is_some() {
                sum.by_divergence.push((scale * self.kl_coef) as f32);
            }
            sum.divergence += divergence;
            sum.clipped += usize::from(clipped);
        }
        sum
    }
}

/// Returns a token's policy loss, its derivative by the log-probability, and whether it is clipped.
/// The ratio is to the probability whose logarithm is `start`.
pub(super) fn surrogate(clip: Option<Clip>, weight: f64, now: f64, start: f64) -> (f64, f64, bool) {
    let Some(clip) = clip else { return (-weight * now, -weight, false) };
    let ratio = (now - start).exp();
    let bounded = ratio.clamp(1.0 - clip.low, 1.0 + clip.high);
    let dual = clip.dual.filter(|_| weight < 0.0).map_or(f64::INFINITY, |c| -c * weight);
    let (free, held) = (-ratio * weight, (-bounded * weight).min(dual));
    match held > free || free > dual {
        true => (held.max(free.min(dual)), 0.0, true),
        false => (free, free, false),
    }
}

/// Returns a token's estimated divergence and its derivative, from the log-ratio.
pub(super) fn estimated(kl_type: KlType, log_ratio: f64) -> (f64, f64) {
    match kl_type {
        KlType::K1 => (log_ratio, 1.0),
        KlType::K2 => (0.5 * log_ratio * log_ratio, log_ratio),
        KlType::K3 => {
            let inverse = (-log_ratio).exp();
            (inverse - 1.0 + log_ratio, 1.0 - inverse)
        }
        // Looked up, not estimated; at the start policy itself it is zero.
        KlType::Full => (0.0, 0.0),
    }
}
