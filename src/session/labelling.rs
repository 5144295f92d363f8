//! Labels given by a statement: `LABEL AS process BY 'consensus' = expression`.

use super::error::SessionError;
use super::select::select;
use super::statement::{Outcome, Session, mistake};
use crate::diag::Diagnostic;
use crate::model::{Json, Judge, JudgeKind, Label, LabelName, Target};
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
/// none; a label that is there already with the same value is not given again.
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
    let Labelling { name, judge, value } = labelling;
    let label_name = LabelName::new(&name.text).map_err(|message| refused(message, name, scope))?;
    let new_judge = judge_of(scope, query, labelling)?;
    let selection = select(session, scope, query, Some(&value.text))?;
    let is_verdict = label_name.is_verdict();
    let mut facts = Vec::with_capacity(selection.rows.len());
    for row in &selection.rows {
        let Some(number) = row.reward else { continue };
        if !number.is_finite() || (is_verdict && !(0.0..=1.0).contains(&number)) {
            let expected = if is_verdict { "0 to 1" } else { "a number" };
            let message = format!("the value of a row is {number}; expected {expected}");
            return Err(refused(message, value, scope));
        }
        let label = Label {
            target: row.step.map_or(Target::Trajectory, Target::Step),
            name: label_name.clone(),
            judge: judge.text.clone(),
            value: number,
            raw: None,
            verdict: None,
            rationale: None,
            run_id: None,
        };
        facts.push(Fact { trajectory: row.trajectory, label });
    }
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
    Ok(Outcome::Labelled { added, same, without_value: selection.without_reward })
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
