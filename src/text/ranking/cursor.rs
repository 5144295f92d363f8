//! The postings of one term of a query, read forwards, with the bounds of their blocks.

use super::error::RankingError;
use super::formula::Occurrence;
use super::lengths::LengthsRef;
use super::postings::{BLOCK_DOCUMENTS, Decoded};
use super::segment::SegmentTerm;

/// The document behind all others.
pub const END: u32 = u32::MAX;

/// A term's place in the postings.
///
/// It has two places: the postings that are decoded, and a block whose bound alone is looked at.
/// The second one runs ahead; blocks in between are never decoded.
pub struct Cursor<'a> {
    term: &'a SegmentTerm<'a>,
    lengths: LengthsRef<'a>,
    decoded: Decoded,
    /// The block that is decoded, if `is_decoded`, or else the one that a reader would go on with.
    block: usize,
    is_decoded: bool,
    /// The place in the decoded block: documents before it were passed.
    at: usize,
    /// By place in the decoded block, if `is_scored`: what the term contributes.
    contributions: [f64; BLOCK_DOCUMENTS],
    is_scored: bool,
    looked_at: Bound,
    /// The block behind, or a later one, that was looked at last.
    ahead: Bound,
}

/// A block whose bound is looked at.
#[derive(Clone, Copy)]
struct Bound {
    number: usize,
    /// No document of the block is before it.
    start: u32,
    last: u32,
    most: f64,
}

const NOTHING: Bound = Bound { number: usize::MAX, start: END, last: END, most: 0.0 };

impl<'a> Cursor<'a> {
    /// Returns a cursor at the term's first document.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn open(term: &'a SegmentTerm<'a>) -> Result<Cursor<'a>, RankingError> {
        let mut cursor = Cursor {
            term,
            lengths: term.field.lengths(),
            decoded: Decoded::new(),
            block: 0,
            is_decoded: false,
            at: 0,
            contributions: [0.0; BLOCK_DOCUMENTS],
            is_scored: false,
            looked_at: NOTHING,
            ahead: NOTHING,
        };
        cursor.looked_at = match term.postings.len() {
            1 => cursor.only_block()?,
            _ => cursor.bound(0, 0),
        };
        Ok(cursor)
    }

    fn bound(&self, number: usize, start: u32) -> Bound {
        let SegmentTerm { field, postings, contribution } = self.term;
        if number == self.ahead.number {
            return self.ahead;
        }
        if number >= postings.len() {
            return NOTHING;
        }
        let last = postings.last_document(number);
        Bound { number, start, last, most: field.most(postings, number, contribution) }
    }

    /// Decodes the block of a term that has only one.
    fn only_block(&mut self) -> Result<Bound, RankingError> {
        self.decode()?;
        self.score();
        let documents = self.decoded.documents();
        let most = self.contributions[..documents.len()].iter().copied().fold(0.0, f64::max);
        let start = documents.first().copied().unwrap_or(END);
        Ok(Bound { number: 0, start, last: documents.last().copied().unwrap_or(END), most })
    }

    fn decode(&mut self) -> Result<(), RankingError> {
        self.term.field.decode(&self.term.postings, self.block, &mut self.decoded)?;
        (self.is_decoded, self.is_scored, self.at) = (true, false, 0);
        Ok(())
    }

    /// Computes what the term contributes for the documents of the decoded block.
    fn score(&mut self) {
        let mut lengths = [0; BLOCK_DOCUMENTS];
        self.lengths.get_all(self.decoded.documents(), &mut lengths);
        let frequencies = self.decoded.frequencies();
        self.term.contribution.of_all(frequencies, &lengths, &mut self.contributions);
        self.is_scored = true;
    }

    /// Returns a document before which, from `document` on, the term does not occur; decodes
    /// nothing. `document` may not go back.
    #[inline]
    pub fn next_possible(&mut self, document: u32) -> u32 {
        while self.looked_at.last < document {
            self.looked_at = self.bound(self.looked_at.number + 1, self.looked_at.last + 1);
        }
        let possible = document.max(self.looked_at.start);
        match self.decoded.documents().get(self.at) {
            Some(decoded) if self.is_decoded => possible.max(*decoded),
            _ => possible,
        }
    }

    /// Returns the most that the term contributes for a document before `end`, from where
    /// `next_possible` was last asked for on.
    #[inline]
    pub fn most_before(&mut self, end: u32) -> f64 {
        let mut bound = self.looked_at;
        let mut most = 0.0f64;
        while bound.start < end {
            most = most.max(bound.most);
            if bound.last >= end {
                break;
            }
            bound = self.bound(bound.number + 1, bound.last + 1);
            self.ahead = bound;
        }
        most
    }

    /// Visits the documents from `start` to before `end` with what the term contributes, many at
    /// once.
    ///
    /// # Errors
    /// `Damaged`.
    #[inline]
    pub fn visit(
        &mut self,
        start: u32,
        end: u32,
        mut each: impl FnMut(&[u32], &[f64]),
    ) -> Result<(), RankingError> {
        self.seek(start)?;
        while self.is_decoded {
            if !self.is_scored {
                self.score();
            }
            let documents = self.decoded.documents();
            let last = documents.last().copied().unwrap_or(END);
            let rest = &documents[self.at..];
            let count = match last < end {
                true => rest.len(),
                false => rest.partition_point(|document| *document < end),
            };
            each(&rest[..count], &self.contributions[self.at..self.at + count]);
            self.at += count;
            if last >= end {
                break;
            }
            (self.block, self.is_decoded) = (self.block + 1, false);
            if last + 1 >= end || self.block >= self.term.postings.len() {
                break;
            }
            self.decode()?;
        }
        Ok(())
    }

    /// Returns what the term contributes for a document, `None` where it does not occur. Documents
    /// may not go back.
    ///
    /// # Errors
    /// `Damaged`.
    #[inline]
    pub fn contribution(&mut self, document: u32) -> Result<Option<f64>, RankingError> {
        let found = self.occurrence(document)?;
        Ok(found.map(|occurrence| self.term.contribution.of(occurrence)))
    }

    /// Returns how the term occurs in a document, `None` where it does not. Documents may not go
    /// back.
    ///
    /// # Errors
    /// `Damaged`.
    #[inline]
    pub fn occurrence(&mut self, document: u32) -> Result<Option<Occurrence>, RankingError> {
        self.seek(document)?;
        let is_there = self.is_decoded && self.decoded.documents().get(self.at) == Some(&document);
        Ok(is_there.then(|| Occurrence {
            frequency: self.decoded.frequencies()[self.at],
            length: self.lengths.get(document),
        }))
    }

    /// Goes to the first place that is not before a document; nothing is decoded behind the last.
    #[inline]
    fn seek(&mut self, document: u32) -> Result<(), RankingError> {
        if self.is_decoded {
            let documents = self.decoded.documents();
            if documents.last().is_some_and(|last| *last >= document) {
                self.at += first_from(&documents[self.at..], document);
                return Ok(());
            }
            (self.block, self.is_decoded) = (self.block + 1, false);
        }
        self.seek_block(document)
    }

    fn seek_block(&mut self, document: u32) -> Result<(), RankingError> {
        let postings = &self.term.postings;
        if postings.len() > 1 {
            self.block = postings.block_of(self.block, document);
        }
        if self.block < postings.len() {
            self.decode()?;
            self.at = self.decoded.documents().partition_point(|other| *other < document);
        }
        Ok(())
    }
}

/// Returns the place of the first of some ascending documents that is not before another; mostly
/// it is near.
#[inline]
fn first_from(documents: &[u32], document: u32) -> usize {
    let mut step = 1;
    while documents.get(step - 1).is_some_and(|other| *other < document) {
        step *= 2;
    }
    // The one at `step / 2 - 1` is before it.
    let near = &documents[step / 2..step.min(documents.len())];
    step / 2 + near.partition_point(|other| *other < document)
}
