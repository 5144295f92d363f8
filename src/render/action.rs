//! An action as text, and text as an action.
//!
//! The tag form, which holds every action exactly:
//!
//! ```text
//! <think>
//! reasoning
//! </think>
//! content
//! <tool_call>
//! {"name": "search", "arguments": {"query": "..."}}
//! </tool_call>
//! ```
//!
//! Each part may be missing. Three rules make it lossless:
//! 1. *A tag inside a text is escaped*: `<`, any number of backslashes, then a tag's name gets
//!    one backslash more when printed and one less when parsed. An unescaped tag is always ours.
//! 2. *Null is not empty*: no content prints nothing, empty content prints `<empty/>`.
//! 3. *Arguments are text*: where they are exactly one JSON value they stand in the object as
//!    they came, spacing and key order included; else as a string under `arguments_text`.
//!
//! One line break after `</think>`, around the JSON and before `<tool_call>` is part of the form.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::{Json, Message, ToolCall, role};

const THINK: &str = "<think>\n";
const THINK_TAG: &str = "<think>";
const THINK_END: &str = "</think>";
const CALL: &str = "<tool_call>";
const CALL_END: &str = "</tool_call>";
const EMPTY: &str = "<empty/>";

/// What may follow `<` and backslashes for the whole to be a tag.
const TAG_NAMES: [&str; 5] = ["think>", "/think>", "tool_call>", "/tool_call>", "empty/>"];

/// What the policy produced at a step: the part of a message that training teaches.
///
/// Equality is what must survive rendering. The ids of calls are left out: they are transport
/// between policy and tools, made up by the server, and calls are kept in order instead. So are
/// the speaker's name and the list of parts, whose text is the content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The reasoning before the content.
    pub reasoning: Option<String>,
    /// The text; `None` is not the same as empty.
    pub content: Option<String>,
    /// The calls of tools, in order.
    pub calls: Vec<Call>,
}

/// One call of a tool within an [`Action`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The tool's name.
    pub name: String,
    /// The arguments as text, JSON or not.
    pub arguments: String,
}

/// Why a text is no action in the tag form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// A tag was opened and not closed.
    #[error("{open} is not closed: expected {close} behind it")]
    Unclosed {
        /// The opening tag.
        open: &'static str,
        /// The closing tag.
        close: &'static str,
    },
    /// A tag stands where it cannot.
    #[error("{tag} stands where it cannot: expected reasoning, then content, then calls")]
    Misplaced {
        /// The tag.
        tag: String,
    },
    /// What stands between `<tool_call>` and `</tool_call>` is no call.
    #[error(
        "call {number} cannot be read: {message}; expected {{\"name\": .., \"arguments\": ..}}"
    )]
    Call {
        /// Which call, from 1.
        number: usize,
        /// What the JSON parser found.
        message: String,
    },
    /// Text follows the last call.
    #[error("text follows a call: {text:?}")]
    TextAfterCall {
        /// The start of the text.
        text: String,
    },
}

impl Action {
    /// Returns what the policy produced in `message`. Calls that are written in the content are
    /// part of it, and none of the action's.
    ///
    /// # Errors
    /// The type of the part, when the message holds a part that is no text: a text model can
    /// neither read nor write it.
    pub fn of(message: &Message) -> Result<Action, String> {
        only_text(message)?;
        let call = |c: &ToolCall| Call { name: c.name.clone(), arguments: c.arguments.clone() };
        Ok(Action {
            reasoning: message.reasoning.clone(),
            content: message.content.clone(),
            calls: message.calls_apart().iter().map(call).collect(),
        })
    }

    /// Returns the action as a message of the policy, calls without ids.
    pub fn into_message(self) -> Message {
        let call = |c: Call| ToolCall { id: None, name: c.name, arguments: c.arguments };
        Message {
            role: role::ASSISTANT.to_owned(),
            content: self.content,
            reasoning: self.reasoning,
            tool_calls: self.calls.into_iter().map(call).collect(),
            ..Message::default()
        }
    }

    /// Returns the action in the tag form.
    pub fn print(&self) -> String {
        let mut out = String::new();
        if let Some(reasoning) = &self.reasoning {
            out.push_str(THINK);
            escape(&mut out, reasoning);
            out.push('\n');
            out.push_str(THINK_END);
            out.push('\n');
        }
        match self.content.as_deref() {
            None => {}
            Some("") => out.push_str(EMPTY),
            Some(content) => escape(&mut out, content),
        }
        for (number, call) in self.calls.iter().enumerate() {
            if number > 0 || self.content.is_some() {
                out.push('\n');
            }
            out.push_str(CALL);
            out.push('\n');
            escape(&mut out, &call.print());
            out.push('\n');
            out.push_str(CALL_END);
        }
        out
    }

    /// Returns the action that `text` holds in the tag form: the inverse of [`Action::print`].
    /// Line breaks that belong to the form may be missing, as in a text that a policy wrote.
    ///
    /// # Errors
    /// A tag not closed or out of place, a call that is no JSON object of a call, text behind
    /// the calls.
    pub fn parse(text: &str) -> Result<Action, ActionError> {
        let (reasoning, rest) = parse_reasoning(text)?;
        let at = rest.find(CALL).unwrap_or(rest.len());
        let (before, calls) = rest.split_at(at);
        let before = if calls.is_empty() { before } else { strip_end(before) };
        let content = match before {
            "" => None,
            EMPTY => Some(String::new()),
            text => Some(unescape_whole(text)?),
        };
        Ok(Action { reasoning, content, calls: parse_calls(calls)? })
    }

    /// Whether the other action says the same in another spelling: arguments are compared as
    /// JSON (same values and key order, any spacing), and null equals empty. This is all that a
    /// chat template can keep, since it writes JSON in its own way and nothing for either.
    pub fn says_the_same_as(&self, other: &Action) -> bool {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let same_call = |(a, b): (&Call, &Call)| {
            a.name == b.name
                && (a.arguments == b.arguments
                    || super::json::same_json(&a.arguments, &b.arguments))
        };
        text(&self.reasoning) == text(&other.reasoning)
            && text(&self.content) == text(&other.content)
            && self.calls.len() == other.calls.len()
            && self.calls.iter().zip(&other.calls).all(same_call)
    }
}

impl Call {
    /// Returns the call as the JSON object of the tag form.
    fn print(&self) -> String {
        let name = serde_json::Value::from(self.name.as_str());
        match serde_json::from_str::<&RawValue>(&self.arguments) {
            Ok(raw) if raw.get() == self.arguments => {
                format!("{{\"name\": {name}, \"arguments\": {}}}", raw.get())
            }
            _ => {
                let text = serde_json::Value::from(self.arguments.as_str());
                format!("{{\"name\": {name}, \"arguments_text\": {text}}}")
            }
        }
    }
}

/// The object between `<tool_call>` and `</tool_call>`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallObject {
    name: String,
    #[serde(default)]
    arguments: Option<Box<RawValue>>,
    #[serde(default)]
    arguments_text: Option<String>,
}

impl CallObject {
    /// Returns the call that the JSON object `body` holds; an absent `arguments` is no text.
    pub(super) fn parse(body: &str) -> Result<Call, String> {
        // An explicit `"arguments": null` is the JSON text `null`, which serde's Option hides.
        let object: CallObject = serde_json::from_str(body).map_err(|e| e.to_string())?;
        let arguments = match (object.arguments, object.arguments_text) {
            (Some(_), Some(_)) => {
                return Err("both 'arguments' and 'arguments_text' are given".to_owned());
            }
            (Some(raw), None) => raw.get().to_owned(),
            (None, Some(text)) => text,
            (None, None) if has_null_arguments(body) => "null".to_owned(),
            (None, None) => return Err("'arguments' is missing".to_owned()),
        };
        Ok(Call { name: object.name, arguments })
    }
}

/// Whether the object `body`, known to parse, has a key `arguments`.
fn has_null_arguments(body: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(body)
        .is_ok_and(|map| map.contains_key("arguments"))
}

/// Returns the type of the first part that is no text, as an error.
pub(super) fn only_text(message: &Message) -> Result<(), String> {
    let Some(serde_json::Value::Array(parts)) = message.parts.as_ref().map(Json::to_value) else {
        return Ok(());
    };
    for part in &parts {
        let kind = part.get("type").and_then(serde_json::Value::as_str);
        let text = part.is_string() || part.get("text").is_some_and(serde_json::Value::is_string);
        if !text || kind.is_some_and(|k| !k.ends_with("text")) {
            return Err(kind.unwrap_or("unknown").to_owned());
        }
    }
    Ok(())
}

fn parse_reasoning(text: &str) -> Result<(Option<String>, &str), ActionError> {
    let Some(inside) = text.strip_prefix(THINK_TAG) else { return Ok((None, text)) };
    let end = inside
        .find(THINK_END)
        .ok_or(ActionError::Unclosed { open: THINK_TAG, close: THINK_END })?;
    let (raw, rest) = inside.split_at(end);
    let raw = raw.strip_prefix('\n').unwrap_or(raw);
    let rest = &rest[THINK_END.len()..];
    Ok((Some(unescape_whole(strip_end(raw))?), rest.strip_prefix('\n').unwrap_or(rest)))
}

fn parse_calls(text: &str) -> Result<Vec<Call>, ActionError> {
    let mut calls = Vec::new();
    let mut rest = text;
    while let Some(inside) = rest.trim_start().strip_prefix(CALL) {
        let end =
            inside.find(CALL_END).ok_or(ActionError::Unclosed { open: CALL, close: CALL_END })?;
        let body = unescape_whole(&inside[..end])?;
        let failed = |message| ActionError::Call { number: calls.len() + 1, message };
        calls.push(CallObject::parse(body.trim()).map_err(failed)?);
        rest = &inside[end + CALL_END.len()..];
    }
    let trailing = rest.trim();
    if trailing.is_empty() {
        return Ok(calls);
    }
    Err(ActionError::TextAfterCall { text: trailing.chars().take(40).collect() })
}

/// Returns the text without the one line break that the form puts at its end.
fn strip_end(text: &str) -> &str {
    text.strip_suffix('\n').unwrap_or(text)
}

/// Returns the length of the tag that starts at the `<` which `text` starts with, and the number
/// of its backslashes.
fn tag_at(text: &str) -> Option<(usize, usize)> {
    let rest = text.strip_prefix('<')?;
    let name = rest.trim_start_matches('\\');
    let backslashes = rest.len() - name.len();
    let tag = TAG_NAMES.iter().find(|tag| name.starts_with(**tag))?;
    Some((1 + backslashes + tag.len(), backslashes))
}

/// Appends `text` with one backslash more in everything that looks like a tag.
fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..=at]);
        if tag_at(&rest[at..]).is_some() {
            out.push('\\');
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// Returns `text` with one backslash less in every escaped tag.
fn unescape_whole(text: &str) -> Result<String, ActionError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..=at]);
        let skip = match tag_at(&rest[at..]) {
            Some((length, 0)) => {
                return Err(ActionError::Misplaced { tag: rest[at..at + length].to_owned() });
            }
            Some(_) => 2,
            None => 1,
        };
        rest = &rest[at + skip..];
    }
    out.push_str(rest);
    Ok(out)
}
