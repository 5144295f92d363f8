//! The training loop.

use std::path::Path;
use std::time::Duration;

use crate::lm::{Decoder, Tokenizer};

use super::config::{Objective, TrainConfig};
use super::episodes::EpisodePlayer;
use super::error::TrainError;
use super::event::{Event, Observer, Outcome};
use super::online::Online;
use super::plan::Prepared;
use super::thread::on_training_thread;
use super::trainer::Trainer;

/// A run: what is trained, on what, and where its checkpoints go.
pub struct Run<'a> {
    /// The model, with the weights that training starts from.
    pub decoder: &'a Decoder,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Its chat template, if it has one: a whole model is written with it.
    pub chat_template: Option<&'a str>,
    /// What names the model's weights, such as a hash of their file.
    pub model_identity: &'a str,
    /// The sequences, made with the same options.
    pub prepared: &'a Prepared,
    /// The options.
    pub config: &'a TrainConfig,
    /// The folder for checkpoints.
    pub directory: &'a Path,
    /// Whether to go on from the newest checkpoint in it.
    pub resume: bool,
    /// Returns the time since any fixed moment.
    pub clock: &'a (dyn Fn() -> Duration + Sync),
}

/// Where what is trained on comes from while training, if not from what is stored.
pub(super) enum Live<'a> {
    /// From what is stored.
    Stored,
    /// Actions are sampled and judged.
    Actions(Online<'a>),
    /// Trajectories are played and judged.
    Episodes(&'a mut (dyn EpisodePlayer + Send)),
}

impl Live<'_> {
    /// Returns what names the judge, and what else episodes depend on.
    pub(super) fn names(&self) -> (String, String) {
        match self {
            Live::Stored => Default::default(),
            Live::Actions(online) => (online.judge.name(), String::new()),
            Live::Episodes(player) => (player.judge(), player.setting()),
        }
    }
}

/// Trains the decoder and returns how the run ended. The last checkpoint holds its last state; with
/// `load_best_model_at_end` the decoder of a complete run has the weights of the best one.
///
/// # Errors
/// A folder with checkpoints of another run, numbers that are not finite, a variable without a
/// gradient, a model or a file system that fails. Checkpoints written before stay as they are.
pub fn train(run: &Run<'_>, observer: &mut (dyn Observer + Send)) -> Result<Outcome, TrainError> {
    match run.config.objective {
        Objective::Swirl => Err(TrainError::NoJudge),
        Objective::Grpo => Err(TrainError::NoPlayer),
        _ => on_training_thread(|| train_here(run, Live::Stored, observer))?,
    }
}

/// Trains the decoder on actions that it samples at the states of the sequences while it is
/// trained, and that a judge gives values; otherwise as [`train`].
///
/// # Errors
/// As [`train`]; a judge that fails too often or gives no values, a decoder that is not on the CPU,
/// an objective that does not sample.
pub fn train_online(
    run: &Run<'_>,
    online: Online<'_>,
    observer: &mut (dyn Observer + Send),
) -> Result<Outcome, TrainError> {
    match run.config.objective {
        Objective::Swirl => {
            on_training_thread(|| train_here(run, Live::Actions(online), observer))?
        }
        Objective::Grpo => Err(TrainError::NoPlayer),
        other => Err(TrainError::NotOnline { objective: other.name() }),
    }
}

/// Trains the decoder on trajectories that it plays from the questions of the sequences while it is
/// trained, and whose answers are judged; otherwise as [`train`]. A run that is stopped ends when
/// all steps on what was played are made.
///
/// # Errors
/// As [`train`]; a player that fails, verdicts that fail too often, an objective that plays none.
pub fn train_episodes(
    run: &Run<'_>,
    player: &mut (dyn EpisodePlayer + Send),
    observer: &mut (dyn Observer + Send),
) -> Result<Outcome, TrainError> {
    match run.config.objective {
        Objective::Grpo => {
            on_training_thread(|| train_here(run, Live::Episodes(player), observer))?
        }
        other => Err(TrainError::NotPlayed { objective: other.name() }),
    }
}

/// The loop: start or resume, then step, evaluate and save until the end or until stopped.
fn train_here(
    run: &Run<'_>,
    mut live: Live<'_>,
    observer: &mut (dyn Observer + Send),
) -> Result<Outcome, TrainError> {
    let config = run.config;
    let due = |every: Option<u64>, step: u64| every.is_some_and(|n| step.is_multiple_of(n));
    let mut trainer = Trainer::new(run, &live)?;
    let plan = run.prepared.plan.clone();
    let mut stop = observer.event(&Event::Started { plan, resumed_at: trainer.step }).is_break();
    stop |= trainer.tell_start(observer);
    if trainer.step == 0 {
        stop |= evaluate(&mut trainer, &mut live, observer)?.0;
    }
    let mut loss = None;
    while !(trainer.is_over() || stop && trainer.is_between_generations()) {
        let taken = match &mut live {
            Live::Stored => trainer.take_step(),
            Live::Actions(online) => trainer.take_online_step(online),
            Live::Episodes(player) => trainer.take_group_step(&mut **player),
        };
        let (report, examples) = match taken {
            // Nothing was learnt of it: the run stands where it stood.
            Err(TrainError::Cancelled) => break,
            taken => taken?,
        };
        loss = Some(report.loss);
        stop |= observer.event(&Event::Step(report)).is_break();
        stop |= observer.event(&examples).is_break();
        let mut is_best = false;
        if trainer.is_over() || due(config.eval_steps, trainer.step) {
            let (told, best) = evaluate(&mut trainer, &mut live, observer)?;
            stop |= told;
            is_best = best;
        }
        let last = trainer.is_over();
        if config.log_examples && (last || trainer.is_at_epoch_end()) {
            stop |= trainer.score_examples(observer)?;
        }
        let stops = stop && trainer.is_between_generations();
        if stops || last || is_best || due(config.save_steps, trainer.step) {
            stop |= trainer.save(observer)?;
        }
    }
    if trainer.saved.is_none() {
        trainer.save(observer)?;
    }
    let outcome = trainer.finish(loss)?;
    // Nothing is left to stop.
    let _ = observer.event(&Event::Finished(outcome.clone()));
    Ok(outcome)
}

/// Scores the held-out sets; returns whether the observer stops the run, and whether the model is
/// the best so far.
fn evaluate(
    trainer: &mut Trainer<'_>,
    live: &mut Live<'_>,
    observer: &mut (dyn Observer + Send),
) -> Result<(bool, bool), TrainError> {
    match live {
        Live::Stored => trainer.evaluate(observer),
        Live::Actions(online) => trainer.evaluate_online(online, observer),
        Live::Episodes(player) => trainer.evaluate_episodes(&mut **player, observer),
    }
}
