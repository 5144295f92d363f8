//! Requests to the hub: who may see the token, which redirects are followed, what is tried again.

use std::io;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Method, NoProxy, Proxy, Response, StatusCode, Url};
use serde_json::Value;

use super::error::HubError;
use super::layout::{Etag, FileName};
use super::listing::Listing;
use super::model_id::{ModelId, is_commit};
use super::options::{ENDPOINT, HubOptions, Patience};
use super::watch::Watch;
use crate::http::{self, shown_address as shown};

/// What stands in an address as it is (RFC 3986, unreserved).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same, and what parts a path.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// The short address of the hub.
const SHORT_ENDPOINT: &str = "https://hf.co";

const REDIRECTS_MAX: usize = 10;

/// The most bytes of a list of files.
const LISTING_BYTES_MAX: usize = 64 << 20;

/// The most bytes that are read of an answer that is an error, and characters that are told.
const MESSAGE_BYTES_MAX: usize = 4096;
const MESSAGE_CHARACTERS_MAX: usize = 200;

/// What the hub says to a token that it does not know.
const UNKNOWN_TOKEN: &str = "Invalid credentials in Authorization header";

/// A hub that can be asked.
pub(super) struct Hub<'o> {
    client: Client,
    endpoint: String,
    /// The same for messages, without a password.
    shown_endpoint: String,
    token: Option<HeaderValue>,
    /// Hosts that may see the token.
    homes: Vec<Url>,
    patience: &'o Patience,
}

/// What a request is about, for messages.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub model: &'a ModelId,
    pub file: Option<&'a FileName>,
}

/// What a file is.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub etag: Etag,
    pub size: u64,
}

/// Why a request failed, and whether it makes sense to ask again.
pub(super) struct Failure {
    pub error: HubError,
    pub again: Again,
}

/// Whether it makes sense to ask again.
pub(super) enum Again {
    /// It would fail again.
    Never,
    /// It may pass, not before the hub's own time if it says one.
    After(Option<Duration>),
}

/// The tries that are left.
pub(super) struct Tries<'o> {
    pauses: std::slice::Iter<'o, Duration>,
    pause_max: Duration,
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Failure {
        Failure { error, again: Again::Never }
    }
}

impl Failure {
    /// Returns a failure that may pass.
    pub fn passing(error: HubError) -> Failure {
        Failure { error, again: Again::After(None) }
    }
}

impl<'o> Tries<'o> {
    pub fn new(patience: &'o Patience) -> Tries<'o> {
        Tries { pauses: patience.pauses.iter(), pause_max: patience.pause_max }
    }

    /// Waits before the next try, or returns the error where there is none.
    pub async fn again(
        &mut self,
        failure: Failure,
        watch: &mut Watch<'_, '_>,
    ) -> Result<(), HubError> {
        let Failure { error, again } = failure;
        let Again::After(asked) = again else { return Err(error) };
        let Some(pause) = self.pauses.next() else { return Err(error) };
        let time = asked.map_or(*pause, |asked| asked.max(*pause));
        match asked.is_some_and(|asked| asked > self.pause_max) {
            true => Err(error),
            false => watch.pause(time, &error).await,
        }
    }
}

impl<'o> Hub<'o> {
    /// Checks the options; nothing is sent yet.
    pub fn new(options: &'o HubOptions) -> Result<Hub<'o>, HubError> {
        let endpoint = options.endpoint.trim().trim_end_matches('/').to_owned();
        let home = endpoint_address(&endpoint)?;
        let shown_endpoint = shown(&home).trim_end_matches('/').to_owned();
        let mut homes = vec![home];
        homes.extend([ENDPOINT, SHORT_ENDPOINT].iter().filter_map(|text| text.parse().ok()));
        let token = options.token.as_deref().map(bearer).transpose()?;
        let patience = &options.patience;
        let mut builder = http::client_builder()
            .connect_timeout(patience.silence_max)
            .read_timeout(patience.silence_max);
        if let Some(text) = &options.proxy {
            let proxy =
                Proxy::all(address("the proxy in HTTPS_PROXY", text)?).map_err(cannot_run)?;
            let without = options.no_proxy.as_deref().and_then(NoProxy::from_string);
            builder = builder.proxy(proxy.no_proxy(without));
        }
        let client = builder.build().map_err(cannot_run)?;
        Ok(Hub { client, endpoint, shown_endpoint, token, homes, patience })
    }

    pub fn tries(&self) -> Tries<'o> {
        Tries::new(self.patience)
    }

    /// Asks which commit a revision is and which files it has.
    pub async fn listing(
        &self,
        id: &ModelId,
        watch: &mut Watch<'_, '_>,
    ) -> Result<(String, Listing), HubError> {
        let revision = utf8_percent_encode(id.meant_revision(), UNRESERVED);
        let url = format!("{}/api/models/{}/revision/{revision}", self.endpoint, id.repository());
        let url = endpoint_address(&url)?;
        let asked = Asked { model: id, file: None };
        let mut tries = self.tries();
        let bytes = loop {
            match self.text(asked, &url, watch).await {
                Ok(bytes) => break bytes,
                Err(failure) => tries.again(failure, watch).await?,
            }
        };
        let wrong = |problem: String| HubError::Protocol { url: shown(&url), problem };
        let listing: Listing =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        match listing.sha.clone().filter(|sha| is_commit(sha)) {
            Some(commit) => Ok((commit, listing)),
            None => Err(wrong("the answer has no 'sha' that is a commit".to_owned())),
        }
    }

    async fn text(
        &self,
        asked: Asked<'_>,
        url: &Url,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Vec<u8>, Failure> {
        let mut response = self.ask(asked, Method::GET, url, 0, watch).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) =
            watch.wait(response.chunk()).await?.map_err(|error| unreachable(url, error))?
        {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LISTING_BYTES_MAX {
                let problem = format!("the answer has more than {LISTING_BYTES_MAX} bytes");
                return Err(HubError::Protocol { url: shown(url), problem }.into());
            }
        }
        Ok(bytes)
    }

    /// Returns where people read about a model.
    pub fn page(&self, id: &ModelId) -> String {
        format!("{}/{}", self.shown_endpoint, id.repository())
    }

    /// Returns where a file of a commit is.
    pub fn address_of(&self, id: &ModelId, commit: &str, file: &FileName) -> Result<Url, HubError> {
        let name = utf8_percent_encode(file.as_str(), PATH);
        let url = format!("{}/{}/resolve/{commit}/{name}", self.endpoint, id.repository());
        endpoint_address(&url)
    }

    /// Asks what a file of a commit is.
    pub async fn content(
        &self,
        id: &ModelId,
        commit: &str,
        file: &FileName,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Content, HubError> {
        let url = self.address_of(id, commit, file)?;
        let asked = Asked { model: id, file: Some(file) };
        let mut tries = self.tries();
        let response = loop {
            match self.ask(asked, Method::HEAD, &url, 0, watch).await {
                Ok(response) => break response,
                Err(failure) => tries.again(failure, watch).await?,
            }
        };
        let wrong = |problem: String| HubError::Protocol { url: shown(&url), problem };
        let headers = response.headers();
        match http::header_text(headers, "x-repo-commit") {
            Some(found) if found == commit => {}
            Some(found) => {
                let problem = format!("X-Repo-Commit is '{}', not {commit}", found.escape_debug());
                return Err(wrong(problem));
            }
            None => return Err(wrong("the answer has no X-Repo-Commit".to_owned())),
        }
        let etag = http::header_text(headers, "x-linked-etag")
            .or_else(|| http::header_text(headers, ETAG.as_str()));
        let etag = etag.ok_or_else(|| wrong("the answer has no ETag".to_owned()))?;
        let own_size = || match response.status().is_redirection() {
            true => None,
            false => http::header_text(headers, CONTENT_LENGTH.as_str()),
        };
        let size = http::header_text(headers, "x-linked-size").or_else(own_size);
        let size = size.and_then(|size| size.trim().parse().ok());
        let size = size.ok_or_else(|| wrong("the answer does not say the size".to_owned()))?;
        Ok(Content { etag: Etag::parse(etag).map_err(wrong)?, size })
    }

    /// Sends one request and follows its redirects. A HEAD stops at the one that leaves the hub:
    /// that answer says what the file is. The token stays with the hub.
    pub async fn ask(
        &self,
        asked: Asked<'_>,
        method: Method,
        url: &Url,
        from: u64,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Response, Failure> {
        let mut url = url.clone();
        let mut is_home = true;
        watch.tell()?;
        for _ in 0..=REDIRECTS_MAX {
            is_home = is_home && self.is_home(&url);
            let mut request = self.client.request(method.clone(), url.clone());
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some(token) = self.token.as_ref().filter(|_| is_home) {
                request = request.header(AUTHORIZATION, token.clone());
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = watch.wait(request.send()).await?;
            let response = response.map_err(|error| unreachable(&url, error))?;
            let Some(target) = target(&response, &url)? else {
                return self.judge(asked, response, is_home, watch).await;
            };
            if method == Method::HEAD && !self.is_home(&target) {
                return Ok(response);
            }
            url = target;
        }
        let problem = format!("it redirects more than {REDIRECTS_MAX} times");
        Err(HubError::Protocol { url: shown(&url), problem }.into())
    }

    fn is_home(&self, url: &Url) -> bool {
        self.homes.iter().any(|home| home.origin() == url.origin())
    }

    /// Makes an error of an answer that is none.
    async fn judge(
        &self,
        asked: Asked<'_>,
        response: Response,
        is_home: bool,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Response, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let url = shown(response.url());
        let after = asked_time(response.headers());
        let code =
            http::header_text(response.headers(), "x-error-code").unwrap_or_default().to_owned();
        let message = message(response, watch).await?;
        let again = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Again::After(after),
            status if status.is_server_error() => Again::After(after),
            _ => Again::Never,
        };
        let error = match status {
            StatusCode::TOO_MANY_REQUESTS => {
                HubError::Busy { url, after, has_token: self.token.is_some() }
            }
            _ if is_home => self.refusal(asked, status, &code, message, url),
            _ => HubError::Status { url, status: status.as_u16(), message },
        };
        Err(Failure { error, again })
    }

    /// Returns what the hub means by refusing.
    fn refusal(
        &self,
        asked: Asked<'_>,
        status: StatusCode,
        code: &str,
        message: String,
        url: String,
    ) -> HubError {
        let (endpoint, has_token) = (self.shown_endpoint.clone(), self.token.is_some());
        let (model, page) = (asked.model.repository(), self.page(asked.model));
        match (code, status, asked.file) {
            ("GatedRepo", ..) => HubError::Gated { model, page, has_token },
            ("RevisionNotFound", ..) => HubError::NoRevision {
                model,
                revision: asked.model.meant_revision().to_owned(),
                page: format!("{page}/tree/main"),
            },
            ("EntryNotFound", _, Some(file)) => {
                HubError::NoFile { model, file: file.as_str().to_owned() }
            }
            ("RepoNotFound", ..) => HubError::NoModel { endpoint, model, has_token },
            (_, StatusCode::UNAUTHORIZED, _) if message == UNKNOWN_TOKEN => {
                HubError::Token { endpoint, message }
            }
            // The hub does not say whether a model exists to who may not know.
            (_, StatusCode::UNAUTHORIZED, _) => HubError::NoModel { endpoint, model, has_token },
            (_, StatusCode::FORBIDDEN, _) => HubError::Forbidden { url, message },
            (_, StatusCode::NOT_FOUND, Some(file)) => {
                HubError::NoFile { model, file: file.as_str().to_owned() }
            }
            (_, StatusCode::NOT_FOUND, None) => HubError::NoModel { endpoint, model, has_token },
            _ => HubError::Status { url, status: status.as_u16(), message },
        }
    }
}

/// Returns where a redirect leads, `None` where the answer is none.
fn target(response: &Response, url: &Url) -> Result<Option<Url>, HubError> {
    let status = response.status();
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let wrong = |problem: String| HubError::Protocol { url: shown(url), problem };
    let location = http::header_text(response.headers(), LOCATION.as_str());
    let location = location.ok_or_else(|| wrong("a redirect says no Location".to_owned()))?;
    let target = url.join(location);
    let target = target.map_err(|error| wrong(format!("a redirect leads nowhere: {error}")))?;
    match (url.scheme(), target.scheme()) {
        ("https", "https") | ("http", "http" | "https") => Ok(Some(target)),
        (_, scheme) => Err(wrong(format!("it redirects from {} to {scheme}", url.scheme()))),
    }
}

/// Returns the time that an answer asks to wait: `Retry-After` in seconds, or the end of the window
/// in which no more requests are taken (`RateLimit: "api";r=0;t=55`).
fn asked_time(headers: &HeaderMap) -> Option<Duration> {
    let limit = http::header_text(headers, "ratelimit").filter(|value| value.contains(";r=0;"));
    let window = limit.and_then(|value| value.split(";t=").nth(1));
    let window = window.and_then(|rest| rest.split(';').next());
    let seconds = http::header_text(headers, RETRY_AFTER.as_str()).or(window)?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// Returns what an answer that is an error says.
async fn message(mut response: Response, watch: &mut Watch<'_, '_>) -> Result<String, HubError> {
    let usual = response.status().canonical_reason().unwrap_or("no reason given");
    let headers = response.headers();
    let said = http::header_text(headers, "x-error-message").map(str::to_owned);
    let is_page =
        http::header_text(headers, CONTENT_TYPE.as_str()).is_some_and(|t| t.contains("html"));
    let mut body = Vec::new();
    if said.is_none() && !is_page {
        while let Ok(Some(chunk)) = watch.wait(response.chunk()).await? {
            body.extend_from_slice(&chunk);
            if body.len() > MESSAGE_BYTES_MAX {
                break;
            }
        }
    }
    let text = || {
        let json = serde_json::from_slice::<Value>(&body).ok();
        let error = json.as_ref().and_then(|json| json.get("error")).and_then(Value::as_str);
        error.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned)
    };
    let text = said.unwrap_or_else(text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(usual);
    let shown = line.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARACTERS_MAX);
    Ok(shown.collect())
}

fn endpoint_address(text: &str) -> Result<Url, HubError> {
    address(&format!("HF_ENDPOINT '{text}'"), text)
}

/// Reads an address of HTTP from a setting.
fn address(setting: &str, text: &str) -> Result<Url, HubError> {
    http::parse_address(text).ok_or_else(|| HubError::Setting {
        setting: setting.to_owned(),
        problem: "is no address".to_owned(),
        expected: "one that begins with https:// or http://, such as https://huggingface.co",
    })
}

fn bearer(token: &str) -> Result<HeaderValue, HubError> {
    http::bearer(token).ok_or_else(|| HubError::Setting {
        setting: "the token in HF_TOKEN".to_owned(),
        problem: "is empty or has characters that no token has".to_owned(),
        expected: "a text such as hf_abc..",
    })
}

/// Returns a broken connection as a failure that may pass.
pub(super) fn unreachable(url: &Url, error: reqwest::Error) -> Failure {
    let problem = http::innermost_cause(error);
    Failure::passing(HubError::Unreachable { url: shown(url), problem })
}

fn cannot_run(error: reqwest::Error) -> HubError {
    HubError::Run(io::Error::other(error))
}
