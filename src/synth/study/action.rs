//! What an action proposes, in whichever form it is written.
//!
//! - Tags in the text: `<search_query>..</search_query>` and the same of any other tool,
//!   `<math_exp>..</math_exp>`, `<answer>..</answer>`.
//! - Calls beside the text, or as `<tool_call>{"name": .., "arguments": {..}}</tool_call>` in it.

use serde_json::Value;

use super::facts::CALCULATOR;
use crate::model::{Message, role};

const ANSWER: &str = "answer";
const CALCULATION: &str = "math_exp";
const CALL: &str = "tool_call";
const QUERY_END: &str = "_query";

/// What an action proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proposal {
    /// A call of a tool.
    Call { tool: String, argument: String },
    /// The answer.
    Answer(String),
    /// Nothing that can be carried out, and why.
    Nothing(&'static str),
}

impl Proposal {
    /// Returns what a message of the policy proposes.
    pub(super) fn of(message: &Message) -> Proposal {
        let mut found = match tagged(message.text()) {
            Ok(found) => found,
            Err(reason) => return Proposal::Nothing(reason),
        };
        for call in message.calls_apart() {
            let argument = argument_of(&call.arguments);
            found.push(Proposal::Call { tool: call.name.clone(), argument });
        }
        match (found.pop(), found.is_empty()) {
            (None, _) => Proposal::Nothing("it holds neither a call nor an answer"),
            (Some(one), true) => one,
            (Some(_), false) => Proposal::Nothing("it holds more than one call or answer"),
        }
    }

    /// Returns it with tags.
    pub(super) fn print(&self) -> String {
        match self {
            Proposal::Call { tool, argument } => {
                let tag = tag_of(tool);
                format!("<{tag}>{argument}</{tag}>")
            }
            Proposal::Answer(answer) => format!("<{ANSWER}>{answer}</{ANSWER}>"),
            Proposal::Nothing(_) => String::new(),
        }
    }
}

/// Returns the tag of a tool's calls.
pub(super) fn tag_of(tool: &str) -> String {
    if tool == CALCULATOR { CALCULATION.to_owned() } else { format!("{tool}{QUERY_END}") }
}

/// Returns the name of a tool's one argument.
pub(super) fn key_of(tool: &str) -> &'static str {
    if tool == CALCULATOR { "expression" } else { "query" }
}

/// Returns a message of the policy with a text and nothing else.
pub(super) fn message(text: &str) -> Message {
    Message::new(role::ASSISTANT, text)
}

/// Returns what the tags of a text propose, in order.
fn tagged(text: &str) -> Result<Vec<Proposal>, &'static str> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let Some((name, inside)) = rest.split_once('>') else { break };
        if is_tag(name.strip_prefix('/').unwrap_or_default()) {
            return Err("a tag is closed that was not opened");
        }
        if !is_tag(name) {
            continue;
        }
        let closed = inside.split_once(&format!("</{name}>"));
        let Some((content, behind)) = closed else { return Err("a tag is not closed") };
        out.push(proposal(name, content.trim())?);
        rest = behind;
    }
    Ok(out)
}

fn is_tag(name: &str) -> bool {
    let is_query = name.len() > QUERY_END.len() && name.ends_with(QUERY_END);
    let is_word = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_word && (is_query || [ANSWER, CALCULATION, CALL].contains(&name))
}

fn proposal(tag: &str, content: &str) -> Result<Proposal, &'static str> {
    let call = |tool: &str| Proposal::Call { tool: tool.to_owned(), argument: content.to_owned() };
    match tag {
        ANSWER => Ok(Proposal::Answer(content.to_owned())),
        CALCULATION => Ok(call(CALCULATOR)),
        CALL => {
            let value: Value =
                serde_json::from_str(content).map_err(|_| "its call is not written in JSON")?;
            let name = value["name"].as_str().ok_or("its call names no tool")?;
            let argument = argument_of(&value["arguments"].to_string());
            Ok(Proposal::Call { tool: name.to_owned(), argument })
        }
        _ => Ok(call(tag.strip_suffix(QUERY_END).unwrap_or(tag))),
    }
}

/// Returns the one text among the arguments of a call; what is no object with one is itself.
fn argument_of(arguments: &str) -> String {
    let of_value = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(map) => match map.values().next() {
            Some(Value::String(text)) if map.len() == 1 => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    let value: Option<Value> = serde_json::from_str(arguments).ok();
    let text = value.as_ref().and_then(of_value);
    text.unwrap_or_else(|| arguments.to_owned()).trim().to_owned()
}
