//! What a run tells while it goes. Somebody else prints and stores it.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use super::plan::TrainPlan;

/// Hears what a run does, and may stop it.
pub trait Observer {
    /// Takes an event. `Break` stops the run after the optimiser step that is being made, with a
    /// checkpoint.
    fn event(&mut self, event: &Event) -> ControlFlow<()>;
}

impl<F: FnMut(&Event) -> ControlFlow<()>> Observer for F {
    fn event(&mut self, event: &Event) -> ControlFlow<()> {
        self(event)
    }
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The run begins, or goes on.
    Started {
        /// What it will do.
        plan: TrainPlan,
        /// Steps made by earlier runs that it goes on from; 0 for a fresh run.
        resumed_at: u64,
    },
    /// An optimiser step is done.
    Step(StepReport),
    /// A held-out set was scored.
    Evaluated {
        /// Optimiser steps made so far.
        step: u64,
        /// The set's name.
        name: String,
        /// Its actions.
        actions: usize,
        /// Their tokens.
        tokens: usize,
        /// The mean over tokens of the negative log-probability.
        loss: f64,
        /// The mean over actions of the sum of their tokens' log-probabilities.
        log_prob: f64,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Optimiser steps made so far.
        step: u64,
        /// Its folder.
        path: PathBuf,
    },
    /// The run is over.
    Finished(Outcome),
}

/// One optimiser step in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The step, from 1.
    pub step: u64,
    /// Steps of the whole run.
    pub steps_total: u64,
    /// The part of the data seen, in epochs.
    pub epoch: f64,
    /// The loss that was minimised.
    pub loss: f64,
    /// The mean over action tokens of the negative log-probability, whatever the objective.
    pub nll: f64,
    /// The mean over action tokens of the estimated divergence from the start policy; 0 where it
    /// is not needed.
    pub kl: f64,
    /// The part of action tokens whose loss was clipped.
    pub clip_fraction: f64,
    /// The gradient's norm over all variables, before clipping.
    pub grad_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Sequences in the step.
    pub sequences: usize,
    /// Tokens in the step.
    pub tokens: u64,
    /// Chosen actions in the step.
    pub actions: usize,
    /// Tokens that carry loss.
    pub action_tokens: u64,
    /// Tokens of all steps since the run began or went on.
    pub tokens_seen: u64,
    /// Time since then.
    pub elapsed: Duration,
    /// Tokens per second in this step.
    pub tokens_per_s: f64,
    /// Whether the options ask for this step in the log.
    pub log: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Optimiser steps made, those of earlier runs included.
    pub steps: u64,
    /// Whether all of them were made; otherwise the observer stopped the run.
    pub complete: bool,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The loss of the last step; `None` if none was made now.
    pub loss: Option<f64>,
}
