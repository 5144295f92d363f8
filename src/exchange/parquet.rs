//! Parquet: the rows of a file, and lines of JSON made of them.
//!
//! A row becomes one object of its columns, so that whatever reads records of JSON lines reads
//! Parquet too. The first rows become lines at once, to recognise the format by; the others where
//! they are parsed, by several threads. Columns without a value are left out: writers give the
//! structs of a list all fields that any of them has, and fill them with nulls.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow_json::writer::{LineDelimited, WriterBuilder};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::input::Progress;

/// What a file begins with.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// The most rows that are decoded together: a text that a file holds once may be in all of them.
const ROWS_MAX: u64 = 256;

/// The text that is decoded together, in bytes, where rows are not larger.
const TEXT_BYTES: u64 = 4 << 20;

/// The rows of a Parquet file.
pub(super) struct ParquetRows {
    batches: ParquetRecordBatchReader,
    rows: u64,
    rows_read: u64,
    progress: Progress,
}

impl ParquetRows {
    /// Opens the file, and reads where its rows are.
    ///
    /// # Errors
    /// The system's own; one of kind `InvalidData` where the file is damaged or is written in a way
    /// that is not read.
    pub(super) fn open(file: File, progress: Progress) -> io::Result<ParquetRows> {
        guarded(|| {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(of_parquet)?;
            let metadata = builder.metadata();
            let rows = metadata.file_metadata().num_rows().max(0).cast_unsigned();
            let row_bytes = metadata
                .row_groups()
                .iter()
                .map(|group| group.total_byte_size() / group.num_rows().max(1))
                .max()
                .unwrap_or_default()
                .max(1)
                .cast_unsigned();
            let together = (TEXT_BYTES / row_bytes).clamp(1, ROWS_MAX);
            let batches = builder.with_batch_size(together as usize).build().map_err(of_parquet)?;
            Ok(ParquetRows { batches, rows, rows_read: 0, progress })
        })
    }

    /// Decodes the next rows; `None` at the end.
    ///
    /// # Errors
    /// As [`ParquetRows::open`].
    pub(super) fn next_rows(&mut self) -> io::Result<Option<RecordBatch>> {
        let batches = &mut self.batches;
        let rows = guarded(|| batches.next().transpose().map_err(of_arrow))?;
        self.rows_read += rows.as_ref().map_or(0, |rows| rows.num_rows() as u64);
        let total = u128::from(self.progress.bytes_total());
        let read = total * u128::from(self.rows_read) / u128::from(self.rows.max(1));
        self.progress.set_bytes_read(read as u64);
        Ok(rows)
    }

    /// Appends the lines of next rows to `buffer` until `bytes` have come, and returns whether
    /// there are no more.
    ///
    /// # Errors
    /// As [`ParquetRows::open`].
    pub(super) fn fill(&mut self, buffer: &mut Vec<u8>, bytes: usize) -> io::Result<bool> {
        let end = buffer.len() + bytes;
        while buffer.len() < end {
            let Some(rows) = self.next_rows()? else { return Ok(true) };
            write_lines(&rows, buffer).map_err(damaged)?;
        }
        Ok(false)
    }
}

/// Appends rows to `out` as lines of JSON.
///
/// # Errors
/// Why their columns cannot be written so.
pub(super) fn write_lines(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<(), String> {
    let write = || {
        let mut writer = WriterBuilder::new().build::<_, LineDelimited>(out);
        writer.write(rows).and_then(|()| writer.finish()).map_err(of_arrow)
    };
    guarded(write).map_err(|error| error.to_string())
}

/// Calls the decoder; a panic, which is its answer to some damaged files, becomes an error.
fn guarded<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(damaged("its pages do not fit together")))
}

fn damaged(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn of_parquet(error: parquet::errors::ParquetError) -> io::Error {
    match error {
        parquet::errors::ParquetError::External(source) => of_source(source),
        other => damaged(other.to_string()),
    }
}

fn of_arrow(error: arrow::error::ArrowError) -> io::Error {
    match error {
        arrow::error::ArrowError::IoError(_, source) => of_source(Box::new(source)),
        arrow::error::ArrowError::ExternalError(source) => of_source(source),
        other => damaged(other.to_string()),
    }
}

/// Tells what the system says apart from what the bytes are.
fn of_source(source: Box<dyn std::error::Error + Send + Sync>) -> io::Error {
    match source.downcast::<io::Error>() {
        Ok(system) if system.kind() != io::ErrorKind::UnexpectedEof => *system,
        Ok(end) => damaged(end.to_string()),
        Err(other) => match other.downcast::<parquet::errors::ParquetError>() {
            Ok(inner) => of_parquet(*inner),
            Err(other) => damaged(other.to_string()),
        },
    }
}
