//! A training plan in words.

use std::fmt::Write as _;

use crate::train::{TokenLine, TrainConfig, TrainPlan};

/// Tokens listed of one row; the rest is told by number.
const TOKENS_LISTED: usize = 400;

/// Returns a plan as lines of text.
pub fn train_plan(plan: &TrainPlan, without_reward: u64) -> String {
    let mut out = String::new();
    let renderer = match &plan.renderer_reason {
        Some(reason) => format!("{} ({reason})", plan.renderer),
        None => plan.renderer.clone(),
    };
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<16} {value}");
    };
    line("renderer", renderer);
    line("rows", plan.rows.to_string());
    line("actions", plan.actions.to_string());
    if plan.pairs > 0 {
        line("pairs", plan.pairs.to_string());
    }
    line("sequences", format!("{} (longest {} tokens)", plan.sequences, plan.longest));
    line("tokens", format!("{}, {} of them in actions", plan.tokens, plan.action_tokens));
    line("optimiser steps", plan.steps_total.to_string());
    let counts = [
        ("truncated", plan.truncated as u64, "rows lost turns at the start to fit"),
        ("dropped", plan.dropped as u64, "rows are too long"),
        ("apart", plan.apart as u64, "sequences hold a step whose state is no prefix"),
        ("zero weight", plan.zero_weight as u64, "rows weigh nothing"),
        ("no baseline", plan.no_baseline as u64, "rows have no other answer to compare with"),
        ("no reward", without_reward, "rows have a null reward"),
        ("stored tokens", plan.stored_tokens as u64, "rows use the token ids of their source"),
        (
            "respelled",
            plan.respelled as u64,
            "rows have characters in their state that the \
         tokenizer does not have",
        ),
        ("cached", plan.cached as u64, "trajectories were tokenised before"),
    ];
    for (name, count, meaning) in counts.into_iter().filter(|(_, count, _)| *count > 0) {
        line(name, format!("{count} {meaning}"));
    }
    // Why the template was passed over stands beside the renderer already.
    let told = |w: &&String| plan.renderer_reason.as_ref().is_none_or(|r| !w.contains(r.as_str()));
    for warning in plan.warnings.iter().filter(told) {
        line("warning", warning.clone());
    }
    out
}

/// Returns how episodes are played and trained on, as lines of text; `played` are lines of how they
/// go, by name.
pub fn episode_plan(config: &TrainConfig, played: &[(&'static str, String)]) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<16} {value}");
    };
    let (questions, samples) = (config.questions_together(), config.generations());
    let steps = config.iterations();
    let generation = format!(
        "{questions} questions, {samples} trajectories of each, {steps} optimiser step{} on them",
        if steps == 1 { "" } else { "s" }
    );
    line("generation", &generation);
    played.iter().for_each(|(name, value)| line(name, value));
    let word = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let loss = word(serde_json::to_value(config.loss()));
    let scaling = word(serde_json::to_value(config.scaling()));
    let beta = config.group_divergence();
    line("loss", &format!("{loss}, scale_rewards = {scaling}, beta = {beta}"));
    out
}

/// Returns one row token by token: position, id, text, and the weight where it carries loss.
pub fn token_listing(row: &str, lines: &[TokenLine]) -> String {
    let mut out = format!("\n{row}, token by token:\n");
    let skipped = lines.len().saturating_sub(TOKENS_LISTED);
    if skipped > 0 {
        let _ = writeln!(out, "  ... {skipped} tokens before");
    }
    for line in lines.iter().skip(skipped) {
        let text = line.text.replace('\n', "\\n");
        let loss = match line.action {
            Some((step, weight)) => format!("  step {step}, weight {weight}"),
            None => String::new(),
        };
        let _ = writeln!(out, "  {:>6} {:>7}  {text:<24}{loss}", line.position, line.token);
    }
    out
}
