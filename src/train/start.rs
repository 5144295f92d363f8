//! The policy at the start of a run: what it says of every trained action.
//!
//! Its log-probabilities are computed once, before the first step, and kept in the run's folder
//! (`start.safetensors`), so that a resumed run reads the same bits. Those that the source stored
//! are taken in their place where they are of this very policy: the same weights, tokenizer and
//! rendering, sampled at temperature 1.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::lm::{Decoder, Tokenizer};
use crate::render::Renderer;

use super::error::TrainError;
use super::evaluation::evaluate;
use super::event::Event;
use super::plan::Prepared;
use super::sequence::Sequence;

const FILE: &str = "start.safetensors";
const UNFINISHED: &str = ".start.safetensors.unfinished";

/// Returns what names a policy: weights (as their loader names them), tokenizer and rendering.
/// Log-probabilities of the same tokens in the same state are equal under equal names.
/// `chat_template` counts only where it is the renderer.
pub fn policy_fingerprint(
    model_identity: &str,
    tokenizer: &Tokenizer,
    renderer: &Renderer,
    chat_template: Option<&str>,
) -> String {
    let template = match renderer {
        Renderer::Template(_) => chat_template.unwrap_or_default(),
        Renderer::Tags(_) => "",
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"swirldb policy 1");
    for part in [model_identity, renderer.name(), template] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&tokenizer.fingerprint());
    hasher.finalize().to_hex().to_string()
}

/// What the start policy says of all trained actions.
pub(super) struct StartPolicy {
    /// For each sequence and action the log-probability of each token.
    pub(super) log_probs: Vec<Vec<Vec<f32>>>,
    stored: usize,
    foreign: usize,
}

/// Where they come from and where they are kept.
pub(super) struct StartSource<'a> {
    pub(super) decoder: &'a Decoder,
    pub(super) prepared: &'a Prepared,
    pub(super) fingerprint: &'a str,
    /// What the run is of: what is kept under another name is not read.
    pub(super) identity: &'a str,
    pub(super) directory: &'a Path,
    pub(super) tokens_per_batch: u64,
}

impl StartPolicy {
    /// Returns the log-probabilities under the decoder's weights of now, which must be those of
    /// the start: stored ones where they fit, those of the run's folder, or computed ones.
    ///
    /// # Errors
    /// A model or a file system that fails.
    pub(super) fn new(source: &StartSource<'_>) -> Result<StartPolicy, TrainError> {
        let sequences = &source.prepared.sequences;
        let is_own = |key: &(u64, u32)| {
            let (policy, _) = source.prepared.stored.get(key)?;
            Some(policy.fingerprint == source.fingerprint && policy.temperature == 1.0)
        };
        let actions = || sequences.iter().flat_map(|s| &s.actions);
        let known: Vec<Option<bool>> =
            actions().map(|a| is_own(&(a.row.key, a.row.step))).collect();
        let stored = known.iter().filter(|own| **own == Some(true)).count();
        let foreign = known.iter().filter(|own| **own == Some(false)).count();
        let lengths: Vec<usize> = actions().map(|a| a.end - a.start).collect();
        let flat = match read(source, lengths.iter().sum())? {
            Some(flat) => flat,
            None => {
                let flat = source.compute(&known)?;
                write(source, &flat)?;
                flat
            }
        };
        let mut rest = flat.as_slice();
        let mut take = |count: usize| {
            let (own, after) = rest.split_at(count.min(rest.len()));
            rest = after;
            own.to_vec()
        };
        let of = |s: &Sequence| s.actions.iter().map(|a| take(a.end - a.start)).collect();
        Ok(StartPolicy { log_probs: sequences.iter().map(of).collect(), stored, foreign })
    }

    /// Returns the event that hands the log-probabilities out.
    pub(super) fn event(&self, sequences: &[Sequence]) -> Event {
        let rows = sequences.iter().flat_map(|s| &s.actions).map(|a| a.row.clone());
        let actions = rows.zip(self.log_probs.iter().flatten().cloned()).collect();
        Event::StartPolicy { actions, stored: self.stored, foreign: self.foreign }
    }
}

impl StartSource<'_> {
    /// Returns the log-probabilities of all action tokens in order; `known` says for each action
    /// whether stored ones are of this policy. Only sequences with other actions are scored.
    fn compute(&self, known: &[Option<bool>]) -> Result<Vec<f32>, TrainError> {
        let mut known = known.iter();
        let mut scored: Vec<Sequence> = Vec::new();
        for sequence in &self.prepared.sequences {
            let own = known.by_ref().take(sequence.actions.len());
            let open = own.filter(|own| **own != Some(true)).count();
            if open > 0 {
                scored.push(sequence.clone());
            }
        }
        let evaluation = evaluate(self.decoder, &scored, self.tokens_per_batch)?;
        let mut computed: HashMap<_, Vec<f32>> =
            evaluation.actions.into_iter().map(|a| (a.row, a.log_probs)).collect();
        let mut flat = Vec::new();
        for action in self.prepared.sequences.iter().flat_map(|s| &s.actions) {
            let stored = self.prepared.stored.get(&(action.row.key, action.row.step));
            let own = stored.filter(|(policy, _)| {
                policy.fingerprint == self.fingerprint && policy.temperature == 1.0
            });
            match own {
                Some((_, log_probs)) => flat.extend_from_slice(log_probs),
                None => flat.extend(computed.entry(action.row.clone()).or_default().iter()),
            }
        }
        Ok(flat)
    }
}

/// Returns what an earlier run of the same identity kept; `None` if there is nothing that fits.
fn read(source: &StartSource<'_>, tokens: usize) -> Result<Option<Vec<f32>>, TrainError> {
    let file = source.directory.join(FILE);
    if !file.is_file() {
        return Ok(None);
    }
    let Ok(mut tensors) = candle_core::safetensors::load(&file, &Device::Cpu) else {
        // It can be made again, so damage costs a pass and nothing else.
        return Ok(None);
    };
    let Some(tensor) = tensors.remove(source.identity) else { return Ok(None) };
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    Ok((values.len() == tokens).then_some(values))
}

fn write(source: &StartSource<'_>, values: &[f32]) -> Result<(), TrainError> {
    let (file, unfinished) = (source.directory.join(FILE), source.directory.join(UNFINISHED));
    let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
    let tensors = HashMap::from([(source.identity.to_owned(), tensor)]);
    candle_core::safetensors::save(&tensors, &unfinished)?;
    File::open(&unfinished)
        .and_then(|f| f.sync_all())
        .and_then(|()| fs::rename(&unfinished, &file))
        .map_err(|error| TrainError::Files { path: file, error })
}
