//! The decoder against transformers: tests/parity/ holds the scripts that wrote the expectations.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;
use swirldb::lm::{
    Decoder, DecoderConfig, LoadedModel, LoraConfig, ModelFormat, Packed, Tokenizer, Training, load,
};

use super::difference;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(name)
}

/// Returns the mean negative log-likelihood of every token after the first.
fn mean_nll(decoder: &Decoder, tokens: &[u32]) -> Tensor {
    let batch = Packed { tokens: tokens.to_vec(), lengths: vec![tokens.len()] };
    let hidden = decoder.hidden(&batch).unwrap();
    let rows: Vec<u32> = (0..tokens.len() as u32 - 1).collect();
    let log_probs = decoder.log_probs(&hidden, &rows, &tokens[1..]).unwrap();
    log_probs.mean_all().unwrap().neg().unwrap()
}

/// Loads a checkpoint of transformers and what transformers computes with it.
fn checkpoint(name: &str) -> (LoadedModel, HashMap<String, Tensor>, Vec<u32>) {
    let directory = fixture(name);
    let model = load(&directory, &Training::Full, 0, &Device::Cpu).unwrap();
    let expected = directory.join("expected.safetensors");
    let expected = candle_core::safetensors::load(expected, &Device::Cpu).unwrap();
    let tokens = expected["tokens"].to_vec1::<i32>().unwrap();
    let tokens = tokens.into_iter().map(|token| token as u32).collect();
    (model, expected, tokens)
}

#[test]
fn logits_are_those_of_transformers() {
    for name in ["llama-tiny", "llama-tiny-untied"] {
        let (model, expected, tokens) = checkpoint(name);
        let lengths = vec![tokens.len()];
        let hidden = model.decoder.hidden(&Packed { tokens, lengths }).unwrap();
        let off = difference(&model.decoder.logits(&hidden).unwrap(), &expected["logits"]);
        assert!(off < 1e-4, "{name}: logits differ by {off}");
    }
}

#[test]
fn gradients_are_those_of_transformers() {
    for name in ["llama-tiny", "llama-tiny-untied"] {
        let (model, expected, tokens) = checkpoint(name);
        let loss = mean_nll(&model.decoder, &tokens);
        let off = difference(&loss.reshape(1).unwrap(), &expected["loss"]);
        assert!(off < 1e-5, "{name}: losses differ by {off}");
        let gradients = model.decoder.backward(&loss).unwrap();
        for (parameter, variable) in model.decoder.parameters() {
            let theirs = &expected[&format!("grad.{parameter}")];
            let scale = theirs.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            let off = difference(gradients.get(&variable).unwrap(), theirs);
            assert!(off < 1e-3 * scale, "{name}: {parameter} differs by {off} of {scale}");
        }
    }
}

#[test]
fn a_checkpoint_in_shards_is_described() {
    let (model, _, _) = checkpoint("llama-tiny-untied");
    assert_eq!(model.description.format, ModelFormat::Safetensors);
    let names: Vec<&str> = model.description.weights.iter().map(|w| w.name.as_str()).collect();
    assert_eq!(names.len(), 4);
    assert_eq!(names[0], "model-00001-of-00004.safetensors");
    let first = std::fs::read(fixture("llama-tiny-untied").join(names[0])).unwrap();
    let hash = blake3::hash(&first).to_hex().to_string();
    assert_eq!(model.description.weights[0].blake3, hash);
    assert!(model.description.dequantised_from.is_empty());
    assert!(model.tokenizer.is_none());
    assert!(!model.decoder.config().tie_word_embeddings);
}

/// Returns the expectations and the file of SmolLM2, or says that the tests of it are skipped.
fn smollm2() -> Option<(Value, PathBuf)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.is_file() {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "skipped: {} is not there; see `make model`", path.display()).unwrap();
        return None;
    }
    let expected = std::fs::read_to_string(fixture("smollm2.json")).unwrap();
    Some((serde_json::from_str(&expected).unwrap(), path))
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn smollm2_has_the_likelihood_of_transformers() {
    let Some((expected, path)) = smollm2() else { return };
    let model = load(&path, &Training::Frozen, 0, &Device::Cpu).unwrap();
    assert_eq!(model.description.format, ModelFormat::Gguf);
    assert_eq!(model.description.dequantised_from, ["Q4_1", "Q8_0"]);
    assert!(model.chat_template.unwrap().contains("<|im_start|>"));
    let tokenizer = model.tokenizer.unwrap();
    assert_eq!(tokenizer.eos_token().as_deref(), Some("<|im_end|>"));
    let tokens = tokenizer.encode(expected["text"].as_str().unwrap());
    assert_eq!(tokens, ids(&expected["ids"]));
    let ours = mean_nll(&model.decoder, &tokens).to_scalar::<f32>().unwrap();
    let theirs = expected["mean_nll"].as_f64().unwrap();
    assert!((f64::from(ours) - theirs).abs() < 1e-3, "{ours} and {theirs}");
}

#[test]
fn smollm2_tokenises_as_the_tokenizers_library_does() {
    let Some((expected, path)) = smollm2() else { return };
    let tokenizer = Tokenizer::from_gguf(&path).unwrap();
    let strings = expected["strings"].as_array().unwrap();
    assert!(strings.len() > 100);
    for string in strings {
        let text = string["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text), ids(&string["plain"]), "plain {text:?}");
        assert_eq!(tokenizer.encode_with_special(text), ids(&string["special"]), "{text:?}");
        assert!(tokenizer.covers(text), "{text:?}");
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
    }
    assert!(!tokenizer.covers("\u{4}"));
    assert_eq!(tokenizer.vocab_size(), 49_152);
}

#[test]
#[ignore = "writes what tests/parity/reload.py loads with transformers and peft"]
fn save_for_reload() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lm-reload");
    let mut stderr = std::io::stderr();
    let texts = ["to be or not to be".repeat(20)].into_iter();
    let tokenizer = Tokenizer::train(texts, 270, &["<|im_end|>"]).unwrap();
    let (model, _, tokens) = checkpoint("llama-tiny");
    let config = DecoderConfig { vocab_size: 270, ..model.decoder.config().clone() };
    let full = Decoder::random(&config, 3, &Device::Cpu).unwrap();
    full.save(&folder.join("full"), Some(&tokenizer)).unwrap();
    let loss = mean_nll(&full, &tokens).to_scalar::<f32>().unwrap();
    writeln!(stderr, "{}\nfull {loss}", folder.display()).unwrap();
    writeln!(stderr, "tokenizer {:?}", tokenizer.encode("to be or not")).unwrap();
    let target_modules = vec!["all-linear".to_owned()];
    let lora = Training::Lora(LoraConfig { r: 4, lora_alpha: 8.0, target_modules });
    let adapted = load(&folder.join("full"), &lora, 1, &Device::Cpu).unwrap().decoder;
    for (_, variable) in adapted.parameters() {
        variable.set(&(variable.as_tensor() + 0.1).unwrap().detach()).unwrap();
    }
    adapted.save(&folder.join("adapter"), None).unwrap();
    let loss = mean_nll(&adapted, &tokens).to_scalar::<f32>().unwrap();
    writeln!(stderr, "adapter {loss}").unwrap();
}
