//! Texts in, vectors out.

use std::path::Path;

use candle_core::Device;
use rayon::prelude::*;
use serde_json::Value;
use tokenizers::PostProcessor;
use tokenizers::utils::truncation::TruncationParams;

use super::config::{EncoderConfig, read_json};
use super::forward;
use super::weights::Weights;
use crate::lm::LmError;
use crate::lm::safetensors::TensorFile;

/// What is part of the fingerprint beside the files: a change of the arithmetic here that may show
/// in a vector makes it another one.
const VERSION: &str = "swirldb sentence encoder 1";

/// Tokens that one thread works off at once. Longer packs are no faster; shorter ones read the
/// weights more often.
const PACK_TOKENS: usize = 384;

/// A sentence encoder: texts become unit vectors whose products say how alike the texts are.
pub struct SentenceEncoder {
    config: EncoderConfig,
    weights: Weights,
    tokenizer: tokenizers::Tokenizer,
    fingerprint: [u8; 32],
}

impl SentenceEncoder {
    /// Opens a BERT model in a directory as sentence-transformers writes it: `config.json`,
    /// `model.safetensors` (f32, or f16 and bf16 widened), `tokenizer.json` with a WordPiece model,
    /// and where they are there `1_Pooling/config.json` (mean, which is the default, or CLS),
    /// `sentence_bert_config.json` (the most tokens of a text) and `modules.json`.
    ///
    /// Vectors are the same on every machine, for which they are computed on the CPU: `device` must
    /// be [`Device::Cpu`].
    ///
    /// # Errors
    /// `NotAModel`, `Damaged`, `Unsupported`, `MissingTensor`, `UnknownTensor`, `Shape` or
    /// `Tokenizer`, with the file and the setting or tensor; `Io`.
    pub fn open(directory: &Path, device: &Device) -> Result<SentenceEncoder, LmError> {
        if !device.is_cpu() {
            let what = format!("an encoder on {:?}", device.location());
            let supported = "it runs on the CPU, where its vectors are the same everywhere";
            return Err(LmError::unsupported(directory, what, supported));
        }
        let config = EncoderConfig::read(directory)?;
        let path = directory.join("model.safetensors");
        if !path.is_file() {
            let found = "the directory has no model.safetensors".to_owned();
            return Err(LmError::NotAModel { path: directory.to_path_buf(), found });
        }
        let file = TensorFile::read(&path)?;
        let weights = Weights::read(&file, &path, &config)?;
        let tokenizer = open_tokenizer(directory, &config)?;
        let json = tokenizer.to_string(false).map_err(|error| broken(error.to_string()))?;
        let fingerprint = fingerprint(&[
            VERSION.as_bytes(),
            config.describe().as_bytes(),
            blake3::hash(file.bytes()).as_bytes(),
            json.as_bytes(),
        ]);
        Ok(SentenceEncoder { config, weights, tokenizer, fingerprint })
    }

    /// Returns the numbers of a vector.
    pub fn dimensions(&self) -> usize {
        self.config.hidden_size
    }

    /// Returns how many tokens of a text are read, the special ones included; what is behind them
    /// is cut off.
    pub fn tokens_max(&self) -> usize {
        self.config.tokens_max
    }

    /// Returns the BLAKE3 hash of all that decides a vector: equal hashes give equal vectors, to
    /// the last bit.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Returns the vector of each text, of length 1 (to 1e-6) and [`SentenceEncoder::dimensions`]
    /// numbers. It depends on the text alone. An empty text has one too.
    ///
    /// The threads are those of rayon's pool that this is called in; memory grows with the texts
    /// given at once, some kilobytes for each of their tokens. A caller that wants to stop hands
    /// over some hundred texts at a time. Names of special tokens in a text (`[SEP]`) are these
    /// tokens, as in the library of the tokenizer.
    ///
    /// # Errors
    /// `Tokenizer` for a text that cannot be tokenized; `Batch` where the weights give a text no
    /// direction.
    pub fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, LmError> {
        let ids: Vec<Vec<u32>> =
            texts.par_iter().map(|text| self.tokenize(text)).collect::<Result<_, _>>()?;
        let packs = pack(&ids);
        let encoded: Vec<Vec<Option<Vec<f32>>>> = packs
            .par_iter()
            .with_max_len(1)
            .map(|pack| {
                let ids: Vec<&[u32]> = pack.iter().map(|text| ids[*text].as_slice()).collect();
                forward::encode(&self.weights, &self.config, &ids)
            })
            .collect();
        let mut vectors = vec![Vec::new(); texts.len()];
        for (text, vector) in packs.iter().flatten().zip(encoded.into_iter().flatten()) {
            vectors[*text] = vector.ok_or_else(|| LmError::Batch {
                what: format!("the weights give text {text} no direction: zero, or not finite"),
                expected: "a trained encoder".to_owned(),
            })?;
        }
        Ok(vectors)
    }

    fn tokenize(&self, text: &str) -> Result<Vec<u32>, LmError> {
        let encoding = self
            .tokenizer
            .encode_fast(text, true)
            .map_err(|error| broken(format!("a text cannot be tokenized: {error}")))?;
        let ids = encoding.get_ids();
        let known = self.config.vocab_size;
        match ids.iter().find(|id| **id as usize >= known) {
            Some(id) => Err(broken(format!("id {id} has no embedding, there are {known}"))),
            None if ids.is_empty() => Err(broken("a text has no token, not even a special one")),
            None => Ok(ids.to_vec()),
        }
    }
}

/// Returns the texts of each pack, the longest texts first, so that threads end together.
fn pack(ids: &[Vec<u32>]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|text| std::cmp::Reverse(ids[*text].len()));
    let mut packs: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for text in order {
        match packs.last_mut() {
            Some(pack) if tokens + ids[text].len() <= PACK_TOKENS => pack.push(text),
            _ => {
                packs.push(vec![text]);
                tokens = 0;
            }
        }
        tokens += ids[text].len();
    }
    packs
}

/// Returns the tokenizer of a directory, which cuts texts and does not pad them.
fn open_tokenizer(
    directory: &Path,
    config: &EncoderConfig,
) -> Result<tokenizers::Tokenizer, LmError> {
    let path = directory.join("tokenizer.json");
    if !path.is_file() {
        let found = "the directory has no tokenizer.json".to_owned();
        return Err(LmError::NotAModel { path: directory.to_path_buf(), found });
    }
    let mut json = read_json(&path)?;
    let kind = &json["model"]["type"];
    if kind != "WordPiece" {
        return Err(broken(format!("the model is {kind}")));
    }
    json["truncation"] = Value::Null;
    json["padding"] = Value::Null;
    let bytes = serde_json::to_vec(&json).map_err(|error| broken(error.to_string()))?;
    let mut tokenizer =
        tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| broken(error.to_string()))?;
    let added = tokenizer.get_post_processor().map_or(0, |added| added.added_tokens(false));
    if config.tokens_max <= added {
        let limit = config.tokens_max;
        return Err(broken(format!("{added} special tokens leave no room in a limit of {limit}")));
    }
    let truncation = TruncationParams { max_length: config.tokens_max, ..Default::default() };
    tokenizer
        .with_truncation(Some(truncation))
        .map_err(|error| broken(format!("texts cannot be cut to the model's limit: {error}")))?;
    Ok(tokenizer)
}

fn broken(what: impl Into<String>) -> LmError {
    LmError::Tokenizer {
        what: what.into(),
        next: "encoders need a tokenizer.json with a WordPiece model that belongs to the weights"
            .to_owned(),
    }
}

/// Returns the hash of parts, each with its length.
fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}
