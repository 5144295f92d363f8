//! The formats of documents, and how a file's own is recognised.

use std::path::Path;

use super::folder;
use super::json_lines::{IDS, TEXTS};
use super::tabular::Columns;
use crate::diag::list_some;
use crate::exchange::format::Framing;
use crate::exchange::scan;

/// A format of documents; see [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentFormat {
    /// JSON objects with an id and a text.
    Documents,
    /// JSON objects with a title and a text, without an id.
    Passages,
    /// Lines of id, text and title, parted by tabs.
    Tsv,
    /// Questions of HotpotQA with their `context`.
    HotpotQa,
    /// Questions of MuSiQue with their `paragraphs`.
    Musique,
    /// Text and Markdown files, a document each.
    Text,
}

impl DocumentFormat {
    /// Every format.
    pub const ALL: [DocumentFormat; 6] = [
        DocumentFormat::Documents,
        DocumentFormat::Passages,
        DocumentFormat::Tsv,
        DocumentFormat::HotpotQa,
        DocumentFormat::Musique,
        DocumentFormat::Text,
    ];

    /// Returns the word used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            DocumentFormat::Documents => "documents",
            DocumentFormat::Passages => "passages",
            DocumentFormat::Tsv => "tsv",
            DocumentFormat::HotpotQa => "hotpotqa",
            DocumentFormat::Musique => "musique",
            DocumentFormat::Text => "text",
        }
    }

    /// Returns the format that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<DocumentFormat> {
        DocumentFormat::ALL.into_iter().find(|format| format.as_str() == word)
    }

    /// Returns the words of all formats.
    pub fn names() -> Vec<&'static str> {
        DocumentFormat::ALL.iter().map(|format| format.as_str()).collect()
    }
}

/// How a file is read.
pub(super) struct Shape {
    pub(super) format: DocumentFormat,
    pub(super) framing: Framing,
    /// The columns of `tsv`.
    pub(super) columns: Option<Columns>,
}

/// Magic numbers of files that are no text, with what they are and what to do.
const BINARY: [(&[u8], &str); 5] = [
    (b"PAR1", "a Parquet file within a compressed one: unpack it"),
    (b"PK\x03\x04", "a ZIP archive: unpack it"),
    (b"BZh", "a bzip2 file: unpack it"),
    (b"\xfd7zXZ", "an xz file: unpack it"),
    (b"\xff\xfe", "UTF-16 text: write it as UTF-8"),
];

/// What gives the formats away, for messages.
const EXPECTED: &str = "expected JSON lines or one array of id and text (or contents), title and \
                        text, or questions with context or paragraphs; lines of id and text parted \
                        by a tab; or a .txt or .md file";

/// Returns how the file at `path` is read, which begins with `head`.
///
/// # Errors
/// A sentence that says what was found, where no format fits.
pub(super) fn recognise(
    path: &Path,
    head: &[u8],
    told: Option<DocumentFormat>,
) -> Result<Shape, String> {
    if let Some((_, name)) = BINARY.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(format!("found {name}"));
    }
    let text = scan::trim_start(head);
    let shape = |format, framing| Shape { format, framing, columns: None };
    let is_json = text.starts_with(b"{") || text.starts_with(b"[");
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    match told {
        Some(DocumentFormat::Tsv) => return Ok(tabular(text)),
        Some(DocumentFormat::Text) => return Ok(shape(DocumentFormat::Text, Framing::Lines)),
        Some(format) if !is_json => {
            let found = scan::excerpt(text);
            return Err(format!("found {found}; expected JSON for {}", format.as_str()));
        }
        None if !is_json && folder::is_text(name) => {
            return Ok(shape(DocumentFormat::Text, Framing::Lines));
        }
        None if !is_json => return recognise_tabular(text),
        _ => {}
    }
    let framing = if text.starts_with(b"[") { Framing::Array } else { Framing::Lines };
    let record = if framing == Framing::Array { scan::after_bracket(text) } else { text };
    if framing == Framing::Lines && scan::is_spread(text) {
        return Err(format!("found one JSON object over several lines; {EXPECTED}"));
    }
    let format = match told {
        Some(format) => format,
        None => classify(&scan::top_keys(record))?,
    };
    Ok(shape(format, framing))
}

fn tabular(text: &[u8]) -> Shape {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
    let columns = Columns::of(String::from_utf8_lossy(line).trim_end_matches('\r'));
    Shape { format: DocumentFormat::Tsv, framing: Framing::Lines, columns: Some(columns) }
}

/// Takes text with a tab in its first line for `tsv`, unless it is a file that stands beside
/// corpora.
fn recognise_tabular(text: &[u8]) -> Result<Shape, String> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
    if !line.contains(&b'\t') || line.contains(&0) {
        return Err(format!("found {}; {EXPECTED}", scan::excerpt(text)));
    }
    let words = String::from_utf8_lossy(line).to_ascii_lowercase();
    let is_judgement = |name: &str| ["query-id", "corpus-id", "qid"].contains(&name.trim());
    if words.split('\t').any(is_judgement) {
        return Err(format!("found relevance judgements, {}; {EXPECTED}", scan::excerpt(text)));
    }
    Ok(tabular(text))
}

fn classify(keys: &[String]) -> Result<DocumentFormat, String> {
    let has = |names: &[&str]| keys.iter().any(|key| names.contains(&key.as_str()));
    let is_question = has(&["question"]);
    match () {
        () if is_question && has(&["context"]) => Ok(DocumentFormat::HotpotQa),
        () if is_question && has(&["paragraphs"]) => Ok(DocumentFormat::Musique),
        () if has(&TEXTS) && has(&IDS) => Ok(DocumentFormat::Documents),
        () if has(&TEXTS) => Ok(DocumentFormat::Passages),
        () => Err(format!(
            "found records with the fields {}; {EXPECTED}",
            list_some(keys.iter().map(String::as_str))
        )),
    }
}
