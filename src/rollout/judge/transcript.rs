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

use crate::model::{Message, role};

/// Returns messages as text, numbered from 1.
pub fn transcript_text(messages: &[Message]) -> String {
    let numbered = messages.iter().enumerate();
    numbered.map(|(index, message)| numbered_text(index, message)).collect()
}

/// Returns messages as a text of at most `max_characters`, and how many messages are left out of
/// it. What comes before the first action is always there, and so is the newest turn: an action
/// with what came back. The oldest turns are left out, and a line says which messages they were.
///
/// # Errors
/// The characters of the shortest text, if that is longer.
pub fn shortened_transcript_text(
    messages: &[Message],
    max_characters: usize,
) -> Result<(String, usize), usize> {
    let texts: Vec<String> =
        messages.iter().enumerate().map(|(index, one)| numbered_text(index, one)).collect();
    let is_action = |index: &usize| messages[*index].role == role::ASSISTANT;
    let turns: Vec<usize> = (0..messages.len()).filter(is_action).collect();
    let head = turns.first().copied().unwrap_or(messages.len());
    let mut shortest = 0;
    for start in turns.into_iter().chain([messages.len()].into_iter().filter(|end| *end == head)) {
        let left_out = match start - head {
            0 => String::new(),
            1 => format!("  (message {start} is left out)\n"),
            _ => format!("  (messages {} to {start} are left out)\n", head + 1),
        };
        let shown = texts[..head].iter().chain([&left_out]).chain(&texts[start..]);
        shortest = shown.clone().map(|text| text.chars().count()).sum();
        if shortest <= max_characters {
            return Ok((shown.map(String::as_str).collect(), start - head));
        }
    }
    Err(shortest)
}

fn numbered_text(index: usize, message: &Message) -> String {
    let mut out = format!("[{}] {}", index + 1, one_line(&message.role));
    if let Some(name) = &message.name {
        out.push_str(&format!(" ({})", one_line(name)));
    }
    if message.error == Some(true) {
        out.push_str(", an error");
    }
    out.push('\n');
    push_message(&mut out, message);
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
