//! JSON in one form only, so that equal arguments have one key.
//!
//! Two texts have the same canonical text exactly when they mean the same:
//! - The fields of an object are sorted by the bytes of their names; a name twice is refused.
//! - Texts and names are in Unicode's form NFC, with the escapes of `serde_json`.
//! - Numbers are compared as decimals, exactly: `1`, `1.0`, `1e0` and `10e-1` are `1`, `-0` is `0`,
//!   and 9007199254740993 is not 9007199254740992.
//! - There is no white space.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use unicode_normalization::UnicodeNormalization;

/// How deep arguments may nest.
const DEPTH_MAX: usize = 64;

/// How many digits a number may have, and how long its exponent may be.
const DIGITS_MAX: usize = 1_000;

/// Numbers of at most so many digits are written without an exponent.
const PLAIN_DIGITS_MAX: i64 = 40;

/// Why a text has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct CanonicalError {
    /// The place within the JSON, such as `filter.years[2]`; empty for the whole.
    pub path: String,
    /// What was found and what was expected.
    pub message: String,
}

/// Returns the canonical text of a JSON text.
///
/// # Errors
/// The text is no JSON, names a field twice, nests more than 64 deep, or holds a number of more
/// than 1,000 digits.
pub fn canonical_json(text: &str) -> Result<String, CanonicalError> {
    let fault = |message: String| CanonicalError { path: String::new(), message };
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| fault(error.to_string()))?;
    let mut out = String::with_capacity(text.len());
    write_value(raw, &mut Path::default(), &mut out)?;
    Ok(out)
}

/// Where in the JSON the walk is.
#[derive(Default)]
struct Path(Vec<Step>);

enum Step {
    Field(String),
    Element(usize),
}

impl Path {
    fn error(&self, message: impl Into<String>) -> CanonicalError {
        let mut path = String::new();
        for step in &self.0 {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => path.extend([".", name]),
                Step::Element(index) => path.push_str(&format!("[{index}]")),
            }
        }
        CanonicalError { path, message: message.into() }
    }
}

fn write_value(raw: &RawValue, path: &mut Path, out: &mut String) -> Result<(), CanonicalError> {
    if path.0.len() > DEPTH_MAX {
        let message = format!("nests more than {DEPTH_MAX} deep");
        path.0.clear();
        return Err(path.error(message));
    }
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') => write_object(text, path, out),
        Some(b'[') => write_list(text, path, out),
        Some(b'"') => {
            let string: String =
                serde_json::from_str(text).map_err(|error| path.error(error.to_string()))?;
            write_string(&string, out);
            Ok(())
        }
        Some(b't' | b'f' | b'n') => {
            out.push_str(text);
            Ok(())
        }
        _ => match number(text) {
            Some(number) => {
                out.push_str(&number);
                Ok(())
            }
            None => Err(path.error(format!("found a number of more than {DIGITS_MAX} digits"))),
        },
    }
}

fn write_object(text: &str, path: &mut Path, out: &mut String) -> Result<(), CanonicalError> {
    let entries: Entries<'_> =
        serde_json::from_str(text).map_err(|error| path.error(error.to_string()))?;
    let mut fields: Vec<(String, &RawValue)> =
        entries.0.into_iter().map(|(name, value)| (name.nfc().collect(), value)).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(twice) = fields.windows(2).find(|two| two[0].0 == two[1].0) {
        return Err(path.error(format!("found the field '{}' twice; expected it once", twice[0].0)));
    }
    out.push('{');
    for (index, (name, value)) in fields.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(&name, out);
        out.push(':');
        path.0.push(Step::Field(name));
        write_value(value, path, out)?;
        path.0.pop();
    }
    out.push('}');
    Ok(())
}

fn write_list(text: &str, path: &mut Path, out: &mut String) -> Result<(), CanonicalError> {
    let elements: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| path.error(error.to_string()))?;
    out.push('[');
    for (index, value) in elements.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        path.0.push(Step::Element(index));
        write_value(value, path, out)?;
        path.0.pop();
    }
    out.push(']');
    Ok(())
}

fn write_string(text: &str, out: &mut String) {
    let normal: String = text.nfc().collect();
    out.push_str(&serde_json::Value::from(normal).to_string());
}

/// Returns a number in its one form; `None` where it is too long.
fn number(text: &str) -> Option<String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    if digits.len() > DIGITS_MAX {
        return None;
    }
    // The place of the point: digits * 10^scale is the number.
    let zeros = all.len() - all.trim_end_matches('0').len();
    let scale = exponent
        .parse::<i64>()
        .ok()
        .filter(|exponent| exponent.unsigned_abs() <= 1 << 40)?
        .checked_add(zeros as i64)?
        .checked_sub(fraction.len() as i64)?;
    let point = digits.len() as i64 + scale;
    let body = if scale >= 0 && point <= PLAIN_DIGITS_MAX {
        format!("{digits}{}", "0".repeat(scale as usize))
    } else if scale < 0 && (1..=PLAIN_DIGITS_MAX).contains(&point) {
        let (whole, fraction) = digits.split_at(point as usize);
        format!("{whole}.{fraction}")
    } else if scale < 0 && (-PLAIN_DIGITS_MAX..=0).contains(&point) {
        format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
    } else {
        format!("{digits}e{scale}")
    };
    Some(format!("{sign}{body}"))
}

/// The fields of an object as they stand.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries<'a>, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}
