//! BPE: text to token ids and back, without loss where [`Tokenizer::covers`] says so.
//!
//! Two tokenizers stand behind one [`Tokenizer`]. The plain one knows no control tokens: whatever
//! a text says, `<|im_end|>` in it is eight or so ordinary tokens, so that data cannot end a turn
//! or open another. The other recognises them, and is for text of this program's own making.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainerBuilder;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Model, NormalizedString, Normalizer as _};

use super::LmError;
use super::gguf::GgufFile;
use super::gguf_tokenizer::{byte_level_json, digits_and_bytes};

/// A tokenizer by BPE, over bytes or as SentencePiece has it.
#[derive(Clone)]
pub struct Tokenizer {
    /// Knows no control tokens.
    plain: tokenizers::Tokenizer,
    /// Knows all tokens.
    full: tokenizers::Tokenizer,
    /// The tokenizer as JSON, always written the same way.
    json: String,
    /// Id of each of the 256 bytes, where it has one.
    bytes: Vec<Option<u32>>,
    /// The byte that a symbol stands for.
    symbols: HashMap<String, u8>,
    alphabet: Alphabet,
    /// What only the full tokenizer finds in a text, in order of id.
    control: Vec<String>,
    eos: Option<u32>,
}

/// What BPE merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    /// A symbol for each byte (GPT-2).
    Bytes,
    /// Characters, with U+2581 for the space, and tokens of bytes for the characters that have
    /// none (SentencePiece).
    Characters,
}

/// What SentencePiece writes for a space. It cannot tell one in a text from a space.
const SPACE: char = '\u{2581}';

/// Returns the error for a tokenizer that cannot be built.
pub(super) fn broken(what: impl Into<String>) -> LmError {
    LmError::Tokenizer {
        what: what.into(),
        next: "BPE tokenizers over bytes and those of SentencePiece with a token for each byte \
               are supported: a tokenizer.json, or a GGUF file with tokenizer.ggml.model 'gpt2' \
               (tokenizer.ggml.pre 'gpt-2', 'smollm', 'llama-bpe' or 'qwen2') or 'llama'"
            .to_owned(),
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. The end-of-turn token is unknown until [`Tokenizer::with_eos`].
    ///
    /// # Errors
    /// `Io` if the file cannot be read, `Tokenizer` if it is no BPE that is known here.
    pub fn from_file(path: &Path) -> Result<Tokenizer, LmError> {
        let text = std::fs::read_to_string(path).map_err(LmError::io(path))?;
        let json = serde_json::from_str(&text)
            .map_err(|error| LmError::damaged(path, format!("not JSON: {error}")))?;
        Tokenizer::from_json(json)
    }

    /// Builds the tokenizer that a GGUF file describes.
    ///
    /// # Errors
    /// Those of the file, and `Tokenizer` if it is no BPE that is known here.
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
        let mut tokenizer = Tokenizer::from_json(super::gguf_tokenizer::json(file)?)?;
        let eos = file.get_size("tokenizer.ggml.eos_token_id")?;
        tokenizer.eos = eos
            .and_then(|id| u32::try_from(id).ok())
            .filter(|id| tokenizer.full.id_to_token(*id).is_some());
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
        let empty = byte_level_json(digits_and_bytes(), Vec::new(), json!({}), json!([]));
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
        refuse_prefix(&json)?;
        let alphabet = match json["model"]["byte_fallback"] == true {
            true => Alphabet::Characters,
            false => Alphabet::Bytes,
        };
        let full = build(&json)?;
        let added = json["added_tokens"].as_array().cloned().unwrap_or_default();
        let (ordinary, control): (Vec<Value>, Vec<Value>) =
            added.into_iter().partition(|token| is_ordinary(token, alphabet));
        json["added_tokens"] = Value::Array(ordinary);
        // What a post-processor adds is told from control tokens, which the plain one lacks.
        json["post_processor"] = Value::Null;
        let plain = build(&json)?;
        let bytes: Vec<Option<u32>> = byte_symbols(alphabet)
            .iter()
            .map(|symbol| plain.get_model().token_to_id(symbol))
            .collect();
        let needed = |byte: &u8| match alphabet {
            Alphabet::Bytes => matches!(byte, b' '..=b'~' | b'\n'),
            Alphabet::Characters => true,
        };
        let lacking = |byte: &u8| needed(byte) && bytes[usize::from(*byte)].is_none();
        if let Some(byte) = (0..=255).find(lacking) {
            return Err(broken(format!("byte {byte} has no token")));
        }
        let json = full
            .to_string(false)
            .map_err(|error| broken(format!("it cannot be written as JSON: {error}")))?;
        let symbols = byte_symbols(alphabet).into_iter().zip(0..=255).collect();
        let content = |token: &Value| token["content"].as_str().map(str::to_owned);
        let control = control.iter().filter_map(content).collect();
        Ok(Tokenizer { plain, full, json, bytes, symbols, alphabet, control, eos: None })
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

    /// Returns whether the ids of a text stand for that text. SmolLM2, for one, has no tokens for
    /// U+0004 and for characters above U+3FFFF; what has no token is left out by
    /// [`Tokenizer::encode`]. Qwen's makes composed characters (NFC) of others, and SentencePiece's
    /// a space of U+2581.
    pub fn covers(&self, text: &str) -> bool {
        let kept = match self.alphabet {
            Alphabet::Bytes => self.is_normal(text, text),
            Alphabet::Characters => {
                let spaced = text.replace(' ', SPACE.encode_utf8(&mut [0; 4]));
                !text.contains(SPACE) && self.is_normal(text, &spaced)
            }
        };
        kept && text.bytes().all(|byte| self.bytes[usize::from(byte)].is_some())
    }

    /// Returns whether the normalizer makes `wanted` of a text.
    fn is_normal(&self, text: &str, wanted: &str) -> bool {
        let Some(normalizer) = self.plain.get_normalizer() else { return text == wanted };
        let mut normal = NormalizedString::from(text);
        normalizer.normalize(&mut normal).is_ok() && normal.get() == wanted
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

    /// Returns the spellings that [`Tokenizer::encode_with_special`] recognises as a whole and
    /// [`Tokenizer::encode`] does not.
    pub fn control_tokens(&self) -> &[String] {
        &self.control
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

    /// Returns the bytes that a token stands for, control tokens by their text; none for an id
    /// outside the vocabulary. The bytes of several ids one after another are the bytes of their
    /// text: [`Tokenizer::decode`] writes U+FFFD for those that are no UTF-8.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let token = self.full.id_to_token(id)?;
        let byte = |symbol: &str| self.symbols.get(symbol).copied();
        Some(match self.alphabet {
            Alphabet::Bytes => {
                let bytes = token.chars().map(|c| byte(c.encode_utf8(&mut [0; 4])));
                bytes.collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.into_bytes())
            }
            Alphabet::Characters => match byte(&token) {
                Some(byte) => vec![byte],
                None => token.replace(SPACE, " ").into_bytes(),
            },
        })
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

/// Returns the token that stands for each byte.
///
/// In a byte-level vocabulary (GPT-2) printable bytes stand for themselves, the others are shifted
/// to U+0100 and up.
fn byte_symbols(alphabet: Alphabet) -> Vec<String> {
    if alphabet == Alphabet::Characters {
        return (0..=255u8).map(|byte| format!("<0x{byte:02X}>")).collect();
    }
    let mut next = 0x100;
    (0..=255u8)
        .map(|byte| match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte).to_string(),
            _ => {
                next += 1;
                char::from_u32(next - 1).unwrap_or('\u{100}').to_string()
            }
        })
        .collect()
}

/// Refuses a tokenizer that puts a space in front of every text: texts are encoded in pieces here,
/// and each would get one.
fn refuse_prefix(json: &Value) -> Result<(), LmError> {
    let mut parts = vec![&json["normalizer"], &json["pre_tokenizer"]];
    while let Some(part) = parts.pop() {
        let scheme = &part["prepend_scheme"];
        let prefix = part["type"] == "Prepend"
            || part["add_prefix_space"] == true && scheme.is_null()
            || scheme.as_str().is_some_and(|scheme| scheme != "never");
        if prefix {
            return Err(broken(format!("{} puts a space in front of texts", part["type"])));
        }
        for list in ["normalizers", "pretokenizers"] {
            parts.extend(part[list].as_array().into_iter().flatten());
        }
    }
    Ok(())
}

/// Returns whether an added token is ordinary text that data may hold: the runs of line ends and
/// tabs and the HTML tags of Gemma. All others could be marks of turns or calls, whatever they are
/// called.
fn is_ordinary(token: &Value, alphabet: Alphabet) -> bool {
    const TAGS: [&str; 35] = [
        "table",
        "caption",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "th",
        "td",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "strong",
        "em",
        "b",
        "i",
        "u",
        "s",
        "sub",
        "sup",
        "code",
        "a",
        "html",
        "body",
        "img",
        "span",
        "bbox",
        "ul",
        "li",
        "div",
        "iframe",
        "footer",
    ];
    let content = token["content"].as_str().unwrap_or_default();
    let tag = content.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    let tag = tag.map(|name| name.strip_prefix('/').unwrap_or(name));
    let whitespace = !content.is_empty() && content.chars().all(char::is_whitespace);
    alphabet == Alphabet::Characters
        && token["special"] == false
        && (whitespace || tag.is_some_and(|name| TAGS.contains(&name)))
}
