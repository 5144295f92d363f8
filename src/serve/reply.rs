//! Answers and errors as HTTP.

use std::fmt;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::backend::Refusal;

/// An answer, whole.
pub(super) type Reply = Response<Full<Bytes>>;

/// The header that says which corpora an answer was made from.
pub(super) const CORPUS_HEADER: &str = "swirl-corpus";

/// After how many seconds a client that was turned away may ask again.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request has no answer: status, a word for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// The methods that a path does take.
    pub allow: Option<&'static str>,
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.message)
    }
}

impl Failure {
    /// Returns a failure of this status.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Failure {
        Failure { status, code, message: message.into(), allow: None }
    }

    /// Returns what a request that makes no sense gets.
    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// Returns what a request over a limit gets.
    pub fn too_large(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// Returns what a request gets when there is more to do than can be done.
    pub fn busy(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    /// Returns what a request gets that could not be answered in time.
    pub fn out_of_time(seconds: f64) -> Failure {
        let message = format!("there was no answer within {seconds} s; ask for less at once");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "time_limit", message)
    }

    /// Returns what a request gets when the server is at fault.
    pub fn internal(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// Returns the failure as an answer.
    pub fn reply(&self) -> Reply {
        let body = json!({"error": {"code": self.code, "message": self.message}});
        let mut reply = json_reply(self.status, body.to_string().into());
        let headers = reply.headers_mut();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        reply
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let message = refusal.to_string();
        match refusal {
            Refusal::UnknownCorpus { .. } => {
                Failure::new(StatusCode::NOT_FOUND, "unknown_corpus", message)
            }
            Refusal::UnknownTool { .. } => {
                Failure::new(StatusCode::NOT_FOUND, "unknown_tool", message)
            }
            Refusal::NotRecorded(_) => Failure::new(StatusCode::NOT_FOUND, "not_recorded", message),
            Refusal::Invalid(_) => Failure::invalid(message),
            Refusal::Cancelled => {
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, "cancelled", message)
            }
            Refusal::Internal(_) => Failure::internal(message),
        }
    }
}

/// Returns an answer of JSON.
pub(super) fn json_reply(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
