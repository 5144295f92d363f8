//! Random numbers that are the same everywhere.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of numbers that a seed and a name determine.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    /// Returns the stream `name` of a seed.
    pub(super) fn new(seed: u64, name: &str) -> Random {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        Random(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// Returns a number below `end`, which is above 0. The high bits of a product of 128 bits:
    /// the bias is below `end` / 2^64.
    pub(super) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.0.next_u64()) * end as u128) >> 64) as usize
    }
}
