//! What the words of a text are, for a prompt that colours them while they are typed.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::{Lexeme, Open, lex};
use crate::diag::Span;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenClass {
    /// A word of the language.
    Keyword,
    /// The first word of a pipe stage, and its pipe.
    Stage,
    /// A name of a table or column.
    Name,
    /// A name with an opening parenthesis behind it.
    Function,
    /// A text in single quotes.
    Text,
    /// A number.
    Number,
    /// A parameter: `$name`.
    Parameter,
    /// A comment.
    Comment,
    /// An operator or a bracket.
    Operator,
}

/// Words that are coloured as words of the language. Shorter than the SQL parser's list, in which
/// `step`, `source` and `action` stand too.
pub(super) const KEYWORDS: [&str; 98] = [
    "AGGREGATE",
    "ALL",
    "ANALYZE",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASCADE",
    "CASE",
    "CAST",
    "COLUMNS",
    "CROSS",
    "CUBE",
    "CURRENT",
    "DATASET",
    "DATASETS",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DIFF",
    "DISTINCT",
    "DROP",
    "DUPLICATES",
    "ELSE",
    "END",
    "EVALUATE",
    "EXCEPT",
    "EXCLUDE",
    "EXISTS",
    "EXPLAIN",
    "EXPORT",
    "EXTEND",
    "FALSE",
    "FILTER",
    "FIRST",
    "FOLLOWING",
    "FROM",
    "FULL",
    "FUNCTIONS",
    "GENERATE",
    "GROUP",
    "GROUPING",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "JUDGE",
    "JUDGES",
    "LABELS",
    "LAST",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NATURAL",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PER",
    "PRECEDING",
    "QUALIFY",
    "RANGE",
    "RECURSIVE",
    "RENAME",
    "REPLACE",
    "RESAMPLE",
    "RIGHT",
    "ROLLUP",
    "ROWS",
    "RUNS",
    "SAMPLE",
    "SAVE",
    "SEARCH",
    "SEED",
    "SELECT",
    "SETS",
    "SHOW",
    "TABLES",
    "THEN",
    "TRAIN",
    "TRUE",
    "UNION",
    "USING",
    "VERIFY",
    "WHERE",
];

/// More of them, that are names as often: coloured only where they stand for what they say.
const SOMETIMES: [&str; 8] =
    ["SET", "STEPS", "TABLE", "TRAJECTORIES", "VALUES", "WHEN", "WINDOW", "WITH"];

/// Returns the pieces of `text` that have a class, in order and apart from one another. White space
/// has none. A text or comment that is not closed yet goes to the end.
pub fn highlight(text: &str) -> Vec<(TokenClass, Span)> {
    let lexed = lex(text);
    let tokens = &lexed.tokens;
    let mut pieces: Vec<(TokenClass, Span)> =
        lexed.comments.iter().map(|comment| (TokenClass::Comment, comment.span)).collect();
    for (at, lexeme) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        pieces.push((class(lexeme, before, tokens.get(at + 1)), lexeme.span));
    }
    if let Some((open, error)) = &lexed.open
        && let Some(span) = error.span
    {
        let class = match open {
            Open::Comment => TokenClass::Comment,
            Open::Name => TokenClass::Name,
            Open::Text => TokenClass::Text,
            Open::Bracket | Open::Statement => TokenClass::Operator,
        };
        pieces.push((class, Span::new(span.start, text.len())));
    }
    pieces.sort_by_key(|(_, span)| span.start);
    pieces
}

fn class(lexeme: &Lexeme, before: Option<&Lexeme>, behind: Option<&Lexeme>) -> TokenClass {
    let is_behind = |token: &Token| behind.is_some_and(|lexeme| lexeme.is(token));
    match &lexeme.token.token {
        Token::Word(word) if word.quote_style.is_some() => TokenClass::Name,
        Token::Word(_) if before.is_some_and(|b| b.is(&Token::VerticalBarRightAngleBracket)) => {
            TokenClass::Stage
        }
        Token::Word(_) if before.is_some_and(|lexeme| lexeme.is(&Token::Period)) => {
            TokenClass::Name
        }
        Token::Word(word) => {
            let is = |known: &&str| word.value.eq_ignore_ascii_case(known);
            let is_number = |lexeme: &Lexeme| matches!(lexeme.token.token, Token::Number(..));
            let sometimes = match word.value.to_ascii_uppercase().as_str() {
                "STEPS" | "TRAJECTORIES" => before.is_some_and(is_number),
                _ => !is_behind(&Token::Eq) && !is_behind(&Token::Comma),
            };
            if KEYWORDS.iter().any(&is) || (sometimes && SOMETIMES.iter().any(is)) {
                TokenClass::Keyword
            } else if is_behind(&Token::LParen) {
                TokenClass::Function
            } else {
                TokenClass::Name
            }
        }
        Token::VerticalBarRightAngleBracket => TokenClass::Stage,
        Token::Number(..) => TokenClass::Number,
        Token::Placeholder(_) => TokenClass::Parameter,
        Token::SingleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::QuoteDelimitedStringLiteral(_) => TokenClass::Text,
        _ => TokenClass::Operator,
    }
}
