//! The decoder against transformers: tests/parity/ holds the scripts that wrote the expectations.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;
use swirldb::lm::{
    Decoder, LoadedModel, LoraConfig, ModelFormat, Packed, Tokenizer, Training, load,
};

use super::difference;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(name)
}

/// Returns the mean negative log-likelihood of every token after the first.
fn mean_nll(decoder: &Decoder, tokens: &[u32]) -> Tensor {
    let batch =
        Packed { tokens: tokens.to_vec(), lengths: vec![tokens.len()], ..Packed::default() };
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

/// Every checkpoint: the first two are of one sequence, the others of two.
pub const CHECKPOINTS: [&str; 8] = [
    "llama-tiny",
    "llama-tiny-untied",
    "llama3-tiny",
    "qwen2-tiny",
    "qwen3-tiny",
    "gemma2-tiny",
    "gemma3-tiny",
    "gemma3-pictures-tiny",
];

/// Returns the sequences of a checkpoint in one batch, with the rows and targets of its loss.
fn packed(expected: &HashMap<String, Tensor>, tokens: Vec<u32>) -> (Packed, Vec<u32>, Vec<u32>) {
    let lengths: Vec<usize> = match expected.get("lengths") {
        Some(lengths) => {
            lengths.to_vec1::<i32>().unwrap().into_iter().map(|n| n as usize).collect()
        }
        None => vec![tokens.len()],
    };
    let mut rows = Vec::new();
    let mut start = 0;
    for length in &lengths {
        rows.extend((start..start + length - 1).map(|row| row as u32));
        start += length;
    }
    let targets = rows.iter().map(|row| tokens[*row as usize + 1]).collect();
    (Packed { tokens, lengths, ..Packed::default() }, rows, targets)
}

#[test]
fn logits_are_those_of_transformers() {
    for name in CHECKPOINTS {
        let (model, expected, tokens) = checkpoint(name);
        let (batch, _, _) = packed(&expected, tokens);
        for hidden in [
            model.decoder.hidden(&batch).unwrap(),
            model.decoder.hidden_by_operations(&batch).unwrap(),
        ] {
            let off = difference(&model.decoder.logits(&hidden).unwrap(), &expected["logits"]);
            assert!(off < 1e-4, "{name}: logits differ by {off}");
        }
    }
}

#[test]
fn gradients_are_those_of_transformers() {
    for name in CHECKPOINTS {
        let (model, expected, tokens) = checkpoint(name);
        let (batch, rows, targets) = packed(&expected, tokens);
        let loss = |hidden: Tensor| {
            let log_probs = model.decoder.log_probs(&hidden, &rows, &targets).unwrap();
            log_probs.mean_all().unwrap().neg().unwrap()
        };
        let whole = loss(model.decoder.hidden(&batch).unwrap());
        let off = difference(&whole.reshape(1).unwrap(), &expected["loss"]);
        assert!(off < 1e-5, "{name}: losses differ by {off}");
        let single = loss(model.decoder.hidden_by_operations(&batch).unwrap());
        let (whole, single) = (model.decoder.backward(&whole).unwrap(), single.backward().unwrap());
        let parameters = model.decoder.parameters();
        let theirs = expected.keys().filter(|key| key.starts_with("grad.")).count();
        assert_eq!(parameters.len(), theirs, "{name}");
        for (parameter, variable) in parameters {
            let theirs = &expected[&format!("grad.{parameter}")];
            let scale = theirs.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            for gradients in [&whole, &single] {
                let off = difference(gradients.get(&variable).unwrap(), theirs);
                assert!(off < 1e-3 * scale, "{name}: {parameter} differs by {off} of {scale}");
            }
        }
    }
}

#[test]
fn what_text_needs_nothing_of_is_left_out_and_said() {
    let (model, _, _) = checkpoint("gemma3-pictures-tiny");
    let parts = &model.description.left_out;
    assert_eq!(parts.len(), 2, "{parts:?}");
    assert!(parts[0].starts_with("multi_modal_projector: 2 tensors"), "{parts:?}");
    assert!(parts[1].starts_with("vision_tower: "), "{parts:?}");
    assert_eq!(model.description.dequantised_from, ["F16"]);
    let (model, _, _) = checkpoint("qwen2-tiny");
    assert_eq!(model.description.dequantised_from, ["BF16"]);
    assert!(model.description.left_out.is_empty());
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
    writeln!(stderr, "{}", folder.display()).unwrap();
    let texts = ["to be or not to be".repeat(20)].into_iter();
    let tokenizer = Tokenizer::train(texts, 270, &["<|im_end|>"]).unwrap();
    writeln!(stderr, "tokenizer {:?}", tokenizer.encode("to be or not")).unwrap();
    for name in CHECKPOINTS {
        let folder = folder.join(name);
        let (model, _, tokens) = checkpoint(name);
        let mut say = |what: &str, decoder: &Decoder| {
            let loss = mean_nll(decoder, &tokens).to_scalar::<f32>().unwrap();
            writeln!(stderr, "{name} {what} {loss:.5}").unwrap();
        };
        model.decoder.save(&folder.join("full"), Some(&tokenizer)).unwrap();
        say("full", &model.decoder);
        let target_modules = vec!["all-linear".to_owned()];
        let lora = Training::Lora(LoraConfig { r: 4, lora_alpha: 8.0, target_modules });
        let adapted = load_without_tokenizer(&folder.join("full"), &lora);
        for (_, variable) in adapted.parameters() {
            variable.set(&(variable.as_tensor() + 0.03).unwrap().detach()).unwrap();
        }
        adapted.save(&folder.join("adapter"), None).unwrap();
        say("adapter", &adapted);
        let merged = adapted.merged().unwrap();
        merged.save(&folder.join("merged"), None).unwrap();
        say("merged", &merged);
    }
}

/// Loads a model whose tokenizer has more ids than the model, which is refused otherwise.
fn load_without_tokenizer(directory: &Path, training: &Training) -> Decoder {
    let hidden = directory.join("tokenizer.hidden");
    std::fs::rename(directory.join("tokenizer.json"), &hidden).unwrap();
    let model = load(directory, training, 1, &Device::Cpu).unwrap();
    std::fs::rename(hidden, directory.join("tokenizer.json")).unwrap();
    model.decoder
}
