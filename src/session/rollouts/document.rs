//! The report of an evaluation: what was measured, what happened, what it was made with.

use serde_json::Value;

use super::run::RolloutSummary;
use super::summary::{EvaluationSummary, Measurement};
use crate::plot::Series;
use crate::report::{Cell, Column, Figure, Kind, Measured, Report, ReportError, Section, Table};
use crate::score::Resampling;
use crate::session::error::SessionError;
use crate::session::training::flat;

/// Digits behind the point of shares.
const DIGITS: usize = 3;

/// What all figures share.
const READING: &str = "Shares are means over questions, several samples of a question taken \
                       together first, with an interval of .95: Wilson's where every question has \
                       one value that is 0 or 1, else that of a bootstrap that draws whole \
                       questions. An interval says nothing of a difference from another \
                       evaluation: DIFF RUNS compares two by question.";

/// Figures that are no verdict on an answer.
const COURSE: [&str; 2] = ["answered", "calls"];

/// Returns the report of an evaluation with this result, made by a statement with this config.
///
/// # Errors
/// None that is known: every row has a cell for each column.
pub(super) fn document(
    summary: &RolloutSummary,
    statement: &str,
    config: &Value,
) -> Result<Report, SessionError> {
    let mut report = Report::new(format!("Evaluation '{}'", summary.run));
    let failed = |e: ReportError| SessionError::mistake("report", e.to_string());
    if let Some(evaluation) = &summary.evaluation {
        report = report.section(answers(evaluation).map_err(failed)?);
        if process_columns(evaluation).next().is_some() {
            report = report.section(steps(evaluation).map_err(failed)?);
        }
        report = report.section(course(summary, evaluation).map_err(failed)?);
    }
    Ok(report.section(made(summary, statement, config)))
}

/// Returns the metrics of judges of steps.
fn process_columns(evaluation: &EvaluationSummary) -> impl Iterator<Item = &str> {
    evaluation.unlabelled.iter().map(|(column, _)| column.as_str()).filter(|c| is_process(c))
}

fn is_process(metric: &str) -> bool {
    metric.starts_with("process@")
}

fn is_step(measurement: &Measurement) -> bool {
    measurement.group.starts_with("step ")
}

/// Returns the groups of questions, in their order.
fn groups(evaluation: &EvaluationSummary) -> Vec<&str> {
    let mut groups: Vec<&str> = Vec::new();
    for measurement in evaluation.measurements.iter().filter(|one| !is_step(one)) {
        if !groups.contains(&measurement.group.as_str()) {
            groups.push(&measurement.group);
        }
    }
    groups
}

fn found<'a>(
    evaluation: &'a EvaluationSummary,
    group: &str,
    metric: &str,
) -> Option<&'a Measurement> {
    evaluation.measurements.iter().find(|one| one.group == group && one.metric == metric)
}

fn estimate(evaluation: &EvaluationSummary, group: &str, metric: &str) -> Cell {
    found(evaluation, group, metric).map_or(Cell::Missing, |one| Cell::Estimate(one.estimate))
}

/// Returns a metric's name as a heading has it.
fn heading(metric: &str) -> String {
    metric.replace('_', " ")
}

/// Returns a table of metrics by group of questions; questions and episodes are those that have a
/// value of `counted`.
fn by_group(
    evaluation: &EvaluationSummary,
    (caption, counted): (&str, &str),
    metrics: &[(&str, Kind)],
) -> Result<Table, ReportError> {
    let first = [
        Column::new("group", Kind::Text),
        Column::new("questions", Kind::Number { digits: 0 }),
        Column::new("episodes", Kind::Number { digits: 0 }),
    ];
    let others = metrics.iter().map(|(metric, kind)| Column::new(heading(metric), *kind));
    let mut table = Table::new(caption, first.into_iter().chain(others));
    for group in groups(evaluation) {
        let episodes = found(evaluation, group, counted);
        let count = |of: fn(&Measurement) -> u64| Cell::from(episodes.map(|one| of(one) as f64));
        let counts = [Cell::from(group), count(|one| one.questions), count(|one| one.values)];
        let estimates = metrics.iter().map(|(metric, _)| estimate(evaluation, group, metric));
        table.push(counts.into_iter().chain(estimates))?;
    }
    Ok(table)
}

/// Says how good answers are.
fn answers(evaluation: &EvaluationSummary) -> Result<Section, ReportError> {
    let of_all = evaluation.measurements.iter().filter(|one| one.group == "all");
    let mut metrics: Vec<&str> = of_all
        .map(|one| one.metric.as_str())
        .filter(|metric| !COURSE.contains(metric) && !is_process(metric))
        .collect();
    // A judge that labelled no answer has a column all the same.
    for (column, _) in evaluation.unlabelled.iter().filter(|(column, _)| !is_process(column)) {
        if !metrics.contains(&column.as_str()) {
            metrics.push(column);
        }
    }
    let columns: Vec<(&str, Kind)> =
        metrics.iter().map(|metric| (*metric, Kind::Share { digits: DIGITS })).collect();
    let mut section = Section::new("Answers").paragraph(READING);
    section = section.table(by_group(evaluation, ("Answers", COURSE[0]), &columns)?);
    for (column, missing) in evaluation.unlabelled.iter().filter(|(c, _)| !is_process(c)) {
        section = section.paragraph(format!("{column}: {missing} answers have no label."));
    }
    let Some(rightness) = metrics.first() else { return Ok(section) };
    let rows = groups(evaluation).into_iter().filter_map(|group| {
        let one = found(evaluation, group, rightness)?;
        Some(Measured::new(group, "", one.estimate))
    });
    let name = heading(rightness);
    Ok(section.figure(Figure::intervals(format!("{name} by group"), &name, rows)))
}

/// Says how good steps are, as judges see them.
fn steps(evaluation: &EvaluationSummary) -> Result<Section, ReportError> {
    let mut section = Section::new("Steps").paragraph(
        "The mean label of a trajectory's steps, then over samples and questions; and the mean \
         label of all steps of a number, over the trajectories that are so long.",
    );
    for (column, missing) in evaluation.unlabelled.iter().filter(|(c, _)| is_process(c)) {
        let share = [(column.as_str(), Kind::Share { digits: DIGITS })];
        let caption = ("Mean label of steps, of episodes with a label", column.as_str());
        section = section.table(by_group(evaluation, caption, &share)?);
        section = section.paragraph(format!("{column}: {missing} steps have no label."));
        let mut table = Table::new(
            format!("{column} by step"),
            [
                Column::new("step", Kind::Text),
                Column::new("questions", Kind::Number { digits: 0 }),
                Column::new("steps", Kind::Number { digits: 0 }),
                Column::new("mean label", Kind::Share { digits: DIGITS }),
            ],
        );
        let mut points = Vec::new();
        let of_steps = evaluation.measurements.iter().filter(|one| is_step(one));
        for one in of_steps.filter(|one| one.metric == *column) {
            let number = one.group.trim_start_matches("step ");
            points.extend(number.parse().ok().map(|step: f64| (step, one.estimate.value)));
            let counts = [one.questions, one.values].map(|count| Cell::from(count as f64));
            let [questions, values] = counts;
            table.push([Cell::from(number), questions, values, Cell::Estimate(one.estimate)])?;
        }
        if points.is_empty() {
            continue;
        }
        let lines = [Series { name: String::new(), points }];
        let title = format!("{column} by step");
        section = section.table(table).figure(Figure::lines(title, "step", "mean label", lines));
    }
    Ok(section)
}

/// Says how episodes went.
fn course(
    summary: &RolloutSummary,
    evaluation: &EvaluationSummary,
) -> Result<Section, ReportError> {
    let kinds = [Kind::Share { digits: DIGITS }, Kind::Estimate { digits: 2 }];
    let metrics: Vec<(&str, Kind)> = COURSE.into_iter().zip(kinds).collect();
    let caption = "Episodes that were answered, and calls in each";
    let table = by_group(evaluation, (caption, COURSE[0]), &metrics)?;
    let columns =
        [Column::new("what", Kind::Text), Column::new("times", Kind::Number { digits: 0 })];
    let mut counts = Table::new("What happened in all episodes", columns);
    let episodes = (summary.counts.episodes, "episodes");
    for (count, what) in [episodes].into_iter().chain(summary.endings()).chain(summary.happenings())
    {
        counts.push([Cell::from(what), Cell::from(count as f64)])?;
    }
    Ok(Section::new("Episodes").table(table).table(counts))
}

/// Says what it was made with.
fn made(summary: &RolloutSummary, statement: &str, config: &Value) -> Section {
    let drawn = Resampling::default();
    let mut facts = vec![
        ("run".to_owned(), summary.run.clone()),
        ("statement".to_owned(), statement.to_owned()),
        ("bootstrap".to_owned(), format!("{} resamples, seed {}", drawn.resamples, drawn.seed)),
    ];
    for part in ["pinned", "options"] {
        facts.extend(flat(&config[part]).into_iter().filter(|(_, value)| !value.is_empty()));
    }
    Section::new("How it was made").facts(facts)
}
