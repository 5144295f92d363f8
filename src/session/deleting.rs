//! `DELETE FROM trajectories WHERE condition [CASCADE]`

use super::error::SessionError;
use super::select::select;
use super::statement::{Outcome, Session, mistake};
use crate::diag::{Diagnostic, Span};
use crate::query::Scope;
use crate::query::syntax::QueryStatement;
use crate::store::{Deletion, Pinning};

/// Deletes the trajectories that a query finds, in one commit.
///
/// # Errors
/// The query's; `pinned-trajectories` where datasets hold some of them and `cascade` is not set;
/// what the disk says. Then nothing is deleted.
pub(super) fn delete(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    cascade: bool,
) -> Result<Outcome, SessionError> {
    let selection = select(session, scope, query, None)?;
    let ordinals = selection.rows.iter().map(|row| row.trajectory);
    match session.database().store().delete(ordinals, cascade)? {
        Deletion::Done { trajectories, steps, datasets } => {
            Ok(Outcome::Deleted { trajectories, steps, datasets })
        }
        Deletion::Pinned(datasets) => Err(pinned(&datasets, query.selection, scope.text)),
    }
}

fn pinned(datasets: &[Pinning], at: Span, text: &str) -> SessionError {
    let named = |pinning: &Pinning| match pinning.trajectories {
        1 => format!("'{}' holds 1 of them", pinning.dataset),
        many => format!("'{}' holds {many} of them", pinning.dataset),
    };
    let all = datasets.iter().map(named).collect::<Vec<_>>().join(", ");
    let message = format!("nothing is deleted: dataset {all}");
    let diagnostic = Diagnostic::new("pinned-trajectories", message)
        .at(at)
        .help("CASCADE behind the condition drops these datasets as well");
    mistake(diagnostic, text)
}
