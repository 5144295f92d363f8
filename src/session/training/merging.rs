//! A run's model as a whole, for other programs.

use std::path::Path;

use super::card;
use super::model::load;
use super::request::RunConfig;
use super::runs::{checkpoint_of, directory, ended_after, training_run};
use crate::session::error::SessionError;
use crate::session::statement::Session;

/// Writes the model of a run to a folder as transformers reads it, adapters added to the weights,
/// with tokenizer, chat template and model card; returns the number of optimiser steps that made
/// it. Without `steps` it is what the run ended with.
///
/// # Errors
/// There is no such run or checkpoint, its model is gone or another; what the disk says.
pub fn merge(
    session: &Session,
    run: &str,
    steps: Option<u64>,
    target: &Path,
) -> Result<u64, SessionError> {
    let store = session.database().store();
    let record = training_run(store, run)?;
    let mut config = RunConfig::stored(run, &record.config)?;
    let ended = ended_after(&record).map(|(_, result)| result);
    let Some(steps) = steps.or(ended) else {
        let message = format!("run '{run}' has not ended: name one of its checkpoints by its step");
        return Err(SessionError::mistake("run", message));
    };
    let directory = directory(store, run);
    let checkpoint = checkpoint_of(&directory, steps);
    if !checkpoint.is_dir() {
        let known = checkpoints(&directory);
        let message = format!("run '{run}' has no checkpoint of step {steps}; there are: {known}");
        return Err(SessionError::mistake("run", message));
    }
    if target.is_dir() && std::fs::read_dir(target).is_ok_and(|mut all| all.next().is_some()) {
        let message = format!("{} is there already and not empty", target.display());
        return Err(SessionError::mistake("merge", message));
    }
    let model = load(session, &mut config)?;
    let weights = match model.decoder.lora() {
        Some(_) => "adapter_model.safetensors",
        None => "model.safetensors",
    };
    model.decoder.load_parameters(&checkpoint.join(weights))?;
    model.decoder.merged()?.save(target, model.tokenizer.as_ref())?;
    if let Some(template) = &model.chat_template {
        let path = target.join("chat_template.jinja");
        std::fs::write(&path, template)
            .map_err(|e| SessionError::Environment(format!("{}: {e}", path.display())))?;
    }
    card::write(store, &record, &config, target)?;
    Ok(steps)
}

/// Returns the steps of the checkpoints in a run's folder, as a list for a message.
fn checkpoints(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let step = |entry: std::fs::DirEntry| {
        entry.file_name().to_str()?.strip_prefix("checkpoint-")?.parse::<u64>().ok()
    };
    let mut steps: Vec<u64> = entries.filter_map(step).collect();
    steps.sort_unstable();
    match steps.is_empty() {
        true => "none".to_owned(),
        false => steps.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    }
}
