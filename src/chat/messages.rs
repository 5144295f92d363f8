//! Messages as a chat server takes them.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use crate::model::{Message, ToolCall, role};

/// Returns the list `messages` of a request.
///
/// Servers want an identifier in every call and in every result. Where the source has none, calls
/// are named by their place (`call_3_0`: the first of message 3, from 0), and results without one
/// answer the open calls in order. What messages say of errors has no field: the text says it.
///
/// Calls that are written in the content are sent as that text alone, and a tool's result behind
/// them as the user's turn: servers take a tool's turn only behind a call.
pub fn messages_json(messages: &[Message], send_reasoning: bool) -> Value {
    let mut open: VecDeque<String> = VecDeque::new();
    let mut called_in_content = false;
    let mut out = Vec::with_capacity(messages.len());
    for (place, message) in messages.iter().enumerate() {
        let mut fields = Map::new();
        if message.role != role::TOOL {
            called_in_content = message.calls_in_content;
        }
        let is_tool = message.role == role::TOOL && !called_in_content;
        let is_answer = message.role == role::TOOL && called_in_content;
        let sent_as = if is_answer { role::USER } else { &message.role };
        fields.insert("role".to_owned(), json!(sent_as));
        let content = match (&message.parts, &message.content) {
            (Some(parts), _) => parts.to_value(),
            (None, content) => json!(content),
        };
        fields.insert("content".to_owned(), content);
        if let Some(reasoning) = message.reasoning.as_ref().filter(|_| send_reasoning) {
            fields.insert("reasoning_content".to_owned(), json!(reasoning));
        }
        if !message.calls_apart().is_empty() {
            open.clear();
            let calls = message.calls_apart().iter().enumerate().map(|(index, call)| {
                let id = call.id.clone().unwrap_or_else(|| format!("call_{place}_{index}"));
                open.push_back(id.clone());
                call_json(call, &id)
            });
            fields.insert("tool_calls".to_owned(), calls.collect());
        }
        let id = message.tool_call_id.clone().filter(|_| !is_answer);
        let id = id.or_else(|| open.front().filter(|_| is_tool).cloned());
        if let Some(id) = id {
            open.retain(|other| *other != id);
            fields.insert("tool_call_id".to_owned(), json!(id));
        }
        if let Some(name) = message.name.as_ref().filter(|_| !is_answer) {
            fields.insert("name".to_owned(), json!(name));
        }
        out.push(Value::Object(fields));
    }
    Value::Array(out)
}

fn call_json(call: &ToolCall, id: &str) -> Value {
    json!({
        "id": id,
        "type": "function",
        "function": { "name": call.name, "arguments": call.arguments },
    })
}
