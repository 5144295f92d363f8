//! The lines of a file, for formats that are read by one thread.

use std::collections::VecDeque;
use std::path::Path;

use super::blocks::{BLOCK_BYTES, Blocks, Content};
use super::error::{BadRecord, ExchangeError, Fault, Place};
use super::format::Framing;
use super::input::{Input, Progress};
use super::scan;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub place: Place,
    /// Its text without its end, and without a byte order mark before it.
    pub text: String,
}

/// The lines of a file that are not blank, plain or compressed with gzip or zstd. No more than a
/// block of about 4 MiB is held, or one line where that is longer.
pub struct Lines {
    blocks: Blocks,
    progress: Progress,
    waiting: VecDeque<Result<Line, BadRecord>>,
}

impl Lines {
    /// Opens a file. Lines longer than `line_bytes_max` are refused one by one.
    ///
    /// # Errors
    /// The file cannot be opened or is damaged before its first text.
    pub fn open(path: &Path, line_bytes_max: usize) -> Result<Lines, ExchangeError> {
        let mut input = Input::open(path)?;
        let mut head = Vec::new();
        let ended = match input.fill(&mut head, BLOCK_BYTES) {
            Err(error) if head.is_empty() => return Err(error),
            ended => ended,
        };
        let progress = input.progress().clone();
        let blocks = Blocks::new(input, (head, ended), Framing::Lines, line_bytes_max);
        Ok(Lines { blocks, progress, waiting: VecDeque::new() })
    }

    /// Returns a handle that tells how far reading has come.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Iterator for Lines {
    type Item = Result<Result<Line, BadRecord>, ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() {
            match self.blocks.next_block() {
                Ok(Some(block)) => queue(block.cut.content(), &mut self.waiting),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.waiting.pop_front().map(Ok)
    }
}

fn queue(content: Content, waiting: &mut VecDeque<Result<Line, BadRecord>>) {
    let (bytes, first, place) = match content {
        Content::Lines { bytes, first, place } => (bytes, first, place),
        Content::Bad(bad) => return waiting.push_back(Err(bad)),
        // Only a file opened as one array has these.
        Content::Entries { .. } => return,
    };
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(first..) {
        let line = scan::trim_start(line).trim_ascii_end();
        if line.is_empty() {
            continue;
        }
        let place = place(number);
        waiting.push_back(match std::str::from_utf8(line) {
            Ok(text) => Ok(Line { place, text: text.to_owned() }),
            Err(error) => Err(not_utf8(line, error).at(place)),
        });
    }
}

/// Returns the fault of a record that is not UTF-8.
pub(super) fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> Fault {
    let at = error.valid_up_to();
    let byte = bytes.get(at).copied().unwrap_or_default();
    Fault::whole(format!("found the byte 0x{byte:02x} at column {}, which is not UTF-8", at + 1))
}
