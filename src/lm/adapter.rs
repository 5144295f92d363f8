//! A model with the adapter of a folder as PEFT, or [`Decoder::save`], writes it.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::Value;

use super::{LmError, LoadedModel, LoraConfig, Tokenizer, Training, load};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// What `adapter_config.json` says.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterFiles {
    /// Rank, scale and projections.
    pub lora: LoraConfig,
    /// The model that it is for, as it is called there.
    pub base: Option<PathBuf>,
}

impl AdapterFiles {
    /// Whether a folder holds an adapter and no model.
    pub fn are_in(path: &Path) -> bool {
        path.join(CONFIG).is_file() && !path.join("config.json").is_file()
    }

    /// Reads the description of an adapter.
    ///
    /// # Errors
    /// `Io`; `Damaged` where a field is missing or of another type; `Unsupported` for what is
    /// computed otherwise: other kinds of adapters, DoRA, rank-stabilised scales, biases, other
    /// saved modules, ranks or scales of single layers.
    pub fn read(directory: &Path) -> Result<AdapterFiles, LmError> {
        let path = directory.join(CONFIG);
        let text = std::fs::read_to_string(&path).map_err(LmError::io(&path))?;
        let json: Value = serde_json::from_str(&text)
            .map_err(|error| LmError::damaged(&path, format!("not JSON: {error}")))?;
        let is_unset = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text == "none",
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::Bool(true) => false,
        };
        if json["peft_type"] != "LORA" {
            return Err(unsupported(&path, "peft_type", &json["peft_type"]));
        }
        let others = [
            "use_dora",
            "use_rslora",
            "bias",
            "modules_to_save",
            "rank_pattern",
            "alpha_pattern",
            "layers_to_transform",
            "fan_in_fan_out",
            "trainable_token_indices",
            "target_parameters",
        ];
        if let Some(name) = others.into_iter().find(|name| !is_unset(&json[*name])) {
            return Err(unsupported(&path, name, &json[name]));
        }
        let field =
            |name: &str| LmError::damaged(&path, format!("field '{name}' is {}", json[name]));
        let r = json["r"].as_u64().ok_or_else(|| field("r"))?;
        let lora_alpha = json["lora_alpha"].as_f64().ok_or_else(|| field("lora_alpha"))?;
        let modules = match &json["target_modules"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(list) => {
                let names = list.iter().map(|name| name.as_str().map(str::to_owned));
                names.collect::<Option<Vec<_>>>().ok_or_else(|| field("target_modules"))?
            }
            _ => return Err(field("target_modules")),
        };
        let lora = LoraConfig { r: r as usize, lora_alpha, target_modules: modules };
        lora.validate()?;
        Ok(AdapterFiles { lora, base: json["base_model_name_or_path"].as_str().map(PathBuf::from) })
    }
}

fn unsupported(path: &Path, name: &str, found: &Value) -> LmError {
    LmError::Unsupported {
        path: path.to_path_buf(),
        what: format!("{name} is {found}"),
        supported: "adapters of kind LORA on the linear layers, all with one rank and one scale"
            .to_owned(),
    }
}

/// Loads the model at `base` frozen, with the adapter in a folder beside it.
///
/// # Errors
/// Those of [`load`]; an adapter of another model, named by the tensor that does not fit.
pub fn load_adapted(
    directory: &Path,
    adapter: &AdapterFiles,
    base: &Path,
    device: &Device,
) -> Result<LoadedModel, LmError> {
    let mut model = load(base, &Training::Lora(adapter.lora.clone()), 0, device)?;
    model.decoder.load_parameters(&directory.join(WEIGHTS))?;
    model.decoder = model.decoder.detached();
    let own = directory.join("tokenizer.json");
    if own.is_file() && model.tokenizer.is_none() {
        model.tokenizer = Some(Tokenizer::from_file(&own)?);
    }
    Ok(model)
}
