//! The postings of one term of a query, read forwards, with the bounds of their blocks.

use tantivy::TERMINATED;
use tantivy::postings::BlockSegmentPostings;
use tantivy::schema::IndexRecordOption;

use super::bounds::TermBounds;
use super::formula::{Contribution, Occurrence};
use super::lengths::LengthsRef;
use super::segment::SegmentTerm;

/// Contributions are looked up for frequencies up to this one.
const TABLE_FREQUENCIES: usize = 4;

/// The document behind all others.
pub const END: u32 = TERMINATED;

/// A term's place in the postings.
///
/// It has two places: the postings that are decoded, and a block whose bound alone is looked at.
/// The second one runs ahead; blocks in between are never decoded.
pub struct Cursor<'a> {
    contribution: Contribution,
    lengths: LengthsRef<'a>,
    /// What the term contributes where it occurs `frequency` times in `length` tokens, at
    /// `length * TABLE_FREQUENCIES + frequency - 1`; empty for a term of few documents.
    table: Vec<f64>,
    postings: BlockSegmentPostings,
    /// The place in the decoded block.
    at: usize,
    bounds: Option<TermBounds<'a>>,
    looked_at: Block,
}

/// A block whose bound is looked at.
#[derive(Clone, Copy)]
struct Block {
    number: usize,
    /// No document of the block is before it.
    start: u32,
    last: u32,
    most: f64,
}

/// Returns the table of a cursor: two divisions for each posting are more than a look at it.
fn table(term: &SegmentTerm<'_>) -> Vec<f64> {
    const LENGTHS: usize = 512;
    const SIZE: usize = LENGTHS * TABLE_FREQUENCIES;
    if (term.info.doc_freq as usize) < 4 * SIZE {
        return Vec::new();
    }
    let of = |place: usize| {
        let frequency = (place % TABLE_FREQUENCIES) as u32 + 1;
        let length = (place / TABLE_FREQUENCIES) as u32;
        term.contribution.of(Occurrence { frequency, length })
    };
    (0..SIZE).map(of).collect()
}

impl<'a> Cursor<'a> {
    /// Returns a cursor at the term's first document.
    ///
    /// # Errors
    /// What tantivy met.
    pub fn open(term: &SegmentTerm<'a>) -> tantivy::Result<Cursor<'a>> {
        let with = IndexRecordOption::WithFreqs;
        let postings = term.field.inverted.read_block_postings_from_terminfo(term.info, with)?;
        let mut cursor = Cursor {
            contribution: term.contribution,
            lengths: term.field.lengths(),
            table: table(term),
            postings,
            at: 0,
            bounds: term.field.bounds.term(term.info.postings_range.start as u64),
            looked_at: Block { number: 0, start: 0, last: END, most: 0.0 },
        };
        cursor.looked_at = match cursor.bounds {
            Some(_) => cursor.block(0, 0),
            None => cursor.only_block(),
        };
        Ok(cursor)
    }

    fn block(&self, number: usize, start: u32) -> Block {
        match &self.bounds {
            Some(bounds) if number < bounds.len() => {
                let last = bounds.last_document(number);
                Block { number, start, last, most: bounds.most(number, &self.contribution) }
            }
            _ => Block { number, start: END, last: END, most: 0.0 },
        }
    }

    /// Returns the decoded block of a term that has only one.
    fn only_block(&self) -> Block {
        let documents = self.postings.docs();
        let most = (0..documents.len()).map(|at| self.contribution_at(at)).fold(0.0, f64::max);
        let start = documents.first().copied().unwrap_or(END);
        Block { number: 0, start, last: documents.last().copied().unwrap_or(END), most }
    }

    #[inline]
    fn contribution_at(&self, at: usize) -> f64 {
        self.contribution_of(self.postings.doc(at), self.postings.freq(at))
    }

    #[inline]
    fn contribution_of(&self, document: u32, frequency: u32) -> f64 {
        let length = self.lengths.get(document);
        if frequency as usize <= TABLE_FREQUENCIES {
            let place = length as usize * TABLE_FREQUENCIES + frequency as usize - 1;
            if let Some(contribution) = self.table.get(place) {
                return *contribution;
            }
        }
        self.contribution.of(Occurrence { frequency, length })
    }

    /// Returns a document before which, from `document` on, the term does not occur; decodes
    /// nothing. `document` may not go back.
    #[inline]
    pub fn next_possible(&mut self, document: u32) -> u32 {
        while self.looked_at.last < document {
            self.looked_at = self.block(self.looked_at.number + 1, self.looked_at.last + 1);
        }
        let decoded = self.postings.doc(self.at);
        if decoded >= document { decoded } else { document.max(self.looked_at.start) }
    }

    /// Returns the most that the term contributes for a document before `end`, from where
    /// `next_possible` was last asked for on.
    #[inline]
    pub fn most_before(&self, end: u32) -> f64 {
        let mut block = self.looked_at;
        let mut most = 0.0f64;
        while block.start < end {
            most = most.max(block.most);
            if block.last >= end {
                break;
            }
            block = self.block(block.number + 1, block.last + 1);
        }
        most
    }

    /// Visits the documents from `start` to before `end` with what the term contributes.
    #[inline]
    pub fn visit(&mut self, start: u32, end: u32, mut each: impl FnMut(u32, f64)) {
        self.seek(start);
        loop {
            let documents = self.postings.docs();
            let frequencies = self.postings.freqs();
            let from = self.at.min(documents.len());
            let mut count = 0;
            for (document, frequency) in documents[from..].iter().zip(&frequencies[from..]) {
                if *document >= end {
                    self.at = from + count;
                    return;
                }
                each(*document, self.contribution_of(*document, *frequency));
                count += 1;
            }
            self.at = from + count;
            if self.postings.docs().is_empty() {
                return;
            }
            self.postings.advance();
            self.at = 0;
        }
    }

    /// Returns what the term contributes for a document, `None` where it does not occur. Documents
    /// may not go back.
    #[inline]
    pub fn contribution(&mut self, document: u32) -> Option<f64> {
        self.seek(document);
        (self.postings.doc(self.at) == document).then(|| self.contribution_at(self.at))
    }

    #[inline]
    fn seek(&mut self, document: u32) {
        if self.postings.doc(self.at) < document {
            self.at = self.postings.seek(document);
        }
    }
}
