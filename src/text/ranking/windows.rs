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

use super::cursor::{Cursor, END};
use super::error::RankingError;
use super::files::NumbersRef;
use super::postings::BLOCK_DOCUMENTS;
use super::segment::{Segment, SegmentTerm};
use super::top::Top;

/// The most terms of a query that are ranked so: each takes a block of postings in memory.
pub const TERMS_MAX: usize = 64;

/// The least and the most documents of a window.
const WINDOW: Range<usize> = 1024..16384;

/// A window has few postings if there are so many documents for each: their places are kept.
const FEW: usize = 8;

/// Looking up a term for one candidate costs as much as visiting about so many of its postings.
const LOOK_UP_COST: usize = 8;

/// So often it is asked whether to stop: every this many windows.
const WINDOWS_UNASKED: usize = 64;

/// Offers the documents of a segment that may be among the best. There are at most [`TERMS_MAX`]
/// terms. Breaks where `cancelled` says so.
///
/// # Errors
/// `Damaged`.
pub fn rank(
    segment: &Segment,
    terms: &[SegmentTerm<'_>],
    top: &mut Top,
    cancelled: &dyn Fn() -> bool,
) -> Result<ControlFlow<()>, RankingError> {
    let cursors = terms.iter().map(Cursor::open).collect::<Result<Vec<_>, _>>()?;
    let frequencies = || terms.iter().map(|term| term.postings.documents as usize);
    let documents = segment.numbers().len();
    let width = width(documents, frequencies().max().unwrap_or_default());
    let expected = frequencies().map(|frequency| frequency * width / documents.max(1)).collect();
    let mut windows = Windows::new(cursors, expected, segment.numbers(), width);
    let mut start = 0;
    for window in 1usize.. {
        if window.is_multiple_of(WINDOWS_UNASKED) && cancelled() {
            return Ok(ControlFlow::Break(()));
        }
        match windows.next(start) {
            END => break,
            found if found as usize >= documents => return Err(segment.damaged(found)),
            found => start = found,
        }
        let end = start.saturating_add(width as u32);
        windows.rank(start, end, top)?;
        start = end;
    }
    Ok(ControlFlow::Continue(()))
}

/// Returns how many documents a window has: a block of the most frequent term, about. Narrower ones
/// would have the same bounds, and few postings each.
fn width(documents: usize, most: usize) -> usize {
    if most < BLOCK_DOCUMENTS {
        return WINDOW.end;
    }
    (documents * BLOCK_DOCUMENTS / most).clamp(WINDOW.start, WINDOW.end)
}

struct Windows<'a> {
    cursors: Vec<Cursor<'a>>,
    /// By term: about how many postings it has in a window.
    expected: Vec<usize>,
    numbers: NumbersRef<'a>,
    /// By term: the most it contributes in the window.
    mosts: Vec<f64>,
    /// The terms, by their most ascending.
    order: Vec<usize>,
    /// By place in the window: the sum of what is known to contribute.
    sums: Vec<f64>,
    /// The places with a sum, in a window of few; room for one more than there are documents.
    touched: Vec<u32>,
    /// The places of the candidates, ascending.
    candidates: Vec<u32>,
}

impl<'a> Windows<'a> {
    fn new(
        cursors: Vec<Cursor<'a>>,
        expected: Vec<usize>,
        numbers: NumbersRef<'a>,
        width: usize,
    ) -> Windows<'a> {
        let count = cursors.len();
        Windows {
            cursors,
            expected,
            numbers,
            mosts: vec![0.0; count],
            order: (0..count).collect(),
            sums: vec![0.0; width],
            touched: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Returns the first document from `start` on where any term may occur, [`END`] if none does.
    fn next(&mut self, start: u32) -> u32 {
        let next = self.cursors.iter_mut().map(|cursor| cursor.next_possible(start)).min();
        next.unwrap_or(END)
    }

    /// Ranks the documents from `start` to before `end`.
    fn rank(&mut self, start: u32, end: u32, top: &mut Top) -> Result<(), RankingError> {
        for (cursor, most) in self.cursors.iter_mut().zip(&mut self.mosts) {
            let possible = cursor.next_possible(start) < end;
            *most = if possible { cursor.most_before(end) } else { 0.0 };
        }
        let first = self.numbers.get(start as usize);
        if !top.admits(self.mosts.iter().sum(), first) {
            return Ok(());
        }
        let (aside, mut rest) = self.set_aside(first, top);
        let visited: usize = self.order[aside..].iter().map(|term| self.expected[*term]).sum();
        let has_few = visited * FEW < self.sums.len();
        match has_few {
            true => self.visit_few(aside, start, end)?,
            false => self.visit_many(aside, start, end)?,
        }
        self.keep_candidates(has_few, rest, top);
        for at in (0..aside).rev() {
            let term = self.order[at];
            if self.candidates.is_empty() || self.mosts[term] == 0.0 {
                break;
            }
            rest -= self.mosts[term];
            self.look_up(term, (start, end), has_few, (rest, top))?;
        }
        for place in self.candidates.drain(..) {
            let number = self.numbers.get((start + place) as usize);
            top.offer(self.sums[place as usize], number);
        }
        match has_few {
            true => self.touched.drain(..).for_each(|place| self.sums[place as usize] = 0.0),
            false => self.sums.fill(0.0),
        }
        Ok(())
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
    fn visit_many(&mut self, aside: usize, start: u32, end: u32) -> Result<(), RankingError> {
        let sums = self.sums.as_mut_slice();
        for &term in self.order[aside..].iter().filter(|term| self.mosts[**term] > 0.0) {
            add(&mut self.cursors[term], start, end, sums)?;
        }
        Ok(())
    }

    /// Visits as `visit_many` does, and keeps the places.
    fn visit_few(&mut self, aside: usize, start: u32, end: u32) -> Result<(), RankingError> {
        let (sums, touched) = (self.sums.as_mut_slice(), &mut self.touched);
        for &term in self.order[aside..].iter().filter(|term| self.mosts[**term] > 0.0) {
            self.cursors[term].visit(start, end, |documents, contributions| {
                for (document, contribution) in documents.iter().zip(contributions) {
                    let place = document.wrapping_sub(start);
                    if let Some(sum) = sums.get_mut(place as usize) {
                        if *sum == 0.0 {
                            touched.push(place);
                        }
                        *sum += contribution;
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Makes candidates of the places that were visited and that `rest` might bring to the top.
    fn keep_candidates(&mut self, has_few: bool, rest: f64, top: &Top) {
        const CHUNK: usize = 16;
        let least = (top.threshold() - rest).max(f64::MIN_POSITIVE);
        if has_few {
            let sums = &self.sums;
            let places = self.touched.iter().filter(|place| sums[**place as usize] >= least);
            self.candidates.extend(places);
            self.candidates.sort_unstable();
            return;
        }
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
    fn look_up(
        &mut self,
        term: usize,
        (start, end): (u32, u32),
        has_few: bool,
        (rest, top): (f64, &Top),
    ) -> Result<(), RankingError> {
        let cursor = &mut self.cursors[term];
        let sums = self.sums.as_mut_slice();
        // Other sums than those of candidates are of no use any more.
        let visits = !has_few && self.candidates.len() * LOOK_UP_COST > self.expected[term];
        if visits {
            add(cursor, start, end, sums)?;
        } else {
            for place in &self.candidates {
                sums[*place as usize] += cursor.contribution(start + place)?.unwrap_or_default();
            }
        }
        let least = top.threshold() - rest;
        self.candidates.retain(|place| sums[*place as usize] >= least);
        Ok(())
    }
}

/// Adds what a term contributes in a window to the sums of its documents.
#[inline]
fn add(
    cursor: &mut Cursor<'_>,
    start: u32,
    end: u32,
    sums: &mut [f64],
) -> Result<(), RankingError> {
    cursor.visit(start, end, |documents, contributions| {
        for (document, contribution) in documents.iter().zip(contributions) {
            if let Some(sum) = sums.get_mut(document.wrapping_sub(start) as usize) {
                *sum += contribution;
            }
        }
    })
}
