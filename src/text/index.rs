//! The index of all step rows: a document per row, a field per column of text.
//!
//! ```text
//!   add(row, columns) ──> one indexing thread, bounded memory ──> segments, not yet visible
//!   commit(position)  ──> segments and position in one atomic write of meta.json
//!   rows(column, query) ──> checksums of new files, postings, row numbers, sorted
//! ```
//!
//! A commit carries the position it stands for: the identity of the database and the sequence up to
//! which rows are in. The owner compares it with the store and adds what is missing, so a crash
//! between the two costs a replay and never a wrong answer.
//!
//! tantivy panics on some damaged files and answers wrongly from others. So before a file is first
//! read its checksum is compared, as long as the index is not larger than [`CHECKED_BYTES_MAX`]
//! (beyond that `verify` does it on demand), and a panic on the way to an answer becomes
//! [`TextError::Damaged`].

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tantivy::directory::MmapDirectory;
use tantivy::index::{SegmentComponent, SegmentMeta};
use tantivy::indexer::{IndexWriter, IndexWriterOptions};
use tantivy::query::{EnableScoring, Query};
use tantivy::schema::Field;
use tantivy::{Index, IndexReader, ReloadPolicy, Searcher, TantivyDocument, TantivyError};

use super::error::TextError;
use super::fields::{COLUMNS, ROW, WordTokenizer, plan, plan_phrase, schema, tokenizer_name};
use super::guard::{Opening, guarded};
use super::pieces::documents_with_run;
use super::query::TextQuery;
use super::read_only::ReadOnlyDirectory;

/// Up to this many bytes of files are checked against their checksums before they are read
/// (about a second of work).
pub const CHECKED_BYTES_MAX: u64 = 4 << 30;

/// The least memory that tantivy's writer works with.
const WRITER_BYTES_MIN: usize = 15 << 20;

/// Up to where an index is in step with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The identity of the database.
    pub database: [u8; 16],
    /// The sequence up to which, inclusive, all rows are indexed.
    pub sequence: u64,
}

impl Position {
    /// Returns identity, sequence and a checksum over both, since `meta.json` has none.
    fn print(&self) -> String {
        let both = format!("{:032x} {}", u128::from_be_bytes(self.database), self.sequence);
        let checksum = blake3::hash(both.as_bytes()).to_hex();
        format!("{both} {}", &checksum[..16])
    }

    fn parse(text: &str) -> Option<Position> {
        let (database, rest) = text.split_once(' ')?;
        let (sequence, _) = rest.split_once(' ')?;
        let database = u128::from_str_radix(database, 16).ok()?.to_be_bytes();
        let position = Position { database, sequence: sequence.parse().ok()? };
        (position.print() == text).then_some(position)
    }
}

/// The full-text index of one database.
pub struct TextIndex {
    directory: PathBuf,
    index: Index,
    row: Field,
    columns: Vec<(&'static str, Field)>,
    memory_bytes: usize,
    mode: Mode,
    writer: Option<IndexWriter>,
    position: Option<Position>,
    reading: Mutex<Reading>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Write,
    Read,
}

/// What is known of the files on disk.
#[derive(Default)]
struct Reading {
    /// The files whose checksums were compared.
    checked: HashSet<PathBuf>,
    /// The open segments; dropped when a commit makes them old.
    reader: Option<IndexReader>,
}

impl TextIndex {
    /// Opens the index in `directory` for reading and writing. Where there is none, or one of
    /// another version, an empty one without a position is created.
    ///
    /// `memory_bytes` bounds the buffers of the indexing thread (15 MiB are the least); merging
    /// segments maps files and takes little beside them.
    ///
    /// # Errors
    /// `Damaged` if the files cannot be understood; `Io`. A second writer is noticed at `add`.
    pub fn open_or_create(directory: &Path, memory_bytes: usize) -> Result<TextIndex, TextError> {
        fs::create_dir_all(directory)?;
        let files = MmapDirectory::open(directory).map_err(TantivyError::from)?;
        let index = match guarded(|| Index::open(files)) {
            Ok(index) if index.schema() == schema() => index,
            Ok(_) | Err(Opening::Outdated) => return TextIndex::recreate(directory, memory_bytes),
            Err(Opening::Absent) => create(directory)?,
            Err(Opening::Failed(error)) => return Err(error),
        };
        TextIndex::new(directory, index, memory_bytes, Mode::Write)
    }

    /// Opens the index in `directory` for reading, without writing a byte or taking a lock.
    ///
    /// # Errors
    /// `Outdated` where there is none or one of another version; `Damaged`; `Io`.
    pub fn open_read_only(directory: &Path) -> Result<TextIndex, TextError> {
        let outdated = |found| TextError::Outdated { directory: directory.to_path_buf(), found };
        if !directory.is_dir() {
            return Err(outdated("missing"));
        }
        let files = MmapDirectory::open(directory).map_err(TantivyError::from)?;
        let index = match guarded(|| Index::open(ReadOnlyDirectory(files))) {
            Ok(index) if index.schema() == schema() => index,
            Ok(_) | Err(Opening::Outdated) => return Err(outdated("of another version")),
            Err(Opening::Absent) => return Err(outdated("missing")),
            Err(Opening::Failed(error)) => return Err(error),
        };
        TextIndex::new(directory, index, 0, Mode::Read)
    }

    /// Removes what is in `directory` and creates an empty index without a position. No other
    /// `TextIndex` may have it open for writing.
    ///
    /// # Errors
    /// `Io`.
    pub fn recreate(directory: &Path, memory_bytes: usize) -> Result<TextIndex, TextError> {
        fs::remove_dir_all(directory)?;
        fs::create_dir_all(directory)?;
        TextIndex::new(directory, create(directory)?, memory_bytes, Mode::Write)
    }

    fn new(
        directory: &Path,
        index: Index,
        memory_bytes: usize,
        mode: Mode,
    ) -> Result<TextIndex, TextError> {
        index.tokenizers().register(&tokenizer_name(), WordTokenizer);
        let field = |name: &str| index.schema().get_field(name);
        let columns = COLUMNS
            .iter()
            .map(|&name| Ok((name, field(name)?)))
            .collect::<Result<Vec<_>, TantivyError>>()?;
        let mut text = TextIndex {
            directory: directory.to_path_buf(),
            row: field(ROW)?,
            columns,
            index,
            memory_bytes: memory_bytes.max(WRITER_BYTES_MIN),
            mode,
            writer: None,
            position: None,
            reading: Mutex::default(),
        };
        text.position = text.read_position()?;
        Ok(text)
    }

    /// Returns up to where the index is in step, `None` for an empty one.
    ///
    /// It is read when the index is opened, refreshed and committed; `rows` may know later rows,
    /// never fewer.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Returns where the index lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes up what another process has committed.
    ///
    /// # Errors
    /// `Damaged`; `Io`.
    pub fn refresh(&mut self) -> Result<(), TextError> {
        self.position = self.read_position()?;
        self.reading().reader = None;
        Ok(())
    }

    /// Adds a row: its number and the texts of its columns; a column that is left out or empty
    /// matches nothing. Visible after the next commit.
    ///
    /// # Errors
    /// `UnknownColumn`; `Locked`; `ReadOnly`; after `Failed` and `Io` the rows since the last
    /// commit are gone and have to be added again.
    pub fn add(&mut self, row: u64, texts: &[(&str, &str)]) -> Result<(), TextError> {
        let mut document = TantivyDocument::new();
        document.add_u64(self.row, row);
        for (column, text) in texts {
            document.add_text(self.field(column)?, text);
        }
        let added = self.writer()?.add_document(document).map(|_| ());
        self.keep_writer_if(added)
    }

    /// Makes all added rows durable and visible, together with the position they reach.
    ///
    /// # Errors
    /// As `add`.
    pub fn commit(&mut self, position: Position) -> Result<(), TextError> {
        let writer = self.writer()?;
        let committed = writer.prepare_commit().and_then(|mut prepared| {
            prepared.set_payload(&position.print());
            prepared.commit().map(|_| ())
        });
        self.keep_writer_if(committed)?;
        self.position = Some(position);
        self.reading().reader = None;
        Ok(())
    }

    /// Removes all rows, those not yet committed too; others see it after the next commit.
    ///
    /// # Errors
    /// As `add`.
    pub fn clear(&mut self) -> Result<(), TextError> {
        let cleared = self.writer()?.delete_all_documents().map(|_| ());
        self.keep_writer_if(cleared)
    }

    /// Waits until the segments that are being merged are written. Without it a merge that is
    /// under way is given up when the index is dropped, and done again some time later.
    ///
    /// # Errors
    /// `Failed`; `Io`.
    pub fn close(mut self) -> Result<(), TextError> {
        match self.writer.take() {
            Some(writer) => Ok(writer.wait_merging_threads()?),
            None => Ok(()),
        }
    }

    /// Returns the numbers of the rows whose `column` matches, ascending, each once.
    ///
    /// # Errors
    /// `UnknownColumn`; `Damaged`; `Io`.
    pub fn rows(&self, column: &str, query: &TextQuery) -> Result<Vec<u64>, TextError> {
        let field = self.field(column)?;
        let searcher = self.searcher()?;
        let found = || scan(&searcher, plan(field, query, &searcher)?.as_ref());
        guarded(found).map(ascending).map_err(TextError::from)
    }

    /// Returns rows, ascending, among which are all whose `column` holds every one of `runs`
    /// ([`runs_of_pattern`](super::runs_of_pattern)).
    ///
    /// # Errors
    /// As [`TextIndex::rows`].
    pub fn rows_with_runs(&self, column: &str, runs: &[String]) -> Result<Vec<u64>, TextError> {
        let field = self.field(column)?;
        let searcher = self.searcher()?;
        let found = || {
            let mut rows = Vec::new();
            for segment in searcher.segment_readers() {
                let numbers = segment.fast_fields().u64(ROW)?;
                let mut of_runs = runs.iter().map(|run| documents_with_run(segment, field, run));
                let Some(mut documents) = of_runs.next().transpose()? else { continue };
                for of_run in of_runs {
                    documents.iter_mut().zip(of_run?).for_each(|(both, one)| *both &= one);
                }
                let held = (0..).zip(documents).filter(|(_, may_hold)| *may_hold);
                rows.extend(held.filter_map(|(document, _)| numbers.first(document)));
            }
            Ok(rows)
        };
        guarded(found).map(ascending).map_err(TextError::from)
    }

    /// Returns the rows of which the query is true in any of `columns`, ascending, each once,
    /// with its score: the sum, over the columns where it is true and the phrases it seeks, of
    /// BM25 (Robertson and Zaragoza 2009, with k1 = 1.2 and b = .75, lengths of texts rounded to a
    /// byte as Lucene does). A phrase counts as often as it occurs, with the sum of its words'
    /// inverse document frequencies; the beginning of a word counts 1 where it occurs.
    ///
    /// Each phrase is scored by itself and the sum is taken in the order written, so that the
    /// score depends on the rows in the index and not on how it is cut into segments.
    ///
    /// # Errors
    /// As [`TextIndex::rows`].
    pub fn scored(
        &self,
        columns: &[&str],
        query: &TextQuery,
    ) -> Result<Vec<(u64, f64)>, TextError> {
        let searcher = self.searcher()?;
        let mut scores: Vec<(u64, f64)> = Vec::new();
        for column in columns {
            let field = self.field(column)?;
            let of_column = self.rows(column, query)?;
            let mut sums = vec![0.0; of_column.len()];
            for phrase in query.phrases() {
                let found = || {
                    let plan = plan_phrase(field, phrase, &searcher)?;
                    scan_scores(&searcher, plan.as_ref(), &mut |row, score| {
                        if let Ok(at) = of_column.binary_search(&row) {
                            sums[at] += f64::from(score);
                        }
                    })
                };
                guarded(found).map_err(TextError::from)?;
            }
            scores.extend(of_column.into_iter().zip(sums));
        }
        scores.sort_by_key(|(row, _)| *row);
        scores.dedup_by(|later, first| {
            let same = later.0 == first.0;
            first.1 += if same { later.1 } else { 0.0 };
            same
        });
        Ok(scores)
    }

    /// Returns how many rows are in the index.
    ///
    /// # Errors
    /// `Damaged`; `Io`.
    pub fn row_count(&self) -> Result<u64, TextError> {
        Ok(self.searcher()?.num_docs())
    }

    /// Returns the bytes of the committed files.
    ///
    /// # Errors
    /// `Damaged`; `Io`.
    pub fn size_bytes(&self) -> Result<u64, TextError> {
        Ok(self.files()?.iter().map(|file| self.file_bytes(file)).sum())
    }

    /// Compares every committed file with its checksum.
    ///
    /// # Errors
    /// `Damaged`, which names the first file that differs; `Io`.
    pub fn verify(&self) -> Result<(), TextError> {
        for file in self.files()? {
            self.check(&file)?;
        }
        Ok(())
    }

    fn field(&self, column: &str) -> Result<Field, TextError> {
        self.columns
            .iter()
            .find(|(name, _)| *name == column)
            .map(|(_, field)| *field)
            .ok_or_else(|| TextError::UnknownColumn(column.to_owned()))
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_position(&self) -> Result<Option<Position>, TextError> {
        let metas = guarded(|| self.index.load_metas())?;
        let parse = |payload: String| {
            Position::parse(&payload)
                .ok_or_else(|| TextError::Damaged(format!("its position reads '{payload}'")))
        };
        metas.payload.map(parse).transpose()
    }

    fn writer(&mut self) -> Result<&mut IndexWriter, TextError> {
        if self.mode == Mode::Read {
            return Err(TextError::ReadOnly);
        }
        if self.writer.is_none() {
            let options = IndexWriterOptions::builder()
                .num_worker_threads(1)
                .num_merge_threads(1)
                .memory_budget_per_thread(self.memory_bytes)
                .build();
            self.writer = Some(guarded(|| self.index.writer_with_options(options))?);
        }
        self.writer.as_mut().ok_or(TextError::ReadOnly)
    }

    /// Gives up a writer that failed, so that the next use starts from the last commit.
    fn keep_writer_if(&mut self, done: tantivy::Result<()>) -> Result<(), TextError> {
        if done.is_err() {
            self.writer = None;
        }
        Ok(done?)
    }

    fn searcher(&self) -> Result<Searcher, TextError> {
        let mut reading = self.reading();
        if let Some(reader) = &reading.reader {
            return Ok(reader.searcher());
        }
        let reader = loop {
            let files = self.files()?;
            match self.open_reader(&files, &mut reading.checked) {
                // A writer may have removed files under our hands; then the list is another.
                Err(TextError::Damaged(_)) if self.files()? != files => {}
                opened => break opened?,
            }
        };
        let searcher = reader.searcher();
        reading.reader = Some(reader);
        Ok(searcher)
    }

    fn open_reader(
        &self,
        files: &[PathBuf],
        checked: &mut HashSet<PathBuf>,
    ) -> Result<IndexReader, TextError> {
        let bytes: u64 = files.iter().map(|file| self.file_bytes(file)).sum();
        if bytes <= CHECKED_BYTES_MAX {
            for file in files.iter().filter(|file| !checked.contains(*file)) {
                self.check(file)?;
            }
        }
        *checked = files.iter().cloned().collect();
        let builder = self.index.reader_builder().reload_policy(ReloadPolicy::Manual);
        Ok(guarded(|| builder.try_into())?)
    }

    /// Returns the committed files, without `meta.json`.
    fn files(&self) -> Result<Vec<PathBuf>, TextError> {
        const COMPONENTS: [SegmentComponent; 6] = [
            SegmentComponent::Postings,
            SegmentComponent::Positions,
            SegmentComponent::FastFields,
            SegmentComponent::FieldNorms,
            SegmentComponent::Terms,
            SegmentComponent::Store,
        ];
        let segments = guarded(|| self.index.searchable_segment_metas())?;
        let files =
            |segment: &SegmentMeta| COMPONENTS.map(|component| segment.relative_path(component));
        Ok(segments.iter().flat_map(files).collect())
    }

    fn file_bytes(&self, file: &Path) -> u64 {
        fs::metadata(self.directory.join(file)).map_or(0, |metadata| metadata.len())
    }

    fn check(&self, file: &Path) -> Result<(), TextError> {
        let is_whole = guarded(|| Ok(self.index.directory().validate_checksum(file)?))?;
        if is_whole {
            return Ok(());
        }
        Err(TextError::Damaged(format!("the checksum of {} differs", file.display())))
    }
}

fn create(directory: &Path) -> Result<Index, TextError> {
    Ok(Index::create_in_dir(directory, schema())?)
}

/// Returns rows in their order, each once.
fn ascending(mut rows: Vec<u64>) -> Vec<u64> {
    // Segments mostly hold ranges of rows one after the other, which this sort finds in order.
    rows.sort();
    rows.dedup();
    rows
}

/// Returns the row numbers of all matching documents, segment by segment.
fn scan(searcher: &Searcher, query: &dyn Query) -> tantivy::Result<Vec<u64>> {
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher))?;
    let mut rows = Vec::new();
    for segment in searcher.segment_readers() {
        let numbers = segment.fast_fields().u64(ROW)?;
        weight.for_each_no_score(segment, &mut |documents| {
            rows.extend(documents.iter().filter_map(|&document| numbers.first(document)));
        })?;
    }
    Ok(rows)
}

/// Visits the row number and the score of every matching document.
fn scan_scores(
    searcher: &Searcher,
    query: &dyn Query,
    visit: &mut dyn FnMut(u64, f32),
) -> tantivy::Result<()> {
    let weight = query.weight(EnableScoring::enabled_from_searcher(searcher))?;
    for segment in searcher.segment_readers() {
        let numbers = segment.fast_fields().u64(ROW)?;
        weight.for_each(segment, &mut |document, score| {
            if let Some(row) = numbers.first(document) {
                visit(row, score);
            }
        })?;
    }
    Ok(())
}
