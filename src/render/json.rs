//! JSON as chat templates see it: key order kept, printed as Python prints it.
//!
//! Templates were written for Python, where dictionaries keep their order and `tojson` is
//! `json.dumps(x, ensure_ascii=False)`. The template engine's own maps are sorted and its own
//! `tojson` prints without spaces, and either would put other tokens in front of the model.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A map that keeps the order of its keys.
#[derive(Debug)]
struct OrderedMap(Vec<(Value, Value)>);

impl Object for OrderedMap {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        // The last of equal keys counts, as in Python.
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(k, _)| k.clone()).collect())
    }
}

/// Returns a map with these entries in this order.
pub(super) fn map(entries: Vec<(String, Value)>) -> Value {
    Value::from_object(OrderedMap(entries.into_iter().map(|(k, v)| (Value::from(k), v)).collect()))
}

/// Returns the value of a JSON text with every string, keys included, put through `text`;
/// `None` for what is no JSON, is nested deeper than 128, or holds a string that `text` refuses.
pub(super) fn parse(json: &str, text: &dyn Fn(&str) -> Option<String>) -> Option<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = Seed(text).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(value)
}

/// Builds a template value from whatever comes.
#[derive(Clone, Copy)]
struct Seed<'a>(&'a dyn Fn(&str) -> Option<String>);

impl<'a> Seed<'a> {
    fn text<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        (self.0)(text).ok_or_else(|| E::custom("a text is refused"))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::from(()))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(self.text(value)?))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::from(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let key = self.text(&key)?;
            list.push((key, entries.next_value_seed(self)?));
        }
        Ok(map(list))
    }
}

/// The filter `tojson` as Hugging Face defines it: `json.dumps` with `ensure_ascii=False` unless
/// told otherwise, and nothing escaped for HTML.
///
/// # Errors
/// A value that JSON cannot hold, an unknown option.
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let mut separators = separators.unwrap_or_default().into_iter();
    let item =
        separators.next().unwrap_or_else(|| if indent.is_some() { "," } else { ", " }.into());
    let printer = Printer {
        indent,
        ensure_ascii: ensure_ascii.unwrap_or(false),
        sort_keys: sort_keys.unwrap_or(false),
        item,
        key: separators.next().unwrap_or_else(|| ": ".into()),
    };
    let mut out = String::new();
    printer.print(&mut out, value, 0)?;
    Ok(out)
}

struct Printer {
    indent: Option<usize>,
    ensure_ascii: bool,
    sort_keys: bool,
    item: String,
    key: String,
}

impl Printer {
    fn print(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
            ValueKind::Number => out.push_str(&python_float(f64::try_from(value.clone())?)),
            ValueKind::String => self.print_text(out, value.as_str().unwrap_or("")),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.print_all(out, ('[', ']'), depth, &items, |out, item| {
                    self.print(out, item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.print_all(out, ('{', '}'), depth, &keys, |out, key| {
                    self.print_text(out, key.as_str().unwrap_or(&key.to_string()));
                    out.push_str(&self.key);
                    self.print(out, &value.get_item(key)?, depth + 1)
                })?;
            }
            kind => {
                let message = format!("tojson cannot print a value of type {kind}");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn print_all(
        &self,
        out: &mut String,
        brackets: (char, char),
        depth: usize,
        items: &[Value],
        mut print: impl FnMut(&mut String, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(brackets.0);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push_str(&self.item);
            }
            self.break_line(out, depth + 1);
            print(out, item)?;
        }
        if !items.is_empty() {
            self.break_line(out, depth);
        }
        out.push(brackets.1);
        Ok(())
    }

    fn break_line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn print_text(&self, out: &mut String, text: &str) {
        let json = serde_json::Value::from(text).to_string();
        if !self.ensure_ascii || json.is_ascii() {
            return out.push_str(&json);
        }
        for letter in json.chars() {
            if letter.is_ascii() {
                out.push(letter);
                continue;
            }
            for unit in letter.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

/// Returns a number as Python's `repr` prints it: shortest digits, an exponent of at least two
/// digits below 1e-4 and from 1e16 on.
fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..16).contains(&exponent) {
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Whether two texts are the same JSON value with the same order of keys, however spaced and
/// escaped. Whole numbers are compared digit by digit, others as doubles.
pub(super) fn same_json(a: &str, b: &str) -> bool {
    matches!((canonical(a), canonical(b)), (Some(a), Some(b)) if a == b)
}

/// Returns a JSON text without spacing, strings and fractions in one spelling; `None` if it is no
/// JSON.
fn canonical(json: &str) -> Option<String> {
    let json = serde_json::from_str::<&RawValue>(json).ok()?.get();
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                let length = string_length(rest)?;
                let text: String = serde_json::from_str(&rest[..length]).ok()?;
                out.push_str(&serde_json::Value::from(text).to_string());
                length
            }
            '-' | '0'..='9' => {
                let end = |c: char| !matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-');
                let number = &rest[..rest.find(end).unwrap_or(rest.len())];
                if number.contains(['.', 'e', 'E']) {
                    out.push_str(&format!("{:?}", number.parse::<f64>().ok()?));
                } else {
                    out.push_str(number);
                }
                number.len()
            }
            ' ' | '\t' | '\n' | '\r' => 1,
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Some(out)
}

/// Returns the length of the JSON string that `text` starts with, quotes included.
fn string_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}
