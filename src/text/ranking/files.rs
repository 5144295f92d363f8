//! Files of numbers, and folders that last.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use tantivy::Directory;
use tantivy::directory::OwnedBytes;

use super::error::RankingError;
use super::manifest::FileEntry;
use crate::text::read_only::ReadOnlyDirectory;

/// A file that is written once, from the beginning to the end, and hashed meanwhile.
pub struct HashedFile {
    path: PathBuf,
    out: BufWriter<Hashing>,
}

struct Hashing {
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl HashedFile {
    /// Creates the file.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(path: PathBuf) -> Result<HashedFile, RankingError> {
        let file = File::create(&path).map_err(RankingError::io(&path, "created"))?;
        let hashing = Hashing { file, hasher: blake3::Hasher::new(), bytes: 0 };
        Ok(HashedFile { path, out: BufWriter::with_capacity(1 << 16, hashing) })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `Io`.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), RankingError> {
        self.out.write_all(bytes).map_err(|error| RankingError::io(&self.path, "written")(error))
    }

    /// Appends numbers of four bytes each, the low one first.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_numbers(&mut self, numbers: &[u32]) -> Result<(), RankingError> {
        numbers.iter().try_for_each(|number| self.write(&number.to_le_bytes()))
    }

    /// Ends the file and returns what it is; durable on return.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(self) -> Result<FileEntry, RankingError> {
        let HashedFile { path, out } = self;
        let ended = out.into_inner().map_err(io::Error::from);
        let synced = ended.and_then(|hashing| hashing.file.sync_all().map(|()| hashing));
        let Hashing { hasher, bytes, .. } = synced.map_err(RankingError::io(&path, "written"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(FileEntry { name, bytes, hash: hasher.finalize().to_hex().to_string() })
    }
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

    /// Returns the numbers at some places; `None` where there are fewer.
    pub fn range(&self, places: Range<usize>) -> Option<NumbersRef<'a>> {
        self.0.get(places).map(NumbersRef)
    }

    /// Returns the place of the first number that is not below `sought`; they must ascend.
    pub fn partition(&self, sought: u32) -> usize {
        self.0.partition_point(|bytes| u32::from_le_bytes(*bytes) < sought)
    }
}
