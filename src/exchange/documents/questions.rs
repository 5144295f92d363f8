//! The paragraphs that stand beside questions.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::document::{Document, derived_id};
use crate::exchange::Fault;
use crate::exchange::fields::{Fields, wrong};

/// Returns the paragraphs of a question of HotpotQA: `context` is a list of a title and its
/// sentences, or an object of the lists `title` and `sentences`.
pub(super) fn hotpotqa(text: &str) -> Result<Vec<Document>, Fault> {
    #[derive(Deserialize)]
    struct Columns {
        title: Vec<String>,
        sentences: Vec<Vec<String>>,
    }
    let context = field(text, "context")?;
    if context.get().starts_with('{') {
        let columns: Columns = serde_json::from_str(context.get())
            .map_err(|_| wrong("context", context, "an object with title[] and sentences[][]"))?;
        let (titles, lists) = (columns.title.len(), columns.sentences.len());
        if titles != lists {
            let message = format!("found {titles} titles and {lists} lists of sentences");
            return Err(Fault::of("context", message));
        }
        let paragraphs = columns.title.into_iter().zip(columns.sentences);
        return Ok(paragraphs
            .map(|(title, sentences)| document(title, &join(&sentences)))
            .collect());
    }
    let entries: Vec<&RawValue> = serde_json::from_str(context.get())
        .map_err(|_| wrong("context", context, "a list of [title, [sentences]]"))?;
    let mut documents = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let (title, sentences): (String, Vec<String>) = serde_json::from_str(entry.get())
            .map_err(|_| wrong(&format!("context[{index}]"), entry, "[title, [sentences]]"))?;
        documents.push(document(title, &join(&sentences)));
    }
    Ok(documents)
}

/// Returns the paragraphs of a question of MuSiQue: `paragraphs` is a list of objects with `title`
/// and `paragraph_text`.
pub(super) fn musique(text: &str) -> Result<Vec<Document>, Fault> {
    #[derive(Deserialize)]
    struct Paragraph {
        title: String,
        paragraph_text: String,
    }
    let paragraphs = field(text, "paragraphs")?;
    let entries: Vec<&RawValue> = serde_json::from_str(paragraphs.get())
        .map_err(|_| wrong("paragraphs", paragraphs, "a list of {title, paragraph_text}"))?;
    let mut documents = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let expected = "an object with the strings title and paragraph_text";
        let paragraph: Paragraph = serde_json::from_str(entry.get())
            .map_err(|_| wrong(&format!("paragraphs[{index}]"), entry, expected))?;
        documents.push(document(paragraph.title, &paragraph.paragraph_text));
    }
    Ok(documents)
}

fn field<'a>(text: &'a str, name: &'static str) -> Result<&'a RawValue, Fault> {
    let fields = Fields::parse(text)?;
    fields.peek(name).ok_or_else(|| Fault::of(name, "missing; expected the question's paragraphs"))
}

fn document(title: String, text: &str) -> Document {
    let title = Some(title).filter(|title| !title.is_empty());
    let id = derived_id(title.as_deref(), text);
    Document { id, title, text: text.to_owned(), metadata: None }
}

/// Returns sentences as one text. HotpotQA's begin with their blank; where neither side has one, it
/// is put between.
fn join(sentences: &[String]) -> String {
    let mut text = String::new();
    for sentence in sentences {
        let is_apart = text.is_empty()
            || sentence.is_empty()
            || text.ends_with(char::is_whitespace)
            || sentence.starts_with(char::is_whitespace);
        if !is_apart {
            text.push(' ');
        }
        text.push_str(sentence);
    }
    text
}
