//! What a rollout did, for people.

use super::console::{grouped, plural, say};
use crate::session::{JudgeSummary, Measurement, ResampleSummary, RolloutSummary};

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
    say(&format!("  {}", listed(&summary.endings())));
    say(&format!("  {}", listed(&summary.happenings())));
    if let Some(evaluation) = &summary.evaluation {
        print_measurements(&summary.run, &evaluation.measurements);
    }
    for (column, missing) in summary.evaluation.iter().flat_map(|of| &of.unlabelled) {
        if *missing > 0 {
            say(&format!("  {column}: {} without a label", grouped(*missing)));
        }
    }
    for judged in &summary.judged {
        print_judged(judged);
    }
    if let Some([markdown, html]) = &summary.report {
        say(&format!("wrote {} and {}", markdown.display(), html.display()));
    }
}

/// Prints every figure over all questions, and of groups the first, which says whether an answer is
/// right, and those of judges.
fn print_measurements(run: &str, measurements: &[Measurement]) {
    let Some(first) = measurements.first() else { return };
    let leads = |one: &&Measurement| one.metric == first.metric || one.metric.contains('@');
    let (shown, others): (Vec<&Measurement>, Vec<&Measurement>) =
        measurements.iter().partition(|one| one.group == "all" || leads(one));
    for measurement in shown {
        say(&line(measurement));
    }
    if !others.is_empty() {
        let run = run.replace('\'', "''");
        say(&format!("  all figures by group: FROM metrics |> WHERE run = '{run}'"));
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

fn line(measurement: &Measurement) -> String {
    let Measurement { group, metric, questions, estimate, interval, .. } = measurement;
    format!(
        "  {group:<16} {metric:<16} {:.3}  [{:.3}, {:.3}]  {interval}, {questions} questions",
        estimate.value, estimate.low, estimate.high
    )
}
