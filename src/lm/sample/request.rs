//! What is asked of a sampler, and what it answers.

use std::ops::ControlFlow;

use super::arena::Arena;
use super::forward::Sequence;
use crate::lm::{DecoderConfig, LmError};

/// Tokens whose keys and values are kept in the cache of a sampler, until the last clone is
/// dropped. Clones and heads share their memory.
#[derive(Clone, Debug)]
pub struct Prefix {
    pub(super) sequence: Sequence,
    /// The stamp of the weights that computed it.
    pub(super) stamp: [u8; 32],
}

impl Prefix {
    /// Returns the tokens. The last one of a sample that was kept is among them, though it is run
    /// through the model only when the prefix is used.
    pub fn tokens(&self) -> &[u32] {
        &self.sequence.tokens
    }

    /// Returns the prefix of the first `length` tokens, which shares the memory of this one. The
    /// states of a trajectory are heads of its prefix.
    ///
    /// # Errors
    /// `Config` if there are fewer tokens.
    pub fn head(&self, length: usize) -> Result<Prefix, LmError> {
        let Some(tokens) = self.sequence.tokens.get(..length) else {
            return Err(LmError::Config {
                what: format!("the first {length} tokens of a prefix"),
                expected: format!("at most {}, its length", self.sequence.tokens.len()),
            });
        };
        let cached = self.sequence.cached.min(length);
        let blocks = self.sequence.blocks.head(cached);
        let sequence = Sequence { tokens: tokens.to_vec(), cached, blocks };
        Ok(Prefix { sequence, stamp: self.stamp })
    }
}

/// The tokens in front of what is sampled or scored.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// Those that are in the cache.
    pub prefix: Option<Prefix>,
    /// Those behind them; may be empty if there is a prefix.
    pub tokens: Vec<u32>,
}

impl Prompt {
    /// Returns the prompt of tokens of which none is cached.
    pub fn new(tokens: Vec<u32>) -> Prompt {
        Prompt { prefix: None, tokens }
    }

    /// Returns the sequence of the prompt, with at least one token that is not cached: the states
    /// of cached tokens are not kept, so the last one is run again.
    pub(super) fn sequence(&self) -> Sequence {
        let mut sequence = match &self.prefix {
            Some(prefix) => prefix.sequence.clone(),
            None => Sequence::default(),
        };
        sequence.tokens.extend_from_slice(&self.tokens);
        sequence.cached = sequence.cached.min(sequence.tokens.len().saturating_sub(1));
        sequence
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len() + self.prefix.as_ref().map_or(0, |prefix| prefix.tokens().len())
    }

    /// Checks the prompt of request `number` against model, arena and weights.
    pub(super) fn check(
        &self,
        number: usize,
        config: &DecoderConfig,
        arena: &Arena,
        stamp: &[u8; 32],
    ) -> Result<(), LmError> {
        let fail =
            |what: String, expected: String| Err(LmError::Request { number, what, expected });
        if let Some(prefix) = &self.prefix {
            if !arena.owns(&prefix.sequence.blocks) {
                let what = "its prefix is in the cache of another sampler".to_owned();
                return fail(what, "a prefix of this sampler".to_owned());
            }
            if prefix.stamp != *stamp {
                let what = "its prefix was computed under other weights".to_owned();
                return fail(what, "a prefix computed after the last change of them".to_owned());
            }
        }
        if self.len() == 0 {
            return fail("its prompt is empty".to_owned(), "at least one token".to_owned());
        }
        let context = config.context_length;
        if self.len() > context {
            return fail(
                format!("its prompt has {} tokens", self.len()),
                format!("at most {context}, the context of the model"),
            );
        }
        check_tokens(number, "its prompt", &self.tokens, config)
    }
}

/// Checks that tokens are in the vocabulary.
pub(super) fn check_tokens(
    number: usize,
    name: &str,
    tokens: &[u32],
    config: &DecoderConfig,
) -> Result<(), LmError> {
    let vocabulary = config.vocab_size;
    match tokens.iter().position(|token| *token as usize >= vocabulary) {
        None => Ok(()),
        Some(at) => Err(LmError::Request {
            number,
            what: format!("token {} at position {at} of {name}", tokens[at]),
            expected: format!("an id below {vocabulary}, the vocabulary of the model"),
        }),
    }
}

/// How probabilities are bent and cut before a token is drawn, in the order and with the meaning
/// of transformers' logits processors: temperature, `top_k`, `top_p`, `min_p`, each over what the
/// one before has left.
///
/// The default is the model's own distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// Logits are divided by it. 0 takes the most probable token, the first of equals, and leaves
    /// the other settings nothing to do.
    pub temperature: f64,
    /// How many of the most probable tokens are left, and those that equal the last of them; 0 for
    /// all.
    pub top_k: usize,
    /// The smallest set of the most probable tokens with more than this probability together is
    /// left; 1 for all.
    pub top_p: f64,
    /// Tokens with less than this times the probability of the most probable one are left out; 0
    /// for none.
    pub min_p: f64,
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 }
    }
}

impl Distribution {
    /// Returns the distribution of the most probable token.
    pub fn greedy() -> Distribution {
        Distribution { temperature: 0.0, ..Distribution::default() }
    }

    pub(super) fn check(&self, number: usize) -> Result<(), LmError> {
        // Far smaller ones overflow f32 where logits are divided.
        let temperature = self.temperature == 0.0 || (1e-4..=1e4).contains(&self.temperature);
        let checks = [
            (temperature, "temperature", self.temperature, "0, or a number from 0.0001 to 10000"),
            ((0.0..=1.0).contains(&self.top_p), "top_p", self.top_p, "a number from 0 to 1"),
            ((0.0..=1.0).contains(&self.min_p), "min_p", self.min_p, "a number from 0 to 1"),
        ];
        match checks.into_iter().find(|(right, ..)| !right) {
            None => Ok(()),
            Some((_, name, value, expected)) => Err(LmError::Request {
                number,
                what: format!("{name} is {value}"),
                expected: expected.to_owned(),
            }),
        }
    }
}

/// One sample that is wanted.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The tokens in front.
    pub prompt: Prompt,
    /// The sample ends with this many tokens, if it does not end before.
    pub max_new_tokens: usize,
    /// What tokens are drawn from.
    pub distribution: Distribution,
    /// Texts that end the sample. They may begin and end inside of tokens.
    pub stop: Vec<String>,
    /// Tokens that end the sample.
    pub stop_tokens: Vec<u32>,
    /// The seed of the random numbers, which are counted by position: a sample that was cut and
    /// goes on under the same seed draws the same tokens.
    pub seed: u64,
    /// Whether the cache of the sample is kept for the next turn.
    pub keep: bool,
}

impl Request {
    pub(super) fn check(
        &self,
        number: usize,
        config: &DecoderConfig,
        has_tokenizer: bool,
    ) -> Result<(), LmError> {
        let fail = |what: &str, expected: &str| {
            let (what, expected) = (what.to_owned(), expected.to_owned());
            Err(LmError::Request { number, what, expected })
        };
        self.distribution.check(number)?;
        if self.prompt.len() == config.context_length {
            let what = format!("its prompt fills the context of {} tokens", self.prompt.len());
            return fail(&what, "room for a token");
        }
        if self.max_new_tokens == 0 {
            return fail("max_new_tokens is 0", "at least 1");
        }
        if self.stop.iter().any(String::is_empty) {
            return fail("a stop string is empty", "text");
        }
        if !self.stop.is_empty() && !has_tokenizer {
            return fail("stop strings without a tokenizer", "a tokenizer, or stop tokens only");
        }
        check_tokens(number, "its stop tokens", &self.stop_tokens, config)
    }

    /// Returns how many tokens the sequence can come to have.
    pub(super) fn longest(&self, config: &DecoderConfig) -> usize {
        self.prompt.len().saturating_add(self.max_new_tokens).min(config.context_length)
    }
}

/// Why a sample ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With this token, its last one.
    StopToken(u32),
    /// With a stop string, which the text ends with.
    StopString {
        /// Which of the request's, counted from 0.
        number: usize,
        /// The byte of the text that it begins with.
        start: usize,
        /// What was behind it in the last token, and is not in the text.
        behind: String,
    },
    /// It has as many tokens as were allowed.
    Length,
    /// It fills the context of the model.
    Context,
    /// The caller ended the run; going on under the same seed gives the rest.
    Cancelled,
}

impl End {
    /// Returns the word for it: `stop`, `length`, `context` or `cancelled`.
    pub fn as_str(&self) -> &'static str {
        match self {
            End::StopToken(_) | End::StopString { .. } => "stop",
            End::Length => "length",
            End::Context => "context",
            End::Cancelled => "cancelled",
        }
    }
}

/// What a request gave.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The tokens, the stop token included.
    pub tokens: Vec<u32>,
    /// The text of the tokens, if there is a tokenizer: without the stop token, and without what
    /// is behind a stop string. Bytes that are no UTF-8 are U+FFFD.
    pub text: Option<String>,
    /// Why it ended.
    pub end: End,
    /// The log-probability of each token under the model: nothing cut, temperature 1.
    pub log_probs: Vec<f32>,
    /// The log-probability of each token under the distribution that it was drawn from.
    pub drawn_log_probs: Vec<f32>,
    /// Prompt and tokens in the cache, if the request asked for it.
    pub prefix: Option<Prefix>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passes through the model.
    pub steps: u64,
    /// Tokens of prompts that went through the model.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were in the cache.
    pub cached_tokens: u64,
    /// Tokens that were drawn.
    pub new_tokens: u64,
}

/// Where a run stands after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Requests that wait for a slot.
    pub waiting: usize,
    /// Requests in slots.
    pub live: usize,
    /// Requests that have ended.
    pub ended: usize,
    /// What was done so far.
    pub counts: Counts,
}

/// Called after every step; `Break` ends the run.
pub type Watch<'a> = &'a mut dyn FnMut(&Progress) -> ControlFlow<()>;

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Samples {
    /// One sample for each request, in their order.
    pub samples: Vec<Sample>,
    /// What was done.
    pub counts: Counts,
}
