//! A report as two files: Markdown, and a page of HTML.

use std::path::{Path, PathBuf};

use super::error::SessionError;
use crate::report::{Report, html, markdown};

/// Writes a report to `path` with `.md` and `.html` behind it; files that are there are replaced.
///
/// # Errors
/// What the disk says.
pub(super) fn write(report: &Report, path: &str) -> Result<[PathBuf; 2], SessionError> {
    let write = |ending: &str, text: String| {
        let path = PathBuf::from(format!("{path}.{ending}"));
        match std::fs::write(&path, text) {
            Ok(()) => Ok(path),
            Err(e) => Err(SessionError::Environment(format!("{}: {e}", path.display()))),
        }
    };
    Ok([write("md", markdown(report))?, write("html", html(report))?])
}

/// Checks that a report could be written there, before what it reports is done.
///
/// # Errors
/// There is no such folder; the name is that of a file already written, or of a folder.
pub(super) fn check(path: &str) -> Result<(), SessionError> {
    let wrong = |message: String| Err(SessionError::mistake("report", message));
    if path.ends_with(std::path::MAIN_SEPARATOR) || path.ends_with('/') {
        return wrong(format!("report = '{path}' is a folder; expected a file's name in it"));
    }
    for ending in [".md", ".html"] {
        if let Some(without) = path.strip_suffix(ending) {
            let message = format!(
                "report = '{path}' has an ending; expected '{without}', which makes {without}.md \
                 and {without}.html"
            );
            return wrong(message);
        }
        let file = format!("{path}{ending}");
        if Path::new(&file).is_dir() {
            return wrong(format!("report = '{path}': {file} is a folder"));
        }
    }
    let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => {
            let folder = folder.display();
            wrong(format!("report = '{path}': there is no folder {folder}; make it first"))
        }
        None => Ok(()),
    }
}
