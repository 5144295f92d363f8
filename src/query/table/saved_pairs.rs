//! `dataset_pairs('name')`: the pairs of actions of a saved dataset.

use std::collections::BTreeMap;

use super::streamed::{Rows, Spec, Value};
use crate::codec::ColumnType::{Integer, Text};
use crate::codec::DatasetRow;
use crate::diag::{Diagnostic, nearest};
use crate::store::{StoreError, View};

pub(super) const DATASET_PAIRS: &[Spec] = &[
    ("source", Text, "the collection the trajectories came from"),
    ("pair", Integer, "which pair of the dataset, from 0"),
    ("step", Integer, "the step of both actions"),
    ("prompt", Text, "the messages before the chosen action, as a JSON array"),
    ("chosen", Text, "the better action: an array of one message, as JSON"),
    ("rejected", Text, "the worse action: an array of one message, as JSON"),
    ("chosen_id", Text, "trajectory_id of the better action"),
    ("rejected_id", Text, "trajectory_id of the worse action"),
];

/// Returns the name of the dataset whose pairs are asked for.
pub(super) fn dataset_of(
    view: &View,
    given: &[Option<String>],
) -> Result<String, (Diagnostic, Option<usize>)> {
    let wrong = |message: String, at| {
        let error = Diagnostic::new("table-function", message);
        (error.help("FROM dataset_pairs('name')"), at)
    };
    let [Some(name)] = given else {
        let message = "dataset_pairs() takes the name of a dataset, as a text";
        return Err(wrong(message.to_owned(), None));
    };
    let failed = |error: StoreError| wrong(error.to_string(), None);
    if view.store().dataset(name).map_err(failed)?.is_none() {
        let names: Vec<String> =
            view.store().datasets().map_err(failed)?.into_iter().map(|d| d.name).collect();
        let error = Diagnostic::new("unknown-dataset", format!("unknown dataset '{name}'"));
        let help = nearest(name, &names, "datasets", "|> SAVE AS name saves one");
        return Err((error.help(help), Some(0)));
    }
    Ok(name.clone())
}

/// Writes a row a pair, in the order of their numbers.
pub(super) fn write_saved_pairs(
    view: &View,
    rows: &mut Rows,
    dataset: &str,
) -> Result<(), StoreError> {
    let mut pairs: BTreeMap<u64, [Option<DatasetRow>; 2]> = BTreeMap::new();
    for row in view.store().dataset_rows(dataset)? {
        if let Some(pair) = row.pair {
            let side = usize::from(row.reward != Some(1.0));
            pairs.entry(pair).or_default()[side] = Some(row);
        }
    }
    let json = |value: serde_json::Result<String>| {
        value.map_err(|e| StoreError::Damaged { place: "a message".into(), why: e.to_string() })
    };
    for (pair, sides) in pairs {
        let [Some(chosen), Some(rejected)] = sides else { continue };
        let both = view.trajectories(&[chosen.trajectory, rejected.trajectory])?;
        let [good, bad] = both.as_slice() else { continue };
        let action = |of: &crate::model::Trajectory, step: u32| {
            json(serde_json::to_string(&[&of.steps[step as usize - 1].action]))
        };
        let open = rows.push(&[
            Value::Text(Some(&good.source)),
            Value::Integer(Some(pair as i64)),
            Value::Integer(Some(i64::from(chosen.step))),
            Value::Text(Some(&json(serde_json::to_string(&good.state(chosen.step)))?)),
            Value::Text(Some(&action(good, chosen.step)?)),
            Value::Text(Some(&action(bad, rejected.step)?)),
            Value::Text(Some(&good.id)),
            Value::Text(Some(&bad.id)),
        ])?;
        if !open {
            return Ok(());
        }
    }
    Ok(())
}
