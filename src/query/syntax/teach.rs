//! Spellings from elsewhere, recognised in order to teach ours.

use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::reader::Reader;
use crate::diag::{Diagnostic, Span, did_you_mean, list_some};

/// The pipe stages that work.
pub(super) const STAGES: [&str; 31] = [
    "WHERE",
    "SELECT",
    "EXTEND",
    "AGGREGATE",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "DISTINCT",
    "SET",
    "DROP",
    "RENAME",
    "AS",
    "JOIN",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "MATCH",
    "MATCH_RECOGNIZE",
    "SAMPLE",
    "SEARCH",
    "SPLIT",
    "SAVE",
    "EXPORT",
    "LABEL",
    "SCORE",
    "SUMMARIZE",
    "TRAIN",
    "JUDGE",
    "GENERATE",
    "EVALUATE",
    "RESAMPLE",
];

/// Words that begin a stage and nothing else, so that one without a pipe is read as an alias.
const ONLY_STAGES: [&str; 9] =
    ["EXTEND", "AGGREGATE", "RENAME", "SAVE", "TRAIN", "MATCH", "SEARCH", "SPLIT", "LABEL"];

/// Words of a clause that stand behind a pipe once a query has begun with FROM.
const CLAUSES: [&str; 12] = [
    "WHERE", "SELECT", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "DISTINCT", "SET", "DROP",
    "JOIN", "SAMPLE",
];

/// Statements of other systems that change data or settings.
const REFUSED: [&str; 34] = [
    "ALTER",
    "ANALYZE",
    "ATTACH",
    "BEGIN",
    "CALL",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DELETE",
    "DETACH",
    "DROP",
    "EXECUTE",
    "GRANT",
    "IMPORT",
    "INSERT",
    "INSTALL",
    "KILL",
    "LOAD",
    "LOCK",
    "MERGE",
    "OPTIMIZE",
    "PRAGMA",
    "PREPARE",
    "RENAME",
    "REPLACE",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SET",
    "TRUNCATE",
    "UPDATE",
    "USE",
    "VACUUM",
];

/// Looks through the tokens of a statement for spellings of other languages.
///
/// # Errors
///
/// `foreign-spelling` at the first, with ours.
pub(super) fn foreign_spelling(reader: &Reader<'_>) -> Result<(), Diagnostic> {
    let lexemes = reader.lexemes;
    for (at, lexeme) in lexemes.iter().enumerate() {
        let next = |ahead: usize| lexemes.get(at + ahead).map(|lexeme| &lexeme.token.token);
        let found = reader.typed(at);
        let written = |ours: &str| format!("'{found}' is written {ours} here");
        let (message, help) = match &lexeme.token.token {
            Token::DoubleEq => (written("="), "two values are compared with one '='"),
            Token::Overlap => (written("AND"), "both conditions: a = 1 AND b = 2"),
            Token::ExclamationMark => (written("NOT"), "a condition is turned round with NOT"),
            Token::Spaceship => {
                (written("IS NOT DISTINCT FROM"), "NULL equals NULL in that comparison")
            }
            Token::Pipe if begins_stage(reader, at + 1) => {
                (written("|>"), "a stage begins with |>")
            }
            Token::Char('\u{2018}' | '\u{2019}') => {
                (written("'"), "a text stands in plain single quotes")
            }
            Token::Char('\u{201c}' | '\u{201d}') => {
                (written("'"), "a text stands in plain single quotes")
            }
            Token::Word(word) if word.quote_style == Some('`') => {
                let message = "a name is not quoted like this here".to_string();
                (message, "a name with capitals or signs stands in double quotes")
            }
            Token::Word(word)
                if word.quote_style.is_none()
                    && word.value.eq_ignore_ascii_case("count")
                    && next(1) == Some(&Token::LParen)
                    && next(2) == Some(&Token::RParen) =>
            {
                (written("count(*)"), "count(*) counts rows, count(x) those where x is not null")
            }
            Token::DuckIntDiv => (written("/"), "between whole numbers '/' gives a whole number"),
            Token::Word(word)
                if word.quote_style.is_none()
                    && at > 0
                    && ["RLIKE", "REGEXP", "DIV"].contains(&found.to_uppercase().as_str())
                    && !matches!(next(1), None | Some(Token::LParen | Token::Comma)) =>
            {
                match word.value.eq_ignore_ascii_case("div") {
                    true => (written("/"), "between whole numbers '/' gives a whole number"),
                    false => (written("~"), "tool ~ 'se.*' finds a regular expression"),
                }
            }
            Token::Placeholder(name) if is_mongo(name) && follows_brace(reader, at) => {
                let message = format!("'{found}' has no meaning here");
                (message, "conditions are written out: reward > 0.5 AND tool IN ('search')")
            }
            _ => continue,
        };
        return Err(Diagnostic::new("foreign-spelling", message).at(lexeme.span).help(help));
    }
    Ok(())
}

fn follows_brace(reader: &Reader<'_>, at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| reader.lexemes[before].is(&Token::LBrace))
}

fn is_mongo(name: &str) -> bool {
    ["$gt", "$gte", "$lt", "$lte", "$eq", "$ne", "$in", "$nin", "$and", "$or", "$match", "$group"]
        .contains(&name)
}

/// Returns true if the word at `at` begins a stage.
fn begins_stage(reader: &Reader<'_>, at: usize) -> bool {
    let is = |word: &&str| reader.lexemes.get(at).is_some_and(|lexeme| lexeme.is_word(word));
    STAGES.iter().any(&is)
        || ["GROUP", "HAVING", "INNER", "LEFT", "RIGHT", "FULL", "CROSS"].iter().any(is)
}

/// Where the SQL parser stopped at the token `at`, says what is really missing: mostly a pipe.
pub(super) fn instead_of_syntax_error(
    reader: &Reader<'_>,
    range: Range<usize>,
    at: usize,
) -> Option<Diagnostic> {
    if !range.contains(&at) {
        return None;
    }
    let word_is =
        |at: usize, words: &[&str]| words.iter().any(|word| reader.lexemes[at].is_word(word));
    let before = at.checked_sub(1).filter(|before| range.contains(before));
    let (level, has_pipe) = level_start(reader, at);
    let is_piped = has_pipe || reader.lexemes[level].is_word("FROM");
    if let Some(before) = before.filter(|before| word_is(*before, &ONLY_STAGES)) {
        return Some(missing_pipe(reader, before));
    }
    if before.is_some_and(|before| word_is(before, &["UNION", "EXCEPT", "INTERSECT", "ALL"])) {
        return None;
    }
    if word_is(at, &ONLY_STAGES) || (is_piped && word_is(at, &CLAUSES) && before.is_some()) {
        return Some(missing_pipe(reader, at));
    }
    if has_pipe && word_is(at, &["FROM"]) {
        let message = "a stage reads the rows before it: FROM has no place here";
        return Some(
            Diagnostic::new("syntax", message)
                .at(reader.lexemes[at].span)
                .help("rows of another table come in with |> JOIN"),
        );
    }
    let limit = reader.level(level..at).any(|at| reader.lexemes[at].is_word("LIMIT"));
    if limit && word_is(at, &["ORDER", "WHERE", "GROUP", "HAVING"]) {
        let message = format!("{} stands before LIMIT", reader.typed(at).to_uppercase());
        return Some(
            Diagnostic::new("clause-order", message).at(reader.lexemes[at].span).help(
                "SELECT ... FROM ... WHERE ... GROUP BY ... HAVING ... ORDER BY ... LIMIT ...",
            ),
        );
    }
    None
}

/// Returns where the query that `at` stands in begins, and whether a pipe stands between.
fn level_start(reader: &Reader<'_>, at: usize) -> (usize, bool) {
    let opened = (0..at).rev().find(|open| reader.partner[*open].is_some_and(|close| close >= at));
    let mut start = opened.map_or(0, |open| open + 1);
    while start < at
        && ["EXPLAIN", "ANALYZE", "ANALYSE"].iter().any(|w| reader.lexemes[start].is_word(w))
    {
        start += 1;
    }
    let pipe = reader
        .level(start..at)
        .any(|at| reader.lexemes[at].is(&Token::VerticalBarRightAngleBracket));
    (start, pipe)
}

/// Says that `|>` is missing before the word at `at`, and shows the statement with it.
fn missing_pipe(reader: &Reader<'_>, at: usize) -> Diagnostic {
    const SHOWN: usize = 120;
    let word = reader.typed(at).to_uppercase();
    let stage = match word.as_str() {
        "GROUP" => "|> AGGREGATE count(*) ",
        "HAVING" => "|> WHERE ",
        _ => "|> ",
    };
    let span = reader.lexemes[at].span;
    let whole = reader.span(0..reader.lexemes.len());
    let behind = if word == "HAVING" { span.end } else { span.start };
    let corrected = format!(
        "{}{stage}{}",
        &reader.text[whole.start..span.start],
        reader.text[behind..whole.end].trim_start()
    );
    let corrected = corrected.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = format!("a stage begins with '|>': it is missing before {word}");
    let help = match corrected.chars().count() <= SHOWN {
        true => corrected,
        false => format!("{stage}{} ...", if word == "HAVING" { "" } else { &word }),
    };
    Diagnostic::new("missing-pipe", message).at(span).help(format!("write: {help}"))
}

/// Adds a "did you mean" if the word at `at` is nearly a keyword that may stand there.
pub(super) fn advise(reader: &Reader<'_>, at: usize, error: Diagnostic) -> Diagnostic {
    let Some(word) = reader.lexemes.get(at).and_then(|lexeme| lexeme.word()) else {
        return error;
    };
    let words = STAGES.iter().chain(&CLAUSES).chain(&["FROM", "BY", "AND", "OR", "NOT"]).copied();
    match did_you_mean(&word.value, words) {
        Some(known) if !known.eq_ignore_ascii_case(&word.value) && word.quote_style.is_none() => {
            error.help(format!("did you mean {known}?"))
        }
        _ => error,
    }
}

/// Says that a pipe is followed by nothing.
pub(super) fn no_stage(reader: &Reader<'_>, at: usize) -> Diagnostic {
    let pipe = at.checked_sub(1).map_or(reader.span_at(at), |pipe| reader.span_at(pipe));
    Diagnostic::new("syntax", "expected a stage after '|>'")
        .at(pipe)
        .help(format!("stages: {}", list_some(STAGES)))
}

/// Says what a word that begins no stage is called here.
pub(super) fn unknown_stage(reader: &Reader<'_>, at: usize) -> Diagnostic {
    let span = reader.span_at(at);
    let word = reader.typed(at).to_uppercase();
    let refused =
        |message: &str, help: &str| Diagnostic::new("unknown-stage", message).at(span).help(help);
    match word.as_str() {
        "GROUP" => refused(
            "groups are made by AGGREGATE",
            "|> AGGREGATE count(*) AS n, avg(reward) AS reward GROUP BY tool",
        ),
        "HAVING" => refused("groups are filtered by WHERE", "|> AGGREGATE ... |> WHERE n > 3"),
        "QUALIFY" => refused("functions with OVER may stand in WHERE", "|> WHERE ... OVER (...)"),
        "TABLESAMPLE" => refused(
            "samples are drawn by SAMPLE, with a seed",
            "|> SAMPLE 500 STEPS SEED 7, or |> SAMPLE 200 TRAJECTORIES SEED 7",
        ),
        "FROM" => refused("a query has one FROM", "rows of another table come in with |> JOIN"),
        "CALL" | "PIVOT" | "UNPIVOT" | "ASSERT" | "WITH" | "FORK" | "TEE" | "IF" | "INSERT"
        | "CREATE" | "DESCRIBE" | "RECURSIVE" | "LOG" => {
            let message = format!("the stage {word} is not supported");
            refused(&message, &format!("stages: {}", list_some(STAGES)))
        }
        "FILTER" => refused("rows are filtered by WHERE", "|> WHERE reward > 0.5"),
        "SORT" => refused("rows are sorted by ORDER BY", "|> ORDER BY reward DESC"),
        "TAKE" | "HEAD" | "TOP" | "FETCH" => refused("rows are cut by LIMIT", "|> LIMIT 10"),
        "MUTATE" | "DERIVE" | "EVAL" | "ADD" => {
            refused("columns are added by EXTEND", "|> EXTEND reward * 2 AS twice")
        }
        "SUMMARISE" | "STATS" => refused("rows are gathered by AGGREGATE", "|> AGGREGATE count(*)"),
        _ => {
            let message = format!("'{}' begins no stage", reader.typed(at));
            let error = Diagnostic::new("unknown-stage", message).at(span);
            match did_you_mean(&word, STAGES) {
                Some(known) => error.help(format!("did you mean {known}?")),
                None => error.help(format!("stages: {}", list_some(STAGES))),
            }
        }
    }
}

/// Says what a statement may begin with.
pub(super) fn unknown_statement(reader: &Reader<'_>, at: usize) -> Diagnostic {
    const VERBS: [&str; 14] = [
        "FROM", "SELECT", "WITH", "EXPLAIN", "DESCRIBE", "SHOW", "VALUES", "TABLE", "DESC", "DIFF",
        "VERIFY", "EXPORT", "GENERATE", "EVALUATE",
    ];
    let span = reader.span_at(at);
    let typed = reader.typed(at);
    let word = typed.to_uppercase();
    if REFUSED.contains(&word.as_str()) {
        let message = format!("{word} is refused: no statement changes what is stored");
        return Diagnostic::new("refused-statement", message).at(span).help(match word.as_str() {
            "DELETE" => "DELETE FROM trajectories WHERE ... is a statement of its own",
            "UPDATE" => {
                "|> LABEL AS name BY 'judge' = value labels anew, and keeps older labels; AS meta \
                 lays a JSON object over the trajectory's"
            }
            "TRUNCATE" => "DELETE FROM trajectories WHERE true",
            _ => "`swirl import` adds trajectories; |> SAVE AS freezes a selection",
        });
    }
    let message = format!("'{typed}' begins no statement");
    let error = Diagnostic::new("unknown-statement", message).at(span);
    if reader.lexemes.len() == 1 && reader.catalog.has_identity(&typed.to_ascii_lowercase()) {
        return error.help(format!("rows of a table: FROM {typed}"));
    }
    match did_you_mean(&word, VERBS) {
        Some(known) => error.help(format!("did you mean {known}?")),
        None if begins_stage(reader, at) => error.help(format!("FROM steps |> {word} ...")),
        None => error.help("FROM steps |> WHERE ..., SELECT ... FROM ..., EXPLAIN, DESCRIBE, SHOW"),
    }
}

/// Says what SHOW lists.
pub(super) fn unknown_show(reader: &Reader<'_>, at: usize) -> Diagnostic {
    const LISTS: [&str; 8] =
        ["TABLES", "COLUMNS", "DATASETS", "DATASET", "RUNS", "JUDGES", "LABELS", "FUNCTIONS"];
    let span = reader.span_at(at);
    let message = match reader.lexemes.get(at) {
        Some(_) => format!("SHOW has no list of '{}'", reader.typed(at)),
        None => "expected what to list after SHOW".into(),
    };
    let error = Diagnostic::new("unknown-show", message).at(span);
    match did_you_mean(reader.typed(at), LISTS) {
        Some(known) => error.help(format!("did you mean SHOW {known}?")),
        None => error.help(format!("SHOW {}", list_some(LISTS))),
    }
}

/// Advises on a name at `span` of `text` that names no column: one in double quotes that was meant
/// as a text. For whoever resolves names.
pub fn unresolved_name(text: &str, span: Span) -> Option<String> {
    let typed = text.get(span.start..span.end)?;
    let inside = typed.strip_prefix('"')?.strip_suffix('"')?;
    let quoted = inside.replace("\"\"", "\"").replace('\'', "''");
    Some(format!("double quotes make a name; a text stands in single quotes: '{quoted}'"))
}
