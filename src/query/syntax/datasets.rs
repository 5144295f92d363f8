//! Statements about saved datasets.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::ours::Cursor;
use super::reader::Reader;
use super::statement::Name;
use crate::diag::Diagnostic;

/// Something done with saved datasets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatasetStatement {
    /// What the second has that the first has not, and the other way round: `DIFF DATASET a b`.
    Diff {
        /// The first.
        first: Name,
        /// The second.
        second: Name,
    },
    /// Whether it is what was saved: `VERIFY DATASET [name]`; all of them without a name.
    Verify {
        /// The dataset.
        name: Option<Name>,
    },
    /// It is written to a file with its trajectories: `EXPORT DATASET name TO 'file'`.
    Export {
        /// The dataset.
        name: Name,
        /// The file.
        path: Name,
    },
    /// Its rows are forgotten, its trajectories stay: `DROP DATASET name`.
    Drop {
        /// The dataset.
        name: Name,
    },
}

/// Whether the statement that begins with `verb` is one about datasets.
pub(super) fn begins(reader: &Reader<'_>, verb: &str) -> bool {
    match verb {
        "DIFF" | "VERIFY" | "EXPORT" => true,
        "DROP" => reader.lexemes.get(1).is_some_and(|lexeme| lexeme.is_word("DATASET")),
        _ => false,
    }
}

/// Reads the statement that begins with `verb`.
///
/// # Errors
///
/// What was expected, at its place.
pub(super) fn read(reader: &Reader<'_>, verb: &str) -> Result<DatasetStatement, Diagnostic> {
    let mut cursor = Cursor::new(reader, 1..reader.lexemes.len());
    let form = match verb {
        "DIFF" => "DIFF DATASET first second",
        "VERIFY" => {
            "VERIFY DATASET good; without a name all are; `swirl verify DB` checks the rest"
        }
        "EXPORT" => {
            "EXPORT DATASET good TO 'good.swirl.zst', or FROM steps |> ... |> EXPORT TO 'x'"
        }
        _ => "DROP DATASET good",
    };
    let with_form = |error: Diagnostic| error.help(form);
    if !cursor.take_word("DATASET") {
        return Err(with_form(cursor.expected("DATASET")));
    }
    let statement = match verb {
        "DIFF" => {
            let first = name(&mut cursor).map_err(with_form)?;
            let _ = cursor.take(&Token::Comma);
            let second = name(&mut cursor).map_err(with_form)?;
            DatasetStatement::Diff { first, second }
        }
        "VERIFY" => {
            let name = match cursor.peek() {
                Some(_) => Some(name(&mut cursor).map_err(with_form)?),
                None => None,
            };
            DatasetStatement::Verify { name }
        }
        "EXPORT" => {
            let name = name(&mut cursor).map_err(with_form)?;
            let is_file = cursor.take_word("TO")
                && matches!(cursor.peek(), Some(Token::SingleQuotedString(_)));
            if !is_file {
                return Err(with_form(cursor.expected("TO and a file in single quotes")));
            }
            DatasetStatement::Export { name, path: cursor.name("a file")? }
        }
        _ => DatasetStatement::Drop { name: name(&mut cursor).map_err(with_form)? },
    };
    match cursor.peek() {
        None => Ok(statement),
        Some(_) => Err(with_form(cursor.expected("the end of the statement"))),
    }
}

/// Takes the name of a dataset; `dataset.good` is what its table is called.
fn name(cursor: &mut Cursor<'_>) -> Result<Name, Diagnostic> {
    let name = cursor.name("the name of a dataset")?;
    if name.text == "dataset" && cursor.take(&Token::Period) {
        return cursor.name("the name of a dataset");
    }
    Ok(name)
}
