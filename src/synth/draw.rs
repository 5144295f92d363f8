//! Random numbers that are the same everywhere.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of numbers that a seed and a name determine. Streams of other names are independent,
/// so that one part of the data can change without moving the others.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// Returns the stream `name` of a seed.
    pub(super) fn new(seed: u64, name: &str) -> Draw {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        Draw(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// Returns a number below `end`, which is above 0. The high bits of a product of 128 bits:
    /// the bias is below `end` / 2^64.
    pub(super) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.0.next_u64()) * end as u128) >> 64) as usize
    }

    /// Returns a number of `start..end`.
    pub(super) fn within(&mut self, start: usize, end: usize) -> usize {
        start + self.below(end - start)
    }

    /// Returns whether an event of this many percent happens.
    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// Returns one of the choices, of which there is at least one.
    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Puts the items in random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}
