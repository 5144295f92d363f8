//! One optimiser step on sampled actions, and held-out states.

use std::time::Duration;

use candle_core::Tensor;

use crate::train::error::TrainError;
use crate::train::event::{Event, Observer, SampleReport, StepReport};
use crate::train::example::Row;
use crate::train::gradients::Gradients;
use crate::train::objective::{ActionLogProbs, Counts, PolicyLoss};
use crate::train::sequence::Sequence;
use crate::train::trainer::Trainer;

use super::advantage::{advantages, samples_min};
use super::batch::{SampleBatch, State};
use super::form::Malformed;
use super::judge::{Online, Proposal, Verdict};
use super::sampling::{Draw, Drawn};
use super::tally::{Tally, deviation};

/// What was said of a sample.
#[derive(Clone, Debug, Default)]
struct Assessed {
    /// What it counts by: the judge's value, or the reward of a malformed action.
    value: Option<f64>,
    verdict: Option<f64>,
    malformed: Option<Malformed>,
    failure: Option<String>,
    /// Reward and advantage, of samples that are trained on.
    trained: Option<(f64, f64)>,
}

/// Sums over the forward passes of a step.
#[derive(Default)]
struct Sums {
    loss: f64,
    log_prob: f64,
    divergence: f64,
    actions: usize,
    action_tokens: usize,
    tokens: u64,
}

impl Trainer<'_> {
    /// Makes one optimiser step on actions sampled at the next states; returns it in numbers, and
    /// the samples.
    pub(in crate::train) fn take_online_step(
        &mut self,
        online: &mut Online<'_>,
    ) -> Result<(StepReport, Event), TrainError> {
        let began = (self.run.clock)();
        let config = self.run.config;
        let sequences = &self.run.prepared.sequences;
        self.epoch = self.course.epoch;
        let chosen = self.course.advance();
        let mut tally = Tally::default();
        let draw = Draw::Samples { epoch: self.epoch };
        let drawn = self.draw(sequences, &chosen, &draw)?;
        let mut assessed = self.assess(&drawn, sequences, online, &mut tally)?;
        let states = states(&drawn, &assessed, samples_min(config.baseline()), &mut tally);
        let ready = (self.run.clock)();
        let mut gradients = Gradients::new(self.optimizer.names().count());
        let mut sums = Sums::default();
        for batch in SampleBatch::cut(&states, sequences, &drawn, config.tokens_per_batch) {
            let before = (states.len(), drawn.as_slice());
            self.learn(&batch, before, &mut assessed, &mut gradients, &mut sums, &mut tally)?;
        }
        if !states.is_empty() {
            self.check_gradients(&gradients)?;
        }
        let (grad_norm, rate) = self.update(gradients, &chosen)?;
        self.step += 1;
        self.saved = None;
        self.tokens_seen += self.tokens_of(&chosen);
        let spent = (began, ready.saturating_sub(began));
        let report = self.report(&sums, &tally, (grad_norm, rate), chosen.len(), spent);
        let samples = drawn.iter().zip(assessed);
        let samples = samples.map(|(drawn, assessed)| sample_report(drawn, assessed, sequences));
        let samples = samples.collect();
        Ok((report, Event::Samples { epoch: self.epoch, step: self.step, samples }))
    }

    fn report(
        &self,
        sums: &Sums,
        tally: &Tally,
        (grad_norm, learning_rate): (f64, f64),
        sequences: usize,
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
            clip_fraction: 0.0,
            grad_norm,
            learning_rate,
            sequences,
            tokens: sums.tokens,
            actions: sums.actions,
            action_tokens: sums.action_tokens as u64,
            tokens_seen: self.tokens_seen,
            elapsed: now.saturating_sub(self.began),
            tokens_per_s: sums.tokens as f64 / seconds,
            data,
            log: self.step.is_multiple_of(self.run.config.logging_steps)
                || self.step == self.course.steps_total,
            metrics: tally.step(),
        }
    }

    fn draw(
        &mut self,
        sequences: &[Sequence],
        indexes: &[usize],
        draw: &Draw,
    ) -> Result<Vec<Drawn>, TrainError> {
        let (config, tokenizer) = (self.run.config, self.run.tokenizer);
        match &mut self.sampling {
            Some(sampling) => sampling.draw(sequences, indexes, draw, config, tokenizer),
            None => Err(TrainError::NoJudge),
        }
    }

    /// Reads the samples' form and has those that are actions judged, all at once.
    fn assess(
        &self,
        drawn: &[Drawn],
        sequences: &[Sequence],
        online: &mut Online<'_>,
        tally: &mut Tally,
    ) -> Result<Vec<Assessed>, TrainError> {
        let mut assessed = vec![Assessed::default(); drawn.len()];
        let (mut actions, mut places) = (Vec::new(), Vec::new());
        tally.samples = drawn.len();
        for (place, sample) in drawn.iter().enumerate() {
            tally.tokens += sample.tokens.len();
            tally.clipped += usize::from(!sample.ended);
            let read = match sample.ended {
                true => online.form.read(&sample.text),
                false => Err(Malformed::Cut),
            };
            match read {
                Ok(action) => {
                    actions.push(action);
                    places.push(place);
                }
                Err(why) => {
                    tally.malformed(&why);
                    let value = Some(self.run.config.malformed());
                    assessed[place] =
                        Assessed { value, malformed: Some(why), ..assessed[place].clone() };
                }
            }
        }
        let proposals = places.iter().zip(&actions).map(|(place, action)| Proposal {
            row: row_of(&drawn[*place], sequences),
            number: drawn[*place].number,
            action,
            text: &drawn[*place].text,
        });
        let proposals: Vec<Proposal<'_>> = proposals.collect();
        for (place, verdict) in places.iter().zip(self.verdicts(&proposals, online, tally)?) {
            match verdict {
                Verdict::Value(value) => {
                    (assessed[*place].value, assessed[*place].verdict) = (Some(value), Some(value));
                }
                Verdict::Failed(why) => assessed[*place].failure = Some(why),
            }
        }
        tally.rewards = assessed.iter().filter_map(|one| one.value).collect();
        Ok(assessed)
    }

    /// Returns the judge's verdicts, where not too many failed.
    fn verdicts(
        &self,
        proposals: &[Proposal<'_>],
        online: &mut Online<'_>,
        tally: &mut Tally,
    ) -> Result<Vec<Verdict>, TrainError> {
        if proposals.is_empty() {
            return Ok(Vec::new());
        }
        let verdicts = online.judge.judge(proposals)?;
        if verdicts.len() != proposals.len() {
            let (found, expected) = (verdicts.len(), proposals.len());
            return Err(TrainError::Verdicts { found, expected });
        }
        let mut first = None;
        for (proposal, verdict) in proposals.iter().zip(&verdicts) {
            match verdict {
                Verdict::Value(value) if (0.0..=1.0).contains(value) => tally.judged += 1,
                Verdict::Value(value) => {
                    let row = proposal.row.clone();
                    return Err(TrainError::Verdict { row, value: *value });
                }
                Verdict::Failed(why) => {
                    tally.failed += 1;
                    first.get_or_insert_with(|| why.clone());
                }
            }
        }
        let limit = self.run.config.judge_failures();
        if tally.failed as f64 > limit * verdicts.len() as f64 {
            return Err(TrainError::JudgeFailures {
                failed: tally.failed,
                judged: verdicts.len(),
                limit,
                step: self.step + 1,
                first: first.unwrap_or_default(),
                kept: self.kept(),
            });
        }
        Ok(verdicts)
    }

    /// Runs one batch forward and backward and adds its gradients.
    fn learn(
        &self,
        batch: &SampleBatch<'_>,
        (states, drawn): (usize, &[Drawn]),
        assessed: &mut [Assessed],
        gradients: &mut Gradients,
        sums: &mut Sums,
        tally: &mut Tally,
    ) -> Result<(), TrainError> {
        let config = self.run.config;
        let loss = PolicyLoss::new(config);
        let log_probs = batch.log_probs(&self.decoder)?;
        let values: Vec<f32> = log_probs.to_vec1()?;
        let start = match &self.start_model {
            Some(start) => Some(batch.log_probs(start)?.to_vec1::<f32>()?),
            None => None,
        };
        let mut slopes = Vec::with_capacity(values.len());
        let mut at = 0;
        for state in batch.states {
            let mut samples = Vec::with_capacity(state.samples.len());
            for place in &state.samples {
                let part = at..at + drawn[*place].tokens.len();
                at = part.end;
                let now = &values[part.clone()];
                let start = start.as_ref().map(|start| &start[part]);
                samples.push(ActionLogProbs { weight: 0.0, now, start, divergence: None });
            }
            let worth = |place: &usize| assessed[*place].value.unwrap_or_default();
            let plain: Vec<f64> = state.samples.iter().map(worth).collect();
            tally.deviations.push(deviation(&plain));
            let penalised = plain
                .iter()
                .zip(&samples)
                .map(|(value, sample)| value - config.reward_divergence() * sample.log_ratio());
            let rewards: Vec<f64> = penalised.collect();
            let weights = advantages(config.baseline(), &rewards);
            let tokens = samples.iter().map(|sample| sample.now.len()).sum();
            // The mean over the state's samples, then over states.
            let counts = Counts { actions: samples.len() * states, tokens };
            for ((mut sample, place), (reward, weight)) in
                samples.into_iter().zip(&state.samples).zip(rewards.iter().zip(weights))
            {
                sample.weight = weight;
                assessed[*place].trained = Some((*reward, weight));
                let action = loss.of_action(sample, counts);
                let slope = action.derivatives.iter().map(|d| f64::from(*d)).sum::<f64>();
                if !action.loss.is_finite() || !slope.is_finite() {
                    return Err(self.not_finite(&drawn[*place], action.loss, slope));
                }
                sums.loss += action.loss;
                sums.divergence += sample.log_ratio();
                sums.add(&drawn[*place], sample.now, tally);
                slopes.extend(action.derivatives);
            }
        }
        sums.tokens += batch.packed.tokens.len() as u64;
        let slopes = Tensor::from_vec(slopes, log_probs.dims1()?, log_probs.device())?;
        self.collect(&(log_probs * slopes)?.sum_all()?, gradients)
    }

    fn not_finite(&self, drawn: &Drawn, loss: f64, slope: f64) -> TrainError {
        TrainError::LossNotFinite {
            row: row_of(drawn, &self.run.prepared.sequences).clone(),
            value: if loss.is_finite() { slope } else { loss },
            step: self.step + 1,
            kept: self.kept(),
        }
    }

    /// Judges the most probable action at each held-out state; returns whether the observer stops
    /// the run, and whether the model is the best so far.
    pub(in crate::train) fn evaluate_online(
        &mut self,
        online: &mut Online<'_>,
        observer: &mut (dyn Observer + Send),
    ) -> Result<(bool, bool), TrainError> {
        let mut stop = false;
        let mut rewards = Vec::new();
        for set in &self.run.prepared.held_out {
            let all: Vec<usize> = (0..set.sequences.len()).collect();
            let mut tally = Tally::default();
            let drawn = self.draw(&set.sequences, &all, &Draw::Greedy)?;
            self.assess(&drawn, &set.sequences, online, &mut tally)?;
            let sum: f64 =
                drawn.iter().flat_map(|sample| &sample.log_probs).map(|l| f64::from(*l)).sum();
            let event = Event::Evaluated {
                step: self.step,
                name: set.name.clone(),
                actions: drawn.len(),
                tokens: tally.tokens,
                loss: -sum / tally.tokens.max(1) as f64,
                log_prob: sum / drawn.len().max(1) as f64,
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

impl Sums {
    fn add(&mut self, drawn: &Drawn, now: &[f32], tally: &mut Tally) {
        let sum: f64 = now.iter().map(|l| f64::from(*l)).sum();
        self.log_prob += sum;
        self.actions += 1;
        self.action_tokens += now.len();
        tally.surprise.0 -= sum;
        tally.surprise.1 += now.len();
        for (now, sampled) in now.iter().zip(&drawn.log_probs) {
            tally.distance = tally.distance.max(f64::from((now - sampled).abs()));
        }
    }
}

fn row_of<'s>(drawn: &Drawn, sequences: &'s [Sequence]) -> &'s Row {
    &sequences[drawn.sequence].actions[drawn.state].row
}

/// Returns the states that have enough samples left, with them; the others are counted.
fn states(
    drawn: &[Drawn],
    assessed: &[Assessed],
    samples_min: usize,
    tally: &mut Tally,
) -> Vec<State> {
    let mut states: Vec<State> = Vec::new();
    let places: Vec<usize> = (0..drawn.len()).collect();
    let of = |place: &usize| (drawn[*place].sequence, drawn[*place].state);
    for samples in places.chunk_by(|a, b| of(a) == of(b)) {
        let (sequence, state) = of(&samples[0]);
        let left = samples.iter().copied().filter(|place| assessed[*place].value.is_some());
        let samples: Vec<usize> = left.collect();
        match samples.len() < samples_min {
            true => tally.dropped_states += 1,
            false => states.push(State { sequence, state, samples }),
        }
    }
    states
}

fn sample_report(drawn: &Drawn, assessed: Assessed, sequences: &[Sequence]) -> SampleReport {
    SampleReport {
        row: row_of(drawn, sequences).clone(),
        number: drawn.number,
        tokens: drawn.tokens.clone(),
        log_probs: drawn.log_probs.clone(),
        text: drawn.text.clone(),
        finish_reason: if drawn.ended { "stop" } else { "length" },
        verdict: assessed.verdict,
        malformed: assessed.malformed,
        failure: assessed.failure,
        reward: assessed.trained.map(|(reward, _)| reward),
        advantage: assessed.trained.map(|(_, advantage)| advantage),
    }
}
