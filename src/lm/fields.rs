//! The fields of a JSON object, with messages that name them.

use std::path::Path;

use serde_json::Value;

use super::LmError;

/// The fields of a `config.json`.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) json: &'a Value,
    /// For messages.
    pub(super) path: &'a Path,
}

impl<'a> Fields<'a> {
    /// Returns a field, or nothing if it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        Some(&self.json[name]).filter(|value| !value.is_null())
    }

    /// Returns the error for a setting that this program does not compute.
    pub(super) fn unsupported(&self, what: String, supported: &str) -> LmError {
        LmError::unsupported(self.path, what, supported)
    }

    /// Refuses a field that has another value than `wanted`.
    pub(super) fn only(&self, name: &str, wanted: &Value, supported: &str) -> Result<(), LmError> {
        match self.get(name) {
            Some(value) if value != wanted => {
                Err(self.unsupported(format!("{name} is {value}"), supported))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, LmError> {
        self.typed(name, "a number", Value::as_f64)
    }

    pub(super) fn optional_flag(&self, name: &str) -> Result<Option<bool>, LmError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// Returns a flag, false where it is absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, LmError> {
        Ok(self.optional_flag(name)?.unwrap_or(false))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, LmError> {
        self.typed(name, "a text", Value::as_str)
    }

    pub(super) fn optional_size(&self, name: &str) -> Result<Option<usize>, LmError> {
        let convert = |value: &Value| value.as_u64().and_then(|size| usize::try_from(size).ok());
        self.typed(name, "a positive whole number", convert)
    }

    pub(super) fn size(&self, name: &str) -> Result<usize, LmError> {
        self.optional_size(name)?
            .ok_or_else(|| self.wrong(name, "a positive whole number", &Value::Null))
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, LmError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(self.wrong(name, expected, value)),
        }
    }

    pub(super) fn wrong(&self, name: &str, expected: &str, found: &Value) -> LmError {
        LmError::damaged(self.path, format!("field '{name}' is {found}, expected {expected}"))
    }
}
