//! Models by what a statement calls them: a file, a folder, or a repository of the hub.

use std::path::Path;

use serde_json::json;

use super::request::RunConfig;
use crate::lm::{self, AdapterFiles, LoadedModel, Training};
use crate::session::error::SessionError;

/// Loads the model that a run trains. Adapters are refused: what would be trained then, they or new
/// ones beside them?
///
/// # Errors
/// There is no such model, it cannot be loaded, or it has no tokenizer.
pub(super) fn load(config: &RunConfig) -> Result<LoadedModel, SessionError> {
    let options = &config.options;
    let device = device(config.device.as_deref())?;
    if AdapterFiles::are_in(&config.model) {
        let path = config.model.display();
        let message = format!(
            "{path} is an adapter: `swirl merge DB RUN DIR` adds it to its model, which can be \
             trained further"
        );
        return Err(SessionError::mistake("model", message));
    }
    let model = lm::load(&config.model, &options.training(), options.seed, &device)?;
    with_tokenizer(model, &config.model)
}

/// Loads a model for scoring or sampling; of an adapter the model that it is for, adapted.
///
/// # Errors
/// As [`load`]; an adapter that is not for its model.
pub(super) fn load_frozen(
    path: &Path,
    device_name: Option<&str>,
) -> Result<LoadedModel, SessionError> {
    let device = device(device_name)?;
    let model = match AdapterFiles::are_in(path) {
        true => lm::load_adapted(path, &device)?,
        false => lm::load(path, &Training::Frozen, 0, &device)?,
    };
    with_tokenizer(model, path)
}

fn with_tokenizer(model: LoadedModel, path: &Path) -> Result<LoadedModel, SessionError> {
    if model.tokenizer.is_none() {
        let path = path.display();
        let message = format!("{path} has no tokenizer: put its tokenizer.json beside the weights");
        return Err(SessionError::mistake("model", message));
    }
    Ok(model)
}

/// Returns the device of a name.
fn device(name: Option<&str>) -> Result<lm::Device, SessionError> {
    match name {
        None | Some("cpu") => Ok(lm::Device::Cpu),
        Some(other) => {
            let message = format!("unknown device '{other}': expected 'cpu'");
            Err(SessionError::mistake("train-option", message))
        }
    }
}

/// Returns the files of a model's weights with their hashes.
pub(super) fn weights_of(model: &LoadedModel) -> serde_json::Value {
    let files = model.description.weights.iter();
    files.map(|f| json!({"file": f.name, "bytes": f.size_bytes, "blake3": f.blake3})).collect()
}

/// Returns what a run depends on beside its options and data.
pub(super) fn pinned(model: &LoadedModel) -> serde_json::Value {
    let description = &model.description;
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let tokenizer = model.tokenizer.as_ref().map(|t| hash(t.to_json().as_bytes()));
    json!({
        "weights": weights_of(model),
        "dequantised_from": description.dequantised_from,
        "left_out": description.left_out,
        "tokenizer": tokenizer,
        "chat_template": model.chat_template,
        "random": "weights ChaCha20, order BLAKE3",
        "program": env!("CARGO_PKG_VERSION"),
        "dependencies": hash(include_bytes!("../../../Cargo.lock")),
        "compiler": env!("SWIRLDB_COMPILER"),
        "architecture": std::env::consts::ARCH,
        "cpu_features": cpu_features(),
        "threads": std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// Returns the vector instructions that products may be computed with.
fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let known: [(&str, bool); 0] = [];
    known.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
}

/// Returns what names the model's weights.
pub(super) fn identity(model: &LoadedModel) -> String {
    let mut hasher = blake3::Hasher::new();
    for file in &model.description.weights {
        hasher.update(file.blake3.as_bytes());
    }
    if let Some(tokenizer) = &model.tokenizer {
        hasher.update(&tokenizer.fingerprint());
    }
    hasher.finalize().to_hex().to_string()
}
