//! The shape of a decoder, read from `config.json` or given by hand.

use std::path::Path;

use serde_json::{Value, json};

use super::LmError;

/// The shape of a decoder of the Llama family: RMSNorm, rotary positions, grouped-query attention,
/// SwiGLU.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
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
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Longest sequence in tokens.
    pub context_length: usize,
    /// Whether the output layer is the embedding.
    pub tie_word_embeddings: bool,
}

/// What this program runs, for error messages.
const SUPPORTED: &str = "only the Llama shape is supported (model_type 'llama', silu, no biases, \
                         default rotary positions)";

impl DecoderConfig {
    /// Checks that the numbers fit together.
    ///
    /// # Errors
    /// `LmError::Config` names the first setting that does not.
    pub fn validate(&self) -> Result<(), LmError> {
        let fail = |what: String, expected: &str| {
            Err(LmError::Config { what, expected: expected.to_owned() })
        };
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("number of layers", self.n_layers),
            ("number of heads", self.n_heads),
            ("number of key-value heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
            ("context length", self.context_length),
        ];
        for (name, size) in sizes {
            // Products of two sizes must stay far from overflow, whatever a file says.
            if size == 0 || size > 1 << 28 {
                return fail(format!("{name} is {size}"), "a number from 1 to 268435456");
            }
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return fail(
                format!("{} heads over {} key-value heads", self.n_heads, self.n_kv_heads),
                "a whole number of heads per key-value head",
            );
        }
        if !self.head_dim.is_multiple_of(2) {
            return fail(format!("head_dim is {}", self.head_dim), "an even number");
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return fail(format!("rope_theta is {}", self.rope_theta), "a positive number");
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return fail(format!("rms_norm_eps is {}", self.rms_norm_eps), "zero or more");
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

    /// Reads the `config.json` of a transformers checkpoint; `path` is for messages.
    ///
    /// # Errors
    /// `Damaged` if it is no JSON or a field is missing, `Unsupported` if it asks for an
    /// architecture, activation, bias or rope scaling that this program does not compute.
    pub fn from_json(text: &str, path: &Path) -> Result<DecoderConfig, LmError> {
        let json: Value = serde_json::from_str(text)
            .map_err(|error| LmError::damaged(path, format!("not JSON: {error}")))?;
        let fields = Fields { json: &json, path };
        fields.refuse_other_shapes()?;
        let hidden_size = fields.size("hidden_size")?;
        let n_heads = fields.size("num_attention_heads")?;
        let config = DecoderConfig {
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            n_layers: fields.size("num_hidden_layers")?,
            n_heads,
            n_kv_heads: fields.optional_size("num_key_value_heads")?.unwrap_or(n_heads),
            head_dim: match fields.optional_size("head_dim")? {
                Some(size) => size,
                None => hidden_size.checked_div(n_heads).unwrap_or(0),
            },
            rope_theta: fields.rope_theta()?,
            rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
            context_length: fields.optional_size("max_position_embeddings")?.unwrap_or(2048),
            tie_word_embeddings: fields.flag("tie_word_embeddings")?,
        };
        config.validate().map_err(|error| LmError::damaged(path, error.to_string()))?;
        Ok(config)
    }

    /// Returns the `config.json` that transformers reads for this shape. `eos_token_id` is left
    /// out if it is not known.
    pub fn to_json(&self, eos_token_id: Option<u32>) -> Value {
        let mut json = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": false,
            "attention_dropout": 0.0,
            "dtype": "float32",
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.context_length,
            "mlp_bias": false,
            "num_attention_heads": self.n_heads,
            "num_hidden_layers": self.n_layers,
            "num_key_value_heads": self.n_kv_heads,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": "float32",
            "vocab_size": self.vocab_size,
        });
        if let Some(id) = eos_token_id {
            json["eos_token_id"] = json!(id);
        }
        json
    }
}

/// The fields of a `config.json`.
pub(super) struct Fields<'a> {
    pub(super) json: &'a Value,
    pub(super) path: &'a Path,
}

impl Fields<'_> {
    /// Refuses every setting that would change the computation.
    fn refuse_other_shapes(&self) -> Result<(), LmError> {
        let refuse = |name: &str, value: &Value| {
            Err(LmError::unsupported(self.path, format!("{name} is {value}"), SUPPORTED))
        };
        let model_type = &self.json["model_type"];
        if model_type != "llama" {
            return refuse("model_type", model_type);
        }
        for (name, wanted) in [
            ("hidden_act", json!("silu")),
            ("attention_bias", json!(false)),
            ("mlp_bias", json!(false)),
            ("partial_rotary_factor", json!(1.0)),
            ("quantization_config", Value::Null),
        ] {
            let value = &self.json[name];
            if !value.is_null() && *value != wanted {
                return refuse(name, value);
            }
        }
        for name in ["rope_scaling", "rope_parameters"] {
            let scaling = &self.json[name];
            if scaling.is_null() {
                continue;
            }
            let kind = if scaling["rope_type"].is_null() { "type" } else { "rope_type" };
            let partial = &scaling["partial_rotary_factor"];
            let whole = partial.is_null() || partial.as_f64() == Some(1.0);
            let plain = scaling[kind].is_null() || scaling[kind] == "default";
            if !plain || !whole {
                return refuse(name, scaling);
            }
        }
        Ok(())
    }

    /// Returns the base of the rotary frequencies: a field of its own up to transformers 4, inside
    /// `rope_parameters` since 5, and 10,000 where neither is given, as there.
    fn rope_theta(&self) -> Result<f64, LmError> {
        if let Some(theta) = self.json["rope_parameters"]["rope_theta"].as_f64() {
            return Ok(theta);
        }
        Ok(self.number("rope_theta")?.unwrap_or(10_000.0))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, LmError> {
        match &self.json[name] {
            Value::Null => Ok(None),
            value => value.as_f64().map(Some).ok_or_else(|| self.wrong(name, "a number", value)),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, LmError> {
        match &self.json[name] {
            Value::Null => Ok(false),
            value => value.as_bool().ok_or_else(|| self.wrong(name, "true or false", value)),
        }
    }

    pub(super) fn optional_size(&self, name: &str) -> Result<Option<usize>, LmError> {
        match &self.json[name] {
            Value::Null => Ok(None),
            value => value
                .as_u64()
                .and_then(|size| usize::try_from(size).ok())
                .map(Some)
                .ok_or_else(|| self.wrong(name, "a positive whole number", value)),
        }
    }

    pub(super) fn size(&self, name: &str) -> Result<usize, LmError> {
        self.optional_size(name)?
            .ok_or_else(|| self.wrong(name, "a positive whole number", &Value::Null))
    }

    fn wrong(&self, name: &str, expected: &str, found: &Value) -> LmError {
        LmError::damaged(self.path, format!("field '{name}' is {found}, expected {expected}"))
    }
}
