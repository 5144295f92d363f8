//! One file or folder of documents, in its order.

use std::path::Path;
use std::sync::Arc;
use std::vec;

use super::document::{BadDocument, Document, DocumentPlace, PlacedDocument};
use super::folder::{self, Folder, TextFile};
use super::recognise::{DocumentFormat, Shape, recognise};
use super::tabular::Columns;
use super::{json_lines, questions};
use crate::exchange::blocks::{BLOCK_BYTES, Blocks, Content, too_long};
use crate::exchange::error::{ExchangeError, Fault, Place};
use crate::exchange::input::{Input, Progress};
use crate::exchange::lines::not_utf8;
use crate::exchange::scan;

/// How documents are read.
#[derive(Clone, Debug)]
pub struct DocumentOptions {
    /// The format; `None`: recognised from the content.
    pub format: Option<DocumentFormat>,
    /// The longest record, or file of text, that is read, in bytes.
    pub record_bytes_max: usize,
}

impl Default for DocumentOptions {
    fn default() -> DocumentOptions {
        DocumentOptions { format: None, record_bytes_max: 64 << 20 }
    }
}

/// Documents in the order of their file, of about 4 MiB of its text.
#[derive(Debug, Default)]
pub struct DocumentBatch {
    /// The documents.
    pub documents: Vec<Result<PlacedDocument, BadDocument>>,
    /// The length of their text in bytes.
    pub bytes: usize,
}

/// Reads one file or folder; an iterator of batches that ends after the first error. No more is
/// held than two blocks of about 4 MiB and a batch, or a record where that is longer.
pub struct Documents {
    source: Source,
    format: DocumentFormat,
    skipped_files: u64,
    bytes_total: u64,
    record_bytes_max: usize,
}

enum Source {
    File(Box<FileSource>),
    Folder { files: vec::IntoIter<TextFile>, bad: Vec<BadDocument>, read: u64 },
    Ended,
}

struct FileSource {
    blocks: Blocks,
    progress: Progress,
    path: Arc<Path>,
    columns: Option<Columns>,
    is_first: bool,
}

impl Documents {
    /// Opens a file or a folder.
    ///
    /// # Errors
    /// It cannot be opened, holds nothing, is damaged before its first text, or is of no format
    /// that is read.
    pub fn open(path: &Path, options: &DocumentOptions) -> Result<Documents, ExchangeError> {
        let facts = std::fs::metadata(path).map_err(|source| ExchangeError::file(path, source))?;
        if facts.is_dir() {
            return Documents::open_folder(path, options);
        }
        let empty = |found| ExchangeError::Empty { path: path.to_owned(), found };
        let unrecognised =
            |found| ExchangeError::UnrecognisedDocuments { path: path.to_owned(), found };
        let mut input = Input::open(path)?;
        let mut head = Vec::new();
        let ended = match input.fill(&mut head, BLOCK_BYTES) {
            Err(error) if head.is_empty() => return Err(error),
            ended => ended,
        };
        let text = scan::trim_start(&head).trim_ascii_end();
        let is_whole = matches!(ended, Ok(true));
        if is_whole && text.is_empty() && options.format != Some(DocumentFormat::Text) {
            return Err(empty("the file holds no text"));
        }
        if is_whole && scan::after_bracket(text) == b"]" {
            return Err(empty("the file holds an empty list"));
        }
        if input.is_parquet() && options.format == Some(DocumentFormat::Text) {
            let found = "found a Parquet file, whose rows are records; told text".to_owned();
            return Err(unrecognised(found));
        }
        let Shape { format, framing, columns } =
            recognise(path, &head, options.format).map_err(unrecognised)?;
        let record_bytes_max = options.record_bytes_max;
        let source = if format == DocumentFormat::Text {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let id = name.unwrap_or_default();
            let file = TextFile { id, path: path.to_owned(), bytes: facts.len() };
            Source::folder(vec![file], Vec::new())
        } else {
            let progress = input.progress().clone();
            let blocks = Blocks::new(input, (head, ended), framing, record_bytes_max);
            let path = Arc::from(path);
            Source::File(Box::new(FileSource { blocks, progress, path, columns, is_first: true }))
        };
        let bytes_total = facts.len();
        Ok(Documents { source, format, skipped_files: 0, bytes_total, record_bytes_max })
    }

    fn open_folder(path: &Path, options: &DocumentOptions) -> Result<Documents, ExchangeError> {
        if let Some(format) = options.format.filter(|format| *format != DocumentFormat::Text) {
            let found = format!("found a folder, which is read as text; told {}", format.as_str());
            return Err(ExchangeError::UnrecognisedDocuments { path: path.to_owned(), found });
        }
        let Folder { files, bad, skipped } = Folder::scan(path)?;
        if files.is_empty() && bad.is_empty() {
            let found = "the folder holds no file that ends in .txt or .md";
            return Err(ExchangeError::Empty { path: path.to_owned(), found });
        }
        Ok(Documents {
            bytes_total: files.iter().map(|file| file.bytes).sum(),
            source: Source::folder(files, bad),
            format: DocumentFormat::Text,
            skipped_files: skipped,
            record_bytes_max: options.record_bytes_max,
        })
    }

    /// Returns the format that is read.
    pub fn format(&self) -> DocumentFormat {
        self.format
    }

    /// Returns how many files of the folder are left out: hidden ones, links, and what is neither
    /// text nor Markdown.
    pub fn skipped_files(&self) -> u64 {
        self.skipped_files
    }

    /// Returns the bytes read so far, compressed where they are compressed.
    pub fn bytes_read(&self) -> u64 {
        match &self.source {
            Source::File(file) => file.progress.bytes_read(),
            Source::Folder { read, .. } => *read,
            Source::Ended => self.bytes_total,
        }
    }

    /// Returns the bytes there were when it was opened.
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }
}

impl Source {
    fn folder(files: Vec<TextFile>, bad: Vec<BadDocument>) -> Source {
        Source::Folder { files: files.into_iter(), bad, read: 0 }
    }
}

impl Iterator for Documents {
    type Item = Result<DocumentBatch, ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match &mut self.source {
            Source::File(file) => file.next_batch(self.format, self.record_bytes_max),
            Source::Folder { files, bad, read, .. } => {
                next_files(files, bad, read, self.record_bytes_max)
            }
            Source::Ended => return None,
        };
        match batch {
            Ok(Some(batch)) => Some(Ok(batch)),
            Ok(None) => {
                self.source = Source::Ended;
                None
            }
            Err(error) => {
                self.source = Source::Ended;
                Some(Err(error))
            }
        }
    }
}

fn next_files(
    files: &mut vec::IntoIter<TextFile>,
    bad: &mut Vec<BadDocument>,
    read: &mut u64,
    bytes_max: usize,
) -> Result<Option<DocumentBatch>, ExchangeError> {
    let mut batch = DocumentBatch::default();
    batch.documents.extend(bad.drain(..).map(Err));
    while batch.bytes < BLOCK_BYTES {
        let Some(file) = files.next() else { break };
        let document = folder::read(&file, bytes_max)?;
        *read += file.bytes;
        batch.bytes += document.as_ref().map_or(0, |document| document.document.text.len());
        batch.documents.push(document);
    }
    Ok((!batch.documents.is_empty()).then_some(batch))
}

impl FileSource {
    /// Returns the next batch that holds something; `None` at the end.
    fn next_batch(
        &mut self,
        format: DocumentFormat,
        record_bytes_max: usize,
    ) -> Result<Option<DocumentBatch>, ExchangeError> {
        while let Some(block) = self.blocks.next_block()? {
            let mut batch = DocumentBatch::default();
            let out = &mut batch.documents;
            match block.cut.content() {
                Content::Lines { bytes, first, place } => {
                    batch.bytes = bytes.len();
                    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(first..) {
                        self.record(line, place(number), (format, record_bytes_max), out);
                    }
                }
                Content::Entries { bytes, spans, first } => {
                    batch.bytes = bytes.len();
                    for (span, index) in spans.into_iter().zip(first..) {
                        let place = Place::Entry(index);
                        self.record(&bytes[span], place, (format, record_bytes_max), out);
                    }
                }
                Content::Bad(bad) => {
                    let place = self.place(bad.place);
                    let (field, message) = (bad.field, bad.message);
                    out.push(Err(BadDocument { place, field, message }));
                }
            }
            if !batch.documents.is_empty() {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn place(&self, record: Place) -> DocumentPlace {
        DocumentPlace { path: Arc::clone(&self.path), record: Some(record) }
    }

    /// Parses one record, unless it is blank, and appends the documents it holds.
    fn record(
        &mut self,
        bytes: &[u8],
        record: Place,
        (format, record_bytes_max): (DocumentFormat, usize),
        out: &mut Vec<Result<PlacedDocument, BadDocument>>,
    ) {
        if scan::trim_start(bytes).is_empty() {
            return;
        }
        let is_first = std::mem::replace(&mut self.is_first, false);
        if is_first && self.columns.as_ref().is_some_and(Columns::is_named) {
            return;
        }
        let text = match std::str::from_utf8(bytes) {
            _ if bytes.len() > record_bytes_max => Err(too_long(record_bytes_max)),
            Ok(text) => Ok(text),
            Err(error) => Err(not_utf8(bytes, error)),
        };
        let place = self.place(record);
        match text.and_then(|text| self.parse(text, format, is_first)) {
            Ok(documents) => out.extend(
                documents
                    .into_iter()
                    .map(|document| Ok(PlacedDocument { document, place: place.clone() })),
            ),
            Err(Fault { field, message }) => out.push(Err(BadDocument { place, field, message })),
        }
    }

    fn parse(
        &self,
        text: &str,
        format: DocumentFormat,
        is_first: bool,
    ) -> Result<Vec<Document>, Fault> {
        // Blanks at the ends of a line of fields are fields.
        if let Some(columns) = &self.columns {
            let line = text.strip_suffix('\r').unwrap_or(text);
            let mark = if is_first { "\u{feff}" } else { "" };
            return columns.parse(line.strip_prefix(mark).unwrap_or(line)).map(|one| vec![one]);
        }
        let text = text.trim_start_matches(|c: char| c == '\u{feff}' || c.is_ascii_whitespace());
        let text = text.trim_ascii_end();
        match format {
            DocumentFormat::HotpotQa => questions::hotpotqa(text),
            DocumentFormat::Musique => questions::musique(text),
            _ => {
                let is_named = format == DocumentFormat::Documents;
                json_lines::parse(text, is_named).map(|one| vec![one])
            }
        }
    }
}
