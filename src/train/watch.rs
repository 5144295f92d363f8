//! The best state of a run, and when to give up waiting for a better one.
//!
//! As in transformers: the first evaluation after a step is the best so far; a later one is better
//! if the metric is strictly above (or below) the best, and it counts for patience only if by more
//! than the threshold. The evaluation before the first step does not count.

use serde::{Deserialize, Serialize};

use super::config::{Objective, TrainConfig};
use super::error::TrainError;
use super::plan::HeldOut;

/// What a held-out set is measured by, the default first.
fn measures(config: &TrainConfig) -> &'static [&'static str] {
    match config.objective {
        Objective::Swirl | Objective::Grpo => &["reward"],
        _ => &["loss", "log_prob"],
    }
}

/// What a watch knows, as checkpoints keep it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watched {
    /// Optimiser steps made when the metric was best.
    pub step: u64,
    /// The metric then.
    pub value: f64,
    /// Evaluations since without improvement that counts.
    pub since: u64,
}

/// Looks at evaluations while training.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// Which held-out set.
    set: usize,
    measure: &'static str,
    greater_is_better: bool,
    threshold: f64,
    patience: Option<u64>,
    pub(super) watched: Option<Watched>,
}

impl Watch {
    /// Returns the watch that the options ask for, if any.
    ///
    /// # Errors
    /// No held-out set, or a metric that none of them has.
    pub(super) fn new(
        config: &TrainConfig,
        held_out: &[HeldOut],
    ) -> Result<Option<Watch>, TrainError> {
        if !config.watches() {
            return Ok(None);
        }
        let fail = |message: String| Err(TrainError::Metric { message });
        if held_out.is_empty() {
            return fail("there is no held-out set to measure it on".to_owned());
        }
        let asked = config.metric_for_best_model.as_deref().unwrap_or(measures(config)[0]);
        let known = |(set, measure): (usize, &'static str)| {
            let full = format!("eval_{}_{measure}", held_out[set].name);
            let short =
                held_out.len() == 1 && asked.strip_prefix("eval_").unwrap_or(asked) == measure;
            (asked == full || short).then_some((set, measure))
        };
        let mut all = (0..held_out.len())
            .flat_map(|set| measures(config).iter().map(move |measure| (set, *measure)));
        let Some((set, measure)) = all.find_map(known) else {
            let of_set = |set: &HeldOut| {
                let name = set.name.clone();
                measures(config).iter().map(move |m| format!("'eval_{name}_{m}'"))
            };
            let names = held_out.iter().flat_map(of_set);
            let names: Vec<String> = names.collect();
            return fail(format!("'{asked}', expected one of {}", names.join(", ")));
        };
        if held_out[set].sequences.is_empty() {
            let name = &held_out[set].name;
            return fail(format!("the held-out set '{name}' has no action left"));
        }
        Ok(Some(Watch {
            set,
            measure,
            greater_is_better: config.greater_is_better.unwrap_or(!asked.ends_with("loss")),
            threshold: config.early_stopping_threshold.unwrap_or(0.0),
            patience: config.early_stopping_patience,
            watched: None,
        }))
    }

    /// Takes in what a held-out set measures after a step, by its number and the measure; returns
    /// whether it is the best.
    pub(super) fn look(
        &mut self,
        step: u64,
        measured: impl Fn(usize, &str) -> Option<f64>,
    ) -> bool {
        let Some(value) = measured(self.set, self.measure) else { return false };
        if !value.is_finite() {
            // Nothing is better than it and nothing worse, so it is never kept.
            if let Some(watched) = &mut self.watched {
                watched.since += 1;
            }
            return false;
        }
        let Some(before) = self.watched else {
            self.watched = Some(Watched { step, value, since: 0 });
            return true;
        };
        let gain = match self.greater_is_better {
            true => value - before.value,
            false => before.value - value,
        };
        let since = if gain > self.threshold { 0 } else { before.since + 1 };
        self.watched = Some(match gain > 0.0 {
            true => Watched { step, value, since },
            false => Watched { since, ..before },
        });
        gain > 0.0
    }

    /// Whether patience is at its end.
    pub(super) fn has_given_up(&self) -> bool {
        let since = self.watched.map_or(0, |watched| watched.since);
        self.patience.is_some_and(|patience| since >= patience)
    }
}
