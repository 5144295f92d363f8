//! Calls of the backend within the limits of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::backend::{Document, Hit, Refusal, ToolOutput};
use super::pool::Deadline;
use super::reply::Failure;
use super::service::Service;

/// Searches a corpus for each query; one list of hits for each, in their order.
///
/// # Errors
/// An unknown corpus, a query or a number of queries or hits over its limit, texts of more bytes
/// than an answer may have, and what the backend says.
pub(super) async fn search(
    service: &Arc<Service>,
    deadline: Deadline,
    corpus: &str,
    queries: Vec<String>,
    k: u64,
) -> Result<Vec<Vec<Hit>>, Failure> {
    service.corpus(corpus)?;
    let limits = &service.options.limits;
    let k = usize::try_from(k).ok().filter(|k| (1..=limits.hits).contains(k)).ok_or_else(|| {
        Failure::invalid(format!("{k} documents were asked for; ask for 1 to {}", limits.hits))
    })?;
    if queries.len() > limits.queries {
        return Err(Failure::too_large(format!(
            "there are {} queries; ask at most {} at once",
            queries.len(),
            limits.queries
        )));
    }
    let long = queries.iter().enumerate().find(|(_, query)| query.len() > limits.query_bytes);
    if let Some((index, query)) = long {
        return Err(Failure::too_large(format!(
            "query {} has {} bytes; a query may have {}",
            index + 1,
            query.len(),
            limits.query_bytes
        )));
    }
    if queries.is_empty() {
        return Ok(Vec::new());
    }
    let (backend, corpus) = (Arc::clone(&service.backend), corpus.to_owned());
    let (bytes, bytes_max) = (AtomicUsize::new(0), limits.answer_bytes);
    let count = queries.len();
    let work = move |index: usize, cancelled: &dyn Fn() -> bool| {
        let hits = backend.search(&corpus, &queries[index], k, cancelled)?;
        check_scores(&hits)?;
        let own: usize = hits.iter().map(text_bytes).sum();
        if bytes.fetch_add(own, Ordering::AcqRel) + own > bytes_max {
            return Err(Refusal::Invalid(format!(
                "the answer has texts of more than {bytes_max} bytes; ask for fewer documents or \
                 send fewer queries at once"
            )));
        }
        Ok(hits)
    };
    service.pool.run_all(deadline, count, work).await
}

/// Returns a document of a corpus, if it has one of this id.
///
/// # Errors
/// An unknown corpus, and what the backend says.
pub(super) async fn document(
    service: &Arc<Service>,
    deadline: Deadline,
    corpus: &str,
    id: String,
) -> Result<Option<Document>, Failure> {
    service.corpus(corpus)?;
    let (backend, corpus) = (Arc::clone(&service.backend), corpus.to_owned());
    service.pool.run(deadline, move |_| backend.document(&corpus, &id)).await
}

/// Calls a tool.
///
/// # Errors
/// An unknown tool, an answer of more bytes than the limit, and what the backend says.
pub(super) async fn call(
    service: &Arc<Service>,
    deadline: Deadline,
    tool: &str,
    arguments: Value,
) -> Result<ToolOutput, Failure> {
    service.tool(tool)?;
    let (backend, tool) = (Arc::clone(&service.backend), tool.to_owned());
    let work = move |cancelled: &dyn Fn() -> bool| backend.call(&tool, &arguments, cancelled);
    let output = service.pool.run(deadline, work).await?;
    let bytes_max = service.options.limits.answer_bytes;
    if output.text.len() > bytes_max {
        return Err(Failure::invalid(format!(
            "the tool's answer has {} bytes; an answer may have {bytes_max}; ask it for less",
            output.text.len()
        )));
    }
    Ok(output)
}

/// JSON has no infinity and no NaN: a client would read null.
fn check_scores(hits: &[Hit]) -> Result<(), Refusal> {
    match hits.iter().find(|hit| !hit.score.is_finite()) {
        Some(hit) => Err(Refusal::Internal(format!(
            "the score of document '{}' is {}, which is no number to rank by",
            hit.id, hit.score
        ))),
        None => Ok(()),
    }
}

fn text_bytes(hit: &Hit) -> usize {
    hit.id.len() + hit.text.len() + hit.title.as_ref().map_or(0, String::len)
}
