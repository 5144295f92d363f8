//! Text and Markdown files, alone and in folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{BadDocument, Document, DocumentPlace, PlacedDocument};
use crate::exchange::error::{ExchangeError, Fault};
use crate::exchange::input::Input;
use crate::exchange::lines::not_utf8;

/// The extensions of texts and of Markdown, before those of compressions.
const TEXTS: [&str; 2] = ["txt", "text"];
const MARKDOWN: [&str; 2] = ["md", "markdown"];

/// A file of text or Markdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextFile {
    /// Its path below the folder.
    pub(super) id: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its size in bytes.
    pub(super) bytes: u64,
}

/// The files of a folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Texts and Markdown, by id.
    pub(super) files: Vec<TextFile>,
    /// Names that are no text, and cannot be ids.
    pub(super) bad: Vec<BadDocument>,
    /// How many files are neither text nor Markdown.
    pub(super) skipped: u64,
}

impl Folder {
    /// Finds the files below `root`. Hidden ones and links are left out (a link could lead out of
    /// the folder, or back into it), and so are pipes, sockets and devices.
    pub(super) fn scan(root: &Path) -> Result<Folder, ExchangeError> {
        let mut folder = Folder::default();
        let mut open = vec![(root.to_owned(), String::new())];
        while let Some((path, prefix)) = open.pop() {
            let failed = |source| ExchangeError::file(&path, source);
            for entry in fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let path = entry.path();
                let kind =
                    entry.file_type().map_err(|source| ExchangeError::file(&path, source))?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else {
                    let place = DocumentPlace { path: path.into(), record: None };
                    let message = "the file's name is not UTF-8; rename it".to_owned();
                    folder.bad.push(BadDocument { place, field: None, message });
                    continue;
                };
                let id = format!("{prefix}{name}");
                let is_other = !kind.is_dir() && !kind.is_file();
                if name.starts_with('.') || is_other {
                    folder.skipped += 1;
                } else if kind.is_dir() {
                    open.push((path, format!("{id}/")));
                } else if is_text(name) {
                    let facts = entry.metadata();
                    let facts = facts.map_err(|source| ExchangeError::file(&path, source))?;
                    folder.files.push(TextFile { id, path, bytes: facts.len() });
                } else {
                    folder.skipped += 1;
                }
            }
        }
        folder.files.sort_by(|a, b| a.id.cmp(&b.id));
        folder.bad.sort_by(|a, b| a.place.path.cmp(&b.place.path));
        Ok(folder)
    }
}

/// Returns the extension of a file name in small letters, without that of a compression.
fn extension(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let plain = lower.strip_suffix(".gz").or(lower.strip_suffix(".zst")).unwrap_or(&lower);
    plain.rsplit_once('.').map(|(_, extension)| extension.to_owned())
}

/// Whether a file of this name is text or Markdown.
pub(super) fn is_text(name: &str) -> bool {
    is_markdown(name) || extension(name).is_some_and(|found| TEXTS.contains(&found.as_str()))
}

fn is_markdown(name: &str) -> bool {
    extension(name).is_some_and(|found| MARKDOWN.contains(&found.as_str()))
}

/// Reads a file as one document.
///
/// # Errors
/// The file cannot be read. That it is too long or no text is a bad document.
pub(super) fn read(
    file: &TextFile,
    bytes_max: usize,
) -> Result<Result<PlacedDocument, BadDocument>, ExchangeError> {
    let mut input = Input::open(&file.path)?;
    let mut bytes = Vec::new();
    let ended = input.fill(&mut bytes, bytes_max.saturating_add(1))?;
    let place = DocumentPlace { path: Arc::from(file.path.as_path()), record: None };
    let fault = if !ended || bytes.len() > bytes_max {
        Some(Fault::whole(format!("the file is longer than {bytes_max} bytes, the limit for one")))
    } else if bytes.contains(&0) {
        Some(Fault::whole("found a NUL byte; expected text"))
    } else {
        std::str::from_utf8(&bytes).err().map(|error| not_utf8(&bytes, error))
    };
    if let Some(Fault { field, message }) = fault {
        return Ok(Err(BadDocument { place, field, message }));
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    let title = if is_markdown(&file.id) { first_heading(&text) } else { None };
    let document = Document { id: file.id.clone(), title, text, metadata: None };
    Ok(Ok(PlacedDocument { document, place }))
}

/// Returns the first heading of a Markdown text: `# ..` of any level, or a line above `===` or
/// `---`. Front matter and code between fences have none.
fn first_heading(text: &str) -> Option<String> {
    let mut lines = text.lines().peekable();
    if lines.peek().is_some_and(|line| line.trim_end() == "---") {
        let end = text.lines().skip(1).position(|line| line.trim_end() == "---");
        for _ in 0..end.map_or(0, |end| end + 2) {
            lines.next();
        }
    }
    let mut fence: Option<&str> = None;
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            _ => {}
        }
        if fence.is_some() || mark.is_some() {
            continue;
        }
        let marks = start.bytes().take_while(|byte| *byte == b'#').count();
        let heading = if (1..=6).contains(&marks) && start[marks..].starts_with([' ', '\t']) {
            start[marks..].trim().trim_end_matches('#').trim_end()
        } else {
            let under = lines.peek().map_or("", |line| line.trim_end());
            let is_under = |mark: char| under.len() >= 2 && under.chars().all(|c| c == mark);
            let is_paragraph = !start.is_empty() && !start.starts_with(['>', '-', '*', '|']);
            if is_paragraph && (is_under('=') || is_under('-')) { start.trim_end() } else { "" }
        };
        if !heading.is_empty() {
            return Some(heading.to_owned());
        }
    }
    None
}
