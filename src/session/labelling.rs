//! Labels given by a statement: `LABEL AS process BY 'consensus' = expression`.

use super::error::SessionError;
use super::select::{select, select_texts};
use super::statement::{Outcome, Session, mistake};
use crate::diag::Diagnostic;
use crate::model::{Json, Judge, JudgeKind, Label, LabelName, META, Target};
use crate::query::Scope;
use crate::query::syntax::{Name, QueryStatement};
use crate::store::{Durability, Fact};

/// Labels stored in one commit.
const COMMIT_LABELS: usize = 16_384;

/// What LABEL says.
pub(super) struct Labelling<'a> {
    /// The label.
    pub name: &'a Name,
    /// The judge.
    pub judge: &'a Name,
    /// The expression of each row's value.
    pub value: &'a Name,
}

/// Labels every row of a query with the value of an expression. A row whose value is null gets
/// none; a label that is there already with the same value is not given again. The values of
/// labels named `meta` are JSON objects, which lie over the `meta` of trajectories.
///
/// # Errors
/// The query's; a name or value that labels may not have; what the disk says. Labels committed
/// before an error stay.
pub(super) fn label(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    labelling: &Labelling<'_>,
) -> Result<Outcome, SessionError> {
    let name = labelling.name;
    let label_name = LabelName::new(&name.text).map_err(|message| refused(message, name, scope))?;
    let new_judge = judge_of(scope, query, labelling)?;
    let (facts, without_value) = match label_name.as_str() {
        META => patches(session, scope, query, labelling, &label_name)?,
        _ => numbers(session, scope, query, labelling, &label_name)?,
    };
    let store = session.database().store();
    let (mut added, mut same) = (0, 0);
    let progress = session.progress();
    progress.begin("storing labels", facts.len() as u64);
    for (part, judges) in facts.chunks(COMMIT_LABELS).zip(std::iter::repeat(&new_judge)) {
        if session.cancel().is_cancelled() {
            return Err(SessionError::Cancelled);
        }
        let judges = judges.as_ref().map(std::slice::from_ref).unwrap_or_default();
        let report = store.label(part, judges, Durability::Now)?;
        added += report.added;
        same += report.same;
        progress.advance(part.len() as u64);
    }
    Ok(Outcome::Labelled { added, same, without_value })
}

/// Labels to be stored, and for how many rows there is none.
type Facts = (Vec<Fact>, u64);

/// Returns a label with the value of each row.
fn numbers(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    labelling: &Labelling<'_>,
    name: &LabelName,
) -> Result<Facts, SessionError> {
    let Labelling { judge, value, .. } = labelling;
    let selection = select(session, scope, query, Some(&value.text))?;
    let is_verdict = name.is_verdict();
    let mut facts = Vec::with_capacity(selection.rows.len());
    for row in &selection.rows {
        let Some(number) = row.reward else { continue };
        if !number.is_finite() || (is_verdict && !(0.0..=1.0).contains(&number)) {
            let expected = if is_verdict { "0 to 1" } else { "a number" };
            let message = format!("the value of a row is {number}; expected {expected}");
            return Err(refused(message, value, scope));
        }
        let target = row.step.map_or(Target::Trajectory, Target::Step);
        let label = given(name.clone(), judge, target, number, None);
        facts.push(Fact { trajectory: row.trajectory, label });
    }
    Ok((facts, selection.without_reward))
}

/// Returns a patch of `meta` for each trajectory: the JSON object that the value of its row is.
fn patches(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    labelling: &Labelling<'_>,
    label_name: &LabelName,
) -> Result<Facts, SessionError> {
    let Labelling { name, judge, value } = labelling;
    let (mut facts, mut without_value) = (Vec::new(), 0);
    for (row, text) in select_texts(session, scope, query, &value.text)? {
        if row.step.is_some() {
            let message = "meta belongs to trajectories, and these rows are steps".to_owned();
            return Err(refused(message, name, scope));
        }
        let Some(text) = text else {
            without_value += 1;
            continue;
        };
        let patch = Json::parse(&text).ok().filter(Json::is_object).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let message = format!("the value of a row is {shown:?}; expected a JSON object");
            refused(message, value, scope)
        })?;
        let raw = Some(patch.as_str().to_owned());
        let label = given(label_name.clone(), judge, Target::Trajectory, 1.0, raw);
        facts.push(Fact { trajectory: row.trajectory, label });
    }
    Ok((facts, without_value))
}

fn given(name: LabelName, judge: &Name, target: Target, value: f64, raw: Option<String>) -> Label {
    let judge = judge.text.clone();
    Label { target, name, judge, value, raw, verdict: None, rationale: None, run_id: None }
}

/// Returns the judge that the statement is, unless it is known. A judge never changes: another
/// statement is another judge.
fn judge_of(
    scope: &Scope<'_>,
    query: &QueryStatement,
    labelling: &Labelling<'_>,
) -> Result<Option<Judge>, SessionError> {
    let (judge, value) = (labelling.judge, labelling.value);
    let rows = &scope.text[query.selection.start..query.selection.end];
    let definition = serde_json::json!({"rows": rows, "value": value.text}).to_string();
    let new = Judge {
        name: judge.text.clone(),
        kind: JudgeKind::Program,
        definition: Some(Json::stored(definition)),
        sees_gold: None,
    };
    let judges = scope.view.catalogue().judges.iter().filter_map(|record| record.judge().ok());
    let Some(known) = judges.into_iter().find(|known| known.name == judge.text) else {
        return Ok(Some(new));
    };
    if known == new {
        return Ok(None);
    }
    let message = match known.kind {
        JudgeKind::Program => format!("'{}' gave labels by another statement", judge.text),
        kind => format!("'{}' is a judge already, of kind {}", judge.text, kind.as_str()),
    };
    let other = format!("a judge never changes; another name tells them apart: '{}:2'", judge.text);
    let diagnostic = Diagnostic::new("label-judge", message).at(judge.span).help(other);
    Err(mistake(diagnostic, scope.text))
}

fn refused(message: String, at: &Name, scope: &Scope<'_>) -> SessionError {
    mistake(Diagnostic::new("label-value", message).at(at.span), scope.text)
}
