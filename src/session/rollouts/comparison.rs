//! `DIFF RUNS a b` of two evaluations: what they were made with, and how they did on the questions
//! that both were asked.
//!
//! ```text
//!   a, b -> trajectories -> measured -> by question -> asked in both ─┬─ means, paired bootstrap
//!                                            |                        ├─ flips, McNemar
//!                                            '─ in one only: counted  '─ labels by step
//! ```
//! Several samples of a question are one value, their mean: what varies is the question.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::comparison_rows::{Row, show};
use super::measured::{AnswerMetric, Group, Measured, measured};
use super::summary::{LEVEL, by_step, names};
use crate::codec::{RunRecord, RunStatus};
use crate::diag::list_some;
use crate::model::GOOD_ABOVE;
use crate::query::Scope;
use crate::rollout::Counts;
use crate::score::{Resampling, StatisticsError, mcnemar, paired_bootstrap};
use crate::session::config_file::quoted;
use crate::session::error::SessionError;
use crate::session::select::{only_query, select};
use crate::session::statement::{Outcome, Session, Sink};
use crate::session::training::differing_fields;

/// Compares two evaluations.
///
/// # Errors
/// One has not finished, or its config cannot be read; what the disk says; `Cancelled`.
pub(in crate::session) fn compare(
    session: &Session,
    a: &RunRecord,
    b: &RunRecord,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let mut rows = settings(a, b);
    let (mut first, mut second) = (Side::of(session, a)?, Side::of(session, b)?);
    if first.metric != second.metric {
        first.name_metric();
        second.name_metric();
    }
    let paired = Paired::of(&first, &second);
    rows.push(method());
    rows.extend(paired.questions());
    rows.extend(paired.metrics(session)?);
    rows.extend(paired.flips());
    rows.extend(paired.steps());
    rows.extend(counts(a, b));
    show(&rows, sink)
}

/// Says in what the statements differ, and what the runs were made with.
fn settings(a: &RunRecord, b: &RunRecord) -> Vec<Row> {
    let config =
        |run: &RunRecord| -> Value { serde_json::from_str(&run.config).unwrap_or_default() };
    let (config_a, config_b) = (config(a), config(b));
    let mut rows = Vec::new();
    if a.statement != b.statement {
        rows.push(Row::texts("statement", "", [a.statement.clone(), b.statement.clone()]));
    }
    for (what, part) in [("option", "options"), ("made with", "pinned")] {
        for (name, values) in differing_fields(&config_a[part], &config_b[part]) {
            rows.push(Row::texts(what, &name, values));
        }
    }
    rows
}

/// Says how figures are compared.
fn method() -> Row {
    let Resampling { seed, resamples, .. } = drawn();
    let note = format!(
        "b less a by question, the samples of a question averaged; percentile interval of {LEVEL} \
         and two-sided p from {resamples} resamples of the questions, seed {seed}; p of 'flipped' \
         is McNemar's, exact; no p is adjusted for how many there are"
    );
    Row::texts("method", "paired bootstrap", [String::new(), String::new()]).note(note)
}

fn drawn() -> Resampling {
    Resampling { level: LEVEL, ..Resampling::default() }
}

/// Says what happened in the episodes of both.
fn counts(a: &RunRecord, b: &RunRecord) -> Vec<Row> {
    let of = |run: &RunRecord| -> BTreeMap<String, u64> {
        let output = run.output.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let counts: Counts = output.unwrap_or_default();
        let told = serde_json::to_value(counts).unwrap_or_default();
        serde_json::from_value(told).unwrap_or_default()
    };
    let (of_a, of_b) = (of(a), of(b));
    of_a.iter()
        .map(|(name, count)| Row::counted("count", name, "all", [*count, of_b[name]]))
        .collect()
}

/// One of two evaluations.
struct Side {
    metric: AnswerMetric,
    questions: BTreeMap<String, Vec<Measured>>,
}

impl Side {
    fn of(session: &Session, run: &RunRecord) -> Result<Side, SessionError> {
        let wrong = |message: String| SessionError::mistake("run", message);
        let name = &run.id;
        if run.status != RunStatus::Finished {
            let status = run.status.as_str();
            return Err(wrong(format!(
                "evaluation '{name}' is {status} and has not finished: its statement, given again, \
                 goes on with it"
            )));
        }
        let config: Value = serde_json::from_str(&run.config)
            .map_err(|e| wrong(format!("the options of run '{name}' cannot be read: {e}")))?;
        let metric = serde_json::from_value(config["options"]["metric"].clone());
        let metric: AnswerMetric =
            metric.map_err(|e| wrong(format!("the metric of run '{name}' cannot be read: {e}")))?;
        let ordinals = ordinals(session, name)?;
        if ordinals.is_empty() {
            return Err(wrong(format!("there is no trajectory of evaluation '{name}'")));
        }
        let view = session.database().view();
        let mut questions: BTreeMap<String, Vec<Measured>> = BTreeMap::new();
        for one in measured(&view, &ordinals, metric, None)? {
            questions.entry(one.question.clone()).or_default().push(one);
        }
        Ok(Side { metric, questions })
    }

    /// Calls the figures of answers by the script that they are of: those of two scripts are not
    /// the same figure.
    fn name_metric(&mut self) {
        for one in self.questions.values_mut().flatten() {
            for (name, _) in &mut one.values {
                if !name.contains('@') && !["answered", "calls"].contains(&name.as_str()) {
                    *name = format!("{name}@{}", self.metric.name());
                }
            }
        }
    }

    fn samples(&self, question: &str) -> &[Measured] {
        self.questions.get(question).map_or(&[], Vec::as_slice)
    }

    /// Returns the mean of a figure over the samples of a question.
    fn value(&self, question: &str, metric: &str) -> Option<f64> {
        mean(self.samples(question).iter().filter_map(|one| one.value(metric)))
    }

    /// Returns the groups of a question.
    fn groups(&self, question: &str) -> BTreeSet<Group> {
        self.samples(question).first().map(|one| one.groups.clone()).unwrap_or_default()
    }

    /// Returns the tools that any sample of a question calls, as words.
    fn tools(&self, question: &str) -> String {
        let tools: BTreeSet<&str> =
            self.samples(question).iter().flat_map(|one| &one.tools).map(String::as_str).collect();
        match tools.is_empty() {
            true => "none".to_owned(),
            false => tools.into_iter().collect::<Vec<_>>().join(", "),
        }
    }

    /// Whether most samples of a question are right.
    fn is_right(&self, question: &str) -> bool {
        let right = self.value(question, self.metric.rightness());
        right.is_some_and(|right| right > GOOD_ABOVE)
    }
}

/// Returns the places of the trajectories of a run.
fn ordinals(session: &Session, run: &str) -> Result<Vec<u64>, SessionError> {
    let name = quoted(run, '\'');
    let text = format!("FROM trajectories |> WHERE source = {name} AND run_id = {name}");
    let statements = session.parse(&text)?;
    let query = only_query(&statements, "DIFF RUNS")?;
    let view = session.database().view();
    let parameters = &session.parameters();
    let (database, cancel) = (session.database(), session.cancel());
    let scope = Scope { database, view: &view, cancel, text: &text, parameters };
    Ok(select(session, &scope, query, None)?.rows.iter().map(|row| row.trajectory).collect())
}

/// Two evaluations, and the questions that both were asked.
struct Paired<'a> {
    a: &'a Side,
    b: &'a Side,
    both: Vec<&'a str>,
    /// Questions of one identifier that ask something else, or accept another answer.
    unlike: Vec<&'a str>,
}

impl<'a> Paired<'a> {
    fn of(a: &'a Side, b: &'a Side) -> Paired<'a> {
        let asked = |side: &Side, question: &str| -> BTreeSet<[u8; 32]> {
            side.samples(question).iter().map(|one| one.asked).collect()
        };
        let named_in_both = a.questions.keys().map(String::as_str);
        let named_in_both = named_in_both.filter(|question| b.questions.contains_key(*question));
        let (both, unlike) =
            named_in_both.partition(|question| asked(a, question) == asked(b, question));
        Paired { a, b, both, unlike }
    }

    /// Says which questions are compared.
    fn questions(&self) -> Vec<Row> {
        let only = |one: &'a Side, other: &Side| -> Vec<&'a str> {
            let names = one.questions.keys().map(String::as_str);
            names.filter(|question| !other.questions.contains_key(*question)).collect()
        };
        let (only_a, only_b) = (only(self.a, self.b), only(self.b, self.a));
        let counted = |name: &str, a: usize, b: usize| {
            Row::counted("questions", name, "all", [a as u64, b as u64])
        };
        let both = self.both.len();
        let mut rows = vec![
            counted("asked in both", both, both),
            counted("asked in one only", only_a.len(), only_b.len())
                .note(listed(&[("a", &only_a), ("b", &only_b)])),
        ];
        if !self.unlike.is_empty() {
            let unlike = self.unlike.len();
            let note = format!(
                "not compared: what is asked, or what is accepted as right, is not the same: {}",
                list_some(self.unlike.iter().copied())
            );
            rows.push(counted("one identifier, two questions", unlike, unlike).note(note));
        }
        rows
    }

    /// Returns the compared questions of every group that they are in on both sides.
    fn groups(&self) -> BTreeMap<Group, Vec<&'a str>> {
        let mut groups: BTreeMap<Group, Vec<&str>> = BTreeMap::from([(Group::all(), Vec::new())]);
        for question in &self.both {
            for group in self.a.groups(question).intersection(&self.b.groups(question)) {
                groups.entry(group.clone()).or_default().push(question);
            }
        }
        groups
    }

    fn all(&self) -> impl Iterator<Item = &'a Measured> {
        self.a.questions.values().chain(self.b.questions.values()).flatten()
    }

    /// Compares every figure over all questions, and over each group.
    fn metrics(&self, session: &Session) -> Result<Vec<Row>, SessionError> {
        let groups = self.groups();
        let metrics = names(self.all());
        let progress = session.progress();
        progress.begin("comparing", (metrics.len() * groups.len()) as u64);
        let mut rows = Vec::new();
        for metric in &metrics {
            for (group, questions) in &groups {
                if session.cancel().is_cancelled() {
                    return Err(SessionError::Cancelled);
                }
                rows.push(self.metric(metric, group, questions)?);
                progress.advance(1);
            }
        }
        Ok(rows)
    }

    fn metric(&self, metric: &str, group: &Group, of: &[&'a str]) -> Result<Row, SessionError> {
        let values = |side: &Side| -> BTreeMap<&'a str, f64> {
            of.iter().filter_map(|q| Some((*q, side.value(q, metric)?))).collect()
        };
        let (mut a, mut b) = (values(self.a), values(self.b));
        let group = group.to_string();
        let row = |a: &BTreeMap<&'a str, f64>, b: &BTreeMap<&'a str, f64>| {
            let means = [a, b].map(|of| mean(of.values().copied()));
            Row::means("metric", metric, &group, means).over([a.len(), b.len()])
        };
        let side = match (a.is_empty(), b.is_empty()) {
            (false, false) => None,
            (true, true) if of.is_empty() => Some("no question is asked in both".to_owned()),
            (true, true) => Some("no question that is asked in both has a value".to_owned()),
            (true, false) => Some(self.absent(self.a, "a", metric)),
            (false, true) => Some(self.absent(self.b, "b", metric)),
        };
        if let Some(why) = side {
            return Ok(row(&a, &b).note(format!("not compared: {why}")));
        }
        let lacking = |one: &BTreeMap<&'a str, f64>, other: &BTreeMap<&'a str, f64>| {
            one.keys().filter(|question| !other.contains_key(*question)).count()
        };
        let left = [(lacking(&a, &b), "b"), (lacking(&b, &a), "a")];
        let left = left.into_iter().filter(|(count, _)| *count > 0);
        let left: Vec<String> =
            left.map(|(count, side)| format!("{count} left out: no value in {side}")).collect();
        a.retain(|question, _| b.contains_key(question));
        b.retain(|question, _| a.contains_key(question));
        let both = row(&a, &b);
        let pairs = |of: &BTreeMap<&'a str, f64>| -> Vec<(&'a str, f64)> {
            of.iter().map(|(question, value)| (*question, *value)).collect()
        };
        let (first, second) = (pairs(&a), pairs(&b));
        let compared = paired_bootstrap(first.iter().copied(), second.iter().copied(), drawn());
        let mut notes = left;
        let row = match compared {
            Ok(comparison) => both.compared(comparison),
            Err(StatisticsError::TooFew { found }) => {
                let plural = if found == 1 { "one question" } else { "no question" };
                notes.push(format!("{plural} has a value in both: an interval takes two"));
                match (first.first(), second.first()) {
                    (Some((_, a)), Some((_, b))) => both.apart(b - a),
                    _ => both,
                }
            }
            Err(error) => return Err(SessionError::mistake("run", error.to_string())),
        };
        Ok(row.note(notes.join("; ")))
    }

    /// Says why a side has no value of a figure.
    fn absent(&self, side: &Side, name: &str, metric: &str) -> String {
        let is_measured = side.questions.values().flatten().any(|one| one.value(metric).is_some());
        match metric.split_once('@') {
            _ if is_measured => format!("{name} has no value for these questions"),
            Some((label @ ("process" | "outcome"), judge)) => {
                format!("{name} has no label '{label}' of judge '{judge}'")
            }
            Some(_) => format!("{name} was measured by '{}'", side.metric.name()),
            None => format!("{name} has no value"),
        }
    }

    /// Counts questions that are right in one and wrong in the other.
    fn flips(&self) -> Vec<Row> {
        let name = self.a.metric.rightness();
        if self.a.metric != self.b.metric {
            let note = format!(
                "not counted: answers are right by '{}' in a, and by '{}' in b",
                self.a.metric.name(),
                self.b.metric.name()
            );
            let none = [String::new(), String::new()];
            return vec![Row::texts("flipped", name, none).note(note)];
        }
        let mut groups: Vec<(String, Vec<&str>)> =
            self.groups().into_iter().map(|(group, of)| (group.to_string(), of)).collect();
        for (side, name) in [(self.a, "a"), (self.b, "b")] {
            let mut by_tools: BTreeMap<String, Vec<&str>> = BTreeMap::new();
            for question in &self.both {
                by_tools.entry(side.tools(question)).or_default().push(question);
            }
            let named =
                by_tools.into_iter().map(|(tools, of)| (format!("{name} calls {tools}"), of));
            groups.extend(named);
        }
        let flip = |(group, of): (String, Vec<&str>)| {
            let of_kind = |a: bool, b: bool| -> Vec<&str> {
                let is_so = |question: &&&str| {
                    self.a.is_right(question) == a && self.b.is_right(question) == b
                };
                of.iter().filter(is_so).copied().collect()
            };
            let (only_a, only_b) = (of_kind(true, false), of_kind(false, true));
            let counts = [&only_a, &only_b].map(|of| of.len() as u64);
            let same = format!(
                "right in both {}, in neither {}",
                of_kind(true, true).len(),
                of_kind(false, false).len()
            );
            let ids = listed(&[("right in a only", &only_a), ("right in b only", &only_b)]);
            let notes = [same, ids].into_iter().filter(|note| !note.is_empty());
            Row::counted("flipped", name, &group, counts)
                .over([of.len(), of.len()])
                .p_value(mcnemar(counts[0], counts[1]))
                .note(notes.collect::<Vec<_>>().join("; "))
        };
        groups.into_iter().map(flip).collect()
    }

    /// Puts the labels of steps of both beside each other, by the step's number, over the questions
    /// that both were asked.
    fn steps(&self) -> Vec<Row> {
        let columns: BTreeSet<&String> = self.all().flat_map(|one| one.steps.keys()).collect();
        let of_both = |side: &'a Side| -> Vec<&'a Measured> {
            self.both.iter().flat_map(|question| side.samples(question)).collect()
        };
        let (of_a, of_b) = (of_both(self.a), of_both(self.b));
        let mut rows = Vec::new();
        for column in columns {
            let sides = [&of_a, &of_b].map(|of| by_step(of.iter().copied(), column));
            let numbers: BTreeSet<u32> = sides.iter().flat_map(|of| of.keys()).copied().collect();
            for step in numbers {
                let values = |of: &BTreeMap<u32, Vec<(&str, f64)>>| -> Vec<f64> {
                    of.get(&step).into_iter().flatten().map(|(_, value)| *value).collect()
                };
                let values = [values(&sides[0]), values(&sides[1])];
                let means = [0, 1].map(|side: usize| mean(values[side].iter().copied()));
                let group = Group::step(step).to_string();
                let absent = ["a", "b"].into_iter().zip(&means).filter(|(_, m)| m.is_none());
                let absent: Vec<String> =
                    absent.map(|(side, _)| format!("no label of this step in {side}")).collect();
                let row = Row::means("by step", column, &group, means);
                let row = row.over([values[0].len(), values[1].len()]);
                rows.push(row.note(absent.join("; ")));
            }
        }
        rows
    }
}

/// Returns the mean, `None` of nothing.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// Returns lists of questions with what they are called, those that are not empty.
fn listed(lists: &[(&str, &Vec<&str>)]) -> String {
    let told = lists.iter().filter(|(_, questions)| !questions.is_empty());
    let told: Vec<String> = told
        .map(|(name, questions)| format!("{name}: {}", list_some(questions.iter().copied())))
        .collect();
    told.join("; ")
}
