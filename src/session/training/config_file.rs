//! A training run as a TOML file.
//!
//! ```toml
//! query = "FROM steps |> WHERE process > .5"
//! name = "first"
//! model = "models/SmolLM2-135M-Instruct.Q4_1.gguf"
//! objective = "sft"
//! learning_rate = 2e-4
//! target_modules = ["q_proj", "v_proj"]
//! ```
//! `query` gives the rows (or `dataset` names a saved one), `name` the run; everything else is an
//! option of TRAIN. The file becomes the statement that says the same, which is what the run's
//! record holds.

use std::path::Path;

use toml::{Table, Value};

use crate::diag::Diagnostic;
use crate::session::error::SessionError;

/// Returns the statement that a file stands for.
///
/// # Errors
/// The file cannot be read, is no TOML, names no rows, or holds a value that no option has.
pub fn train_statement(path: &Path) -> Result<String, SessionError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| SessionError::mistake("file", format!("{}: {e}", path.display())))?;
    statement(&text).map_err(|mut diagnostic| {
        diagnostic.message = format!("{}: {}", path.display(), diagnostic.message);
        SessionError::Mistake { diagnostic, text: String::new() }
    })
}

fn fail(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new("train-config", message)
}

fn statement(text: &str) -> Result<String, Diagnostic> {
    let mut table: Table = text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        fail(format!("line {line}: {}", e.message()))
    })?;
    let mut take = |name: &str| match table.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            let message = format!("'{name}' is a {}, expected a text", other.type_str());
            Err(fail(message))
        }
    };
    let (query, dataset, name) = (take("query")?, take("dataset")?, take("name")?);
    let rows = match (query, dataset) {
        (Some(query), None) => query.trim().trim_end_matches(';').trim_end().to_owned(),
        (None, Some(dataset)) => format!("FROM dataset.{}", quoted(&dataset, '"')),
        (Some(_), Some(_)) => {
            return Err(fail("it has 'query' and 'dataset': one of them gives the rows"));
        }
        (None, None) => {
            let help = "query = \"FROM steps |> WHERE process > .5\"";
            return Err(
                fail("it has neither 'query' nor 'dataset', which give the rows").help(help)
            );
        }
    };
    let options: Vec<String> = table
        .iter()
        .map(|(name, value)| Ok(format!("{} = {}", word(name)?, literal(name, value)?)))
        .collect::<Result<_, Diagnostic>>()?;
    let name = name.map(|name| format!(" AS {}", quoted(&name, '"'))).unwrap_or_default();
    Ok(format!("{rows}\n|> TRAIN WITH ({}){name}", options.join(", ")))
}

/// Returns the name of an option, if it is one.
fn word(name: &str) -> Result<&str, Diagnostic> {
    let is_word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match is_word && name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => Ok(name),
        false => Err(fail(format!("'{name}' is no name of an option"))),
    }
}

fn literal(name: &str, value: &Value) -> Result<String, Diagnostic> {
    Ok(match value {
        Value::String(text) => quoted(text, '\''),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) if number.is_finite() => format!("{number:?}"),
        Value::Boolean(value) => value.to_string(),
        Value::Array(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            let texts =
                texts.ok_or_else(|| fail(format!("'{name}' is a list, expected of texts")))?;
            quoted(&texts.join(","), '\'')
        }
        other => {
            let found = other.type_str();
            let expected = "expected a number, a text, true or false";
            return Err(fail(format!("'{name}' is a {found}, {expected}")));
        }
    })
}

fn quoted(text: &str, mark: char) -> String {
    format!("{mark}{}{mark}", text.replace(mark, &format!("{mark}{mark}")))
}
