//! The paths of Pyserini's and Anserini's REST servers, version 1.
//!
//! `GET /v1/{index}/search?query=..&hits=10&parse=true` and
//! `GET /v1/{index}/doc/{docid}?parse=true`, with the answers of Anserini's OpenAPI description. A
//! stored document is `{"id": .., "title": .., "text": ..}`; with `parse=false` it comes as that
//! text. Parsed, it comes as these servers make it: the object without its id, and where one field
//! is left, its value alone. Errors are those of this server, not `{"error": "text"}`.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::backend::Document;
use super::calls;
use super::json::parameters;
use super::pool::Deadline;
use super::reply::Failure;
use super::routes::Answer;
use super::service::Service;

/// What these servers return where `hits` is missing.
const HITS: u64 = 10;

/// Answers a search.
///
/// # Errors
/// What is wrong with the request, or why it has no answer.
pub(super) async fn search(
    service: &Arc<Service>,
    deadline: Deadline,
    index: String,
    query: Option<&str>,
) -> Result<Answer, Failure> {
    let [text, hits, parse] = parameters(query, ["query", "hits", "parse"])?;
    let text = text.filter(|text| !text.trim().is_empty()).ok_or_else(|| {
        Failure::invalid("the parameter 'query' is missing; expected ?query=TEXT&hits=10")
    })?;
    let hits = match hits.as_deref() {
        None | Some("") => HITS,
        Some(hits) => hits.parse().map_err(|_| {
            Failure::invalid(format!("the parameter 'hits' is '{hits}'; it must be a number"))
        })?,
    };
    let parsed = flag(parse.as_deref())?;
    let found = calls::search(service, deadline, &index, vec![text.clone()], hits).await?;
    let candidates = found.into_iter().flatten().zip(1u64..).map(|(hit, rank)| {
        let (docid, score) = (hit.id.clone(), hit.score);
        let doc = stored(Document { id: hit.id, title: hit.title, text: hit.text }, parsed);
        json!({"docid": docid, "score": score, "rank": rank, "doc": doc})
    });
    let candidates: Vec<Value> = candidates.collect();
    let answer = json!({
        "api": "v1", "index": index, "query": {"text": text}, "candidates": candidates,
    });
    Ok(Answer { json: answer.to_string().into_bytes(), corpus: Some(index) })
}

/// Answers with a document.
///
/// # Errors
/// 404 where there is no such document, and why it cannot be read.
pub(super) async fn document(
    service: &Arc<Service>,
    deadline: Deadline,
    index: String,
    id: String,
    query: Option<&str>,
) -> Result<Answer, Failure> {
    let [parse] = parameters(query, ["parse"])?;
    let parsed = flag(parse.as_deref())?;
    let found = calls::document(service, deadline, &index, id.clone()).await?;
    let document = found.ok_or_else(|| {
        let message = format!("the corpus '{index}' has no document '{id}'");
        Failure::new(StatusCode::NOT_FOUND, "unknown_document", message)
    })?;
    let doc = stored(document, parsed);
    let answer = json!({"api": "v1", "index": index, "docid": id, "doc": doc});
    Ok(Answer { json: answer.to_string().into_bytes(), corpus: Some(index) })
}

fn stored(document: Document, parsed: bool) -> Value {
    let Document { id, title, text } = document;
    match (title, parsed) {
        (Some(title), true) => json!({"title": title, "text": text}),
        (None, true) => Value::String(text),
        (Some(title), false) => {
            Value::String(json!({"id": id, "title": title, "text": text}).to_string())
        }
        (None, false) => Value::String(json!({"id": id, "text": text}).to_string()),
    }
}

fn flag(text: Option<&str>) -> Result<bool, Failure> {
    match text.map(|text| text.trim().to_lowercase()).as_deref() {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(Failure::invalid(format!(
            "the parameter 'parse' is '{other}'; it must be true or false"
        ))),
    }
}
