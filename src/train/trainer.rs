//! One step after another: what a run does between two looks at the observer.

use std::path::PathBuf;
use std::time::Duration;

use candle_core::{Tensor, Var};

use crate::lm::Decoder;

use super::batch::Batch;
use super::checkpoint::{Checkpoints, Identity, Position};
use super::config::Objective;
use super::episodes::Generation;
use super::error::{Kept, TrainError};
use super::evaluation::{Evaluation, evaluate};
use super::event::{Best, Event, ExampleReport, Moment, Observer, Outcome, StepReport};
use super::gradients::Gradients;
use super::identity::identity_of;
use super::objective::{ActionLogProbs, Counts, Criterion, RewardSums, reference_point};
use super::online::Sampling;
use super::optimizer::{AdamConfig, AdamW};
use super::order::{Course, cut_by_tokens};
use super::plan::course;
use super::run::{Live, Run};
use super::schedule::Schedule;
use super::sequence::{ActionSpan, Sequence};
use super::start::{StartPolicy, StartSource, policy_fingerprint};
use super::watch::Watch;

/// The state of a run between two steps.
pub(super) struct Trainer<'a> {
    pub(super) run: &'a Run<'a>,
    /// The run's decoder, computing as the options ask.
    pub(super) decoder: Decoder,
    criterion: Criterion,
    schedule: Schedule,
    pub(super) course: Course<'a>,
    pub(super) optimizer: AdamW,
    checkpoints: Checkpoints<'a>,
    /// What the policy at the start says of the actions.
    start: Option<StartPolicy>,
    /// The model at the start, where whole distributions are compared.
    pub(super) start_model: Option<Decoder>,
    pub(super) watch: Option<Watch>,
    /// What draws actions, for an objective that does.
    pub(super) sampling: Option<Sampling>,
    /// What was played and is still to be trained on, for an objective that plays.
    pub(super) generation: Option<Generation>,
    /// Optimiser steps made.
    pub(super) step: u64,
    /// The epoch of the last one.
    pub(super) epoch: u64,
    pub(super) tokens_seen: u64,
    pub(super) began: Duration,
    /// The checkpoint of the newest step that has one.
    pub(super) saved: Option<PathBuf>,
    checked_gradients: bool,
}

/// Sums over one optimiser step.
#[derive(Default)]
struct Sums {
    loss: f64,
    log_prob: f64,
    divergence: f64,
    clipped: usize,
    rewards: RewardSums,
    examples: Vec<ExampleReport>,
}

impl<'a> Trainer<'a> {
    /// Returns a run at its beginning, or where its newest checkpoint left it.
    pub(super) fn new(run: &'a Run<'a>, live: &Live<'_>) -> Result<Trainer<'a>, TrainError> {
        let (config, prepared) = (run.config, run.prepared);
        let parameters = run.decoder.parameters();
        if parameters.is_empty() {
            return Err(TrainError::Frozen);
        }
        let identity = identity_of(run, &parameters, live.names())?;
        let checkpoints = Checkpoints { directory: run.directory, identity, config };
        checkpoints.open(run.resume)?;
        let adam = AdamConfig {
            beta1: config.adam_beta1,
            beta2: config.adam_beta2,
            epsilon: config.adam_epsilon,
            weight_decay: config.weight_decay,
        };
        let decoder = run.decoder.working(config.work())?;
        let course = course(config, &prepared.sequences);
        let mut trainer = Trainer {
            criterion: Criterion::new(config),
            schedule: Schedule::new(config, course.steps_total),
            course,
            optimizer: AdamW::by_kernels(adam, parameters, decoder.operations())?,
            start: None,
            start_model: None,
            watch: Watch::new(config, &prepared.held_out)?,
            sampling: None,
            generation: None,
            step: 0,
            epoch: 0,
            tokens_seen: 0,
            began: (run.clock)(),
            saved: None,
            checked_gradients: false,
            checkpoints,
            decoder,
            run,
        };
        // The weights are still those of the start, also when the run is resumed.
        if config.needs_start_policy() {
            trainer.start = Some(trainer.start_policy()?);
        }
        if config.needs_start_model() {
            trainer.start_model = Some(trainer.decoder.snapshot()?);
        }
        if let Live::Actions(online) = live {
            trainer.sampling = Some(trainer.sampling_of(online.slots)?);
        }
        if run.resume {
            trainer.resume()?;
        }
        Ok(trainer)
    }

    fn start_policy(&self) -> Result<StartPolicy, TrainError> {
        let run = self.run;
        let template = run.prepared.template.as_deref();
        let renderer = &run.prepared.renderer;
        let fingerprint = policy_fingerprint(run.model_identity, run.tokenizer, renderer, template);
        let Identity { start, data, .. } = &self.checkpoints.identity;
        let identity = blake3::hash(format!("{fingerprint} {start} {data}").as_bytes()).to_hex();
        StartPolicy::new(&StartSource {
            decoder: &self.decoder,
            prepared: run.prepared,
            fingerprint: &fingerprint,
            identity: &identity,
            directory: run.directory,
            tokens_per_batch: run.config.tokens_per_batch,
        })
    }

    fn sampling_of(&self, slots: usize) -> Result<Sampling, TrainError> {
        let Run { config, prepared, tokenizer, .. } = self.run;
        let held_out = prepared.held_out.iter().flat_map(|set| &set.sequences);
        let sequences = prepared.sequences.iter().chain(held_out);
        Sampling::new(&self.decoder, tokenizer, &prepared.renderer, config, slots, sequences)
    }

    fn resume(&mut self) -> Result<(), TrainError> {
        let Some(path) = self.checkpoints.newest()? else { return Ok(()) };
        let (position, watched) =
            self.checkpoints.load(&path, self.run.decoder, &mut self.optimizer)?;
        self.step = position.step;
        let mut before = course(self.run.config, &self.run.prepared.sequences);
        // What is sampled once makes several steps; checkpoints are between.
        let drawn = self.step.div_ceil(self.run.config.iterations());
        self.tokens_seen = (0..drawn).map(|_| self.tokens_of(&before.advance())).sum();
        self.course.seek(position.epoch, position.index);
        if let Some(watch) = &mut self.watch {
            watch.watched = watched;
        }
        self.saved = Some(path);
        Ok(())
    }

    /// Whether no step is left, or none is worth waiting for.
    pub(super) fn is_over(&self) -> bool {
        self.step >= self.course.steps_total || self.has_given_up()
    }

    fn has_given_up(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::has_given_up)
    }

    /// Whether all that was played has been trained on as often as the options ask: what is left
    /// would be in no checkpoint.
    pub(super) fn is_between_generations(&self) -> bool {
        self.generation.is_none()
    }

    /// Whether the last step was the last of its epoch.
    pub(super) fn is_at_epoch_end(&self) -> bool {
        self.course.index == 0
    }

    /// Hands out what the start policy says; returns whether the observer stops the run.
    pub(super) fn tell_start(&self, observer: &mut (dyn Observer + Send)) -> bool {
        let event = |start: &StartPolicy| start.event(&self.run.prepared.sequences);
        self.start.as_ref().map(event).is_some_and(|event| observer.event(&event).is_break())
    }

    /// Makes one optimiser step; returns it in numbers, and its actions.
    pub(super) fn take_step(&mut self) -> Result<(StepReport, Event), TrainError> {
        let began = (self.run.clock)();
        let config = self.run.config;
        let sequences = &self.run.prepared.sequences;
        self.epoch = self.course.epoch;
        let chosen = self.course.advance();
        let counts = counts(sequences, &chosen);
        let pack = if config.learns_context() { Batch::with_context } else { Batch::new };
        let mut gradients = Gradients::new(self.optimizer.names().count());
        let mut sums = Sums::default();
        let batches: Vec<Batch<'_>> = cut_by_tokens(sequences, &chosen, config.tokens_per_batch)
            .iter()
            .map(|indexes| pack(sequences, indexes))
            .collect();
        let packed = (self.run.clock)();
        let z = self.reference_point(&batches)?;
        let learnt = self.learnt(&chosen, counts);
        for batch in &batches {
            self.accumulate(batch, learnt, z, &mut gradients, &mut sums)?;
        }
        self.check_gradients(&gradients)?;
        let (grad_norm, rate) = self.update(gradients, &chosen)?;
        self.step += 1;
        self.saved = None;
        let tokens = self.tokens_of(&chosen);
        self.tokens_seen += tokens;
        let now = (self.run.clock)();
        let action_tokens = counts.tokens as f64;
        let report = StepReport {
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
            data: packed.saturating_sub(began),
            log: self.step.is_multiple_of(config.logging_steps)
                || self.step == self.course.steps_total,
            metrics: sums.rewards.metrics(),
        };
        Ok((report, self.examples(Moment::Step, sums.examples)))
    }

    /// Returns what the loss of a step is a mean over.
    fn learnt(&self, chosen: &[usize], counts: Counts) -> Counts {
        match self.run.config.learns_context() {
            // The first token of a sequence is predicted by none.
            true => Counts { tokens: self.tokens_of(chosen) as usize - chosen.len(), ..counts },
            false => counts,
        }
    }

    pub(super) fn tokens_of(&self, chosen: &[usize]) -> u64 {
        let sequences = &self.run.prepared.sequences;
        chosen.iter().map(|index| sequences[*index].tokens.len() as u64).sum()
    }

    fn examples(&self, moment: Moment, examples: Vec<ExampleReport>) -> Event {
        Event::Examples { epoch: self.epoch, step: self.step, moment, examples }
    }

    /// Returns the reference point of an optimiser step, where its loss has one and more than one
    /// forward pass: a pass of each without gradient comes first.
    fn reference_point(&self, batches: &[Batch<'_>]) -> Result<Option<f64>, TrainError> {
        if !self.criterion.has_reference_point() || batches.len() < 2 {
            return Ok(None);
        }
        let decoder = self.decoder.detached();
        let mut log_ratios = Vec::new();
        for batch in batches {
            let values: Vec<f32> = batch.log_probs(&decoder)?.to_vec1()?;
            let actions = self.terms(batch, &values, None);
            log_ratios.extend(actions.iter().map(ActionLogProbs::log_ratio));
        }
        Ok(Some(reference_point(log_ratios.into_iter())))
    }

    /// Returns the actions of a batch with what the loss needs to know of them.
    fn terms<'v>(
        &'v self,
        batch: &Batch<'_>,
        log_probs: &'v [f32],
        divergences: Option<&'v [f32]>,
    ) -> Vec<ActionLogProbs<'v>> {
        let mut divergences = divergences.map(|values| batch.split(values));
        batch
            .split(log_probs)
            .map(|(sequence, number, _, now)| ActionLogProbs {
                weight: self.run.prepared.weights[sequence][number],
                now,
                start: self.start.as_ref().map(|s| s.log_probs[sequence][number].as_slice()),
                divergence: divergences.as_mut().and_then(|d| Some(d.next()?.3)),
            })
            .collect()
    }

    /// Runs one batch forward and backward and adds its gradients.
    fn accumulate(
        &self,
        batch: &Batch<'_>,
        counts: Counts,
        z: Option<f64>,
        gradients: &mut Gradients,
        sums: &mut Sums,
    ) -> Result<(), TrainError> {
        let (log_probs, divergences) = match &self.start_model {
            None => (batch.log_probs(&self.decoder)?, None),
            Some(start) => {
                let (log_probs, divergences) =
                    batch.log_probs_and_divergence(&self.decoder, start)?;
                (log_probs, Some(divergences))
            }
        };
        let values: Vec<f32> = log_probs.to_vec1()?;
        let exact = divergences.as_ref().map(Tensor::to_vec1::<f32>).transpose()?;
        let terms = self.terms(batch, &values, exact.as_deref());
        let losses = self.criterion.of_actions(&terms, counts, z);
        self.criterion.add_rewards(&terms, &mut sums.rewards);
        let mut by_log_prob = Vec::with_capacity(values.len());
        let mut by_divergence = Vec::new();
        for ((sequence, number, span, now), action) in batch.split(&values).zip(losses) {
            let slope = action.derivatives.iter().map(|d| f64::from(*d)).sum::<f64>();
            if !action.loss.is_finite() || !slope.is_finite() {
                return Err(TrainError::LossNotFinite {
                    row: span.row.clone(),
                    value: if action.loss.is_finite() { slope } else { action.loss },
                    step: self.step + 1,
                    kept: self.kept(),
                });
            }
            sums.loss += action.loss;
            sums.divergence += action.divergence;
            sums.clipped += action.clipped;
            let report = self.example(sequence, number, span, now);
            sums.log_prob += report.log_prob;
            sums.examples.push(report);
            by_log_prob.extend(action.derivatives);
            by_divergence.extend(action.by_divergence);
        }
        // Of the context every token counts as one of an action with weight 1.
        let context = &values[by_log_prob.len()..];
        let scale = -1.0 / counts.tokens as f64;
        sums.loss += scale * context.iter().map(|l| f64::from(*l)).sum::<f64>();
        by_log_prob.resize(values.len(), scale as f32);
        let weigh = |values: &Tensor, by: Vec<f32>| {
            let by = Tensor::from_vec(by, values.dims1()?, values.device())?;
            (values * by)?.sum_all()
        };
        let mut surrogate = weigh(&log_probs, by_log_prob)?;
        if let Some(divergences) = &divergences {
            surrogate = (surrogate + weigh(divergences, by_divergence)?)?;
        }
        self.collect(&surrogate, gradients)
    }

    /// Goes backward from a loss and adds its gradients.
    pub(super) fn collect(
        &self,
        surrogate: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<(), TrainError> {
        let store = self.decoder.backward(surrogate)?;
        for (index, variable) in self.optimizer.variables().enumerate() {
            if let Some(gradient) = store.get(variable) {
                gradients.add(index, gradient)?;
            }
        }
        Ok(())
    }

    /// Returns an action in numbers; `now` are the log-probabilities of its tokens.
    fn example(
        &self,
        sequence: usize,
        number: usize,
        span: &ActionSpan,
        now: &[f32],
    ) -> ExampleReport {
        ExampleReport {
            row: span.row.clone(),
            pair: self.run.prepared.sequences[sequence].pair,
            weight: self.run.prepared.rewards[sequence][number],
            advantage: self.run.prepared.weights[sequence][number],
            tokens: now.len(),
            log_prob: now.iter().map(|l| f64::from(*l)).sum(),
        }
    }

    /// Scores all trained actions; returns whether the observer stops the run.
    pub(super) fn score_examples(
        &self,
        observer: &mut (dyn Observer + Send),
    ) -> Result<bool, TrainError> {
        let sequences = &self.run.prepared.sequences;
        let tokens = self.run.config.tokens_per_batch;
        let mut scores = evaluate(&self.decoder, sequences, tokens)?.actions.into_iter();
        let mut examples = Vec::new();
        for (index, sequence) in sequences.iter().enumerate() {
            for ((number, span), score) in sequence.actions.iter().enumerate().zip(&mut scores) {
                examples.push(self.example(index, number, span, &score.log_probs));
            }
        }
        Ok(observer.event(&self.examples(Moment::EpochEnd, examples)).is_break())
    }

    /// Whether every variable got a gradient, looked at in the first step.
    pub(super) fn check_gradients(&mut self, gradients: &Gradients) -> Result<(), TrainError> {
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
    pub(super) fn update(
        &mut self,
        gradients: Gradients,
        chosen: &[usize],
    ) -> Result<(f64, f64), TrainError> {
        let variables: Vec<&Var> = self.optimizer.variables().collect();
        let (gradients, norms) = gradients.finish(&variables, self.decoder.operations())?;
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

    /// Scores the held-out sets; returns whether the observer stops the run, and whether the model
    /// is the best so far.
    pub(super) fn evaluate(
        &mut self,
        observer: &mut (dyn Observer + Send),
    ) -> Result<(bool, bool), TrainError> {
        let mut stop = false;
        let mut evaluations = Vec::new();
        for (number, set) in self.run.prepared.held_out.iter().enumerate() {
            let tokens = self.run.config.tokens_per_batch;
            let evaluation = evaluate(&self.decoder, &set.sequences, tokens)?;
            let event = Event::Evaluated {
                step: self.step,
                name: set.name.clone(),
                actions: evaluation.actions.len(),
                tokens: evaluation.tokens(),
                loss: evaluation.loss(),
                log_prob: evaluation.log_prob(),
                metrics: self.rewards_of(number, &evaluation).metrics(),
            };
            stop |= observer.event(&event).is_break();
            evaluations.push(evaluation);
        }
        let is_best = match &mut self.watch {
            Some(watch) if self.step > 0 => watch.look(self.step, |set, measure| {
                let evaluation: &Evaluation = evaluations.get(set)?;
                Some(if measure == "loss" { evaluation.loss() } else { evaluation.log_prob() })
            }),
            _ => false,
        };
        Ok((stop, is_best))
    }

    /// Returns the implicit rewards of a held-out set, where the objective has them.
    fn rewards_of(&self, number: usize, evaluation: &Evaluation) -> RewardSums {
        let mut sums = RewardSums::default();
        let set = &self.run.prepared.held_out[number];
        let is_paired = set.sequences.iter().all(|sequence| sequence.pair.is_some());
        let Some(start) = &self.start else { return sums };
        if self.run.config.objective == Objective::Dpo && !is_paired {
            return sums;
        }
        let start = start.held_out[number].iter().flatten();
        let weights = set.weights.iter().flatten();
        let actions: Vec<ActionLogProbs<'_>> = evaluation
            .actions
            .iter()
            .zip(start.zip(weights))
            .map(|(action, (start, weight))| ActionLogProbs {
                weight: *weight,
                now: &action.log_probs,
                start: Some(start),
                divergence: None,
            })
            .collect();
        self.criterion.add_rewards(&actions, &mut sums);
        sums
    }

    /// Writes a checkpoint; returns whether the observer stops the run.
    pub(super) fn save(
        &mut self,
        observer: &mut (dyn Observer + Send),
    ) -> Result<bool, TrainError> {
        let position =
            Position { step: self.step, epoch: self.course.epoch, index: self.course.index };
        let watched = self.watch.as_ref().and_then(|watch| watch.watched);
        let path = self.checkpoints.save(position, watched, self.run, &self.optimizer)?;
        self.saved = Some(path.clone());
        Ok(observer.event(&Event::Checkpoint { step: self.step, path }).is_break())
    }

    /// Returns how the run ended, and gives the decoder the best weights where that is asked for.
    pub(super) fn finish(self, loss: Option<f64>) -> Result<Outcome, TrainError> {
        let complete = self.is_over();
        let watched = self.watch.as_ref().and_then(|watch| watch.watched);
        if let Some(watched) = watched
            && complete
            && self.run.config.load_best_model_at_end
            && watched.step != self.step
        {
            self.checkpoints.load_best(watched.step, self.run.decoder)?;
        }
        Ok(Outcome {
            steps: self.step,
            complete,
            stopped_early: self.step < self.course.steps_total && self.has_given_up(),
            best: watched.map(|watched| Best {
                step: watched.step,
                value: watched.value,
                checkpoint: self.checkpoints.path(watched.step),
            }),
            checkpoint: self.saved.unwrap_or_default(),
            loss,
        })
    }

    pub(super) fn kept(&self) -> Kept {
        Kept(self.checkpoints.newest().ok().flatten())
    }
}

fn counts(sequences: &[Sequence], chosen: &[usize]) -> Counts {
    let actions = || chosen.iter().flat_map(|index| &sequences[*index].actions);
    Counts { actions: actions().count(), tokens: actions().map(|a| a.end - a.start).sum() }
}
