//! Requests with places for arguments: `{name}` in a URL, a header or a string of the body; `{{`
//! and `}}` are braces.

use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::error::ProxyError;

/// What stands in a URL as it is (RFC 3986, unreserved).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The arguments of a call.
pub(super) type Arguments = Map<String, Value>;

/// A text with places for arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Argument(String),
}

impl Template {
    /// Reads a template; `part` names the part of the request in errors.
    pub fn parse(part: &str, text: &str) -> Result<Template, ProxyError> {
        let wrong = |problem: &str| ProxyError::Template {
            part: part.to_owned(),
            text: text.to_owned(),
            problem: problem.to_owned(),
        };
        let (mut parts, mut plain) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let name = after.split_once('}').filter(|_| brace == "{");
            let (name, after) = name.ok_or_else(|| {
                wrong("a brace has no partner; write {name} for an argument, {{ and }} for braces")
            })?;
            if name.is_empty() || name.contains('{') {
                return Err(wrong("braces need the name of an argument between them"));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Argument(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { parts })
    }

    /// Returns the text before the first argument.
    pub fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Returns whether some text outside of arguments has this character.
    pub fn has(&self, wanted: char) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains(wanted)))
    }

    /// Returns the text with the arguments in their places, as they are.
    pub fn fill(&self, call: &mut Call) -> Result<String, ProxyError> {
        self.fill_with(call, |text| text)
    }

    /// Returns the text with the arguments percent-encoded in their places.
    pub fn fill_encoded(&self, call: &mut Call) -> Result<String, ProxyError> {
        self.fill_with(call, |text| utf8_percent_encode(&text, UNRESERVED).to_string())
    }

    fn fill_with(
        &self,
        call: &mut Call,
        write: impl Fn(String) -> String,
    ) -> Result<String, ProxyError> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Argument(name) => out.push_str(&write(call.text(name)?)),
            }
        }
        Ok(out)
    }

    /// Returns the argument's name where the text is one argument and nothing else.
    fn only_argument(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Argument(name)] => Some(name),
            _ => None,
        }
    }
}

/// A body with places for arguments. A string that is `{name}` and nothing else becomes the
/// argument as it is, of whatever type; as the value of a member it may be missing, and so is the
/// member then.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Text(Template),
    Object(Vec<(String, Body)>),
    Array(Vec<Body>),
    Other(Value),
}

impl Body {
    pub fn parse(value: &Value) -> Result<Body, ProxyError> {
        Ok(match value {
            Value::String(text) => Body::Text(Template::parse("the body", text)?),
            Value::Array(values) => {
                Body::Array(values.iter().map(Body::parse).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => Body::Object(
                members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Body::parse(value)?)))
                    .collect::<Result<_, ProxyError>>()?,
            ),
            other => Body::Other(other.clone()),
        })
    }

    pub fn fill(&self, call: &mut Call) -> Result<Value, ProxyError> {
        Ok(match self {
            Body::Text(template) => match template.only_argument() {
                Some(name) => call.value(name).ok_or_else(|| missing(name))?,
                None => Value::String(template.fill(call)?),
            },
            Body::Array(parts) => {
                Value::Array(parts.iter().map(|part| part.fill(call)).collect::<Result<_, _>>()?)
            }
            Body::Object(members) => {
                let mut out = Map::new();
                for (name, body) in members {
                    if let Body::Text(template) = body
                        && let Some(argument) = template.only_argument()
                        && call.value(argument).is_none()
                    {
                        continue;
                    }
                    out.insert(name.clone(), body.fill(call)?);
                }
                Value::Object(out)
            }
            Body::Other(value) => value.clone(),
        })
    }
}

/// The arguments of one call, and which of them found a place.
pub(super) struct Call<'a> {
    arguments: &'a Arguments,
    used: BTreeSet<String>,
}

impl Call<'_> {
    pub fn new(arguments: &Arguments) -> Call<'_> {
        Call { arguments, used: BTreeSet::new() }
    }

    fn value(&mut self, name: &str) -> Option<Value> {
        let value = self.arguments.get(name)?.clone();
        self.used.insert(name.to_owned());
        Some(value)
    }

    /// Returns an argument as text; only strings, numbers and truth values have one.
    fn text(&mut self, name: &str) -> Result<String, ProxyError> {
        match self.value(name).ok_or_else(|| missing(name))? {
            Value::String(text) => Ok(text),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
            _ => Err(ProxyError::Argument {
                name: name.to_owned(),
                problem: "must be a text, a number, true or false".to_owned(),
            }),
        }
    }

    /// Checks that every argument found a place: none is dropped in silence.
    pub fn check_used(&self) -> Result<(), ProxyError> {
        match self.arguments.keys().find(|name| !self.used.contains(*name)) {
            Some(name) => Err(ProxyError::Argument {
                name: name.clone(),
                problem: "has no place in the request of this tool".to_owned(),
            }),
            None => Ok(()),
        }
    }
}

fn missing(name: &str) -> ProxyError {
    ProxyError::Argument { name: name.to_owned(), problem: "is missing".to_owned() }
}
