//! EXPLAIN FUNNEL: a query cut behind each of its clauses.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::reader::Reader;
use super::statement::{FunnelCut, StatementKind, begins_query, query_within};
use crate::diag::Diagnostic;

const FORM: &str = "EXPLAIN FUNNEL FROM steps |> WHERE tool = 'search' AND process > .5";

/// Stages that do something with the rows of a query.
pub(super) const LAST: [&str; 10] = [
    "SAVE",
    "EXPORT",
    "LABEL",
    "SCORE",
    "TRAIN",
    "SUMMARIZE",
    "JUDGE",
    "GENERATE",
    "EVALUATE",
    "RESAMPLE",
];

/// Reads the query that begins at the token `start` as its cuts: FROM, then each stage, and each
/// condition of a WHERE that AND joins.
///
/// # Errors
/// There is no query, or a mistake in it.
pub(super) fn funnel(reader: &Reader<'_>, start: usize) -> Result<StatementKind, Diagnostic> {
    if !reader.lexemes.get(start).is_some_and(begins_query) {
        let message = "expected a query whose clauses are counted";
        return Err(Diagnostic::new("syntax", message).at(reader.span_at(start)).help(FORM));
    }
    let all = start..reader.lexemes.len();
    // The whole first: a mistake is told as in the query itself.
    query_within(reader, all.clone())?;
    let is_pipe = |at: &usize| reader.lexemes[*at].is(&Token::VerticalBarRightAngleBracket);
    let pipes: Vec<usize> = reader.level(all.clone()).filter(is_pipe).collect();
    if pipes.is_empty() {
        let message = "the funnel counts the stages of a query, and this one has none";
        return Err(Diagnostic::new("no-stages", message).at(reader.span(all)).help(FORM));
    }
    let mut cuts = Vec::new();
    let mut cut = |from: usize, to: usize| {
        let span = reader.span(from..to);
        let clause = reader.text[span.start..span.end].split_whitespace().collect::<Vec<_>>();
        let query = query_within(reader, start..to)?;
        cuts.push(FunnelCut { clause: clause.join(" "), query });
        Ok::<(), Diagnostic>(())
    };
    cut(start, pipes[0])?;
    let ends = pipes.iter().skip(1).copied().chain([all.end]);
    for (pipe, end) in pipes.iter().zip(ends) {
        let first = &reader.lexemes[pipe + 1];
        if LAST.iter().any(|word| first.is_word(word)) {
            break;
        }
        let mut from = pipe + 1;
        if first.is_word("WHERE") {
            for and in conjunctions(reader, pipe + 2, end) {
                cut(from, and)?;
                from = and;
            }
        }
        cut(from, end)?;
    }
    Ok(StatementKind::Funnel { cuts })
}

/// Returns where AND joins the conditions of a WHERE, unless OR parts them.
fn conjunctions(reader: &Reader<'_>, start: usize, end: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut cases = 0u32;
    let mut between = false;
    for at in reader.level(start..end) {
        let is = |word: &str| reader.lexemes[at].is_word(word);
        if is("CASE") {
            cases += 1;
        } else if is("END") {
            cases = cases.saturating_sub(1);
        } else if cases > 0 {
            continue;
        } else if is("BETWEEN") {
            between = true;
        } else if is("AND") && between {
            between = false;
        } else if is("AND") {
            found.push(at);
        } else if is("OR") {
            return Vec::new();
        }
    }
    found
}
