//! Writing vectors, with stops on the way.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::VectorsError;
use super::header::{Header, ROWS_BEGIN, SLOT_BYTES};
use super::product::quantise;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// A file of vectors that is being written. What is appended after the last
/// [`VectorsWriter::checkpoint`] is lost where the writer is dropped or killed; what was appended
/// before it can be gone on from.
pub struct VectorsWriter {
    path: PathBuf,
    partial: PathBuf,
    out: BufWriter<File>,
    header: Header,
    /// The slot of the header that the next checkpoint writes.
    slot: usize,
    hasher: blake3::Hasher,
}

impl VectorsWriter {
    /// Begins the file `path` of vectors of so many numbers, made from what `key` names. What an
    /// interrupted writer left is thrown away; a finished file of that name stays until
    /// [`VectorsWriter::finish`].
    ///
    /// # Errors
    /// `BadParameter`; `InUse`; `Io`.
    pub fn create(
        path: &Path,
        dimensions: usize,
        key: &str,
    ) -> Result<VectorsWriter, VectorsError> {
        let header = Header::new(dimensions, key)?;
        let partial = partial(path);
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&partial);
        let file = opened.map_err(VectorsError::io(&partial, "created"))?;
        lock(&file, &partial)?;
        file.set_len(0).map_err(VectorsError::io(&partial, "emptied"))?;
        let hasher = blake3::Hasher::new();
        let mut writer = VectorsWriter::new(path, partial, file, header, 0, hasher);
        writer.checkpoint()?;
        sync_folder(path)?;
        Ok(writer)
    }

    /// Goes on with the file `path` after the last checkpoint of an interrupted writer, whose rows
    /// are read again and compared with what was written.
    ///
    /// # Errors
    /// `Missing` where nothing was begun; `Outdated` where it was with another key, format or
    /// number of dimensions; `Damaged`; `InUse`; `Io`.
    pub fn continue_from(
        path: &Path,
        dimensions: usize,
        key: &str,
    ) -> Result<VectorsWriter, VectorsError> {
        let partial = partial(path);
        let mut file = match OpenOptions::new().read(true).write(true).open(&partial) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VectorsError::Missing { path: partial });
            }
            Err(error) => return Err(VectorsError::io(&partial, "opened")(error)),
        };
        lock(&file, &partial)?;
        let mut slots = Vec::new();
        let reading = VectorsError::io(&partial, "read");
        Read::by_ref(&mut file).take(ROWS_BEGIN).read_to_end(&mut slots).map_err(&reading)?;
        let (mut header, newest) = Header::decode(&slots, &partial)?;
        header.expect_key(key, &partial)?;
        header.expect_dimensions(dimensions, &partial)?;
        header.is_finished = false;
        let length = file.metadata().map_err(&reading)?.len();
        if length < header.rows_end() {
            let reason = format!("{length} bytes where {} are needed", header.rows_end());
            return Err(VectorsError::damaged(&partial, reason));
        }
        let hasher = hash_rows(&mut file, &header).map_err(&reading)?;
        if hasher.finalize().to_hex().as_str() != header.hash {
            return Err(VectorsError::damaged(&partial, "its rows have another hash than written"));
        }
        file.set_len(header.rows_end()).map_err(VectorsError::io(&partial, "cut"))?;
        file.seek(SeekFrom::End(0)).map_err(&reading)?;
        Ok(VectorsWriter::new(path, partial, file, header, 1 - newest, hasher))
    }

    fn new(
        path: &Path,
        partial: PathBuf,
        file: File,
        header: Header,
        slot: usize,
        hasher: blake3::Hasher,
    ) -> VectorsWriter {
        let out = BufWriter::with_capacity(BUFFER_BYTES, file);
        VectorsWriter { path: path.to_path_buf(), partial, out, header, slot, hasher }
    }

    /// Returns how many rows there are, which is the number of the next one.
    pub fn rows(&self) -> u32 {
        self.header.rows
    }

    /// Appends a vector of length 1.
    ///
    /// # Errors
    /// `Dimensions`; `NotUnit`; `TooMany`; `Io`, after which this writer is of no more use.
    pub fn append(&mut self, vector: &[f32]) -> Result<(), VectorsError> {
        if self.header.rows == u32::MAX {
            return Err(VectorsError::TooMany { limit: u32::MAX });
        }
        let stored = quantise(vector, self.header.dimensions)?;
        let bytes: Vec<u8> = stored.into_iter().flat_map(i16::to_le_bytes).collect();
        if self.header.rows == 0 {
            let begun = self.out.seek(SeekFrom::Start(ROWS_BEGIN));
            begun.map_err(VectorsError::io(&self.partial, "written"))?;
        }
        self.out.write_all(&bytes).map_err(VectorsError::io(&self.partial, "written"))?;
        self.hasher.update(&bytes);
        self.header.rows += 1;
        Ok(())
    }

    /// Brings all rows to the disk, so that they are there after a kill or a power cut.
    ///
    /// # Errors
    /// `Io`, after which this writer is of no more use.
    pub fn checkpoint(&mut self) -> Result<(), VectorsError> {
        self.header.hash = self.hasher.finalize().to_hex().to_string();
        let slot = self.slot;
        self.slot = 1 - slot;
        let mut write = || {
            self.out.flush()?;
            self.out.get_ref().sync_data()?;
            let bytes = self.header.encode()?;
            let file = self.out.get_mut();
            file.seek(SeekFrom::Start((slot * SLOT_BYTES) as u64))?;
            file.write_all(&bytes)?;
            file.seek(SeekFrom::Start(self.header.rows_end()))?;
            file.sync_data()
        };
        write().map_err(VectorsError::io(&self.partial, "written"))
    }

    /// Ends the file and gives it its name, in the place of a file that had it.
    ///
    /// # Errors
    /// `Io`; what was written until then can be gone on from.
    pub fn finish(mut self) -> Result<(), VectorsError> {
        self.header.is_finished = true;
        // Both headers, one after the other: at each moment one of them is whole.
        self.checkpoint()?;
        self.checkpoint()?;
        std::fs::rename(&self.partial, &self.path)
            .map_err(VectorsError::io(&self.path, "given its name"))?;
        sync_folder(&self.path)
    }
}

/// Returns the name of a file that is not finished.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

/// Makes this process the only one that writes a file that was opened by its name `path`.
fn lock(file: &File, path: &Path) -> Result<(), VectorsError> {
    let in_use = || VectorsError::InUse { path: path.to_path_buf() };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use()),
        Err(TryLockError::Error(error)) => return Err(VectorsError::io(path, "locked")(error)),
    }
    // Between opening and locking, the one who wrote it may have finished it: then this is the
    // finished file, under another name.
    match path.try_exists().map_err(VectorsError::io(path, "found"))? {
        true => Ok(()),
        false => Err(in_use()),
    }
}

/// Returns the hasher over the rows that a header tells of.
pub(super) fn hash_rows(file: &mut File, header: &Header) -> io::Result<blake3::Hasher> {
    let mut hasher = blake3::Hasher::new();
    file.seek(SeekFrom::Start(ROWS_BEGIN))?;
    let mut rest = file.take(header.rows_end() - ROWS_BEGIN);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = rest.read(&mut buffer)?;
        if count == 0 {
            return Ok(hasher);
        }
        hasher.update(&buffer[..count]);
    }
}

/// Makes the names in the folder of a file durable.
fn sync_folder(path: &Path) -> Result<(), VectorsError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(VectorsError::io(folder, "made durable"))
}
