//! One segment as it is read.

use std::path::{Path, PathBuf};

use tantivy::directory::{MmapDirectory, OwnedBytes};

use super::bounds;
use super::error::RankingError;
use super::files::{self, Numbers, NumbersRef};
use super::formula::Contribution;
use super::lengths::{Lengths, LengthsRef};
use super::manifest::SegmentEntry;
use super::postings::{BLOCK, Decoded, FieldFiles, Postings, TERM};
use super::segment_writer::NUMBERS;
use crate::text::read_only::ReadOnlyDirectory;

/// A segment that is open for reading, without a lock.
pub struct Segment {
    /// The fields, in their order.
    pub fields: Vec<SegmentField>,
    numbers: Numbers,
    folder: PathBuf,
}

/// A field of a segment; see `postings` for what its files hold.
pub struct SegmentField {
    words: OwnedBytes,
    terms: Numbers,
    postings: OwnedBytes,
    blocks: Numbers,
    bounds: Numbers,
    lengths: Lengths,
    files: FieldFiles,
}

/// A term where a segment has it: its place among the field's terms, and its documents.
#[derive(Clone, Copy, Debug)]
pub struct TermPlace {
    place: usize,
    /// In how many documents of the segment it occurs.
    pub documents: u32,
}

/// A term of a query, where a segment has it.
#[derive(Clone)]
pub struct SegmentTerm<'a> {
    /// The field.
    pub field: &'a SegmentField,
    /// The postings.
    pub postings: Postings<'a>,
    /// What it adds to scores.
    pub contribution: Contribution,
}

impl Segment {
    /// Opens the segment of an index in `directory`.
    ///
    /// # Errors
    /// `Damaged` where a file is missing or is not what the manifest says; `Io`.
    pub fn open(directory: &Path, entry: &SegmentEntry) -> Result<Segment, RankingError> {
        let folder = directory.join(&entry.folder);
        let files = MmapDirectory::open(&folder)
            .map_err(|error| RankingError::damaged(&folder, error.to_string()))?;
        let files = ReadOnlyDirectory(files);
        let numbers = Numbers::open(&files, &folder, NUMBERS)?;
        let (found, expected) = (numbers.all().len(), entry.documents);
        if found != expected as usize {
            let reason = format!("{found} numbers for {expected} documents");
            return Err(RankingError::damaged(&folder.join(NUMBERS), reason));
        }
        let fields = (0..entry.tokens.len())
            .map(|field| SegmentField::open(&files, &folder, field, entry.documents))
            .collect::<Result<_, RankingError>>()?;
        Ok(Segment { fields, numbers, folder })
    }

    /// Returns the error of postings with a document that the segment does not have.
    pub fn damaged(&self, document: u32) -> RankingError {
        let count = self.numbers.all().len();
        let reason = format!("it has {count} documents and postings of document {document}");
        RankingError::damaged(&self.folder, reason)
    }

    /// Returns the numbers of the documents in the whole, ascending.
    pub fn numbers(&self) -> NumbersRef<'_> {
        self.numbers.all()
    }
}

impl SegmentField {
    fn open(
        files: &ReadOnlyDirectory,
        folder: &Path,
        field: usize,
        documents: u32,
    ) -> Result<SegmentField, RankingError> {
        let names = FieldFiles::new(folder, field);
        let numbers = |kind, each: usize| {
            let numbers = Numbers::open(files, folder, &names.name(kind))?;
            if numbers.all().len() % each != 0 {
                let reason = format!("{} numbers are not {each} each", numbers.all().len());
                return Err(RankingError::damaged(&folder.join(names.name(kind)), reason));
            }
            Ok(numbers)
        };
        Ok(SegmentField {
            words: files::open(files, folder, &names.name("words"))?,
            terms: numbers("terms", TERM)?,
            postings: files::open(files, folder, &names.name("postings"))?,
            blocks: numbers("blocks", BLOCK)?,
            bounds: numbers("bounds", bounds::PAIR)?,
            lengths: Lengths::open(files, folder, &names.name("lengths"), documents)?,
            files: names,
        })
    }

    /// Returns the lengths of the documents in tokens.
    pub fn lengths(&self) -> LengthsRef<'_> {
        self.lengths.all()
    }

    /// Returns where a term is, `None` where no document has it.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn find(&self, token: &str) -> Result<Option<TermPlace>, RankingError> {
        let terms = self.terms.all();
        let end = |place: usize| terms.get(place * TERM) as usize;
        let mut range = 0..(terms.len() / TERM).saturating_sub(1);
        while !range.is_empty() {
            let place = range.start + range.len() / 2;
            let start = if place == 0 { 0 } else { end(place - 1) };
            let Some(word) = self.words.get(start..end(place)) else {
                return Err(self.damaged("terms", place));
            };
            match word.cmp(token.as_bytes()) {
                std::cmp::Ordering::Less => range.start = place + 1,
                std::cmp::Ordering::Greater => range.end = place,
                std::cmp::Ordering::Equal => {
                    return Ok(Some(TermPlace { place, documents: terms.get(place * TERM + 1) }));
                }
            }
        }
        Ok(None)
    }

    /// Returns the postings of a term.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn postings(&self, term: TermPlace) -> Result<Postings<'_>, RankingError> {
        let terms = self.terms.all();
        let start = |place: usize| {
            let at = place * TERM;
            u64::from(terms.get(at + 2)) | u64::from(terms.get(at + 3)) << 32
        };
        let block = |place: usize| terms.get(place * TERM + 4) as usize * BLOCK;
        let TermPlace { place, documents } = term;
        let bytes = self.postings.get(start(place) as usize..start(place + 1) as usize);
        // One number more than those of its blocks, and a whole block: the first pair behind them.
        let blocks = self.blocks.all().range(block(place)..block(place + 1) + BLOCK);
        let (Some(bytes), Some(blocks)) = (bytes, blocks) else {
            return Err(self.damaged("terms", place));
        };
        let postings = Postings { bytes, blocks, documents };
        let expected = if postings.len() > 1 { postings.len() + 1 } else { 1 };
        if documents == 0 || blocks.len() != expected * BLOCK {
            return Err(self.damaged("blocks", place));
        }
        Ok(postings)
    }

    /// Decodes a block of a term's postings.
    ///
    /// # Errors
    /// `Damaged`.
    #[inline]
    pub fn decode(
        &self,
        postings: &Postings<'_>,
        block: usize,
        into: &mut Decoded,
    ) -> Result<(), RankingError> {
        postings.decode(block, into).ok_or_else(|| self.damaged("postings", block))
    }

    /// Returns the most that a term of several blocks contributes for a document of one of them.
    pub fn most(&self, postings: &Postings<'_>, block: usize, contribution: &Contribution) -> f64 {
        let first = |block: usize| postings.blocks.get(block * BLOCK + 2);
        bounds::most(self.bounds.all(), first(block), first(block + 1), contribution)
    }

    #[cold]
    fn damaged(&self, kind: &str, at: usize) -> RankingError {
        let reason = format!("what number {at} says is not what was written");
        RankingError::damaged(&self.files.path(kind), reason)
    }
}
