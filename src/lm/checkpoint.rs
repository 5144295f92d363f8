//! Writing a decoder to a directory, and setting its trainable weights from a file.

use std::path::Path;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::safetensors::{TensorFile, replace, write};
use super::{Decoder, LmError, LoraConfig, Tokenizer};

impl Decoder {
    /// Writes the decoder to a directory, which is made if it does not exist.
    ///
    /// With adapters: `adapter_config.json` and `adapter_model.safetensors` as PEFT reads them.
    /// Without: `config.json` and `model.safetensors` as transformers reads them. With a tokenizer
    /// also `tokenizer.json` and `tokenizer_config.json`. Each file is replaced when its successor
    /// is whole and on the disk.
    ///
    /// # Errors
    /// `Io` with the file.
    pub fn save(&self, directory: &Path, tokenizer: Option<&Tokenizer>) -> Result<(), LmError> {
        std::fs::create_dir_all(directory).map_err(LmError::io(directory))?;
        let eos = tokenizer.and_then(Tokenizer::eos_token_id);
        let named = |weights: Vec<(String, &super::weights::Weight)>| -> Vec<(String, Tensor)> {
            weights.into_iter().map(|(name, weight)| (name, weight.tensor().clone())).collect()
        };
        match self.lora() {
            Some(lora) => {
                let tensors = named(self.weights().adapters());
                write(&directory.join("adapter_model.safetensors"), &tensors)?;
                let json = adapter_json(lora, self.base());
                write_json(&directory.join("adapter_config.json"), &json)?;
            }
            None => {
                write(&directory.join("model.safetensors"), &named(self.weights().base()))?;
                write_json(&directory.join("config.json"), &self.config().to_json(eos))?;
            }
        }
        if let Some(tokenizer) = tokenizer {
            tokenizer.save(&directory.join("tokenizer.json"))?;
            let json = json!({
                "tokenizer_class": "PreTrainedTokenizerFast",
                "clean_up_tokenization_spaces": false,
                "eos_token": tokenizer.eos_token(),
                "model_max_length": self.config().context_length,
            });
            write_json(&directory.join("tokenizer_config.json"), &json)?;
        }
        Ok(())
    }

    /// Sets the trainable weights from a file that [`Decoder::save`] wrote: `model.safetensors`, or
    /// `adapter_model.safetensors` for adapters. Nothing is set unless everything fits.
    ///
    /// # Errors
    /// `MissingTensor`, `UnknownTensor` or `Shape` if names and shapes are not exactly those of
    /// [`Decoder::parameters`]; `Damaged` if the file is no safetensors.
    pub fn load_parameters(&self, file: &Path) -> Result<(), LmError> {
        let parameters = self.parameters();
        let content = TensorFile::read(file)?;
        let open = content.open(file)?;
        let known: std::collections::BTreeSet<&str> =
            parameters.iter().map(|(name, _)| name.as_str()).collect();
        let extra: Vec<&str> = open.names().filter(|name| !known.contains(name)).collect();
        if let Some(name) = extra.first() {
            return Err(LmError::UnknownTensor {
                path: file.to_path_buf(),
                name: (*name).to_owned(),
                count: extra.len(),
                hint: "check that the file was written for the same model and the same training \
                       (full or LoRA, r, target_modules)"
                    .to_owned(),
            });
        }
        let mut values = Vec::with_capacity(parameters.len());
        for (name, variable) in &parameters {
            values.push(open.load(name, variable.dims(), self.device())?.0);
        }
        for ((_, variable), value) in parameters.iter().zip(&values) {
            variable.set(value)?;
        }
        Ok(())
    }
}

/// Returns the `adapter_config.json` that PEFT reads.
fn adapter_json(lora: &LoraConfig, base: Option<&str>) -> Value {
    let alpha = match lora.lora_alpha {
        // PEFT declares a whole number; others are kept as they are.
        alpha if alpha.fract() == 0.0 && alpha.abs() < 1e9 => json!(alpha as i64),
        alpha => json!(alpha),
    };
    json!({
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": lora.r,
        "target_modules": lora.targets(),
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    })
}

fn write_json(path: &Path, json: &Value) -> Result<(), LmError> {
    let text = serde_json::to_string_pretty(json).unwrap_or_else(|_| json.to_string());
    replace(path, |out| {
        std::io::Write::write_all(out, text.as_bytes())?;
        std::io::Write::write_all(out, b"\n")
    })
}
