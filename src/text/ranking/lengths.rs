//! The lengths of a field's documents, as narrow as they can be.
//!
//! A length is looked at for nearly every posting that is, in an order that no cache foresees; so
//! the file has one, two or four bytes for each document, whichever the longest needs. Its size
//! says which.

use std::path::Path;

use tantivy::directory::OwnedBytes;

use super::error::RankingError;
use super::files::{self, HashedFile};
use super::manifest::FileEntry;
use crate::text::read_only::ReadOnlyDirectory;

/// Writes the lengths of a field; durable on return.
///
/// # Errors
/// `Io`.
pub fn write(mut file: HashedFile, lengths: &[u32]) -> Result<FileEntry, RankingError> {
    let longest = lengths.iter().copied().max().unwrap_or_default();
    let width = match longest {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    };
    for length in lengths {
        file.write(&length.to_le_bytes()[..width])?;
    }
    file.finish()
}

/// A file of lengths, mapped into memory.
pub struct Lengths {
    bytes: OwnedBytes,
    documents: usize,
}

impl Lengths {
    /// Opens the file `name`, which lies in `folder`, with the lengths of so many documents.
    ///
    /// # Errors
    /// `Damaged` where it is missing or has another number of lengths; `Io`.
    pub fn open(
        directory: &ReadOnlyDirectory,
        folder: &Path,
        name: &str,
        documents: u32,
    ) -> Result<Lengths, RankingError> {
        let bytes = files::open(directory, folder, name)?;
        let documents = documents as usize;
        if ![1, 2, 4].map(|width| documents * width).contains(&bytes.len()) {
            let reason = format!("{} bytes are no lengths of {documents} documents", bytes.len());
            return Err(RankingError::damaged(&folder.join(name), reason));
        }
        Ok(Lengths { bytes, documents })
    }

    /// Returns the lengths.
    pub fn all(&self) -> LengthsRef<'_> {
        let bytes = self.bytes.as_slice();
        match bytes.len().checked_div(self.documents) {
            Some(1) => LengthsRef::Narrow(bytes),
            Some(2) => LengthsRef::Middle(bytes.as_chunks::<2>().0),
            _ => LengthsRef::Wide(bytes.as_chunks::<4>().0),
        }
    }
}

/// Lengths as they lie in a file.
#[derive(Clone, Copy)]
pub enum LengthsRef<'a> {
    /// One byte each.
    Narrow(&'a [u8]),
    /// Two bytes each, the low one first.
    Middle(&'a [[u8; 2]]),
    /// Four bytes each.
    Wide(&'a [[u8; 4]]),
}

impl LengthsRef<'_> {
    /// Returns the length of a document, 0 for one that is not there.
    #[inline]
    pub fn get(&self, document: u32) -> u32 {
        let at = document as usize;
        match self {
            LengthsRef::Narrow(lengths) => lengths.get(at).map_or(0, |length| u32::from(*length)),
            LengthsRef::Middle(lengths) => {
                lengths.get(at).map_or(0, |length| u32::from(u16::from_le_bytes(*length)))
            }
            LengthsRef::Wide(lengths) => {
                lengths.get(at).map_or(0, |length| u32::from_le_bytes(*length))
            }
        }
    }

    /// Puts the lengths of documents into `to`.
    #[inline]
    pub fn get_all(&self, documents: &[u32], to: &mut [u32]) {
        fn all<const WIDTH: usize>(
            lengths: &[[u8; WIDTH]],
            documents: &[u32],
            to: &mut [u32],
            length: impl Fn([u8; WIDTH]) -> u32,
        ) {
            for (document, to) in documents.iter().zip(to) {
                *to = lengths.get(*document as usize).map_or(0, |bytes| length(*bytes));
            }
        }
        match self {
            LengthsRef::Narrow(lengths) => {
                all(lengths.as_chunks().0, documents, to, |[length]| u32::from(length))
            }
            LengthsRef::Middle(lengths) => {
                all(lengths, documents, to, |bytes| u32::from(u16::from_le_bytes(bytes)))
            }
            LengthsRef::Wide(lengths) => all(lengths, documents, to, u32::from_le_bytes),
        }
    }
}
