//! One segment while it grows, and its sealing.

use std::fs;
use std::path::PathBuf;

use super::analysis::AnalysisFactory;
use super::error::RankingError;
use super::files::{self, HashedFile};
use super::inverter::Inverter;
use super::lengths;
use super::manifest::SegmentEntry;
use super::postings::{FieldFiles, PostingsWriter};

/// The file with the numbers of a segment's documents.
pub const NUMBERS: &str = "numbers";

/// The most documents of a segment: the postings of one term have less than 2^32 bytes, then.
const DOCUMENTS_MAX: usize = 1 << 28;

/// The most bytes of a segment that grows: its terms have less than 2^32 bytes, then.
const LIMIT_BYTES_MAX: usize = 3 << 30;

/// The least memory for a field.
const FIELD_BYTES_MIN: usize = 4 << 20;

/// A segment that documents are added to, by ascending number.
pub struct SegmentWriter {
    folder: PathBuf,
    fields: Vec<Inverter>,
    numbers: Vec<u32>,
    /// What it may take until it is sealed, and while it is.
    memory_bytes: usize,
}

impl SegmentWriter {
    /// Creates a segment in `folder`, which must not exist.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(
        folder: PathBuf,
        fields: usize,
        factory: &AnalysisFactory,
        memory_bytes: usize,
    ) -> Result<SegmentWriter, RankingError> {
        fs::create_dir(&folder).map_err(RankingError::io(&folder, "created"))?;
        // What a field without documents takes must leave room for documents beside.
        let memory_bytes = memory_bytes.max(fields * FIELD_BYTES_MIN);
        let fields = (0..fields).map(|_| Inverter::new(factory())).collect();
        Ok(SegmentWriter { folder, fields, numbers: Vec::new(), memory_bytes })
    }

    /// Adds a document: its number, greater than all before, and the text of each field.
    ///
    /// # Errors
    /// `Failed`.
    pub fn add<'a>(
        &mut self,
        number: u32,
        texts: impl Iterator<Item = &'a str>,
    ) -> Result<(), RankingError> {
        for (field, text) in self.fields.iter_mut().zip(texts) {
            field.add(text)?;
        }
        self.numbers.push(number);
        Ok(())
    }

    fn bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(Inverter::bytes).sum();
        fields + self.numbers.capacity() * size_of::<u32>()
    }

    /// Returns whether it takes as much memory as it may.
    pub fn is_full(&self) -> bool {
        // A quarter is left for sealing.
        self.bytes() >= (self.memory_bytes - self.memory_bytes / 4).min(LIMIT_BYTES_MAX)
            || self.documents() >= DOCUMENTS_MAX
    }

    /// Returns how many documents it has.
    pub fn documents(&self) -> usize {
        self.numbers.len()
    }

    /// Writes all files, durably, and returns what they are.
    ///
    /// # Errors
    /// `Io`; `Failed`.
    pub fn seal(self) -> Result<SegmentEntry, RankingError> {
        let room_bytes = self.memory_bytes.saturating_sub(self.bytes()).max(self.memory_bytes / 4);
        let SegmentWriter { folder, fields, numbers, .. } = self;
        let first = numbers.first().copied().unwrap_or_default();
        let documents = numbers.len() as u32;
        let mut file = HashedFile::create(folder.join(NUMBERS))?;
        file.write_numbers(&numbers)?;
        let mut entries = vec![file.finish()?];
        let mut tokens = Vec::new();
        for (field, inverter) in fields.into_iter().enumerate() {
            let files = FieldFiles::new(&folder, field);
            let mut writer = PostingsWriter::create(&files)?;
            let field_lengths = inverter.lengths();
            inverter
                .visit(room_bytes, |term, postings| writer.add(term, postings, field_lengths))?;
            entries.extend(writer.finish()?);
            tokens.push(field_lengths.iter().map(|length| u64::from(*length)).sum());
            entries.push(lengths::write(files.create("lengths")?, field_lengths)?);
        }
        files::sync_folder(&folder)?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(SegmentEntry { folder: name, first, documents, tokens, files: entries })
    }
}
