//! One document and where it was found.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::exchange::json::ObjectText;
use crate::exchange::{Fault, Place};

/// One document of a corpus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Its name within the corpus; not empty.
    pub id: String,
    /// Its title, if it has one that is not empty.
    pub title: Option<String>,
    /// Its text, which may be empty.
    pub text: String,
    /// What else is known about it: the text of a JSON object.
    pub metadata: Option<String>,
}

impl Document {
    /// Returns BLAKE3 over title, text and metadata, each with its length before it. Two documents
    /// of one id are the same if it is the same.
    pub fn content_hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in [self.title.as_deref(), Some(self.text.as_str()), self.metadata.as_deref()] {
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hasher.update(&length.to_le_bytes());
            hasher.update(part.unwrap_or("").as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Returns the id of a passage that has none: its title and a hash of title and text.
pub fn derived_id(title: Option<&str>, text: &str) -> String {
    let unnamed = Document { title: title.map(str::to_owned), ..Document::default() };
    let document = Document { text: text.to_owned(), ..unnamed };
    let hash = blake3::Hash::from_bytes(document.content_hash()).to_hex();
    let mut id = String::new();
    for word in title.unwrap_or("").split_whitespace() {
        if !id.is_empty() {
            id.push('_');
        }
        id.push_str(word);
    }
    if !id.is_empty() {
        id.push('#');
    }
    id.push_str(&hash[..16]);
    id
}

/// Writes a document as one line of `documents`, which reads back as it.
///
/// # Errors
/// `out` cannot be written.
pub fn write_document(out: &mut impl Write, document: &Document) -> io::Result<()> {
    let mut object = ObjectText::new();
    object.text("id", Some(&document.id));
    object.text("title", document.title.as_deref());
    object.text("text", Some(&document.text));
    if let Some(metadata) = &document.metadata {
        object.json("metadata", metadata);
    }
    let mut line = object.finish();
    line.push('\n');
    out.write_all(line.as_bytes())
}

/// Returns the document of a line as [`write_document`] writes it.
///
/// # Errors
/// What is wrong with which field.
pub fn parse_document(line: &str) -> Result<Document, Fault> {
    super::json_lines::parse(line, true)
}

/// Where a document was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPlace {
    /// The file.
    pub path: Arc<Path>,
    /// The record of the file; `None`: the file as a whole.
    pub record: Option<Place>,
}

impl fmt::Display for DocumentPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.record.map_or(Ok(()), |record| write!(f, ", {record}"))
    }
}

/// A document and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedDocument {
    /// The document.
    pub document: Document,
    /// Where it was found.
    pub place: DocumentPlace,
}

/// A record that is no document. The others of its file are not touched by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadDocument {
    /// Where it stands.
    pub place: DocumentPlace,
    /// The path of the field, such as `context[3][1]`; `None` where the record as a whole is meant.
    pub field: Option<String>,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for BadDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{}, {field}: {}", self.place, self.message),
            None => write!(f, "{}: {}", self.place, self.message),
        }
    }
}
