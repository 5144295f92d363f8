//! A file's text cut into blocks of whole records.
//!
//! A block is about 4 MiB. It ends where a record ends; what is left of the last read moves into
//! the next block. A record longer than a block makes its block longer, up to the limit for a
//! record; behind the limit its bytes are read and forgotten:
//!
//! ```text
//! read:   |........\n.......\n....|.....\n......\n...|
//! block:  |........\n.......\n|
//!                             |.........\n......\n|
//! ```

use std::ops::Range;

use arrow::array::RecordBatch;

use super::entries::EntryScan;
use super::error::{BadRecord, ExchangeError, Fault, Place};
use super::format::Framing;
use super::input::{Charge, Input};
use super::parquet;

/// The size of a block in bytes.
pub(super) const BLOCK_BYTES: usize = 4 << 20;

/// Whole records, in the order of the file.
pub(super) struct Block {
    /// Where the records are.
    pub(super) cut: Cut,
    /// The bytes counted as held for it.
    pub(super) charge: Charge,
}

/// What was cut from an input.
pub(super) enum Cut {
    /// Text.
    Text(Content),
    /// Rows of Parquet that are no lines yet, and the number of the first, counted from 1.
    Rows(Vec<RecordBatch>, u64),
}

impl Cut {
    /// Returns the records, rows as lines.
    pub(super) fn content(self) -> Content {
        let (rows, first) = match self {
            Cut::Text(content) => return content,
            Cut::Rows(rows, first) => (rows, first),
        };
        let mut bytes = Vec::new();
        match rows.iter().try_for_each(|rows| parquet::write_lines(rows, &mut bytes)) {
            Ok(()) => Content::Lines { bytes, first, place: Place::Row },
            Err(why) => Content::Bad(Fault::whole(why).at(Place::Row(first))),
        }
    }

    /// Returns the bytes that are held for it.
    fn bytes(&self) -> usize {
        match self {
            Cut::Text(Content::Lines { bytes, .. } | Content::Entries { bytes, .. }) => bytes.len(),
            Cut::Text(Content::Bad(_)) => 0,
            Cut::Rows(rows, _) => rows.iter().map(RecordBatch::get_array_memory_size).sum(),
        }
    }
}

/// The records of a block.
pub(super) enum Content {
    /// Lines.
    Lines {
        /// The text; the last line may lack its end.
        bytes: Vec<u8>,
        /// The number of the first line.
        first: u64,
        /// What a number of a line is a place of: the file, or rows that became lines.
        place: fn(u64) -> Place,
    },
    /// Elements of an array.
    Entries {
        /// The text.
        bytes: Vec<u8>,
        /// Where the elements are.
        spans: Vec<Range<usize>>,
        /// The index of the first element.
        first: u64,
    },
    /// A record that could not be cut out.
    Bad(BadRecord),
}

/// Cuts the text of an input into blocks.
pub(super) struct Blocks {
    input: Input,
    /// Text that was read and not handed out.
    buffer: Vec<u8>,
    /// Whether the input is at its end.
    ended: bool,
    /// The error that ended it.
    error: Option<ExchangeError>,
    record_bytes_max: usize,
    /// The number of the next line or element.
    next: u64,
    entries: Option<EntryScan>,
    place: fn(u64) -> Place,
}

impl Blocks {
    /// Returns the blocks of `input`, whose text begins with the already read `buffer`; reading
    /// it told `ended`.
    pub(super) fn new(
        input: Input,
        (buffer, ended): (Vec<u8>, Result<bool, ExchangeError>),
        framing: Framing,
        record_bytes_max: usize,
    ) -> Blocks {
        let (ended, error) = match ended {
            Ok(ended) => (ended, None),
            Err(error) => (true, Some(error)),
        };
        let (entries, next) = match framing {
            Framing::Lines => (None, 1),
            Framing::Array => (Some(EntryScan::default()), 0),
            Framing::Within => (Some(EntryScan::within_object()), 0),
        };
        let place = if input.is_parquet() { Place::Row } else { Place::Line };
        Blocks { input, buffer, ended, error, record_bytes_max, next, entries, place }
    }

    /// Returns the next block; `None` at the end. After an error there is no further block.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>, ExchangeError> {
        let cut = match self.entries.take() {
            None if self.buffer.is_empty() && self.input.is_parquet() => self.next_rows(),
            None => self.next_lines().map(Cut::Text),
            Some(mut scan) => {
                let content = self.next_entries(&mut scan);
                self.entries = Some(scan);
                content.map(Cut::Text)
            }
        };
        match (cut, self.error.take()) {
            (Some(cut), error) => {
                self.error = error;
                let charge = self.input.progress().charge(cut.bytes() + self.buffer.len());
                Ok(Some(Block { cut, charge }))
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Reads until the buffer holds a block, or one block more where it holds more already.
    fn fill(&mut self) {
        if self.ended {
            return;
        }
        let missing = BLOCK_BYTES.saturating_sub(self.buffer.len());
        let bytes = if missing < BLOCK_BYTES / 4 { BLOCK_BYTES } else { missing };
        match self.input.fill(&mut self.buffer, bytes) {
            Ok(ended) => self.ended = ended,
            Err(error) => {
                self.ended = true;
                self.error = Some(error);
            }
        }
    }

    /// Takes the first `cut` bytes of the buffer; those from `keep` on stay.
    fn take(&mut self, cut: usize, keep: usize) -> Vec<u8> {
        let rest = self.buffer[keep..].to_vec();
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(cut);
        bytes
    }

    fn next_lines(&mut self) -> Option<Content> {
        // What the buffer holds at first may be a whole block: the head that was looked at.
        let mut searched = 0;
        loop {
            let end = memchr::memrchr(b'\n', &self.buffer[searched..]).map(|at| searched + at + 1);
            let cut = match end {
                Some(end) if self.buffer.len() >= BLOCK_BYTES || self.ended => end,
                None if self.buffer.len() > self.record_bytes_max && !self.ended => {
                    return Some(self.skip_line());
                }
                _ if self.ended => 0,
                _ => {
                    searched = end.map_or(self.buffer.len(), |end| end - 1);
                    self.fill();
                    continue;
                }
            };
            // Damage cuts its last line anywhere; an undamaged last line may lack its end.
            let cut = if self.ended && self.error.is_none() { self.buffer.len() } else { cut };
            if cut == 0 {
                return None;
            }
            let bytes = self.take(cut, cut);
            let first = self.next;
            self.next += memchr::memchr_iter(b'\n', &bytes).count() as u64;
            return Some(Content::Lines { bytes, first, place: self.place });
        }
    }

    /// Takes rows as they are: whoever parses them makes lines of them.
    fn next_rows(&mut self) -> Option<Cut> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let first = self.next;
        while bytes < BLOCK_BYTES && !self.ended {
            match self.input.next_rows() {
                Ok(Some(batch)) => {
                    bytes += batch.get_array_memory_size();
                    self.next += batch.num_rows() as u64;
                    rows.push(batch);
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    self.error = Some(error);
                }
            }
        }
        (!rows.is_empty()).then_some(Cut::Rows(rows, first))
    }

    /// Forgets the line that the buffer begins with.
    fn skip_line(&mut self) -> Content {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                self.take(0, end + 1);
                break;
            }
            self.buffer.clear();
            if self.ended {
                break;
            }
            self.fill();
        }
        let place = (self.place)(self.next);
        self.next += 1;
        Content::Bad(too_long(self.record_bytes_max).at(place))
    }

    fn next_entries(&mut self, scan: &mut EntryScan) -> Option<Content> {
        loop {
            if let Some(end) = scan.run(&self.buffer) {
                // The end of an element whose beginning was forgotten.
                self.take(0, end);
                scan.forget(end);
                return Some(Content::Bad(self.bad_entry(too_long(self.record_bytes_max))));
            }
            let full = self.buffer.len() >= BLOCK_BYTES;
            let partial = self.buffer.len() - scan.keep_from(self.buffer.len());
            let long = partial > self.record_bytes_max;
            if !scan.spans().is_empty() && (full || long || self.ended) {
                let spans = scan.take_spans();
                let cut = spans.last().map_or(0, |span| span.end);
                let keep = scan.keep_from(self.buffer.len());
                let bytes = self.take(cut, keep);
                scan.forget(keep);
                let first = self.next;
                self.next += spans.len() as u64;
                return Some(Content::Entries { bytes, spans, first });
            }
            if self.ended {
                scan.forget(self.buffer.len());
                self.buffer.clear();
                let fault = scan.end();
                let fault = if self.error.is_some() { None } else { fault };
                return fault.map(|fault| Content::Bad(self.bad_entry(fault)));
            }
            if long {
                scan.skip_entry();
            }
            let keep = scan.keep_from(self.buffer.len());
            if scan.spans().is_empty() && keep > 0 {
                self.take(0, keep);
                scan.forget(keep);
            }
            self.fill();
        }
    }

    fn bad_entry(&mut self, fault: Fault) -> BadRecord {
        let place = Place::Entry(self.next);
        self.next += 1;
        fault.at(place)
    }
}

/// Returns the fault of a record over the limit.
pub(super) fn too_long(record_bytes_max: usize) -> Fault {
    Fault::whole(format!("the record is longer than {record_bytes_max} bytes, the limit for one"))
}
