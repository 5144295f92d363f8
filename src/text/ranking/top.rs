//! The best k documents so far.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A document with its score; the greater one comes later in an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ranked {
    score: f64,
    number: u32,
}

impl Eq for Ranked {}

impl Ord for Ranked {
    /// By score descending, then by number ascending: the worst is the greatest.
    fn cmp(&self, other: &Ranked) -> Ordering {
        other.score.total_cmp(&self.score).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A heap of at most k documents with the worst on top.
pub struct Top {
    limit: usize,
    heap: BinaryHeap<Ranked>,
    worst: Ranked,
}

/// Stands for "anything is good enough": scores are not negative.
const OPEN: Ranked = Ranked { score: -1.0, number: u32::MAX };

impl Top {
    /// Returns a heap for the best `limit` documents of at most `documents`; `limit` is at least 1.
    pub fn new(limit: usize, documents: usize) -> Top {
        // Room grows with what is found: a thousand million asked for are not a thousand million
        // found.
        Top { limit: limit.min(documents).max(1), heap: BinaryHeap::new(), worst: OPEN }
    }

    /// Returns whether a document of this number and at most this score may be among the best.
    #[inline]
    pub fn admits(&self, bound: f64, number: u32) -> bool {
        bound > self.worst.score || (bound == self.worst.score && number < self.worst.number)
    }

    /// Returns the score below which no document is among the best; -1 where any is.
    #[inline]
    pub fn threshold(&self) -> f64 {
        self.worst.score
    }

    /// Adds a document, if it is among the best. Each document is offered once.
    pub fn offer(&mut self, score: f64, number: u32) {
        if !self.admits(score, number) {
            return;
        }
        let ranked = Ranked { score, number };
        if self.heap.len() < self.limit {
            self.heap.push(ranked);
        } else if let Some(mut worst) = self.heap.peek_mut() {
            *worst = ranked;
        }
        if self.heap.len() == self.limit {
            self.worst = self.heap.peek().copied().unwrap_or(OPEN);
        }
    }

    /// Returns the best documents and their scores, the best first.
    pub fn into_sorted(self) -> Vec<(u32, f64)> {
        let ranked = self.heap.into_sorted_vec();
        ranked.into_iter().map(|ranked| (ranked.number, ranked.score)).collect()
    }
}
