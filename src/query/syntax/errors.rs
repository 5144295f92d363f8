//! What the SQL parser says, turned into a message with a place.

use std::ops::Range;

use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::reader::Reader;
use super::teach;
use crate::diag::{Diagnostic, Span};

/// Words an error of the SQL parser over the tokens of `range`.
pub(super) fn from_parser(
    reader: &Reader<'_>,
    range: Range<usize>,
    error: &ParserError,
) -> Diagnostic {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return Diagnostic::new("too-deep", "the statement is nested too deeply here")
                .at(reader.span(range));
        }
    };
    let (text, location) = split_location(text);
    let at = location.and_then(|l| index_of(reader, range.clone(), l)).unwrap_or(range.end);
    if let Some(better) = teach::instead_of_syntax_error(reader, range.clone(), at) {
        return better;
    }
    let message = match text.strip_prefix("Expected: ").and_then(|t| t.split_once(", found: ")) {
        Some((expected, _)) => {
            format!("expected {}, found {}", lower_first(expected), found(reader, &range, at))
        }
        None => lower_first(text.trim_start_matches("sql parser error: ")),
    };
    teach::advise(reader, at, Diagnostic::new("syntax", message).at(place(reader, &range, at)))
}

/// Says that the tokens of `range` from `left` on belong to nothing.
pub(super) fn left_over(
    reader: &Reader<'_>,
    range: Range<usize>,
    left: &TokenWithSpan,
) -> Diagnostic {
    let at = index_of(reader, range.clone(), left.span.start).unwrap_or(range.start);
    if let Some(better) = teach::instead_of_syntax_error(reader, range.clone(), at) {
        return better;
    }
    let message =
        format!("expected '|>' or the end of the statement, found {}", found(reader, &range, at));
    teach::advise(reader, at, Diagnostic::new("syntax", message).at(place(reader, &range, at)))
}

/// Returns the place of the token at `at`; behind the last of the statement, its end.
fn place(reader: &Reader<'_>, range: &Range<usize>, at: usize) -> Span {
    reader.span_at(at.max(range.start))
}

/// Names what stands at `at`.
fn found(reader: &Reader<'_>, range: &Range<usize>, at: usize) -> String {
    match reader.lexemes.get(at) {
        None => "the end of the statement".into(),
        Some(lexeme) if at >= range.end && lexeme.is(&Token::SemiColon) => {
            "the end of the statement".into()
        }
        Some(_) => format!("'{}'", reader.typed(at)),
    }
}

/// Cuts ` at Line: 1, Column: 9` off a message.
fn split_location(text: &str) -> (&str, Option<Location>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let location = place.split_once(", Column: ").and_then(|(line, column)| {
        Some(Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?))
    });
    match location {
        Some(location) => (message, Some(location)),
        None => (text, None),
    }
}

/// Returns the index of the token that stands at `location` or is the first behind it.
fn index_of(reader: &Reader<'_>, range: Range<usize>, location: Location) -> Option<usize> {
    let tokens = reader.lexemes.get(range.clone())?;
    if location.line == 0 {
        return None;
    }
    Some(range.start + tokens.partition_point(|lexeme| lexeme.token.span.start < location))
}

/// Writes the first letter small, unless the word is a keyword in capitals.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_string(),
    }
}
