//! Who may ask: names of hosts, origins of web pages, the token.
//!
//! A web page can make a browser send requests to loopback, under a name of its own that it lets
//! point there (DNS rebinding). Browsers say which name they were given (`Host`) and which page
//! asks (`Origin`): both must be loopback's or allowed. Programs send no origin and pass. With a
//! token any name is taken, since a page does not know the token; an origin must still be allowed.

use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, StatusCode, Uri};

use super::options::Options;
use super::reply::Failure;

/// Decides who may ask.
pub(super) struct Guard {
    token: Option<blake3::Hash>,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    pub fn new(options: &Options) -> Guard {
        let lower = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect();
        Guard {
            token: options.token.as_ref().map(|token| blake3::hash(token.as_bytes())),
            hosts: lower(&options.allowed_hosts),
            origins: lower(&options.allowed_origins),
        }
    }

    /// Checks the names in a request's head.
    ///
    /// # Errors
    /// 400 for a host that cannot be read, 403 for one that is not allowed.
    pub fn check_names(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let host = match single(headers, HOST)? {
            Some(text) => Some(host_name(text).ok_or_else(|| {
                Failure::invalid("the Host header is not a name with or without a port")
            })?),
            None => uri.host().map(str::to_lowercase),
        };
        // Without a Host there is no browser: only HTTP/1.0 may leave it out.
        if let Some(host) = host
            && self.token.is_none()
            && !is_loopback(&host)
            && !self.hosts.contains(&host)
        {
            return Err(forbidden(format!(
                "requests for the host '{host}' are not answered; call 127.0.0.1 or localhost, or \
                 start the server with that name allowed"
            )));
        }
        match single(headers, ORIGIN)? {
            Some(origin) if !self.allows_origin(origin) => Err(forbidden(
                "requests from web pages of this origin are not answered; start the server with \
                 the origin allowed",
            )),
            _ => Ok(()),
        }
    }

    /// Checks the token; the time that takes does not tell how much of it was right.
    ///
    /// # Errors
    /// 401 without the right one.
    pub fn check_token(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(token) = self.token else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).and_then(|value| {
            let (scheme, rest) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
        });
        // Hashes of BLAKE3 compare in constant time.
        if given.is_some_and(|given| blake3::hash(given) == token) {
            return Ok(());
        }
        let message = "this server needs its token: send `Authorization: Bearer TOKEN`";
        Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", message))
    }

    fn allows_origin(&self, origin: &str) -> bool {
        let origin = origin.to_lowercase();
        let host = origin.split_once("://").and_then(|(_, host)| host_name(host));
        host.is_some_and(|host| is_loopback(&host)) || self.origins.contains(&origin)
    }
}

/// Returns the value of a header that stands at most once, as text.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Failure> {
    let mut values = headers.get_all(&name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Failure::invalid(format!("the header {name} must stand once, in ASCII"))),
    }
}

/// Returns the name of `name[:port]` in lower case, without the brackets of an IPv6 address.
fn host_name(text: &str) -> Option<String> {
    let authority = text.parse::<Authority>().ok()?;
    // `user@name` is no host.
    if text.contains('@') {
        return None;
    }
    Some(authority.host().trim_matches(['[', ']']).to_lowercase())
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn forbidden(message: impl Into<String>) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "forbidden", message)
}
