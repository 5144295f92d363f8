//! Headers as texts.

use reqwest::header::{HeaderMap, HeaderValue};

/// Returns the value of a header, `None` where there is none or it is no ASCII text.
pub fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Returns the value of `Authorization` for a token, which is never shown; `None` for a token that
/// is empty or has characters that none has.
pub fn bearer(token: &str) -> Option<HeaderValue> {
    let token = token.trim();
    let parsed = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = parsed.ok().filter(|_| !token.is_empty())?;
    value.set_sensitive(true);
    Some(value)
}
