//! A corpus as a file: one line that says what it is, then a line for each document.
//!
//! ```text
//!   {"swirl_corpus": {"name": "wiki", "analyzer": "english", .., "fingerprint": "9f86.."}}
//!   {"id": "1", "title": "Tides", "text": "The sea rises twice a day."}
//! ```

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::documents::{Document, parse_document};
use super::error::ExchangeError;
use super::lines::Lines;

/// The longest line that is read.
const LINE_BYTES_MAX: usize = 1 << 30;

/// What a corpus says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusManifest {
    /// The name.
    pub name: String,
    /// What is in it.
    pub description: String,
    /// The analyzer.
    pub analyzer: String,
    /// Its version.
    pub analyzer_version: u32,
    /// How soon a term's repetitions stop counting.
    pub k1: f64,
    /// How much a long document's terms count less.
    pub b: f64,
    /// The searched fields and their weights.
    pub fields: Vec<(String, f64)>,
    /// Its documents are passages of so many words, with so many of the passage before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passages: Option<(u32, u32)>,
    /// What it was made from.
    pub made_from: Vec<String>,
    /// The number of documents.
    pub documents: u64,
    /// The fingerprint in hexadecimal digits.
    pub fingerprint: String,
}

#[derive(Serialize, Deserialize)]
struct First {
    swirl_corpus: CorpusManifest,
}

impl CorpusManifest {
    /// Writes the first line of the file.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let first = First { swirl_corpus: self.clone() };
        serde_json::to_writer(&mut *out, &first)?;
        out.write_all(b"\n")
    }
}

/// The documents of a corpus's file.
pub struct CorpusFile {
    manifest: CorpusManifest,
    lines: Lines,
    path: std::path::PathBuf,
}

impl CorpusFile {
    /// Opens a file and reads what it says of the corpus.
    ///
    /// # Errors
    /// The file cannot be opened or is damaged; it is not the file of a corpus.
    pub fn open(path: &Path) -> Result<CorpusFile, ExchangeError> {
        let mut lines = Lines::open(path, LINE_BYTES_MAX)?;
        let not_a_corpus =
            |found: String| ExchangeError::NotACorpus { path: path.to_owned(), found };
        let first = match lines.next() {
            None => return Err(not_a_corpus("the file is empty".to_owned())),
            Some(line) => line?.map_err(|bad| not_a_corpus(bad.to_string()))?,
        };
        let First { swirl_corpus: manifest } =
            serde_json::from_str(&first.text).map_err(|error| not_a_corpus(error.to_string()))?;
        Ok(CorpusFile { manifest, lines, path: path.to_owned() })
    }

    /// Returns what the file says of the corpus.
    pub fn manifest(&self) -> &CorpusManifest {
        &self.manifest
    }
}

impl Iterator for CorpusFile {
    type Item = Result<Document, ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let wrong = |found: String| ExchangeError::NotACorpus { path: self.path.clone(), found };
        Some(match self.lines.next()? {
            Err(error) => Err(error),
            Ok(Err(bad)) => Err(wrong(bad.to_string())),
            Ok(Ok(line)) => {
                parse_document(&line.text).map_err(|fault| wrong(fault.at(line.place).to_string()))
            }
        })
    }
}
