//! The language model: operations against second implementations, gradients, files, tokenizers.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod branches;
mod config;
mod decoder;
mod device;
mod divergence;
mod families;
mod files;
mod ops;
mod parity;
mod sample;
mod timing;
mod tokenizer;

use candle_core::Tensor;
use swirldb::lm::{Activation, DecoderConfig, Family, RopeScaling};

/// Returns numbers in [-1, 1) from a seed: a small linear congruential generator.
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
        })
        .collect()
}

/// Returns the largest absolute difference of two tensors of one shape.
pub fn difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Returns a small configuration.
pub fn tiny() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 61,
        hidden_size: 24,
        intermediate_size: 40,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 6,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-5,
        context_length: 64,
        tie_word_embeddings: true,
        ..DecoderConfig::default()
    }
}

/// Returns the shape of SmolLM2-135M.
pub fn smollm2() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 49_152,
        hidden_size: 576,
        intermediate_size: 1536,
        n_layers: 30,
        n_heads: 9,
        n_kv_heads: 3,
        head_dim: 64,
        rope_theta: 100_000.0,
        rms_norm_eps: 1e-5,
        context_length: 8192,
        tie_word_embeddings: true,
        ..DecoderConfig::default()
    }
}

/// Returns a small configuration of every family, with everything that each adds.
pub fn families() -> Vec<DecoderConfig> {
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_length: 16,
    };
    let windows =
        DecoderConfig { sliding_window: Some(3), sliding_layers: vec![true, false], ..tiny() };
    let gemma2 = DecoderConfig {
        family: Family::Gemma2,
        norm_adds_one: true,
        branch_norms: true,
        activation: Activation::GeluTanh,
        embedding_scaled: true,
        query_scalar: Some(9.0),
        attention_soft_cap: Some(2.0),
        logit_soft_cap: Some(3.0),
        ..windows.clone()
    };
    vec![
        DecoderConfig {
            rope_scaling: llama3,
            query_key_value_bias: true,
            output_bias: true,
            feed_forward_bias: true,
            ..tiny()
        },
        DecoderConfig {
            family: Family::Qwen2,
            query_key_value_bias: true,
            tie_word_embeddings: false,
            ..windows
        },
        DecoderConfig { family: Family::Qwen3, query_key_norms: true, ..tiny() },
        gemma2.clone(),
        DecoderConfig {
            family: Family::Gemma3,
            query_key_norms: true,
            attention_soft_cap: None,
            logit_soft_cap: None,
            rope_theta: 1e6,
            rope_local_theta: Some(10_000.0),
            rope_scaling: RopeScaling::Linear { factor: 8.0 },
            ..gemma2
        },
    ]
}
