//! The tokenizer that a GGUF file describes, as a `tokenizer.json`.
//!
//! A file has the tokens, their types, and merges (`gpt2`) or scores (`llama`, SentencePiece). How
//! texts are cut before merging is a name only (`tokenizer.ggml.pre`), whose meaning stands in
//! llama.cpp's code; a name that is not known here is refused, for a wrong cut still gives ids.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::LmError;
use super::gguf::GgufFile;
use super::tokenizer::broken;

/// Types of tokens in `tokenizer.ggml.token_type` (llama.h, `llama_token_type`).
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The pattern of Llama 3 up to its numbers; then the number of digits; then the rest.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
const REST: &str = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Returns the `tokenizer.json` of the tokenizer of a file.
///
/// # Errors
/// `Tokenizer` for a model or pre-tokenizer that is not known; those of the file.
pub(super) fn json(file: &GgufFile) -> Result<Value, LmError> {
    let vocabulary = Vocabulary::read(file)?;
    match file.get_text("tokenizer.ggml.model")?.unwrap_or("none") {
        "gpt2" => byte_level(file, &vocabulary),
        "llama" => sentence_piece(file, &vocabulary),
        other => Err(broken(format!("tokenizer.ggml.model is '{other}'"))),
    }
}

/// The tokens of a file.
struct Vocabulary<'a> {
    tokens: &'a [String],
    types: &'a [i64],
}

impl<'a> Vocabulary<'a> {
    fn read(file: &'a GgufFile) -> Result<Vocabulary<'a>, LmError> {
        let tokens = file
            .get_texts("tokenizer.ggml.tokens")?
            .ok_or_else(|| missing(file, "tokenizer.ggml.tokens"))?;
        let types = file.get_integers("tokenizer.ggml.token_type")?.unwrap_or_default();
        Ok(Vocabulary { tokens, types })
    }

    fn kind(&self, id: usize) -> i64 {
        self.types.get(id).copied().unwrap_or(1)
    }

    /// Returns the tokens that are found in a text before anything is merged.
    fn added(&self) -> Vec<Value> {
        let tokens = self.tokens.iter().enumerate();
        let added = tokens.filter(|(id, token)| match self.kind(*id) {
            CONTROL => true,
            // A run of spaces is another text to the model behind the normalizer: it is merged.
            USER_DEFINED => !token.contains(' '),
            _ => false,
        });
        added.map(|(id, token)| added_token(id, token, self.kind(id) == CONTROL)).collect()
    }

    /// Returns the ids by token, each as `written` has it.
    fn ids(
        &self,
        file: &GgufFile,
        written: impl Fn(usize, &str) -> String,
    ) -> Result<serde_json::Map<String, Value>, LmError> {
        let mut ids = serde_json::Map::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if ids.insert(written(id, token), json!(id)).is_some() {
                return Err(LmError::damaged(
                    file.path(),
                    format!("token '{token}' appears twice in tokenizer.ggml.tokens"),
                ));
            }
        }
        Ok(ids)
    }
}

fn missing(file: &GgufFile, key: &str) -> LmError {
    LmError::damaged(file.path(), format!("'{key}' is missing"))
}

fn byte_level(file: &GgufFile, vocabulary: &Vocabulary<'_>) -> Result<Value, LmError> {
    let name = file.get_text("tokenizer.ggml.pre")?.unwrap_or("gpt-2");
    let pre = match name {
        "smollm" => digits_and_bytes(),
        "gpt-2" => byte_level_part(true),
        "llama-bpe" | "llama3" | "llama-v3" => pattern(&format!(r"{WORDS}\p{{N}}{{1,3}}{REST}")),
        "qwen2" => pattern(&format!(r"{WORDS}\p{{N}}{REST}")),
        other => return Err(broken(format!("tokenizer.ggml.pre is '{other}'"))),
    };
    let merges = file
        .get_texts("tokenizer.ggml.merges")?
        .ok_or_else(|| missing(file, "tokenizer.ggml.merges"))?;
    let mut pairs = Vec::with_capacity(merges.len());
    for merge in merges {
        // The first character may itself be a space.
        let space = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
        match space.map(|(at, _)| merge.split_at(at)) {
            Some((left, right)) => pairs.push(json!([left, &right[1..]])),
            None => {
                let what = format!("'{merge}' in tokenizer.ggml.merges is no pair");
                return Err(LmError::damaged(file.path(), what));
            }
        }
    }
    let ids = vocabulary.ids(file, |_, token| token.to_owned())?;
    let mut json = byte_level_json(pre, vocabulary.added(), Value::Object(ids), json!(pairs));
    match name {
        // A word that is a token is that token, whatever the merges make of it.
        "llama-bpe" | "llama3" | "llama-v3" => json["model"]["ignore_merges"] = json!(true),
        "qwen2" => json["normalizer"] = json!({ "type": "NFC" }),
        _ => {}
    }
    Ok(json)
}

/// The tokenizer of a SentencePiece model by BPE, whose merges follow from the scores.
fn sentence_piece(file: &GgufFile, vocabulary: &Vocabulary<'_>) -> Result<Value, LmError> {
    if file.get_flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true) {
        return Err(broken(
            "tokenizer.ggml.add_space_prefix is true: a space is put in front of texts",
        ));
    }
    let scores = file
        .get_floats("tokenizer.ggml.scores")?
        .ok_or_else(|| missing(file, "tokenizer.ggml.scores"))?;
    if scores.len() != vocabulary.tokens.len() || scores.iter().any(|score| score.is_nan()) {
        let what = "tokenizer.ggml.scores has not a number for each token";
        return Err(LmError::damaged(file.path(), what));
    }
    let written = |id: usize, token: &str| match vocabulary.kind(id) {
        CONTROL => token.to_owned(),
        _ => token.replace(' ', "\u{2581}"),
    };
    let ids = vocabulary.ids(file, written)?;
    let pieces: Vec<(String, f64)> = vocabulary
        .tokens
        .iter()
        .zip(scores)
        .enumerate()
        .filter(|(id, _)| vocabulary.kind(*id) != CONTROL)
        .map(|(id, (token, score))| match vocabulary.kind(id) {
            // They are found before anything else; their score in the file says nothing.
            USER_DEFINED => (written(id, token), f64::INFINITY),
            _ => (written(id, token), *score),
        })
        .collect();
    let unknown = file.get_size("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
    let unknown = vocabulary.tokens.get(unknown);
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added(),
        "normalizer": { "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" },
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " },
            { "type": "ByteFallback" },
            { "type": "Fuse" },
        ] },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": false, "merges": merges(&pieces), "vocab": ids,
        },
    }))
}

/// Returns the merges that make each piece of two others, the best score first, then the longest
/// left and the longest right part, then the order of ids: the order of transformers
/// (`generate_merges` in `tokenization_utils_sentencepiece.py`).
fn merges(pieces: &[(String, f64)]) -> Vec<[&str; 2]> {
    let known: HashMap<&str, usize> =
        pieces.iter().enumerate().map(|(id, (piece, _))| (piece.as_str(), id)).collect();
    let mut merges: Vec<(f64, usize, usize, [&str; 2])> = Vec::new();
    for (piece, score) in pieces {
        let mut local: BTreeMap<(usize, usize), [&str; 2]> = BTreeMap::new();
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if let (Some(l), Some(r)) = (known.get(left), known.get(right)) {
                local.insert((*l, *r), [left, right]);
            }
        }
        let length = |text: &str| text.chars().count();
        let ranked = local.into_values().map(|[l, r]| (*score, length(l), length(r), [l, r]));
        merges.extend(ranked);
    }
    // A stable sort: what is equal stays in the order of ids.
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
    merges.into_iter().map(|(_, _, _, pair)| pair).collect()
}

fn byte_level_part(with_pattern: bool) -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": with_pattern,
    })
}

/// Returns the pre-tokenizer that cuts by a pattern.
fn pattern(pattern: &str) -> Value {
    let split = json!({
        "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false,
    });
    json!({ "type": "Sequence", "pretokenizers": [split, byte_level_part(false)] })
}

/// Returns the pre-tokenizer of SmolLM2: every digit alone, then GPT-2's pattern.
pub(super) fn digits_and_bytes() -> Value {
    json!({
        "type": "Sequence",
        "pretokenizers": [
            { "type": "Digits", "individual_digits": true },
            byte_level_part(true),
        ],
    })
}

fn added_token(id: usize, token: &str, special: bool) -> Value {
    json!({
        "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": special,
    })
}

/// Returns the `tokenizer.json` of a BPE over bytes.
pub(super) fn byte_level_json(
    pre: Value,
    added: Vec<Value>,
    vocabulary: Value,
    merges: Value,
) -> Value {
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": pre,
        "post_processor": null,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": merges,
        },
    })
}
