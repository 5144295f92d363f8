//! What a chat server is asked.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::ChatError;
use super::messages::messages_json;
use crate::model::Message;

/// How answers are sampled; what is `None` or empty is left to the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// What logits are divided by; 0 is greedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The share of probability that is sampled from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The most tokens of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Texts that end an answer, and are not part of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// The seed of the server's random numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How many answers are sampled.
    pub n: u32,
    /// Whether the log-probability of each token is asked for.
    pub logprobs: bool,
    /// How many of the likeliest tokens are asked for at each place; only with `logprobs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u8>,
    /// Further fields of the request, such as vLLM's `top_k` or `return_token_ids`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Default for Sampling {
    /// One answer, everything left to the server.
    fn default() -> Sampling {
        Sampling {
            temperature: None,
            top_p: None,
            max_tokens: None,
            stop: Vec::new(),
            seed: None,
            n: 1,
            logprobs: false,
            top_logprobs: None,
            extra: Map::new(),
        }
    }
}

/// One request: a conversation, the tools, and how the next message is sampled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The tools, as a list of functions in OpenAI's form.
    pub tools: Option<Value>,
    /// How the answer is sampled.
    pub sampling: Sampling,
}

impl ChatRequest {
    /// Returns the fields of the request but the model and how the answer is sent.
    ///
    /// # Errors
    /// No answer is asked for, likeliest tokens without log-probabilities, or a further field has
    /// the name of one that there is already.
    pub fn to_fields(&self, send_reasoning: bool) -> Result<Map<String, Value>, ChatError> {
        let sampling = &self.sampling;
        let mut fields = Map::new();
        let messages = messages_json(&self.messages, send_reasoning);
        fields.insert("messages".to_owned(), messages);
        if let Some(tools) = self.tools.as_ref().filter(|tools| **tools != json!([])) {
            fields.insert("tools".to_owned(), tools.clone());
        }
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        put("temperature", sampling.temperature.map(|value| json!(value)));
        put("top_p", sampling.top_p.map(|value| json!(value)));
        put("max_tokens", sampling.max_tokens.map(|value| json!(value)));
        put("stop", (!sampling.stop.is_empty()).then(|| json!(sampling.stop)));
        put("seed", sampling.seed.map(|value| json!(value)));
        put("n", (sampling.n != 1).then(|| json!(sampling.n)));
        put("logprobs", sampling.logprobs.then(|| json!(true)));
        put("top_logprobs", sampling.top_logprobs.map(|value| json!(value)));
        if sampling.n == 0 {
            return Err(setting("n", "is 0", "1 or more"));
        }
        if sampling.top_logprobs.is_some() && !sampling.logprobs {
            let expected = "logprobs = true beside it";
            return Err(setting("top_logprobs", "is set without logprobs", expected));
        }
        const OURS: [&str; 3] = ["model", "stream", "stream_options"];
        for (name, value) in &sampling.extra {
            if OURS.contains(&name.as_str()) || fields.contains_key(name) {
                let named = format!("the further field '{name}'");
                let expected = "the option of that name to be used";
                return Err(setting(&named, "is a field of the request already", expected));
            }
            fields.insert(name.clone(), value.clone());
        }
        Ok(fields)
    }
}

/// Returns an error of an option.
pub(super) fn setting(setting: &str, problem: &str, expected: &'static str) -> ChatError {
    ChatError::Setting { setting: setting.to_owned(), problem: problem.to_owned(), expected }
}
