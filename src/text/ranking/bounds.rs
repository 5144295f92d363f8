//! Bounds of blocks: which occurrences no document of a block goes beyond.
//!
//! The pairs of a block are those that no other one beats in both ways: each document of the block
//! has, for one of them, at most its frequency and at least its length. Terms with one block have
//! none: their block is read anyway.

use super::files::NumbersRef;
use super::formula::{Contribution, Occurrence};

/// From this frequency on, occurrences of a block are bounded by one pair.
const FREQUENCIES: usize = 64;

/// The numbers of a pair.
pub const PAIR: usize = 2;

/// Appends the pairs of a block of such occurrences.
pub fn append(occurrences: impl Iterator<Item = Occurrence>, to: &mut Vec<u32>) {
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
            to.extend([frequency, *length]);
        }
    }
}

/// Returns the most that a term contributes for a document of a block, from the first and behind
/// the last of its pairs.
pub fn most(pairs: NumbersRef<'_>, first: u32, end: u32, contribution: &Contribution) -> f64 {
    let occurrence = |pair: u32| Occurrence {
        frequency: pairs.get(pair as usize * PAIR),
        length: pairs.get(pair as usize * PAIR + 1),
    };
    // A damaged file must not say how long this takes.
    contribution.most((first..end).take(FREQUENCIES).map(occurrence))
}
