//! The best documents for many terms, term by term.
//!
//! With more terms than [`super::windows::TERMS_MAX`] hardly anything can be left out, and a cursor
//! for each takes memory. Here one cursor goes through one term's postings after the other and adds
//! to a sum for each document, a range of documents at a time.

use std::ops::ControlFlow;

use super::cursor::{Cursor, END};
use super::error::RankingError;
use super::files::NumbersRef;
use super::segment::{Segment, SegmentTerm};
use super::top::Top;

/// The documents of a range: 8 MiB of sums.
const RANGE: usize = 1 << 20;

/// Offers all documents of a segment where a term occurs. Breaks where `cancelled` says so.
///
/// # Errors
/// `Damaged`.
pub fn rank(
    segment: &Segment,
    terms: &[SegmentTerm<'_>],
    top: &mut Top,
    cancelled: &dyn Fn() -> bool,
) -> Result<ControlFlow<()>, RankingError> {
    let numbers = segment.numbers();
    let mut sums = vec![0.0; RANGE.min(numbers.len())];
    for start in (0..numbers.len()).step_by(RANGE) {
        let count = RANGE.min(numbers.len() - start);
        for term in terms {
            if cancelled() {
                return Ok(ControlFlow::Break(()));
            }
            add(term, start as u32, &mut sums[..count])?;
        }
        offer(&mut sums[..count], start, numbers, top);
    }
    Ok(ControlFlow::Continue(()))
}

/// Adds what a term contributes for the documents from `start` on, one for each sum.
fn add(term: &SegmentTerm<'_>, start: u32, sums: &mut [f64]) -> Result<(), RankingError> {
    let end = start + sums.len() as u32;
    Cursor::open(term)?.visit(start, end, |documents, contributions| {
        for (document, contribution) in documents.iter().zip(contributions) {
            if let Some(sum) = sums.get_mut(document.wrapping_sub(start) as usize) {
                *sum += contribution;
            }
        }
    })
}

/// Offers each document with a score and makes the sums zero.
fn offer(sums: &mut [f64], start: usize, numbers: NumbersRef<'_>, top: &mut Top) {
    debug_assert!(start + sums.len() <= END as usize);
    for (place, sum) in sums.iter_mut().enumerate() {
        let score = std::mem::take(sum);
        if score > 0.0 {
            top.offer(score, numbers.get(start + place));
        }
    }
}
