//! Training, encoding and reading tokenizers.

use proptest::prelude::*;
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
