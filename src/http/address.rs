//! Addresses: what is one, and how one is shown.

use reqwest::Url;

/// Returns the address that a text is, `None` unless it begins with `http://` or `https://` and
/// names a host.
pub fn parse_address(text: &str) -> Option<Url> {
    let url = text.parse::<Url>().ok().filter(|url| url.has_host())?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Returns an address without what may be secret in it: a signature in its query, a password.
pub fn shown_address(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _nobody = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}
