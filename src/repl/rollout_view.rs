//! What a rollout did, for people.

use super::console::{grouped, plural, say};
use crate::session::{Figure, JudgeSummary, ResampleSummary, RolloutSummary};

/// Prints what a rollout did, and what an evaluation measured.
pub(super) fn print(summary: &RolloutSummary) {
    let counts = &summary.counts;
    let mut told = format!(
        "run '{}': {} of {}",
        summary.run,
        plural(counts.episodes, "episode", "episodes"),
        plural(summary.questions, "question", "questions"),
    );
    if summary.earlier > 0 {
        told.push_str(&format!(", {} of them played before", grouped(summary.earlier)));
    }
    say(&told);
    let parts = [
        (counts.answered, "answered"),
        (counts.limit, "reached the limit"),
        (counts.error, "ended with an error"),
    ];
    say(&format!("  {}", listed(&parts)));
    let parts = [
        (counts.actions, "actions"),
        (counts.calls, "calls"),
        (counts.tool_errors, "errors of tools"),
        (counts.nothing_found, "found nothing"),
        (counts.repeated, "repeated calls"),
        (counts.no_action, "neither call nor answer"),
        (counts.both, "call and answer"),
        (counts.several, "several calls or answers"),
        (counts.unreadable, "unreadable"),
        (counts.cut, "cut off"),
        (counts.restored, "closing tags put back"),
    ];
    say(&format!("  {}", listed(&parts)));
    for figure in summary.report.iter().flat_map(|report| &report.figures) {
        say(&line(figure));
    }
}

/// Prints what was proposed at stored states.
pub(super) fn print_resampled(summary: &ResampleSummary) {
    let mut told = format!(
        "run '{}': {} at {}",
        summary.run,
        plural(summary.samples, "sample", "samples"),
        plural(summary.states, "state", "states"),
    );
    let parts = [
        (summary.earlier, "states had theirs before"),
        (summary.malformed, "samples are no actions"),
    ];
    if summary.earlier + summary.malformed > 0 {
        told.push_str(&format!(", {}", listed(&parts)));
    }
    say(&told);
}

/// Prints what a judge found.
pub(super) fn print_judged(summary: &JudgeSummary) {
    let mut told = format!("judge '{}': {}", summary.judge, summary.tally);
    if summary.earlier > 0 {
        told.push_str(&format!("\n{} had its label before", grouped(summary.earlier)));
    }
    say(&told);
    say(&format!("gave {}", plural(summary.added, "label", "labels")));
}

/// Returns the parts that are not zero.
fn listed(parts: &[(u64, &str)]) -> String {
    let told = parts.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> =
        told.map(|(count, what)| format!("{} {what}", grouped(*count))).collect();
    told.join(", ")
}

fn line(figure: &Figure) -> String {
    let Figure { group, metric, questions, estimate, interval } = figure;
    format!(
        "  {group:<16} {metric:<12} {:.3}  [{:.3}, {:.3}]  {interval}, {questions} questions",
        estimate.value, estimate.low, estimate.high
    )
}
