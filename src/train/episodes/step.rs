//! Optimiser steps on what was played, and held-out questions.

use std::time::Duration;

use candle_core::Tensor;

use crate::train::error::TrainError;
use crate::train::event::{EpisodeReport, Event, Observer, StepReport};
use crate::train::example::Row;
use crate::train::gradients::Gradients;
use crate::train::objective::{GroupLoss, PlayedLogProbs};
use crate::train::sequence::Sequence;
use crate::train::trainer::Trainer;

use super::batch::{GroupBatch, trunks};
use super::generation::Generation;
use super::player::{Asked, EpisodePlayer, Played, Worth};
use super::tally::Tally;

/// Sums over the forward passes of a step.
#[derive(Default)]
struct Sums {
    loss: f64,
    log_prob: f64,
    divergence: f64,
    clipped: usize,
    actions: usize,
    action_tokens: usize,
    tokens: u64,
}

impl Trainer<'_> {
    /// Makes one optimiser step on what was played last, or on what is played now; returns it in
    /// numbers, and the trajectories.
    ///
    /// # Errors
    /// What fails in playing or judging, with the run standing where it stood; numbers that are not
    /// finite.
    pub(in crate::train) fn take_group_step(
        &mut self,
        player: &mut dyn EpisodePlayer,
    ) -> Result<(StepReport, Event), TrainError> {
        let began = (self.run.clock)();
        let mut generation = match self.generation.take() {
            Some(generation) => generation,
            None => {
                let (epoch, index) = (self.course.epoch, self.course.index);
                self.generate(player).inspect_err(|_| self.course.seek(epoch, index))?
            }
        };
        let ready = (self.run.clock)();
        let mut gradients = Gradients::new(self.optimizer.names().count());
        let mut sums = Sums::default();
        let trunks = trunks(&generation.sequences);
        let budget = self.run.config.tokens_per_batch;
        for batch in GroupBatch::cut(&generation.sequences, &trunks, budget) {
            self.learn_group(&mut generation, &batch, &mut gradients, &mut sums)?;
        }
        if !generation.sequences.is_empty() {
            self.check_gradients(&gradients)?;
        }
        let (grad_norm, rate) = self.update(gradients, &generation.chosen)?;
        self.step += 1;
        self.saved = None;
        if generation.steps == 0 {
            self.tokens_seen += self.tokens_of(&generation.chosen);
        }
        generation.steps += 1;
        let spent = (began, ready.saturating_sub(began));
        let report = self.group_report(&sums, &generation, (grad_norm, rate), spent);
        let event = self.episodes(&generation);
        let is_used_up = generation.steps >= self.run.config.iterations();
        self.generation = Some(generation).filter(|_| !is_used_up);
        Ok((report, event))
    }

    /// Plays the next questions.
    fn generate(&mut self, player: &mut dyn EpisodePlayer) -> Result<Generation, TrainError> {
        let config = self.run.config;
        let number = self.step / config.iterations();
        self.epoch = self.course.epoch;
        let chosen = self.course.advance();
        let sequences = &self.run.prepared.sequences;
        let row = |index: &usize| &sequences[*index].actions[0].row;
        let samples = 0..config.generations();
        let episodes: Vec<(&Row, usize)> = chosen
            .iter()
            .flat_map(|index| samples.clone().map(move |sample| (index, sample)))
            .map(|(index, sample)| (row(index), sample))
            .collect();
        let asked: Vec<Asked<'_>> = episodes
            .iter()
            .map(|(row, sample)| {
                let seed = episode_seed(config.seed, row, number, *sample);
                Asked { row, number: *sample, seed: Some(seed) }
            })
            .collect();
        let played = self.played(player, &asked)?;
        let rows = episodes.into_iter().map(|(row, sample)| (row.clone(), sample)).collect();
        let generation = Generation::new(config, chosen, rows, played);
        self.check_verdicts(&generation.tally)?;
        Ok(generation)
    }

    /// Returns what a player makes of episodes, where it makes something of each.
    fn played(
        &self,
        player: &mut dyn EpisodePlayer,
        asked: &[Asked<'_>],
    ) -> Result<Vec<Played>, TrainError> {
        let played = player.play(asked)?;
        if played.len() != asked.len() {
            let (found, expected) = (played.len(), asked.len());
            return Err(TrainError::Played { found, expected });
        }
        for (asked, played) in asked.iter().zip(&played) {
            let wrong = |message: String| TrainError::Episode { row: asked.row.clone(), message };
            if let Worth::Value(value) = &played.worth
                && !(0.0..=1.0).contains(value)
            {
                return Err(wrong(format!("its answer got {value}: expected 0 to 1")));
            }
            for turn in &played.turns {
                let (tokens, numbers) = (turn.action.len(), turn.log_probs.len());
                if tokens != numbers || (tokens > 0 && turn.state.is_empty()) {
                    let state = turn.state.len();
                    return Err(wrong(format!(
                        "an action of {tokens} tokens has {numbers} log-probabilities and a state \
                         of {state} tokens: expected as many as tokens, and a state"
                    )));
                }
            }
        }
        Ok(played)
    }

    fn check_verdicts(&self, tally: &Tally) -> Result<(), TrainError> {
        let (limit, judged) = (self.run.config.judge_failures(), tally.judged + tally.failed);
        match tally.failed as f64 > limit * judged as f64 {
            true => Err(TrainError::JudgeFailures {
                failed: tally.failed,
                judged,
                limit,
                step: self.step + 1,
                first: tally.first_failure.clone().unwrap_or_default(),
                kept: self.kept(),
            }),
            false => Ok(()),
        }
    }

    /// Runs some sequences of a generation forward and backward and adds their gradients.
    fn learn_group(
        &self,
        generation: &mut Generation,
        batch: &GroupBatch,
        gradients: &mut Gradients,
        sums: &mut Sums,
    ) -> Result<(), TrainError> {
        let loss = GroupLoss::new(self.run.config);
        let Generation { sequences, parts, trajectories, lengths, counts, tally, .. } = generation;
        let log_probs = batch.log_probs(&self.decoder)?;
        let values: Vec<f32> = log_probs.to_vec1()?;
        let start = match &self.start_model {
            Some(start) => Some(batch.log_probs(start)?.to_vec1::<f32>()?),
            None => None,
        };
        let mut slopes = Vec::with_capacity(values.len());
        for index in batch.sequences.clone() {
            let (part, sequence) = (&mut parts[index], &sequences[index]);
            let own = slopes.len()..slopes.len() + part.sampled.len();
            let now = &values[own.clone()];
            let played = PlayedLogProbs {
                advantage: trajectories[part.trajectory].advantage.unwrap_or_default(),
                tokens: lengths[part.trajectory],
                now,
                old: part.old.as_deref(),
                start: start.as_ref().map(|start| &start[own]),
            };
            let told = loss.of_tokens(played, *counts);
            let slope = told.derivatives.iter().map(|d| f64::from(*d)).sum::<f64>();
            if !told.loss.is_finite() || !slope.is_finite() {
                return Err(TrainError::LossNotFinite {
                    row: trajectories[part.trajectory].row.clone(),
                    value: if told.loss.is_finite() { slope } else { told.loss },
                    step: self.step + 1,
                    kept: self.kept(),
                });
            }
            sums.loss += told.loss;
            sums.divergence += told.divergence;
            sums.clipped += told.clipped;
            sums.log_prob += now.iter().map(|l| f64::from(*l)).sum::<f64>();
            sums.actions += sequence.actions.len();
            sums.action_tokens += now.len();
            slopes.extend(told.derivatives);
            if part.old.is_none() {
                for (now, sampled) in now.iter().zip(&part.sampled) {
                    tally.distance = tally.distance.max(f64::from((now - sampled).abs()));
                }
                part.old = Some(now.to_vec());
            }
        }
        sums.tokens += batch.tokens() as u64;
        let slopes = Tensor::from_vec(slopes, log_probs.dims1()?, log_probs.device())?;
        self.collect(&(log_probs * slopes)?.sum_all()?, gradients)
    }

    fn group_report(
        &self,
        sums: &Sums,
        generation: &Generation,
        (grad_norm, learning_rate): (f64, f64),
        (began, data): (Duration, Duration),
    ) -> StepReport {
        let now = (self.run.clock)();
        let action_tokens = sums.action_tokens.max(1) as f64;
        let seconds = now.saturating_sub(began).as_secs_f64().max(1e-9);
        StepReport {
            step: self.step,
            steps_total: self.course.steps_total,
            epoch: self.course.epochs_seen(),
            loss: sums.loss,
            nll: -sums.log_prob / action_tokens,
            kl: sums.divergence / action_tokens,
            clip_fraction: sums.clipped as f64 / action_tokens,
            grad_norm,
            learning_rate,
            sequences: generation.sequences.len(),
            tokens: sums.tokens,
            actions: sums.actions,
            action_tokens: sums.action_tokens as u64,
            tokens_seen: self.tokens_seen,
            elapsed: now.saturating_sub(self.began),
            tokens_per_s: sums.tokens as f64 / seconds,
            data,
            log: self.step.is_multiple_of(self.run.config.logging_steps)
                || self.step == self.course.steps_total,
            metrics: generation.tally.step(),
        }
    }

    fn episodes(&self, generation: &Generation) -> Event {
        let episodes = generation.trajectories.iter().map(|one| EpisodeReport {
            row: one.row.clone(),
            number: one.number,
            turns: one.turns.clone(),
            reward: one.reward,
            advantage: one.advantage,
        });
        Event::Episodes { epoch: self.epoch, step: self.step, episodes: episodes.collect() }
    }

    /// Plays every held-out question once, by the most probable tokens; returns whether the
    /// observer stops the run, and whether the model is the best so far.
    pub(in crate::train) fn evaluate_episodes(
        &mut self,
        player: &mut dyn EpisodePlayer,
        observer: &mut (dyn Observer + Send),
    ) -> Result<(bool, bool), TrainError> {
        let mut stop = false;
        let mut rewards = Vec::new();
        for set in &self.run.prepared.held_out {
            let asked = |sequence: &'_ Sequence| sequence.actions[0].row.clone();
            let rows: Vec<Row> = set.sequences.iter().map(asked).collect();
            let asked: Vec<Asked<'_>> =
                rows.iter().map(|row| Asked { row, number: 0, seed: None }).collect();
            let mut tally = Tally::default();
            for played in self.played(player, &asked)? {
                tally.add(&played, self.run.config.malformed());
            }
            self.check_verdicts(&tally)?;
            let event = Event::Evaluated {
                step: self.step,
                name: set.name.clone(),
                actions: tally.actions,
                tokens: tally.tokens,
                loss: -tally.log_prob / tally.tokens.max(1) as f64,
                log_prob: tally.log_prob / tally.actions.max(1) as f64,
                metrics: tally.held_out(),
            };
            stop |= observer.event(&event).is_break();
            rewards.push(tally.reward());
        }
        let is_best = match &mut self.watch {
            Some(watch) if self.step > 0 => {
                watch.look(self.step, |set, _| rewards.get(set).copied())
            }
            _ => false,
        };
        Ok((stop, is_best))
    }
}

/// Returns the seed of an episode: neither what is played beside it nor the database is in it.
fn episode_seed(seed: u64, row: &Row, generation: u64, number: usize) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"swirldb grpo episode 1");
    hasher.update(&seed.to_le_bytes());
    for text in [&row.source, &row.id] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    hasher.update(&generation.to_le_bytes()).update(&(number as u64).to_le_bytes());
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(low)
}
