//! Training: objectives, optimiser and the loop.
//!
//! A trajectory with K chosen actions is one sequence, since its K sub-trajectories are nested
//! prefixes: one causal forward pass with a coefficient for each action token gives the loss and
//! the gradients of K passes. The prompt and what came back never carry loss.
//!
//! `swirl` alone trains on actions that are in no trajectory: [`online`] samples them at the chosen
//! states and has them judged. `grpo` alone plays: [`episodes`] has whole trajectories of it.
//!
//! Invariant: nothing here sees a statement, a row of a table or the store. Examples come in,
//! events and checkpoints go out.
//!
//! Invariant: what a run does is a function of model, examples and options. Order comes from the
//! seed by hashing, sums do not depend on the number of threads, the clock only measures.

mod advantage;
mod batch;
mod checkpoint;
mod config;
mod encoder;
mod episodes;
mod error;
mod evaluation;
mod event;
mod example;
mod gradients;
mod identity;
mod objective;
mod online;
mod optimizer;
mod order;
mod pairs;
mod plan;
mod run;
mod schedule;
mod sequence;
mod start;
mod thread;
mod tokens;
mod trainer;
mod watch;

pub use config::{
    AdvEstimator, Baseline, BatchBy, ConfigError, KlType, LossAggregation, LossType, Objective,
    OptionValue, ScaleRewards, Scheduler, TrainConfig, Truncation,
};
pub use episodes::{Asked, EpisodePlayer, Played, Turn, Worth, group_advantages};
pub use error::{Kept, TrainError};
pub use evaluation::{ActionScore, Evaluation, evaluate, evaluate_shared};
pub use event::{
    Best, EpisodeReport, Event, ExampleReport, Moment, Observer, Outcome, SampleReport, StepReport,
};
pub use example::{ChosenStep, Example, Pair, Row, SamplingPolicy};
pub use gradients::Gradients;
pub use objective::{
    ActionLogProbs, ActionLoss, Clip, Counts, Criterion, GroupCounts, GroupLoss, LabelLoss,
    PairLoss, PlayedLogProbs, PolicyLoss, PreferenceLoss, RewardSums, reference_point,
};
pub use online::{
    ActionForm, ActionJudge, Malformed, OneAction, Online, Proposal, Verdict, leave_one_out,
};
pub use optimizer::{AdamConfig, AdamW};
pub use order::{Course, Together, cut_by_tokens, epoch_order};
pub use plan::{HeldOut, Preparation, Prepared, Scoring, TokenLine, TrainPlan, prepare};
pub use run::{Run, train, train_episodes, train_online};
pub use schedule::Schedule;
pub use sequence::{ActionSpan, Encoding, Sequence, vocabulary_of};
pub use start::policy_fingerprint;
pub use thread::on_training_thread;
pub use tokens::{Source, TokenKey, Whole};
