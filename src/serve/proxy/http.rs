//! A tool behind an address that takes HTTP.

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Request, Response, Url};
use serde_json::Value;

use super::super::backend::{Cancelled, ToolOutput};
use super::error::ProxyError;
use super::template::{Body, Call, Template};
use super::worker::{ProxyLimits, Worker};
use crate::http::{client_builder, innermost_cause};

/// How the address is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Arguments stand in the address and the headers.
    Get,
    /// Arguments stand in a body of JSON too.
    Post,
}

/// The request of a tool, with `{name}` where an argument belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpTarget {
    /// How it is asked.
    pub method: Method,
    /// The address, `http://..` or `https://..`. Arguments may stand in its path and its query
    /// string and are percent-encoded there.
    pub url: String,
    /// Headers by name.
    pub headers: Vec<(String, String)>,
    /// The body of a POST; without one it is the object of all arguments.
    pub body: Option<Value>,
}

/// A tool behind an address.
pub struct HttpTool {
    worker: Worker,
    client: Client,
    method: Method,
    url: Template,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Body>,
    limits: ProxyLimits,
}

impl HttpTool {
    /// Checks a request; nothing is sent before a call.
    ///
    /// # Errors
    /// An address that is none, arguments where the host stands, a header's name that is none, a
    /// body for GET.
    pub fn new(target: &HttpTarget, limits: ProxyLimits) -> Result<HttpTool, ProxyError> {
        let url = parse_url(&target.url)?;
        let mut headers = Vec::new();
        for (name, value) in &target.headers {
            let part = format!("the header {name}");
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| wrong(&part, value, "this is no name of a header"))?;
            headers.push((parsed, Template::parse(&part, value)?));
        }
        if target.method == Method::Get && target.body.is_some() {
            return Err(wrong("the body", "", "a GET has none; put the arguments in the address"));
        }
        let body = target.body.as_ref().map(Body::parse).transpose()?;
        Ok(HttpTool {
            worker: Worker::start()?,
            client: client()?,
            method: target.method,
            url,
            headers,
            body,
            limits,
        })
    }

    /// Asks the address. An answer with a status of 300 and above is an output that is an error.
    ///
    /// # Errors
    /// Arguments that are missing or have no place, and why there is no answer to use.
    pub fn call(&self, arguments: &Value, cancelled: Cancelled) -> Result<ToolOutput, ProxyError> {
        let request = self.request(arguments)?;
        let (client, limit_bytes) = (self.client.clone(), self.limits.answer_bytes);
        self.worker.run(self.limits.time, cancelled, async move {
            let url = request.url().clone();
            let response = client.execute(request).await.map_err(|e| unreachable(&url, e))?;
            let status = response.status();
            let text = read(response, limit_bytes).await?;
            Ok(if status.is_success() {
                ToolOutput { text, is_error: false, structured: None }
            } else {
                ToolOutput {
                    text: format!("HTTP {status}: {text}"),
                    is_error: true,
                    structured: None,
                }
            })
        })
    }

    fn request(&self, arguments: &Value) -> Result<Request, ProxyError> {
        let arguments = arguments.as_object().ok_or(ProxyError::Arguments)?;
        let mut call = Call::new(arguments);
        let text = self.url.fill_encoded(&mut call)?;
        check_path(&text)?;
        let url = text.parse::<Url>().map_err(|e| wrong("the URL", &text, &e.to_string()))?;
        let method = match self.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let mut request = Request::new(method, url);
        for (name, template) in &self.headers {
            let value = template.fill(&mut call)?;
            let value = HeaderValue::from_str(&value)
                .map_err(|_| wrong(&format!("the header {name}"), &value, "must be ASCII text"))?;
            request.headers_mut().append(name, value);
        }
        let body = match (&self.body, self.method) {
            (_, Method::Get) => None,
            (Some(body), Method::Post) => Some(body.fill(&mut call)?.to_string()),
            // All arguments have their place here.
            (None, Method::Post) => {
                return Ok(with_body(request, Value::Object(arguments.clone()).to_string()));
            }
        };
        call.check_used()?;
        Ok(match body {
            Some(body) => with_body(request, body),
            None => request,
        })
    }
}

fn with_body(mut request: Request, body: String) -> Request {
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().entry(CONTENT_TYPE).or_insert(json);
    *request.body_mut() = Some(body.into());
    request
}

/// Returns a client that calls what it is told to call and nothing else. Certificates are checked
/// against those that the system trusts.
pub(super) fn client() -> Result<Client, ProxyError> {
    let built = client_builder().build();
    built.map_err(|error| ProxyError::Run(std::io::Error::other(error)))
}

/// Checks the scheme of an address.
pub(super) fn check_scheme(url: &str) -> Result<(), ProxyError> {
    match url.split_once("://").map(|(scheme, _)| scheme.to_lowercase()).as_deref() {
        Some("http" | "https") => Ok(()),
        _ => Err(wrong("the URL", url, "must begin with http:// or https://")),
    }
}

fn parse_url(text: &str) -> Result<Template, ProxyError> {
    check_scheme(text)?;
    let template = Template::parse("the URL", text)?;
    let rest = template.beginning().split_once("://").map_or("", |(_, rest)| rest);
    if text.contains('{') && !rest.contains(['/', '?']) {
        return Err(wrong("the URL", text, "arguments may stand in path and query only"));
    }
    if template.has('#') {
        return Err(wrong("the URL", text, "what stands behind # is never sent; leave it out"));
    }
    template.beginning().parse::<Url>().map_err(|e| wrong("the URL", text, &e.to_string()))?;
    Ok(template)
}

/// Checks that no part of the path means the folder above: arguments could lead elsewhere.
fn check_path(url: &str) -> Result<(), ProxyError> {
    let path = url.split('?').next().unwrap_or_default();
    match path.split('/').skip(3).any(|part| part == "." || part == "..") {
        true => Err(wrong("the URL", url, "a part of the path is '.' or '..'")),
        false => Ok(()),
    }
}

fn wrong(part: &str, text: &str, problem: &str) -> ProxyError {
    let (part, text, problem) = (part.to_owned(), text.to_owned(), problem.to_owned());
    ProxyError::Template { part, text, problem }
}

fn unreachable(url: &Url, error: reqwest::Error) -> ProxyError {
    ProxyError::Unreachable { target: url.to_string(), problem: innermost_cause(error) }
}

async fn read(mut response: Response, limit_bytes: usize) -> Result<String, ProxyError> {
    let url = response.url().clone();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&url, error))? {
        if bytes.len() + chunk.len() > limit_bytes {
            return Err(ProxyError::TooLarge { limit_bytes });
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes)
        .map_err(|error| ProxyError::NotText { at: error.utf8_error().valid_up_to() })
}
