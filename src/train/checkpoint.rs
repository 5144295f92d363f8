//! Checkpoints: everything a run needs to go on, in a folder that is whole or not there.
//!
//! ```text
//! checkpoint-40/
//!   adapter_model.safetensors, adapter_config.json     or the whole model's files
//!   optimizer.safetensors        mean.NAME and square.NAME of every trainable variable
//!   state.json                   position, options, what the run was of, hashes of the files
//! ```
//!
//! The folder is written under a name that begins with a dot, every file and the folder itself are
//! forced to disk, and only then it is renamed: a kill at any moment leaves the last good one.
//! Randomness needs no state, since order is a function of seed and epoch. The best checkpoint,
//! where one is looked for, outlives newer ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::lm::Decoder;

use super::config::TrainConfig;
use super::error::TrainError;
use super::optimizer::AdamW;
use super::run::Run;
use super::watch::Watched;

const STATE: &str = "state.json";
const TEMPLATE: &str = "chat_template.jinja";
const OPTIMIZER: &str = "optimizer.safetensors";
const PREFIX: &str = "checkpoint-";
const UNFINISHED: &str = ".unfinished-";
const VERSION: u32 = 1;

/// Options that may differ between a run and its continuation: they change no weight. When to
/// evaluate does where evaluations decide what the run ends with.
const FREE: [&str; 6] = [
    "save_steps",
    "save_total_limit",
    "logging_steps",
    "log_examples",
    "eval_steps",
    "gradient_checkpointing",
];

/// What a run is of; two runs with equal identities make the same weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// The model as its loader names it.
    pub model: String,
    /// BLAKE3 of the trainable variables at the start.
    pub start: String,
    /// BLAKE3 of tokens, actions and weights of all sequences.
    pub data: String,
    /// BLAKE3 of the tokenizer.
    pub tokenizer: String,
    /// The renderer's name.
    pub renderer: String,
    /// The judge's name, where actions are judged while training.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub judge: String,
    /// Tools, rules and gold answers, where trajectories are played while training.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub episodes: String,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Optimiser steps made.
    pub step: u64,
    /// The epoch of the next one, from 0.
    pub epoch: u64,
    /// Its index in that epoch, from 0.
    pub index: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    position: Position,
    identity: Identity,
    config: TrainConfig,
    /// BLAKE3 of each file that is read again.
    files: BTreeMap<String, String>,
    /// What is known of the best state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watched: Option<Watched>,
}

/// The folder of a run's checkpoints.
pub(super) struct Checkpoints<'a> {
    pub directory: &'a Path,
    pub identity: Identity,
    pub config: &'a TrainConfig,
}

impl Checkpoints<'_> {
    /// Makes the folder, or looks at the one that is there.
    ///
    /// # Errors
    /// Checkpoints of another run where this one does not resume.
    pub(super) fn open(&self, resume: bool) -> Result<(), TrainError> {
        fs::create_dir_all(self.directory).map_err(at(self.directory))?;
        for (name, path) in entries(self.directory)? {
            if name.starts_with(UNFINISHED) {
                fs::remove_dir_all(&path).map_err(at(&path))?;
            }
        }
        match (self.newest()?, resume) {
            (Some(_), false) => Err(TrainError::Occupied { path: self.directory.to_owned() }),
            (None, true) => Err(TrainError::NoCheckpoint { path: self.directory.to_owned() }),
            _ => Ok(()),
        }
    }

    /// Returns the checkpoint with the most steps.
    pub(super) fn newest(&self) -> Result<Option<PathBuf>, TrainError> {
        Ok(self.all()?.pop().map(|(_, path)| path))
    }

    /// Returns all checkpoints by their steps, ascending.
    fn all(&self) -> Result<Vec<(u64, PathBuf)>, TrainError> {
        let number = |(name, path): (String, PathBuf)| {
            Some((name.strip_prefix(PREFIX)?.parse::<u64>().ok()?, path))
        };
        let mut all: Vec<_> = entries(self.directory)?.into_iter().filter_map(number).collect();
        all.sort();
        Ok(all)
    }

    /// Returns the folder of the checkpoint after `step` steps.
    pub(super) fn path(&self, step: u64) -> PathBuf {
        self.directory.join(format!("{PREFIX}{step}"))
    }

    /// Writes the checkpoint of a position and removes the oldest beyond the limit, the best one
    /// spared.
    pub(super) fn save(
        &self,
        position: Position,
        watched: Option<Watched>,
        run: &Run<'_>,
        optimizer: &AdamW,
    ) -> Result<PathBuf, TrainError> {
        let name = format!("{PREFIX}{}", position.step);
        let path = self.directory.join(&name);
        let unfinished = self.directory.join(format!("{UNFINISHED}{name}"));
        fs::create_dir_all(&unfinished).map_err(at(&unfinished))?;
        run.decoder.save(&unfinished, Some(run.tokenizer))?;
        if let Some(template) = run.chat_template {
            let file = unfinished.join(TEMPLATE);
            fs::write(&file, template).map_err(at(&file))?;
        }
        let file = unfinished.join(OPTIMIZER);
        // What is written lies in memory and fits its file: only the disk can refuse it.
        let refused = |error: candle_core::Error| at(&file)(std::io::Error::other(error));
        optimizer.save(&file).map_err(refused)?;
        let mut files = BTreeMap::new();
        for name in [weights_file(&unfinished)?, OPTIMIZER] {
            files.insert(name.to_owned(), hash_file(&unfinished.join(name))?);
        }
        let state = State {
            version: VERSION,
            position,
            identity: self.identity.clone(),
            config: self.config.clone(),
            files,
            watched,
        };
        let text = serde_json::to_string_pretty(&state).map_err(std::io::Error::from);
        let file = unfinished.join(STATE);
        text.and_then(|text| fs::write(&file, text + "\n")).map_err(at(&file))?;
        for (_, file) in entries(&unfinished)? {
            File::open(&file).and_then(|f| f.sync_all()).map_err(at(&file))?;
        }
        sync_directory(&unfinished)?;
        self.remove(&path)?;
        fs::rename(&unfinished, &path).map_err(at(&path))?;
        sync_directory(self.directory)?;
        let all = self.all()?;
        let keep = usize::try_from(self.config.save_total_limit).unwrap_or(usize::MAX);
        let best = watched.map(|watched| watched.step);
        for (step, old) in &all[..all.len().saturating_sub(keep)] {
            if Some(*step) != best {
                self.remove(old)?;
            }
        }
        Ok(path)
    }

    /// Removes a checkpoint under a name that no resume takes for one.
    fn remove(&self, path: &Path) -> Result<(), TrainError> {
        if !path.exists() {
            return Ok(());
        }
        let doomed = self.directory.join(format!("{UNFINISHED}removed"));
        fs::rename(path, &doomed).map_err(at(path))?;
        fs::remove_dir_all(&doomed).map_err(at(&doomed))
    }

    /// Reads a checkpoint into decoder and optimiser and returns its position, and what is known
    /// of the best state.
    ///
    /// # Errors
    /// A checkpoint of another run, naming what differs; a damaged one.
    pub(super) fn load(
        &self,
        path: &Path,
        decoder: &Decoder,
        optimizer: &mut AdamW,
    ) -> Result<(Position, Option<Watched>), TrainError> {
        let state = self.load_weights(path, decoder)?;
        optimizer.load(&path.join(OPTIMIZER), state.position.step).map_err(|error| {
            let message = format!("{OPTIMIZER} does not fit: {error}");
            TrainError::Damaged { path: path.to_owned(), message }
        })?;
        Ok((state.position, state.watched))
    }

    /// Reads a checkpoint's weights into the decoder.
    ///
    /// # Errors
    /// As [`Checkpoints::load`].
    pub(super) fn load_best(&self, step: u64, decoder: &Decoder) -> Result<(), TrainError> {
        self.load_weights(&self.path(step), decoder).map(drop)
    }

    /// Reads a checkpoint's weights into the decoder, all its files being whole and of this run.
    fn load_weights(&self, path: &Path, decoder: &Decoder) -> Result<State, TrainError> {
        let damaged = |message: String| TrainError::Damaged { path: path.to_owned(), message };
        let file = path.join(STATE);
        let text = fs::read_to_string(&file).map_err(at(&file))?;
        let state: State = serde_json::from_str(&text)
            .map_err(|error| damaged(format!("{STATE} cannot be read: {error}")))?;
        if state.version != VERSION {
            let version = state.version;
            return Err(damaged(format!("it has version {version}, expected {VERSION}")));
        }
        self.compare(path, &state)?;
        for (name, hash) in &state.files {
            if &hash_file(&path.join(name))? != hash {
                return Err(damaged(format!("{name} is not what was written")));
            }
        }
        decoder.load_parameters(&path.join(weights_file(path)?))?;
        Ok(state)
    }

    /// Names the first thing in which a checkpoint is of another run.
    fn compare(&self, path: &Path, state: &State) -> Result<(), TrainError> {
        let differs = |what: String, found: String, expected: String| {
            Err(TrainError::OtherRun { path: path.to_owned(), what, found, expected })
        };
        let fields = |value: serde_json::Result<serde_json::Value>| match value {
            Ok(serde_json::Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        };
        let pairs = [
            ("the", serde_json::to_value(&state.identity), serde_json::to_value(&self.identity)),
            ("option", serde_json::to_value(&state.config), serde_json::to_value(self.config)),
        ];
        for (kind, found, expected) in pairs {
            let found = fields(found);
            for (name, expected) in fields(expected) {
                let other = found.get(&name).cloned().unwrap_or_default();
                let decides = name == "eval_steps" && self.config.watches();
                if other != expected && (decides || !FREE.contains(&name.as_str())) {
                    let what = format!("{kind} {name}");
                    return differs(what, other.to_string(), expected.to_string());
                }
            }
        }
        Ok(())
    }
}

/// Returns an error of the file system with its path.
fn at(path: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    let path = path.to_owned();
    move |error| TrainError::Files { path, error }
}

/// Returns names and paths of a folder's entries, by name.
fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, TrainError> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let entry = entry.map_err(at(directory))?;
        all.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    all.sort();
    Ok(all)
}

/// Returns the name of the file with the trained weights.
fn weights_file(directory: &Path) -> Result<&'static str, TrainError> {
    let names = ["adapter_model.safetensors", "model.safetensors"];
    let found = names.into_iter().find(|name| directory.join(name).is_file());
    found.ok_or_else(|| TrainError::Damaged {
        path: directory.to_owned(),
        message: "it holds no weights".to_owned(),
    })
}

fn hash_file(path: &Path) -> Result<String, TrainError> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).map_err(at(path))?;
    std::io::copy(&mut file, &mut hasher).map_err(at(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn sync_directory(path: &Path) -> Result<(), TrainError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(at(path))
}
