//! The names of documents by their numbers, and the other way round.
//!
//! Two files, mapped into memory: the names one after the other, and where each ends (eight bytes,
//! the low one first). Names ascend with numbers, so that a name is found by halving.

use std::path::{Path, PathBuf};

use tantivy::directory::{MmapDirectory, OwnedBytes};

use super::error::RankingError;
use super::files::{self, HashedFile};
use super::manifest::FileEntry;
use crate::text::read_only::ReadOnlyDirectory;

const NAMES: &str = "names";
const ENDS: &str = "name-ends";

/// Writes names in the order of their numbers.
pub struct NamesWriter {
    names: HashedFile,
    ends: HashedFile,
    end: u64,
    last: Option<String>,
}

impl NamesWriter {
    /// Begins the files in `directory`.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(directory: &Path) -> Result<NamesWriter, RankingError> {
        let names = HashedFile::create(directory.join(NAMES))?;
        let ends = HashedFile::create(directory.join(ENDS))?;
        Ok(NamesWriter { names, ends, end: 0, last: None })
    }

    /// Adds the name of the next number.
    ///
    /// # Errors
    /// `NotAscending` unless it is greater than the one before; `Io`.
    pub fn add(&mut self, name: &str) -> Result<(), RankingError> {
        if let Some(last) = self.last.as_deref().filter(|last| *last >= name) {
            return Err(RankingError::NotAscending {
                name: name.to_owned(),
                before: last.to_owned(),
            });
        }
        self.end += name.len() as u64;
        self.names.write(name.as_bytes())?;
        self.ends.write(&self.end.to_le_bytes())?;
        let last = self.last.get_or_insert_default();
        last.clear();
        last.push_str(name);
        Ok(())
    }

    /// Ends the files; durable on return.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(self) -> Result<Vec<FileEntry>, RankingError> {
        Ok(vec![self.names.finish()?, self.ends.finish()?])
    }
}

/// The names of a sealed index.
pub struct Names {
    file: PathBuf,
    names: OwnedBytes,
    ends: OwnedBytes,
}

impl Names {
    /// Opens the files in `directory`, which hold `count` names.
    ///
    /// # Errors
    /// `Damaged`; `Io`.
    pub fn open(directory: &Path, count: u32) -> Result<Names, RankingError> {
        let files = MmapDirectory::open(directory)
            .map_err(|error| RankingError::damaged(directory, error.to_string()))?;
        let files = ReadOnlyDirectory(files);
        let names = files::open(&files, directory, NAMES)?;
        let ends = files::open(&files, directory, ENDS)?;
        let file = directory.join(ENDS);
        if ends.len() != count as usize * 8 {
            let reason = format!("{} bytes for {count} names of 8", ends.len());
            return Err(RankingError::damaged(&file, reason));
        }
        Ok(Names { file, names, ends })
    }

    /// Returns the name of a number.
    ///
    /// # Errors
    /// `UnknownDocument`; `Damaged`.
    pub fn get(&self, number: u32) -> Result<&str, RankingError> {
        let ends = self.ends.as_slice().as_chunks::<8>().0;
        let end = |at: usize| ends.get(at).map(|bytes| u64::from_le_bytes(*bytes) as usize);
        let number = number as usize;
        let range = match number {
            0 => Some(0).zip(end(0)),
            _ => end(number - 1).zip(end(number)),
        };
        let Some((start, end)) = range else {
            let (number, count) = (number as u32, ends.len() as u32);
            return Err(RankingError::UnknownDocument { number, count });
        };
        let bytes = self.names.as_slice().get(start..end);
        let name = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        name.ok_or_else(|| RankingError::damaged(&self.file, format!("name {number} is no text")))
    }

    /// Returns the number of a name, if a document has it.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn find(&self, name: &str) -> Result<Option<u32>, RankingError> {
        let (mut low, mut high) = (0, self.ends.len() as u32 / 8);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle)?.cmp(name) {
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }
}
