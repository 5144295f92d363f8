//! Actions proposed at stored states and not executed.

use super::streamed::{Rows, Spec, Value};
use crate::codec::ColumnType::{Float, Integer, Text};
use crate::store::{StoreError, View};

pub(super) const SAMPLES: &[Spec] = &[
    ("trajectory_id", Text, "the trajectory whose state it was proposed at"),
    ("source", Text, "the collection that it came from"),
    ("step", Integer, "the step whose state it was proposed at"),
    ("run_id", Text, "the run that proposed it"),
    ("sample", Integer, "its number among the samples of that run and state, from 0"),
    ("training_step", Integer, "the optimiser step it was drawn in; null outside of training"),
    ("action", Text, "what the policy wrote"),
    ("tool", Text, "the tool that it would call first"),
    ("finish_reason", Text, "stop, length or context"),
    ("malformed", Text, "why it is no action; null if it is one"),
    ("action_tokens", Integer, "its tokens"),
    ("log_prob", Float, "the log-probability of all its tokens under the policy"),
    ("verdict", Float, "what the judge of its training said, 0 to 1; null if it was not judged"),
    ("reward", Float, "what it was worth to training: verdict less the price of divergence"),
    ("advantage", Float, "what training made of it"),
    ("seed", Text, "where its random numbers came from"),
];

pub(super) fn write_samples(view: &View, rows: &mut Rows) -> Result<(), StoreError> {
    let mut identity: Option<(u64, String, String)> = None;
    view.store().scan_samples(|run, (ordinal, step, number), sample| {
        if !view.is_there(ordinal) {
            return Ok(true);
        }
        if identity.as_ref().is_none_or(|(known, _, _)| *known != ordinal) {
            let header = view.headers(&[ordinal])?.pop();
            identity = header.map(|header| (ordinal, header.id, header.source));
        }
        let known = identity.as_ref();
        let log_prob: f64 = sample.log_probs.iter().map(|l| f64::from(*l)).sum();
        rows.push(&[
            Value::Text(known.map(|(_, id, _)| id.as_str())),
            Value::Text(known.map(|(_, _, source)| source.as_str())),
            Value::Integer(Some(i64::from(step))),
            Value::Text(Some(run)),
            Value::Integer(Some(i64::from(number))),
            Value::Integer(Some(sample.training_step as i64).filter(|step| *step > 0)),
            Value::Text(Some(&sample.text)),
            Value::Text(sample.tool.as_deref()),
            Value::Text(Some(&sample.finish_reason)),
            Value::Text(sample.malformed.as_deref()),
            Value::Integer(Some(sample.token_ids.len() as i64)),
            Value::Float(Some(log_prob).filter(|_| !sample.log_probs.is_empty())),
            Value::Float(sample.verdict),
            Value::Float(sample.reward),
            Value::Float(sample.advantage),
            Value::Text(Some(&format!("{:016x}", sample.seed))),
        ])
    })
}
