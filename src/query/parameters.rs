//! Parameters: `$name` in a statement, its value given beside it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Query, UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut,
};

use super::error::{QueryError, TextPlace};
use super::syntax::Literal;
use crate::diag::{Diagnostic, did_you_mean, list_some};

/// Values by name, without the `$`.
pub type Parameters = BTreeMap<String, Literal>;

/// Writes the values of parameters into a query.
///
/// # Errors
/// `unknown-parameter`: one has no value.
pub(super) fn fill(query: &mut Query, values: &Parameters) -> Result<(), QueryError> {
    let mut filling = Filling { values, error: None };
    let _: ControlFlow<()> = query.visit(&mut filling);
    filling.error.map_or(Ok(()), Err)
}

/// Returns a statement's text with a comment for each parameter that it names, so that it can be
/// run again as it was.
pub fn with_values(text: &str, values: &Parameters) -> String {
    let is_named = |name: &str| {
        let behind = |at: usize| text[at + 1 + name.len()..].chars().next();
        let ends = |at: usize| !behind(at).is_some_and(|c| c.is_alphanumeric() || c == '_');
        text.match_indices(&format!("${name}")).any(|(at, _)| ends(at))
    };
    let named = values.iter().filter(|(name, _)| is_named(name));
    let comments = named.map(|(name, value)| {
        let value = match value {
            // A comment ends with its line.
            Literal::Text(text) if text.contains(['\n', '\r']) => {
                serde_json::Value::from(text.as_str()).to_string()
            }
            other => written(other),
        };
        format!("\n-- ${name} = {value}")
    });
    text.to_owned() + &comments.collect::<String>()
}

/// Reads the comments that [`with_values`] writes behind a statement.
pub fn values_behind(text: &str) -> Parameters {
    let value = |text: &str| match text.strip_prefix('"') {
        Some(_) => serde_json::from_str(text).ok().map(Literal::Text),
        None => {
            let quoted = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            Some(match quoted {
                Some(inner) => Literal::Text(inner.replace("''", "'")),
                None => given(text),
            })
        }
    };
    let comment = |line: &str| {
        let (name, text) = line.strip_prefix("-- $")?.split_once(" = ")?;
        Some((name.to_owned(), value(text)?))
    };
    text.lines().filter_map(comment).collect()
}

/// Returns a value as it is written in SQL.
pub fn written(value: &Literal) -> String {
    match value {
        Literal::Number(number) => number.to_string(),
        Literal::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Literal::Bool(bool) => bool.to_string(),
    }
}

/// Reads a value as it is given on a command line: true, false, a number, or else a text, which
/// may stand in single quotes.
pub fn given(text: &str) -> Literal {
    match (text, text.parse::<f64>()) {
        ("true", _) => Literal::Bool(true),
        ("false", _) => Literal::Bool(false),
        (_, Ok(number)) if number.is_finite() => Literal::Number(number),
        _ => {
            let quoted = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
            Literal::Text(quoted.unwrap_or(text).to_owned())
        }
    }
}

struct Filling<'a> {
    values: &'a Parameters,
    error: Option<QueryError>,
}

impl VisitorMut for Filling<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), span }) = expr else {
            return ControlFlow::Continue(());
        };
        let span = *span;
        let bare = name.trim_start_matches('$');
        let with_place = |value| Expr::Value(ValueWithSpan { value, span });
        match self.values.get(bare) {
            Some(Literal::Bool(bool)) => *expr = with_place(Value::Boolean(*bool)),
            Some(Literal::Text(text)) => {
                *expr = with_place(Value::SingleQuotedString(text.clone()));
            }
            Some(Literal::Number(number)) => {
                let size = with_place(Value::Number(number.abs().to_string(), false));
                *expr = match number.is_sign_negative() {
                    true => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(size) },
                    false => size,
                };
            }
            None => {
                let message = format!("the parameter {name} has no value");
                let mut diagnostic = Diagnostic::new("unknown-parameter", message);
                let known = || self.values.keys().map(String::as_str);
                diagnostic = match did_you_mean(bare, known()) {
                    Some(near) => diagnostic.help(format!("did you mean '${near}'?")),
                    None if self.values.is_empty() => diagnostic,
                    None => diagnostic.help(format!("parameters: {}", list_some(known()))),
                };
                let help = format!("--param {bare}=7 on the command line, .params {bare} = 7 here");
                let placed = QueryError::Placed(diagnostic.help(help), TextPlace::Parsed(span));
                self.error = Some(placed);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}
