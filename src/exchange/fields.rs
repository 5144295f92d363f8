//! The fields of a record that are not messages: taken by name, the rest kept as `meta`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::Fault;
use super::json::{self, ObjectText, Text};
use super::timestamp;
use crate::model::Json;

/// The top-level fields of a record in their order, not parsed yet.
///
/// Names are tried in the order given. A null counts as absent. Methods called `*_if` leave a
/// field of another type where it is, so that it becomes `meta`; the others refuse it.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'a>, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            fields.push(key, map.next_value()?);
        }
        Ok(fields)
    }
}

impl<'a> Fields<'a> {
    /// Parses a record: an object.
    pub(super) fn parse(text: &'a str) -> Result<Fields<'a>, Fault> {
        let fields: Fields<'a> =
            serde_json::from_str(text).map_err(|error| json::fault(&error, text, ""))?;
        fields.check_unique()?;
        Ok(fields)
    }

    /// Returns each field with its value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// Appends a field.
    pub(super) fn push(&mut self, name: Cow<'a, str>, value: &'a RawValue) {
        self.0.push((name, value));
    }

    /// Refuses a record that has a field twice.
    pub(super) fn check_unique(&self) -> Result<(), Fault> {
        let mut seen = HashSet::with_capacity(self.0.len());
        match self.0.iter().find(|(name, _)| !seen.insert(name.as_ref())) {
            Some((name, _)) => {
                Err(Fault::of(name.as_ref(), "found this field twice; expected it once"))
            }
            None => Ok(()),
        }
    }

    /// Keeps the fields for which `keep` says so.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&str, &'a RawValue) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// Gives a field that is not null another name, unless a field that is not null has it.
    pub(super) fn rename(&mut self, name: &str, new_name: &'static str) {
        if self.has(name) && !self.has(new_name) {
            self.0.retain(|(found, _)| found != new_name);
            for (found, _) in self.0.iter_mut().filter(|(found, _)| found == name) {
                *found = new_name.into();
            }
        }
    }

    /// Gives a field another name.
    pub(super) fn rename_to(&mut self, name: &str, new_name: String) {
        if let Some((known, _)) = self.0.iter_mut().find(|(known, _)| known == name) {
            *known = Cow::Owned(new_name);
        }
    }

    /// Returns `name`, with `_` behind it as often as needed to be no field's.
    pub(super) fn unused(&self, name: &str) -> String {
        let mut name = name.to_owned();
        while self.has(&name) {
            name.push('_');
        }
        name
    }

    /// Whether there is a field of this name that is not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.peek(name).is_some()
    }

    /// Returns a field that is not null and leaves it.
    pub(super) fn peek(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().find(|(found, _)| found == name)?;
        (value.get() != "null").then_some(*value)
    }

    /// Returns a string, or a number or truth value as its text, and leaves it.
    pub(super) fn peek_scalar(&self, name: &str) -> Option<String> {
        self.peek(name).and_then(scalar)
    }

    /// Takes the first field of these names that is not null and that `read` accepts.
    fn take_if<T>(
        &mut self,
        names: &[&'static str],
        mut read: impl FnMut(&'static str, &'a RawValue) -> Result<Option<T>, Fault>,
    ) -> Result<Option<T>, Fault> {
        for name in names {
            let Some(at) = self.0.iter().position(|(found, _)| found == name) else { continue };
            if self.0[at].1.get() == "null" {
                self.0.remove(at);
                continue;
            }
            if let Some(value) = read(name, self.0[at].1)? {
                self.0.remove(at);
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Takes a field as it is.
    pub(super) fn raw(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.take_if(&[name], |_, raw| Ok(Some(raw))).unwrap_or(None)
    }

    /// Takes a field as it is, if it is a string, a number or a truth value.
    pub(super) fn raw_of_scalar(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.take_if(&[name], |_, raw| Ok(scalar(raw).map(|_| raw))).unwrap_or(None)
    }

    /// Takes an object to be kept as JSON, if it is one.
    pub(super) fn object_if(&mut self, name: &'static str) -> Result<Option<Json>, Fault> {
        self.take_if(&[name], |name, raw| {
            if !raw.get().starts_with('{') {
                return Ok(None);
            }
            json::keep(raw).map(Some).map_err(|message| Fault::of(name, message))
        })
    }

    /// Takes a string, if it is one.
    pub(super) fn text_if(&mut self, names: &[&'static str]) -> Option<String> {
        self.take_if(names, |_, raw| Ok(serde_json::from_str(raw.get()).ok())).unwrap_or(None)
    }

    /// Takes a string that `accept` turns into something, if it is one and it does.
    pub(super) fn word_if<T>(
        &mut self,
        name: &'static str,
        accept: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let read = |_: &str, raw: &RawValue| {
            Ok(serde_json::from_str::<String>(raw.get()).ok().and_then(|word| accept(&word)))
        };
        self.take_if(&[name], read).unwrap_or(None)
    }

    /// Takes a string, or a number or truth value as its text, if it is one.
    pub(super) fn scalar_if(&mut self, names: &[&'static str]) -> Option<String> {
        self.take_if(names, |_, raw| Ok(scalar(raw))).unwrap_or(None)
    }

    /// Takes an identifier: a string or a whole number.
    pub(super) fn identifier(&mut self, names: &[&'static str]) -> Result<Option<String>, Fault> {
        self.take_if(names, |name, raw| match scalar(raw) {
            Some(text) if raw.get().starts_with('"') || text.parse::<i128>().is_ok() => {
                Ok(Some(text))
            }
            _ => Err(wrong(name, raw, "a string or a whole number")),
        })
    }

    /// Takes a whole number.
    pub(super) fn integer(&mut self, name: &'static str) -> Result<Option<i64>, Fault> {
        self.take_if(&[name], |name, raw| match serde_json::from_str::<i64>(raw.get()) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(wrong(name, raw, "a whole number")),
        })
    }

    /// Takes a number.
    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<f64>, Fault> {
        self.take_if(&[name], |name, raw| match serde_json::from_str::<f64>(raw.get()) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(wrong(name, raw, "a number or null")),
        })
    }

    /// Takes a time: whole microseconds since 1970, or RFC 3339 text.
    pub(super) fn time_us(&mut self, name: &'static str) -> Result<Option<i64>, Fault> {
        self.take_if(&[name], |name, raw| {
            let text = serde_json::from_str::<String>(raw.get()).ok();
            let time = match text {
                Some(text) => timestamp::parse_us(&text),
                None => serde_json::from_str::<i64>(raw.get()).ok(),
            };
            time.map(Some).ok_or_else(|| {
                wrong(
                    name,
                    raw,
                    "whole microseconds since 1970 or RFC 3339 text such as \
                     2025-01-31T12:00:00Z",
                )
            })
        })
    }

    /// Takes answers: a string, number or truth value, a list of them, or `{"target": [...]}`.
    pub(super) fn answers_if(&mut self, names: &[&'static str]) -> Vec<String> {
        let answers = self.take_if(names, |_, raw| Ok(answers(raw)));
        answers.unwrap_or(None).unwrap_or_default()
    }

    /// Returns what is left as one JSON object.
    ///
    /// # Errors
    /// A fault, where a field nests too deep to be read back.
    pub(super) fn into_rest(self) -> Result<ObjectText, Fault> {
        let mut text = ObjectText::new();
        for (name, raw) in self.0 {
            let value = json::kept_text(raw.get());
            let value = value.map_err(|message| Fault::of(name.as_ref(), message))?;
            text.json(&name, &value);
        }
        Ok(text)
    }
}

/// Returns the fault of a field of the wrong type.
pub(super) fn wrong(name: &str, raw: &RawValue, expected: &str) -> Fault {
    Fault::of(name, format!("found {}; expected {expected}", json::kind(raw)))
}

/// Returns a string's content, or the text of a number or truth value.
fn scalar(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(raw.get().to_owned()),
    }
}

/// Returns accepted answers in any of their forms.
fn answers(raw: &RawValue) -> Option<Vec<String>> {
    if let Some(one) = scalar(raw) {
        return Some(vec![one]);
    }
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        return list.into_iter().map(scalar).collect();
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Target<'a> {
        #[serde(borrow)]
        target: &'a RawValue,
    }
    let target = serde_json::from_str::<Target<'_>>(raw.get()).ok()?.target;
    answers(target)
}
