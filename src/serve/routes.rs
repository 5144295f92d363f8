//! From a path to what answers it.

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use std::sync::Arc;
use tokio::time::timeout_at;

use super::body::{self, Held};
use super::json::decode;
use super::places::Place;
use super::pool::Deadline;
use super::reply::{CORPUS_HEADER, Failure, Reply, json_reply};
use super::service::Service;
use super::{mcp, pyserini, retrieve, tools};

/// An answer before it is HTTP: its JSON and the corpora it was made from.
pub(super) struct Answer {
    pub json: Vec<u8>,
    pub corpus: Option<String>,
}

/// What a path means.
enum Route {
    Health,
    Retrieve(Option<String>),
    Search { index: String },
    Document { index: String, id: String },
    Tools,
    Tool(String),
    Protocol,
}

const ROUTES: &str = "POST /retrieve, POST /retrieve/{corpus}, GET /v1/{corpus}/search, \
                      GET /v1/{corpus}/doc/{id}, GET /tools, POST /tools/{name}, POST /mcp, \
                      GET /health";

/// Answers one request of the client that has a place.
pub(super) async fn answer(
    service: &Arc<Service>,
    place: &Arc<Place>,
    request: Request<Incoming>,
) -> Reply {
    service.count();
    match respond(service, place, request).await {
        Ok(reply) => reply,
        Err(failure) => {
            let mut reply = failure.reply();
            if failure.status == StatusCode::REQUEST_TIMEOUT {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            reply
        }
    }
}

async fn respond(
    service: &Arc<Service>,
    place: &Arc<Place>,
    request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let deadline = Deadline::after(service.options.limits.request_time);
    let (parts, incoming) = request.into_parts();
    service.guard.check_names(&parts.uri, &parts.headers)?;
    let route = Route::parse(parts.uri.path());
    if !matches!(route, Ok(Route::Health)) {
        service.guard.check_token(&parts.headers)?;
    }
    let route = route?;
    route.check_method(&parts.method)?;
    let mut held = service.budget.hold();
    let limit = service.options.limits.body_bytes;
    let body = timeout_at(deadline.instant(), body::read(incoming, limit, &mut held)).await;
    let body = body.map_err(|_| {
        let message = "the body did not arrive in time; send it faster, or less of it";
        Failure::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    })??;
    // Only from here on is the client worked for: one that sends its body slowly, or never, may
    // lose its place to another.
    let _working = place.work();
    if let Route::Protocol = route {
        return mcp::answer_http(service, parts, body, held).await;
    }
    let answer = route.answer(service, deadline, &parts, body).await?;
    send(service, answer, held)
}

/// Returns an answer as HTTP, its bytes counted until they are sent.
fn send(service: &Service, answer: Answer, mut held: Held) -> Result<Reply, Failure> {
    held.grow(answer.json.len())?;
    let mut reply = json_reply(StatusCode::OK, body::keep(answer.json, held));
    if let Some(name) = answer.corpus {
        add_provenance(service, &mut reply, &name);
    }
    Ok(reply)
}

/// Says in a header which corpus an answer was made from.
pub(super) fn add_provenance(service: &Service, reply: &mut Reply, corpus: &str) {
    let value = service.provenance(corpus).and_then(|text| HeaderValue::from_str(&text).ok());
    if let Some(value) = value {
        reply.headers_mut().insert(HeaderName::from_static(CORPUS_HEADER), value);
    }
}

impl Route {
    /// Reads a path. What stands behind `/doc/` is an id as a whole, slashes included.
    fn parse(path: &str) -> Result<Route, Failure> {
        let mut parts = path.trim_start_matches('/').splitn(4, '/');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        Ok(match parts {
            [Some("health"), None, ..] => Route::Health,
            [Some("retrieve"), None, ..] => Route::Retrieve(None),
            [Some("retrieve"), Some(name), None, _] => Route::Retrieve(Some(decode(name)?)),
            [Some("v1"), Some(index), Some("search"), None] => {
                Route::Search { index: decode(index)? }
            }
            [Some("v1"), Some(index), Some("doc"), Some(id)] => {
                Route::Document { index: decode(index)?, id: decode(id)? }
            }
            [Some("tools"), None, ..] => Route::Tools,
            [Some("tools"), Some(name), None, _] => Route::Tool(decode(name)?),
            [Some("mcp"), None, ..] => Route::Protocol,
            _ => {
                let message = format!("there is no such path; there are: {ROUTES}");
                return Err(Failure::new(StatusCode::NOT_FOUND, "unknown_path", message));
            }
        })
    }

    fn check_method(&self, method: &Method) -> Result<(), Failure> {
        let (taken, allow) = match self {
            // The protocol's own library answers with its own words.
            Route::Protocol => return Ok(()),
            Route::Retrieve(_) | Route::Tool(_) => (Method::POST, "POST"),
            _ => (Method::GET, "GET"),
        };
        if *method == taken {
            return Ok(());
        }
        let message = format!("this path takes {allow} and not {method}");
        let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        Err(Failure { allow: Some(allow), ..failure })
    }

    async fn answer(
        self,
        service: &Arc<Service>,
        deadline: Deadline,
        parts: &Parts,
        body: Vec<u8>,
    ) -> Result<Answer, Failure> {
        let query = parts.uri.query();
        match self {
            Route::Health => tools::health(service),
            Route::Retrieve(name) => retrieve::answer(service, deadline, name, &body).await,
            Route::Search { index } => pyserini::search(service, deadline, index, query).await,
            Route::Document { index, id } => {
                pyserini::document(service, deadline, index, id, query).await
            }
            Route::Tools => tools::list(service),
            Route::Tool(name) => tools::call(service, deadline, name, &body).await,
            Route::Protocol => Err(Failure::internal("the protocol is answered elsewhere")),
        }
    }
}
