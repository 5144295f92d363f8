//! Bounds of blocks: which occurrences no document of a block goes beyond.
//!
//! For each term in more documents than a block of postings holds, and each of its blocks:
//!
//! ```text
//!   file   terms · blocks · pairs                             three counts
//!          start low · start high · first block   by term     ascending; start: where the term's
//!                                                             postings lie in tantivy's file
//!          last document · first pair             by block    and one more for the end
//!          frequency · length                     by pair
//! ```
//!
//! The pairs of a block are those that no other one beats in both ways: each document of the block
//! has, for one of them, at most its frequency and at least its length. Terms with one block have
//! no entry: their block is read anyway.

use std::ops::Range;
use std::path::Path;

use super::error::RankingError;
use super::files::{Numbers, NumbersRef};
use super::formula::{Contribution, Occurrence};

/// The documents of a full block of tantivy's postings.
pub const BLOCK_DOCUMENTS: usize = 128;

/// From this frequency on, occurrences of a block are bounded by one pair.
const FREQUENCIES: usize = 64;

const HEAD: usize = 3;
const TERM: usize = 3;
const BLOCK: usize = 2;
const PAIR: usize = 2;

/// Collects the bounds of one field of a segment, term by term in the order of their postings.
#[derive(Default)]
pub struct BoundsWriter {
    terms: Vec<u32>,
    blocks: Vec<u32>,
    pairs: Vec<u32>,
}

impl BoundsWriter {
    /// Begins a term whose postings begin at `start`.
    pub fn begin_term(&mut self, start: u64) {
        let first_block = (self.blocks.len() / BLOCK) as u32;
        self.terms.extend([start as u32, (start >> 32) as u32, first_block]);
    }

    /// Adds a block of the term: its documents, ascending, and what occurs in each.
    pub fn add_block(&mut self, last_document: u32, occurrences: impl Iterator<Item = Occurrence>) {
        self.blocks.extend([last_document, (self.pairs.len() / PAIR) as u32]);
        let mut shortest = [u32::MAX; FREQUENCIES];
        let mut most = 0;
        for Occurrence { frequency, length } in occurrences {
            let place = &mut shortest[(frequency as usize).min(FREQUENCIES - 1)];
            *place = length.min(*place);
            most = frequency.max(most);
        }
        let mut beaten = u32::MAX;
        let top = (most as usize).min(FREQUENCIES - 1);
        for (frequency, length) in shortest.iter().enumerate().take(top + 1).rev() {
            if *length < beaten {
                beaten = *length;
                let frequency = if frequency == top { most } else { frequency as u32 };
                self.pairs.extend([frequency, *length]);
            }
        }
    }

    /// Returns the numbers of the file.
    pub fn finish(mut self) -> impl Iterator<Item = u32> {
        let (terms, blocks) = (self.terms.len() / TERM, self.blocks.len() / BLOCK);
        let pairs = self.pairs.len() / PAIR;
        self.terms.extend([u32::MAX, u32::MAX, blocks as u32]);
        self.blocks.extend([u32::MAX, pairs as u32]);
        let head = [terms as u32, blocks as u32, pairs as u32];
        head.into_iter().chain(self.terms).chain(self.blocks).chain(self.pairs)
    }
}

/// The bounds of one field of a segment.
pub struct Bounds {
    numbers: Numbers,
    terms: usize,
    blocks: usize,
}

impl Bounds {
    /// Returns the bounds that `numbers`, the content of `file`, hold.
    ///
    /// # Errors
    /// `Damaged` where the counts are not those of the file.
    pub fn new(numbers: Numbers, file: &Path) -> Result<Bounds, RankingError> {
        let all = numbers.all();
        let [terms, blocks, pairs] = [0, 1, 2].map(|at| all.get(at) as usize);
        let expected = HEAD + (terms + 1) * TERM + (blocks + 1) * BLOCK + pairs * PAIR;
        if all.len() != expected {
            let reason = format!("{} numbers where its head says {expected}", all.len());
            return Err(RankingError::damaged(file, reason));
        }
        Ok(Bounds { numbers, terms, blocks })
    }

    /// Returns the bounds of the term whose postings begin at `start`, `None` for one of a single
    /// block.
    pub fn term(&self, start: u64) -> Option<TermBounds<'_>> {
        let (_, rest) = self.numbers.all().split(HEAD)?;
        let (terms, rest) = rest.split((self.terms + 1) * TERM)?;
        let (blocks, pairs) = rest.split((self.blocks + 1) * BLOCK)?;
        let start_of = |term: usize| {
            u64::from(terms.get(term * TERM)) | u64::from(terms.get(term * TERM + 1)) << 32
        };
        let mut range = 0..self.terms;
        while !range.is_empty() {
            let middle = range.start + range.len() / 2;
            match start_of(middle).cmp(&start) {
                std::cmp::Ordering::Less => range.start = middle + 1,
                std::cmp::Ordering::Greater => range.end = middle,
                std::cmp::Ordering::Equal => {
                    let first = |term: usize| terms.get(term * TERM + 2) as usize;
                    return Some(TermBounds {
                        blocks,
                        pairs,
                        range: first(middle)..first(middle + 1),
                    });
                }
            }
        }
        None
    }
}

/// The bounds of one term.
#[derive(Clone)]
pub struct TermBounds<'a> {
    blocks: NumbersRef<'a>,
    pairs: NumbersRef<'a>,
    range: Range<usize>,
}

impl TermBounds<'_> {
    /// Returns how many blocks the term has.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Returns the last document of a block.
    #[inline]
    pub fn last_document(&self, block: usize) -> u32 {
        self.blocks.get((self.range.start + block) * BLOCK)
    }

    /// Returns the most that the term contributes for a document of a block.
    pub fn most(&self, block: usize, contribution: &Contribution) -> f64 {
        let at = (self.range.start + block) * BLOCK + 1;
        let pairs = self.blocks.get(at) as usize..self.blocks.get(at + BLOCK) as usize;
        pairs
            .map(|pair| Occurrence {
                frequency: self.pairs.get(pair * PAIR),
                length: self.pairs.get(pair * PAIR + 1),
            })
            .map(|occurrence| contribution.of(occurrence))
            .fold(0.0, f64::max)
    }
}
