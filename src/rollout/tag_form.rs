//! Actions that call tools by tags in their text, the paper's form.
//!
//! ```text
//! The tower's designer first. <search_query>tower designer</search_query>
//! \_____________ the content, as the policy wrote it ____________________/
//!     tool_calls: search {"query": "tower designer"},  calls_in_content
//! ```
//!
//! The content is kept to the letter: it is what is trained on, and what tokens belong to. The call
//! is read from it and stored beside it, marked as written there, so that columns know it and no
//! renderer prints it a second time. What stands in `<think>` at the beginning is no action yet,
//! and tags in it do not count.

use serde_json::{Value, json};

use crate::model::{Message, ToolCall};
use crate::tools::ToolSpec;

const ANSWER: &str = "answer";
/// The tag of the calculator, and its tool.
const CALCULATION: &str = "math_exp";
const CALCULATOR: &str = "calculator";
/// What stands behind a tool's name in its tag.
const QUERY_END: &str = "_query";
const THINK: &str = "<think>";
const THINK_END: &str = "</think>";

/// The tools that are called by tags. A tag of another tool is a call too, which is then answered
/// by an error that says which tools there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagForm {
    tools: Vec<TaggedTool>,
}

/// A tool that is called by one text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TaggedTool {
    name: String,
    /// The parameter that the text is.
    parameter: String,
    description: String,
}

/// A tool that cannot be called by one text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the tool '{name}' cannot be called by a tag: {problem}; leave it out of tools, or call tools \
     with action_form = 'calls'"
)]
pub struct NoTag {
    /// The tool.
    pub name: String,
    /// What is in the way.
    pub problem: String,
}

/// What the tags of a text hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tagged {
    /// The calls in their order.
    pub(super) calls: Vec<ToolCall>,
    /// The answers in theirs, without white space around them.
    pub(super) answers: Vec<String>,
}

impl TagForm {
    /// Returns the form of calls of these tools.
    ///
    /// # Errors
    /// A tool that has not exactly one required parameter, or none that is a text; a name that no
    /// tag can have.
    pub fn of<'a>(tools: impl Iterator<Item = &'a ToolSpec>) -> Result<TagForm, NoTag> {
        let of_tool = |spec: &ToolSpec| {
            let fail = |problem: String| NoTag { name: spec.name.clone(), problem };
            if spec.name.is_empty() || !spec.name.bytes().all(is_tag_byte) {
                return Err(fail("its name has characters that no tag has".to_owned()));
            }
            let parameter = only_text(&spec.parameters).map_err(fail)?;
            let (name, description) = (spec.name.clone(), spec.description.clone());
            Ok(TaggedTool { name, parameter, description })
        };
        Ok(TagForm { tools: tools.map(of_tool).collect::<Result<_, _>>()? })
    }

    /// Returns the form of calls of tools of these names, the parameter of the calculator an
    /// `expression` and of any other tool a `query`.
    pub fn named<'a>(names: impl Iterator<Item = &'a str>) -> TagForm {
        let tool = |name: &str| TaggedTool {
            name: name.to_owned(),
            parameter: usual_parameter(name).to_owned(),
            description: String::new(),
        };
        TagForm { tools: names.map(tool).collect() }
    }

    /// Returns the tags that end an action: those of the tools, then the answer's.
    pub fn closing_tags(&self) -> Vec<String> {
        let tools = self.tools.iter().map(|tool| tag_of(&tool.name));
        tools.chain([ANSWER.to_owned()]).map(|tag| format!("</{tag}>")).collect()
    }

    /// Whether no tool is known.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Returns a line for each tool: its tags, its name and what it says of itself.
    pub(super) fn described(&self) -> String {
        let line = |TaggedTool { name, description, .. }: &TaggedTool| {
            let tag = tag_of(name);
            let gap = if description.is_empty() { "" } else { ": " };
            format!("<{tag}>...</{tag}> {name}{gap}{description}")
        };
        self.tools.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Puts the calls in a message's content beside it. A message that has calls already, or whose
    /// tags cannot be read, is left as it is.
    ///
    /// # Errors
    /// As [`TagForm::read`], or that it has calls beside its content.
    pub(super) fn put_calls(&self, message: &mut Message) -> Result<(), String> {
        let Tagged { calls, .. } = self.read_message(message)?;
        message.calls_in_content = !calls.is_empty();
        message.tool_calls = calls;
        Ok(())
    }

    /// Returns what the tags of a message hold.
    ///
    /// # Errors
    /// As [`TagForm::read`], or that it has calls beside its content.
    pub(super) fn read_message(&self, message: &Message) -> Result<Tagged, String> {
        match message.calls_apart().first() {
            Some(call) => {
                Err(format!("it calls '{}' beside its text; expected tags in the text", call.name))
            }
            None => self.read(message.text()),
        }
    }

    /// Returns what the tags of a text hold, the first `<think>` passed over.
    ///
    /// # Errors
    /// A sentence about a tag that is not closed, was not opened, or stands within another one.
    pub(super) fn read(&self, text: &str) -> Result<Tagged, String> {
        let mut tagged = Tagged::default();
        let mut rest = behind_reasoning(text).ok_or_else(|| format!("{THINK} is not closed"))?;
        while let Some(tag) = next_tag(rest) {
            let name = tag.name;
            if tag.is_closing {
                return Err(format!("</{name}> closes what was not opened"));
            }
            let inside = &rest[tag.end..];
            let Some((content, behind)) = inside.split_once(&format!("</{name}>")) else {
                return Err(format!("<{name}> is not closed"));
            };
            if let Some(inner) = next_tag(content) {
                return Err(format!("a tag of '{}' stands within <{name}>", inner.name));
            }
            match name {
                ANSWER => tagged.answers.push(content.trim().to_owned()),
                _ => tagged.calls.push(self.call(name, content.trim())),
            }
            rest = behind;
        }
        Ok(tagged)
    }

    fn call(&self, tag: &str, text: &str) -> ToolCall {
        let name = match tag {
            CALCULATION => CALCULATOR,
            other => other.strip_suffix(QUERY_END).unwrap_or(other),
        };
        let known = self.tools.iter().find(|tool| tool.name == name);
        let parameter = known.map_or(usual_parameter(name), |tool| tool.parameter.as_str());
        let arguments = json!({ parameter: text }).to_string();
        ToolCall { id: None, name: name.to_owned(), arguments }
    }
}

/// Returns the closing tag that a text lacks: that of the last tag it opens, if that is one of
/// `closing` and the text ends within it.
pub(super) fn open_tag<'a>(text: &str, closing: &'a [String]) -> Option<&'a str> {
    let mut rest = behind_reasoning(text)?;
    let mut open: Option<&'a str> = None;
    while let Some(tag) = next_tag(rest) {
        let known = closing.iter().find(|known| known.get(2..known.len() - 1) == Some(tag.name));
        open = known.map(String::as_str).filter(|_| !tag.is_closing);
        rest = &rest[tag.end..];
    }
    open
}

/// Returns what stands behind the reasoning that a text begins with; `None` where it does not end.
fn behind_reasoning(text: &str) -> Option<&str> {
    match text.trim_start().strip_prefix(THINK) {
        None => Some(text),
        Some(inside) => inside.split_once(THINK_END).map(|(_, behind)| behind),
    }
}

/// Returns the text of a call that was read from tags.
pub(super) fn query_of(call: &ToolCall) -> String {
    let value: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    let text = value.as_object().and_then(|object| object.values().next()).and_then(Value::as_str);
    text.unwrap_or(&call.arguments).to_owned()
}

fn tag_of(tool: &str) -> String {
    if tool == CALCULATOR { CALCULATION.to_owned() } else { format!("{tool}{QUERY_END}") }
}

fn usual_parameter(tool: &str) -> &'static str {
    if tool == CALCULATOR { "expression" } else { "query" }
}

/// Returns the parameter that is the only one required, and a text.
fn only_text(schema: &Value) -> Result<String, String> {
    let required = schema["required"].as_array();
    let required: Vec<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
    let [name] = required[..] else {
        return Err(match required.len() {
            0 => "it requires no argument, and a tag holds one".to_owned(),
            n => {
                format!("it requires {n} arguments ({}), and a tag holds one", required.join(", "))
            }
        });
    };
    match schema["properties"][name]["type"].as_str() {
        Some("string") => Ok(name.to_owned()),
        other => {
            let found = other.unwrap_or("of no type");
            Err(format!("its argument '{name}' is {found}, and a tag holds a text (string)"))
        }
    }
}

/// A tag in a text.
struct Tag<'a> {
    name: &'a str,
    is_closing: bool,
    /// Where the text behind it begins, in bytes.
    end: usize,
}

/// Returns the first tag of an answer or a call.
fn next_tag(text: &str) -> Option<Tag<'_>> {
    let tag_at = |at: usize| {
        let behind = &text[at + 1..];
        let name = behind.strip_prefix('/').unwrap_or(behind);
        let is_closing = name.len() < behind.len();
        let name = &name[..name.bytes().take_while(|byte| is_tag_byte(*byte)).count()];
        let end = at + 1 + usize::from(is_closing) + name.len();
        let is_query = name.len() > QUERY_END.len() && name.ends_with(QUERY_END);
        let is_tag = is_query || name == ANSWER || name == CALCULATION;
        (is_tag && text[end..].starts_with('>')).then_some(Tag { name, is_closing, end: end + 1 })
    };
    text.match_indices('<').find_map(|(at, _)| tag_at(at))
}

fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}
