//! Records of corpora: what a corpus says of itself, and its documents.

use bincode::{Decode, Encode};

use super::record::Record;

/// A field that is searched.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct CorpusField {
    /// `contents` (title and text together), `title` or `text`.
    pub name: String,
    /// What the field's score is multiplied by.
    pub weight: f64,
}

/// A corpus: documents behind a search tool.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct CorpusRecord {
    /// The name.
    pub name: String,
    /// What is in it, in a sentence for the agent that searches it.
    pub description: String,
    /// The analyzer and its version: another version gives other words.
    pub analyzer: (String, u32),
    /// How soon a word's repetitions stop counting.
    pub k1: f64,
    /// How much a long document's words count less, from 0 to 1.
    pub b: f64,
    /// The fields that are searched.
    pub fields: Vec<CorpusField>,
    /// Documents were cut into passages of so many words, with so many of the passage before.
    pub passages: Option<(u32, u32)>,
    /// What it was made from: files, or the statement as typed.
    pub made_from: Vec<String>,
    /// The number of documents.
    pub documents: u64,
    /// The bytes of their titles and texts.
    pub text_bytes: u64,
    /// BLAKE3 over analyzer, parameters and every document; `None` until the corpus is sealed.
    pub fingerprint: Option<[u8; 32]>,
    /// When it was begun, in microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
    /// The version of the program that made it.
    pub program: String,
}

impl Record for CorpusRecord {
    const WHAT: &'static str = "corpus record";
}

/// A document; its id is in the key.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct DocumentRecord {
    /// The title, if it has one.
    pub title: Option<String>,
    /// The text.
    pub text: String,
    /// Whatever else its source says of it, as a JSON object.
    pub metadata: Option<String>,
}

impl Record for DocumentRecord {
    const WHAT: &'static str = "document record";
}

impl DocumentRecord {
    /// Returns BLAKE3 of the document's content.
    pub fn hash(&self, id: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut add = |part: Option<&str>| {
            // A length that no text has stands for a part that is missing.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(part.unwrap_or_default().as_bytes());
        };
        add(Some(id));
        add(self.title.as_deref());
        add(Some(&self.text));
        add(self.metadata.as_deref());
        *hasher.finalize().as_bytes()
    }
}
