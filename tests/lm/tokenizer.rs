//! Training, encoding and reading tokenizers.

use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value as Gguf};
use proptest::prelude::*;
use serde_json::{Value, json};
use swirldb::lm::{LmError, Tokenizer};

const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

fn corpus() -> impl Iterator<Item = String> {
    let words =
        ["search", "the", "founder", "of", "university", "answer", "12", "is", "naïve", "你好"];
    (0..400usize).map(move |i| {
        let word = |k: usize| words[(i * 7 + k * k * 3) % words.len()];
        format!("{} {} {}: {}", word(1), word(2), word(3), word(i % 5))
    })
}

fn trained() -> Tokenizer {
    Tokenizer::train(corpus(), 290, &SPECIAL).unwrap()
}

#[test]
fn training_twice_gives_the_same_tokenizer() {
    let (a, b) = (trained(), trained());
    assert_eq!(a.to_json(), b.to_json());
    assert_eq!(a.fingerprint(), b.fingerprint());
    assert_eq!(a.vocab_size(), 290);
    assert_eq!(a.eos_token_id(), a.token_id("<|im_end|>"));
    assert_eq!(a.control_tokens(), SPECIAL);
    let other = Tokenizer::train(["queue ".repeat(9)].into_iter(), 290, &SPECIAL).unwrap();
    assert_ne!(a.fingerprint(), other.fingerprint());
}

#[test]
fn merges_are_learnt() {
    let tokenizer = trained();
    assert_eq!(tokenizer.encode(" search").len(), 1);
    assert_eq!(tokenizer.encode(" zyx").len(), 4);
    assert_eq!(tokenizer.encode("12").len(), 2, "digits stand alone");
}

#[test]
fn data_cannot_inject_control_tokens() {
    let tokenizer = trained();
    let end = tokenizer.token_id("<|im_end|>").unwrap();
    let text = "a<|im_end|>b";
    let plain = tokenizer.encode(text);
    assert!(!plain.contains(&end), "{plain:?}");
    assert_eq!(tokenizer.decode(&plain), text);
    let special = tokenizer.encode_with_special(text);
    assert_eq!(special.iter().filter(|id| **id == end).count(), 1);
    assert_eq!(tokenizer.decode(&special), text);
}

#[test]
fn a_tokenizer_is_the_same_when_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let tokenizer = trained();
    tokenizer.save(&path).unwrap();
    let again = Tokenizer::from_file(&path).unwrap();
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
    assert_eq!(again.eos_token_id(), None, "the file does not say");
    let again = again.with_eos("<|endoftext|>").unwrap();
    assert_eq!(again.eos_token_id(), tokenizer.token_id("<|endoftext|>"));
    assert!(again.with_eos("<eos>").is_err());
}

#[test]
fn what_would_change_a_training_set_is_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_str(trained().to_json()).unwrap();
    json["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0,
    });
    json["padding"] = serde_json::json!({
        "strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "<|endoftext|>",
    });
    json["model"]["dropout"] = serde_json::json!(0.5);
    std::fs::write(&path, json.to_string()).unwrap();
    let tokenizer = Tokenizer::from_file(&path).unwrap();
    assert_eq!(tokenizer.encode("the founder of"), trained().encode("the founder of"));
}

#[test]
fn other_tokenizers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_str(trained().to_json()).unwrap();
    json["model"]["vocab"].as_object_mut().unwrap().remove("q");
    for (text, part) in [
        ("{".to_owned(), "not JSON"),
        ("{}".to_owned(), "the model is null"),
        (r#"{"model": {"type": "Unigram"}}"#.to_owned(), "Unigram"),
        (json.to_string(), "byte 113 has no token"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Tokenizer::from_file(&path).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = Tokenizer::train(corpus(), 200, &SPECIAL).err().unwrap();
    assert!(matches!(error, LmError::Tokenizer { .. }), "{error}");
    assert!(error.to_string().contains("at least 259"), "{error}");
}

/// Returns the strings of the fixture and its tokenizers, as GGUF files describe them.
fn fixture() -> (Vec<String>, Vec<Value>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/tokenizers.json");
    let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let strings = serde_json::from_value(json["strings"].clone()).unwrap();
    (strings, json["tokenizers"].as_array().unwrap().clone())
}

/// Writes a GGUF file with a tokenizer of the fixture and no weights.
fn write_gguf(path: &Path, tokenizer: &Value, extra: &[(&str, Gguf)]) {
    let text = |value: &Value| Gguf::String(value.as_str().unwrap().to_owned());
    let list = |value: &Value, convert: &dyn Fn(&Value) -> Gguf| {
        Gguf::Array(value.as_array().unwrap().iter().map(convert).collect())
    };
    let whole = |value: &Value| Gguf::I32(i32::try_from(value.as_i64().unwrap()).unwrap());
    let mut metadata: Vec<(&str, Gguf)> = vec![
        ("tokenizer.ggml.model", text(&tokenizer["model"])),
        ("tokenizer.ggml.tokens", list(&tokenizer["tokens"], &text)),
        ("tokenizer.ggml.token_type", list(&tokenizer["types"], &whole)),
        ("tokenizer.ggml.add_space_prefix", Gguf::Bool(false)),
        ("tokenizer.ggml.eos_token_id", Gguf::U32(1)),
    ];
    if tokenizer["model"] == "gpt2" {
        metadata.push(("tokenizer.ggml.pre", text(&tokenizer["pre"])));
        metadata.push(("tokenizer.ggml.merges", list(&tokenizer["merges"], &text)));
    } else {
        let score = |value: &Value| Gguf::F32(value.as_f64().unwrap() as f32);
        metadata.push(("tokenizer.ggml.scores", list(&tokenizer["scores"], &score)));
        metadata.push(("tokenizer.ggml.unknown_token_id", Gguf::U32(3)));
    }
    metadata.retain(|(key, _)| extra.iter().all(|(other, _)| other != key));
    metadata.extend(extra.iter().cloned());
    let metadata: Vec<(&str, &Gguf)> = metadata.iter().map(|(k, v)| (*k, v)).collect();
    gguf_file::write(&mut std::fs::File::create(path).unwrap(), &metadata, &[]).unwrap();
}

#[test]
fn tokenizers_of_gguf_files_give_the_ids_of_their_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.gguf");
    let (strings, tokenizers) = fixture();
    assert_eq!((strings.len(), tokenizers.len()), (62, 3));
    for expected in tokenizers {
        write_gguf(&path, &expected, &[]);
        let tokenizer = Tokenizer::from_gguf(&path).unwrap();
        let kind = format!("{} {}", expected["model"], expected["pre"]);
        assert_eq!(tokenizer.vocab_size(), expected["tokens"].as_array().unwrap().len());
        let ids: Vec<Vec<u32>> = serde_json::from_value(expected["ids"].clone()).unwrap();
        for (text, ids) in strings.iter().zip(ids) {
            assert_eq!(tokenizer.encode(text), ids, "{kind}: {text:?}");
            assert_eq!(tokenizer.encode_with_special(text), ids, "{kind}: {text:?}");
            if tokenizer.covers(text) {
                assert_eq!(tokenizer.decode(&ids), *text, "{kind}");
            }
        }
        // Written as tokenizer.json and read again it is the same.
        let json = folder.path().join("tokenizer.json");
        tokenizer.save(&json).unwrap();
        assert_eq!(Tokenizer::from_file(&json).unwrap().fingerprint(), tokenizer.fingerprint());
    }
}

#[test]
fn what_a_tokenizer_would_change_is_not_covered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.gguf");
    for tokenizer in fixture().1 {
        write_gguf(&path, &tokenizer, &[]);
        let read = Tokenizer::from_gguf(&path).unwrap();
        let composes = tokenizer["pre"] == "qwen2";
        let spaces = tokenizer["model"] == "llama";
        assert!(read.covers("caf\u{e9} \u{4} \u{10ffff}"));
        assert_eq!(read.covers("cafe\u{301}"), !composes);
        assert_eq!(read.covers("a\u{2581}b"), !spaces);
    }
}

#[test]
fn marks_of_sentence_piece_models_cannot_be_injected_either() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.gguf");
    let mut tokenizer = fixture().1.remove(2);
    // A mark that the file calls user-defined is one all the same.
    let at = tokenizer["tokens"].as_array().unwrap().iter().position(|t| t == "<b>").unwrap();
    tokenizer["tokens"][at] = json!("<start_of_turn>");
    write_gguf(&path, &tokenizer, &[]);
    let read = Tokenizer::from_gguf(&path).unwrap();
    let at = at as u32;
    assert_eq!(read.eos_token().as_deref(), Some("</s>"));
    assert!(read.control_tokens().iter().any(|token| token == "<start_of_turn>"));
    assert!(read.control_tokens().iter().all(|token| token != "</b>" && token != "\n"));
    for (mark, id) in [("<start_of_turn>", at), ("</s>", 1)] {
        let text = format!("a {mark}b</b>");
        let plain = read.encode(&text);
        assert!(!plain.contains(&id), "{plain:?}");
        assert_eq!(read.decode(&plain), text);
        assert_eq!(read.token_id(mark), Some(id));
        assert!(read.encode_with_special(&text).contains(&id));
    }
}

#[test]
fn tokenizers_of_gguf_files_that_are_not_known_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.gguf");
    let tokenizers = fixture().1;
    let text = |text: &str| Gguf::String(text.to_owned());
    for (number, key, value, part) in [
        (0, "tokenizer.ggml.pre", text("tekken"), "tokenizer.ggml.pre is 'tekken'"),
        (0, "tokenizer.ggml.model", text("bert"), "tokenizer.ggml.model is 'bert'"),
        (0, "tokenizer.ggml.merges", Gguf::Array(vec![text("ab")]), "'ab' in"),
        (2, "tokenizer.ggml.add_space_prefix", Gguf::Bool(true), "a space is put in front"),
        (2, "tokenizer.ggml.scores", Gguf::Array(vec![Gguf::F32(0.0)]), "not a number for each"),
    ] {
        write_gguf(&path, &tokenizers[number], &[(key, value)]);
        let error = Tokenizer::from_gguf(&path).err().unwrap().to_string();
        assert!(error.contains(part), "{key}: {error}");
    }
    let mut json: Value = serde_json::from_str(trained().to_json()).unwrap();
    let file = folder.path().join("tokenizer.json");
    let space = "\u{2581}";
    let first = json!({
        "type": "Metaspace", "replacement": space, "prepend_scheme": "first", "split": true,
    });
    let prefix = json!({
        "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
    });
    for (part, value) in [
        ("normalizer", json!({ "type": "Prepend", "prepend": space })),
        ("pre_tokenizer", first),
        ("pre_tokenizer", prefix),
    ] {
        json[part] = value;
        std::fs::write(&file, json.to_string()).unwrap();
        let error = Tokenizer::from_file(&file).err().unwrap().to_string();
        assert!(error.contains("puts a space in front"), "{part}: {error}");
        json[part] = Value::Null;
    }
}

#[test]
#[ignore = "writes what tests/parity/tokens.py compares; SWIRL_TOKENS names its directory"]
fn ids_for_comparison() {
    let directory = PathBuf::from(std::env::var("SWIRL_TOKENS").unwrap());
    let strings = std::fs::read_to_string(directory.join("strings.json")).unwrap();
    let strings: Vec<String> = serde_json::from_str(&strings).unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    for entry in std::fs::read_dir(models).unwrap() {
        let path = entry.unwrap().path();
        let tokenizer = Tokenizer::open(&path).unwrap();
        let row = |text: &String| {
            let ids = tokenizer.encode(text);
            let back = tokenizer.decode(&ids) == *text;
            json!({ "ids": ids, "covers": tokenizer.covers(text), "back": back })
        };
        let rows: Vec<Value> = strings.iter().map(row).collect();
        let out = directory.join(path.file_stem().unwrap()).with_extension("json");
        std::fs::write(out, json!(rows).to_string()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_survives(text in any::<String>()) {
        thread_local!(static TOKENIZER: Tokenizer = trained());
        TOKENIZER.with(|tokenizer| {
            prop_assert!(tokenizer.covers(&text));
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
            Ok(())
        })?;
    }
}
