//! Options behind WITH, read into a structure with their names as fields.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::SessionError;
use super::statement::mistake;
use crate::diag::{Diagnostic, nearest};
use crate::query::syntax::{Literal, WithOption};

/// Returns `defaults` with what the options say. A structure tells its options by being serialised:
/// every field has to be there then, an optional one as null.
///
/// # Errors
/// An option that is none of its fields, with the nearest; a value that its field does not take.
pub(super) fn read<T: Serialize + DeserializeOwned>(
    defaults: &T,
    options: &[WithOption],
    text: &str,
) -> Result<T, SessionError> {
    let fail = |message: String, option: &WithOption, help: Option<String>| {
        let diagnostic = Diagnostic::new("option", message);
        let diagnostic = diagnostic.at(option.name.span.to(option.span));
        mistake(help.into_iter().fold(diagnostic, Diagnostic::help), text)
    };
    let mut fields = fields(defaults)?;
    for option in options {
        let name = &option.name.text;
        if !fields.contains_key(name) {
            let known: Vec<String> = fields.keys().cloned().collect();
            let help = nearest(name, &known, "options", "there are none");
            return Err(fail(format!("unknown option '{name}'"), option, Some(help)));
        }
        fields.insert(name.clone(), value(&option.value));
        if let Err(error) = serde_json::from_value::<T>(Value::Object(fields.clone())) {
            return Err(fail(format!("option '{name}': {error}"), option, None));
        }
    }
    serde_json::from_value(Value::Object(fields)).map_err(unlikely)
}

/// Returns the names of the options that are not as in `defaults`.
///
/// # Errors
/// None that is known: plain data.
pub(super) fn given<T: Serialize>(options: &T, defaults: &T) -> Result<Vec<String>, SessionError> {
    let (options, defaults) = (fields(options)?, fields(defaults)?);
    let is_given = |(name, value): &(String, Value)| defaults.get(name) != Some(value);
    Ok(options.into_iter().filter(is_given).map(|(name, _)| name).collect())
}

/// Returns the names of the options that [`read`] knows.
pub(super) fn names<T: Serialize>(defaults: &T) -> Vec<String> {
    fields(defaults).map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

fn fields<T: Serialize>(defaults: &T) -> Result<Map<String, Value>, SessionError> {
    match serde_json::to_value(defaults).map_err(unlikely)? {
        Value::Object(fields) => Ok(fields),
        other => Err(SessionError::Environment(format!("options that are no structure: {other}"))),
    }
}

fn unlikely(error: serde_json::Error) -> SessionError {
    SessionError::Environment(error.to_string())
}

fn value(literal: &Literal) -> Value {
    match literal {
        Literal::Text(text) => Value::from(text.as_str()),
        Literal::Bool(bool) => Value::from(*bool),
        // Whole numbers of a statement are exact up to 2^53.
        Literal::Number(n) if n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0 => {
            Value::from(*n as i64)
        }
        Literal::Number(number) => Value::from(*number),
    }
}
