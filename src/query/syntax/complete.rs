//! What may be typed at the cursor, for a prompt that completes words.
//!
//! Only tokens are looked at: half a statement has no tree. What is offered is a guess that costs
//! nothing when it is wrong.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::teach::STAGES;
use super::tokens::{Lexeme, Open, lex};
use crate::diag::Span;

/// What is expected at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The word under the cursor up to the cursor: what a completion replaces.
    pub word: Span,
    /// Words of the language that may stand there, in capitals.
    pub keywords: Vec<&'static str>,
    /// The name that may stand there.
    pub name: Option<NameKind>,
    /// The relations that the statement names after FROM and JOIN, with their aliases.
    pub relations: Vec<(String, Option<String>)>,
}

/// What a name may be of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A table, or a query that WITH names.
    Table,
    /// A column or a function.
    Column,
    /// A column of this relation or alias.
    ColumnOf(String),
    /// A value of this column, inside of a text.
    Value(String),
    /// A dataset.
    Dataset,
    /// An option of a verb: `TRAIN`, `GENERATE`.
    OptionOf(&'static str),
}

const STATEMENTS: [&str; 14] = [
    "FROM",
    "SELECT",
    "WITH",
    "EXPLAIN",
    "DESCRIBE",
    "SHOW",
    "GENERATE",
    "EVALUATE",
    "DIFF DATASET",
    "DIFF RUNS",
    "VERIFY DATASET",
    "EXPORT DATASET",
    "DROP DATASET",
    "DELETE FROM trajectories WHERE",
];
/// Verbs with options behind WITH.
const WITH_OPTIONS: [&str; 5] = ["TRAIN", "GENERATE", "EVALUATE", "RESAMPLE", "JUDGE"];
const LISTS: [&str; 8] =
    ["TABLES", "COLUMNS FROM", "DATASETS", "DATASET", "RUNS", "JUDGES", "LABELS", "FUNCTIONS"];
const CONDITIONS: [&str; 9] =
    ["AND", "OR", "IN (", "LIKE", "BETWEEN", "IS NULL", "IS NOT NULL", "|>", "NOT"];

/// Returns what may be typed at the byte `cursor` of `text`.
pub fn complete(text: &str, cursor: usize) -> Expected {
    let cursor = (0..=cursor.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    let text = &text[..cursor.unwrap_or(0)];
    let lexed = lex(text);
    let after = lexed.tokens.iter().rposition(|lexeme| lexeme.is(&Token::SemiColon));
    let mut tokens = &lexed.tokens[after.map_or(0, |at| at + 1)..];
    let relations = relations(tokens);
    let end = Span::new(text.len(), text.len());
    let nothing = Expected { word: end, keywords: vec![], name: None, relations };
    if let Some((open, error)) = &lexed.open {
        let start = error.span.map_or(text.len(), |span| span.start);
        let word = Span::new((start + 1).min(text.len()), text.len());
        let name = match open {
            Open::Text => compared_column(tokens).map(NameKind::Value),
            Open::Name => Some(NameKind::Column),
            Open::Comment | Open::Bracket | Open::Statement => None,
        };
        return Expected { word, name, ..nothing };
    }
    if lexed.comments.last().is_some_and(|c| c.span.end == text.len() && !text.ends_with("*/")) {
        return nothing;
    }
    let mut word = end;
    if let Some((last, rest)) = tokens.split_last()
        && last.span.end == text.len()
        && last.word().is_some()
    {
        word = last.span;
        tokens = rest;
    }
    let (keywords, name) = expected(tokens);
    Expected { word, keywords, name, ..nothing }
}

/// Returns what may follow the tokens of a statement.
fn expected(tokens: &[Lexeme]) -> (Vec<&'static str>, Option<NameKind>) {
    let Some(last) = tokens.last() else { return (STATEMENTS.to_vec(), None) };
    let before = tokens.len().checked_sub(2).map(|at| &tokens[at]);
    let is = |word: &str| last.is_word(word);
    let column = (vec![], Some(NameKind::Column));
    match &last.token.token {
        Token::VerticalBarRightAngleBracket => return (STAGES.to_vec(), None),
        Token::Period => {
            let relation = before.and_then(|lexeme| lexeme.word());
            return (vec![], relation.map(|word| NameKind::ColumnOf(word.value.clone())));
        }
        _ if is("FROM") || is("JOIN") || is("DESCRIBE") || is("TABLE") => {
            return (vec![], Some(NameKind::Table));
        }
        _ if is("SHOW") => return (LISTS.to_vec(), None),
        _ if is("DATASET") => return (vec![], Some(NameKind::Dataset)),
        _ if is("EXPLAIN") => return (vec!["ANALYZE", "FROM", "SELECT"], None),
        _ if is("ORDER") || is("GROUP") || is("PARTITION") => return (vec!["BY"], None),
        _ if is("SAVE") || is("SCORE") || is("JUDGE") => return (vec!["AS"], None),
        _ if is("TRAIN") || is("GENERATE") || is("EVALUATE") || is("RESAMPLE") => {
            return (vec!["WITH ("], None);
        }
        _ => {}
    }
    let stage = tokens.iter().rposition(|l| l.is(&Token::VerticalBarRightAngleBracket));
    let first = stage.map(|at| &tokens[at..]).and_then(|stage| stage.get(1));
    if first.is_none()
        && let [verb, word, _, rest @ ..] = tokens
        && word.is_word("DATASET")
    {
        return match rest.is_empty() {
            true if verb.is_word("DIFF") => (vec![], Some(NameKind::Dataset)),
            true if verb.is_word("EXPORT") => (vec!["TO '"], None),
            _ => (vec![], None),
        };
    }
    let in_stage = |word: &str| first.is_some_and(|lexeme| lexeme.is_word(word));
    let verb = stage.map_or(tokens.first(), |_| first);
    let takes_options = |word: &&&str| verb.is_some_and(|lexeme| lexeme.is_word(word));
    if let Some(verb) = WITH_OPTIONS.iter().find(takes_options)
        && matches!(last.token.token, Token::LParen | Token::Comma)
    {
        return (vec![], Some(NameKind::OptionOf(verb)));
    }
    if in_stage("SAMPLE") {
        return match &last.token.token {
            Token::Number(..) if before.is_some_and(|b| b.is_word("SEED")) => (vec!["|>"], None),
            Token::Number(..) => (vec!["STEPS", "TRAJECTORIES"], None),
            Token::Word(_) if is("STEPS") || is("TRAJECTORIES") => (vec!["SEED"], None),
            _ => (vec![], None),
        };
    }
    if in_stage("SPLIT") && !tokens.iter().any(|l| l.is_word("BY")) {
        return match &last.token.token {
            Token::Number(..) if before.is_some_and(|b| b.is_word("SEED")) => (vec!["|>"], None),
            Token::Number(..) => (vec!["BY", "SEED"], None),
            _ => (vec![], None),
        };
    }
    let in_from = clause(tokens).is_some_and(|lexeme| lexeme.is_word("FROM"));
    match &last.token.token {
        Token::Comma if in_from => (vec![], Some(NameKind::Table)),
        Token::Word(word) if word.quote_style.is_none() && opens_operand(&word.value) => column,
        Token::Word(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::RParen => {
            (follow(tokens, stage.is_some(), in_from), None)
        }
        _ => column,
    }
}

/// Returns true for a word behind which an expression stands.
fn opens_operand(word: &str) -> bool {
    [
        "WHERE",
        "SELECT",
        "EXTEND",
        "AGGREGATE",
        "SET",
        "DROP",
        "RENAME",
        "BY",
        "AND",
        "OR",
        "NOT",
        "ON",
        "WHEN",
        "THEN",
        "ELSE",
        "CASE",
        "BETWEEN",
        "IN",
        "LIKE",
        "ILIKE",
        "DISTINCT",
        "HAVING",
        "QUALIFY",
        "USING",
        "WINDOW",
    ]
    .iter()
    .any(|known| word.eq_ignore_ascii_case(known))
}

/// Returns what may follow an operand.
fn follow(tokens: &[Lexeme], has_pipe: bool, in_from: bool) -> Vec<&'static str> {
    let clause = clause(tokens);
    let is = |word: &str| clause.is_some_and(|lexeme| lexeme.is_word(word));
    if in_from {
        let piped = tokens.first().is_some_and(|lexeme| !lexeme.is_word("SELECT"));
        return match piped || has_pipe {
            true => vec!["|>", "AS", "JOIN", "LEFT JOIN", "USING (", "ON"],
            false => vec!["WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "AS", "|>"],
        };
    }
    if is("WHERE") || is("ON") || is("HAVING") || is("QUALIFY") {
        return CONDITIONS.to_vec();
    }
    if is("ORDER") {
        return vec!["DESC", "ASC", "NULLS LAST", "|>", "LIMIT"];
    }
    if is("AGGREGATE") {
        return vec!["AS", "GROUP BY", "DESC", "|>"];
    }
    if is("SELECT") && !has_pipe {
        return vec!["AS", "FROM"];
    }
    vec!["AS", "|>"]
}

/// Returns the word that begins the clause or stage that the last token stands in.
fn clause(tokens: &[Lexeme]) -> Option<&Lexeme> {
    const CLAUSES: [&str; 12] = [
        "FROM",
        "WHERE",
        "SELECT",
        "EXTEND",
        "AGGREGATE",
        "ORDER",
        "GROUP",
        "HAVING",
        "QUALIFY",
        "ON",
        "SET",
        "LIMIT",
    ];
    tokens.iter().rev().find(|lexeme| CLAUSES.iter().any(|word| lexeme.is_word(word)))
}

/// Returns the column that an unfinished text is compared with: `tool = 'se`, `tool IN ('a', 'b`.
fn compared_column(tokens: &[Lexeme]) -> Option<String> {
    let is_between = |lexeme: &Lexeme| {
        matches!(
            lexeme.token.token,
            Token::Eq | Token::Neq | Token::LParen | Token::Comma | Token::SingleQuotedString(_)
        ) || ["IN", "NOT", "LIKE", "ILIKE"].iter().any(|word| lexeme.is_word(word))
    };
    let column = tokens.iter().rev().find(|lexeme| !is_between(lexeme))?;
    if column.span == tokens.last()?.span {
        return None;
    }
    column.word().map(|word| word.value.clone())
}

/// Returns the relations behind FROM, JOIN and the commas between them, with their aliases.
fn relations(tokens: &[Lexeme]) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for (at, lexeme) in tokens.iter().enumerate() {
        let is_first = lexeme.is_word("FROM") || lexeme.is_word("JOIN");
        let Some(name) = tokens.get(at + 1).and_then(Lexeme::word).filter(|_| is_first) else {
            continue;
        };
        let next = tokens.get(at + 2);
        let skip = usize::from(next.is_some_and(|lexeme| lexeme.is_word("AS")));
        let alias = tokens.get(at + 2 + skip).and_then(Lexeme::word).filter(|word| {
            skip == 1
                || !super::highlight::KEYWORDS.iter().any(|k| word.value.eq_ignore_ascii_case(k))
        });
        found.push((name.value.clone(), alias.map(|word| word.value.clone())));
    }
    found
}
