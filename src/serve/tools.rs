//! `/tools`: every tool by a plain call with JSON; `/health`: what is served.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::backend::ToolOutput;
use super::calls;
use super::json::parse;
use super::pool::Deadline;
use super::reply::Failure;
use super::routes::Answer;
use super::service::Service;

/// Returns the tools with their schemas.
///
/// # Errors
/// None; the type is that of all routes.
pub(super) fn list(service: &Service) -> Result<Answer, Failure> {
    let answer = json!({"tools": service.tools});
    Ok(Answer { json: answer.to_string().into_bytes(), corpus: None })
}

/// Calls a tool: the body is the object of its arguments. What goes wrong in the tool is an answer
/// with `is_error`.
///
/// # Errors
/// An unknown tool, a body that is no object, limits.
pub(super) async fn call(
    service: &Arc<Service>,
    deadline: Deadline,
    name: String,
    body: &[u8],
) -> Result<Answer, Failure> {
    let corpus = service.tool(&name)?.corpus.clone();
    let arguments: Map<String, Value> = parse(body, "an object of arguments: {\"query\": \"..\"}")?;
    let output = calls::call(service, deadline, &name, Value::Object(arguments)).await?;
    let ToolOutput { text, is_error, structured } = output;
    let answer = json!({"text": text, "is_error": is_error, "structured": structured});
    Ok(Answer { json: answer.to_string().into_bytes(), corpus })
}

/// Says that the server lives, and what it serves.
///
/// # Errors
/// None; the type is that of all routes.
pub(super) fn health(service: &Service) -> Result<Answer, Failure> {
    let (version, corpora) = (env!("CARGO_PKG_VERSION"), &service.corpora);
    let answer = json!({"status": "ok", "version": version, "corpora": corpora});
    Ok(Answer { json: answer.to_string().into_bytes(), corpus: None })
}
