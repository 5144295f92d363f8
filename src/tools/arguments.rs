//! Checks arguments against the JSON schema of a tool's parameters, and words what does not fit
//! for the agent that wrote them.
//!
//! The keywords that tools use are checked: `type`, `properties`, `required`, `items`, `enum`,
//! `const`, `anyOf`, `oneOf`, the bounds of numbers, of the length of texts and of lists. What a
//! schema says beyond them is left to the tool. A name that is not among the properties is refused
//! unless `additionalProperties` allows it: in JSON schema it would be allowed by silence, but an
//! agent that misspells an option must hear of it.

use serde_json::{Map, Value};

use super::tool::ToolSpec;
use crate::diag::did_you_mean;

/// How deep arguments are followed.
const DEPTH_MAX: usize = 32;

/// How many faults one answer names.
const FAULTS_SHOWN: usize = 5;

/// Returns what in `arguments` does not fit `schema`, a sentence each; nothing where all fits.
pub(super) fn check(schema: &Value, arguments: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if !arguments.is_object() {
        faults.push(format!("the arguments are {}; expected an object", kind(arguments)));
        return faults;
    }
    check_value(schema, arguments, "", 0, &mut faults);
    faults
}

/// Returns faults as one text for the agent, with what the tool takes.
pub(super) fn explain(spec: &ToolSpec, faults: &[String]) -> String {
    let mut text = format!("the tool '{}' was not called: ", spec.name);
    text.push_str(&faults[..faults.len().min(FAULTS_SHOWN)].join("; "));
    if faults.len() > FAULTS_SHOWN {
        text.push_str(&format!("; and {} more faults", faults.len() - FAULTS_SHOWN));
    }
    let parameters = parameters(&spec.parameters);
    if parameters.is_empty() {
        text.push_str(". It takes no arguments");
    } else {
        text.push_str(&format!(". It takes {}", parameters.join(", ")));
    }
    text
}

/// Returns each parameter as `name (type, required)`.
fn parameters(schema: &Value) -> Vec<String> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let required = required(schema);
    let describe = |(name, schema): (&String, &Value)| {
        let types = types(schema);
        let kind = if types.is_empty() { "any type".to_owned() } else { types.join(" or ") };
        let need = if required.contains(&name.as_str()) { "required" } else { "optional" };
        format!("{name} ({kind}, {need})")
    };
    properties.iter().map(describe).collect()
}

fn required(schema: &Value) -> Vec<&str> {
    let list = schema.get("required").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Returns the names of the types that a schema allows; none: any.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn check_value(schema: &Value, value: &Value, path: &str, depth: usize, faults: &mut Vec<String>) {
    let here = if path.is_empty() { "the arguments".to_owned() } else { format!("'{path}'") };
    if depth > DEPTH_MAX {
        faults.push(format!("{here} nests more than {DEPTH_MAX} deep"));
        return;
    }
    let types = types(schema);
    if !types.is_empty() && !types.iter().any(|name| is_of_type(value, name)) {
        faults.push(format!("{here} is {}; expected {}", kind(value), types.join(" or ")));
        return;
    }
    for keyword in ["anyOf", "oneOf"] {
        let Some(several) = schema.get(keyword).and_then(Value::as_array) else { continue };
        let fits = |one: &Value| {
            let mut own = Vec::new();
            check_value(one, value, path, depth + 1, &mut own);
            own.is_empty()
        };
        if !several.iter().any(fits) {
            faults.push(format!("{here} fits none of the {} forms it may have", several.len()));
            return;
        }
    }
    check_choice(schema, value, &here, faults);
    match value {
        Value::Object(fields) => check_object(schema, fields, path, depth, faults),
        Value::Array(elements) => {
            check_bounds(
                schema,
                elements.len(),
                ["minItems", "maxItems"],
                "elements",
                &here,
                faults,
            );
            if let Some(items) = schema.get("items") {
                for (index, element) in elements.iter().enumerate() {
                    check_value(items, element, &format!("{path}[{index}]"), depth + 1, faults);
                }
            }
        }
        Value::String(text) => {
            let length = text.chars().count();
            check_bounds(schema, length, ["minLength", "maxLength"], "characters", &here, faults);
        }
        Value::Number(number) => check_number(schema, number, &here, faults),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_choice(schema: &Value, value: &Value, here: &str, faults: &mut Vec<String>) {
    if let Some(choices) = schema.get("enum").and_then(Value::as_array)
        && !choices.contains(value)
    {
        let shown: Vec<String> = choices.iter().take(12).map(Value::to_string).collect();
        faults.push(format!("{here} is {}; expected one of {}", kind(value), shown.join(", ")));
    }
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        faults.push(format!("{here} is {}; expected {constant}", kind(value)));
    }
}

fn check_object(
    schema: &Value,
    fields: &Map<String, Value>,
    path: &str,
    depth: usize,
    faults: &mut Vec<String>,
) {
    let within = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    for name in required(schema) {
        if !fields.contains_key(name) {
            faults.push(format!("'{}' is missing", within(name)));
        }
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let others = schema.get("additionalProperties");
    for (name, value) in fields {
        let path = within(name);
        match (properties.get(name), others) {
            (Some(schema), _) => check_value(schema, value, &path, depth + 1, faults),
            (None, None | Some(Value::Bool(false))) => {
                let near = did_you_mean(name, properties.keys().map(String::as_str));
                let hint = near.map_or(String::new(), |near| format!(" (did you mean '{near}'?)"));
                faults.push(format!("there is no argument '{path}'{hint}"));
            }
            (None, Some(schema)) => check_value(schema, value, &path, depth + 1, faults),
        }
    }
}

fn check_bounds(
    schema: &Value,
    found: usize,
    [least, most]: [&str; 2],
    what: &str,
    here: &str,
    faults: &mut Vec<String>,
) {
    let bound = |name| schema.get(name).and_then(Value::as_u64);
    if let Some(least) = bound(least).filter(|least| (found as u64) < *least) {
        faults.push(format!("{here} has {found} {what}; expected at least {least}"));
    }
    if let Some(most) = bound(most).filter(|most| found as u64 > *most) {
        faults.push(format!("{here} has {found} {what}; expected at most {most}"));
    }
}

fn check_number(schema: &Value, number: &serde_json::Number, here: &str, faults: &mut Vec<String>) {
    let Some(found) = number.as_f64() else { return };
    type Holds = fn(f64, f64) -> bool;
    let rules: [(&str, &str, Holds); 4] = [
        ("minimum", "at least", |found, bound| found >= bound),
        ("maximum", "at most", |found, bound| found <= bound),
        ("exclusiveMinimum", "more than", |found, bound| found > bound),
        ("exclusiveMaximum", "less than", |found, bound| found < bound),
    ];
    for (keyword, words, holds) in rules {
        let Some(bound) = schema.get(keyword).filter(|bound| bound.is_number()) else { continue };
        if bound.as_f64().is_some_and(|limit| !holds(found, limit)) {
            faults.push(format!("{here} is {number}; expected {words} {bound}"));
        }
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => match value {
            // JSON schema counts 3.0 as an integer.
            Value::Number(number) => {
                !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            _ => false,
        },
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        // A type of a later draft: left to the tool.
        _ => true,
    }
}

/// Returns what a value is, for messages, with itself where it is short.
fn kind(value: &Value) -> String {
    let text = match value {
        Value::Object(_) => return "an object".to_owned(),
        Value::Array(_) => return "a list".to_owned(),
        Value::Null => return "null".to_owned(),
        other => other.to_string(),
    };
    let name = match value {
        Value::String(_) => "the string",
        Value::Bool(_) => "the truth value",
        _ => "the number",
    };
    if text.chars().count() <= 40 {
        format!("{name} {text}")
    } else {
        format!("{name} {}...", text.chars().take(37).collect::<String>())
    }
}
