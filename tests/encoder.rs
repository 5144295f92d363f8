//! The sentence encoder: vectors of transformers, the same to the last bit in all company, and
//! files that it refuses.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use swirldb::lm::{Device, LmError, SentenceEncoder};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/bert-tiny")
}

fn open(directory: &Path) -> Result<SentenceEncoder, LmError> {
    SentenceEncoder::open(directory, &Device::Cpu)
}

/// A copy of the small model that a test may change.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("1_Pooling")).unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "1_Pooling/config.json",
    ] {
        fs::copy(fixture().join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// Changes a JSON file of a directory.
fn change(directory: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let path = directory.join(name);
    let text = fs::read(&path).unwrap_or_else(|_| b"{}".to_vec());
    let mut json: Value = serde_json::from_slice(&text).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// Returns the text of the error of opening the small model after a change of one file.
fn refusal(name: &str, edit: impl FnOnce(&mut Value)) -> String {
    let copy = copy();
    change(copy.path(), name, edit);
    let error = open(copy.path()).err().map(|error| error.to_string());
    error.unwrap_or_else(|| panic!("a change of {name} was let pass"))
}

/// The texts of vectors.json, and their vectors by `pooling`.
fn golden(pooling: &str) -> (Vec<String>, Vec<Vec<f32>>) {
    let json = fs::read(fixture().join("vectors.json")).unwrap();
    let entries: Vec<Value> = serde_json::from_slice(&json).unwrap();
    let vector = |entry: &Value| {
        let numbers = entry[pooling].as_array().unwrap().iter();
        numbers.map(|x| x.as_f64().unwrap() as f32).collect()
    };
    let text = |entry: &Value| entry["text"].as_str().unwrap().to_owned();
    (entries.iter().map(text).collect(), entries.iter().map(vector).collect())
}

fn encode(encoder: &SentenceEncoder, texts: &[String]) -> Vec<Vec<f32>> {
    encoder.encode(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}

fn bits(vectors: &[Vec<f32>]) -> Vec<Vec<u32>> {
    vectors.iter().map(|vector| vector.iter().map(|x| x.to_bits()).collect()).collect()
}

fn assert_near(found: &[Vec<f32>], expected: &[Vec<f32>], texts: &[String]) {
    assert_eq!(found.len(), expected.len());
    for ((found, expected), text) in found.iter().zip(expected).zip(texts) {
        assert_eq!(found.len(), expected.len());
        let distance = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(distance < 2e-6, "{text:?}: {distance:e}");
        let square: f32 = found.iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-6, "{text:?}: {square}");
    }
}

#[test]
fn vectors_are_those_of_transformers() {
    let (texts, expected) = golden("mean");
    let encoder = open(&fixture()).unwrap();
    assert_eq!((encoder.dimensions(), encoder.tokens_max()), (24, 24));
    assert_near(&encode(&encoder, &texts), &expected, &texts);

    let copy = copy();
    change(copy.path(), "1_Pooling/config.json", |json| {
        json["pooling_mode_mean_tokens"] = json!(false);
        json["pooling_mode_cls_token"] = json!(true);
    });
    let (texts, expected) = golden("cls");
    assert_near(&encode(&open(copy.path()).unwrap(), &texts), &expected, &texts);
}

#[test]
fn what_is_behind_the_limit_does_not_count() {
    let encoder = open(&fixture()).unwrap();
    let at_limit = "a b c d e f g h i j k l m n o p q r s t u v";
    let vectors = encoder
        .encode(&[at_limit, &format!("{at_limit} w"), at_limit.strip_suffix(" v").unwrap()])
        .unwrap();
    assert_eq!(vectors[0], vectors[1]);
    assert_ne!(vectors[0], vectors[2]);
}

/// Texts of 0 to 40 words, so that packs are cut at many places.
fn many() -> Vec<String> {
    let words = ["the", "search", "who", "wrote", "zebra", "中文", "vectors?", "[MASK]"];
    let text = |number: usize| {
        let word = |at: usize| words[(number * 7 + at * (number % 5 + 1)) % words.len()];
        (0..number * number % 41).map(word).collect::<Vec<_>>().join(" ")
    };
    (0..150).map(text).collect()
}

#[test]
fn a_vector_depends_on_its_text_alone() {
    let encoder = open(&fixture()).unwrap();
    let texts = many();
    let alone: Vec<Vec<u32>> =
        texts.iter().flat_map(|text| bits(&encoder.encode(&[text]).unwrap())).collect();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let together = pool.install(|| encode(&encoder, &texts));
        assert_eq!(bits(&together), alone, "{threads} threads");
    }
    let mut turned = texts.clone();
    turned.rotate_left(71);
    let mut vectors = bits(&encode(&encoder, &turned));
    vectors.rotate_right(71);
    assert_eq!(vectors, alone);
}

#[test]
fn no_text_is_no_vector() {
    assert!(open(&fixture()).unwrap().encode(&[]).unwrap().is_empty());
}

#[test]
fn the_bits_of_a_vector_are_the_same_on_every_machine() {
    let encoder = open(&fixture()).unwrap();
    let vectors = encoder.encode(&["who wrote the text?", "a"]).unwrap();
    let bytes: Vec<u8> = vectors.iter().flatten().flat_map(|x| x.to_bits().to_le_bytes()).collect();
    let expected = "e86be057ef394cc0d7df26c4f489dc224ca02014eb660e45d1fa1b874a9258db";
    assert_eq!(blake3::hash(&bytes).to_hex().as_str(), expected);
}

#[test]
fn names_may_begin_with_bert() {
    let copy = copy();
    let path = copy.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&rest[..length]).unwrap();
    let renamed: serde_json::Map<String, Value> = header
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| match name.as_str() {
            "__metadata__" => (name.clone(), value.clone()),
            _ => (format!("bert.{name}"), value.clone()),
        })
        .collect();
    let mut header = Value::Object(renamed).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(&rest[length..]);
    fs::write(&path, out).unwrap();
    let texts = ["who wrote the text?"];
    let renamed = open(copy.path()).unwrap();
    let original = open(&fixture()).unwrap();
    assert_eq!(renamed.encode(&texts).unwrap(), original.encode(&texts).unwrap());
    assert_ne!(renamed.fingerprint(), original.fingerprint());
}

#[test]
fn the_fingerprint_is_over_all_that_decides_vectors() {
    let original = open(&fixture()).unwrap().fingerprint();
    assert_eq!(open(copy().path()).unwrap().fingerprint(), original);
    let changed = |name: &str, edit: fn(&mut Value)| {
        let copy = copy();
        change(copy.path(), name, edit);
        open(copy.path()).unwrap().fingerprint()
    };
    let harmless = changed("config.json", |json| json["hidden_dropout_prob"] = json!(0.5));
    assert_eq!(harmless, original);
    let eps = changed("config.json", |json| json["layer_norm_eps"] = json!(1e-6));
    let limit = changed("sentence_bert_config.json", |json| json["max_seq_length"] = json!(23));
    let cased = changed("tokenizer.json", |json| json["normalizer"]["lowercase"] = json!(false));
    let pooling = changed("1_Pooling/config.json", |json| {
        json["pooling_mode_mean_tokens"] = json!(false);
        json["pooling_mode_cls_token"] = json!(true);
    });
    let weights = copy();
    let path = weights.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let weights = open(weights.path()).unwrap().fingerprint();
    let all = [original, eps, limit, cased, pooling, weights];
    for (number, one) in all.iter().enumerate() {
        assert!(!all[..number].contains(one), "change {number} does not show");
    }
}

#[test]
fn other_shapes_are_refused_by_name() {
    for (name, field, value) in [
        ("config.json", "model_type", json!("roberta")),
        ("config.json", "hidden_act", json!("gelu_new")),
        ("config.json", "position_embedding_type", json!("relative_key")),
        ("config.json", "is_decoder", json!(true)),
        ("config.json", "quantization_config", json!({"bits": 4})),
        ("1_Pooling/config.json", "pooling_mode_max_tokens", json!(true)),
        ("sentence_bert_config.json", "do_lower_case", json!(true)),
        ("config_sentence_transformers.json", "default_prompt_name", json!("query")),
    ] {
        let said = refusal(name, |json| json[field] = value);
        assert!(said.contains(name) && said.contains(field), "{field}: {said}");
        assert!(said.contains("BERT encoders are supported"), "{field}: {said}");
    }
    let said = refusal("modules.json", |json| json[2]["type"] = json!("x.models.Dense"));
    assert!(said.contains("module 2 is \"x.models.Dense\""), "{said}");
    let said = refusal("tokenizer.json", |json| json["model"]["type"] = json!("Unigram"));
    assert!(said.contains("Unigram") && said.contains("WordPiece"), "{said}");
}

#[test]
fn broken_models_are_told_with_file_and_reason() {
    for (name, field, value, expected) in [
        ("config.json", "hidden_size", json!(0), "hidden_size is 0"),
        ("config.json", "num_attention_heads", json!(5), "multiple of the 5 heads"),
        ("config.json", "num_hidden_layers", json!(3), "encoder.layer.2"),
        ("config.json", "num_hidden_layers", json!(1), "encoder.layer.1"),
        ("config.json", "intermediate_size", json!(41), "[40, 24]"),
        ("config.json", "vocab_size", json!("many"), "vocab_size"),
        ("config.json", "layer_norm_eps", json!(-1.0), "layer_norm_eps is -1"),
        ("sentence_bert_config.json", "max_seq_length", json!(33), "expected 1 to 32"),
        ("sentence_bert_config.json", "max_seq_length", json!(2), "no room"),
    ] {
        let said = refusal(name, |json| json[field] = value);
        assert!(said.contains(expected), "{field}: {said}");
    }
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let without = copy();
        fs::remove_file(without.path().join(name)).unwrap();
        let said = open(without.path()).err().unwrap().to_string();
        assert!(said.contains(name), "{said}");
        let cut = copy();
        let path = cut.path().join(name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let said = open(cut.path()).err().unwrap().to_string();
        assert!(said.contains(name) && said.contains("damaged"), "{said}");
    }
    let nowhere = open(Path::new("/nowhere/at/all")).err().unwrap();
    assert!(matches!(nowhere, LmError::NotAModel { .. }), "{nowhere}");
}

#[test]
fn weights_without_a_direction_are_an_error() {
    let copy = copy();
    let path = copy.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let begin = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[begin..].fill(0);
    fs::write(&path, bytes).unwrap();
    let error = open(copy.path()).unwrap().encode(&["a", "b"]).unwrap_err();
    assert!(error.to_string().contains("no direction"), "{error}");
}

#[test]
fn a_tokenizer_of_another_model_is_an_error() {
    let copy = copy();
    change(copy.path(), "tokenizer.json", |json| {
        json["model"]["vocab"]["zebra"] = json!(4_000);
    });
    let encoder = open(copy.path()).unwrap();
    assert!(encoder.encode(&["the search"]).is_ok());
    let error = encoder.encode(&["the zebra"]).unwrap_err();
    assert!(error.to_string().contains("id 4000 has no embedding"), "{error}");
}
