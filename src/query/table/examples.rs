//! The actions that runs were trained on, epoch by epoch.

use super::streamed::{Rows, Spec, Value};
use crate::codec::ColumnType::{Float, Integer, Text};
use crate::store::{StoreError, View};

pub(super) const EXAMPLES: &[Spec] = &[
    ("_trajectory", Integer, ""),
    ("_step", Integer, ""),
    ("run", Text, "the run"),
    ("epoch", Integer, "the epoch, from 0"),
    ("training_step", Integer, "the optimiser step that it was part of"),
    ("trajectory_id", Text, "identifier of the trajectory within its source"),
    ("source", Text, "the collection it came from"),
    ("step", Integer, "the step whose action it is"),
    ("pair", Integer, "the pair it is a side of; null for none"),
    ("weight", Float, "its reward or label as handed in; of a pair 1 (chosen) and 0"),
    ("advantage", Float, "what the loss made of it: reward less baseline, or advantage"),
    ("tokens", Integer, "its tokens, the end of turn included"),
    ("log_prob_start", Float, "log-probability of the action when the epoch came to it"),
    ("log_prob_end", Float, "the same at the epoch's end; null without log_examples = true"),
    ("log_prob_reference", Float, "the same under the start policy, where the objective needs it"),
];

pub(super) fn write_examples(view: &View, rows: &mut Rows) -> Result<(), StoreError> {
    let mut identity: Option<(u64, String, String)> = None;
    view.store().scan_examples(|run, epoch, (ordinal, step, pair), example| {
        if !view.is_there(ordinal) {
            return Ok(true);
        }
        if identity.as_ref().is_none_or(|(known, _, _)| *known != ordinal) {
            let header = view.headers(&[ordinal])?.pop();
            identity = header.map(|header| (ordinal, header.id, header.source));
        }
        let known = identity.as_ref();
        rows.push(&[
            Value::Integer(Some(ordinal as i64)),
            Value::Integer(Some(i64::from(step))),
            Value::Text(Some(run)),
            Value::Integer(Some(epoch as i64)),
            Value::Integer(Some(example.training_step as i64)),
            Value::Text(known.map(|(_, id, _)| id.as_str())),
            Value::Text(known.map(|(_, _, source)| source.as_str())),
            Value::Integer(Some(i64::from(step))),
            Value::Integer(Some(pair as i64).filter(|pair| *pair > 0)),
            Value::Float(Some(example.weight)),
            Value::Float(Some(example.advantage)),
            Value::Integer(Some(i64::from(example.tokens))),
            Value::Float(example.log_prob_start),
            Value::Float(example.log_prob_end),
            Value::Float(example.log_prob_reference),
        ])
    })
}
