//! Bounds on what is parsed, held before the parser sees a token.
//!
//! A tree is read, printed and dropped by functions that call themselves, so its depth must be
//! bounded here: by parentheses, and by operators, for `1 + 1 + 1` is a tree as deep as it is long.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::Lexeme;
use crate::diag::{Diagnostic, Span};

/// The largest statement that is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one text.
    pub length_max: usize,
    /// Parentheses, brackets, braces, CASE and prefix operators inside one another.
    pub nesting_max: usize,
    /// Operators in one expression, counted along its deepest branch.
    pub operators_max: usize,
    /// SELECTs inside one another, of which every pipe stage makes one, and queries joined by UNION
    /// and the like. DataFusion 55 plans one inside the other on about 40 KB of stack each
    /// (measured): plan on a thread with at least `stages_max` times 64 KB.
    pub stages_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { length_max: 1 << 20, nesting_max: 64, operators_max: 1000, stages_max: 64 }
    }
}

/// Returns, for every opening bracket, the index of the one that closes it.
///
/// # Errors
///
/// `unbalanced`: a bracket without its partner; `too-deep`: more of them than `nesting_max`.
pub(super) fn partners(
    lexemes: &[Lexeme],
    limits: &Limits,
) -> Result<Vec<Option<usize>>, Diagnostic> {
    let mut partner = vec![None; lexemes.len()];
    let mut open: Vec<usize> = Vec::new();
    for (at, lexeme) in lexemes.iter().enumerate() {
        let token = &lexeme.token.token;
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                open.push(at);
                if open.len() > limits.nesting_max {
                    return Err(too_deep(lexeme.span, limits));
                }
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                let start = open.pop().filter(|start| closes(&lexemes[*start].token.token, token));
                let Some(start) = start else {
                    let message = format!("'{token}' closes nothing");
                    return Err(Diagnostic::new("unbalanced", message).at(lexeme.span));
                };
                partner[start] = Some(at);
            }
            _ => {}
        }
    }
    match open.last() {
        Some(start) => {
            let lexeme = &lexemes[*start];
            let message = format!("this '{}' is never closed", lexeme.token.token);
            Err(Diagnostic::new("unbalanced", message).at(lexeme.span))
        }
        None => Ok(partner),
    }
}

/// Holds the depth of expressions; the brackets are known to be balanced.
///
/// # Errors
///
/// `too-deep` at the operator or bracket that goes too far.
pub(super) fn check_depth(lexemes: &[Lexeme], limits: &Limits) -> Result<(), Diagnostic> {
    let mut levels: Vec<Level> = vec![Level::default()];
    let mut prefixes = 0;
    let mut sets = 0;
    let mut pipes = 0;
    for lexeme in lexemes {
        let Some(level) = levels.last_mut() else { continue };
        prefixes = if is_prefix(lexeme) { prefixes + 1 } else { prefixes };
        match &lexeme.token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                let outside = level.outside + level.cases + prefixes + 1;
                levels.push(Level { outside, ..Level::default() });
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                let inner = level.deepest.max(level.depth) + 1;
                levels.pop();
                if let Some(level) = levels.last_mut() {
                    level.depth = level.depth.max(inner);
                }
            }
            Token::Comma | Token::SemiColon | Token::VerticalBarRightAngleBracket => {
                pipes += usize::from(lexeme.is(&Token::VerticalBarRightAngleBracket));
                level.deepest = level.deepest.max(level.depth);
                level.depth = 0;
            }
            _ if joins_queries(lexeme) => sets += 1,
            _ if lexeme.is_keyword(Keyword::CASE) => level.cases += 1,
            _ if lexeme.is_keyword(Keyword::END) => level.cases = level.cases.saturating_sub(1),
            _ if counts(lexeme) => level.depth += 1,
            _ => {}
        }
        prefixes = if is_prefix(lexeme) { prefixes } else { 0 };
        let level = levels.last().copied().unwrap_or_default();
        let nesting = level.outside + level.cases + prefixes;
        let is_deep = nesting > limits.nesting_max + 1 || level.depth > limits.operators_max;
        if is_deep || sets > limits.stages_max || pipes > 4 * limits.stages_max {
            return Err(too_deep(lexeme.span, limits));
        }
    }
    Ok(())
}

/// One level of brackets on the way through the tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// The depth of the expression that is being read.
    depth: usize,
    /// The deepest of the expressions of this level before it.
    deepest: usize,
    /// CASEs that are open on this level.
    cases: usize,
    /// How deep the bracket that opened this level stands.
    outside: usize,
}

/// Returns true for a word that joins two queries to one.
fn joins_queries(lexeme: &Lexeme) -> bool {
    [Keyword::UNION, Keyword::INTERSECT, Keyword::EXCEPT, Keyword::MINUS]
        .iter()
        .any(|keyword| lexeme.is_keyword(*keyword))
}

/// Returns true for what may stand before an operand: a run of them nests.
fn is_prefix(lexeme: &Lexeme) -> bool {
    match &lexeme.token.token {
        Token::Word(word) if word.quote_style.is_none() => matches!(
            word.keyword,
            Keyword::NOT | Keyword::INTERVAL | Keyword::PRIOR | Keyword::CONNECT_BY_ROOT
        ),
        Token::LParen | Token::LBracket | Token::LBrace => false,
        Token::RParen | Token::RBracket | Token::RBrace | Token::Mul => false,
        Token::Comma | Token::SemiColon | Token::VerticalBarRightAngleBracket => false,
        _ => counts(lexeme),
    }
}

/// Returns true for a token that adds a level to the tree of its expression.
fn counts(lexeme: &Lexeme) -> bool {
    match &lexeme.token.token {
        Token::Word(word) if word.quote_style.is_none() => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::IS
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::BETWEEN
                | Keyword::NOT
                | Keyword::XOR
                | Keyword::DIV
                | Keyword::MOD
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::RLIKE
                | Keyword::REGEXP
                | Keyword::SIMILAR
                | Keyword::OPERATOR
                | Keyword::OVERLAPS
                | Keyword::NOTNULL
        ),
        Token::Word(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::Period
        | Token::Placeholder(_) => false,
        _ => true,
    }
}

fn closes(open: &Token, close: &Token) -> bool {
    matches!(
        (open, close),
        (Token::LParen, Token::RParen)
            | (Token::LBracket, Token::RBracket)
            | (Token::LBrace, Token::RBrace)
    )
}

pub(super) fn too_deep(span: Span, limits: &Limits) -> Diagnostic {
    let message = format!(
        "the statement is nested too deeply here: up to {} levels of brackets, {} operators in one \
         expression and {} queries inside one another or joined by UNION are read",
        limits.nesting_max, limits.operators_max, limits.stages_max
    );
    Diagnostic::new("too-deep", message)
        .at(span)
        .help("a long chain of `x = 'a' OR x = 'b'` is shorter as `x IN ('a', 'b')`")
}
