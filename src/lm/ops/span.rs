//! Where sequences and their branches lie in the rows of a packed batch.
//!
//! ```text
//! rows        [ trunk of 7 tokens ][ branch ][ branch ]   [ next trunk ]
//! positions     0 1 2 3 4 5 6        4 5 6     7 8          0 1 2 ...
//! prefix        -                    4         7            -
//! ```
//!
//! A branch goes on from the first tokens of its trunk, its prefix: its tokens see these and the
//! earlier ones of their own branch, and no other branch.

use std::ops::Range;

/// Consecutive rows that see each other, and the rows before them in the order of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first row.
    pub start: usize,
    /// How many rows there are.
    pub length: usize,
    /// The first row of the trunk; its own first row for a trunk.
    pub trunk: usize,
    /// How many rows of the trunk are seen; 0 for a trunk.
    pub prefix: usize,
}

impl Span {
    /// Returns the spans of sequences of the given lengths one after another, without branches.
    pub fn plain(lengths: &[usize]) -> Vec<Span> {
        let mut start = 0;
        let span = |length: &usize| {
            let span = Span { start, length: *length, trunk: start, prefix: 0 };
            start += length;
            span
        };
        lengths.iter().map(span).collect()
    }

    /// Returns the positions of the rows.
    pub fn positions(&self) -> Range<usize> {
        self.prefix..self.prefix + self.length
    }

    /// Returns how many rows the last one sees, itself included, without a window.
    pub fn keys(&self) -> usize {
        self.prefix + self.length
    }
}
