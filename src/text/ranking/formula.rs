//! BM25, in operations that are monotone after rounding too.

use super::error::RankingError;

/// The parameters of BM25.
///
/// `k1 = 0.9` and `b = 0.4` are what Anserini's published figures use (Lin and others 2016).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bm25 {
    k1: f64,
    b: f64,
}

impl Default for Bm25 {
    fn default() -> Bm25 {
        Bm25 { k1: 0.9, b: 0.4 }
    }
}

impl Bm25 {
    /// Returns the parameters: `k1`, how slowly further occurrences of a term stop counting, and
    /// `b`, how much longer documents count less.
    ///
    /// # Errors
    /// `BadParameter` unless k1 is from 0 to 1000 and b from 0 to 1.
    pub fn new(k1: f64, b: f64) -> Result<Bm25, RankingError> {
        let refuse = |name, found: f64, expected| {
            Err(RankingError::BadParameter { name, found: found.to_string(), expected })
        };
        if !(0.0..=1000.0).contains(&k1) {
            return refuse("k1", k1, "a number from 0 to 1000");
        }
        if !(0.0..=1.0).contains(&b) {
            return refuse("b", b, "a number from 0 to 1");
        }
        Ok(Bm25 { k1, b })
    }

    /// Returns how slowly further occurrences of a term stop counting.
    pub fn k1(&self) -> f64 {
        self.k1
    }

    /// Returns how much longer documents count less.
    pub fn b(&self) -> f64 {
        self.b
    }

    /// Returns what the lengths of a field of `tokens` tokens in `documents` documents do.
    pub(super) fn damping(&self, tokens: u64, documents: u32) -> Damping {
        let average = tokens as f64 / f64::from(documents);
        // A field without a token has no postings, and so nothing that is divided by.
        let slope = if tokens == 0 { 0.0 } else { self.k1 * self.b / average };
        Damping { constant: self.k1 * (1.0 - self.b), slope }
    }
}

/// Returns the inverse document frequency of a term (Lucene since version 8).
///
/// The logarithm of the system's library differs in the last bit from one to the next, and from
/// one processor to another; the one of `libm` is the same instructions everywhere.
pub(super) fn inverse_document_frequency(documents: u32, document_frequency: u32) -> f64 {
    let (documents, frequency) = (f64::from(documents), f64::from(document_frequency));
    libm::log(1.0 + (documents - frequency + 0.5) / (frequency + 0.5))
}

/// `k1 * (1 - b + b * length / average)` as a line over the length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Damping {
    constant: f64,
    slope: f64,
}

/// How often a term occurs in a document, and how many tokens the document has in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Occurrence {
    pub frequency: u32,
    pub length: u32,
}

/// What a query's contributions are rounded to, so that sums of them are exact.
///
/// Numbers that are multiples of one power of two, whose sum is less than 2^53 times it, are added
/// without rounding, in whatever order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grain {
    /// The power of two.
    unit: f64,
    /// 2^52 units: from there on the numbers that there are lie one unit apart.
    coarse: f64,
}

impl Grain {
    /// Returns the grain for contributions of at most `weights` each: they and their sum are at
    /// most 2^51 units.
    pub fn new(weights: impl Iterator<Item = f64>) -> Grain {
        // Whatever the order and the rounding of this sum, twice as much is more than it.
        let sum: f64 = weights.sum();
        // The exponent alone is the greatest power of two that is not greater.
        let power = f64::from_bits(sum.to_bits() & (0x7ff << 52));
        let coarse = 8.0 * power;
        Grain { unit: coarse / (1u64 << 52) as f64, coarse }
    }

    /// Returns the multiple next to a number from 0 to a weight, but not 0.
    #[inline]
    fn round(&self, number: f64) -> f64 {
        let rounded = (number + self.coarse) - self.coarse;
        // `max` would look for numbers that are none.
        if rounded < self.unit { self.unit } else { rounded }
    }
}

/// What one term of a query adds to the score of documents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contribution {
    /// `weight(field) * idf * times in the query`.
    pub weight: f64,
    pub damping: Damping,
    pub grain: Grain,
}

impl Contribution {
    /// Returns what the term adds for a document where it occurs so; more than 0, about `weight` at
    /// most, and a multiple of the grain.
    ///
    /// Not below its value for a lower frequency or a greater length, to the last bit: each
    /// operation is monotone and so is its rounding. `weight * tf / (tf + damping)`, the same
    /// number before rounding, is not: there the two sides of the division grow together.
    #[inline]
    pub fn of(&self, occurrence: Occurrence) -> f64 {
        self.of_ratio(self.ratio(occurrence))
    }

    #[inline]
    fn ratio(&self, occurrence: Occurrence) -> f64 {
        let damping = self.damping.constant + self.damping.slope * f64::from(occurrence.length);
        damping / f64::from(occurrence.frequency)
    }

    #[inline]
    fn of_ratio(&self, ratio: f64) -> f64 {
        self.grain.round(self.weight / (1.0 + ratio))
    }

    /// Returns the most that the term adds for any of these occurrences, 0 for none.
    pub fn most(&self, occurrences: impl Iterator<Item = Occurrence>) -> f64 {
        let ratios = occurrences.map(|occurrence| self.ratio(occurrence));
        let least = ratios.reduce(|a, b| if b < a { b } else { a });
        least.map_or(0.0, |ratio| self.of_ratio(ratio))
    }

    /// Puts what the term adds for many occurrences, given side by side, into `to`: the same as
    /// [`Contribution::of`], as many at once as the processor divides.
    #[inline]
    pub fn of_all(&self, frequencies: &[u32], lengths: &[u32], to: &mut [f64]) {
        for ((frequency, length), to) in frequencies.iter().zip(lengths).zip(to) {
            *to = self.of(Occurrence { frequency: *frequency, length: *length });
        }
    }
}
