//! Messages, the atoms of a transcript.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The roles a message can have. A role outside this list is kept as it came.
pub mod role {
    /// Instructions from whoever runs the model.
    pub const SYSTEM: &str = "system";
    /// OpenAI's newer word for instructions.
    pub const DEVELOPER: &str = "developer";
    /// The person, or the environment that plays one.
    pub const USER: &str = "user";
    /// The policy.
    pub const ASSISTANT: &str = "assistant";
    /// What a tool returned.
    pub const TOOL: &str = "tool";
}

/// JSON kept as the text it came in, so that no number and no key order is lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Json(String);

impl Json {
    /// Returns `text` as JSON.
    ///
    /// # Errors
    /// The parser's message when `text` is not one JSON value.
    pub fn parse(text: &str) -> Result<Json, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Json(raw.get().to_owned()))
    }

    /// Returns the JSON of a value.
    pub fn of(value: &serde_json::Value) -> Json {
        Json(value.to_string())
    }

    /// Returns text that a record of this program holds, unchecked: it was checked on the way in.
    pub fn stored(text: String) -> Json {
        Json(text)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.0.trim_start().starts_with('{')
    }

    /// Returns the JSON with a patch laid over it (JSON Merge Patch, RFC 7396): of two objects the
    /// patch's members go over those of the same name, its nulls take members away, and anything
    /// else takes the place of what was there. No number and no order of members is lost.
    pub fn patched(&self, patch: &Json) -> Json {
        Json(patched(&self.0, &patch.0))
    }

    /// Returns JSON, or nothing, with patches laid over it, one after the other.
    pub fn laid(json: Option<Json>, patches: &[Json]) -> Option<Json> {
        patches
            .iter()
            .fold(json, |json, patch| Some(json.unwrap_or(Json("{}".to_owned())).patched(patch)))
    }

    /// Returns the parsed value; `null` for text that is not JSON, which `parse` never lets in.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or(serde_json::Value::Null)
    }
}

type Members<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Returns the members of an object; `None` of anything else.
fn members(json: &str) -> Option<Members<'_>> {
    struct Read;
    impl<'de> Visitor<'de> for Read {
        type Value = Members<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
            let mut members = Members::new();
            while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                members.push((Cow::Owned(name), Cow::Borrowed(value.get())));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_map(Read).ok()
}

fn patched(json: &str, patch: &str) -> String {
    let Some(over) = members(patch) else { return patch.to_owned() };
    let mut all = members(json).unwrap_or_default();
    for (name, value) in over {
        let there = all.iter().position(|(known, _)| *known == name);
        match (there, value.as_ref()) {
            (Some(at), "null") => drop(all.remove(at)),
            (None, "null") => {}
            (Some(at), value) => all[at].1 = Cow::Owned(patched(&all[at].1, value)),
            (None, value) => all.push((name, Cow::Owned(patched("", value)))),
        }
    }
    let quoted = |name: &str| serde_json::Value::from(name).to_string();
    let written = all.iter().map(|(name, value)| format!("{}: {value}", quoted(name)));
    format!("{{{}}}", written.collect::<Vec<_>>().join(", "))
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Json(raw.get().to_owned()))
    }
}

/// One call of a tool, as the policy wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The identifier that results refer to, where the source has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The tool's name.
    pub name: String,
    /// The arguments as text: JSON where the policy wrote JSON, else exactly what it wrote.
    pub arguments: String,
}

/// One message of a transcript: a turn of the prompt, an action, or a part of an observation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks; see [`role`].
    pub role: String,
    /// The text; `None` where the source says null or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The list of parts, where the source wrote the content as one; `content` is then their text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Json>,
    /// The reasoning before the content, where the source keeps it apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The calls made by this message, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Whether the calls are written in the content, by tags: who prints the content has printed
    /// them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calls_in_content: bool,
    /// For a tool's result: the call it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The name of the tool or of the speaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For a tool's result: whether the source marks it as an error; `None` if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<bool>,
}

impl Message {
    /// Returns a message of `role` with text and nothing else.
    pub fn new(role: &str, content: impl Into<String>) -> Message {
        Message { role: role.to_owned(), content: Some(content.into()), ..Message::default() }
    }

    /// Returns the content, `""` where there is none.
    pub fn text(&self) -> &str {
        self.content.as_deref().unwrap_or("")
    }

    /// Returns the calls that stand beside the content: those that are printed behind it. Whoever
    /// wants to know what is called looks at `tool_calls`.
    pub fn calls_apart(&self) -> &[ToolCall] {
        if self.calls_in_content { &[] } else { &self.tool_calls }
    }

    /// Returns the length of content, reasoning, and names and arguments of calls that stand apart
    /// in Unicode scalars: what `state_chars` adds up.
    pub fn chars(&self) -> u64 {
        let count = |text: &str| text.chars().count() as u64;
        let calls: u64 =
            self.calls_apart().iter().map(|call| count(&call.name) + count(&call.arguments)).sum();
        count(self.text()) + self.reasoning.as_deref().map_or(0, count) + calls
    }
}
