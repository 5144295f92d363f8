//! The bytes of a file, decompressed on the way, counted for progress and for memory.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::RecordBatch;

use super::error::ExchangeError;
use super::parquet::{self, ParquetRows};

/// Counts shared by the threads that read a file and whoever watches.
#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    total: AtomicU64,
    buffered: AtomicU64,
    buffered_max: AtomicU64,
    file_failed: AtomicBool,
}

/// How far reading has come: a cheap handle that any thread may keep.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

impl Progress {
    /// Returns the bytes of the file read so far, compressed where it is compressed.
    pub fn bytes_read(&self) -> u64 {
        self.0.read.load(Ordering::Relaxed)
    }

    /// Returns the size of the file in bytes when it was opened.
    pub fn bytes_total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    /// Returns the bytes of text that were read and whose records were not handed out yet.
    pub fn bytes_buffered(&self) -> u64 {
        self.0.buffered.load(Ordering::Relaxed)
    }

    /// Returns the most that [`Progress::bytes_buffered`] ever was.
    pub fn bytes_buffered_max(&self) -> u64 {
        self.0.buffered_max.load(Ordering::Relaxed)
    }

    /// Says how many bytes of the file were read, where no one can count them.
    pub(super) fn set_bytes_read(&self, bytes: u64) {
        self.0.read.store(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` as held in memory until the returned charge is dropped.
    pub(super) fn charge(&self, bytes: usize) -> Charge {
        let bytes = bytes as u64;
        let now = self.0.buffered.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.0.buffered_max.fetch_max(now, Ordering::Relaxed);
        Charge { progress: self.clone(), bytes }
    }
}

/// Bytes counted as held in memory.
#[derive(Debug)]
pub(super) struct Charge {
    progress: Progress,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.progress.0.buffered.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The file itself; remembers whether an error came from it and not from a decoder above it.
struct Counted {
    file: File,
    progress: Progress,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer) {
            Ok(count) => {
                self.progress.0.read.fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.progress.0.file_failed.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }
}

/// What is read.
enum Source {
    Text(Box<dyn Read + Send>),
    Rows(ParquetRows),
}

/// The text of a file, or its rows.
pub(super) struct Input {
    source: Source,
    path: PathBuf,
    method: Option<&'static str>,
    decoded: u64,
    progress: Progress,
}

impl Input {
    /// Opens a file and recognises its compression by its first bytes.
    pub(super) fn open(path: &Path) -> Result<Input, ExchangeError> {
        let failed = |source| ExchangeError::file(path, source);
        let file = File::open(path).map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        if facts.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let progress = Progress::default();
        progress.0.total.store(facts.len(), Ordering::Relaxed);
        let mut counted = Counted { file, progress: progress.clone() };
        let mut magic = Vec::with_capacity(4);
        counted.by_ref().take(4).read_to_end(&mut magic).map_err(failed)?;
        let method = method_of(&magic);
        if method == Some(PARQUET) {
            return Input::open_parquet(path, progress);
        }
        let whole = Cursor::new(magic).chain(counted);
        let reader: Box<dyn Read + Send> = match method {
            Some("gzip") => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(whole))),
            Some(_) => Box::new(zstd::Decoder::new(whole).map_err(failed)?),
            None => Box::new(whole),
        };
        let source = Source::Text(reader);
        Ok(Input { source, path: path.to_owned(), method, decoded: 0, progress })
    }

    fn open_parquet(path: &Path, progress: Progress) -> Result<Input, ExchangeError> {
        let open = || ParquetRows::open(File::open(path)?, progress.clone());
        let opened = open();
        let source = Source::Text(Box::new(io::empty()));
        let method = Some(PARQUET);
        let mut input = Input { source, path: path.to_owned(), method, decoded: 0, progress };
        input.source = Source::Rows(opened.map_err(|error| input.error(error))?);
        Ok(input)
    }

    /// Whether the lines of the text are rows of Parquet.
    pub(super) fn is_parquet(&self) -> bool {
        self.method == Some(PARQUET)
    }

    /// Returns the counts of this file.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Appends up to `bytes` of text to `buffer` (of Parquet, whole lines, the last of which may
    /// end behind that) and returns whether the text is at its end.
    /// What was read before an error is in the buffer.
    pub(super) fn fill(
        &mut self,
        buffer: &mut Vec<u8>,
        bytes: usize,
    ) -> Result<bool, ExchangeError> {
        let before = buffer.len();
        let ended = match &mut self.source {
            Source::Rows(rows) => rows.fill(buffer, bytes),
            Source::Text(reader) => {
                buffer.reserve(bytes);
                let result = reader.by_ref().take(bytes as u64).read_to_end(buffer);
                result.map(|count| count < bytes)
            }
        };
        self.decoded += (buffer.len() - before) as u64;
        ended.map_err(|error| self.error(error))
    }

    /// Returns the next rows of Parquet; `None` at the end, and of what is none.
    pub(super) fn next_rows(&mut self) -> Result<Option<RecordBatch>, ExchangeError> {
        let rows = match &mut self.source {
            Source::Rows(rows) => rows.next_rows(),
            Source::Text(_) => Ok(None),
        };
        let rows = rows.map_err(|error| self.error(error))?;
        self.decoded += rows.as_ref().map_or(0, |rows| rows.get_array_memory_size() as u64);
        Ok(rows)
    }

    fn error(&self, error: io::Error) -> ExchangeError {
        match self.method {
            Some(PARQUET) if error.kind() == io::ErrorKind::InvalidData => ExchangeError::Parquet {
                path: self.path.clone(),
                decoded: self.decoded,
                reason: error.to_string(),
            },
            Some(PARQUET) => ExchangeError::file(&self.path, error),
            Some(method) if !self.progress.0.file_failed.load(Ordering::Relaxed) => {
                ExchangeError::Compression {
                    path: self.path.clone(),
                    method,
                    offset: self.progress.bytes_read(),
                    decoded: self.decoded,
                    reason: error.to_string(),
                }
            }
            _ => ExchangeError::file(&self.path, error),
        }
    }
}

/// What [`method_of`] calls rows of Parquet.
const PARQUET: &str = "parquet";

/// Returns the name of the compression that `magic` begins. Zstandard's skippable frames count.
fn method_of(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [0x1f, 0x8b, ..] => Some("gzip"),
        parquet::MAGIC => Some(PARQUET),
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some("zstd"),
        _ => None,
    }
}
