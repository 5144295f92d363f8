//! What a file of vectors says of itself.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::VectorsError;

/// The version of the file. A change makes every older one be made again.
const FORMAT: u32 = 1;

/// The bytes of one header.
pub const SLOT_BYTES: usize = 2048;

/// Where the rows begin: behind two headers.
pub const ROWS_BEGIN: u64 = 2 * SLOT_BYTES as u64;

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 512;

/// The most numbers of a vector, for which products stay within 32 bits.
const DIMENSIONS_MAX: usize = 65_536;

/// A header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    format: u32,
    /// What the vectors were made from, as the caller named it.
    pub key: String,
    /// The numbers of a vector.
    pub dimensions: usize,
    /// The vectors.
    pub rows: u32,
    /// The BLAKE3 of their bytes, in hexadecimal digits.
    pub hash: String,
    /// Whether these are all.
    pub is_finished: bool,
}

/// Only the version: other versions may have nothing else in common.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl Header {
    /// Returns the header of no rows.
    ///
    /// # Errors
    /// `BadParameter` for dimensions or a key that a file cannot have.
    pub fn new(dimensions: usize, key: &str) -> Result<Header, VectorsError> {
        let bad = |name, found: String, expected| {
            Err(VectorsError::BadParameter { name, found, expected })
        };
        if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
            return bad("dimensions", dimensions.to_string(), "a number from 1 to 65536");
        }
        if key.len() > KEY_BYTES_MAX || key.chars().any(|letter| letter < ' ') {
            let found = format!("a text of {} bytes", key.len());
            return bad("key", found, "a text of at most 512 bytes in one line");
        }
        let hash = blake3::hash(&[]).to_hex().to_string();
        let key = key.to_owned();
        Ok(Header { format: FORMAT, key, dimensions, rows: 0, hash, is_finished: false })
    }

    /// Returns the bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.dimensions * size_of::<i16>()
    }

    /// Returns where the rows end in the file.
    pub fn rows_end(&self) -> u64 {
        ROWS_BEGIN + u64::from(self.rows) * self.row_bytes() as u64
    }

    /// Returns its [`SLOT_BYTES`] bytes.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let json = serde_json::to_string(self)?;
        let mut bytes = format!("{}\n{json}", blake3::hash(json.as_bytes()).to_hex()).into_bytes();
        bytes.resize(SLOT_BYTES, 0);
        Ok(bytes)
    }

    /// Returns the newest of the two headers of a file, and the number of its slot.
    ///
    /// # Errors
    /// `Outdated` for another format; `Damaged` where neither is whole.
    pub fn decode(slots: &[u8], path: &Path) -> Result<(Header, usize), VectorsError> {
        let json = |slot: &[u8]| -> Option<String> {
            let text = std::str::from_utf8(slot).ok()?.trim_end_matches('\0');
            let (hash, json) = text.split_once('\n')?;
            let is_whole = blake3::hash(json.as_bytes()).to_hex().as_str() == hash;
            is_whole.then(|| json.to_owned())
        };
        let damaged = |reason: &str| VectorsError::damaged(path, reason);
        let mut newest: Option<(Header, usize)> = None;
        for (number, slot) in slots.chunks(SLOT_BYTES).enumerate() {
            let Some(json) = json(slot) else { continue };
            let Versioned { format } =
                serde_json::from_str(&json).map_err(|error| damaged(&error.to_string()))?;
            if format != FORMAT {
                return Err(VectorsError::Outdated {
                    path: path.to_path_buf(),
                    what: "format",
                    found: format.to_string(),
                    expected: FORMAT.to_string(),
                });
            }
            let header: Header =
                serde_json::from_str(&json).map_err(|error| damaged(&error.to_string()))?;
            let age = |header: &Header| (header.rows, header.is_finished);
            if newest.as_ref().is_none_or(|(other, _)| age(&header) > age(other)) {
                newest = Some((header, number));
            }
        }
        let (header, slot) = newest.ok_or_else(|| damaged("neither of its headers is whole"))?;
        if !(1..=DIMENSIONS_MAX).contains(&header.dimensions) {
            return Err(damaged(&format!("it has {} dimensions", header.dimensions)));
        }
        Ok((header, slot))
    }

    /// Compares the key with the one that is needed.
    ///
    /// # Errors
    /// `Outdated`.
    pub fn expect_key(&self, key: &str, path: &Path) -> Result<(), VectorsError> {
        self.expect(path, "key", &self.key, key)
    }

    /// Compares the dimensions with those that are needed.
    ///
    /// # Errors
    /// `Outdated`.
    pub fn expect_dimensions(&self, dimensions: usize, path: &Path) -> Result<(), VectorsError> {
        self.expect(path, "dimensions", &self.dimensions.to_string(), &dimensions.to_string())
    }

    fn expect(
        &self,
        path: &Path,
        what: &'static str,
        found: &str,
        expected: &str,
    ) -> Result<(), VectorsError> {
        match found == expected {
            true => Ok(()),
            false => Err(VectorsError::Outdated {
                path: path.to_path_buf(),
                what,
                found: found.to_owned(),
                expected: expected.to_owned(),
            }),
        }
    }
}
