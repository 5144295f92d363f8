//! From events of a run to what is stored of it.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use super::journal::Journal;
use super::request::RunConfig;
use crate::codec::{ExampleRecord, SampleRecord};
use crate::session::error::SessionError;
use crate::session::statement::{Session, Sink};
use crate::store::{Durability, SampleOf};
use crate::train::{Event, ExampleReport, Moment, SampleReport, StepReport};

/// Turns events into metrics, and hands them on.
pub(super) struct Recorder<'a, 'b> {
    session: &'a Session,
    run: &'a str,
    sink: &'b mut dyn Sink,
    journal: Journal,
    /// Samples of a state in an epoch, of an objective that samples.
    n: u64,
    /// The log-probability of each action under the start policy, where the objective needs it.
    reference: HashMap<(u64, u32), f64>,
    /// The mean negative log-probability of action tokens at each step that has some.
    pub(super) losses: Vec<f64>,
    /// The mean reward at each step, of an objective that samples.
    pub(super) rewards: Vec<f64>,
    /// Steps in which no token carried loss.
    pub(super) idle_steps: u64,
    /// The loss of each held-out set, first and last.
    pub(super) evaluations: BTreeMap<String, (f64, f64)>,
    /// What could not be stored.
    pub(super) failed: Option<SessionError>,
}

impl<'a, 'b> Recorder<'a, 'b> {
    /// Returns a recorder of a run that has stored nothing yet.
    pub(super) fn new(
        session: &'a Session,
        run: &'a str,
        journal: Journal,
        config: &RunConfig,
        sink: &'b mut dyn Sink,
    ) -> Recorder<'a, 'b> {
        Recorder {
            session,
            run,
            sink,
            journal,
            n: config.options.num_generations.unwrap_or(4),
            reference: HashMap::new(),
            losses: Vec::new(),
            rewards: Vec::new(),
            idle_steps: 0,
            evaluations: BTreeMap::new(),
            failed: None,
        }
    }
}

impl Recorder<'_, '_> {
    /// Stores an event and hands it on.
    pub(super) fn take(&mut self, event: &Event) -> ControlFlow<()> {
        if let Err(error) = self.store(event) {
            self.failed = Some(error);
            return ControlFlow::Break(());
        }
        let told = self.sink.train(event);
        if self.session.cancel().is_cancelled() { ControlFlow::Break(()) } else { told }
    }

    fn store(&mut self, event: &Event) -> Result<(), SessionError> {
        let store = self.session.database().store();
        match event {
            Event::Started { resumed_at, .. } => self.journal.begin(*resumed_at)?,
            Event::Step(step) => {
                match step.action_tokens {
                    0 => self.idle_steps += 1,
                    _ => self.losses.push(step.nll),
                }
                self.rewards.extend(step.reward());
                let metrics = of_step(step);
                store.put_metrics(self.run, step.step, &metrics)?;
                if step.log {
                    self.journal.write(step.step, &metrics)?;
                }
            }
            Event::Evaluated { step, name, loss, log_prob, metrics, .. } => {
                let of = self.evaluations.entry(name.clone()).or_insert((*loss, *loss));
                of.1 = *loss;
                let all = [("loss", *loss), ("log_prob", *log_prob)].into_iter();
                let all = all.chain(metrics.iter().copied());
                let named: Vec<(String, f64)> =
                    all.map(|(metric, value)| (format!("eval_{name}_{metric}"), value)).collect();
                let metrics: Vec<(&str, f64)> =
                    named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
                store.put_metrics(self.run, *step, &metrics)?;
                self.journal.write(*step, &metrics)?;
            }
            Event::Examples { epoch, step, moment, examples } => {
                let is_start = *moment == Moment::Step;
                let example = |report: &ExampleReport| {
                    let (key, log_prob) = (report.row.key, Some(report.log_prob));
                    let record = ExampleRecord {
                        weight: report.weight,
                        advantage: report.advantage,
                        tokens: report.tokens as u32,
                        training_step: *step,
                        log_prob_start: log_prob.filter(|_| is_start),
                        log_prob_end: log_prob.filter(|_| !is_start),
                        log_prob_reference: self.reference.get(&(key, report.row.step)).copied(),
                    };
                    let pair = report.pair.map_or(0, |pair| pair + 1);
                    ((key, report.row.step, pair), record)
                };
                let examples: Vec<_> = examples.iter().map(example).collect();
                store.put_examples(self.run, *epoch, &examples)?;
            }
            Event::StartPolicy { actions, .. } => {
                let sum = |values: &[f32]| values.iter().map(|l| f64::from(*l)).sum();
                let of = actions.iter().map(|(row, values)| ((row.key, row.step), sum(values)));
                self.reference.extend(of);
            }
            Event::Samples { epoch, step, samples } => {
                let all: Vec<_> =
                    samples.iter().map(|sample| drawn(sample, *epoch, *step, self.n)).collect();
                store.put_samples(self.run, &all, Durability::Later)?;
            }
            // What is played is not stored: it follows from weights and seed.
            Event::Episodes { .. } | Event::Checkpoint { .. } | Event::Finished(_) => {}
        }
        Ok(())
    }
}

/// Returns what is stored of a sample; `n` are drawn at a state in each epoch.
fn drawn(sample: &SampleReport, epoch: u64, step: u64, n: u64) -> (SampleOf, SampleRecord) {
    let SampleReport { row, number, .. } = sample;
    let number = epoch.saturating_mul(n).saturating_add(*number as u64);
    let record = SampleRecord {
        text: sample.text.clone(),
        tool: None,
        finish_reason: sample.finish_reason.to_owned(),
        malformed: sample.malformed.as_ref().map(|m| m.name().to_owned()),
        token_ids: sample.tokens.clone(),
        log_probs: sample.log_probs.clone(),
        verdict: sample.verdict,
        reward: sample.reward,
        advantage: sample.advantage,
        training_step: step,
        seed: 0,
    };
    ((row.key, row.step, u32::try_from(number).unwrap_or(u32::MAX)), record)
}

/// Returns what is stored of an optimiser step.
fn of_step(step: &StepReport) -> Vec<(&str, f64)> {
    let mut metrics = vec![
        ("loss", step.loss),
        ("nll", step.nll),
        ("kl", step.kl),
        ("clip_fraction", step.clip_fraction),
        ("grad_norm", step.grad_norm),
        ("learning_rate", step.learning_rate),
        ("epoch", step.epoch),
        ("num_tokens", step.tokens_seen as f64),
        ("tokens_per_s", step.tokens_per_s),
        ("data_ms", step.data.as_secs_f64() * 1e3),
    ];
    metrics.extend(step.metrics.iter().copied());
    metrics
}
