//! The lines of a file, one after the other, in bounded memory.

use std::path::Path;

use super::super::error::Fault;
use super::super::input::Input;
use super::error::TrecError;

/// The longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = 16 << 20;

/// How much is read at once, in bytes.
const BLOCK_BYTES: usize = 256 << 10;

/// Calls `each` with every line that is not blank, without its end, and its number.
///
/// # Errors
/// What `each` says, with the place; the file cannot be read; a line is no UTF-8 or has no end.
pub(super) fn each_line(
    path: &Path,
    each: &mut dyn FnMut(&str, u64) -> Result<(), Fault>,
) -> Result<(), TrecError> {
    let mut input = Input::open(path)?;
    let (mut buffer, mut number, mut is_last) = (Vec::new(), 0, false);
    while !is_last {
        is_last = input.fill(&mut buffer, BLOCK_BYTES)?;
        let mut from = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[from..]) {
            number += 1;
            hand_out(path, &buffer[from..from + length], number, each)?;
            from += length + 1;
        }
        if is_last && from < buffer.len() {
            hand_out(path, &buffer[from..], number + 1, each)?;
        }
        buffer.drain(..from);
        if buffer.len() > LINE_BYTES_MAX {
            let message = format!("found no end of this line within {LINE_BYTES_MAX} bytes");
            return Err(TrecError::line(path, number + 1, Fault::whole(message)));
        }
    }
    Ok(())
}

fn hand_out(
    path: &Path,
    line: &[u8],
    number: u64,
    each: &mut dyn FnMut(&str, u64) -> Result<(), Fault>,
) -> Result<(), TrecError> {
    let line = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let failed = |fault| TrecError::line(path, number, fault);
    let text = std::str::from_utf8(line).map_err(|error| {
        let column = error.valid_up_to() + 1;
        failed(Fault::whole(format!("found a byte at column {column} that is no UTF-8")))
    })?;
    if let Some(at) = memchr::memchr(0, line) {
        let message = format!("found a NUL byte at column {}; expected text", at + 1);
        return Err(failed(Fault::whole(message)));
    }
    if text.trim().is_empty() {
        return Ok(());
    }
    each(text, number).map_err(failed)
}
