//! Losses of pairs: of two actions at one state one is preferred.
//!
//! With R and r the growth of the log-probability of the chosen and the rejected action since the
//! start, each a sum over tokens, the margin is x = beta (R - r) and the loss of a pair
//!
//! ```text
//! sigmoid   -(1 - e) log s(x) - e log s(-x)               s the logistic function
//! robust    (-(1 - e) log s(x) + e log s(-x)) / (1 - 2 e)
//! hinge     max(0, 1 - x)
//! ipo       (R / tokens - r / tokens - 1 / (2 beta))^2
//! ```
//!
//! and that of an optimiser step the mean over its pairs; e is `label_smoothing`. The per-token
//! form of `ipo` is TRL's. `sigmoid` with e above 0 is what its authors call conservative DPO;
//! TRL of today knows e in `robust` only.

use crate::train::config::{LossType, TrainConfig};

use super::policy::{ActionLogProbs, ActionLoss};

/// The loss of pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PreferenceLoss {
    /// Which of the losses; those of labels and groups are taken as [`LossType::Sigmoid`].
    pub loss_type: LossType,
    /// The scale of log-ratios.
    pub beta: f64,
    /// The part of pairs taken to be the wrong way round.
    pub label_smoothing: f64,
}

/// What a pair adds to the loss of its optimiser step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairLoss {
    /// The chosen action, with the pair's whole loss.
    pub chosen: ActionLoss,
    /// The rejected action, with a loss of zero.
    pub rejected: ActionLoss,
}

impl PreferenceLoss {
    /// Returns the loss that the options ask for.
    pub fn new(config: &TrainConfig) -> PreferenceLoss {
        PreferenceLoss {
            loss_type: config.loss(),
            beta: config.log_ratio_scale(),
            label_smoothing: config.label_smoothing.unwrap_or(0.0),
        }
    }

    /// Returns what one pair adds to the loss of an optimiser step of `pairs` pairs.
    pub fn of_pair(
        &self,
        chosen: ActionLogProbs<'_>,
        rejected: ActionLogProbs<'_>,
        pairs: usize,
    ) -> PairLoss {
        let tokens = |action: &ActionLogProbs<'_>| action.now.len().max(1) as f64;
        let (up, down) = (chosen.log_ratio(), rejected.log_ratio());
        let margin = self.beta * (up - down);
        let smoothing = self.label_smoothing;
        let (right, wrong) = (logistic(margin), logistic(-margin));
        // The loss, and its derivatives by the growth of the chosen and of the rejected action.
        let (loss, by_up, by_down) = match self.loss_type {
            LossType::Hinge => {
                let slope = if margin < 1.0 { -self.beta } else { 0.0 };
                ((1.0 - margin).max(0.0), slope, -slope)
            }
            LossType::Ipo => {
                let (n, m) = (tokens(&chosen), tokens(&rejected));
                let off = up / n - down / m - 0.5 / self.beta;
                (off * off, 2.0 * off / n, -2.0 * off / m)
            }
            LossType::Robust => {
                let loss = (1.0 - smoothing) * softplus(-margin) - smoothing * softplus(margin);
                let slope = -(1.0 - smoothing) * wrong - smoothing * right;
                let scale = 1.0 / (1.0 - 2.0 * smoothing);
                (scale * loss, scale * self.beta * slope, -scale * self.beta * slope)
            }
            _ => {
                let loss = (1.0 - smoothing) * softplus(-margin) + smoothing * softplus(margin);
                let slope = -(1.0 - smoothing) * wrong + smoothing * right;
                (loss, self.beta * slope, -self.beta * slope)
            }
        };
        let share = 1.0 / pairs as f64;
        PairLoss {
            chosen: ActionLoss {
                loss: share * loss,
                derivatives: vec![(share * by_up) as f32; chosen.now.len()],
                ..ActionLoss::default()
            },
            rejected: ActionLoss {
                derivatives: vec![(share * by_down) as f32; rejected.now.len()],
                ..ActionLoss::default()
            },
        }
    }
}

/// Returns 1 / (1 + exp(-x)).
pub(super) fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Returns log(1 + exp(x)), which is -log of the logistic function of -x.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
