//! What is measured of a trajectory of an evaluation: its answer, its calls, what judges say.
//!
//! EVALUATE, its report and DIFF RUNS read the same numbers here, from what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::model::{Json, LabelName, Status, Target, Trajectory};
use crate::score::{AnswerScore, score_gsm8k, score_hotpotqa, score_musique};
use crate::session::error::SessionError;
use crate::store::View;

/// Trajectories that are read together.
const TOGETHER: usize = 256;

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
    /// Returns the name, which is also that of the judge of its labels.
    pub(super) fn name(self) -> &'static str {
        match self {
            AnswerMetric::Hotpotqa => "hotpotqa",
            AnswerMetric::Musique => "musique",
            AnswerMetric::Gsm8k => "gsm8k",
        }
    }

    /// Returns what the figure is called that says whether an answer is right.
    pub(super) fn rightness(self) -> &'static str {
        if self == AnswerMetric::Gsm8k { "numeric_equality" } else { "exact_match" }
    }

    /// Returns the score of an answer, `None` without gold answers to compare with.
    pub(super) fn score(self, answer: &str, gold: &[String]) -> Option<AnswerScore> {
        match self {
            AnswerMetric::Hotpotqa => score_hotpotqa(answer, gold),
            AnswerMetric::Musique => score_musique(answer, gold),
            AnswerMetric::Gsm8k => score_gsm8k(answer, gold).map(|is_right| {
                let value = f64::from(u8::from(is_right));
                AnswerScore { exact_match: value, f1: value, precision: value, recall: value }
            }),
        }
    }

    /// Returns the figures of a score; of equal numbers there is one.
    fn figures(self, score: AnswerScore) -> Vec<(String, f64)> {
        let mut figures = vec![(self.rightness().to_owned(), score.exact_match)];
        if self != AnswerMetric::Gsm8k {
            let others =
                [("f1", score.f1), ("precision", score.precision), ("recall", score.recall)];
            figures.extend(others.map(|(name, value)| (name.to_owned(), value)));
        }
        figures
    }
}

/// Questions, or steps, that figures are told of apart; in the order they are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    rank: u8,
    number: u64,
    name: String,
}

impl Group {
    /// Returns the group of all.
    pub(super) fn all() -> Group {
        Group { rank: 0, number: 0, name: "all".to_owned() }
    }

    /// Returns the group of the steps of a number.
    pub(super) fn step(number: u32) -> Group {
        Group { rank: 3, number: u64::from(number), name: format!("step {number}") }
    }

    /// Returns the groups that the meta of a question names.
    fn of_meta(meta: &Value) -> impl Iterator<Item = Group> {
        let named = |(rank, name): (u8, &str)| {
            let word = match &meta[name] {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            let number = word.parse().unwrap_or(u64::MAX);
            Some(Group { rank, number, name: format!("{name} {word}") })
        };
        [(1, "hops"), (2, "type")].map(named).into_iter().flatten()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What was measured of one trajectory.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// The question's identifier.
    pub(super) question: String,
    /// A hash over what is asked, and what is accepted as right.
    pub(super) asked: [u8; 32],
    /// The groups that the question is in, all among them.
    pub(super) groups: BTreeSet<Group>,
    /// Figures of the trajectory in the order they are told; of a judge of steps the mean of its
    /// labels.
    pub(super) values: Vec<(String, f64)>,
    /// The labels of steps by their column, each with the step's number.
    pub(super) steps: BTreeMap<String, Vec<(u32, f64)>>,
    /// How many steps it has.
    pub(super) n_steps: u64,
    /// The tools that it calls.
    pub(super) tools: BTreeSet<String>,
}

impl Measured {
    /// Returns a figure, `None` where it has none.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// Returns what was measured of trajectories: answers by `metric`, and the verdicts of the columns
/// `labels` (`process@world`), or of all judges but the metric itself.
///
/// # Errors
/// A trajectory without gold answers; what the disk says.
pub(super) fn measured(
    view: &View,
    ordinals: &[u64],
    metric: AnswerMetric,
    labels: Option<&[String]>,
) -> Result<Vec<Measured>, SessionError> {
    let own = format!("{}@{}", LabelName::outcome(), metric.name());
    let is_wanted = |column: &String| match labels {
        Some(labels) => labels.contains(column),
        None => *column != own,
    };
    let mut all = Vec::with_capacity(ordinals.len());
    for part in ordinals.chunks(TOGETHER) {
        for (ordinal, of) in part.iter().zip(view.trajectories(part)?) {
            let mut one = measure(&of, metric)?;
            let mut outcomes = BTreeMap::new();
            for label in view.current_labels(*ordinal)? {
                let column = format!("{}@{}", label.name, label.judge);
                if !label.name.is_verdict() || !is_wanted(&column) {
                    continue;
                }
                match label.target {
                    Target::Step(step) if label.name == LabelName::process() => {
                        one.steps.entry(column).or_default().push((step, label.value));
                    }
                    Target::Trajectory if label.name == LabelName::outcome() => {
                        outcomes.insert(column, label.value);
                    }
                    _ => {}
                }
            }
            one.values.extend(outcomes);
            let mean = |of: &[(u32, f64)]| of.iter().map(|(_, v)| v).sum::<f64>() / of.len() as f64;
            one.values.extend(one.steps.iter().map(|(column, of)| (column.clone(), mean(of))));
            all.push(one);
        }
    }
    Ok(all)
}

fn measure(of: &Trajectory, metric: AnswerMetric) -> Result<Measured, SessionError> {
    let answer = of.answer.as_deref().unwrap_or_default();
    let Some(score) = metric.score(answer, &of.gold) else {
        return Err(without_gold(&of.id));
    };
    let meta = of.meta.as_ref().map(Json::to_value).unwrap_or_default();
    let is_answered = of.status == Some(Status::Answered);
    let mut values = metric.figures(score);
    values.push(("answered".to_owned(), f64::from(u8::from(is_answered))));
    values.push(("calls".to_owned(), meta["rollout"]["calls"].as_f64().unwrap_or_default()));
    let calls = of.steps.iter().flat_map(|step| &step.action.tool_calls);
    Ok(Measured {
        question: of.question_id.clone().unwrap_or_else(|| of.id.clone()),
        asked: hash_of(of.question.as_deref(), &of.gold),
        groups: Group::of_meta(&meta).chain([Group::all()]).collect(),
        values,
        steps: BTreeMap::new(),
        n_steps: of.steps.len() as u64,
        tools: calls.map(|call| call.name.clone()).collect(),
    })
}

/// Returns the error of a trajectory without gold answers.
pub(super) fn without_gold(id: &str) -> SessionError {
    let message = format!(
        "trajectory '{id}' has no gold answer to compare with: GENERATE plays questions without one"
    );
    SessionError::mistake("evaluate", message)
}

/// Returns a hash over a question and its gold answers, in any order.
fn hash_of(question: Option<&str>, gold: &[String]) -> [u8; 32] {
    let gold: BTreeSet<&str> = gold.iter().map(String::as_str).collect();
    let mut hasher = blake3::Hasher::new();
    for text in [question.unwrap_or_default()].into_iter().chain(gold) {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}
