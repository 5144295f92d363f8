//! `DIFF RUNS a b`: which kind of runs, and so what is compared.

use super::error::SessionError;
use super::rollouts;
use super::statement::{Outcome, Session, Sink, mistake};
use super::training;
use crate::codec::RunRecord;
use crate::diag::{Diagnostic, nearest};
use crate::query::syntax::Name;

/// The kinds of runs that can be compared, as records have them, and as they are told.
const KINDS: [(&str, &str); 2] = [("train", "a training run"), ("evaluate", "an evaluation")];

/// Compares two training runs, or two evaluations.
///
/// # Errors
/// There is no run of a name, or it is of another kind than the other one, or of a kind that is not
/// compared; an evaluation has not finished; what the disk says.
pub(super) fn diff_runs(
    session: &Session,
    first: &Name,
    second: &Name,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let (a, b) = (known(session, first, text)?, known(session, second, text)?);
    if a.kind != b.kind {
        let told = |run: &RunRecord| {
            let kind = KINDS.iter().find(|(kind, _)| *kind == run.kind);
            format!("'{}' is {}", run.id, kind.map_or(run.kind.as_str(), |(_, told)| told))
        };
        let diagnostic = Diagnostic::new("run", format!("{}, {}", told(&a), told(&b)))
            .at(first.span.to(second.span))
            .help("DIFF RUNS compares two training runs, or two evaluations");
        return Err(mistake(diagnostic, text));
    }
    match a.kind.as_str() {
        "evaluate" => rollouts::compare(session, &a, &b, sink),
        _ => training::diff(session, &a, &b, sink),
    }
}

/// Returns the run of a name that can be compared.
fn known(session: &Session, name: &Name, text: &str) -> Result<RunRecord, SessionError> {
    let is_compared = |run: &RunRecord| KINDS.iter().any(|(kind, _)| *kind == run.kind);
    let store = session.database().store();
    let found = store.run(&name.text)?;
    let message = match found {
        Some(run) if is_compared(&run) => return Ok(run),
        Some(run) => format!(
            "run '{}' is of kind '{}': DIFF RUNS compares two training runs, or two evaluations",
            name.text, run.kind
        ),
        None => format!("no training run or evaluation '{}'", name.text),
    };
    let names: Vec<String> = store.runs()?.into_iter().filter(is_compared).map(|r| r.id).collect();
    let help = nearest(
        &name.text,
        &names,
        "runs",
        "|> TRAIN WITH (...) AS name makes one, and EVALUATE WITH (...) AS name",
    );
    Err(mistake(Diagnostic::new("unknown-run", message).at(name.span).help(help), text))
}
