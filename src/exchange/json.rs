//! Parsing JSON, and saying where and how that failed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use super::error::Fault;
use super::scan;
use crate::model::Json;

/// How deep kept JSON may nest: what `serde_json` still reads back, with room around it.
const DEPTH_MAX: usize = 100;

/// Returns the fault that an error of the parser over `text` is, where `text` stands at field
/// `within` of its record (`""`: it is the record).
///
/// The parser tells the place of an error as a line and a column; the path of the field is found
/// by walking over the text once more, so that records without faults pay nothing for it.
pub(super) fn fault(error: &serde_json::Error, text: &str, within: &str) -> Fault {
    let before: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let inner = scan::path_at(text, before + error.column());
    let dot =
        if within.is_empty() || inner.is_empty() || inner.starts_with('[') { "" } else { "." };
    let mut field = format!("{within}{dot}{inner}");
    let mut message = explain(error, text);
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
    if let Some((name, expected)) = missing {
        let dot = if field.is_empty() { "" } else { "." };
        field = format!("{field}{dot}{name}");
        message = format!("missing{expected}");
    }
    Fault { field: (!field.is_empty()).then_some(field), message }
}

/// Returns an error of the parser over `text` as a sentence.
pub(super) fn explain(error: &serde_json::Error, text: &str) -> String {
    let said = error.to_string();
    let said = match said.rfind(" at line ") {
        Some(end) if error.line() > 0 => &said[..end],
        _ => &said,
    };
    if error.is_data() {
        return match said.strip_prefix("invalid type: ") {
            Some(types) => format!("found {}", types.replacen(", expected", "; expected", 1)),
            None => said.to_owned(),
        };
    }
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or("");
    let column = error.column();
    if error.is_eof() {
        return format!("the JSON ends at column {column}, within this field: it is cut off");
    }
    let near = column.saturating_sub(2)..(column + 1).min(line.len());
    if line.as_bytes().get(near).is_some_and(|bytes| bytes.contains(&0)) {
        return format!("found a NUL byte near column {column}; expected text");
    }
    if said == "trailing characters" {
        return format!("found more behind the end of the record, at column {column}");
    }
    match word_at(line, column.saturating_sub(1)) {
        Some((at, word)) => format!("found {word} at column {}, which is not JSON", at + 1),
        None => format!("not JSON: {said} at column {column}"),
    }
}

/// Returns the bare word (NaN, -Infinity, None) that covers the byte `at` of a line, if any does,
/// with the place where it starts.
fn word_at(line: &str, at: usize) -> Option<(usize, &str)> {
    let bytes = line.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let at = at.min(bytes.len());
    let from = bytes[..at].iter().rposition(|byte| !is_word(byte)).map_or(0, |end| end + 1);
    let count = bytes[from..].iter().take_while(|byte| is_word(byte)).take(40).count();
    let word = line.get(from..from + count)?;
    let quoted = from > 0 && bytes[from - 1] == b'"';
    let letters = word.trim_start_matches('-').starts_with(|c: char| c.is_ascii_alphabetic());
    (letters && !quoted && !["true", "false", "null"].contains(&word)).then_some((from, word))
}

/// A string of a record: borrowed from it where it holds no escape.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Returns what kind of JSON a raw value is, for messages, with the value where it is short.
pub(super) fn kind(raw: &RawValue) -> String {
    let text = raw.get();
    let short = text.len() <= 40;
    match text.as_bytes().first() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "a list".to_owned(),
        Some(b'"') if short => format!("the string {text}"),
        Some(b'"') => "a string".to_owned(),
        Some(b'n') => "null".to_owned(),
        _ if short => text.to_owned(),
        _ => "a number".to_owned(),
    }
}

/// Returns a raw value to be kept as text: as it was written, but for line breaks and
/// indentation, which go.
///
/// # Errors
/// A sentence, where it nests too deep to be read back.
pub(super) fn keep(raw: &RawValue) -> Result<Json, String> {
    kept_text(raw.get()).map(Json::stored)
}

/// Returns the text of a raw value without line breaks between its tokens.
pub(super) fn kept_text(text: &str) -> Result<String, String> {
    let deep = scan::depth(text);
    if deep > DEPTH_MAX {
        return Err(format!("found lists and objects {deep} deep; expected at most {DEPTH_MAX}"));
    }
    // Within strings control characters are escaped: these stand between tokens.
    if memchr::memchr3(b'\n', b'\r', b'\t', text.as_bytes()).is_some() {
        return Ok(scan::compact(text));
    }
    Ok(text.to_owned())
}

/// Appends `text` to `out` as a JSON string.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// Writes one JSON object, field by field.
pub(super) struct ObjectText(String);

impl ObjectText {
    /// Returns an object without fields.
    pub(super) fn new() -> ObjectText {
        ObjectText(String::from("{"))
    }

    /// Appends a field whose value is the JSON `value`.
    pub(super) fn json(&mut self, name: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        push_string(&mut self.0, name);
        self.0.push(':');
        self.0.push_str(value);
    }

    /// Appends a field that is a string, if there is one.
    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            let mut quoted = String::with_capacity(value.len() + 2);
            push_string(&mut quoted, value);
            self.json(name, &quoted);
        }
    }

    /// Appends a field that is a whole number, if there is one.
    pub(super) fn integer(&mut self, name: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.json(name, &value.to_string());
        }
    }

    /// Whether a field of this name was written.
    pub(super) fn has(&self, name: &str) -> bool {
        let mut key = String::new();
        push_string(&mut key, name);
        key.push(':');
        self.0.contains(&key) && scan::top_keys(self.0.as_bytes()).iter().any(|known| known == name)
    }

    /// Returns whether no field was written.
    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// Returns the object's text.
    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Returns the JSON list of values that are JSON already.
pub(super) fn list_text(values: impl Iterator<Item = String>) -> String {
    let mut text = String::from("[");
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&value);
    }
    text.push(']');
    text
}
