//! The client: one request with its tries.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{NoProxy, Proxy, Url};
use serde_json::json;

use super::clock::Clock;
use super::error::ChatError;
use super::options::ChatOptions;
use super::pace::Pace;
use super::request::{ChatRequest, setting};
use super::response::ChatResponse;
use super::transport::{Failure, Remedy, Transport};
use crate::http::{self, Waited, Worker};

/// How much of a pause is slept at once.
const SLEPT_AT_ONCE: Duration = Duration::from_millis(50);

/// An answer, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Completed {
    /// The answer.
    pub response: ChatResponse,
    /// How often the request was sent.
    pub tries: u32,
    /// How long the last try took.
    pub latency: Duration,
}

/// A client of one model of one server. Threads may share it.
pub struct ChatClient {
    options: ChatOptions,
    transport: Transport,
    clock: Arc<dyn Clock>,
    pace: Pace,
    /// Whether the server is still asked for streams.
    streams: AtomicBool,
    worker: Worker,
}

impl ChatClient {
    /// Checks the options; nothing is sent yet.
    ///
    /// # Errors
    /// An option that cannot be used, or threads that cannot be started.
    pub fn new(options: ChatOptions, clock: Arc<dyn Clock>) -> Result<ChatClient, ChatError> {
        let url = completions_url(&options)?;
        if options.concurrency == 0 {
            return Err(setting("concurrency", "is 0", "1 or more"));
        }
        if options.requests_per_minute == Some(0) {
            return Err(setting("requests_per_minute", "is 0", "1 or more, or none"));
        }
        if options.model.trim().is_empty() {
            return Err(setting("model", "is empty", "the name that the server has for it"));
        }
        let name = options.api_key_env.as_deref().unwrap_or("api_key_env");
        let wrong_key = || {
            let problem = "is empty or has characters that no key has";
            setting(&format!("the key in {name}"), problem, "a text such as sk-abc..")
        };
        let key = options.api_key.as_ref();
        let authorization =
            key.map(|key| http::bearer(key.reveal()).ok_or_else(wrong_key)).transpose()?;
        let mut builder = http::client_builder().connect_timeout(options.connect_timeout);
        if let Some(text) = &options.proxy {
            let expected = "an address that begins with http:// or https://";
            let url = http::parse_address(text)
                .ok_or_else(|| setting("the proxy", "is no address", expected))?;
            let without = options.no_proxy.as_deref().and_then(NoProxy::from_string);
            builder = builder.proxy(Proxy::all(url).map_err(cannot_run)?.no_proxy(without));
        }
        let transport = Transport {
            client: builder.build().map_err(cannot_run)?,
            url,
            key: options.api_key.clone(),
            authorization,
            api_key_env: options.api_key_env.clone(),
            response_bytes_max: options.response_bytes_max,
        };
        Ok(ChatClient {
            pace: Pace::new(options.requests_per_minute),
            streams: AtomicBool::new(options.stream),
            worker: Worker::start("chat")?,
            options,
            transport,
            clock,
        })
    }

    /// Returns the options.
    pub fn options(&self) -> &ChatOptions {
        &self.options
    }

    /// Returns the address that requests go to, without a password.
    pub fn url(&self) -> String {
        self.transport.shown_url()
    }

    /// Asks, and asks again while it may help. `cancelled` is asked at least ten times a second.
    ///
    /// # Errors
    /// What the last try came to, or [`ChatError::Cancelled`].
    pub fn complete(
        &self,
        request: &ChatRequest,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Completed, ChatError> {
        let mut fields = request.to_fields(self.options.send_reasoning)?;
        fields.insert("model".to_owned(), json!(self.options.model));
        let plain = serde_json::Value::Object(fields.clone()).to_string();
        fields.insert("stream".to_owned(), json!(true));
        fields.insert("stream_options".to_owned(), json!({ "include_usage": true }));
        let streamed = serde_json::Value::Object(fields).to_string();
        let (mut tries, mut retries) = (0, 0);
        loop {
            self.wait(self.pace.take(self.clock.now()), cancelled)?;
            let stream = self.streams.load(Ordering::Relaxed);
            let body = if stream { &streamed } else { &plain };
            let began = self.clock.now();
            tries += 1;
            let Failure { error, remedy } =
                match self.attempt(body.clone(), request.sampling.n, stream, cancelled) {
                    Ok(response) => {
                        let latency = self.clock.now().saturating_sub(began);
                        return Ok(Completed { response, tries, latency });
                    }
                    Err(failure) => failure,
                };
            let after = match remedy {
                Remedy::WithoutStream => {
                    self.streams.store(false, Ordering::Relaxed);
                    continue;
                }
                Remedy::Again(after) if retries < self.options.max_retries => after,
                _ if tries == 1 => return Err(error),
                _ => return Err(ChatError::GaveUp { tries, last: Box::new(error) }),
            };
            if after.is_some_and(|time| time > self.options.pause_max) {
                return Err(error);
            }
            if let Some(time) = after {
                self.pace.hold_until(self.clock.now() + time);
            }
            self.wait(self.pause(&plain, retries), cancelled)?;
            retries += 1;
        }
    }

    /// Sends a request once and waits for its answer.
    fn attempt(
        &self,
        body: String,
        n: u32,
        stream: bool,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<ChatResponse, Failure> {
        let (time, transport) = (self.options.timeout, self.transport.clone());
        let work = async move { transport.attempt(body, n, stream).await };
        let (error, remedy) = match self.worker.run(time, cancelled, work) {
            Waited::Done(outcome) => return outcome,
            Waited::OutOfTime => {
                let seconds = time.as_secs_f64();
                (ChatError::OutOfTime { url: self.url(), seconds }, Remedy::Again(None))
            }
            Waited::Cancelled => (ChatError::Cancelled, Remedy::None),
            Waited::Broken => {
                let error = io::Error::other("a thread stopped; a bug");
                (ChatError::Run(error), Remedy::None)
            }
        };
        Err(Failure { error, remedy })
    }

    /// Returns the pause before a try: twice the one before, cut by up to half. How much is cut is
    /// a hash of the request.
    fn pause(&self, body: &str, retries: u32) -> Duration {
        let whole = self.options.pause.saturating_mul(1 << retries.min(20));
        let mut hasher = blake3::Hasher::new();
        hasher.update(body.as_bytes()).update(&retries.to_le_bytes());
        let hash = hasher.finalize();
        let part =
            f64::from(u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]])) / 65_536.0;
        whole.min(self.options.pause_max).mul_f64(0.5 + 0.5 * part)
    }

    fn wait(&self, time: Duration, cancelled: &dyn Fn() -> bool) -> Result<(), ChatError> {
        let until = self.clock.now() + time;
        loop {
            if cancelled() {
                return Err(ChatError::Cancelled);
            }
            let left = until.saturating_sub(self.clock.now());
            if left.is_zero() {
                return Ok(());
            }
            self.clock.sleep(left.min(SLEPT_AT_ONCE));
        }
    }
}

/// Returns the address of the server's completions of chats.
fn completions_url(options: &ChatOptions) -> Result<Url, ChatError> {
    let text = options.base_url.trim().trim_end_matches('/');
    let expected = "an address such as http://localhost:8000/v1";
    let mut url = http::parse_address(text)
        .ok_or_else(|| setting("base_url", "is no address of HTTP", expected))?;
    if options.api_key.is_some() && (!url.username().is_empty() || url.password().is_some()) {
        let problem = "holds a password, and there is a key too";
        return Err(setting("base_url", problem, "one of both"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(setting("base_url", "has something behind ? or #", expected));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let is_whole = path.ends_with("/chat/completions");
    url.set_path(&if is_whole { path } else { format!("{path}/chat/completions") });
    Ok(url)
}

fn cannot_run(error: reqwest::Error) -> ChatError {
    ChatError::Run(io::Error::other(error))
}
