//! Documents that are lines of fields parted by tabs.

use super::document::Document;
use super::json_lines::{IDS, TEXTS};
use crate::exchange::Fault;
use crate::exchange::json::ObjectText;

/// Which column holds what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    id: usize,
    text: usize,
    title: Option<usize>,
    /// The names that the first line gives; none: there is no such line, and no quotes.
    names: Vec<String>,
}

impl Columns {
    /// Returns the columns of a file that begins with `line`: named by it, or id, text and title.
    pub(super) fn of(line: &str) -> Columns {
        let names: Vec<String> = line
            .split('\t')
            .map(|name| name.trim().trim_matches('"').to_ascii_lowercase())
            .collect();
        let find = |known: &[&str]| names.iter().position(|name| known.contains(&name.as_str()));
        match (find(&IDS), find(&TEXTS)) {
            (Some(id), Some(text)) => Columns { id, text, title: find(&["title"]), names },
            _ => Columns { id: 0, text: 1, title: Some(2), names: Vec::new() },
        }
    }

    /// Whether the first line holds names and no document.
    pub(super) fn is_named(&self) -> bool {
        !self.names.is_empty()
    }

    /// Returns the document of a line without its end.
    pub(super) fn parse(&self, line: &str) -> Result<Document, Fault> {
        let fields: Vec<&str> = line.split('\t').collect();
        let count = match fields.len() {
            1 => "1 field".to_owned(),
            count => format!("{count} fields"),
        };
        if self.is_named() && fields.len() != self.names.len() {
            let names = self.names.join(", ");
            let message = format!("found {count}; expected {names}");
            return Err(Fault::whole(message));
        }
        if !self.is_named() && !(2..=3).contains(&fields.len()) {
            let message = format!(
                "found {count}; expected an id, a text and perhaps a title, parted by tabs"
            );
            return Err(Fault::whole(message));
        }
        let field = |index: usize| -> String {
            let field = fields.get(index).copied().unwrap_or("");
            if self.is_named() { unquoted(field) } else { field.to_owned() }
        };
        let id = field(self.id);
        if id.is_empty() {
            return Err(Fault::of("id", "found an empty id; expected a name"));
        }
        let title = self.title.map(field).filter(|title| !title.is_empty());
        let mut others = ObjectText::new();
        for (index, name) in self.names.iter().enumerate() {
            if index != self.id && index != self.text && Some(index) != self.title {
                others.text(name, Some(&field(index)));
            }
        }
        let metadata = (!others.is_empty()).then(|| others.finish());
        Ok(Document { id, title, text: field(self.text), metadata })
    }
}

/// Returns a field out of its quotes, if they are CSV's: around all of it, and twice within.
fn unquoted(field: &str) -> String {
    let inner = field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.replace("\"\"", "").contains('"') => inner.replace("\"\"", "\""),
        _ => field.to_owned(),
    }
}
