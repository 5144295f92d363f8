//! Statements about what a database keeps by name and never changes: datasets and corpora.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::ours::{Cursor, with_options};
use super::reader::Reader;
use super::statement::{
    Name, QueryStatement, StatementKind, WithOption, begins_query, query_within,
};
use crate::diag::Diagnostic;

/// Something done with saved datasets, or with corpora.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SavedStatement {
    /// What the second has that the first has not, and the other way round: `DIFF DATASET a b`.
    Diff {
        /// The first.
        first: Name,
        /// The second.
        second: Name,
    },
    /// Whether it is what was saved: `VERIFY DATASET [name]`; all of them without a name.
    Verify {
        /// The dataset or corpus.
        name: Option<Name>,
    },
    /// It is written to a file with all that belongs to it: `EXPORT DATASET name TO 'file'`.
    Export {
        /// The dataset or corpus.
        name: Name,
        /// The file.
        path: Name,
    },
    /// It is forgotten: `DROP DATASET name`. The trajectories of a dataset stay, the documents of a
    /// corpus do not.
    Drop {
        /// The dataset or corpus.
        name: Name,
    },
}

/// Something done with corpora.
#[derive(Clone, Debug)]
pub enum CorpusStatement {
    /// The rows of a query become documents: `CREATE CORPUS name [WITH (...)] AS query`.
    Create {
        /// The corpus.
        name: Name,
        /// How it is searched.
        options: Vec<WithOption>,
        /// Gives a column `text`, and perhaps `id`, `title` and `metadata`.
        query: Box<QueryStatement>,
    },
    /// What is done with datasets too.
    Saved(SavedStatement),
}

/// A kind of what is kept, and how its statements are written.
struct Kind {
    word: &'static str,
    /// What comes before a name where it is a table: `dataset.good`.
    schema: &'static str,
    /// What is expected where a name belongs.
    expected: &'static str,
    diff: &'static str,
    verify: &'static str,
    export: &'static str,
    drop: &'static str,
}

const DATASET: Kind = Kind {
    word: "DATASET",
    schema: "dataset",
    expected: "the name of a dataset",
    diff: "DIFF DATASET first second",
    verify: "VERIFY DATASET good; without a name all are; `swirl verify DB` checks the rest",
    export: "EXPORT DATASET good TO 'good.swirl.zst', or FROM steps |> ... |> EXPORT TO 'x'",
    drop: "DROP DATASET good",
};

const CORPUS: Kind = Kind {
    word: "CORPUS",
    schema: "corpus",
    expected: "the name of a corpus",
    diff: "DIFF CORPUS first second",
    verify: "VERIFY CORPUS wiki; without a name all are",
    export: "EXPORT CORPUS wiki TO 'wiki.jsonl.zst'",
    drop: "DROP CORPUS wiki",
};

const CREATE_CORPUS: &str = "CREATE CORPUS seen WITH (analyzer = 'english') AS FROM tool_calls |> \
                             SELECT output AS text; for files: swirl corpus create DB NAME FILES";

/// Whether the statement that begins with `verb` is one about datasets.
pub(super) fn begins_dataset(reader: &Reader<'_>, verb: &str) -> bool {
    match verb {
        "DIFF" | "VERIFY" | "EXPORT" => true,
        "DROP" => names_kind(reader, &DATASET),
        _ => false,
    }
}

/// Whether the statement that begins with `verb` is one about corpora.
pub(super) fn begins_corpus(reader: &Reader<'_>, verb: &str) -> bool {
    matches!(verb, "CREATE" | "DIFF" | "VERIFY" | "EXPORT" | "DROP") && names_kind(reader, &CORPUS)
}

fn names_kind(reader: &Reader<'_>, kind: &Kind) -> bool {
    reader.lexemes.get(1).is_some_and(|lexeme| lexeme.is_word(kind.word))
}

/// Reads the statement about datasets that begins with `verb`.
///
/// # Errors
///
/// What was expected, at its place.
pub(super) fn dataset(reader: &Reader<'_>, verb: &str) -> Result<SavedStatement, Diagnostic> {
    saved(reader, verb, &DATASET)
}

/// Reads the statement about corpora that begins with `verb`.
///
/// # Errors
///
/// What was expected, at its place.
pub(super) fn corpus(reader: &Reader<'_>, verb: &str) -> Result<CorpusStatement, Diagnostic> {
    if verb == "CREATE" { create(reader) } else { saved(reader, verb, &CORPUS).map(Into::into) }
}

impl From<SavedStatement> for CorpusStatement {
    fn from(statement: SavedStatement) -> CorpusStatement {
        CorpusStatement::Saved(statement)
    }
}

/// Reads `DIFF RUNS first second`.
///
/// # Errors
///
/// What was expected, at its place.
pub(super) fn diff_runs(reader: &Reader<'_>) -> Result<StatementKind, Diagnostic> {
    let mut cursor = Cursor::new(reader, 2..reader.lexemes.len());
    let with_form = |error: Diagnostic| error.help("DIFF RUNS first second");
    let first = cursor.name("the name of a run").map_err(with_form)?;
    let _ = cursor.take(&Token::Comma);
    let second = cursor.name("the name of a run").map_err(with_form)?;
    match cursor.peek() {
        None => Ok(StatementKind::DiffRuns { first, second }),
        Some(_) => Err(with_form(cursor.expected("the end of the statement"))),
    }
}

fn create(reader: &Reader<'_>) -> Result<CorpusStatement, Diagnostic> {
    let with_form = |error: Diagnostic| error.help(CREATE_CORPUS);
    let mut cursor = Cursor::new(reader, 2..reader.lexemes.len());
    let name = cursor.name(CORPUS.expected).map_err(with_form)?;
    let options = match cursor.is_word("WITH") {
        true => with_options(&mut cursor, CREATE_CORPUS)?,
        false => Vec::new(),
    };
    let start = cursor.index() + 1;
    let is_query = cursor.take_word("AS") && reader.lexemes.get(start).is_some_and(begins_query);
    if !is_query {
        return Err(with_form(cursor.expected("AS and a query")));
    }
    let query = query_within(reader, start..reader.lexemes.len())?;
    if query.then.is_some() {
        let message = "the rows become documents: nothing else can be done with them";
        let place = reader.span_at(start);
        return Err(with_form(Diagnostic::new("stage-not-last", message).at(place)));
    }
    Ok(CorpusStatement::Create { name, options, query: Box::new(query) })
}

fn saved(reader: &Reader<'_>, verb: &str, kind: &Kind) -> Result<SavedStatement, Diagnostic> {
    let mut cursor = Cursor::new(reader, 1..reader.lexemes.len());
    let form = match verb {
        "DIFF" => kind.diff,
        "VERIFY" => kind.verify,
        "EXPORT" => kind.export,
        _ => kind.drop,
    };
    let with_form = |error: Diagnostic| error.help(form);
    if !cursor.take_word(kind.word) {
        return Err(with_form(cursor.expected(kind.word)));
    }
    let name = |cursor: &mut Cursor<'_>| name(cursor, kind).map_err(with_form);
    let statement = match verb {
        "DIFF" => {
            let first = name(&mut cursor)?;
            let _ = cursor.take(&Token::Comma);
            SavedStatement::Diff { first, second: name(&mut cursor)? }
        }
        "VERIFY" => {
            let name = cursor.peek().map(|_| name(&mut cursor)).transpose()?;
            SavedStatement::Verify { name }
        }
        "EXPORT" => {
            let name = name(&mut cursor)?;
            let is_file = cursor.take_word("TO")
                && matches!(cursor.peek(), Some(Token::SingleQuotedString(_)));
            if !is_file {
                return Err(with_form(cursor.expected("TO and a file in single quotes")));
            }
            SavedStatement::Export { name, path: cursor.name("a file")? }
        }
        _ => SavedStatement::Drop { name: name(&mut cursor)? },
    };
    match cursor.peek() {
        None => Ok(statement),
        Some(_) => Err(with_form(cursor.expected("the end of the statement"))),
    }
}

/// Takes a name; `dataset.good` is what the table of the dataset `good` is called.
fn name(cursor: &mut Cursor<'_>, kind: &Kind) -> Result<Name, Diagnostic> {
    let name = cursor.name(kind.expected)?;
    if name.text == kind.schema && cursor.take(&Token::Period) {
        return cursor.name(kind.expected);
    }
    Ok(name)
}
