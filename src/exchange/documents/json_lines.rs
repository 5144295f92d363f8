//! Documents that are JSON objects.

use serde_json::value::RawValue;

use super::document::{Document, derived_id};
use crate::exchange::Fault;
use crate::exchange::fields::{Fields, wrong};
use crate::exchange::json;

/// The names of the field that holds the id, as published collections have them.
pub(super) const IDS: [&str; 7] =
    ["id", "_id", "docid", "doc_id", "document_id", "pid", "wikipedia_id"];

/// The names of the field that holds the text.
pub(super) const TEXTS: [&str; 3] = ["text", "contents", "passage"];

/// The names of the field that holds the title.
const TITLES: [&str; 2] = ["title", "wikipedia_title"];

/// Returns the document of a record; with `is_named` it must have an id, else it must have none: in
/// a file of both, one kind of them was meant otherwise.
pub(super) fn parse(text: &str, is_named: bool) -> Result<Document, Fault> {
    let mut fields = Fields::parse(text)?;
    let id = if is_named { Some(id_of(&mut fields)?) } else { None };
    if let Some(name) = IDS.into_iter().find(|name| !is_named && fields.has(name)) {
        let message = "found an id; the file's first record has none (--as documents expects them)";
        return Err(Fault::of(name, message));
    }
    let mut title = None;
    for name in TITLES {
        if title.is_none() {
            title = string(&mut fields, name)?;
        }
    }
    let (first, body) = body(&mut fields)?;
    let title = title.or(first).filter(|title| !title.is_empty());
    let id = id.unwrap_or_else(|| derived_id(title.as_deref(), &body));
    let metadata = metadata(fields)?;
    Ok(Document { id, title, text: body, metadata })
}

fn id_of(fields: &mut Fields<'_>) -> Result<String, Fault> {
    match fields.identifier(&IDS)? {
        Some(id) if id.is_empty() => Err(Fault::of("id", "found an empty id; expected a name")),
        Some(id) => Ok(id),
        None => Err(Fault::of("id", "missing; expected a string or a whole number")),
    }
}

/// Takes a string that must be one where it is given.
pub(super) fn string(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<String>, Fault> {
    let Some(raw) = fields.raw(name) else { return Ok(None) };
    match serde_json::from_str(raw.get()) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(wrong(name, raw, "a string")),
    }
}

/// Takes the text, and the title if the text begins with one.
fn body(fields: &mut Fields<'_>) -> Result<(Option<String>, String), Fault> {
    for name in TEXTS {
        let Some(raw) = fields.raw(name) else { continue };
        let text = paragraphs(name, raw)?;
        let split = if name == "contents" { split_contents(&text) } else { None };
        return Ok(split.map_or((None, text.clone()), |(title, text)| (Some(title), text)));
    }
    Err(Fault::of("text", "missing; expected a string, or one in 'contents'"))
}

/// Returns a string, or strings joined by line breaks where they do not end in one.
fn paragraphs(name: &str, raw: &RawValue) -> Result<String, Fault> {
    if raw.get().starts_with('"') {
        return serde_json::from_str(raw.get())
            .map_err(|error| json::fault(&error, raw.get(), name));
    }
    let list: Vec<String> = serde_json::from_str(raw.get())
        .map_err(|_| wrong(name, raw, "a string or a list of strings"))?;
    let mut text = String::new();
    for paragraph in list {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&paragraph);
    }
    Ok(text)
}

/// Returns title and text of Search-R1's `"Title"\ntext`, `None` where the first line does not
/// stand in quotes.
fn split_contents(contents: &str) -> Option<(String, String)> {
    let (first, rest) = contents.split_once('\n')?;
    let title = first.trim_end_matches('\r').strip_prefix('"')?.strip_suffix('"')?;
    Some((title.to_owned(), rest.to_owned()))
}

/// Returns what is left as metadata; an object `metadata` that is left alone is that itself.
fn metadata(fields: Fields<'_>) -> Result<Option<String>, Fault> {
    let given: Vec<(&str, &RawValue)> =
        fields.iter().filter(|(_, raw)| raw.get() != "null").collect();
    let text = match given[..] {
        [] => return Ok(None),
        [("metadata", raw)] if raw.get().starts_with('{') => {
            json::kept_text(raw.get()).map_err(|message| Fault::of("metadata", message))?
        }
        _ => fields.into_rest()?.finish(),
    };
    let is_empty = text.trim_matches(['{', '}', ' ']).is_empty();
    Ok((!is_empty).then_some(text))
}
