//! Losses of labels: an action is desirable or not.
//!
//! With R the growth of an action's log-probability since the start, a sum over its tokens, and s
//! the logistic function, an action adds to the mean over the actions of an optimiser step
//!
//! ```text
//! D (1 - s(beta (R - z)))    labelled 1         D = desirable_weight
//! U s(beta (R - z))          labelled 0         U = undesirable_weight
//! z = 0                      apo_zero_unpaired
//! z = max(0, mean of R)      kto; the mean over the optimiser step, held fixed in the derivative
//! ```
//!
//! z stands for the divergence from the start policy. KTO's authors and TRL estimate it from
//! mismatched pairs: each action of a batch after the prompt of its neighbour. At a step of a
//! trajectory such a pair says little, since a search or a call that fits one state is nonsense
//! in another, and every state would have to be read twice. So z is the mean of the log-ratios of
//! the step's own actions. It leans with the labels of the data, which is one reason why
//! `apo_zero_unpaired`, which needs none, is the default.

use crate::train::config::{LossType, TrainConfig};

use super::policy::{ActionLogProbs, ActionLoss, Counts};
use super::preference::logistic;

/// The loss of labelled actions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelLoss {
    /// The scale of log-ratios.
    pub beta: f64,
    /// The weight of actions labelled 1.
    pub desirable_weight: f64,
    /// The weight of actions labelled 0.
    pub undesirable_weight: f64,
    /// Whether there is a reference point other than zero.
    pub has_reference_point: bool,
}

/// Returns the reference point of an optimiser step with these log-ratios, one for each action.
pub fn reference_point(log_ratios: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = log_ratios.fold((0.0, 0usize), |(sum, count), r| (sum + r, count + 1));
    // max() would hide a NaN.
    let mean = sum / count.max(1) as f64;
    if mean < 0.0 { 0.0 } else { mean }
}

impl LabelLoss {
    /// Returns the loss that the options ask for.
    pub fn new(config: &TrainConfig) -> LabelLoss {
        LabelLoss {
            beta: config.log_ratio_scale(),
            desirable_weight: config.desirable_weight.unwrap_or(1.0),
            undesirable_weight: config.undesirable_weight.unwrap_or(1.0),
            has_reference_point: config.loss() == LossType::Kto,
        }
    }

    /// Returns what one action adds to the loss of an optimiser step that holds `counts` and has
    /// the reference point `z`.
    pub fn of_action(&self, action: ActionLogProbs<'_>, z: f64, counts: Counts) -> ActionLoss {
        let value = logistic(self.beta * (action.log_ratio() - z));
        let share = 1.0 / counts.actions as f64;
        let (loss, weight) = match action.weight > 0.0 {
            true => (self.desirable_weight * (1.0 - value), -self.desirable_weight),
            false => (self.undesirable_weight * value, self.undesirable_weight),
        };
        let slope = share * weight * self.beta * value * (1.0 - value);
        ActionLoss {
            loss: share * loss,
            derivatives: vec![slope as f32; action.now.len()],
            ..ActionLoss::default()
        }
    }
}
