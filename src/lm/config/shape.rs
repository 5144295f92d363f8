//! The fields of a shape and what follows from them.

use std::path::Path;

use serde_json::{Value, json};

use super::{Activation, Family, RopeScaling, settings};
use crate::lm::LmError;

/// The shape of a decoder: RMSNorm, rotary positions, grouped-query attention, a gated feed-forward
/// layer, and what families add to it.
///
/// [`DecoderConfig::default`] is the plain Llama shape without sizes, for `..` behind the sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// The family whose `config.json` describes this shape.
    pub family: Family,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Number of layers.
    pub n_layers: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched for longer sequences.
    pub rope_scaling: RopeScaling,
    /// Base of the rotary frequencies of layers with a window, unstretched; those of the others if
    /// it is not given (Gemma 3).
    pub rope_local_theta: Option<f64>,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Whether norms multiply by 1 + weight (Gemma) and not by the weight.
    pub norm_adds_one: bool,
    /// Whether what attention and feed-forward write to the stream is normed first (Gemma 2, 3).
    pub branch_norms: bool,
    /// Whether every head of queries and keys is normed before it is rotated (Qwen3, Gemma 3).
    pub query_key_norms: bool,
    /// Whether the projections to queries, keys and values have a bias.
    pub query_key_value_bias: bool,
    /// Whether the projection behind attention has a bias.
    pub output_bias: bool,
    /// Whether the projections of the feed-forward layer have a bias.
    pub feed_forward_bias: bool,
    /// What is done with the gate of the feed-forward layer.
    pub activation: Activation,
    /// Whether embeddings are multiplied by sqrt(`hidden_size`) (Gemma).
    pub embedding_scaled: bool,
    /// Scores of attention are divided by the square root of this; by that of `head_dim` if it is
    /// not given.
    pub query_scalar: Option<f64>,
    /// Bound of the scores of attention: c tanh(score / c).
    pub attention_soft_cap: Option<f64>,
    /// Bound of the logits: c tanh(logit / c).
    pub logit_soft_cap: Option<f64>,
    /// How many tokens a token sees in the layers that have a window, itself included.
    pub sliding_window: Option<usize>,
    /// For each layer whether it has the window; none has, if this is empty.
    pub sliding_layers: Vec<bool>,
    /// Longest sequence in tokens.
    pub context_length: usize,
    /// Whether the output layer is the embedding.
    pub tie_word_embeddings: bool,
}

impl Default for DecoderConfig {
    fn default() -> DecoderConfig {
        DecoderConfig {
            family: Family::Llama,
            vocab_size: 0,
            hidden_size: 0,
            intermediate_size: 0,
            n_layers: 0,
            n_heads: 0,
            n_kv_heads: 0,
            head_dim: 0,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            rope_local_theta: None,
            rms_norm_eps: 1e-6,
            norm_adds_one: false,
            branch_norms: false,
            query_key_norms: false,
            query_key_value_bias: false,
            output_bias: false,
            feed_forward_bias: false,
            activation: Activation::Silu,
            embedding_scaled: false,
            query_scalar: None,
            attention_soft_cap: None,
            logit_soft_cap: None,
            sliding_window: None,
            sliding_layers: Vec::new(),
            context_length: 2048,
            tie_word_embeddings: false,
        }
    }
}

impl DecoderConfig {
    /// Checks that the numbers fit together, and that the family's `config.json` can say them.
    ///
    /// # Errors
    /// `LmError::Config` names the first setting that does not.
    pub fn validate(&self) -> Result<(), LmError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("number of layers", self.n_layers),
            ("number of heads", self.n_heads),
            ("number of key-value heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
            ("context length", self.context_length),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ];
        for (name, size) in sizes {
            // Products of two sizes must stay far from overflow, whatever a file says.
            if size == 0 || size > 1 << 28 {
                return refuse(format!("{name} is {size}"), "a number from 1 to 268435456");
            }
        }
        if self.n_layers > 1 << 16 {
            let what = format!("number of layers is {}", self.n_layers);
            return refuse(what, "a number from 1 to 65536");
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return refuse(
                format!("{} heads over {} key-value heads", self.n_heads, self.n_kv_heads),
                "a whole number of heads per key-value head",
            );
        }
        if !self.head_dim.is_multiple_of(2) {
            return refuse(format!("head_dim is {}", self.head_dim), "an even number");
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return refuse(format!("rms_norm_eps is {}", self.rms_norm_eps), "zero or more");
        }
        for (name, number) in [
            ("rope_theta", Some(self.rope_theta)),
            ("rope_local_base_freq", self.rope_local_theta),
            ("query_pre_attn_scalar", self.query_scalar),
            ("attn_logit_softcapping", self.attention_soft_cap),
            ("final_logit_softcapping", self.logit_soft_cap),
        ] {
            if number.is_some_and(|number| !(number.is_finite() && number > 0.0)) {
                let what = format!("{name} is {}", number.unwrap_or_default());
                return refuse(what, "a positive number");
            }
        }
        self.rope_scaling.validate()?;
        self.validate_windows()?;
        self.family.validate(self)
    }

    fn validate_windows(&self) -> Result<(), LmError> {
        if !self.sliding_layers.is_empty() && self.sliding_layers.len() != self.n_layers {
            return refuse(
                format!("{} kinds of {} layers", self.sliding_layers.len(), self.n_layers),
                "one kind for each layer",
            );
        }
        if self.sliding_layers.contains(&true) && self.sliding_window.is_none() {
            let what = "layers have a window and sliding_window is not given".to_owned();
            return refuse(what, "the number of tokens in sliding_window");
        }
        Ok(())
    }

    /// Returns the width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Returns the width of all key (or value) heads together.
    pub fn key_value_size(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// Returns whether a layer, counted from 0, sees a window only.
    pub fn is_sliding(&self, layer: usize) -> bool {
        self.sliding_layers.get(layer).copied().unwrap_or(false)
    }

    /// Returns the factor of the scores of attention.
    pub fn attention_scale(&self) -> f64 {
        1.0 / self.query_scalar.unwrap_or(self.head_dim as f64).sqrt()
    }

    /// Returns the factor of the embeddings, if there is one.
    pub fn embedding_scale(&self) -> Option<f64> {
        // transformers keeps the root in the weights' type, here f32.
        self.embedding_scaled.then(|| f64::from((self.hidden_size as f64).sqrt() as f32))
    }

    /// Returns what norms add to their weights.
    pub fn norm_offset(&self) -> f32 {
        if self.norm_adds_one { 1.0 } else { 0.0 }
    }

    /// Reads the `config.json` of a transformers checkpoint; `path` is for messages.
    ///
    /// Fields that are left out have the values that transformers gives them.
    ///
    /// # Errors
    /// `Damaged` if it is no JSON or a field is missing, `Unsupported` if it asks for an
    /// architecture, activation, bias or rope scaling that this program does not compute.
    pub fn from_json(text: &str, path: &Path) -> Result<DecoderConfig, LmError> {
        let json: Value = serde_json::from_str(text)
            .map_err(|error| LmError::damaged(path, format!("not JSON: {error}")))?;
        let config = settings::read(&json, path)?;
        config.validate().map_err(|error| LmError::damaged(path, error.to_string()))?;
        Ok(config)
    }

    /// Returns the `config.json` that transformers reads for this shape. `eos_token_id` is left
    /// out if it is not known.
    pub fn to_json(&self, eos_token_id: Option<u32>) -> Value {
        let mut json = settings::write(self);
        if let Some(id) = eos_token_id {
            json["eos_token_id"] = json!(id);
        }
        json
    }
}

/// Returns the error for a setting that makes no sense.
pub(super) fn refuse<T>(what: String, expected: &str) -> Result<T, LmError> {
    Err(LmError::Config { what, expected: expected.to_owned() })
}
