//! One segment while it grows, and its sealing.

use std::fs;
use std::path::{Path, PathBuf};

use tantivy::directory::MmapDirectory;
use tantivy::index::{Index, IndexSettings, SegmentReader};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::store::Compressor;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{SingleSegmentIndexWriter, TantivyDocument};

use super::analysis::{AnalysisFactory, AnalysisTokenizer, TokenCount};
use super::bounds::{BLOCK_DOCUMENTS, BoundsWriter};
use super::error::RankingError;
use super::files;
use super::formula::Occurrence;
use super::lengths;
use super::manifest::{FileEntry, SegmentEntry};

/// The least memory for documents in a segment.
const ROOM_BYTES_MIN: usize = 4 << 20;

/// The file with the numbers of a segment's documents.
pub const NUMBERS: &str = "numbers";

/// Returns the file with the lengths of a field.
pub fn lengths_file(field: usize) -> String {
    format!("lengths-{field}")
}

/// Returns the file with the bounds of a field.
pub fn bounds_file(field: usize) -> String {
    format!("bounds-{field}")
}

/// Returns tantivy's name of a field; its own is in the manifest.
fn field_name(field: usize) -> String {
    format!("field-{field}")
}

/// Returns tantivy's schema: postings with frequencies and nothing else.
pub fn schema(fields: usize) -> Schema {
    let mut builder = Schema::builder();
    for field in 0..fields {
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(&field_name(field))
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::WithFreqs);
        builder.add_text_field(
            &field_name(field),
            TextOptions::default().set_indexing_options(indexing),
        );
    }
    builder.build()
}

/// A segment that documents are added to, by ascending number.
pub struct SegmentWriter {
    folder: PathBuf,
    writer: SingleSegmentIndexWriter,
    counts: Vec<TokenCount>,
    numbers: Vec<u32>,
    lengths: Vec<Vec<u32>>,
    /// What it may take until it is full.
    limit_bytes: usize,
}

impl SegmentWriter {
    /// Creates a segment in `folder`, which must not exist.
    ///
    /// # Errors
    /// `Io`; `Failed`.
    pub fn create(
        folder: PathBuf,
        fields: usize,
        factory: &AnalysisFactory,
        memory_bytes: usize,
    ) -> Result<SegmentWriter, RankingError> {
        fs::create_dir(&folder).map_err(RankingError::io(&folder, "created"))?;
        let counts: Vec<TokenCount> = (0..fields).map(|_| TokenCount::default()).collect();
        let tokenizers = TokenizerManager::new();
        for (field, count) in counts.iter().enumerate() {
            let tokenizer = AnalysisTokenizer::new(AnalysisFactory::clone(factory), count.clone());
            tokenizers.register(&field_name(field), tokenizer);
        }
        let settings =
            IndexSettings { docstore_compression: Compressor::None, ..IndexSettings::default() };
        let create = || {
            Index::builder()
                .schema(schema(fields))
                .settings(settings)
                .tokenizers(tokenizers)
                .single_segment_index_writer(MmapDirectory::open(&folder)?, memory_bytes)
        };
        let writer = create().map_err(RankingError::of_tantivy(&folder))?;
        let lengths = vec![Vec::new(); fields];
        // What an empty segment takes is up to tantivy; each must have room for documents beside.
        let limit_bytes = memory_bytes.max(writer.mem_usage() + ROOM_BYTES_MIN);
        Ok(SegmentWriter { folder, writer, counts, numbers: Vec::new(), lengths, limit_bytes })
    }

    /// Adds a document: its number, greater than all before, and the text of each field.
    ///
    /// # Errors
    /// `Io`; `Failed`.
    pub fn add<'a>(
        &mut self,
        number: u32,
        texts: impl Iterator<Item = &'a str>,
    ) -> Result<(), RankingError> {
        let mut document = TantivyDocument::new();
        for (field, text) in texts.enumerate() {
            document.add_text(Field::from_field_id(field as u32), text);
        }
        self.writer.add_document(document).map_err(RankingError::of_tantivy(&self.folder))?;
        self.numbers.push(number);
        for (lengths, count) in self.lengths.iter_mut().zip(&self.counts) {
            lengths.push(count.take());
        }
        Ok(())
    }

    /// Returns whether it takes as much memory as it may.
    pub fn is_full(&self) -> bool {
        let own = self.numbers.len() * size_of::<u32>() * (1 + self.lengths.len());
        self.writer.mem_usage() + own >= self.limit_bytes
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
        let SegmentWriter { folder, writer, numbers, lengths, .. } = self;
        let index = writer.finalize().map_err(RankingError::of_tantivy(&folder))?;
        seal_bounds(&folder, &index, &lengths)?;
        let first = numbers.first().copied().unwrap_or_default();
        let documents = numbers.len() as u32;
        files::write_numbers(&folder.join(NUMBERS), numbers)?;
        let mut tokens = Vec::new();
        for (field, field_lengths) in lengths.into_iter().enumerate() {
            tokens.push(field_lengths.iter().map(|length| u64::from(*length)).sum());
            lengths::write(&folder.join(lengths_file(field)), &field_lengths)?;
        }
        files::sync_folder(&folder)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(SegmentEntry { folder: name, first, documents, tokens, files: list(&folder)? })
    }
}

/// Computes and writes the bounds of every field of a segment.
fn seal_bounds(folder: &Path, index: &Index, lengths: &[Vec<u32>]) -> Result<(), RankingError> {
    let open = || {
        let segments = index.searchable_segments()?;
        segments.first().map(SegmentReader::open).transpose()
    };
    let reader = open().map_err(RankingError::of_tantivy(folder))?;
    for (field, lengths) in lengths.iter().enumerate() {
        let mut bounds = BoundsWriter::default();
        if let Some(reader) = &reader {
            add_bounds(&mut bounds, reader, field, lengths)
                .map_err(RankingError::of_tantivy(folder))?;
        }
        files::write_numbers(&folder.join(bounds_file(field)), bounds.finish())?;
    }
    Ok(())
}

fn add_bounds(
    bounds: &mut BoundsWriter,
    reader: &SegmentReader,
    field: usize,
    lengths: &[u32],
) -> tantivy::Result<()> {
    let inverted = reader.inverted_index(Field::from_field_id(field as u32))?;
    let mut terms = inverted.terms().stream()?;
    while terms.advance() {
        let term = terms.value();
        if term.doc_freq as usize <= BLOCK_DOCUMENTS {
            continue;
        }
        let mut postings =
            inverted.read_block_postings_from_terminfo(term, IndexRecordOption::WithFreqs)?;
        bounds.begin_term(term.postings_range.start as u64);
        while let Some(last) = postings.docs().last() {
            let both = postings.docs().iter().zip(postings.freqs());
            bounds.add_block(
                *last,
                both.map(|(document, frequency)| Occurrence {
                    frequency: *frequency,
                    length: lengths[*document as usize],
                }),
            );
            postings.advance();
        }
    }
    Ok(())
}

/// Returns the files of a folder, with their lengths and hashes, by name.
fn list(folder: &Path) -> Result<Vec<FileEntry>, RankingError> {
    let numbers = folder.join(NUMBERS);
    let permissions =
        fs::metadata(&numbers).map_err(RankingError::io(&numbers, "read"))?.permissions();
    let entries = fs::read_dir(folder).map_err(RankingError::io(folder, "read"))?;
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.map_err(RankingError::io(folder, "read"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Locks and lists of files for writers, which a sealed index never has.
        if name.starts_with('.') {
            fs::remove_file(entry.path()).map_err(RankingError::io(folder, "written"))?;
            continue;
        }
        // tantivy keeps its list of files from everyone but the owner; who may read the others may
        // read it too.
        fs::set_permissions(entry.path(), permissions.clone())
            .map_err(RankingError::io(folder, "written"))?;
        let (bytes, hash) = files::hash(&entry.path())?;
        out.push(FileEntry { name, bytes, hash });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}
