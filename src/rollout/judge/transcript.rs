//! A conversation as a judge reads it.
//!
//! ```text
//! [1] user
//!     Who designed the tower?
//! [2] assistant
//!     It should be in an encyclopedia.
//!   calls search
//!     {"query": "tower designer"}
//! [3] tool
//!     The tower was designed by ..
//! ```
//!
//! Every line of a text is four columns in, so that no text can look like a heading.

use serde_json::Value;

use crate::model::Message;

/// Returns messages as text, numbered from 1.
pub fn transcript_text(messages: &[Message]) -> String {
    let mut out = String::new();
    for (number, message) in messages.iter().enumerate() {
        let role = one_line(&message.role);
        out.push_str(&format!("[{}] {role}", number + 1));
        if let Some(name) = &message.name {
            out.push_str(&format!(" ({})", one_line(name)));
        }
        if message.error == Some(true) {
            out.push_str(", an error");
        }
        out.push('\n');
        push_message(&mut out, message);
    }
    out
}

/// Returns what one message says.
pub(super) fn message_text(message: &Message) -> String {
    let mut out = String::new();
    push_message(&mut out, message);
    out
}

fn push_message(out: &mut String, message: &Message) {
    if let Some(reasoning) = &message.reasoning {
        out.push_str("  reasons\n");
        push_indented(out, reasoning);
        if message.content.is_some() {
            out.push_str("  says\n");
        }
    }
    if let Some(content) = &message.content {
        push_indented(out, content);
    }
    for call in message.calls_apart() {
        out.push_str(&format!("  calls {}\n", one_line(&call.name)));
        push_indented(out, &call.arguments);
    }
}

/// Returns a text with every line four columns in.
pub(super) fn indented(text: &str) -> String {
    let mut out = String::new();
    push_indented(&mut out, text);
    out
}

fn push_indented(out: &mut String, text: &str) {
    for line in text.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']) {
        out.push_str("    ");
        out.push_str(line);
        out.push('\n');
    }
}

/// Returns the tools on offer, each with what it says about itself.
pub(super) fn tools_text(tools: &Value) -> String {
    let mut out = String::new();
    for tool in tools.as_array().into_iter().flatten() {
        let function = tool.get("function").unwrap_or(tool);
        let text = |name: &str| function.get(name).and_then(Value::as_str).unwrap_or_default();
        out.push_str(&format!("  {}\n", one_line(text("name"))));
        push_indented(&mut out, text("description"));
    }
    out
}

/// Returns a name as one line.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control() || c.is_whitespace()).collect::<Vec<_>>().join(" ")
}
