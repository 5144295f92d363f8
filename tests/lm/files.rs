//! Models on disk: written, read again, damaged.

use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value as Gguf};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use swirldb::lm::{
    Decoder, DecoderConfig, LmError, LoraConfig, ModelFormat, Packed, Tokenizer, Training, load,
};

use super::{difference, tiny};

fn hidden(decoder: &Decoder) -> Tensor {
    decoder
        .hidden(&Packed { tokens: vec![1, 5, 9, 2, 60], lengths: vec![3, 2], ..Packed::default() })
        .unwrap()
}

fn open(path: &Path) -> Result<Decoder, LmError> {
    load(path, &Training::Full, 0, &Device::Cpu).map(|model| model.decoder)
}

fn saved(config: &DecoderConfig) -> (tempfile::TempDir, Decoder) {
    let folder = tempfile::tempdir().unwrap();
    let decoder = Decoder::random(config, 5, &Device::Cpu).unwrap();
    decoder.save(folder.path(), None).unwrap();
    (folder, decoder)
}

#[test]
fn a_saved_decoder_is_the_same_when_loaded() {
    for tied in [true, false] {
        let config = DecoderConfig { tie_word_embeddings: tied, rope_theta: 1234.5, ..tiny() };
        let (folder, decoder) = saved(&config);
        let again = open(folder.path()).unwrap();
        assert_eq!(again.config(), &config);
        assert_eq!(difference(&hidden(&decoder), &hidden(&again)), 0.0);
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "no partial file is left: {names:?}");
    }
}

#[test]
fn adapters_are_saved_under_pefts_names_and_set_again() {
    let (folder, _) = saved(&tiny());
    let lora = LoraConfig {
        r: 3,
        lora_alpha: 6.0,
        target_modules: vec!["q_proj".into(), "down_proj".into()],
    };
    let training = Training::Lora(lora);
    let decoder = load(folder.path(), &training, 1, &Device::Cpu).unwrap().decoder;
    for (number, (_, variable)) in decoder.parameters().iter().enumerate() {
        let changed = (variable.as_tensor() + 0.01 * (number + 1) as f64).unwrap().detach();
        variable.set(&changed).unwrap();
    }
    let adapter = folder.path().join("adapter");
    decoder.save(&adapter, None).unwrap();
    let file = adapter.join("adapter_model.safetensors");
    let tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    assert_eq!(tensors.len(), 8);
    let name = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";
    assert_eq!(tensors[name].dims(), [3, 24]);
    let json = std::fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["peft_type"], "LORA");
    assert_eq!((&json["r"], &json["lora_alpha"]), (&3.into(), &6.into()));
    let other = load(folder.path(), &training, 2, &Device::Cpu).unwrap().decoder;
    assert!(difference(&hidden(&decoder), &hidden(&other)) > 1e-4);
    other.load_parameters(&file).unwrap();
    assert_eq!(difference(&hidden(&decoder), &hidden(&other)), 0.0);
}

#[test]
fn parameters_must_agree_in_name_and_shape() {
    let (folder, decoder) = saved(&tiny());
    let file = folder.path().join("model.safetensors");
    let before = hidden(&decoder);
    let other = |config| Decoder::random(&config, 1, &Device::Cpu).unwrap();
    let error = other(DecoderConfig { n_layers: 3, ..tiny() }).load_parameters(&file).unwrap_err();
    assert!(
        matches!(&error, LmError::MissingTensor { name, .. } if name.contains("layers.2")),
        "{error}"
    );
    let error = other(DecoderConfig { n_layers: 1, ..tiny() }).load_parameters(&file).unwrap_err();
    assert!(matches!(error, LmError::UnknownTensor { count: 9, .. }), "{error}");
    let wider = other(DecoderConfig { intermediate_size: 41, ..tiny() });
    let untouched = hidden(&wider);
    let error = wider.load_parameters(&file).unwrap_err();
    let LmError::Shape { found, expected, .. } = &error else { panic!("{error}") };
    assert_eq!((found.as_slice(), expected.as_slice()), (&[24, 40][..], &[24, 41][..]));
    assert_eq!(difference(&hidden(&wider), &untouched), 0.0, "nothing is set by halves");
    decoder.load_parameters(&file).unwrap();
    assert_eq!(difference(&hidden(&decoder), &before), 0.0);
}

#[test]
fn what_is_no_model_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = |result: Result<Decoder, LmError>| result.err().unwrap().to_string();
    assert!(text(open(&folder.path().join("none"))).contains("there is no such file"));
    assert!(text(open(folder.path())).contains("no config.json"));
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "hello").unwrap();
    assert!(text(open(&file)).contains("does not begin with 'GGUF'"));
    std::fs::write(folder.path().join("adapter_config.json"), "{}").unwrap();
    assert!(text(open(folder.path())).contains("an adapter and no model"));
}

#[test]
fn other_shapes_are_refused_by_name() {
    let (folder, _) = saved(&tiny());
    let path = folder.path().join("config.json");
    let good: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (field, value, part) in [
        ("model_type", serde_json::json!("mamba"), "model_type is \"mamba\""),
        ("hidden_act", serde_json::json!("gelu"), "hidden_act is \"gelu\""),
        ("attention_bias", serde_json::json!(true), "'model.layers.0.self_attn.q_proj.bias'"),
        ("rope_scaling", serde_json::json!({"rope_type": "dynamic", "factor": 8}), "dynamic"),
        ("rope_scaling", serde_json::json!({"type": "longrope"}), "longrope"),
        (
            "rope_scaling",
            serde_json::json!({"rope_type": "linear"}),
            "'rope_scaling.factor' is null",
        ),
        ("rope_parameters", serde_json::json!({"partial_rotary_factor": 0.5}), "partial_rotary"),
        ("partial_rotary_factor", serde_json::json!(0.5), "partial_rotary_factor is 0.5"),
        ("quantization_config", serde_json::json!({"bits": 4}), "quantization_config"),
        ("hidden_size", serde_json::json!("wide"), "field 'hidden_size' is \"wide\""),
        ("num_hidden_layers", serde_json::json!(-1), "num_hidden_layers"),
        ("head_dim", serde_json::json!(7), "head_dim is 7"),
        ("vocab_size", serde_json::json!(99_999_999_999_u64), "vocab_size is 99999999999"),
        ("intermediate_size", serde_json::json!(39), "has shape [24, 40], expected [24, 39]"),
        ("tie_word_embeddings", serde_json::json!(false), "'lm_head.weight' is missing"),
        ("num_hidden_layers", serde_json::json!(1), "9 tensors have no place"),
    ] {
        let mut config = good.clone();
        config[field] = value;
        std::fs::write(&path, config.to_string()).unwrap();
        let error = open(folder.path()).err().unwrap().to_string();
        assert!(error.contains(part), "{field}: {error}");
    }
    std::fs::write(&path, "{").unwrap();
    assert!(open(folder.path()).err().unwrap().to_string().contains("not JSON"));
}

#[test]
fn damaged_safetensors_are_errors() {
    let (folder, _) = saved(&DecoderConfig { n_layers: 1, ..tiny() });
    let path = folder.path().join("model.safetensors");
    let good = std::fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        let error = open(folder.path()).err().unwrap();
        assert!(matches!(error, LmError::Damaged { .. }), "{length}: {error}");
    }
    let mut huge = good.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&path, &huge).unwrap();
    assert!(matches!(open(folder.path()).err().unwrap(), LmError::Damaged { .. }));
}

/// Returns the rows of a projection in llama.cpp's order, the inverse of what loading does.
fn permuted(weight: &Tensor, heads: usize) -> Tensor {
    let (rows, inner) = weight.dims2().unwrap();
    let split = weight.reshape((heads, 2, rows / heads / 2, inner)).unwrap();
    split.transpose(1, 2).unwrap().contiguous().unwrap().reshape((rows, inner)).unwrap()
}

/// Writes a decoder as llama.cpp would, with a tokenizer over bytes.
fn write_gguf(path: &Path, decoder: &Decoder, dtype: GgmlDType, extra: &[(&str, Gguf)]) {
    let config = decoder.config();
    let number = |n: usize| Gguf::U32(n as u32);
    let mut metadata: Vec<(&str, Gguf)> = vec![
        ("general.architecture", Gguf::String("llama".into())),
        ("llama.block_count", number(config.n_layers)),
        ("llama.context_length", number(config.context_length)),
        ("llama.embedding_length", number(config.hidden_size)),
        ("llama.feed_forward_length", number(config.intermediate_size)),
        ("llama.attention.head_count", number(config.n_heads)),
        ("llama.attention.head_count_kv", number(config.n_kv_heads)),
        ("llama.attention.key_length", number(config.head_dim)),
        ("llama.attention.layer_norm_rms_epsilon", Gguf::F32(1e-5)),
        ("llama.rope.freq_base", Gguf::F32(10_000.0)),
        ("llama.vocab_size", number(config.vocab_size)),
        ("tokenizer.chat_template", Gguf::String("{{ messages }}".into())),
    ];
    metadata.retain(|(key, _)| extra.iter().all(|(other, _)| other != key));
    metadata.extend(extra.iter().cloned());
    let tensors: Vec<(String, QTensor)> = decoder
        .parameters()
        .into_iter()
        .map(|(name, variable)| {
            let tensor = variable.as_detached_tensor();
            let tensor = match () {
                () if name.contains("q_proj") => permuted(&tensor, config.n_heads),
                () if name.contains("k_proj") => permuted(&tensor, config.n_kv_heads),
                () => tensor,
            };
            let dtype = if tensor.rank() == 1 { GgmlDType::F32 } else { dtype };
            (gguf_name(&name), QTensor::quantize(&tensor, dtype).unwrap())
        })
        .collect();
    let metadata: Vec<(&str, &Gguf)> = metadata.iter().map(|(k, v)| (*k, v)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut file = std::fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}

fn gguf_name(name: &str) -> String {
    let mut name = name.replace("model.layers.", "blk.");
    for (ours, theirs) in [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ] {
        name = name.replace(ours, theirs);
    }
    name
}

#[test]
fn gguf_rows_are_put_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for tied in [true, false] {
        let config = DecoderConfig { tie_word_embeddings: tied, ..tiny() };
        let decoder = Decoder::random(&config, 5, &Device::Cpu).unwrap();
        write_gguf(&path, &decoder, GgmlDType::F32, &[]);
        let model = load(&path, &Training::Frozen, 0, &Device::Cpu).unwrap();
        assert_eq!(model.decoder.config(), &config);
        assert_eq!(model.description.format, ModelFormat::Gguf);
        assert_eq!(model.chat_template.as_deref(), Some("{{ messages }}"));
        assert_eq!(difference(&hidden(&decoder), &hidden(&model.decoder)), 0.0);
        let file = std::fs::read(&path).unwrap();
        assert_eq!(model.description.weights[0].size_bytes, file.len() as u64);
        assert_eq!(model.description.weights[0].blake3, blake3::hash(&file).to_hex().to_string());
    }
}

#[test]
fn quantised_gguf_is_close_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let config = DecoderConfig {
        hidden_size: 32,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
        intermediate_size: 64,
        ..tiny()
    };
    let decoder = Decoder::random(&config, 5, &Device::Cpu).unwrap();
    write_gguf(&path, &decoder, GgmlDType::Q8_0, &[]);
    let model = load(&path, &Training::Frozen, 0, &Device::Cpu).unwrap();
    assert_eq!(model.description.dequantised_from, ["Q8_0"]);
    let off = difference(&hidden(&decoder), &hidden(&model.decoder));
    assert!(off > 0.0 && off < 0.1, "{off}");
}

#[test]
fn damaged_gguf_is_an_error_and_costs_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let config = DecoderConfig { n_layers: 1, vocab_size: 8, ..tiny() };
    let decoder = Decoder::random(&config, 5, &Device::Cpu).unwrap();
    write_gguf(&path, &decoder, GgmlDType::F32, &[]);
    let good = std::fs::read(&path).unwrap();
    for length in (4..good.len()).step_by(97).chain([good.len() - 33]) {
        std::fs::write(&path, &good[..length]).unwrap();
        let error = open(&path).err().unwrap_or_else(|| panic!("{length} bytes were enough"));
        assert!(matches!(error, LmError::Damaged { .. }), "{length}: {error}");
    }
    // Each eight bytes of the header in turn become a huge number; none may be believed.
    for at in 4..1400 {
        let mut bad = good.clone();
        bad[at..at + 8].copy_from_slice(&(u64::MAX / 3).to_le_bytes());
        std::fs::write(&path, &bad).unwrap();
        if let Err(error) = open(&path) {
            let named = matches!(
                error,
                LmError::Damaged { .. }
                    | LmError::Unsupported { .. }
                    | LmError::MissingTensor { .. }
                    | LmError::UnknownTensor { .. }
                    | LmError::Shape { .. }
                    | LmError::Tokenizer { .. }
            );
            assert!(named, "byte {at}: {error:?}");
        }
    }
}

#[test]
fn gguf_of_other_shapes_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let decoder = Decoder::random(&tiny(), 5, &Device::Cpu).unwrap();
    for (key, value, part) in [
        ("general.architecture", Gguf::String("mamba".into()), "architecture is 'mamba'"),
        ("llama.rope.scaling.type", Gguf::String("yarn".into()), "rope.scaling.type is 'yarn'"),
        ("llama.expert_count", Gguf::U32(8), "llama.expert_count"),
        ("general.alignment", Gguf::U32(0), "general.alignment"),
        ("llama.block_count", Gguf::U32(3), "'blk.2.attn_norm.weight' is missing"),
        ("llama.feed_forward_length", Gguf::U32(41), "expected [41, 24]"),
        ("llama.block_count", Gguf::String("two".into()), "'llama.block_count' is not"),
        ("llama.vocab_size", Gguf::U32(0), "vocab_size is 0"),
        ("tokenizer.ggml.model", Gguf::String("bert".into()), "'tokenizer.ggml.tokens' is missing"),
    ] {
        write_gguf(&path, &decoder, GgmlDType::F32, &[(key, value)]);
        let error = open(&path).err().unwrap().to_string();
        assert!(error.contains(part), "{key}: {error}");
        assert!(error.contains("model.gguf") || error.starts_with("tokenizer"), "{error}");
    }
}

#[test]
fn a_tokenizer_is_kept_with_its_model() {
    let texts = ["to be or not to be, that is the question: 1603"; 20];
    let special = ["<|endoftext|>", "<|im_end|>"];
    let texts = texts.iter().map(ToString::to_string);
    let tokenizer = Tokenizer::train(texts, 270, &special).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = DecoderConfig { vocab_size: 270, ..tiny() };
    let decoder = Decoder::random(&config, 5, &Device::Cpu).unwrap();
    decoder.save(folder.path(), Some(&tokenizer)).unwrap();
    let model = load(folder.path(), &Training::Full, 0, &Device::Cpu).unwrap();
    let again = model.tokenizer.unwrap();
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
    assert_eq!(again.eos_token().as_deref(), Some("<|im_end|>"));
    // A chat template lies in a file of its own, or in a field.
    assert_eq!(model.chat_template, None);
    std::fs::write(folder.path().join("chat_template.jinja"), "{{ x }}").unwrap();
    let model = load(folder.path(), &Training::Full, 0, &Device::Cpu).unwrap();
    assert_eq!(model.chat_template.as_deref(), Some("{{ x }}"));
    // More ids than embeddings cannot be right.
    let small = Decoder::random(&tiny(), 5, &Device::Cpu).unwrap();
    small.save(folder.path(), None).unwrap();
    let error = open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("270 ids and the model 61 embeddings"), "{error}");
}
