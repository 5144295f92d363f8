//! Messages as chat formats write them, in all their spellings.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{self, Text};
use crate::model::{Json, Message, ToolCall, role};

/// The field with calls that are written in the content. It is not `tool_calls`, which whoever
/// renders such a message would print behind the content.
pub(super) const CALLS_IN_CONTENT: &str = "calls_in_content";

/// A message and the fields of it that the model has no place for.
#[derive(Debug)]
pub(super) struct ChatMessage<'a> {
    /// The message.
    pub(super) message: Message,
    /// The other fields, nulls left out.
    pub(super) rest: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// The messages of a record, in order.
pub(super) struct Messages<'a>(pub(super) Vec<ChatMessage<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Messages<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MessagesVisitor).map(Messages)
    }
}

struct MessagesVisitor;

impl<'de> Visitor<'de> for MessagesVisitor {
    type Value = Vec<ChatMessage<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut messages = Vec::new();
        while let Some(message) = list.next_element()? {
            messages.push(message);
        }
        Ok(messages)
    }
}

/// Returns the role in the words of the model; one outside the list is kept.
fn role_of(word: &str) -> &str {
    match word {
        "agent" | "gpt" => role::ASSISTANT,
        "human" => role::USER,
        "toolResult" | "function" | "observation" => role::TOOL,
        other => other,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ChatMessage<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MessageVisitor)
    }
}

struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = ChatMessage<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message: an object with role and content")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut draft = Draft::default();
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            draft.read_field(key, &mut map)?;
        }
        let Some(role) = draft.role else { return Err(A::Error::missing_field("role")) };
        let Content { text, parts, reasoning, calls } = draft.content;
        let calls = if draft.calls.is_empty() { calls } else { draft.calls };
        let calls_in_content = !draft.calls_in_content.is_empty();
        if calls_in_content && !calls.is_empty() {
            return Err(A::Error::custom(
                "found calls in 'calls_in_content' and beside it; expected those of a message in \
                 one place",
            ));
        }
        let message = Message {
            role,
            content: text,
            parts,
            reasoning: draft.reasoning.into_iter().flatten().next().or(reasoning),
            tool_calls: if calls_in_content { draft.calls_in_content } else { calls },
            calls_in_content,
            tool_call_id: draft.tool_call_id,
            name: draft.name,
            error: draft.error,
        };
        Ok(ChatMessage { message, rest: draft.rest })
    }
}

/// A message while its fields arrive.
#[derive(Default)]
struct Draft<'a> {
    role: Option<String>,
    content: Content,
    calls: Vec<ToolCall>,
    calls_in_content: Vec<ToolCall>,
    tool_call_id: Option<String>,
    name: Option<String>,
    /// What `reasoning_content`, `reasoning` and `thinking` say.
    reasoning: [Option<String>; 3],
    error: Option<bool>,
    rest: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'de> Draft<'de> {
    /// Reads the value of field `key`.
    fn read_field<A: MapAccess<'de>>(
        &mut self,
        key: Cow<'de, str>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match key.as_ref() {
            "role" => self.role = Some(role_of(&map.next_value::<Text<'de>>()?.0).to_owned()),
            "content" => self.content = map.next_value()?,
            "tool_calls" => {
                let Calls(calls) = map.next_value()?;
                self.calls.extend(calls);
            }
            CALLS_IN_CONTENT => {
                let Calls(calls) = map.next_value()?;
                self.calls_in_content = calls;
            }
            "function_call" => {
                let call = map.next_value::<Option<Function>>()?;
                self.calls.extend(call.map(|function| function.call(None)));
            }
            "tool_call_id" | "toolCallId" => self.tool_call_id = map.next_value()?,
            "name" | "toolName" => self.name = map.next_value()?,
            _ => {
                let raw = map.next_value::<&'de RawValue>()?;
                if raw.get() != "null" && !self.read_soft_field(&key, raw) {
                    self.rest.push((key, raw));
                }
            }
        }
        Ok(())
    }

    /// Reads a field whose type differs between sources; returns whether it was taken.
    fn read_soft_field(&mut self, key: &str, raw: &RawValue) -> bool {
        let reasoning = ["reasoning_content", "reasoning", "thinking"];
        if let Some(place) = reasoning.iter().position(|name| *name == key) {
            self.reasoning[place] = serde_json::from_str(raw.get()).ok();
            return self.reasoning[place].is_some();
        }
        if ["is_error", "isError", "error"].contains(&key)
            && let Ok(error) = serde_json::from_str::<bool>(raw.get())
        {
            self.error = Some(error);
            return true;
        }
        false
    }
}

/// A message's content: its text, the parts it came in, and what the parts hold besides text.
#[derive(Default)]
struct Content {
    text: Option<String>,
    parts: Option<Json>,
    reasoning: Option<String>,
    calls: Vec<ToolCall>,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a string or a list of parts")
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        Ok(Content::default())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content { text: Some(text.to_owned()), ..Content::default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut kept = String::from("[");
        let mut texts: Vec<String> = Vec::new();
        let mut thoughts: Vec<String> = Vec::new();
        let mut calls = Vec::new();
        while let Some(raw) = list.next_element::<&'de RawValue>()? {
            match read_part(raw).map_err(A::Error::custom)? {
                Part::Text(text) => texts.push(text),
                Part::Reasoning(thought) => thoughts.push(thought),
                Part::Call(call) => calls.push(call),
                Part::Other => {}
            }
            if kept.len() > 1 {
                kept.push(',');
            }
            kept.push_str(&json::kept_text(raw.get()).map_err(A::Error::custom)?);
        }
        kept.push(']');
        Ok(Content {
            text: Some(texts.join("\n")),
            parts: Some(Json::stored(kept)),
            reasoning: (!thoughts.is_empty()).then(|| thoughts.join("\n")),
            calls,
        })
    }
}

/// What a part of a content says.
enum Part {
    Text(String),
    Reasoning(String),
    Call(ToolCall),
    Other,
}

/// The fields of a part that is an object.
#[derive(serde::Deserialize)]
struct PartFields<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    thinking: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow, alias = "input")]
    arguments: Option<&'a RawValue>,
}

/// Reads one part: a string, or an object with a type.
fn read_part(raw: &RawValue) -> Result<Part, String> {
    if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
        return Ok(Part::Text(text));
    }
    if !raw.get().starts_with('{') {
        return Err(format!("found {} as a part; expected a string or object", json::kind(raw)));
    }
    let fields: PartFields<'_> = serde_json::from_str(raw.get())
        .map_err(|error| format!("in a part: {}", json::explain(&error, raw.get())))?;
    match fields.kind.as_deref() {
        Some("thinking" | "reasoning") => {
            Ok(fields.thinking.or(fields.text).map_or(Part::Other, Part::Reasoning))
        }
        Some("tool_use" | "tool_call" | "toolCall") => {
            let name = fields.name.ok_or("found a call without a name; expected the tool's")?;
            let arguments = fields.arguments.map_or(Ok(String::new()), arguments_text)?;
            Ok(Part::Call(ToolCall { id: fields.id, name, arguments }))
        }
        Some(kind @ ("tool_result" | "tool_call_response" | "function_call_output")) => Err(
            format!("found a part of type '{kind}'; expected a message of its own, of role tool"),
        ),
        _ => Ok(fields.text.map_or(Part::Other, Part::Text)),
    }
}

/// Returns arguments as text: a string's content, any other value as it was written.
fn arguments_text(raw: &RawValue) -> Result<String, String> {
    match raw.get().as_bytes().first() {
        Some(b'"') => {
            serde_json::from_str(raw.get()).map_err(|error| json::explain(&error, raw.get()))
        }
        Some(b'n') => Ok(String::new()),
        _ => json::kept_text(raw.get()),
    }
}

/// Tool calls: null, a list, or the JSON of a list in a string.
struct Calls(Vec<ToolCall>);

impl<'de> Deserialize<'de> for Calls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Calls, D::Error> {
        deserializer.deserialize_any(CallsVisitor).map(Calls)
    }
}

struct CallsVisitor;

impl<'de> Visitor<'de> for CallsVisitor {
    type Value = Vec<ToolCall>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null or a list of tool calls")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<ToolCall>, E> {
        Ok(Vec::new())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<ToolCall>, E> {
        serde_json::from_str(text).map(|Calls(calls)| calls).map_err(|e| in_string(&e, text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<ToolCall>, A::Error> {
        let mut calls = Vec::new();
        while let Some(Call(call)) = list.next_element()? {
            calls.push(call);
        }
        Ok(calls)
    }
}

/// Returns the error of JSON that stands within a JSON string. Its own line and column would be
/// taken for places of the record.
fn in_string<E: Error>(error: &serde_json::Error, text: &str) -> E {
    E::custom(format!("in the JSON within this string: {}", json::explain(error, text)))
}

/// One call: `{id, type, function{name, arguments}}`, the same without `function` around name
/// and arguments, or the JSON of either in a string.
struct Call(ToolCall);

impl<'de> Deserialize<'de> for Call {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Call, D::Error> {
        deserializer.deserialize_any(CallVisitor).map(Call)
    }
}

struct CallVisitor;

impl<'de> Visitor<'de> for CallVisitor {
    type Value = ToolCall;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tool call: an object with function{name, arguments}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ToolCall, E> {
        serde_json::from_str(text).map(|Call(call)| call).map_err(|e| in_string(&e, text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ToolCall, A::Error> {
        let (mut id, mut name, mut function) = (None, None, None);
        let mut arguments = Arguments::default();
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            match key.as_ref() {
                "id" => id = map.next_value()?,
                "function" => function = map.next_value::<Option<Function>>()?,
                "name" => name = map.next_value()?,
                "arguments" | "args" | "input" => arguments = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let flat = name.map(|name| Function { name, arguments });
        let function = function.or(flat).ok_or_else(|| A::Error::missing_field("function"))?;
        Ok(function.call(id))
    }
}

/// A call's name and arguments.
#[derive(serde::Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Arguments,
}

impl Function {
    fn call(self, id: Option<String>) -> ToolCall {
        ToolCall { id, name: self.name, arguments: self.arguments.0 }
    }
}

/// A call's arguments as text.
#[derive(Default)]
struct Arguments(String);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Arguments, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        arguments_text(raw).map(Arguments).map_err(D::Error::custom)
    }
}
