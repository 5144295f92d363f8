//! Files of numbers, and folders that last.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use tantivy::Directory;
use tantivy::directory::OwnedBytes;

use super::error::RankingError;
use crate::text::read_only::ReadOnlyDirectory;

/// Writes numbers one after the other, four bytes each, the low one first; durable on return.
pub fn write_numbers(
    path: &Path,
    numbers: impl IntoIterator<Item = u32>,
) -> Result<(), RankingError> {
    write(path, numbers.into_iter().map(u32::to_le_bytes), 4)
}

/// Writes the first `width` bytes of each four; durable on return.
pub fn write(
    path: &Path,
    numbers: impl Iterator<Item = [u8; 4]>,
    width: usize,
) -> Result<(), RankingError> {
    let write = || {
        let mut out = BufWriter::with_capacity(1 << 16, File::create(path)?);
        for number in numbers {
            out.write_all(&number[..width])?;
        }
        out.into_inner()?.sync_all()
    };
    write().map_err(RankingError::io(path, "written"))
}

/// Writes a text; durable on return.
pub fn write_text(path: &Path, text: &str) -> Result<(), RankingError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(RankingError::io(path, "written"))
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> Result<(), RankingError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(RankingError::io(path, "made durable"))
}

/// Returns length in bytes and BLAKE3 of a file.
pub fn hash(path: &Path) -> Result<(u64, String), RankingError> {
    let read = || {
        let mut file = File::open(path)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 16];
        let mut bytes = 0;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok((bytes, hasher.finalize().to_hex().to_string()));
            }
            hasher.update(&buffer[..count]);
            bytes += count as u64;
        }
    };
    read().map_err(RankingError::io(path, "read"))
}

/// Maps the file `name`, which lies in `folder`, into memory.
///
/// # Errors
/// `Damaged` where it is missing; `Io`.
pub fn open(
    directory: &ReadOnlyDirectory,
    folder: &Path,
    name: &str,
) -> Result<OwnedBytes, RankingError> {
    let path = folder.join(name);
    let opened = directory
        .open_read(Path::new(name))
        .map_err(|error| RankingError::damaged(&path, error.to_string()))?;
    opened.read_bytes().map_err(RankingError::io(&path, "read"))
}

/// A file of numbers, mapped into memory.
#[derive(Clone)]
pub struct Numbers(OwnedBytes);

impl Numbers {
    /// Opens the file `name`, which lies in `folder`.
    ///
    /// # Errors
    /// `Damaged` where it is missing or not made of whole numbers.
    pub fn open(
        directory: &ReadOnlyDirectory,
        folder: &Path,
        name: &str,
    ) -> Result<Numbers, RankingError> {
        let bytes = open(directory, folder, name)?;
        if bytes.len() % 4 != 0 {
            let reason = format!("{} bytes are no whole numbers of 4", bytes.len());
            return Err(RankingError::damaged(&folder.join(name), reason));
        }
        Ok(Numbers(bytes))
    }

    /// Returns all numbers.
    #[inline]
    pub fn all(&self) -> NumbersRef<'_> {
        NumbersRef(self.0.as_slice().as_chunks::<4>().0)
    }
}

/// Numbers as they lie in a file.
#[derive(Clone, Copy)]
pub struct NumbersRef<'a>(&'a [[u8; 4]]);

impl<'a> NumbersRef<'a> {
    /// Returns the number at a place, 0 behind the end (which the manifest's counts rule out).
    #[inline]
    pub fn get(&self, at: usize) -> u32 {
        self.0.get(at).map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Splits off the first `count` numbers; `None` where there are fewer.
    pub fn split(&self, count: usize) -> Option<(NumbersRef<'a>, NumbersRef<'a>)> {
        let (first, rest) = self.0.split_at_checked(count)?;
        Some((NumbersRef(first), NumbersRef(rest)))
    }

    /// Returns the place of the first number that is not below `sought`; they must ascend.
    pub fn partition(&self, sought: u32) -> usize {
        self.0.partition_point(|bytes| u32::from_le_bytes(*bytes) < sought)
    }
}
