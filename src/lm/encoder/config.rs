//! What the files beside the weights say.

use std::path::Path;

use serde_json::{Value, json};

use crate::lm::LmError;
use crate::lm::fields::Fields;

/// What an unsupported setting is told.
const SUPPORTED: &str =
    "BERT encoders are supported: absolute positions, GELU, mean or CLS pooling";

/// The shape of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EncoderConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) n_layers: usize,
    pub(super) n_heads: usize,
    pub(super) positions: usize,
    pub(super) type_vocab_size: usize,
    pub(super) layer_norm_eps: f64,
    pub(super) pooling: Pooling,
    /// Tokens of a text, special ones included; what is behind them is cut off.
    pub(super) tokens_max: usize,
}

/// How the rows of a text become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The mean of all rows.
    Mean,
    /// The first row.
    Cls,
}

impl EncoderConfig {
    /// Reads the files of a model's directory.
    ///
    /// # Errors
    /// `NotAModel` without a `config.json`; `Damaged`; `Unsupported` for settings that would change
    /// the vectors and are not computed here.
    pub(super) fn read(directory: &Path) -> Result<EncoderConfig, LmError> {
        let path = directory.join("config.json");
        if !path.is_file() {
            let found = match directory.exists() {
                true => "the directory has no config.json",
                false => "there is no such directory",
            };
            let found = found.to_owned();
            return Err(LmError::NotAModel { path: directory.to_path_buf(), found });
        }
        let json = read_json(&path)?;
        refuse_others(&json, &path)?;
        let fields = Fields { json: &json, path: &path };
        let positions = fields.size("max_position_embeddings")?;
        let config = EncoderConfig {
            vocab_size: fields.size("vocab_size")?,
            hidden_size: fields.size("hidden_size")?,
            intermediate_size: fields.size("intermediate_size")?,
            n_layers: fields.size("num_hidden_layers")?,
            n_heads: fields.size("num_attention_heads")?,
            positions,
            type_vocab_size: fields.optional_size("type_vocab_size")?.unwrap_or(2),
            layer_norm_eps: fields.number("layer_norm_eps")?.unwrap_or(1e-12),
            pooling: read_pooling(directory)?,
            tokens_max: read_tokens_max(directory, positions)?,
        };
        config.check(&path)?;
        refuse_other_modules(directory)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), LmError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.n_layers),
            ("num_attention_heads", self.n_heads),
            ("max_position_embeddings", self.positions),
            ("type_vocab_size", self.type_vocab_size),
        ];
        for (name, size) in sizes {
            // Products of two sizes must stay far from overflow, whatever a file says.
            if size == 0 || size > 1 << 24 {
                let what = format!("{name} is {size}, expected a number from 1 to 16777216");
                return Err(LmError::damaged(path, what));
            }
        }
        if !self.hidden_size.is_multiple_of(self.n_heads) {
            let what = format!(
                "hidden_size is {}, expected a multiple of the {} heads",
                self.hidden_size, self.n_heads
            );
            return Err(LmError::damaged(path, what));
        }
        if !(0.0..=1.0).contains(&self.layer_norm_eps) {
            let what = format!("layer_norm_eps is {}, expected 0 to 1", self.layer_norm_eps);
            return Err(LmError::damaged(path, what));
        }
        Ok(())
    }

    /// Returns all that decides vectors, as one text.
    pub(super) fn describe(&self) -> String {
        let pooling = match self.pooling {
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
        };
        json!({
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": self.n_heads,
            "max_position_embeddings": self.positions,
            "type_vocab_size": self.type_vocab_size,
            "layer_norm_eps": self.layer_norm_eps,
            "pooling": pooling,
            "tokens_max": self.tokens_max,
        })
        .to_string()
    }
}

/// Returns the JSON of a file.
pub(super) fn read_json(path: &Path) -> Result<Value, LmError> {
    let text = std::fs::read_to_string(path).map_err(LmError::io(path))?;
    serde_json::from_str(&text)
        .map_err(|error| LmError::damaged(path, format!("not JSON: {error}")))
}

/// Returns the JSON of a file, null if it does not exist.
fn read_json_if_there(path: &Path) -> Result<Value, LmError> {
    match path.is_file() {
        true => read_json(path),
        false => Ok(Value::Null),
    }
}

fn refuse(path: &Path, name: &str, value: &Value) -> LmError {
    LmError::unsupported(path, format!("{name} is {value}"), SUPPORTED)
}

/// Refuses every setting of `config.json` that would change the computation.
fn refuse_others(json: &Value, path: &Path) -> Result<(), LmError> {
    if json["model_type"] != "bert" {
        return Err(refuse(path, "model_type", &json["model_type"]));
    }
    for (name, wanted) in [
        ("hidden_act", json!("gelu")),
        ("position_embedding_type", json!("absolute")),
        ("is_decoder", json!(false)),
        ("add_cross_attention", json!(false)),
        ("quantization_config", Value::Null),
    ] {
        let value = &json[name];
        if !value.is_null() && *value != wanted {
            return Err(refuse(path, name, value));
        }
    }
    Ok(())
}

/// Returns how the directory asks rows to be pooled: by their mean, where it says nothing, as
/// sentence-transformers does.
fn read_pooling(directory: &Path) -> Result<Pooling, LmError> {
    let path = directory.join("1_Pooling").join("config.json");
    let json = read_json_if_there(&path)?;
    if json.is_null() {
        return Ok(Pooling::Mean);
    }
    // Since version 5.2 of sentence-transformers the mode is one name.
    if let Some(mode) = json["pooling_mode"].as_str() {
        return match mode {
            "mean" => Ok(Pooling::Mean),
            "cls" => Ok(Pooling::Cls),
            _ => Err(refuse(&path, "pooling_mode", &json["pooling_mode"])),
        };
    }
    let is_on = |(_, value): &(&String, &Value)| **value == Value::Bool(true);
    let modes = json.as_object().into_iter().flatten();
    let modes: Vec<&str> = modes
        .filter(|entry| entry.0.starts_with("pooling_mode_") && is_on(entry))
        .map(|(name, _)| name.as_str())
        .collect();
    match modes.as_slice() {
        ["pooling_mode_mean_tokens"] => Ok(Pooling::Mean),
        ["pooling_mode_cls_token"] => Ok(Pooling::Cls),
        others => Err(refuse(&path, "the pooling", &json!(others))),
    }
}

/// Returns how many tokens of a text are read.
fn read_tokens_max(directory: &Path, positions: usize) -> Result<usize, LmError> {
    let path = directory.join("sentence_bert_config.json");
    let json = read_json_if_there(&path)?;
    let fields = Fields { json: &json, path: &path };
    if fields.flag("do_lower_case")? {
        return Err(refuse(&path, "do_lower_case", &json["do_lower_case"]));
    }
    let tokens_max = fields.optional_size("max_seq_length")?.unwrap_or(positions);
    if tokens_max == 0 || tokens_max > positions {
        let what = format!("max_seq_length is {tokens_max}, expected 1 to {positions}");
        return Err(LmError::damaged(&path, what));
    }
    Ok(tokens_max)
}

/// Refuses a chain of modules that does more than encode, pool and normalise, and texts that are to
/// be put before every other.
fn refuse_other_modules(directory: &Path) -> Result<(), LmError> {
    let path = directory.join("modules.json");
    let json = read_json_if_there(&path)?;
    let modules = json.as_array().map(Vec::as_slice).unwrap_or_default();
    for (module, known) in modules.iter().zip(0..) {
        let kind = module["type"].as_str().and_then(|name| name.rsplit('.').next());
        let expected = ["Transformer", "Pooling", "Normalize"].get(known);
        if kind != expected.copied() {
            return Err(refuse(&path, &format!("module {known}"), &module["type"]));
        }
    }
    let path = directory.join("config_sentence_transformers.json");
    let name = &read_json_if_there(&path)?["default_prompt_name"];
    match name.is_null() {
        true => Ok(()),
        false => Err(refuse(&path, "default_prompt_name", name)),
    }
}
