//! `DIFF RUNS a b`: in what two training runs differ: options, what they were made with, data, and
//! every metric.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::request::RunConfig;
use crate::codec::{DatasetRecord, RunRecord};
use crate::diag::hexadecimal;
use crate::session::datasets::differing;
use crate::session::error::SessionError;
use crate::session::listing::list;
use crate::session::statement::{Outcome, Session, Sink};
use crate::session::verification::counts;
use crate::store::Store;

/// Metrics that say how fast a machine was, and nothing of the run.
const TIMES: [&str; 2] = ["tokens_per_s", "data_ms"];

/// A line of the comparison: what it speaks of, which one, both values, and what else is to be
/// said.
type Line = [String; 5];

/// The values of a run's metrics, by name and step.
pub(super) type Metrics = BTreeMap<String, BTreeMap<u64, f64>>;

/// Compares two training runs.
///
/// # Errors
/// What the disk says.
pub(in crate::session) fn diff(
    session: &Session,
    a: &RunRecord,
    b: &RunRecord,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let store = session.database().store();
    let mut lines = Vec::new();
    for (what, name, values) in [
        ("status", "", [a.status.as_str(), b.status.as_str()].map(str::to_owned)),
        ("statement", "", [a.statement.clone(), b.statement.clone()]),
    ] {
        push(&mut lines, what, name, values, "");
    }
    options(&mut lines, a, b)?;
    data(session, &mut lines, [a, b])?;
    metrics(&mut lines, &collected(store, &a.id)?, &collected(store, &b.id)?);
    if lines.is_empty() {
        sink.note("the runs have the same options, data and metrics, to the last bit");
    }
    list(sink, ["what", "name", "a", "b", "note"], lines)
}

/// Adds a line if the values differ.
fn push(lines: &mut Vec<Line>, what: &str, name: &str, [a, b]: [String; 2], note: &str) {
    if a != b {
        lines.push([what.to_owned(), name.to_owned(), a, b, note.to_owned()]);
    }
}

/// Compares what the runs were asked for, and what they were made with.
fn options(lines: &mut Vec<Line>, a: &RunRecord, b: &RunRecord) -> Result<(), SessionError> {
    let flat = |run: &RunRecord| -> Result<_, SessionError> {
        let config = RunConfig::stored(&run.id, &run.config)?;
        let own = serde_json::json!({
            "model": config.model,
            "revision": config.revision,
            "reward": config.reward,
            "eval_dataset": config.eval_dataset,
            "device": config.device,
            "judge": config.judge,
        });
        let options = serde_json::to_value(&config.options).unwrap_or_default();
        Ok(([own, options], config.pinned))
    };
    let ((options_a, pinned_a), (options_b, pinned_b)) = (flat(a)?, flat(b)?);
    for (a, b) in options_a.iter().zip(&options_b) {
        fields(lines, "option", a, b);
    }
    fields(lines, "made with", &pinned_a, &pinned_b);
    Ok(())
}

/// Compares the fields of two objects.
fn fields(lines: &mut Vec<Line>, what: &str, a: &Value, b: &Value) {
    for (name, values) in differing_fields(a, b) {
        push(lines, what, &name, values, "");
    }
}

/// Returns the fields of two objects that differ, with both values as texts.
pub(in crate::session) fn differing_fields(a: &Value, b: &Value) -> Vec<(String, [String; 2])> {
    let (a, b) = (flat(a), flat(b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let text = |of: &BTreeMap<String, String>, name: &String| match of.get(name) {
        Some(value) => value.clone(),
        None => "default".to_owned(),
    };
    let both = names.into_iter().map(|name| (name.clone(), [text(&a, name), text(&b, name)]));
    both.filter(|(_, [a, b])| a != b).collect()
}

/// Returns the fields of an object that have a value as texts, those of an object within it under
/// both names: `judge.world`.
pub(in crate::session) fn flat(value: &Value) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::String(text) => _ = fields.insert(name.clone(), text.clone()),
            Value::Object(_) => fields
                .extend(flat(value).into_iter().map(|(part, v)| (format!("{name}.{part}"), v))),
            other => _ = fields.insert(name.clone(), other.to_string()),
        }
    }
    fields
}

/// Compares the rows that the runs were trained on.
fn data(
    session: &Session,
    lines: &mut Vec<Line>,
    runs: [&RunRecord; 2],
) -> Result<(), SessionError> {
    let store = session.database().store();
    let dataset = |run: &RunRecord| -> Result<Option<DatasetRecord>, SessionError> {
        let name = run.dataset.as_deref().unwrap_or_default();
        Ok(store.dataset(name)?)
    };
    let (Some(a), Some(b)) = (dataset(runs[0])?, dataset(runs[1])?) else { return Ok(()) };
    let hash = |dataset: &DatasetRecord| hexadecimal(&dataset.hash[..6]);
    if a.hash == b.hash {
        return Ok(());
    }
    let (mut rows_a, mut rows_b) = (store.dataset_rows(&a.name)?, store.dataset_rows(&b.name)?);
    let difference = differing(session, &mut rows_a, &mut rows_b, &mut |_| Ok(()))?;
    let note = match difference.is_none() {
        true => "the same rows in another order".to_owned(),
        false => counts(&difference),
    };
    push(lines, "data", "hash", [hash(&a), hash(&b)], &note);
    push(lines, "data", "rows", [a.rows.to_string(), b.rows.to_string()], "");
    let judges = |dataset: &DatasetRecord| dataset.judges.join(", ");
    push(lines, "data", "labels", [judges(&a), judges(&b)], "");
    Ok(())
}

/// Returns every metric of a run but those that only say how fast a machine was.
pub(super) fn collected(store: &Store, run: &str) -> Result<Metrics, SessionError> {
    let mut metrics = Metrics::new();
    store.scan_metrics(|of, step, name, value| {
        if of == run && !TIMES.contains(&name.as_str()) {
            metrics.entry(name).or_default().insert(step, value);
        }
    })?;
    Ok(metrics)
}

/// Compares the last values of metrics and says where they begin to differ.
fn metrics(lines: &mut Vec<Line>, a: &Metrics, b: &Metrics) {
    let last = |of: &Metrics, name: &str| match of.get(name).and_then(BTreeMap::last_key_value) {
        Some((step, value)) => format!("{value} at step {step}"),
        None => "not measured".to_owned(),
    };
    for (name, step) in differences(a, b) {
        let note = format!("differ from step {step} on");
        lines.push(["metric".to_owned(), name.clone(), last(a, &name), last(b, &name), note]);
    }
}

/// Returns the metrics that are not the same to the last bit, each with the first step at which
/// they differ.
pub(super) fn differences(a: &Metrics, b: &Metrics) -> Vec<(String, u64)> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let none = BTreeMap::new();
    let first = |name: &String| {
        let (of_a, of_b) = (a.get(name).unwrap_or(&none), b.get(name).unwrap_or(&none));
        let bits = |of: &BTreeMap<u64, f64>, step: u64| of.get(&step).map(|v| v.to_bits());
        let steps: BTreeSet<u64> = of_a.keys().chain(of_b.keys()).copied().collect();
        steps.into_iter().find(|step| bits(of_a, *step) != bits(of_b, *step))
    };
    names.into_iter().filter_map(|name| Some((name.clone(), first(name)?))).collect()
}
