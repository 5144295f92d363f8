//! The language model: operations against second implementations, gradients, files, tokenizers.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod decoder;
mod files;
mod ops;
mod parity;
mod tokenizer;

use candle_core::Tensor;
use swirldb::lm::DecoderConfig;

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
    }
}
