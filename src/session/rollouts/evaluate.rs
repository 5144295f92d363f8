//! EVALUATE: answers against gold, as labels and as figures with intervals.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::report::{Figure, Report};
use crate::codec::HeaderRecord;
use crate::model::{Json, Judge, JudgeKind, Label, LabelName, Status, Target};
use crate::score::{
    AnswerScore, Estimate, Resampling, StatisticsError, bootstrap, score_gsm8k, score_hotpotqa,
    score_musique, wilson,
};
use crate::session::error::SessionError;
use crate::session::statement::Session;
use crate::store::{Durability, Fact};

/// Trajectories that are measured together.
const TOGETHER: usize = 1024;

/// The share of cases in which an interval is to hold the true value.
const LEVEL: f64 = 0.95;

/// Whose definition of a right answer is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::session) enum AnswerMetric {
    /// The script of HotpotQA.
    #[default]
    Hotpotqa,
    /// The script of MuSiQue.
    Musique,
    /// Equal numbers, as for GSM8K.
    Gsm8k,
}

impl AnswerMetric {
    fn name(self) -> &'static str {
        match self {
            AnswerMetric::Hotpotqa => "hotpotqa",
            AnswerMetric::Musique => "musique",
            AnswerMetric::Gsm8k => "gsm8k",
        }
    }

    fn score(self, answer: &str, gold: &[String]) -> Option<AnswerScore> {
        match self {
            AnswerMetric::Hotpotqa => score_hotpotqa(answer, gold),
            AnswerMetric::Musique => score_musique(answer, gold),
            AnswerMetric::Gsm8k => score_gsm8k(answer, gold).map(|is_right| {
                let value = f64::from(u8::from(is_right));
                AnswerScore { exact_match: value, f1: value, precision: value, recall: value }
            }),
        }
    }
}

/// What was measured of one trajectory.
struct Measured {
    question: String,
    groups: Vec<String>,
    values: Vec<(&'static str, f64)>,
}

/// Measures the answers of trajectories: every one gets labels (`outcome`, which is the exact
/// match, `f1`, `precision`, `recall`; no answer counts as an empty one), the run gets metrics.
///
/// # Errors
/// A trajectory without gold answers; what the disk says.
pub(super) fn evaluate(
    session: &Session,
    run: &str,
    ordinals: &[u64],
    metric: AnswerMetric,
) -> Result<Report, SessionError> {
    let judge = Judge {
        name: metric.name().to_owned(),
        kind: JudgeKind::Program,
        definition: Some(Json::of(&json!({"program": "answers against gold", "script": metric}))),
        sees_gold: Some(true),
    };
    let store = session.database().store();
    let view = session.database().view();
    let mut measured = Vec::with_capacity(ordinals.len());
    for part in ordinals.chunks(TOGETHER) {
        let mut facts = Vec::new();
        for (ordinal, header) in part.iter().zip(view.headers(part)?) {
            let one = measure(&header, metric)?;
            facts.extend(one.values.iter().filter_map(|(name, value)| {
                let name = if *name == "exact_match" { "outcome" } else { *name };
                let is_label = ["outcome", "f1", "precision", "recall"].contains(&name);
                Some(fact(*ordinal, LabelName::new(name).ok()?, *value, &judge.name, run))
                    .filter(|_| is_label)
            }));
            measured.push(one);
        }
        store.label(&facts, std::slice::from_ref(&judge), Durability::Now)?;
    }
    let report = report(&measured)?;
    let metrics = report.metrics();
    let named: Vec<(&str, f64)> = metrics.iter().map(|(name, v)| (name.as_str(), *v)).collect();
    store.put_metrics(run, 0, &named)?;
    Ok(report)
}

fn fact(trajectory: u64, name: LabelName, value: f64, judge: &str, run: &str) -> Fact {
    let label = Label {
        target: Target::Trajectory,
        name,
        judge: judge.to_owned(),
        value,
        raw: None,
        verdict: None,
        rationale: None,
        run_id: Some(run.to_owned()),
    };
    Fact { trajectory, label }
}

fn measure(header: &HeaderRecord, metric: AnswerMetric) -> Result<Measured, SessionError> {
    let answer = header.answer.as_deref().unwrap_or_default();
    let Some(score) = metric.score(answer, &header.gold) else {
        let message = format!("trajectory '{}' has no gold answer to compare with", header.id);
        return Err(SessionError::mistake("evaluate", message));
    };
    let meta = meta_of(header);
    let answered = header.status.as_deref() == Some(Status::Answered.as_str());
    let mut groups = vec!["all".to_owned()];
    let word = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    for name in ["hops", "type"] {
        groups.extend(word(&meta[name]).map(|value| format!("{name} {value}")));
    }
    Ok(Measured {
        question: header.question_id.clone().unwrap_or_else(|| header.id.clone()),
        groups,
        values: vec![
            ("exact_match", score.exact_match),
            ("f1", score.f1),
            ("precision", score.precision),
            ("recall", score.recall),
            ("answered", f64::from(u8::from(answered))),
            ("calls", meta["rollout"]["calls"].as_f64().unwrap_or_default()),
        ],
    })
}

/// Returns the meta of a trajectory as a value.
pub(super) fn meta_of(header: &HeaderRecord) -> Value {
    let meta = header.meta.as_deref().and_then(|meta| serde_json::from_str(meta).ok());
    meta.unwrap_or_default()
}

/// Returns the titles of the documents that support the answer, as a trajectory's meta has them.
pub(super) fn titles_of(meta: Option<&Json>) -> Vec<String> {
    let meta = meta.map(Json::to_value).unwrap_or_default();
    let titles = meta["titles"].as_array().into_iter().flatten();
    titles.filter_map(|title| title.as_str().map(str::to_owned)).collect()
}

fn report(measured: &[Measured]) -> Result<Report, SessionError> {
    let mut groups: BTreeMap<(bool, &str), Vec<&Measured>> = BTreeMap::new();
    for one in measured {
        for group in &one.groups {
            groups.entry((group != "all", group)).or_default().push(one);
        }
    }
    let mut report = Report::default();
    for ((_, group), of) in groups {
        let names: Vec<&'static str> = of[0].values.iter().map(|(name, _)| *name).collect();
        for (at, metric) in names.into_iter().enumerate() {
            let values = || of.iter().map(|one| (one.question.as_str(), one.values[at].1));
            let (questions, interval, estimate) = estimated(values())
                .map_err(|error| SessionError::mistake("evaluate", error.to_string()))?;
            let group = group.to_owned();
            report.figures.push(Figure { group, metric, questions, estimate, interval });
        }
    }
    Ok(report)
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
