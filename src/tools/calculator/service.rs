//! The calculator as a tool.

use serde_json::{Value, json};

use super::evaluate::evaluate;
use super::functions;
use crate::diag::Diagnostic;
use crate::tools::tool::{Tool, ToolOutput, ToolSpec};

/// Changes whenever an expression may be answered otherwise.
const VERSION: &str = "1";

/// The longest expression that errors quote.
const QUOTED_CHARACTERS_MAX: usize = 200;

/// The tool `calculator`: one argument, `expression`.
#[derive(Clone, Debug)]
pub struct Calculator {
    spec: ToolSpec,
}

impl Default for Calculator {
    fn default() -> Calculator {
        Calculator::new()
    }
}

impl Calculator {
    /// Returns the calculator.
    pub fn new() -> Calculator {
        let names: Vec<&str> = functions::names().collect();
        let description = format!(
            "Calculates one arithmetic expression exactly and returns the number. Operators: \
             + - * / // % (remainder, or percent behind a number) ^ or ** (power), ! (factorial). \
             Angles are in radians; log is the natural logarithm. Functions and constants: {}.",
            names.join(", ")
        );
        let parameters = json!({
            "type": "object",
            "properties": {
                "expression": {
                    "type": "string",
                    "description": "The expression, as in (12.5 + 3) * 4 / sqrt(2)",
                },
            },
            "required": ["expression"],
            "additionalProperties": false,
        });
        Calculator { spec: ToolSpec::new("calculator", description, parameters, VERSION) }
    }
}

impl Tool for Calculator {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call(&self, arguments: &Value, cancelled: &dyn Fn() -> bool) -> ToolOutput {
        let Some(expression) = arguments.get("expression").and_then(Value::as_str) else {
            return ToolOutput::error("'expression' is missing; expected a string");
        };
        match evaluate(expression, cancelled) {
            Ok(answer) => ToolOutput::text(&answer.text)
                .with_structured(json!({ "value": answer.text, "exact": answer.is_exact })),
            Err(error) => ToolOutput::error(explain(&error, expression)),
        }
    }
}

/// Returns an error with its place: in the expression, where that is short, else by number.
fn explain(error: &Diagnostic, expression: &str) -> String {
    let is_short = expression.chars().take(QUOTED_CHARACTERS_MAX + 1).count()
        <= QUOTED_CHARACTERS_MAX
        && !expression.contains(char::is_control);
    if is_short {
        return error.render(expression).trim_end().to_owned();
    }
    let place = error.span.map_or(String::new(), |span| {
        let before = expression.get(..span.start).unwrap_or(expression);
        format!(" at character {}", before.chars().count() + 1)
    });
    let help: String = error.help.iter().map(|advice| format!("; {advice}")).collect();
    format!("error{place}: {}{help}", error.message)
}
