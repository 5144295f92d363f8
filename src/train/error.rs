//! Why training stops.

use std::path::PathBuf;

use crate::lm::LmError;
use crate::render::RenderError;

use super::config::ConfigError;
use super::example::Row;

/// Why training does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The options are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No row is left to train on.
    #[error("there is nothing to train on: {0}")]
    Empty(String),
    /// A row's weight is no number.
    #[error("{row} has the weight {weight}: expected a finite number")]
    Weight {
        /// The row.
        row: Row,
        /// The weight.
        weight: f64,
    },
    /// A label of `kto` is neither 1 nor 0.
    #[error(
        "{row} has the label {label}: objective 'kto' takes 1 (desirable) and 0; make them of the \
         reward by a comparison"
    )]
    Label {
        /// The row.
        row: Row,
        /// The label.
        label: f64,
    },
    /// A row of `dpo` has no partner.
    #[error(
        "{row} has no {missing}: objective 'dpo' takes pairs of a chosen and a rejected action"
    )]
    Unpaired {
        /// The row.
        row: Row,
        /// What it lacks.
        missing: &'static str,
    },
    /// A pair has two actions on one side.
    #[error("{row} is the second action of pair {pair} on its side: a pair has one on each")]
    PairSide {
        /// The row.
        row: Row,
        /// The pair.
        pair: u64,
    },
    /// The actions of a pair were taken at different states.
    #[error(
        "pair {pair} compares {chosen} with {rejected}, whose states differ from token {position} \
         on (of {} and {}): objective 'dpo' takes actions at one state, such as samples of it",
        .lengths.0, .lengths.1
    )]
    PairStates {
        /// The pair.
        pair: u64,
        /// The action that is preferred.
        chosen: Row,
        /// The other.
        rejected: Row,
        /// The first token in which they differ.
        position: usize,
        /// The lengths of the states in tokens.
        lengths: (usize, usize),
    },
    /// A token that the model does not have.
    #[error(
        "{row} has the token {token} ({text:?}), and the model's vocabulary is {vocabulary}: the \
         tokenizer is not this model's"
    )]
    Vocabulary {
        /// The row, or the first of its sequence.
        row: Row,
        /// The token.
        token: u32,
        /// Its text.
        text: String,
        /// The tokens of the model.
        vocabulary: usize,
    },
    /// The metric that decides what is best is not measured.
    #[error("metric_for_best_model: {message}")]
    Metric {
        /// What was found and expected.
        message: String,
    },
    /// A row is chosen twice.
    #[error("{row} is chosen twice: choose each step once")]
    Twice {
        /// The row.
        row: Row,
    },
    /// Weights below zero and nothing that bounds the loss.
    #[error(
        "{rows} rows have a weight below zero (the first: {row}), and their loss has no lower \
         bound: set epsilon (ratio clipping) or kl_loss_coef with kl_loss_type 'k2' or 'k3', or \
         choose rows with rewards from zero on"
    )]
    Unbounded {
        /// How many.
        rows: usize,
        /// The first.
        row: Row,
    },
    /// A row cannot be rendered.
    #[error("{row}: {error}")]
    Render {
        /// The row.
        row: Row,
        /// Why.
        error: RenderError,
    },
    /// An action that the tokenizer cannot spell.
    #[error(
        "{row}: the tokenizer has no tokens for {text:?} in its action, or writes it otherwise: \
         leave the row out, or train a model whose tokenizer knows it"
    )]
    Unspelled {
        /// The row.
        row: Row,
        /// The character, or the beginning of the text.
        text: String,
    },
    /// Trajectories or their tokens cannot be read, or tokens not be kept.
    #[error("trajectories or their tokens: {0}")]
    Source(String),
    /// The renderer cannot be set up.
    #[error(transparent)]
    Renderer(RenderError),
    /// A row is longer than allowed.
    #[error(
        "{row} ends at token {tokens}, and max_length is {max_length}: raise max_length, or set \
         truncation to 'drop' or 'left'"
    )]
    TooLong {
        /// The row.
        row: Row,
        /// Where it ends.
        tokens: usize,
        /// The limit.
        max_length: usize,
    },
    /// A sample does not fit behind a state.
    #[error(
        "the state of {row} has {state} tokens and a sample may have {completion}, and max_length \
         is {max_length}: lower max_completion_length, raise max_length, or set truncation to \
         'drop' or 'left'"
    )]
    NoRoom {
        /// The row.
        row: Row,
        /// The tokens of its state.
        state: usize,
        /// Those of a sample at most.
        completion: usize,
        /// The limit.
        max_length: usize,
    },
    /// The longest sequence asked for is more than the model takes.
    #[error("max_length is {max_length}, and the model's context is {context}")]
    Context {
        /// What is asked for.
        max_length: usize,
        /// What the model takes.
        context: usize,
    },
    /// The control token that ends an action is unknown.
    #[error("the tokenizer does not know {token} as one control token, which ends an action")]
    EndOfTurn {
        /// The token's spelling.
        token: String,
    },
    /// An objective that samples while it trains has nobody to judge.
    #[error("objective 'swirl' samples actions while it trains: give it a judge (train_online)")]
    NoJudge,
    /// An objective that does not sample was given a judge.
    #[error("objective '{objective}' trains on stored actions and asks no judge: use 'swirl'")]
    NotOnline {
        /// The objective.
        objective: &'static str,
    },
    /// An objective that plays trajectories has nobody to play.
    #[error(
        "objective 'grpo' plays trajectories while it trains: give it a player (train_episodes)"
    )]
    NoPlayer,
    /// An objective that does not play was given a player.
    #[error("objective '{objective}' plays no trajectories: use 'grpo'")]
    NotPlayed {
        /// The objective.
        objective: &'static str,
    },
    /// Episodes cannot be played.
    #[error("the trajectories that are played: {0}")]
    Episodes(String),
    /// An episode that cannot be trained on.
    #[error("{row}, as it was played: {message}")]
    Episode {
        /// The question's row.
        row: Row,
        /// What was found and expected.
        message: String,
    },
    /// A player made another number of trajectories than it was asked for.
    #[error("{found} trajectories were played: expected {expected}")]
    Played {
        /// How many came.
        found: usize,
        /// How many were asked for.
        expected: usize,
    },
    /// Whoever asked does not want it any more.
    #[error("cancelled")]
    Cancelled,
    /// A judge cannot work.
    #[error("the judge: {0}")]
    Judge(String),
    /// A judge gave another number of verdicts than it was asked for.
    #[error("the judge gave {found} verdicts: expected {expected}, one for each action")]
    Verdicts {
        /// How many came.
        found: usize,
        /// How many actions there were.
        expected: usize,
    },
    /// A verdict outside of its range.
    #[error("the judge gave an action at {row} the value {value}: expected a number from 0 to 1")]
    Verdict {
        /// The state's row.
        row: Row,
        /// The value.
        value: f64,
    },
    /// Too many verdicts failed.
    #[error(
        "{failed} of {judged} verdicts failed at optimiser step {step}, more than \
         max_judge_failures = {limit} allows (the first: {first}): mend the judge, then \
         resume{kept}"
    )]
    JudgeFailures {
        /// How many failed.
        failed: usize,
        /// Of how many.
        judged: usize,
        /// The part that may fail.
        limit: f64,
        /// The optimiser step, from 1.
        step: u64,
        /// What the first one said.
        first: String,
        /// Where the last checkpoint is.
        kept: Kept,
    },
    /// A loss is no number.
    #[error("the loss of {row} is {value} at optimiser step {step}: lower learning_rate{kept}")]
    LossNotFinite {
        /// The row.
        row: Row,
        /// The value.
        value: f64,
        /// The optimiser step, from 1.
        step: u64,
        /// Where the last checkpoint is.
        kept: Kept,
    },
    /// A gradient is no number.
    #[error(
        "the gradient of {variable} is not finite at optimiser step {step}, which began with \
         {row}: lower learning_rate{kept}"
    )]
    GradientNotFinite {
        /// The variable.
        variable: String,
        /// The first row of the step.
        row: Row,
        /// The optimiser step, from 1.
        step: u64,
        /// Where the last checkpoint is.
        kept: Kept,
    },
    /// A trainable variable got no gradient.
    #[error(
        "{count} of {total} trainable variables got no gradient in the first step (the first: \
         {variable}): the model cuts the graph, which is a bug"
    )]
    NoGradient {
        /// The first of them by name.
        variable: String,
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
    },
    /// There is nothing to train.
    #[error("the model has no trainable variable: load it with adapters or in full")]
    Frozen,
    /// A checkpoint of something else.
    #[error("{path} is a checkpoint of another run: {what} differs ({found}, expected {expected})")]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: String,
        /// What the checkpoint has.
        found: String,
        /// What this run has.
        expected: String,
    },
    /// There is no checkpoint to resume from.
    #[error("there is no checkpoint in {path} to resume from")]
    NoCheckpoint {
        /// The folder.
        path: PathBuf,
    },
    /// There are checkpoints where a fresh run is to write its own.
    #[error("{path} already holds checkpoints: resume that run, or give another folder")]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A checkpoint is damaged.
    #[error("the checkpoint {path} is damaged: {message}")]
    Damaged {
        /// The checkpoint.
        path: PathBuf,
        /// What was found.
        message: String,
    },
    /// Files cannot be read or written.
    #[error("{path}: {error}")]
    Files {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The model fails.
    #[error(transparent)]
    Model(#[from] LmError),
    /// A tensor operation fails.
    #[error("a tensor operation failed: {}", crate::lm::tensor_text(.0))]
    Tensor(#[from] candle_core::Error),
    /// The thread that trains cannot be started.
    #[error("the training thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Where the last good checkpoint is, as the end of a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept(pub Option<PathBuf>);

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(path) => write!(f, "; the last checkpoint is {}", path.display()),
            None => f.write_str("; there is no checkpoint yet"),
        }
    }
}
