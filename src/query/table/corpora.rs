//! Tables of the search tool: corpora, their documents, recorded calls, and who saw a document.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::Result;

use super::streamed::{Rows, Spec, Value, Writer, each_call, streaming};
use crate::codec::ColumnType::{Boolean, Float, Integer, Text, Timestamp};
use crate::diag::{Diagnostic, did_you_mean, hexadecimal, list_some};
use crate::store::{StoreError, View};

pub(super) const CORPORA: &[Spec] = &[
    ("corpus", Text, "the name"),
    ("description", Text, "what is in it"),
    ("documents", Integer, "how many documents it has"),
    ("text_bytes", Integer, "bytes of their titles and texts"),
    ("fingerprint", Text, "what its answers depend on; null until it is sealed"),
    ("analyzer", Text, "how texts become terms, with its version"),
    ("k1", Float, "how soon a term's repetitions stop counting"),
    ("b", Float, "how much a long document's terms count less"),
    ("fields", Text, "the searched fields and their weights"),
    ("made_from", Text, "files, or the statement"),
    ("created_at", Timestamp, "when it was begun"),
];

pub(super) const RECORDINGS: &[Spec] = &[
    ("cassette", Text, "the cassette"),
    ("key", Text, "BLAKE3 over everything the answer may depend on"),
    ("kind", Text, "tool, judge or policy"),
    ("name", Text, "what was called"),
    ("version", Text, "its version"),
    ("corpus", Text, "the fingerprint of the corpus it answered from"),
    ("arguments", Text, "the arguments as canonical JSON"),
    ("occurrence", Integer, "how many equal calls came before, where that counts"),
    ("output", Text, "what came back; null for a call that was refused and never made"),
    ("error", Boolean, "whether that is an error"),
    ("structured", Text, "what came back for programs, as JSON"),
    ("hits", Integer, "how often it answered a call"),
    ("misses", Integer, "how often the call was refused because it was not recorded"),
    ("latency_ms", Float, "how long it took"),
    ("recorded_at", Timestamp, "when it ended"),
];

const DOCUMENTS: &[Spec] = &[
    ("id", Text, "the document's id"),
    ("title", Text, "the title"),
    ("text", Text, "the text"),
    ("metadata", Text, "what else is known of it, as JSON"),
];

pub(super) const SEEN_BY: &[Spec] = &[
    ("_trajectory", Integer, ""),
    ("_step", Integer, ""),
    ("trajectory_id", Text, "identifier of the trajectory within its source"),
    ("source", Text, "the collection it came from"),
    ("step", Integer, "the step whose observation shows the document"),
    ("call", Integer, "which call of the step, from 1"),
    ("tool", Text, "the tool that returned it"),
    ("by", Text, "id, content (all of the text) or beginning (its first 100 characters)"),
];

pub(super) fn write_corpora(view: &View, rows: &mut Rows) -> std::result::Result<(), StoreError> {
    for corpus in view.store().corpora()? {
        let fingerprint = corpus.fingerprint.map(|hash| hexadecimal(&hash));
        let fields: Vec<String> =
            corpus.fields.iter().map(|f| format!("{}={}", f.name, f.weight)).collect();
        rows.push(&[
            Value::Text(Some(&corpus.name)),
            Value::Text(Some(&corpus.description)),
            Value::Integer(Some(corpus.documents as i64)),
            Value::Integer(Some(corpus.text_bytes as i64)),
            Value::Text(fingerprint.as_deref()),
            Value::Text(Some(&format!("{} {}", corpus.analyzer.0, corpus.analyzer.1))),
            Value::Float(Some(corpus.k1)),
            Value::Float(Some(corpus.b)),
            Value::Text(Some(&fields.join(","))),
            Value::Text(Some(&corpus.made_from.join(", "))),
            Value::Integer(Some(corpus.created_at)),
        ])?;
    }
    Ok(())
}

pub(super) fn write_recordings(
    view: &View,
    rows: &mut Rows,
) -> std::result::Result<(), StoreError> {
    let mut pushed = Ok(true);
    view.store().scan_recordings(None, |cassette, key, record| {
        let key = hexadecimal(&key);
        pushed = rows.push(&[
            Value::Text(Some(cassette)),
            Value::Text(Some(&key)),
            Value::Text(Some(&record.kind)),
            Value::Text(Some(&record.name)),
            Value::Text(Some(&record.version)),
            Value::Text(record.corpus.as_deref()),
            Value::Text(Some(&record.arguments)),
            Value::Integer(Some(i64::from(record.occurrence))),
            Value::Text(record.output.as_deref()),
            Value::Boolean(record.output.is_some().then_some(record.is_error)),
            Value::Text(record.structured.as_deref()),
            Value::Integer(Some(record.hits as i64)),
            Value::Integer(Some(record.misses as i64)),
            Value::Float(Some(record.latency_microseconds as f64 / 1e3)),
            Value::Integer(Some(record.recorded_at)),
        ]);
        matches!(pushed, Ok(true))
    })?;
    pushed.map(drop)
}

/// Returns the documents of a corpus as a table, in the order of ids.
///
/// # Errors
/// DataFusion's message, should schema and stream ever differ.
pub fn documents_table(view: &View, corpus: &str) -> Result<Arc<dyn TableProvider>> {
    let corpus = corpus.to_owned();
    let write: Writer = Arc::new(move |view, rows| {
        view.store().scan_documents(&corpus, |id, document| {
            rows.push(&[
                Value::Text(Some(id)),
                Value::Text(document.title.as_deref()),
                Value::Text(Some(&document.text)),
                Value::Text(document.metadata.as_deref()),
            ])
        })
    });
    streaming(view, "documents", DOCUMENTS, write)
}

/// Returns the names of the columns of a corpus's documents, and what they mean.
pub fn document_columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    DOCUMENTS.iter().map(|(name, _, about)| (*name, *about))
}

/// A document that is looked for in what agents were shown.
pub(super) struct Wanted {
    id: String,
    /// The text with one blank for each run of blanks.
    text: String,
    /// The first characters of that, where it has more.
    beginning: Option<String>,
}

/// Characters by which a document is known that was shown in part.
const BEGINNING_CHARACTERS: usize = 100;

impl Wanted {
    /// Returns the document of `seen_by('corpus', 'id')`.
    ///
    /// # Errors
    /// What is wrong, and with which argument.
    pub fn of(
        view: &View,
        given: &[Option<String>],
    ) -> std::result::Result<Wanted, (Diagnostic, Option<usize>)> {
        let wrong = |message: String, at: Option<usize>| {
            let form = "FROM seen_by('corpus', 'id of a document')";
            (Diagnostic::new("table-function", message).help(form), at)
        };
        let [Some(corpus), Some(id)] = given else {
            return Err(wrong("seen_by() takes two texts in single quotes".to_owned(), None));
        };
        let failed = |error: StoreError| wrong(error.to_string(), None);
        let store = view.store();
        if store.corpus(corpus).map_err(failed)?.is_none() {
            let corpora = store.corpora().map_err(failed)?;
            let names = || corpora.iter().map(|corpus| corpus.name.as_str());
            let hint = match did_you_mean(corpus, names()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("corpora: {}", list_some(names())),
            };
            return Err(wrong(format!("there is no corpus '{corpus}'; {hint}"), Some(0)));
        }
        let Some(document) = store.document(corpus, id).map_err(failed)? else {
            return Err(wrong(format!("corpus '{corpus}' has no document '{id}'"), Some(1)));
        };
        let text = plain(&document.text);
        let beginning = text.char_indices().nth(BEGINNING_CHARACTERS);
        let beginning = beginning.map(|(end, _)| text[..end].to_owned());
        Ok(Wanted { id: id.clone(), text, beginning })
    }

    /// Returns how an observation shows the document, if it does.
    fn seen_in(&self, observation: &str) -> Option<&'static str> {
        if names_id(observation, &self.id) {
            return Some("id");
        }
        let observation = plain(observation);
        let holds =
            |text: &str| memchr::memmem::find(observation.as_bytes(), text.as_bytes()).is_some();
        if !self.text.is_empty() && holds(&self.text) {
            return Some("content");
        }
        self.beginning.as_deref().filter(|text| holds(text)).map(|_| "beginning")
    }
}

/// Returns a text with one blank for each run of blanks.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.push_str(word);
    }
    plain
}

/// Whether a text gives an id by name: `"id": "7"`, `docid=7`, `(id: 7)`.
fn names_id(text: &str, id: &str) -> bool {
    let quotes = ['"', '\'', '\\'];
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '#' | '/');
    text.match_indices(id).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + id.len()..]);
        let ends = behind.chars().next().is_none_or(|c| !in_word(c))
            || behind.strip_prefix('.').is_some_and(|rest| !rest.starts_with(in_word));
        let before = before.trim_end_matches(quotes).trim_end();
        let Some(name) = before.strip_suffix([':', '=']) else { return false };
        let name = name.trim_end().trim_end_matches(quotes);
        let name: String =
            name.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        ends && matches!(
            name.chars().rev().collect::<String>().as_str(),
            "id" | "_id" | "docid" | "doc_id" | "document_id" | "pid"
        )
    })
}

/// Writes which results of calls showed a document.
pub(super) fn write_seen(
    view: &View,
    rows: &mut Rows,
    wanted: &Wanted,
) -> std::result::Result<(), StoreError> {
    each_call(view, |(ordinal, t, step, at), call, result| {
        let Some(by) = result.and_then(|m| wanted.seen_in(m.text())) else { return Ok(true) };
        rows.push(&[
            Value::Integer(Some(ordinal)),
            Value::Integer(Some(step)),
            Value::Text(Some(&t.id)),
            Value::Text(Some(&t.source)),
            Value::Integer(Some(step)),
            Value::Integer(Some(at)),
            Value::Text(Some(&call.name)),
            Value::Text(Some(by)),
        ])
    })
}
