//! What an evaluation measured: figures with their intervals, over all questions and over groups.

use std::collections::{BTreeMap, BTreeSet};

use super::measured::{Group, Measured};
use crate::score::{Estimate, Resampling, StatisticsError, bootstrap, wilson};
use crate::session::error::SessionError;

/// The share of cases in which an interval is to hold the true value.
pub(super) const LEVEL: f64 = 0.95;

/// A figure over a group of questions.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The group: `all`, `hops 3`, `type bridge`, `step 2`.
    pub group: String,
    /// What was measured: `exact_match`, `f1`, `precision`, `recall` (of numbers
    /// `numeric_equality`), `answered`, `calls`, `outcome@JUDGE`, `process@JUDGE`.
    pub metric: String,
    /// The questions of the group that have a value.
    pub questions: u64,
    /// The values: one of each episode; of a group of steps one of each step.
    pub values: u64,
    /// The figure with its interval of .95; an interval of one question has no width.
    pub estimate: Estimate,
    /// Where the interval comes from: `wilson`, `bootstrap`, or `none`.
    pub interval: &'static str,
}

/// What an evaluation measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluationSummary {
    /// The figures, group by group.
    pub measurements: Vec<Measurement>,
    /// The judges' columns, and how many steps or answers each left without a label.
    pub unlabelled: Vec<(String, u64)>,
}

impl EvaluationSummary {
    /// Returns the figures of trajectories; `labels` are the columns of judges that were asked.
    ///
    /// # Errors
    /// None that is known: stored values are finite.
    pub(super) fn of(
        measured: &[Measured],
        labels: &[String],
    ) -> Result<EvaluationSummary, SessionError> {
        let mut groups: BTreeMap<&Group, Vec<&Measured>> = BTreeMap::new();
        for one in measured {
            for group in &one.groups {
                groups.entry(group).or_default().push(one);
            }
        }
        let mut measurements = Vec::new();
        for (group, of) in groups {
            for metric in names(of.iter().copied()) {
                let values =
                    of.iter().filter_map(|one| Some((one.question.as_str(), one.value(&metric)?)));
                measurements.push(measurement(group, metric.clone(), values)?);
            }
        }
        let columns: BTreeSet<&String> = measured.iter().flat_map(|one| one.steps.keys()).collect();
        for column in columns {
            for (step, values) in by_step(measured, column) {
                let values = values.iter().copied();
                measurements.push(measurement(&Group::step(step), column.clone(), values)?);
            }
        }
        let unlabelled = labels.iter().map(|column| (column.clone(), missing(measured, column)));
        Ok(EvaluationSummary { measurements, unlabelled: unlabelled.collect() })
    }

    /// Returns the figures as metrics of the run: `exact_match`, `exact_match.low`,
    /// `hops 3/exact_match`, `step 2/process@world`.
    pub(super) fn metrics(&self) -> Vec<(String, f64)> {
        let mut metrics = Vec::new();
        for measurement in &self.measurements {
            let name = match measurement.group.as_str() {
                "all" => measurement.metric.clone(),
                group => format!("{group}/{}", measurement.metric),
            };
            let Estimate { value, low, high } = measurement.estimate;
            metrics.push((format!("{name}.low"), low));
            metrics.push((format!("{name}.high"), high));
            metrics.push((name, value));
        }
        metrics
    }
}

/// Returns the names of all figures in the order they are told.
pub(super) fn names<'a>(measured: impl Iterator<Item = &'a Measured>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut judged = BTreeSet::new();
    for (name, _) in measured.flat_map(|one| &one.values) {
        match name.contains('@') {
            true => _ = judged.insert(name),
            false if !names.contains(name) => names.push(name.clone()),
            false => {}
        }
    }
    names.extend(judged.into_iter().cloned());
    names
}

/// Returns the labels of a column by the number of their step, each with the question.
pub(super) fn by_step<'a>(
    measured: impl IntoIterator<Item = &'a Measured>,
    column: &str,
) -> BTreeMap<u32, Vec<(&'a str, f64)>> {
    let mut steps: BTreeMap<u32, Vec<(&str, f64)>> = BTreeMap::new();
    for one in measured {
        for (step, value) in one.steps.get(column).into_iter().flatten() {
            steps.entry(*step).or_default().push((&one.question, *value));
        }
    }
    steps
}

/// Returns how many steps, or answers, a column has no label of.
fn missing(measured: &[Measured], column: &str) -> u64 {
    let labelled = |one: &Measured| one.steps.get(column).map_or(0, Vec::len) as u64;
    match column.starts_with("process@") {
        true => measured.iter().map(|one| one.n_steps - labelled(one)).sum(),
        false => measured.iter().filter(|one| one.value(column).is_none()).count() as u64,
    }
}

fn measurement<'a>(
    group: &Group,
    metric: String,
    values: impl Iterator<Item = (&'a str, f64)> + Clone,
) -> Result<Measurement, SessionError> {
    let count = values.clone().count() as u64;
    let (questions, interval, estimate) =
        estimated(values).map_err(|error| SessionError::mistake("evaluate", error.to_string()))?;
    Ok(Measurement {
        group: group.to_string(),
        metric,
        questions,
        values: count,
        estimate,
        interval,
    })
}

/// Returns the mean of a figure: with Wilson's interval where it is 0 or 1 and every question has
/// one value, else with that of a bootstrap by question.
fn estimated<'a>(
    values: impl Iterator<Item = (&'a str, f64)> + Clone,
) -> Result<(u64, &'static str, Estimate), StatisticsError> {
    let count = values.clone().count() as u64;
    let questions: std::collections::HashSet<&str> = values.clone().map(|(q, _)| q).collect();
    let is_share = values.clone().all(|(_, value)| value == 0.0 || value == 1.0);
    if is_share && questions.len() as u64 == count {
        let successes = values.filter(|(_, value)| *value == 1.0).count() as u64;
        return Ok((count, "wilson", wilson(successes, count, LEVEL)?));
    }
    let number = questions.len() as u64;
    if number < 2 {
        let mean = values.map(|(_, value)| value).sum::<f64>() / count as f64;
        return Ok((number, "none", Estimate { value: mean, low: mean, high: mean }));
    }
    let drawn = Resampling { level: LEVEL, ..Resampling::default() };
    Ok((number, "bootstrap", bootstrap(values, drawn)?))
}
