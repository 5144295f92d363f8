//! What a run tells while it goes. Somebody else prints and stores it.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use super::episodes::Turn;
use super::example::Row;
use super::online::Malformed;
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
    /// The log-probabilities under the start policy are known, for an objective that needs them.
    StartPolicy {
        /// Each trained action with a number for each of its tokens, the end of turn included.
        actions: Vec<(Row, Vec<f32>)>,
        /// Actions whose stored log-probabilities were used.
        stored: usize,
        /// Actions with stored ones that were not, since they are of another policy.
        foreign: usize,
    },
    /// An optimiser step is done.
    Step(StepReport),
    /// Trained actions were scored: those of a step on its way, before its update, or all of them
    /// after an epoch.
    Examples {
        /// The epoch, from 0.
        epoch: u64,
        /// Optimiser steps made so far, that one included.
        step: u64,
        /// When they were scored.
        moment: Moment,
        /// The actions.
        examples: Vec<ExampleReport>,
    },
    /// Actions were sampled for a step and judged: after [`Event::Step`] of an online objective.
    Samples {
        /// The epoch, from 0.
        epoch: u64,
        /// Optimiser steps made so far, that one included.
        step: u64,
        /// The samples, state by state.
        samples: Vec<SampleReport>,
    },
    /// Trajectories were played and judged, or used for one more step: after [`Event::Step`] of
    /// `grpo`.
    Episodes {
        /// The epoch, from 0.
        epoch: u64,
        /// Optimiser steps made so far, that one included.
        step: u64,
        /// The trajectories, question by question.
        episodes: Vec<EpisodeReport>,
    },
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
        /// Numbers of the objective under TRL's names, such as `rewards/accuracies`.
        metrics: Vec<(&'static str, f64)>,
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

/// When an action was scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// In the forward pass of its optimiser step: what the epoch found.
    Step,
    /// After the last step of the epoch, or of the run: what the epoch left. Only where the option
    /// `log_examples` asks for it.
    EpochEnd,
}

/// A trained action in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleReport {
    /// Which sub-trajectory it is.
    pub row: Row,
    /// Its pair, for `dpo`.
    pub pair: Option<u64>,
    /// Its reward or label as it was handed in; of a pair 1 (chosen) and 0.
    pub weight: f64,
    /// What the loss makes of it: reward less baseline, or advantage; of a pair 1 and -1.
    pub advantage: f64,
    /// Its tokens, the end of turn included.
    pub tokens: usize,
    /// The log-probability of the whole action.
    pub log_prob: f64,
}

/// A sampled action.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleReport {
    /// The sub-trajectory whose state it was sampled at.
    pub row: Row,
    /// Its number among the samples of the state in this epoch, from 0.
    pub number: usize,
    /// Its tokens, the end of turn included where it is there.
    pub tokens: Vec<u32>,
    /// The log-probability of each under the policy that sampled it, as the sampler computed it.
    pub log_probs: Vec<f32>,
    /// Its text without the end of turn.
    pub text: String,
    /// `stop` for an end of turn, `length` for a sample that was cut.
    pub finish_reason: &'static str,
    /// The judge's value, from 0 to 1; `None`: not judged, or the judge failed.
    pub verdict: Option<f64>,
    /// Why it is no action, where it is none.
    pub malformed: Option<Malformed>,
    /// Why the judge failed, where it did.
    pub failure: Option<String>,
    /// The value less beta times the divergence; `None`: the sample was dropped.
    pub reward: Option<f64>,
    /// The reward less its baseline; `None`: the sample was dropped.
    pub advantage: Option<f64>,
}

/// A trajectory that was played.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeReport {
    /// The question's row.
    pub row: Row,
    /// Its number among the trajectories of the question in this generation, from 0.
    pub number: usize,
    /// Its actions, as they were sampled.
    pub turns: Vec<Turn>,
    /// What its answer is worth; `None`: its judge failed.
    pub reward: Option<f64>,
    /// What its action tokens weigh; `None`: it was dropped.
    pub advantage: Option<f64>,
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
    /// The mean over action tokens of the divergence from the start policy, as `kl_loss_type` has
    /// it, and for `swirl` as the log-ratio; 0 where it is not needed.
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
    /// Tokens of all steps since the run began; for `swirl` those of states, without samples,
    /// for `grpo` those of prompts.
    pub tokens_seen: u64,
    /// Time since it began or went on.
    pub elapsed: Duration,
    /// Tokens per second in this step.
    pub tokens_per_s: f64,
    /// The part of the step's time in which the model waited for its data: choosing sequences and
    /// packing them.
    pub data: Duration,
    /// Whether the options ask for this step in the log.
    pub log: bool,
    /// Numbers of the objective under TRL's names, such as `rewards/margins`.
    pub metrics: Vec<(&'static str, f64)>,
}

impl StepReport {
    /// Returns the mean reward of what was sampled in the step, if the objective samples.
    pub fn reward(&self) -> Option<f64> {
        self.metrics.iter().find_map(|(name, value)| (*name == "reward").then_some(*value))
    }
}

/// The best state of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Optimiser steps made then.
    pub step: u64,
    /// The metric.
    pub value: f64,
    /// Its checkpoint.
    pub checkpoint: PathBuf,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Optimiser steps made, those of earlier runs included.
    pub steps: u64,
    /// Whether the run came to its end; otherwise the observer stopped it.
    pub complete: bool,
    /// Whether it ended before its last step, for want of improvement.
    pub stopped_early: bool,
    /// The best state, where it was looked for. With `load_best_model_at_end` and a complete run
    /// the decoder has its weights.
    pub best: Option<Best>,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The loss of the last step; `None` if none was made now.
    pub loss: Option<f64>,
}
