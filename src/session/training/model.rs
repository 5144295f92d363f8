//! Models by what a statement calls them: a file, a folder, or a repository of the hub.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::request::RunConfig;
use super::runs::{checkpoint_of, directory, ended_after, training_run};
use crate::hub::{FetchEvent, HubError, HubOptions, ModelId, fetch};
use crate::lm::{self, AdapterFiles, LoadedModel, Training};
use crate::session::error::SessionError;
use crate::session::statement::Session;

/// Loads the model that a run trains, and notes the commit where it is one of the hub. Adapters are
/// refused: what would be trained then, they or new ones beside them?
///
/// # Errors
/// There is no such model, it cannot be loaded, or it has no tokenizer.
pub(super) fn load(session: &Session, config: &mut RunConfig) -> Result<LoadedModel, SessionError> {
    let options = &config.options;
    let device = device(config.device.as_deref())?;
    let located = locate(session, &config.model, config.revision.as_deref())?;
    if AdapterFiles::are_in(&located.path) {
        let path = config.model.display();
        let message = format!(
            "{path} is an adapter: `swirl merge DB RUN DIR` adds it to its model, which can be \
             trained further"
        );
        return Err(SessionError::mistake("model", message));
    }
    let mut model = lm::load(&located.path, &options.training(), options.seed, &device)?;
    if located.revision.is_some() {
        // An adapter is for the model as everybody calls it.
        model.decoder = model.decoder.with_base(&config.model.display().to_string());
    }
    config.revision = located.revision;
    with_tokenizer(model, &config.model)
}

/// Loads a model for scoring or sampling; of an adapter the model that it is for, adapted.
///
/// # Errors
/// As [`load`]; an adapter that is not for its model.
pub(in crate::session) fn load_frozen(
    session: &Session,
    path: &Path,
    device_name: Option<&str>,
) -> Result<LoadedModel, SessionError> {
    let device = device(device_name)?;
    let located = locate(session, path, None)?.path;
    if !AdapterFiles::are_in(&located) {
        return with_tokenizer(lm::load(&located, &Training::Frozen, 0, &device)?, path);
    }
    let adapter = AdapterFiles::read(&located)?;
    let Some(base) = &adapter.base else {
        let message = format!(
            "{} does not say which model it is for (base_model_name_or_path)",
            path.display()
        );
        return Err(SessionError::mistake("model", message));
    };
    let beside = located.join(base);
    let base = if beside.exists() && !base.exists() { &beside } else { base };
    let base = locate(session, base, None)?.path;
    with_tokenizer(lm::load_adapted(&located, &adapter, &base, &device)?, path)
}

/// A model on this machine.
pub(super) struct Located {
    pub(super) path: PathBuf,
    /// The commit, where it is a model of the hub.
    revision: Option<String>,
}

/// Finds a model: the path itself, else the repository of the Hugging Face hub that is called so,
/// in the cache that Python's `huggingface_hub` uses; what is not there yet is fetched.
///
/// # Errors
/// What the hub says of such a repository. A path that can be no repository is left to the loader.
pub(super) fn locate(
    session: &Session,
    model: &Path,
    revision: Option<&str>,
) -> Result<Located, SessionError> {
    let here = Located { path: model.to_owned(), revision: None };
    if let Some(run) = model.to_str().and_then(|text| text.strip_prefix("run:")) {
        return Ok(Located { path: result(session, run)?, ..here });
    }
    let Some(text) = model.to_str().filter(|_| !model.exists()) else { return Ok(here) };
    let is_asked_for = text.starts_with("hf:");
    let id = match ModelId::parse(text) {
        Ok(id) if is_asked_for || !text.ends_with(".gguf") => id,
        Err(error) if is_asked_for => return Err(SessionError::mistake("hub", error.to_string())),
        _ => return Ok(here),
    };
    let id = match revision {
        Some(commit) => ModelId::parse(&format!("{}/{}@{commit}", id.owner(), id.name())),
        None => Ok(id),
    };
    let failed = |error: HubError| match error {
        HubError::Stopped => SessionError::Cancelled,
        error if is_asked_for => SessionError::mistake("hub", error.to_string()),
        error => {
            let message = format!("there is no path {text}; as a model of the hub: {error}");
            SessionError::mistake("hub", message)
        }
    };
    let options = HubOptions::from_variables(&|name| std::env::var(name).ok());
    let (id, options) = (id.map_err(failed)?, options.map_err(failed)?);
    let (progress, cancel) = (session.progress(), session.cancel());
    let mut known = 0;
    let mut watch = |event: &FetchEvent<'_>| {
        if let FetchEvent::Fetching { all_done_bytes, all_total_bytes, .. } = event {
            if known == 0 {
                progress.begin("fetching the model", *all_total_bytes);
            }
            progress.advance(all_done_bytes.saturating_sub(known));
            known = *all_done_bytes;
        }
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let snapshot = fetch(&options, &id, &mut watch).map_err(failed)?;
    progress.end();
    Ok(Located { path: snapshot.path, revision: Some(snapshot.commit) })
}

/// Returns the folder of the weights that a training run ended with.
fn result(session: &Session, run: &str) -> Result<PathBuf, SessionError> {
    let store = session.database().store();
    let record = training_run(store, run)?;
    let Some((_, steps)) = ended_after(&record) else {
        let message = format!("run '{run}' has not ended: go on with it first");
        return Err(SessionError::mistake("run", message));
    };
    Ok(checkpoint_of(&directory(store, run), steps))
}

fn with_tokenizer(model: LoadedModel, path: &Path) -> Result<LoadedModel, SessionError> {
    if model.tokenizer.is_none() {
        let path = path.display();
        let message = format!("{path} has no tokenizer: put its tokenizer.json beside the weights");
        return Err(SessionError::mistake("model", message));
    }
    Ok(model)
}

/// Returns the device of a name; the CPU without one.
fn device(name: Option<&str>) -> Result<lm::Device, SessionError> {
    Ok(lm::device(name.unwrap_or("cpu"))?)
}

/// Returns the files of a model's weights with their hashes.
pub(in crate::session) fn weights_of(model: &LoadedModel) -> serde_json::Value {
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
pub(in crate::session) fn identity(model: &LoadedModel) -> String {
    let mut hasher = blake3::Hasher::new();
    for file in &model.description.weights {
        hasher.update(file.blake3.as_bytes());
    }
    if let Some(tokenizer) = &model.tokenizer {
        hasher.update(&tokenizer.fingerprint());
    }
    hasher.finalize().to_hex().to_string()
}
