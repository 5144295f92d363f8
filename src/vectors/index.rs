//! Finished vectors, open for answers.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;

use super::error::VectorsError;
use super::header::{Header, ROWS_BEGIN};
use super::product::{for_products, quantise, restore, score};
use super::top::Top;
use super::writer::hash_rows;

/// Bytes that a thread reads between two questions whether to stop: a millisecond or so.
const PIECE_BYTES: usize = 1 << 22;

/// Ranges of rows for each thread, so that a thread that is held up leaves some to the others.
const RANGES_PER_THREAD: usize = 8;

/// What is compared when vectors are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checking {
    /// That the file is as long as it was: what a kill or a full disk leaves is found, a changed
    /// byte is not.
    Lengths,
    /// Every byte, at the speed of reading them.
    Contents,
}

/// Vectors by number. The file is mapped into memory and never written, no lock is taken, and any
/// number of processes and threads may have it open at once.
pub struct VectorIndex {
    path: PathBuf,
    header: Header,
    map: Mmap,
}

impl VectorIndex {
    /// Opens the vectors in the file `path` that were made from what `key` names.
    ///
    /// # Errors
    /// `Missing`, `Outdated`, `Damaged`: make them again; `Io`.
    pub fn open(path: &Path, key: &str, checking: Checking) -> Result<VectorIndex, VectorsError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VectorsError::Missing { path: path.to_path_buf() });
            }
            Err(error) => return Err(VectorsError::io(path, "opened")(error)),
        };
        let mut slots = Vec::new();
        let reading = VectorsError::io(path, "read");
        file.by_ref().take(ROWS_BEGIN).read_to_end(&mut slots).map_err(&reading)?;
        let (header, _) = Header::decode(&slots, path)?;
        header.expect_key(key, path)?;
        let damaged = |reason: String| VectorsError::damaged(path, reason);
        if !header.is_finished {
            return Err(damaged("it was never finished".to_owned()));
        }
        let length = file.metadata().map_err(&reading)?.len();
        if length != header.rows_end() {
            let rows_end = header.rows_end();
            return Err(damaged(format!("{length} bytes, it was written with {rows_end}")));
        }
        let index = VectorIndex { path: path.to_path_buf(), map: map(&file, path)?, header };
        if checking == Checking::Contents {
            index.verify()?;
        }
        Ok(index)
    }

    /// Compares every byte with what was written.
    ///
    /// # Errors
    /// `Damaged`; `Io`.
    pub fn verify(&self) -> Result<(), VectorsError> {
        let failed = VectorsError::io(&self.path, "read");
        let slot = self.header.encode().map_err(io::Error::from).map_err(&failed)?;
        if self.map[..ROWS_BEGIN as usize] != [slot.as_slice(), &slot].concat() {
            return Err(VectorsError::damaged(&self.path, "its two headers are not the same"));
        }
        // Read and not mapped: an error of the disk is then an error and no signal.
        let mut file = File::open(&self.path).map_err(&failed)?;
        let hasher = hash_rows(&mut file, &self.header).map_err(&failed)?;
        match hasher.finalize().to_hex().as_str() == self.header.hash {
            true => Ok(()),
            false => {
                Err(VectorsError::damaged(&self.path, "its rows have another hash than written"))
            }
        }
    }

    /// Returns how many vectors there are.
    pub fn len(&self) -> u32 {
        self.header.rows
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.header.rows == 0
    }

    /// Returns the numbers of a vector.
    pub fn dimensions(&self) -> usize {
        self.header.dimensions
    }

    /// Returns the bytes of the file.
    pub fn size_bytes(&self) -> u64 {
        self.header.rows_end()
    }

    /// Returns the BLAKE3 of the rows, in hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.header.hash
    }

    /// Returns the vector of a number, each of its numbers to 1.6e-5.
    ///
    /// # Errors
    /// `UnknownRow`.
    pub fn row(&self, number: u32) -> Result<Vec<f32>, VectorsError> {
        if number >= self.header.rows {
            return Err(VectorsError::UnknownRow { number, count: self.header.rows });
        }
        let row_bytes = self.header.row_bytes();
        let row = &self.rows()[number as usize * row_bytes..][..row_bytes];
        let numbers = row.as_chunks::<2>().0;
        Ok(numbers.iter().map(|bytes| restore(i16::from_le_bytes(*bytes))).collect())
    }

    /// Returns numbers and scores of the best `k` vectors for a query of length 1, the best first;
    /// of equal scores the lower number first. The score is the cosine of stored vector and query,
    /// both as whole numbers of 1/32767; all vectors are compared.
    ///
    /// The threads are those of rayon's pool that this is called in, and the answer is the same for
    /// any number of them. `cancelled` is asked every millisecond or so by each. Memory grows with
    /// k, as far as there are vectors.
    ///
    /// # Errors
    /// `Dimensions`; `NotUnit`; `Cancelled`.
    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<(u32, f64)>, VectorsError> {
        let query = quantise(query, self.header.dimensions)?;
        if k == 0 || self.is_empty() {
            return Ok(Vec::new());
        }
        let row_bytes = self.header.row_bytes();
        let ranges = rayon::current_num_threads() * RANGES_PER_THREAD;
        let range_rows = (self.header.rows as usize).div_ceil(ranges).max(1);
        let piece_rows = (PIECE_BYTES / row_bytes).max(1);
        let of_range = |(range, rows): (usize, &[u8])| {
            let mut top = Top::new(k);
            for (piece, rows) in rows.chunks(piece_rows * row_bytes).enumerate() {
                if cancelled() {
                    return Err(VectorsError::Cancelled);
                }
                let first = range * range_rows + piece * piece_rows;
                for_products(rows, &query, |row, product| {
                    top.offer(product, (first + row) as u32);
                });
            }
            Ok(top)
        };
        let tops: Result<Vec<Top>, VectorsError> = self
            .rows()
            .par_chunks(range_rows * row_bytes)
            .with_max_len(1)
            .enumerate()
            .map(of_range)
            .collect();
        let mut best = Top::new(k);
        for top in tops? {
            best.merge(top);
        }
        Ok(best.into_sorted().map(|(number, product)| (number, score(product))).collect())
    }

    /// Returns the bytes of all rows.
    fn rows(&self) -> &[u8] {
        &self.map[ROWS_BEGIN as usize..]
    }
}

/// Maps a file into memory.
#[expect(unsafe_code, reason = "a mapped file can be changed by other processes")]
fn map(file: &File, path: &Path) -> Result<Mmap, VectorsError> {
    // SAFETY: the mapping is read-only, and its bytes are only ever read as numbers, for which
    // every pattern is good. Nobody writes a finished file: it is made under another name and
    // renamed, and a later one of the same name is another file. A process that cuts or writes it
    // nevertheless makes wrong answers or stops this one by a signal, as with every mapped index
    // here.
    unsafe { Mmap::map(file) }.map_err(VectorsError::io(path, "mapped"))
}
