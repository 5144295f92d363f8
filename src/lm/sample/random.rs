//! The random numbers of a sample: one for each position of a sequence, counted and not drawn in
//! turn, so that a sample that is resumed or branched draws what it would have drawn.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Returns the number of a position, uniform in [0, 1) with 53 bits: ChaCha20 under a key made of
/// the seed, one block for each position.
pub(super) fn unit(seed: u64, position: usize) -> f64 {
    const BLOCK_WORDS: u128 = 16;
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"swirldb lm sample 1");
    hasher.update(&seed.to_le_bytes());
    let mut random = ChaCha20Rng::from_seed(*hasher.finalize().as_bytes());
    random.set_word_pos(position as u128 * BLOCK_WORDS);
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
