//! EVALUATE: answers against gold, steps and answers before judges, as labels and as figures with
//! intervals.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::judging::{Appointed, JudgeSummary};
use super::measured::{AnswerMetric, measured, without_gold};
use super::request::RolloutOptions;
use super::summary::EvaluationSummary;
use crate::codec::HeaderRecord;
use crate::model::{Json, Judge, JudgeKind, Label, LabelName, Target};
use crate::session::error::SessionError;
use crate::session::statement::Session;
use crate::session::training::RunConfig;
use crate::store::{Durability, Fact};

/// Trajectories whose labels are committed together.
const TOGETHER: usize = 1024;

/// What the judge of steps is called in options.
pub(super) const STEP_JUDGE: &str = "judge";

/// What the judge of answers is called in options.
pub(super) const ANSWER_JUDGE: &str = "outcome_judge";

/// Returns the judges that an evaluation asks for.
///
/// # Errors
/// A judge that cannot be used, that is another one than its name says, or that judges the other
/// thing; the judge that the model was trained with, unless that is said to be meant.
pub(super) fn appointed(
    session: &Session,
    options: &RolloutOptions,
) -> Result<Vec<Appointed>, SessionError> {
    check_same(session, options)?;
    let mut appointed = Vec::new();
    for (part, judge, label) in [
        (ANSWER_JUDGE, &options.outcome_judge, LabelName::outcome()),
        (STEP_JUDGE, &options.judge, LabelName::process()),
    ] {
        let Some(judge) = judge else { continue };
        let one = Appointed::open(session, label, judge)?;
        if one.is_of_steps() != (part == STEP_JUDGE) {
            let (looks_at, other, expected) = match part {
                STEP_JUDGE => ("answers", ANSWER_JUDGE, "steps"),
                _ => ("steps", STEP_JUDGE, "answers"),
            };
            let message = format!(
                "{part} = '{}' judges {looks_at}; expected a judge of {expected}, or {other} = \
                 '{0}'",
                judge.word()
            );
            return Err(SessionError::mistake("judge", message));
        }
        let is_metric = one.judge().name == options.metric.name();
        if part == ANSWER_JUDGE && is_metric {
            let message = format!(
                "'{}' is the name that the labels of the metric carry: name the judge otherwise, \
                 outcome_judge.name = '...'",
                options.metric.name()
            );
            return Err(SessionError::mistake("judge", message));
        }
        appointed.push(one);
    }
    Ok(appointed)
}

/// Refuses the judge that the evaluated run was trained with.
fn check_same(session: &Session, options: &RolloutOptions) -> Result<(), SessionError> {
    let Some(run) = options.policy.model.strip_prefix("run:") else { return Ok(()) };
    let (Some(judge), false) = (&options.judge, options.same_judge) else { return Ok(()) };
    let trained = RunConfig::judge_of(session.database().store(), run)?;
    if !trained.is_some_and(|trained| trained.is_like(judge)) {
        return Ok(());
    }
    let message = format!(
        "judge = '{}' is the judge that run '{run}' was trained with, whose mistakes are then not \
         seen; expected another one, or same_judge = true to say that it is meant",
        judge.word()
    );
    Err(SessionError::mistake("judge", message))
}

/// Measures the trajectories of a run: every one gets labels (`outcome`, which is the exact match,
/// `f1`, `precision`, `recall`; no answer counts as an empty one) and those of the judges, the run
/// gets metrics.
///
/// # Errors
/// A trajectory without gold answers; a judge that fails for all, or does not answer for some; what
/// the disk says.
pub(super) fn evaluate(
    session: &Session,
    run: &str,
    ordinals: &[u64],
    metric: AnswerMetric,
    appointed: &mut [Appointed],
) -> Result<(EvaluationSummary, Vec<JudgeSummary>), SessionError> {
    label_answers(session, run, ordinals, metric)?;
    let mut judged = Vec::new();
    for one in appointed.iter_mut() {
        let wanted: BTreeMap<u64, BTreeSet<u32>> =
            ordinals.iter().map(|ordinal| (*ordinal, BTreeSet::new())).collect();
        let summary = one.label_all(session, wanted, Some(run))?;
        check_answered(&summary)?;
        judged.push(summary);
    }
    let columns: Vec<String> = appointed.iter().map(Appointed::column).collect();
    let view = session.database().view();
    let measured = measured(&view, ordinals, metric, Some(&columns))?;
    let summary = EvaluationSummary::of(&measured, &columns)?;
    let metrics = summary.metrics();
    let named: Vec<(&str, f64)> = metrics.iter().map(|(name, v)| (name.as_str(), *v)).collect();
    session.database().store().put_metrics(run, 0, &named)?;
    Ok((summary, judged))
}

/// Checks that the judge answered. What it did not is asked when the statement is given again.
fn check_answered(summary: &JudgeSummary) -> Result<(), SessionError> {
    let JudgeSummary { judge, tally, .. } = summary;
    if tally.failed == 0 {
        return Ok(());
    }
    let message = format!(
        "judge '{judge}' did not answer {} of {} times: {}; the same statement again goes on with \
         those",
        tally.failed,
        tally.count(),
        tally.errors.first().map_or("it does not say why", String::as_str)
    );
    Err(SessionError::mistake("judge", message))
}

/// Compares answers with gold and stores what comes of it as labels.
fn label_answers(
    session: &Session,
    run: &str,
    ordinals: &[u64],
    metric: AnswerMetric,
) -> Result<(), SessionError> {
    let judge = Judge {
        name: metric.name().to_owned(),
        kind: JudgeKind::Program,
        definition: Some(Json::of(&json!({"program": "answers against gold", "script": metric}))),
        sees_gold: Some(true),
    };
    let names = ["outcome", "f1", "precision", "recall"].map(|name| LabelName::new(name).ok());
    let store = session.database().store();
    let view = session.database().view();
    for part in ordinals.chunks(TOGETHER) {
        let mut facts = Vec::new();
        for (ordinal, header) in part.iter().zip(view.headers(part)?) {
            let answer = header.answer.as_deref().unwrap_or_default();
            let score = metric.score(answer, &header.gold);
            let score = score.ok_or_else(|| without_gold(&header.id))?;
            let values = [score.exact_match, score.f1, score.precision, score.recall];
            for (name, value) in names.iter().flatten().zip(values) {
                facts.push(fact(*ordinal, name.clone(), value, &judge.name, run));
            }
        }
        store.label(&facts, std::slice::from_ref(&judge), Durability::Now)?;
    }
    Ok(())
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
