//! `DELETE FROM trajectories WHERE condition [CASCADE]`

use super::ours::Cursor;
use super::reader::Reader;
use super::statement::{StatementKind, settled};
use crate::diag::Diagnostic;

/// Reads the statement.
///
/// # Errors
///
/// What was expected, at its place.
pub(super) fn delete(reader: &Reader<'_>) -> Result<StatementKind, Diagnostic> {
    const FORM: &str = "DELETE FROM trajectories WHERE source = 'draft'";
    const FROM: usize = 1;
    let lexemes = reader.lexemes;
    let cascade = lexemes.last().is_some_and(|last| last.is_word("CASCADE"));
    let end = lexemes.len() - usize::from(cascade);
    let mut cursor = Cursor::new(reader, FROM..end);
    if !cursor.take_word("FROM") {
        return Err(cursor.expected("FROM trajectories").help(FORM));
    }
    if cursor.is_word("STEPS") || cursor.is_word("SUBTRAJECTORIES") {
        let message = "only whole trajectories are deleted";
        let form = "DELETE FROM trajectories WHERE trajectory_id IN \
                    (SELECT trajectory_id FROM steps WHERE observation_error)";
        return Err(Diagnostic::new("delete-table", message).at(cursor.place()).help(form));
    }
    if !cursor.take_word("TRAJECTORIES") {
        return Err(cursor.expected("trajectories").help(FORM));
    }
    if !cursor.is_word("WHERE") {
        let error = cursor.expected("WHERE and a condition");
        return Err(error.help(format!("{FORM}; WHERE true deletes all of them")));
    }
    let condition = cursor.index();
    if let Some(pipe) = reader.pipes(condition..end).first() {
        let message = "a deletion takes one condition and no stages";
        let error = Diagnostic::new("delete-stages", message).at(reader.span_at(*pipe));
        return Err(error.help(
            "DELETE FROM trajectories WHERE trajectory_id IN (SELECT trajectory_id FROM ...)",
        ));
    }
    // FROM trajectories |> WHERE condition
    let mut chain = reader.chain(FROM..condition, true)?;
    chain.stage(condition..end)?;
    let query = settled(reader, chain, FROM..end)?;
    Ok(StatementKind::Delete { query: Box::new(query), cascade })
}
