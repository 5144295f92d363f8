//! Seeded random numbers for weights.
//!
//! Every tensor has its own stream, chosen by its name: the numbers of one tensor depend on the
//! seed and its name alone, not on which other tensors are made or in which order.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The generator of one tensor.
pub(crate) struct TensorRandom(ChaCha20Rng);

impl TensorRandom {
    /// Returns the generator of the tensor `name` under `seed`.
    pub(crate) fn new(seed: u64, name: &str) -> TensorRandom {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"swirldb lm tensor 1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        TensorRandom(ChaCha20Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// Returns a number in [0, 1) with 53 random bits.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns `count` numbers uniform in [-bound, bound).
    pub(crate) fn uniform(&mut self, count: usize, bound: f64) -> Vec<f32> {
        (0..count).map(|_| ((2.0 * self.unit() - 1.0) * bound) as f32).collect()
    }

    /// Returns `count` numbers of the normal distribution with mean 0, by Box and Muller's
    /// transform.
    pub(crate) fn normal(&mut self, count: usize, deviation: f64) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt() * deviation;
            let (sine, cosine) = (std::f64::consts::TAU * self.unit()).sin_cos();
            values.push((radius * cosine) as f32);
            values.push((radius * sine) as f32);
        }
        values.truncate(count);
        values
    }
}
