//! The key of a server.

use std::fmt;

/// A key that is sent and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Returns the key that a text is, without the white space around it.
    pub fn new(text: &str) -> ApiKey {
        ApiKey(text.trim().to_owned())
    }

    /// Returns the key, to be sent.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns a text in which the key does not occur.
    pub(super) fn hide_in(&self, text: &str) -> String {
        match self.0.is_empty() {
            true => text.to_owned(),
            false => text.replace(&self.0, "***"),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}
