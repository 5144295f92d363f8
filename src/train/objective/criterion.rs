//! The loss of a run over the actions of one forward pass.

use crate::train::config::{Objective, TrainConfig};

use super::label::{LabelLoss, reference_point};
use super::policy::{ActionLogProbs, ActionLoss, Counts, PolicyLoss};
use super::preference::PreferenceLoss;

/// The loss of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Criterion {
    /// Tokens, each for itself.
    Policy(PolicyLoss),
    /// Pairs: the actions are chosen and rejected in turns.
    Preference(PreferenceLoss),
    /// Labelled actions.
    Label(LabelLoss),
}

/// What the implicit rewards, beta times the growth of a log-probability, sum to: over actions
/// that are wanted (chosen, labelled 1) and those that are not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RewardSums {
    /// Sum over wanted actions.
    pub chosen: f64,
    /// Their number.
    pub chosen_count: usize,
    /// Sum over the others.
    pub rejected: f64,
    /// Their number.
    pub rejected_count: usize,
    /// Pairs.
    pub pairs: usize,
    /// Pairs whose chosen action has the greater reward.
    pub pairs_right: usize,
}

impl Criterion {
    /// Returns the loss that the options ask for.
    pub fn new(config: &TrainConfig) -> Criterion {
        match config.objective {
            Objective::Sft
            | Objective::Reinforce
            | Objective::Ppo
            | Objective::Swirl
            | Objective::Grpo => Criterion::Policy(PolicyLoss::new(config)),
            Objective::Dpo => Criterion::Preference(PreferenceLoss::new(config)),
            Objective::Kto => Criterion::Label(LabelLoss::new(config)),
        }
    }

    /// Whether the loss of an action depends on all actions of its optimiser step.
    pub fn has_reference_point(&self) -> bool {
        matches!(self, Criterion::Label(loss) if loss.has_reference_point)
    }

    /// Returns what the actions of a forward pass add to the loss of an optimiser step that holds
    /// `counts`, in order. `z` is the step's reference point; `None`: these are all its actions.
    pub fn of_actions(
        &self,
        actions: &[ActionLogProbs<'_>],
        counts: Counts,
        z: Option<f64>,
    ) -> Vec<ActionLoss> {
        match self {
            Criterion::Policy(loss) => {
                actions.iter().map(|action| loss.of_action(*action, counts)).collect()
            }
            Criterion::Preference(loss) => actions
                .as_chunks::<2>()
                .0
                .iter()
                .flat_map(|[chosen, rejected]| {
                    let pair = loss.of_pair(*chosen, *rejected, counts.actions / 2);
                    [pair.chosen, pair.rejected]
                })
                .collect(),
            Criterion::Label(loss) => {
                let z = match (loss.has_reference_point, z) {
                    (false, _) => 0.0,
                    (true, Some(z)) => z,
                    (true, None) => reference_point(actions.iter().map(|a| a.log_ratio())),
                };
                actions.iter().map(|action| loss.of_action(*action, z, counts)).collect()
            }
        }
    }

    /// Adds the actions' implicit rewards to `sums`; a policy has none.
    pub fn add_rewards(&self, actions: &[ActionLogProbs<'_>], sums: &mut RewardSums) {
        let beta = match self {
            Criterion::Policy(_) => return,
            Criterion::Preference(loss) => loss.beta,
            Criterion::Label(loss) => loss.beta,
        };
        for action in actions {
            let reward = beta * action.log_ratio();
            if action.weight > 0.0 {
                sums.chosen += reward;
                sums.chosen_count += 1;
            } else {
                sums.rejected += reward;
                sums.rejected_count += 1;
            }
        }
        if let Criterion::Preference(_) = self {
            for [chosen, rejected] in actions.as_chunks::<2>().0 {
                sums.pairs += 1;
                sums.pairs_right += usize::from(chosen.log_ratio() > rejected.log_ratio());
            }
        }
    }
}

impl RewardSums {
    /// Returns the means under TRL's names; nothing for a policy.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        let mut metrics = Vec::new();
        let chosen = self.chosen / self.chosen_count as f64;
        let rejected = self.rejected / self.rejected_count as f64;
        if self.chosen_count > 0 {
            metrics.push(("rewards/chosen", chosen));
        }
        if self.rejected_count > 0 {
            metrics.push(("rewards/rejected", rejected));
        }
        if self.chosen_count > 0 && self.rejected_count > 0 {
            metrics.push(("rewards/margins", chosen - rejected));
        }
        if self.pairs > 0 {
            metrics.push(("rewards/accuracies", self.pairs_right as f64 / self.pairs as f64));
        }
        metrics
    }
}
