//! `POST /retrieve`, as the clients of Search-R1, verl and SkyRL send it.
//!
//! ```text
//! {"queries": ["..", ..], "topk": 3, "return_scores": true}
//! {"result": [[{"document": {"id": "..", "contents": "\"Title\"\nText"}, "score": 12.3}, ..]]}
//! ```
//!
//! There is one list for each query, in their order; nothing found is an empty list. Without
//! `return_scores` the documents stand bare. Clients take the first line of `contents` as the
//! title, so a document without one begins with an empty title. `corpus` is ours: which of several.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::diag::list_some;

use super::backend::Hit;
use super::calls;
use super::json::parse;
use super::pool::Deadline;
use super::reply::Failure;
use super::routes::Answer;
use super::service::Service;

const EXPECTED: &str = r#"{"queries": ["text", ..], "topk": 3, "return_scores": true}"#;

/// A field that is not known is refused: `top_k` would else be answered with three documents.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    queries: Vec<String>,
    #[serde(default)]
    topk: Option<u64>,
    #[serde(default)]
    return_scores: Option<bool>,
    #[serde(default)]
    corpus: Option<String>,
}

#[derive(Serialize)]
struct Response<T> {
    result: Vec<Vec<T>>,
}

#[derive(Serialize)]
struct Scored {
    document: Bare,
    score: f64,
}

#[derive(Serialize)]
struct Bare {
    id: String,
    contents: String,
}

/// Answers a request; `path_corpus` is the corpus that its path names.
///
/// # Errors
/// What is wrong with the request, or why it has no answer.
pub(super) async fn answer(
    service: &Arc<Service>,
    deadline: Deadline,
    path_corpus: Option<String>,
    body: &[u8],
) -> Result<Answer, Failure> {
    let request: Request = parse(body, EXPECTED)?;
    let corpus = choose(service, path_corpus, request.corpus)?;
    let k = request.topk.unwrap_or(service.options.topk as u64);
    let found = calls::search(service, deadline, &corpus, request.queries, k).await?;
    let json = if request.return_scores.unwrap_or(false) {
        print(found, |hit| Scored { score: hit.score, document: bare(hit) })
    } else {
        print(found, bare)
    };
    Ok(Answer { json: json?, corpus: Some(corpus) })
}

fn print<T: Serialize>(found: Vec<Vec<Hit>>, one: impl Fn(Hit) -> T) -> Result<Vec<u8>, Failure> {
    let result = found.into_iter().map(|hits| hits.into_iter().map(&one).collect()).collect();
    serde_json::to_vec(&Response { result }).map_err(|error| Failure::internal(error.to_string()))
}

fn bare(hit: Hit) -> Bare {
    let contents = format!("\"{}\"\n{}", hit.title.as_deref().unwrap_or_default(), hit.text);
    Bare { id: hit.id, contents }
}

/// Returns the corpus that is meant: by path, by field, by option, or the only one.
fn choose(
    service: &Service,
    path: Option<String>,
    field: Option<String>,
) -> Result<String, Failure> {
    if let (Some(path), Some(field)) = (&path, &field)
        && path != field
    {
        return Err(Failure::invalid(format!(
            "the path names the corpus '{path}' and the field corpus names '{field}'; name one"
        )));
    }
    if let Some(name) = path.or(field).or_else(|| service.options.corpus.clone()) {
        return Ok(name);
    }
    match service.corpora.as_slice() {
        [only] => Ok(only.name.clone()),
        corpora => Err(Failure::invalid(format!(
            "which corpus? call /retrieve/NAME or send \"corpus\": \"NAME\"; there are: {}",
            list_some(corpora.iter().map(|corpus| corpus.name.as_str()))
        ))),
    }
}
