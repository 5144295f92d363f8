//! One try of one request: sent, read, and judged.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

use super::error::ChatError;
use super::response::{ChatResponse, Draft, Unfit, shown, words_of};
use super::retry_after::retry_after;
use super::secret::ApiKey;
use super::server_events::ServerEvents;
use crate::http::{self, header_text, innermost_cause};

/// The most bytes that are read of an answer that is an error.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// What a client sends its requests with.
#[derive(Clone)]
pub(super) struct Transport {
    pub client: Client,
    /// Where chats are completed.
    pub url: Url,
    pub key: Option<ApiKey>,
    /// The value of `Authorization`.
    pub authorization: Option<HeaderValue>,
    pub api_key_env: Option<String>,
    pub response_bytes_max: usize,
}

/// Why a try failed, and what may help.
pub(super) struct Failure {
    pub error: ChatError,
    pub remedy: Remedy,
}

/// What may help.
pub(super) enum Remedy {
    /// Nothing.
    None,
    /// The same again, not before the server's own time if it says one.
    Again(Option<Duration>),
    /// The same without a stream.
    WithoutStream,
}

impl Transport {
    /// Sends a request and returns its `n` choices.
    pub async fn attempt(
        self,
        body: String,
        n: u32,
        stream: bool,
    ) -> Result<ChatResponse, Failure> {
        let mut request = self.client.post(self.url.clone());
        request = request.header(CONTENT_TYPE, "application/json").body(body);
        let accepted =
            if stream { "text/event-stream, application/json" } else { "application/json" };
        request = request.header(ACCEPT, accepted);
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        let response = request.send().await.map_err(|error| {
            let problem = innermost_cause(error);
            again(ChatError::Unreachable { url: self.shown_url(), problem })
        })?;
        if !response.status().is_success() {
            return Err(self.refusal(response, stream).await);
        }
        let kind = header_text(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "text/event-stream" => self.read_stream(response, n).await,
            "application/json" => self.read_object(response, n).await,
            _ => {
                let (bytes, _) = self.read_start(response).await;
                let start = shown(&String::from_utf8_lossy(&bytes));
                Err(self.wrong(format!(
                    "the answer is of type '{}' and begins with '{start}', expected \
                     application/json or text/event-stream",
                    shown(&kind)
                )))
            }
        }
    }

    async fn read_object(&self, mut response: Response, n: u32) -> Result<ChatResponse, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, bytes.len()).await? {
            bytes.extend_from_slice(&chunk);
        }
        let object: Value = serde_json::from_slice(&bytes).map_err(|error| {
            let start = shown(&String::from_utf8_lossy(&bytes));
            self.wrong(format!("the answer is no JSON ({error}): '{start}'"))
        })?;
        let mut draft = Draft::default();
        draft.add(&object, "message").map_err(|unfit| self.unfit(unfit))?;
        draft.finish(n, false).map_err(|unfit| self.unfit(unfit))
    }

    async fn read_stream(&self, mut response: Response, n: u32) -> Result<ChatResponse, Failure> {
        let (mut events, mut draft, mut length) = (ServerEvents::default(), Draft::default(), 0);
        let mut waiting: Vec<String> = Vec::new();
        loop {
            let chunk = self.chunk(&mut response, length).await?;
            let is_end = chunk.is_none();
            match chunk {
                Some(bytes) => {
                    length += bytes.len();
                    let pushed = events.push(&bytes, &mut |data| waiting.push(data));
                    pushed.map_err(|at| {
                        self.wrong(format!("a line of the stream is not UTF-8 from byte {at}"))
                    })?;
                }
                None => waiting.extend(events.last()),
            }
            for data in waiting.drain(..) {
                if data.trim() == "[DONE]" {
                    return draft.finish(n, true).map_err(|unfit| self.unfit(unfit));
                }
                let object: Value = serde_json::from_str(&data).map_err(|error| {
                    let start = shown(&data);
                    self.wrong(format!("an event of the stream is no JSON ({error}): '{start}'"))
                })?;
                draft.add(&object, "delta").map_err(|unfit| self.unfit(unfit))?;
            }
            if is_end {
                return draft.finish(n, true).map_err(|unfit| self.unfit(unfit));
            }
        }
    }

    /// Returns the next bytes of an answer of which `length` bytes have come.
    async fn chunk(
        &self,
        response: &mut Response,
        length: usize,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let url = || self.shown_url();
        let chunk = response.chunk().await.map_err(|error| {
            let problem = format!("{} after {length} bytes", innermost_cause(error));
            again(ChatError::Cut { url: url(), problem })
        })?;
        let limit_bytes = self.response_bytes_max;
        match chunk {
            Some(bytes) if length + bytes.len() > limit_bytes => {
                let error = ChatError::TooLarge { url: url(), limit_bytes };
                Err(Failure { error, remedy: Remedy::None })
            }
            chunk => Ok(chunk.map(|bytes| bytes.to_vec())),
        }
    }

    /// Returns the beginning of an answer that is no chat, and whether there was more.
    async fn read_start(&self, mut response: Response) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        // What cannot be read of it is not told.
        while let Ok(Some(chunk)) = response.chunk().await {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MESSAGE_BYTES_MAX {
                bytes.truncate(MESSAGE_BYTES_MAX);
                return (bytes, true);
            }
        }
        (bytes, false)
    }

    /// Makes an error of an answer with a status that is none.
    async fn refusal(&self, response: Response, stream: bool) -> Failure {
        let status = response.status();
        let after = retry_after(response.headers());
        let kind = header_text(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        let is_page = kind.contains("html");
        let target = header_text(response.headers(), LOCATION.as_str()).map(shown);
        let (bytes, _) = self.read_start(response).await;
        let usual = status.canonical_reason().unwrap_or("no reason given");
        let said = match serde_json::from_slice::<Value>(&bytes) {
            _ if is_page => String::new(),
            Ok(object) => words_of(object.get("error").unwrap_or(&object)),
            Err(_) => shown(&String::from_utf8_lossy(&bytes)),
        };
        let message = if said.is_empty() { usual.to_owned() } else { self.without_key(&said) };
        let may_stream = stream && matches!(status.as_u16(), 400 | 405 | 415 | 422 | 501);
        let without_stream = may_stream && message.to_lowercase().contains("stream");
        if without_stream {
            let error = self.refused(status, message, None);
            return Failure { error, remedy: Remedy::WithoutStream };
        }
        self.judged(status, message, after, target)
    }

    /// Returns what a status means.
    fn judged(
        &self,
        status: StatusCode,
        message: String,
        after: Option<Duration>,
        target: Option<String>,
    ) -> Failure {
        let url = self.shown_url();
        match status.as_u16() {
            429 => {
                let error = ChatError::Busy { url, after, message };
                Failure { error, remedy: Remedy::Again(after) }
            }
            408 | 409 | 425 | 500..=599 => {
                let error = ChatError::Server { url, status: status.as_u16(), message };
                Failure { error, remedy: Remedy::Again(after) }
            }
            _ => Failure { error: self.refused(status, message, target), remedy: Remedy::None },
        }
    }

    fn refused(&self, status: StatusCode, message: String, target: Option<String>) -> ChatError {
        let advice = match (status.as_u16(), &self.key, &self.api_key_env) {
            (401, Some(_), Some(name)) => format!("set {name} to a valid key"),
            (401, Some(_), None) => "give a valid key".to_owned(),
            (401, None, Some(name)) => format!("set {name} to a key"),
            (401, None, None) => {
                "the server wants a key: name the environment variable that holds it with \
                 api_key_env"
                    .to_owned()
            }
            (403, ..) => "check what the key may use".to_owned(),
            (404 | 405, ..) => {
                "check base_url, which most often ends in /v1, and the model's name".to_owned()
            }
            (400 | 413 | 422, ..) => {
                "check the options of sampling, and that the conversation fits into the model's \
                 context"
                    .to_owned()
            }
            (300..=399, ..) => match target {
                Some(target) => {
                    let target = target.split('?').next().unwrap_or_default().to_owned();
                    format!("it redirects to {}: change base_url", self.without_key(&target))
                }
                None => "change base_url".to_owned(),
            },
            _ => "check base_url".to_owned(),
        };
        ChatError::Refused { url: self.shown_url(), status: status.as_u16(), message, advice }
    }

    fn unfit(&self, unfit: Unfit) -> Failure {
        match unfit {
            Unfit::Wrong(problem) => self.wrong(problem),
            Unfit::Cut(problem) => again(ChatError::Cut { url: self.shown_url(), problem }),
            Unfit::Said(message, status) => {
                let status = status.and_then(|status| StatusCode::from_u16(status).ok());
                let status = status.filter(|s| s.is_client_error() || s.is_server_error());
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                self.judged(status, self.without_key(&message), None, None)
            }
        }
    }

    fn wrong(&self, problem: String) -> Failure {
        let problem = self.without_key(&problem);
        again(ChatError::Protocol { url: self.shown_url(), problem })
    }

    fn without_key(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.hide_in(text))
    }

    pub fn shown_url(&self) -> String {
        http::shown_address(&self.url)
    }
}

fn again(error: ChatError) -> Failure {
    Failure { error, remedy: Remedy::Again(None) }
}
