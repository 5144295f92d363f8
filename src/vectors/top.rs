//! The best k rows so far.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A row by its product; the greater one comes first in an answer: of equal products, the row of
/// the lower number.
type Ranked = (i32, Reverse<u32>);

/// A heap of at most `limit` rows with the worst on top. Its memory grows with what is offered.
pub struct Top {
    limit: usize,
    heap: BinaryHeap<Reverse<Ranked>>,
    /// Products below this one are not among the best.
    least: i32,
}

impl Top {
    /// Returns an empty heap; `limit` is at least 1.
    pub fn new(limit: usize) -> Top {
        Top { limit: limit.max(1), heap: BinaryHeap::new(), least: i32::MIN }
    }

    /// Adds a row, if it is among the best. Each row is offered once.
    #[inline]
    pub fn offer(&mut self, product: i32, number: u32) {
        if product >= self.least {
            self.insert((product, Reverse(number)));
        }
    }

    fn insert(&mut self, ranked: Ranked) {
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(ranked));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && worst.0 < ranked
        {
            worst.0 = ranked;
        }
        if self.heap.len() == self.limit {
            self.least = self.heap.peek().map_or(i32::MIN, |worst| worst.0.0);
        }
    }

    /// Adds the rows of another heap.
    pub fn merge(&mut self, other: Top) {
        for Reverse(ranked) in other.heap {
            self.insert(ranked);
        }
    }

    /// Returns number and product of the best rows, the best first.
    pub fn into_sorted(self) -> impl Iterator<Item = (u32, i32)> {
        let ranked = self.heap.into_sorted_vec();
        ranked.into_iter().map(|Reverse((product, Reverse(number)))| (number, product))
    }
}
