//! What a client of a chat server is given.

use std::fmt;
use std::time::Duration;

use super::secret::ApiKey;
use crate::http;

/// Where a chat server is, what it is asked with, and how patiently.
#[derive(Clone, PartialEq)]
pub struct ChatOptions {
    /// The address in front of `/chat/completions`, such as `http://localhost:8000/v1`.
    pub base_url: String,
    /// The name that the server knows the model by.
    pub model: String,
    /// The key, if the server wants one.
    pub api_key: Option<ApiKey>,
    /// The environment variable that the key comes from, for messages.
    pub api_key_env: Option<String>,
    /// How many requests may be under way at once; each has a thread.
    pub concurrency: usize,
    /// How many requests may be sent in a minute, tries again included; `None`: any number. They
    /// are sent at even distances.
    pub requests_per_minute: Option<u32>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a try may take, from its first byte to the last one of its answer.
    pub timeout: Duration,
    /// How often a request is tried again.
    pub max_retries: u32,
    /// The pause before the first try again; each further one is twice as long.
    pub pause: Duration,
    /// The longest pause. A server that asks for a longer one ends the request.
    pub pause_max: Duration,
    /// Whether answers are asked for as a stream.
    pub stream: bool,
    /// Whether reasoning of earlier messages is sent (`reasoning_content`).
    pub send_reasoning: bool,
    /// The most bytes of an answer.
    pub response_bytes_max: usize,
    /// The address of a proxy that all requests go through.
    pub proxy: Option<String>,
    /// Hosts that are asked without the proxy, between commas.
    pub no_proxy: Option<String>,
}

impl ChatOptions {
    /// Returns options for a model of a server: no key, 8 requests at once, as many a minute as
    /// are wanted, 10 s to connect, 10 minutes for an answer of at most 64 MiB, 4 tries again
    /// after 1, 2, 4 and 8 s, pauses to 2 minutes, streams, reasoning sent.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> ChatOptions {
        ChatOptions {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            api_key_env: None,
            concurrency: 8,
            requests_per_minute: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(600),
            max_retries: 4,
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(120),
            stream: true,
            send_reasoning: true,
            response_bytes_max: 64 << 20,
            proxy: None,
            no_proxy: None,
        }
    }
}

impl fmt::Debug for ChatOptions {
    /// Writes all but the key, the password of an address and the proxy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base_url = http::parse_address(&self.base_url);
        f.debug_struct("ChatOptions")
            .field("base_url", &base_url.map(|url| http::shown_address(&url)))
            .field("model", &self.model)
            .field("has_key", &self.api_key.is_some())
            .field("api_key_env", &self.api_key_env)
            .field("concurrency", &self.concurrency)
            .field("requests_per_minute", &self.requests_per_minute)
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("max_retries", &self.max_retries)
            .field("pause", &self.pause)
            .field("pause_max", &self.pause_max)
            .field("stream", &self.stream)
            .field("send_reasoning", &self.send_reasoning)
            .field("response_bytes_max", &self.response_bytes_max)
            .field("has_proxy", &self.proxy.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}
