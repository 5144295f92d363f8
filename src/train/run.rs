//! The training loop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::{DType, Tensor, Var};

use crate::lm::{Decoder, Tokenizer};

use super::batch::Batch;
use super::checkpoint::{Checkpoints, Identity, Position};
use super::config::TrainConfig;
use super::error::{Kept, TrainError};
use super::evaluation::evaluate;
use super::event::{Event, Observer, Outcome, StepReport};
use super::gradients::Gradients;
use super::objective::{ActionLogProbs, Counts, Loss};
use super::optimizer::{AdamConfig, AdamW};
use super::order::{Course, cut_by_tokens};
use super::plan::{Prepared, course};
use super::schedule::Schedule;
use super::thread::run_on_large_stack;

/// A run: what is trained, on what, and where its checkpoints go.
pub struct Run<'a> {
    /// The model, with the weights that training starts from.
    pub decoder: &'a Decoder,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
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

/// Trains the decoder and returns how the run ended. The last checkpoint holds its last state.
///
/// # Errors
/// A folder with checkpoints of another run, numbers that are not finite, a variable without a
/// gradient, a model or a file system that fails. Checkpoints written before stay as they are.
pub fn train(run: &Run<'_>, observer: &mut (dyn Observer + Send)) -> Result<Outcome, TrainError> {
    run_on_large_stack(|| train_here(run, observer))?
}

/// The loop: start or resume, then step, evaluate and save until the end or until stopped.
fn train_here(run: &Run<'_>, observer: &mut (dyn Observer + Send)) -> Result<Outcome, TrainError> {
    let config = run.config;
    let due = |every: Option<u64>, step: u64| every.is_some_and(|n| step.is_multiple_of(n));
    let mut trainer = Trainer::new(run)?;
    let total = trainer.course.steps_total;
    let plan = run.prepared.plan.clone();
    let mut stop = observer.event(&Event::Started { plan, resumed_at: trainer.step }).is_break();
    if trainer.step == 0 {
        stop |= trainer.evaluate(observer)?;
    }
    let mut loss = None;
    while !stop && trainer.step < total {
        let report = trainer.take_step()?;
        loss = Some(report.loss);
        stop = observer.event(&Event::Step(report)).is_break();
        let last = trainer.step == total;
        if last || due(config.eval_steps, trainer.step) {
            stop |= trainer.evaluate(observer)?;
        }
        if stop || last || due(config.save_steps, trainer.step) {
            stop |= trainer.save(observer)?;
        }
    }
    if trainer.saved.is_none() {
        trainer.save(observer)?;
    }
    let checkpoint = trainer.saved.unwrap_or_default();
    let outcome =
        Outcome { steps: trainer.step, complete: trainer.step == total, checkpoint, loss };
    // Nothing is left to stop.
    let _ = observer.event(&Event::Finished(outcome.clone()));
    Ok(outcome)
}

/// The state of a run between two steps.
struct Trainer<'a> {
    run: &'a Run<'a>,
    loss: Loss,
    schedule: Schedule,
    course: Course<'a>,
    optimizer: AdamW,
    checkpoints: Checkpoints<'a>,
    /// Under the policy at the start: for each sequence and action a number for each token.
    start: Option<Vec<Vec<Vec<f32>>>>,
    /// Optimiser steps made.
    step: u64,
    tokens_seen: u64,
    began: Duration,
    /// The checkpoint of the newest step that has one.
    saved: Option<PathBuf>,
    checked_gradients: bool,
}

/// Sums over one optimiser step.
#[derive(Default)]
struct Sums {
    loss: f64,
    log_prob: f64,
    divergence: f64,
    clipped: usize,
}

impl<'a> Trainer<'a> {
    /// Returns a run at its beginning, or where its newest checkpoint left it.
    fn new(run: &'a Run<'a>) -> Result<Trainer<'a>, TrainError> {
        let (config, prepared) = (run.config, run.prepared);
        let parameters = run.decoder.parameters();
        if parameters.is_empty() {
            return Err(TrainError::Frozen);
        }
        let identity = Identity {
            model: run.model_identity.to_owned(),
            start: hash_variables(&parameters)?,
            data: hash_data(prepared),
            tokenizer: blake3::Hash::from(run.tokenizer.fingerprint()).to_hex().to_string(),
            renderer: prepared.renderer.name().to_owned(),
        };
        let checkpoints = Checkpoints { directory: run.directory, identity, config };
        checkpoints.open(run.resume)?;
        let adam = AdamConfig {
            beta1: config.adam_beta1,
            beta2: config.adam_beta2,
            epsilon: config.adam_epsilon,
            weight_decay: config.weight_decay,
        };
        let course = course(config, &prepared.sequences);
        let mut trainer = Trainer {
            loss: Loss::new(config),
            schedule: Schedule::new(config, course.steps_total),
            course,
            optimizer: AdamW::new(adam, parameters)?,
            start: None,
            step: 0,
            tokens_seen: 0,
            began: (run.clock)(),
            saved: None,
            checked_gradients: false,
            checkpoints,
            run,
        };
        if config.needs_start_policy() {
            // The weights are still those of the start, also when the run is resumed.
            trainer.start = Some(trainer.score()?);
        }
        if run.resume {
            trainer.resume()?;
        }
        Ok(trainer)
    }

    fn resume(&mut self) -> Result<(), TrainError> {
        let Some(path) = self.checkpoints.newest()? else { return Ok(()) };
        let position = self.checkpoints.load(&path, self.run.decoder, &mut self.optimizer)?;
        self.step = position.step;
        self.course.seek(position.epoch, position.index);
        self.saved = Some(path);
        Ok(())
    }

    /// Returns the log-probabilities of all action tokens under the policy of now.
    fn score(&self) -> Result<Vec<Vec<Vec<f32>>>, TrainError> {
        let sequences = &self.run.prepared.sequences;
        let evaluation = evaluate(self.run.decoder, sequences, self.run.config.tokens_per_batch)?;
        let mut scores = evaluation.actions.into_iter().map(|action| action.log_probs);
        let of = |s: &super::Sequence| scores.by_ref().take(s.actions.len()).collect();
        Ok(sequences.iter().map(of).collect())
    }

    /// Makes one optimiser step.
    fn take_step(&mut self) -> Result<StepReport, TrainError> {
        let began = (self.run.clock)();
        let config = self.run.config;
        let sequences = &self.run.prepared.sequences;
        let chosen = self.course.advance();
        let counts = counts(sequences, &chosen);
        let mut gradients = Gradients::new(self.optimizer.names().count());
        let mut sums = Sums::default();
        for indexes in cut_by_tokens(sequences, &chosen, config.tokens_per_batch) {
            let batch = Batch::new(sequences, &indexes);
            self.accumulate(&batch, counts, &mut gradients, &mut sums)?;
        }
        self.check_gradients(&gradients)?;
        let (grad_norm, rate) = self.update(gradients, &chosen)?;
        self.step += 1;
        self.saved = None;
        let tokens: u64 = chosen.iter().map(|i| sequences[*i].tokens.len() as u64).sum();
        self.tokens_seen += tokens;
        let now = (self.run.clock)();
        let action_tokens = counts.tokens as f64;
        Ok(StepReport {
            step: self.step,
            steps_total: self.course.steps_total,
            epoch: self.course.epochs_seen(),
            loss: sums.loss,
            nll: -sums.log_prob / action_tokens,
            kl: sums.divergence / action_tokens,
            clip_fraction: sums.clipped as f64 / action_tokens,
            grad_norm,
            learning_rate: rate,
            sequences: chosen.len(),
            tokens,
            actions: counts.actions,
            action_tokens: counts.tokens as u64,
            tokens_seen: self.tokens_seen,
            elapsed: now.saturating_sub(self.began),
            tokens_per_s: tokens as f64 / now.saturating_sub(began).as_secs_f64().max(1e-9),
            log: self.step.is_multiple_of(config.logging_steps)
                || self.step == self.course.steps_total,
        })
    }

    /// Runs one batch forward and backward and adds its gradients.
    fn accumulate(
        &self,
        batch: &Batch<'_>,
        counts: Counts,
        gradients: &mut Gradients,
        sums: &mut Sums,
    ) -> Result<(), TrainError> {
        let log_probs = batch.log_probs(self.run.decoder)?;
        let values: Vec<f32> = log_probs.to_vec1()?;
        let mut derivatives = Vec::with_capacity(values.len());
        for (sequence, number, span, now) in batch.split(&values) {
            let start = self.start.as_ref().map(|start| start[sequence][number].as_slice());
            let weight = self.run.prepared.weights[sequence][number];
            let action = self.loss.of_action(ActionLogProbs { weight, now, start }, counts);
            if !action.loss.is_finite() {
                return Err(TrainError::LossNotFinite {
                    row: span.row.clone(),
                    value: action.loss,
                    step: self.step + 1,
                    kept: self.kept(),
                });
            }
            sums.loss += action.loss;
            sums.log_prob += now.iter().map(|l| f64::from(*l)).sum::<f64>();
            sums.divergence += action.divergence;
            sums.clipped += action.clipped;
            derivatives.extend(action.derivatives);
        }
        let count = derivatives.len();
        let derivatives = Tensor::from_vec(derivatives, count, log_probs.device())?;
        let surrogate = (log_probs * derivatives)?.sum_all()?;
        let store = self.run.decoder.backward(&surrogate)?;
        for (index, variable) in self.optimizer.variables().enumerate() {
            if let Some(gradient) = store.get(variable) {
                gradients.add(index, gradient)?;
            }
        }
        Ok(())
    }

    /// Whether every variable got a gradient, looked at in the first step.
    fn check_gradients(&mut self, gradients: &Gradients) -> Result<(), TrainError> {
        if std::mem::replace(&mut self.checked_gradients, true) {
            return Ok(());
        }
        let missing = gradients.missing();
        let Some(first) = missing.first() else { return Ok(()) };
        Err(TrainError::NoGradient {
            variable: self.optimizer.names().nth(*first).unwrap_or_default().to_owned(),
            count: missing.len(),
            total: self.optimizer.names().count(),
        })
    }

    /// Clips the gradients and moves the variables; returns the norm and the learning rate.
    fn update(&mut self, gradients: Gradients, chosen: &[usize]) -> Result<(f64, f64), TrainError> {
        let variables: Vec<&Var> = self.optimizer.variables().collect();
        let (gradients, norms) = gradients.finish(&variables)?;
        if let Some(bad) = norms.iter().position(|norm| !norm.is_finite()) {
            let first = chosen.first().map(|i| &self.run.prepared.sequences[*i].actions[0].row);
            let row = first.cloned().ok_or_else(|| TrainError::Empty("no step".to_owned()))?;
            return Err(TrainError::GradientNotFinite {
                variable: self.optimizer.names().nth(bad).unwrap_or_default().to_owned(),
                row,
                step: self.step + 1,
                kept: self.kept(),
            });
        }
        let norm = norms.iter().map(|n| n * n).sum::<f64>().sqrt();
        let limit = self.run.config.max_grad_norm;
        let scale = if limit > 0.0 { (limit / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let rate = self.schedule.rate(self.step + 1);
        self.optimizer.step(&gradients, scale, rate)?;
        Ok((norm, rate))
    }

    /// Scores the held-out sets; returns whether the observer stops the run.
    fn evaluate(&self, observer: &mut (dyn Observer + Send)) -> Result<bool, TrainError> {
        let mut stop = false;
        for (name, sequences) in &self.run.prepared.held_out {
            let tokens = self.run.config.tokens_per_batch;
            let evaluation = evaluate(self.run.decoder, sequences, tokens)?;
            let event = Event::Evaluated {
                step: self.step,
                name: name.clone(),
                actions: evaluation.actions.len(),
                tokens: evaluation.tokens(),
                loss: evaluation.loss(),
                log_prob: evaluation.log_prob(),
            };
            stop |= observer.event(&event).is_break();
        }
        Ok(stop)
    }

    /// Writes a checkpoint; returns whether the observer stops the run.
    fn save(&mut self, observer: &mut (dyn Observer + Send)) -> Result<bool, TrainError> {
        let position =
            Position { step: self.step, epoch: self.course.epoch, index: self.course.index };
        let (decoder, tokenizer) = (self.run.decoder, self.run.tokenizer);
        let path = self.checkpoints.save(position, decoder, tokenizer, &self.optimizer)?;
        self.saved = Some(path.clone());
        Ok(observer.event(&Event::Checkpoint { step: self.step, path }).is_break())
    }

    fn kept(&self) -> Kept {
        Kept(self.checkpoints.newest().ok().flatten())
    }
}

fn counts(sequences: &[super::Sequence], chosen: &[usize]) -> Counts {
    let actions = || chosen.iter().flat_map(|index| &sequences[*index].actions);
    Counts { actions: actions().count(), tokens: actions().map(|a| a.end - a.start).sum() }
}

/// Returns the BLAKE3 of names, shapes and values of variables.
fn hash_variables(variables: &[(String, Var)]) -> Result<String, TrainError> {
    let mut hasher = blake3::Hasher::new();
    for (name, variable) in variables {
        hasher.update(format!("{name} {:?}\n", variable.dims()).as_bytes());
        let values = variable.as_tensor().to_dtype(DType::F32)?.flatten_all()?;
        let mut bytes = Vec::with_capacity(values.elem_count() * 4);
        for value in values.to_vec1::<f32>()? {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Returns the BLAKE3 of tokens, actions and weights of all sequences.
fn hash_data(prepared: &Prepared) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut number = |n: u64| {
        hasher.update(&n.to_le_bytes());
    };
    for (sequence, weights) in prepared.sequences.iter().zip(&prepared.weights) {
        number(sequence.key);
        number(sequence.tokens.len() as u64);
        sequence.tokens.iter().for_each(|token| number(u64::from(*token)));
        number(sequence.actions.len() as u64);
        for (action, weight) in sequence.actions.iter().zip(weights) {
            for n in [u64::from(action.row.step), action.start as u64, action.end as u64] {
                number(n);
            }
            number(weight.to_bits());
        }
    }
    hasher.finalize().to_hex().to_string()
}
