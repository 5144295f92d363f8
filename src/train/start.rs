//! The policy at the start of a run: what it says of every trained action.
//!
//! Its log-probabilities are computed once, before the first step, and kept in the run's folder
//! (`start.safetensors`), so that a resumed run reads the same bits. Those that the source stored
//! are taken in their place where they are of this very policy: the same weights, tokenizer and
//! rendering, sampled at temperature 1.

use std::collections::{BTreeMap, HashMap};
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

/// For each sequence and action a number for each token.
type PerToken = Vec<Vec<Vec<f32>>>;

/// What the start policy says of all trained actions, and of those held out.
pub(super) struct StartPolicy {
    /// For each sequence and action the log-probability of each token.
    pub(super) log_probs: PerToken,
    /// The same for each held-out set.
    pub(super) held_out: Vec<PerToken>,
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
        let mut kept = read(source);
        let complete = kept.len();
        let log_probs = match kept.get(&source.name(None)).and_then(|flat| part(flat, sequences)) {
            Some(log_probs) => log_probs,
            None => {
                let flat = source.compute(&known)?;
                let log_probs = part(&flat, sequences).unwrap_or_default();
                kept.insert(source.name(None), flat);
                log_probs
            }
        };
        let mut held_out = Vec::new();
        for set in &source.prepared.held_out {
            let name = source.name(Some(&set.name));
            let found = kept.get(&name).and_then(|flat| part(flat, &set.sequences));
            held_out.push(match found {
                Some(log_probs) => log_probs,
                None => {
                    let scored = evaluate(source.decoder, &set.sequences, source.tokens_per_batch)?;
                    let flat: Vec<f32> =
                        scored.actions.into_iter().flat_map(|a| a.log_probs).collect();
                    let log_probs = part(&flat, &set.sequences).unwrap_or_default();
                    kept.insert(name, flat);
                    log_probs
                }
            });
        }
        if kept.len() > complete {
            write(source, &kept)?;
        }
        Ok(StartPolicy { log_probs, held_out, stored, foreign })
    }

    /// Returns the event that hands the log-probabilities out.
    pub(super) fn event(&self, sequences: &[Sequence]) -> Event {
        let rows = sequences.iter().flat_map(|s| &s.actions).map(|a| a.row.clone());
        let actions = rows.zip(self.log_probs.iter().flatten().cloned()).collect();
        Event::StartPolicy { actions, stored: self.stored, foreign: self.foreign }
    }
}

impl StartSource<'_> {
    /// Returns the name under which log-probabilities of the run, or of a held-out set, are kept.
    fn name(&self, held_out: Option<&str>) -> String {
        match held_out {
            None => self.identity.to_owned(),
            Some(set) => format!("{} {set}", self.identity),
        }
    }

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

/// Cuts numbers into those of each action; `None` if they are not as many as the actions have
/// tokens.
fn part(flat: &[f32], sequences: &[Sequence]) -> Option<PerToken> {
    let actions = sequences.iter().flat_map(|s| &s.actions);
    let tokens: usize = actions.map(|a| a.end - a.start).sum();
    let mut rest = (flat.len() == tokens).then_some(flat)?;
    let mut take = |count: usize| {
        let (own, after) = rest.split_at(count);
        rest = after;
        own.to_vec()
    };
    let of = |s: &Sequence| s.actions.iter().map(|a| take(a.end - a.start)).collect();
    Some(sequences.iter().map(of).collect())
}

/// Returns what earlier runs of this identity kept, by name. Damage costs a pass and nothing else,
/// for all of it can be made again.
fn read(source: &StartSource<'_>) -> BTreeMap<String, Vec<f32>> {
    let file = source.directory.join(FILE);
    let tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap_or_default();
    let own = tensors.into_iter().filter(|(name, _)| name.starts_with(source.identity));
    own.filter_map(|(name, tensor)| {
        Some((name, tensor.flatten_all().and_then(|flat| flat.to_vec1()).ok()?))
    })
    .collect()
}

fn write(source: &StartSource<'_>, kept: &BTreeMap<String, Vec<f32>>) -> Result<(), TrainError> {
    let (file, unfinished) = (source.directory.join(FILE), source.directory.join(UNFINISHED));
    let tensor = |(name, values): (&String, &Vec<f32>)| {
        Ok((name.clone(), Tensor::from_slice(values, values.len(), &Device::Cpu)?))
    };
    let tensors = kept.iter().map(tensor).collect::<Result<HashMap<_, _>, TrainError>>()?;
    candle_core::safetensors::save(&tensors, &unfinished)?;
    File::open(&unfinished)
        .and_then(|f| f.sync_all())
        .and_then(|()| fs::rename(&unfinished, &file))
        .map_err(|error| TrainError::Files { path: file, error })
}
