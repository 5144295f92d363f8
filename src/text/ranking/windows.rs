//! The best documents for a few terms, window by window.
//!
//! ```text
//!   window [lo, lo + width)    term a  |--- block ---|-- block --|      each with its most
//!                             term b  |------------ block ----------|
//!   1. sum of the mosts cannot enter the top?        next window, nothing decoded
//!   2. terms with the least mosts, whose sum cannot enter the top alone, are set aside
//!   3. the others' postings in the window are visited: candidates
//!   4. a candidate whose own sum with what is set aside cannot enter the top is dropped; for the
//!      rest, the terms set aside are looked up, one by one, until it can be dropped
//!   5. a candidate that is left has its score
//! ```
//!
//! (MaxScore, Turtle and Flood 1995, with block maxima as in Ding and Suel 2011.) All sums and
//! differences of contributions and of their bounds are exact (see `formula`), so that each
//! comparison is the one meant.

use std::ops::{ControlFlow, Range};

use super::bounds::BLOCK_DOCUMENTS;
use super::cursor::{Cursor, END};
use super::files::NumbersRef;
use super::segment::{Segment, SegmentTerm};
use super::top::Top;

/// The most terms of a query that are ranked so: each takes a block of postings in memory.
pub const TERMS_MAX: usize = 64;

/// The least and the most documents of a window.
const WINDOW: Range<usize> = 512..4096;

/// So often it is asked whether to stop: every this many windows.
const WINDOWS_UNASKED: usize = 64;

/// Offers the documents of a segment that may be among the best. There are at most [`TERMS_MAX`]
/// terms. Breaks where `cancelled` says so.
///
/// # Errors
/// What tantivy met.
pub fn rank(
    segment: &Segment,
    terms: &[SegmentTerm<'_>],
    top: &mut Top,
    cancelled: &dyn Fn() -> bool,
) -> tantivy::Result<ControlFlow<()>> {
    let cursors = terms.iter().map(Cursor::open).collect::<tantivy::Result<Vec<_>>>()?;
    let most = terms.iter().map(|term| term.info.doc_freq as usize).max().unwrap_or_default();
    let width = width(segment.numbers().len(), most);
    let mut windows = Windows::new(cursors, segment.numbers(), width);
    let mut start = 0;
    for window in 1usize.. {
        if window.is_multiple_of(WINDOWS_UNASKED) && cancelled() {
            return Ok(ControlFlow::Break(()));
        }
        match windows.next(start) {
            Some(found) => start = found,
            None => break,
        }
        let end = start.saturating_add(width as u32).min(END);
        windows.rank(start, end, top);
        start = end;
    }
    Ok(ControlFlow::Continue(()))
}

/// Returns how many documents a window has: a block of the most frequent term, about. Narrower ones
/// would have the same bounds, and few postings each.
fn width(documents: usize, most: usize) -> usize {
    if most < BLOCK_DOCUMENTS {
        return WINDOW.start;
    }
    (documents * BLOCK_DOCUMENTS / most).clamp(WINDOW.start, WINDOW.end)
}

struct Windows<'a> {
    cursors: Vec<Cursor<'a>>,
    numbers: NumbersRef<'a>,
    /// By term: the most it contributes in the window.
    mosts: Vec<f64>,
    /// The terms, by their most ascending.
    order: Vec<usize>,
    /// By place in the window: the sum of what is known to contribute.
    sums: Vec<f64>,
    /// The places of the candidates, ascending.
    candidates: Vec<u32>,
}

impl<'a> Windows<'a> {
    fn new(cursors: Vec<Cursor<'a>>, numbers: NumbersRef<'a>, width: usize) -> Windows<'a> {
        let count = cursors.len();
        Windows {
            cursors,
            numbers,
            mosts: vec![0.0; count],
            order: (0..count).collect(),
            sums: vec![0.0; width],
            candidates: Vec::new(),
        }
    }

    /// Returns the first document from `start` on where any term may occur.
    fn next(&mut self, start: u32) -> Option<u32> {
        let next = self.cursors.iter_mut().map(|cursor| cursor.next_possible(start)).min();
        next.filter(|next| *next < END)
    }

    /// Ranks the documents from `start` to before `end`.
    fn rank(&mut self, start: u32, end: u32, top: &mut Top) {
        for (cursor, most) in self.cursors.iter_mut().zip(&mut self.mosts) {
            let possible = cursor.next_possible(start) < end;
            *most = if possible { cursor.most_before(end) } else { 0.0 };
        }
        let first = self.numbers.get(start as usize);
        if !top.admits(self.mosts.iter().sum(), first) {
            return;
        }
        let (aside, mut rest) = self.set_aside(first, top);
        self.visit(aside, start, end);
        self.keep_candidates(rest, top);
        for at in (0..aside).rev() {
            let term = self.order[at];
            if self.candidates.is_empty() || self.mosts[term] == 0.0 {
                break;
            }
            rest -= self.mosts[term];
            self.look_up(term, start, rest, top);
        }
        for place in self.candidates.drain(..) {
            let number = self.numbers.get((start + place) as usize);
            top.offer(self.sums[place as usize], number);
        }
        self.sums.fill(0.0);
    }

    /// Sorts the terms by their most; returns how many of them cannot bring a document to the top
    /// alone, and the sum of their mosts.
    fn set_aside(&mut self, first: u32, top: &Top) -> (usize, f64) {
        let mosts = &self.mosts;
        self.order.sort_unstable_by(|a, b| mosts[*a].total_cmp(&mosts[*b]));
        let mut rest = 0.0;
        for (count, term) in self.order.iter().enumerate() {
            let sum = rest + mosts[*term];
            if top.admits(sum, first) {
                return (count, rest);
            }
            rest = sum;
        }
        (self.order.len(), rest)
    }

    /// Visits the postings of all terms but the first `aside` of the order.
    fn visit(&mut self, aside: usize, start: u32, end: u32) {
        let sums = self.sums.as_mut_slice();
        for &term in &self.order[aside..] {
            if self.mosts[term] > 0.0 {
                self.cursors[term].visit(start, end, |document, contribution| {
                    if let Some(sum) = sums.get_mut((document - start) as usize) {
                        *sum += contribution;
                    }
                });
            }
        }
    }

    /// Makes candidates of the places that were visited and that `rest` might bring to the top.
    fn keep_candidates(&mut self, rest: f64, top: &Top) {
        const CHUNK: usize = 16;
        let least = (top.threshold() - rest).max(f64::MIN_POSITIVE);
        for (number, sums) in self.sums.chunks(CHUNK).enumerate() {
            // Mostly none is kept, which the processor's wide comparisons find fast.
            if sums.iter().fold(false, |any, sum| any | (*sum >= least)) {
                let places = (number * CHUNK) as u32..;
                let kept = places.zip(sums).filter(|(_, sum)| **sum >= least);
                self.candidates.extend(kept.map(|(place, _)| place));
            }
        }
    }

    /// Adds what a term contributes for the candidates, and drops those that the `rest` of the
    /// terms set aside cannot bring to the top.
    fn look_up(&mut self, term: usize, start: u32, rest: f64, top: &Top) {
        let cursor = &mut self.cursors[term];
        let least = top.threshold() - rest;
        self.candidates.retain(|place| {
            let sum = &mut self.sums[*place as usize];
            if let Some(contribution) = cursor.contribution(start + place) {
                *sum += contribution;
            }
            *sum >= least
        });
    }
}
