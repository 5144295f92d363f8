//! Byte-level BPE: text to token ids and back, without loss where [`Tokenizer::covers`] says so.
//!
//! Two tokenizers stand behind one [`Tokenizer`]. The plain one knows no control tokens: whatever
//! a text says, `<|im_end|>` in it is eight or so ordinary tokens, so that data cannot end a turn
//! or open another. The other recognises them, and is for text of this program's own making.

use std::path::Path;

use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainerBuilder;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Model};

use super::LmError;
use super::gguf::GgufFile;

/// The type of control tokens in `tokenizer.ggml.token_type`.
const GGUF_CONTROL: i64 = 3;

/// A byte-level BPE tokenizer.
pub struct Tokenizer {
    /// Knows no control tokens.
    plain: tokenizers::Tokenizer,
    /// Knows all tokens.
    full: tokenizers::Tokenizer,
    /// The tokenizer as JSON, always written the same way.
    json: String,
    /// Id of each of the 256 bytes, where it has one.
    bytes: Vec<Option<u32>>,
    eos: Option<u32>,
}

/// Returns the error for a tokenizer that cannot be built.
fn broken(what: impl Into<String>) -> LmError {
    LmError::Tokenizer {
        what: what.into(),
        next: "byte-level BPE tokenizers are supported: a tokenizer.json with a BPE model over \
               bytes, or a GGUF file with the pre-tokenizer smollm or gpt-2"
            .to_owned(),
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. The end-of-turn token is unknown until [`Tokenizer::with_eos`].
    ///
    /// # Errors
    /// `Io` if the file cannot be read, `Tokenizer` if it is no byte-level BPE.
    pub fn from_file(path: &Path) -> Result<Tokenizer, LmError> {
        let text = std::fs::read_to_string(path).map_err(LmError::io(path))?;
        let json = serde_json::from_str(&text)
            .map_err(|error| LmError::damaged(path, format!("not JSON: {error}")))?;
        Tokenizer::from_json(json)
    }

    /// Builds the tokenizer that a GGUF file describes.
    ///
    /// # Errors
    /// Those of the file, and `Tokenizer` if it is no byte-level BPE that is known here.
    pub fn from_gguf(path: &Path) -> Result<Tokenizer, LmError> {
        Tokenizer::from_opened_gguf(&GgufFile::open(path)?)
    }

    /// Reads the tokenizer of a model: of a GGUF file, of a model's directory, or a
    /// `tokenizer.json`.
    ///
    /// # Errors
    /// `NotAModel` where there is neither; as [`Tokenizer::from_file`] and
    /// [`Tokenizer::from_gguf`].
    pub fn open(path: &Path) -> Result<Tokenizer, LmError> {
        let inside = path.join("tokenizer.json");
        if path.is_dir() && !inside.is_file() {
            let found = "the directory has no tokenizer.json".to_owned();
            return Err(LmError::NotAModel { path: path.to_path_buf(), found });
        }
        if path.is_dir() {
            return Tokenizer::from_file(&inside);
        }
        match super::load::begins_with_gguf(path)? {
            true => Tokenizer::from_gguf(path),
            false => Tokenizer::from_file(path),
        }
    }

    pub(super) fn from_opened_gguf(file: &GgufFile) -> Result<Tokenizer, LmError> {
        let model = file.get_text("tokenizer.ggml.model")?.unwrap_or("none");
        if model != "gpt2" {
            return Err(broken(format!("tokenizer.ggml.model is '{model}'")));
        }
        let pre = match file.get_text("tokenizer.ggml.pre")?.unwrap_or("gpt-2") {
            "smollm" => digits_and_bytes(),
            "gpt-2" => byte_level(false),
            other => return Err(broken(format!("tokenizer.ggml.pre is '{other}'"))),
        };
        let missing = |key: &str| LmError::damaged(file.path(), format!("'{key}' is missing"));
        let tokens = file
            .get_texts("tokenizer.ggml.tokens")?
            .ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
        let merges = file
            .get_texts("tokenizer.ggml.merges")?
            .ok_or_else(|| missing("tokenizer.ggml.merges"))?;
        let types = file.get_integers("tokenizer.ggml.token_type")?.unwrap_or_default();
        let mut vocabulary = serde_json::Map::new();
        for (id, token) in tokens.iter().enumerate() {
            if vocabulary.insert(token.clone(), json!(id)).is_some() {
                return Err(LmError::damaged(
                    file.path(),
                    format!("token '{token}' appears twice in tokenizer.ggml.tokens"),
                ));
            }
        }
        let control: Vec<Value> = tokens
            .iter()
            .zip(types)
            .enumerate()
            .filter(|(_, (_, kind))| **kind == GGUF_CONTROL)
            .map(|(id, (token, _))| special_token(id, token))
            .collect();
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in merges {
            match merge.split_once(' ') {
                Some((left, right)) => pairs.push(json!([left, right])),
                None => {
                    let what = format!("'{merge}' in tokenizer.ggml.merges is no pair");
                    return Err(LmError::damaged(file.path(), what));
                }
            }
        }
        let json = tokenizer_json(pre, control, Value::Object(vocabulary), Value::Array(pairs));
        let mut tokenizer = Tokenizer::from_json(json)?;
        let eos = file.get_size("tokenizer.ggml.eos_token_id")?;
        tokenizer.eos = eos.filter(|id| *id < tokens.len()).and_then(|id| u32::try_from(id).ok());
        Ok(tokenizer)
    }

    /// Trains a tokenizer on texts: single digits, pieces of GPT-2's pattern, merges by frequency
    /// with ties by id, the same for the same texts. The end-of-turn token is the first of
    /// `special` that is called `<|im_end|>`, `<|endoftext|>` or `</s>`.
    ///
    /// # Errors
    /// `Tokenizer` if `vocab_size` does not even hold the bytes and the special tokens.
    pub fn train(
        texts: impl Iterator<Item = String>,
        vocab_size: usize,
        special: &[&str],
    ) -> Result<Tokenizer, LmError> {
        if vocab_size < 256 + special.len() {
            return Err(LmError::Tokenizer {
                what: format!("a vocabulary of {vocab_size}"),
                next: format!("at least {} are needed: bytes and special", 256 + special.len()),
            });
        }
        let tokens = special.iter().map(|token| AddedToken::from(*token, true)).collect();
        let trainer = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(vocab_size)
            .min_frequency(2)
            .special_tokens(tokens)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let empty = tokenizer_json(digits_and_bytes(), Vec::new(), json!({}), json!([]));
        let mut trained = build(&empty)?;
        let texts: Vec<String> = texts.collect();
        trained
            .train(&mut TrainerWrapper::from(trainer), texts.into_iter())
            .map_err(|error| broken(format!("training failed: {error}")))?;
        let json = serde_json::to_value(&trained)
            .map_err(|error| broken(format!("training failed: {error}")))?;
        let mut tokenizer = Tokenizer::from_json(json)?;
        tokenizer.eos = ["<|im_end|>", "<|endoftext|>", "</s>"]
            .iter()
            .find(|token| special.contains(token))
            .and_then(|token| tokenizer.token_id(token));
        Ok(tokenizer)
    }

    /// Builds a tokenizer from the JSON of a `tokenizer.json`.
    ///
    /// Truncation, padding and dropout are switched off: each would change a training set silently.
    pub(super) fn from_json(mut json: Value) -> Result<Tokenizer, LmError> {
        let model = &json["model"]["type"];
        if *model != "BPE" {
            return Err(broken(format!("the model is {model}")));
        }
        json["truncation"] = Value::Null;
        json["padding"] = Value::Null;
        json["model"]["dropout"] = Value::Null;
        let full = build(&json)?;
        json["added_tokens"] = json!([]);
        // What a post-processor adds is told from control tokens, which the plain one lacks.
        json["post_processor"] = Value::Null;
        let plain = build(&json)?;
        let bytes: Vec<Option<u32>> = byte_symbols()
            .iter()
            .map(|symbol| plain.get_model().token_to_id(&symbol.to_string()))
            .collect();
        if let Some(byte) = (b' '..=b'~').chain([b'\n']).find(|b| bytes[usize::from(*b)].is_none())
        {
            return Err(broken(format!("byte {byte} has no token")));
        }
        let json = full
            .to_string(false)
            .map_err(|error| broken(format!("it cannot be written as JSON: {error}")))?;
        Ok(Tokenizer { plain, full, json, bytes, eos: None })
    }

    /// Returns the tokenizer with another end-of-turn token.
    ///
    /// # Errors
    /// `Tokenizer` if there is no such token.
    pub fn with_eos(mut self, token: &str) -> Result<Tokenizer, LmError> {
        match self.token_id(token) {
            Some(id) => {
                self.eos = Some(id);
                Ok(self)
            }
            None => Err(LmError::Tokenizer {
                what: format!("the end-of-turn token '{token}' does not exist"),
                next: "name a token of the vocabulary".to_owned(),
            }),
        }
    }

    /// Returns the tokenizer with the end-of-turn token of an id; an id that no token has is left
    /// out.
    pub(super) fn with_eos_id(mut self, id: u32) -> Tokenizer {
        self.eos = self.full.id_to_token(id).map(|_| id);
        self
    }

    /// Returns whether every byte of a text has a token. SmolLM2, for one, has none for U+0004 and
    /// for characters above U+3FFFF; what has no token is left out by [`Tokenizer::encode`].
    pub fn covers(&self, text: &str) -> bool {
        text.bytes().all(|byte| self.bytes[usize::from(byte)].is_some())
    }

    /// Returns the ids of a text. Control tokens in it are ordinary text; bytes without a token are
    /// left out, see [`Tokenizer::covers`].
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_by(&self.plain, text)
    }

    /// Returns the ids of a text in which control tokens are recognised. No token is added in
    /// front or behind.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        self.encode_by(&self.full, text)
    }

    fn encode_by(&self, tokenizer: &tokenizers::Tokenizer, text: &str) -> Vec<u32> {
        match tokenizer.encode_fast(text, false) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            // A pattern gave up on the text; its bytes are an encoding too, only a longer one.
            Err(_) => text.bytes().filter_map(|byte| self.bytes[usize::from(byte)]).collect(),
        }
    }

    /// Returns the id of a token by its exact text, control tokens included.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.full.token_to_id(token)
    }

    /// Returns the text of ids, control tokens included. Bytes that are no UTF-8 become U+FFFD;
    /// ids outside the vocabulary are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.full.decode(ids, false).unwrap_or_default()
    }

    /// Returns one more than the largest id.
    pub fn vocab_size(&self) -> usize {
        let largest = self.full.get_vocab(true).into_values().max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// Returns the id of the token that ends a turn, if it is known.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.eos
    }

    /// Returns the text of the token that ends a turn, if it is known.
    pub fn eos_token(&self) -> Option<String> {
        self.full.id_to_token(self.eos?)
    }

    /// Returns the BLAKE3 hash of the tokenizer's JSON: equal hashes give equal ids.
    pub fn fingerprint(&self) -> [u8; 32] {
        *blake3::hash(self.json.as_bytes()).as_bytes()
    }

    /// Returns the tokenizer as the text of a `tokenizer.json`.
    pub fn to_json(&self) -> &str {
        &self.json
    }

    /// Writes a `tokenizer.json`.
    ///
    /// # Errors
    /// `Io` if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), LmError> {
        super::safetensors::replace(path, |out| {
            std::io::Write::write_all(out, self.json.as_bytes())
        })
    }
}

fn build(json: &Value) -> Result<tokenizers::Tokenizer, LmError> {
    serde_json::to_vec(json)
        .map_err(tokenizers::Error::from)
        .and_then(tokenizers::Tokenizer::from_bytes)
        .map_err(|error| broken(error.to_string()))
}

/// Returns the character that stands for each byte in a byte-level vocabulary (GPT-2): printable
/// bytes stand for themselves, the others are shifted to U+0100 and up.
fn byte_symbols() -> Vec<char> {
    let mut next = 0x100;
    (0..=255u8)
        .map(|byte| match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            _ => {
                next += 1;
                char::from_u32(next - 1).unwrap_or('\u{100}')
            }
        })
        .collect()
}

fn byte_level(prefix_space: bool) -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": true,
        "use_regex": true,
    })
}

fn digits_and_bytes() -> Value {
    json!({
        "type": "Sequence",
        "pretokenizers": [{ "type": "Digits", "individual_digits": true }, byte_level(false)],
    })
}

fn special_token(id: usize, token: &str) -> Value {
    json!({
        "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    })
}

fn tokenizer_json(pre: Value, added: Vec<Value>, vocabulary: Value, merges: Value) -> Value {
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": pre,
        "post_processor": null,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": merges,
        },
    })
}
