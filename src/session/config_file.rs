//! A run as a TOML file.
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
//! option of the verb. The file becomes the statement that says the same, which is what the run's
//! record holds. Where the verb can take its questions from a file, there may be neither.

use std::path::Path;

use toml::{Table, Value};

use super::error::SessionError;
use crate::diag::Diagnostic;
use crate::query::syntax::RolloutVerb;

/// What a file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigVerb {
    /// `TRAIN`.
    Train,
    /// `GENERATE`, `EVALUATE` or `RESAMPLE`.
    Rollout(RolloutVerb),
    /// `JUDGE`; the file says `label`.
    Judge,
}

impl ConfigVerb {
    fn as_str(self) -> &'static str {
        match self {
            ConfigVerb::Train => "TRAIN",
            ConfigVerb::Rollout(verb) => verb.as_str(),
            ConfigVerb::Judge => "JUDGE",
        }
    }

    fn needs_rows(self) -> bool {
        !matches!(self, ConfigVerb::Rollout(RolloutVerb::Generate | RolloutVerb::Evaluate))
    }
}

/// Returns the statement that a file stands for.
///
/// # Errors
/// The file cannot be read, is no TOML, names no rows, or holds a value that no option has.
pub fn config_statement(path: &Path, verb: ConfigVerb) -> Result<String, SessionError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| SessionError::mistake("file", format!("{}: {e}", path.display())))?;
    statement(&text, verb).map_err(|mut diagnostic| {
        diagnostic.message = format!("{}: {}", path.display(), diagnostic.message);
        SessionError::Mistake { diagnostic, text: String::new() }
    })
}

fn fail(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new("train-config", message)
}

fn statement(text: &str, verb: ConfigVerb) -> Result<String, Diagnostic> {
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
    let label = if verb == ConfigVerb::Judge { take("label")? } else { None };
    let rows = match (query, dataset) {
        (None, None) if !verb.needs_rows() => String::new(),
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
    let pipe = if rows.is_empty() { "" } else { "\n|> " };
    let named = |name: Option<String>| {
        name.map(|name| format!(" AS {}", quoted(&name, '"'))).unwrap_or_default()
    };
    let (label, name, verb) = (named(label), named(name), verb.as_str());
    Ok(format!("{rows}{pipe}{verb}{label} WITH ({}){name}", options.join(", ")))
}

/// Returns the name of an option.
///
/// # Errors
/// It can be none.
pub(super) fn word(name: &str) -> Result<&str, Diagnostic> {
    let is_word = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
    match is_word && name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => Ok(name),
        false => Err(fail(format!("'{name}' is no name of an option"))),
    }
}

/// Returns a value as a statement has it: a list of texts is one text, joined by commas.
///
/// # Errors
/// A value that no option takes.
pub(super) fn literal(name: &str, value: &Value) -> Result<String, Diagnostic> {
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

/// Returns a text between marks, those within it doubled.
pub(super) fn quoted(text: &str, mark: char) -> String {
    format!("{mark}{}{mark}", text.replace(mark, &format!("{mark}{mark}")))
}
