//! How alike two texts are: MinHash (Broder 1997) over runs of three words.
//!
//! A text is the set of its shingles, three words next to each other (all of its words where it
//! has fewer). The signature keeps for each of [`HASHES`] hash functions the least hash of a
//! shingle; the share of functions on which two signatures agree estimates the Jaccard similarity
//! of the two sets, with a standard error of at most 1 / (2 √128) = .044.
//!
//! To find texts alike among many, signatures are cut into [`BANDS`] bands of [`ROWS`] hashes
//! (Rajaraman and Ullman 2011, chapter 3): texts of similarity s share a band with probability
//! 1 - (1 - s⁴)³², which is .97 at s = .57 and .05 at s = .2.
//!
//! Signatures depend on the words alone and never change between versions or machines.

use super::words::Words;

/// Hash functions of a signature.
pub const HASHES: usize = 128;

/// Bands of a signature.
pub const BANDS: usize = 32;

/// Hashes of a band.
pub const ROWS: usize = HASHES / BANDS;

/// Words of a shingle.
const SHINGLE_WORDS: usize = 3;

/// A Mersenne prime: hash functions are `(a x + b) mod p`, as in Carter and Wegman (1979).
const PRIME: u64 = (1 << 61) - 1;

/// The least hashes of a text's shingles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature([u64; HASHES]);

impl Signature {
    /// Returns the signature of a text; `None` where it has no word.
    pub fn of(text: &str) -> Option<Signature> {
        let shingles = shingles(text);
        if shingles.is_empty() {
            return None;
        }
        let mut least = [u64::MAX; HASHES];
        let mut seed = 0;
        for least in &mut least {
            let (a, b) = (1 + next(&mut seed) % (PRIME - 1), next(&mut seed) % PRIME);
            let hash = |x: &u64| {
                ((u128::from(a) * u128::from(*x) + u128::from(b)) % u128::from(PRIME)) as u64
            };
            *least = shingles.iter().map(hash).min().unwrap_or(u64::MAX);
        }
        Some(Signature(least))
    }

    /// Returns the estimate of the Jaccard similarity, in [0, 1].
    pub fn similarity(&self, other: &Signature) -> f64 {
        let same = self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count();
        same as f64 / HASHES as f64
    }

    /// Returns a number for each band; texts that share one are likely alike.
    pub fn bands(&self) -> [i64; BANDS] {
        let mut bands = [0; BANDS];
        for (number, (band, hashes)) in bands.iter_mut().zip(self.0.chunks(ROWS)).enumerate() {
            // The band's number is part of it, so that only the same band of two texts is equal.
            let mut mixed = number as u64;
            for hash in hashes {
                mixed ^= *hash;
                mixed = next(&mut mixed);
            }
            *band = mixed as i64;
        }
        bands
    }
}

/// Returns the hashes of the text's shingles, below [`PRIME`], each once.
fn shingles(text: &str) -> Vec<u64> {
    let mut words = Vec::new();
    let mut text_words = Words::new(text);
    let mut word = String::new();
    while text_words.read(&mut word) {
        words.push(hash(word.as_bytes()));
    }
    let width = SHINGLE_WORDS.min(words.len()).max(1);
    let mixed = |words: &[u64]| {
        let mut mixed = words.len() as u64;
        for word in words {
            mixed = next(&mut (mixed ^ word));
        }
        mixed % PRIME
    };
    let mut shingles: Vec<u64> = words.windows(width).map(mixed).collect();
    shingles.sort_unstable();
    shingles.dedup();
    shingles
}

/// FNV-1a (Fowler, Noll and Vo), 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The next number of SplitMix64 (Steele, Lea and Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
