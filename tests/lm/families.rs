//! Checkpoints of every family: written, read again, as GGUF, and with adapters merged.

use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value as Gguf};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use swirldb::lm::{
    Decoder, DecoderConfig, Family, LmError, LoraConfig, Packed, RopeScaling, Training, load,
};

use super::{difference, families};

fn hidden(decoder: &Decoder) -> Tensor {
    let tokens = vec![1, 5, 9, 2, 60, 7, 7, 30, 11, 12];
    decoder.hidden(&Packed { tokens, lengths: vec![7, 3], ..Packed::default() }).unwrap()
}

/// Returns a decoder whose norms and biases are not what they begin with.
fn random(config: &DecoderConfig) -> Decoder {
    let decoder = Decoder::random(config, 5, &Device::Cpu).unwrap();
    for (number, (_, variable)) in decoder.parameters().iter().enumerate() {
        if variable.rank() == 1 {
            let noise = super::numbers(number as u64, variable.elem_count());
            let noise = Tensor::from_vec(noise, variable.shape().clone(), &Device::Cpu).unwrap();
            variable.set(&(variable.as_tensor() + (noise * 0.3).unwrap()).unwrap()).unwrap();
        }
    }
    decoder
}

#[test]
fn a_saved_decoder_of_every_family_is_the_same_when_loaded() {
    for config in families() {
        let folder = tempfile::tempdir().unwrap();
        let decoder = random(&config);
        decoder.save(folder.path(), None).unwrap();
        let again = load(folder.path(), &Training::Full, 0, &Device::Cpu).unwrap().decoder;
        assert_eq!(again.config(), &config);
        assert_eq!(difference(&hidden(&decoder), &hidden(&again)), 0.0, "{:?}", config.family);
    }
}

#[test]
fn merged_adapters_give_what_adapters_beside_weights_give() {
    for config in families() {
        let folder = tempfile::tempdir().unwrap();
        random(&config).save(folder.path(), None).unwrap();
        let target_modules = vec!["all-linear".to_owned()];
        let lora = Training::Lora(LoraConfig { r: 3, lora_alpha: 6.0, target_modules });
        let adapted = load(folder.path(), &lora, 1, &Device::Cpu).unwrap().decoder;
        let before = hidden(&adapted);
        for (_, variable) in adapted.parameters() {
            variable.set(&(variable.as_tensor() + 0.05).unwrap().detach()).unwrap();
        }
        let beside = hidden(&adapted);
        assert!(difference(&before, &beside) > 1e-2);
        let merged = folder.path().join("merged");
        adapted.merged().unwrap().save(&merged, None).unwrap();
        let merged = load(&merged, &Training::Full, 0, &Device::Cpu).unwrap().decoder;
        assert_eq!(merged.config(), &config);
        let off = difference(&hidden(&merged), &beside);
        assert!(off < 2e-5, "{:?}: {off}", config.family);
    }
}

/// Returns the rows of a projection in llama.cpp's order, the inverse of what loading does.
fn permuted(weight: &Tensor, heads: usize) -> Tensor {
    let rows = weight.dim(0).unwrap();
    let inner = weight.elem_count() / rows;
    let split = weight.reshape((heads, 2, rows / heads / 2, inner)).unwrap();
    let moved = split.transpose(1, 2).unwrap().contiguous().unwrap();
    moved.reshape(weight.shape()).unwrap()
}

/// Returns the name that llama.cpp gives a weight.
fn gguf_name(name: &str, config: &DecoderConfig) -> String {
    let mut name = name.replace("model.layers.", "blk.");
    let post_attention = if config.branch_norms { "post_attention_norm" } else { "ffn_norm" };
    for (ours, theirs) in [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", post_attention),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
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

/// Writes a decoder as llama.cpp's converter would.
fn write_gguf(path: &Path, decoder: &Decoder, more: &[(&str, Gguf)]) {
    let config = decoder.config();
    let architecture = config.family.gguf_architecture();
    let number = |n: usize| Gguf::U32(n as u32);
    let float = |x: f64| Gguf::F32(x as f32);
    let mut entries = vec![
        ("block_count", number(config.n_layers)),
        ("context_length", number(config.context_length)),
        ("embedding_length", number(config.hidden_size)),
        ("feed_forward_length", number(config.intermediate_size)),
        ("attention.head_count", number(config.n_heads)),
        ("attention.head_count_kv", number(config.n_kv_heads)),
        ("attention.key_length", number(config.head_dim)),
        ("attention.layer_norm_rms_epsilon", float(config.rms_norm_eps)),
        ("rope.freq_base", float(config.rope_theta)),
        ("vocab_size", number(config.vocab_size)),
    ];
    if let RopeScaling::Linear { factor } = config.rope_scaling {
        entries.push(("rope.scaling.type", Gguf::String("linear".to_owned())));
        entries.push(("rope.scaling.factor", float(factor)));
    }
    if let Some(window) = config.sliding_window {
        entries.push(("attention.sliding_window", number(window)));
    }
    if let Some(cap) = config.attention_soft_cap {
        entries.push(("attn_logit_softcapping", float(cap)));
    }
    if let Some(cap) = config.logit_soft_cap {
        entries.push(("final_logit_softcapping", float(cap)));
    }
    entries.retain(|(key, _)| more.iter().all(|(other, _)| other != key));
    entries.extend(more.iter().cloned());
    let mut metadata: Vec<(String, Gguf)> =
        entries.into_iter().map(|(key, value)| (format!("{architecture}.{key}"), value)).collect();
    let name = Gguf::String(architecture.to_owned());
    metadata.push(("general.architecture".to_owned(), name));
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for (name, variable) in decoder.parameters() {
        let tensor = variable.as_detached_tensor();
        let llama = config.family == Family::Llama;
        let tensor = match () {
            () if llama && name.contains("q_proj") => permuted(&tensor, config.n_heads),
            () if llama && name.contains("k_proj") => permuted(&tensor, config.n_kv_heads),
            () if config.norm_adds_one && name.ends_with("norm.weight") => (tensor + 1.0).unwrap(),
            () => tensor,
        };
        tensors.push((gguf_name(&name, config), tensor));
    }
    if let RopeScaling::Llama3 { .. } = config.rope_scaling {
        tensors.push(("rope_freqs.weight".to_owned(), divisors(config)));
    }
    let tensors: Vec<(String, QTensor)> = tensors
        .iter()
        .map(|(name, x)| (name.clone(), QTensor::quantize(x, GgmlDType::F32).unwrap()))
        .collect();
    let metadata: Vec<(&str, &Gguf)> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    gguf_file::write(&mut std::fs::File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

/// Returns the divisors of Llama 3's frequencies, as llama.cpp's converter computes them.
fn divisors(config: &DecoderConfig) -> Tensor {
    let (factor, low, high, length) = (8.0, 1.0, 4.0, 8192.0);
    let values: Vec<f32> = (0..config.head_dim / 2)
        .map(|i| {
            let exponent = 2.0 * i as f64 / config.head_dim as f64;
            let wavelength = std::f64::consts::TAU * config.rope_theta.powf(exponent);
            if wavelength < length / high {
                return 1.0;
            }
            if wavelength > length / low {
                return factor as f32;
            }
            let smooth = (length / wavelength - low) / (high - low);
            (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
        })
        .collect();
    Tensor::new(values, &Device::Cpu).unwrap()
}

/// Returns the shape as a GGUF file can say it: what llama.cpp has in its code is what it has.
fn as_gguf(config: DecoderConfig) -> DecoderConfig {
    let mut config = config;
    if let RopeScaling::Llama3 { original_length, .. } = &mut config.rope_scaling {
        *original_length = 8192;
        config.rope_theta = 500_000.0;
    }
    match config.family {
        // llama.cpp has no window for them.
        Family::Qwen2 | Family::Qwen3 => {
            config.sliding_window = None;
            config.sliding_layers.clear();
        }
        Family::Gemma2 | Family::Gemma3 => {
            config.query_scalar = Some(config.head_dim as f64);
            let every = if config.family == Family::Gemma3 { 6 } else { 2 };
            config.n_layers = 7;
            config.sliding_layers = (1..=7).map(|layer| layer % every != 0).collect();
        }
        Family::Llama => {}
    }
    config
}

#[test]
fn gguf_files_of_every_family_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for config in families().into_iter().map(as_gguf) {
        let decoder = random(&config);
        write_gguf(&path, &decoder, &[]);
        let again = load(&path, &Training::Frozen, 0, &Device::Cpu).unwrap().decoder;
        assert_eq!(again.config(), &config);
        // A 1 that was added and taken off leaves a rounding.
        let off = difference(&hidden(&decoder), &hidden(&again));
        let bound = if config.norm_adds_one { 2e-5 } else { 0.0 };
        assert!(off <= bound, "{:?}: {off}", config.family);
    }
}

#[test]
fn gguf_files_that_say_something_else_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let shapes: Vec<DecoderConfig> = families().into_iter().map(as_gguf).collect();
    let text = |text: &str| Gguf::String(text.to_owned());
    for (number, key, value, part) in [
        (0, "rope.freq_base", Gguf::F32(10_000.0), "rope_freqs.weight is not Llama 3's"),
        (0, "rope.scaling.type", text("yarn"), "llama.rope.scaling.type is 'yarn'"),
        (1, "attention.sliding_window", Gguf::U32(8), "qwen2.attention.sliding_window is"),
        (2, "attention.key_length", Gguf::U32(8), "has shape [6], expected [8]"),
        (2, "expert_count", Gguf::U32(8), "qwen3.expert_count is"),
        (3, "attention.value_length", Gguf::U32(8), "with heads of 6"),
        (4, "attention.sliding_window", text("x"), "'gemma3.attention.sliding_window' is not"),
        (4, "block_count", Gguf::U32(u32::MAX), "number of layers is 4294967295"),
    ] {
        write_gguf(&path, &random(&shapes[number]), &[(key, value)]);
        let error = load(&path, &Training::Frozen, 0, &Device::Cpu).err().unwrap();
        assert!(error.to_string().contains(part), "{key}: {error}");
    }
}

#[test]
fn a_checkpoint_with_pictures_is_read_in_both_namings() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models");
    let fixture = fixture.join("gemma3-pictures-tiny");
    let open = |path: &Path| load(path, &Training::Frozen, 0, &Device::Cpu).unwrap();
    let expected = open(&fixture);
    let folder = tempfile::tempdir().unwrap();
    let tensors = fixture.join("model.safetensors");
    let tensors = candle_core::safetensors::load(tensors, &Device::Cpu).unwrap();
    let renamed: std::collections::HashMap<String, Tensor> = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let (prefixes, rest) = match name.strip_prefix("model.language_model.") {
                Some(rest) => ("language_model.model.", rest.to_owned()),
                None => match name.strip_prefix("language_model.model.") {
                    Some(rest) => ("model.language_model.", rest.to_owned()),
                    None => ("", name.strip_prefix("model.").unwrap_or(&name).to_owned()),
                },
            };
            (format!("{prefixes}{rest}"), tensor)
        })
        .collect();
    let path = folder.path().join("model.safetensors");
    candle_core::safetensors::save(&renamed, path).unwrap();
    std::fs::copy(fixture.join("config.json"), folder.path().join("config.json")).unwrap();
    let again = open(folder.path());
    assert_eq!(difference(&hidden(&expected.decoder), &hidden(&again.decoder)), 0.0);
    assert_eq!(again.description.left_out, expected.description.left_out);
}

#[test]
fn weights_of_another_family_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = families().remove(2);
    random(&config).save(folder.path(), None).unwrap();
    let mut json = config.to_json(None);
    json["model_type"] = "llama".into();
    std::fs::write(folder.path().join("config.json"), json.to_string()).unwrap();
    let error = load(folder.path(), &Training::Full, 0, &Device::Cpu).err().unwrap();
    assert!(
        matches!(&error, LmError::UnknownTensor { name, .. } if name.contains("k_norm")),
        "{error}"
    );
}
