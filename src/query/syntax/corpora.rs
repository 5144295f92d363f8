//! Statements about corpora.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::ours::{Cursor, with_options};
use super::reader::Reader;
use super::statement::{Name, QueryStatement, WithOption, begins_query, query_within};
use crate::diag::Diagnostic;

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
    /// What the second has that the first has not, and the other way round: `DIFF CORPUS a b`.
    Diff {
        /// The first.
        first: Name,
        /// The second.
        second: Name,
    },
    /// Whether it is what was sealed: `VERIFY CORPUS [name]`; all of them without a name.
    Verify {
        /// The corpus.
        name: Option<Name>,
    },
    /// It is written to a file with its fingerprint: `EXPORT CORPUS name TO 'file'`.
    Export {
        /// The corpus.
        name: Name,
        /// The file.
        path: Name,
    },
    /// It is forgotten with its documents: `DROP CORPUS name`.
    Drop {
        /// The corpus.
        name: Name,
    },
}

/// Whether the statement that begins with `verb` is one about corpora.
pub(super) fn begins(reader: &Reader<'_>, verb: &str) -> bool {
    let is_corpus = reader.lexemes.get(1).is_some_and(|lexeme| lexeme.is_word("CORPUS"));
    is_corpus && matches!(verb, "CREATE" | "DIFF" | "VERIFY" | "EXPORT" | "DROP")
}

/// Reads the statement that begins with `verb`.
///
/// # Errors
///
/// What was expected, at its place.
pub(super) fn read(reader: &Reader<'_>, verb: &str) -> Result<CorpusStatement, Diagnostic> {
    let mut cursor = Cursor::new(reader, 2..reader.lexemes.len());
    let form = match verb {
        "CREATE" => {
            "CREATE CORPUS seen WITH (analyzer = 'english') AS FROM tool_calls |> SELECT output AS \
             text; for files: swirl corpus create DB NAME FILES"
        }
        "DIFF" => "DIFF CORPUS first second",
        "VERIFY" => "VERIFY CORPUS wiki; without a name all are",
        "EXPORT" => "EXPORT CORPUS wiki TO 'wiki.jsonl.zst'",
        _ => "DROP CORPUS wiki",
    };
    let with_form = |error: Diagnostic| error.help(form);
    let name = |cursor: &mut Cursor<'_>| cursor.name("the name of a corpus").map_err(with_form);
    let statement = match verb {
        "CREATE" => {
            let name = name(&mut cursor)?;
            let options = match cursor.is_word("WITH") {
                true => with_options(&mut cursor, form)?,
                false => Vec::new(),
            };
            let start = cursor.index() + 1;
            let is_query =
                cursor.take_word("AS") && reader.lexemes.get(start).is_some_and(begins_query);
            if !is_query {
                return Err(with_form(cursor.expected("AS and a query")));
            }
            let query = query_within(reader, start..reader.lexemes.len())?;
            if query.then.is_some() {
                let message = "the rows become documents: nothing else can be done with them";
                let place = reader.span_at(start);
                return Err(with_form(Diagnostic::new("stage-not-last", message).at(place)));
            }
            return Ok(CorpusStatement::Create { name, options, query: Box::new(query) });
        }
        "DIFF" => {
            let first = name(&mut cursor)?;
            let _ = cursor.take(&Token::Comma);
            CorpusStatement::Diff { first, second: name(&mut cursor)? }
        }
        "VERIFY" => match cursor.peek() {
            Some(_) => CorpusStatement::Verify { name: Some(name(&mut cursor)?) },
            None => CorpusStatement::Verify { name: None },
        },
        "EXPORT" => {
            let name = name(&mut cursor)?;
            let is_file = cursor.take_word("TO")
                && matches!(cursor.peek(), Some(Token::SingleQuotedString(_)));
            if !is_file {
                return Err(with_form(cursor.expected("TO and a file in single quotes")));
            }
            CorpusStatement::Export { name, path: cursor.name("a file")? }
        }
        _ => CorpusStatement::Drop { name: name(&mut cursor)? },
    };
    match cursor.peek() {
        None => Ok(statement),
        Some(_) => Err(with_form(cursor.expected("the end of the statement"))),
    }
}
