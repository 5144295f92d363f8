//! What a ranked index is made of: written last, read first.
//!
//! ```text
//!   4e9c..                      BLAKE3 of all that follows
//!   {"format":2,"key":..}       JSON
//! ```

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::RankingError;
use super::files;

/// The version of the files. A change makes every older index be built again.
const FORMAT: u32 = 2;

/// The file of the manifest.
const FILE: &str = "manifest";

/// A ranked index as it was sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// What it was built from, as the caller named it.
    pub key: String,
    /// The names of its fields.
    pub fields: Vec<String>,
    /// The documents.
    pub documents: u32,
    /// The tokens of each field.
    pub tokens: Vec<u64>,
    /// The files of the names.
    pub names: Vec<FileEntry>,
    /// The segments, by their first document.
    pub segments: Vec<SegmentEntry>,
}

/// A segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Its folder.
    pub folder: String,
    /// The number of its first document.
    pub first: u32,
    /// Its documents.
    pub documents: u32,
    /// The tokens of each field.
    pub tokens: Vec<u64>,
    /// Its files.
    pub files: Vec<FileEntry>,
}

/// A file of a segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its BLAKE3, in hexadecimal digits.
    pub hash: String,
}

/// Only the version: other versions may have nothing else in common.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl Manifest {
    /// Returns the manifest of these segments.
    pub fn new(
        key: &str,
        fields: &[String],
        names: Vec<FileEntry>,
        mut segments: Vec<SegmentEntry>,
    ) -> Manifest {
        segments.sort_by_key(|segment| segment.first);
        let tokens = |field: usize| segments.iter().map(|segment| segment.tokens[field]).sum();
        Manifest {
            format: FORMAT,
            key: key.to_owned(),
            fields: fields.to_vec(),
            documents: segments.iter().map(|segment| segment.documents).sum(),
            tokens: (0..fields.len()).map(tokens).collect(),
            names,
            segments,
        }
    }

    /// Writes it below `directory`; durable on return.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, directory: &Path) -> Result<(), RankingError> {
        let path = directory.join(FILE);
        let text =
            serde_json::to_string(self).map_err(|error| RankingError::Failed(error.to_string()))?;
        let hash = blake3::hash(text.as_bytes()).to_hex();
        files::write_text(&path, &format!("{hash}\n{text}"))
    }

    /// Reads the manifest of the index in `directory` that was built from what `key` names.
    ///
    /// # Errors
    /// `Missing`; `Outdated` where format or key differ; `Damaged`; `Io`.
    pub fn read(directory: &Path, key: &str) -> Result<Manifest, RankingError> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RankingError::Missing { directory: directory.to_path_buf() });
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(RankingError::damaged(&path, "it is no text"));
            }
            Err(error) => return Err(RankingError::io(&path, "read")(error)),
        };
        let damaged = |reason: String| RankingError::damaged(&path, reason);
        let (hash, json) =
            text.split_once('\n').ok_or_else(|| damaged("it has one line of two".to_owned()))?;
        if blake3::hash(json.as_bytes()).to_hex().as_str() != hash {
            return Err(damaged("its first line is not the hash of the second".to_owned()));
        }
        let outdated = |what, found: String, expected: String| RankingError::Outdated {
            directory: directory.to_path_buf(),
            what,
            found,
            expected,
        };
        let Versioned { format } =
            serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
        if format != FORMAT {
            return Err(outdated("format", format.to_string(), FORMAT.to_string()));
        }
        let manifest: Manifest =
            serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
        if manifest.key != key {
            return Err(outdated("key", manifest.key, key.to_owned()));
        }
        Ok(manifest)
    }

    /// Returns the bytes of all files but its own.
    pub fn size_bytes(&self) -> u64 {
        let of_segments = self.segments.iter().flat_map(|segment| &segment.files);
        of_segments.chain(&self.names).map(|file| file.bytes).sum()
    }

    /// Compares the files below `directory` with what was written: their lengths, and with
    /// `contents` their hashes.
    ///
    /// # Errors
    /// `Damaged`, which names the first file that differs; `Io`.
    pub fn check(&self, directory: &Path, contents: bool) -> Result<(), RankingError> {
        for file in &self.names {
            file.check(&directory.join(&file.name), contents)?;
        }
        for segment in &self.segments {
            for file in &segment.files {
                file.check(&directory.join(&segment.folder).join(&file.name), contents)?;
            }
        }
        Ok(())
    }
}

impl FileEntry {
    fn check(&self, path: &Path, contents: bool) -> Result<(), RankingError> {
        let bytes = match fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RankingError::damaged(path, "it is missing"));
            }
            Err(error) => return Err(RankingError::io(path, "read")(error)),
        };
        if bytes != self.bytes {
            let reason = format!("it has {bytes} bytes where {} were written", self.bytes);
            return Err(RankingError::damaged(path, reason));
        }
        if contents && files::hash(path)?.1 != self.hash {
            return Err(RankingError::damaged(path, "its hash is not that of what was written"));
        }
        Ok(())
    }
}
