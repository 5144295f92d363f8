//! A training run on the screen: a live line, log lines, a sparkline at the end.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::console::{grouped, plural, say};
use crate::session::{RunAgain, TrainSummary, train_plan};
use crate::train::{Event, StepReport};

/// Shows the events of a run.
pub(super) struct TrainingView {
    bar: Option<ProgressBar>,
    resumed_at: u64,
}

impl TrainingView {
    pub fn new() -> TrainingView {
        TrainingView { bar: None, resumed_at: 0 }
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Started { plan, resumed_at } => {
                say(train_plan(plan, 0).trim_end());
                if *resumed_at > 0 {
                    say(&format!("going on behind step {resumed_at}"));
                }
                self.resumed_at = *resumed_at;
                if io::stderr().is_terminal() {
                    let bar = ProgressBar::new(plan.steps_total);
                    let style = ProgressStyle::with_template("{bar:20} step {pos}/{len}  {msg}");
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                    bar.set_position(*resumed_at);
                    self.bar = Some(bar);
                }
            }
            Event::Step(step) => self.step(step),
            Event::Evaluated { step, name, actions, loss, .. } => {
                let actions = plural(*actions as u64, "action", "actions");
                self.line(&format!("step {step}: held-out '{name}' loss {loss:.4} ({actions})"));
            }
            Event::Checkpoint { step, path } => {
                self.line(&format!("step {step}: checkpoint {}", path.display()));
            }
            // For tables, not for people to watch.
            Event::StartPolicy { .. }
            | Event::Examples { .. }
            | Event::Samples { .. }
            | Event::Episodes { .. } => {}
            Event::Finished(_) => self.end(),
        }
    }

    fn step(&mut self, step: &StepReport) {
        let done = step.step.saturating_sub(self.resumed_at).max(1);
        let left = step.steps_total.saturating_sub(step.step);
        let remaining = step.elapsed.mul_f64(left as f64 / done as f64);
        let reward = step.reward().map(|reward| format!("reward {reward:.3}  "));
        let text = format!(
            "loss {:.4}  nll {:.4}  {}lr {:.1e}  {} tokens/s  {} left",
            step.loss,
            step.nll,
            reward.unwrap_or_default(),
            step.learning_rate,
            grouped(step.tokens_per_s.round() as u64),
            duration(remaining)
        );
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.set_position(step.step);
            }
            None if step.log => say(&format!("step {}/{}  {text}", step.step, step.steps_total)),
            None => {}
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }

    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Prints what a run did.
pub(super) fn print_summary(summary: &TrainSummary) {
    for (name, values) in [("nll", &summary.losses), ("reward", &summary.rewards)] {
        if let (Some(first), Some(last)) = (values.first(), values.last()) {
            say(&format!("{name:<6} {first:.4} {} {last:.4}", sparkline(values, 60)));
        }
    }
    if summary.idle_steps > 0 {
        say(&format!(
            "{} taught nothing: all that was sampled at a state, or for a question, had one worth",
            plural(summary.idle_steps, "step", "steps")
        ));
    }
    for (name, before, after) in &summary.evaluations {
        let change = after - before;
        say(&format!("held-out '{name}'  {before:.4} → {after:.4}  ({change:+.4})"));
    }
    if summary.without_reward > 0 {
        let rows = plural(summary.without_reward, "row", "rows");
        say(&format!("left out: {rows} with a null reward"));
    }
    let steps = plural(summary.steps, "step", "steps");
    let (run, path) = (&summary.run, summary.checkpoint.display());
    match summary.complete {
        true => say(&format!("run '{run}' finished after {steps}: {path}")),
        false => say(&format!(
            "run '{run}' stopped after {steps}: {path}; TRAIN WITH (resume = true) AS {run} goes on"
        )),
    }
}

/// Prints how a run that was made again came out.
pub(super) fn print_rerun(again: &RunAgain) {
    let (run, numbers) = (&again.run, plural(again.numbers, "number", "numbers"));
    if !again.complete {
        say(&format!("run '{run}' was stopped: it is compared when it has finished"));
        return;
    }
    match &again.first_difference {
        None => say(&format!("run '{run}': {numbers} of metrics, all the same to the last bit")),
        Some((step, name, then, now)) => {
            let told = |value: &Option<f64>| {
                value.map_or_else(|| "not measured".to_owned(), |value| value.to_string())
            };
            let (then, now) = (told(then), told(now));
            say(&format!(
                "run '{run}': {name} differs from step {step} on: {then} then, {now} now"
            ));
        }
    }
    match again.same_weights {
        true => say("weights: the same, byte for byte"),
        false => say("weights: not the same"),
    }
    for (what, then, now) in &again.made_with {
        say(&format!("made with another {what}: {then} then, {now} now"));
    }
}

/// Returns the values as bars of eight heights, at most `width` of them, each the mean of its
/// share of the values.
pub(super) fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bars = values.len().min(width);
    let mean = |bar: usize| {
        let share = &values[bar * values.len() / bars..(bar + 1) * values.len() / bars];
        share.iter().sum::<f64>() / share.len() as f64
    };
    let means: Vec<f64> = (0..bars).map(mean).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scale = |v: &f64| if high > low { (v - low) / (high - low) } else { 0.5 };
    means.iter().map(|v| BARS[((scale(v) * 7.0).round() as usize).min(7)]).collect()
}

/// Returns a time as people say it: `42 s`, `3 min 05 s`, `2 h 10 min`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}
