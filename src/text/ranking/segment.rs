//! One segment as it is read.

use std::path::Path;
use std::sync::Arc;

use tantivy::directory::MmapDirectory;
use tantivy::index::{Index, InvertedIndexReader, SegmentReader};
use tantivy::postings::TermInfo;
use tantivy::schema::Field;

use super::bounds::Bounds;
use super::error::RankingError;
use super::files::{Numbers, NumbersRef};
use super::formula::Contribution;
use super::lengths::{Lengths, LengthsRef};
use super::manifest::SegmentEntry;
use super::segment_writer::{NUMBERS, bounds_file, lengths_file, schema};
use crate::text::guard::guarded;
use crate::text::read_only::ReadOnlyDirectory;

/// A segment that is open for reading, without a lock.
pub struct Segment {
    /// The fields, in their order.
    pub fields: Vec<SegmentField>,
    numbers: Numbers,
}

/// A field of a segment.
pub struct SegmentField {
    /// tantivy's dictionary and postings.
    pub inverted: Arc<InvertedIndexReader>,
    /// The bounds of its frequent terms.
    pub bounds: Bounds,
    lengths: Lengths,
}

/// A term of a query, where a segment has it.
pub struct SegmentTerm<'a> {
    /// The field.
    pub field: &'a SegmentField,
    /// Where its postings lie.
    pub info: &'a TermInfo,
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
        if !folder.is_dir() {
            return Err(RankingError::damaged(&folder, "it is missing"));
        }
        let open = || {
            let files = ReadOnlyDirectory(MmapDirectory::open(&folder)?);
            let index = Index::open(files.clone())?;
            let is_ours = index.schema() == schema(entry.tokens.len());
            let segments = index.searchable_segments()?;
            let reader = segments.first().map(SegmentReader::open).transpose()?;
            Ok((files, reader.filter(|_| is_ours && segments.len() == 1)))
        };
        let (files, reader) = guarded(open).map_err(RankingError::of_opening(&folder))?;
        let reader = reader
            .filter(|reader| reader.max_doc() == entry.documents)
            .ok_or_else(|| RankingError::damaged(&folder, "it is another segment"))?;
        let numbers = Numbers::open(&files, &folder, NUMBERS)?;
        let (found, expected) = (numbers.all().len(), entry.documents);
        if found != expected as usize {
            let reason = format!("{found} numbers for {expected} documents");
            return Err(RankingError::damaged(&folder.join(NUMBERS), reason));
        }
        let open_field = |field: usize| {
            let name = bounds_file(field);
            let bounds = Numbers::open(&files, &folder, &name)?;
            let inverted = guarded(|| reader.inverted_index(Field::from_field_id(field as u32)));
            Ok(SegmentField {
                inverted: inverted.map_err(RankingError::of_opening(&folder))?,
                bounds: Bounds::new(bounds, &folder.join(&name))?,
                lengths: Lengths::open(&files, &folder, &lengths_file(field), entry.documents)?,
            })
        };
        let fields =
            (0..entry.tokens.len()).map(open_field).collect::<Result<_, RankingError>>()?;
        Ok(Segment { fields, numbers })
    }

    /// Returns the numbers of the documents in the whole, ascending.
    pub fn numbers(&self) -> NumbersRef<'_> {
        self.numbers.all()
    }
}

impl SegmentField {
    /// Returns the lengths of the documents in tokens.
    pub fn lengths(&self) -> LengthsRef<'_> {
        self.lengths.all()
    }

    /// Returns where the postings of a term lie, `None` where no document has it.
    ///
    /// # Errors
    /// What tantivy met.
    pub fn find(&self, token: &str) -> tantivy::Result<Option<TermInfo>> {
        Ok(self.inverted.terms().get(token.as_bytes())?)
    }
}
