//! A small model from nothing: a tokenizer trained on the stored texts, random weights.

use std::path::Path;

use super::error::SessionError;
use super::statement::Session;
use crate::codec::TableId;
use crate::lm::{Decoder, DecoderConfig, Device, Tokenizer};
use crate::render::Action;

/// The control tokens of a new tokenizer: the marks of turns, and the end of a text.
const CONTROL: [&str; 3] = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"];

/// Trajectories read together.
const READ: u64 = 256;

/// The shape of a new model.
#[derive(Clone, Debug, PartialEq)]
pub struct NewModel {
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Layers.
    pub n_layers: usize,
    /// Heads of attention; must divide the width.
    pub n_heads: usize,
    /// Longest sequence in tokens.
    pub context_length: usize,
    /// Texts used for the tokenizer at most, in trajectories.
    pub trajectories_max: u64,
    /// Where the weights come from.
    pub seed: u64,
}

impl Default for NewModel {
    fn default() -> NewModel {
        NewModel {
            vocab_size: 2_048,
            hidden_size: 128,
            n_layers: 4,
            n_heads: 4,
            context_length: 2_048,
            trajectories_max: 20_000,
            seed: 0,
        }
    }
}

/// Writes a model into `directory`: a tokenizer trained on the texts of the database and a
/// decoder with random weights, in the form that TRAIN and transformers load. Returns the number
/// of its weights.
///
/// # Errors
/// The directory is not empty, the shape is impossible, or the disk refuses.
pub fn create_model(
    session: &Session,
    directory: &Path,
    new: &NewModel,
) -> Result<usize, SessionError> {
    let taken = std::fs::read_dir(directory).is_ok_and(|mut e| e.next().is_some());
    if taken {
        let message = format!("{} is not empty: choose another folder", directory.display());
        return Err(SessionError::mistake("model", message));
    }
    let texts = texts(session, new.trajectories_max)?;
    if texts.is_empty() {
        let message = "the database has no trajectories to train a tokenizer on";
        return Err(SessionError::mistake("model", message));
    }
    let tokenizer = Tokenizer::train(texts.into_iter(), new.vocab_size, &CONTROL)?;
    let config = DecoderConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: new.hidden_size,
        // SwiGLU has three matrices: 8/3 of the width costs what 4 times costs with two.
        intermediate_size: (new.hidden_size * 8 / 3).div_ceil(32) * 32,
        n_layers: new.n_layers,
        n_heads: new.n_heads,
        n_kv_heads: new.n_heads,
        head_dim: new.hidden_size / new.n_heads.max(1),
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-5,
        context_length: new.context_length,
        tie_word_embeddings: true,
        ..DecoderConfig::default()
    };
    let deviation = 1.0 / (new.hidden_size.max(1) as f64).sqrt();
    let decoder = Decoder::random_within(&config, deviation, new.seed, &Device::Cpu)?;
    decoder.save(directory, Some(&tokenizer))?;
    Ok(decoder.parameters().iter().map(|(_, v)| v.elem_count()).sum())
}

/// Returns what a tokenizer should know: who speaks, and what is said as it is trained on.
fn texts(session: &Session, trajectories_max: u64) -> Result<Vec<String>, SessionError> {
    let view = session.database().view();
    let all = view.rows(TableId::Trajectories).min(trajectories_max);
    let mut texts = Vec::new();
    let mut first = 0;
    while first < all {
        let ordinals: Vec<u64> = view.ordinals(first..all.min(first + READ)).collect();
        first += READ;
        for trajectory in view.trajectories(&ordinals)? {
            for message in trajectory.transcript() {
                // What is no text cannot be trained on either.
                let Ok(action) = Action::of(message) else { continue };
                texts.extend([message.role.clone(), action.print()]);
            }
        }
    }
    Ok(texts)
}
