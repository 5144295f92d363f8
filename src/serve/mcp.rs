//! The Model Context Protocol: tools listed and called, over HTTP or any other transport.
//!
//! What goes wrong in a call is a result with `isError`, unknown tools and limits included: clients
//! show a model the text of a result, and not that of an error of the protocol. A result that a
//! corpus was read for says so in `_meta`, under `swirldb/corpus` as `name=fingerprint`.

use std::sync::{Arc, OnceLock};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, MetaObject, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;
use tokio::time::timeout_at;

use super::backend::{Backend, ToolSpec};
use super::body::{self, Held};
use super::calls;
use super::error::ServeError;
use super::options::Options;
use super::pool::Deadline;
use super::reply::{Failure, Reply};
use super::routes::add_provenance;
use super::service::Service;

/// The key under which a result names the corpus that was read.
const CORPUS_KEY: &str = "swirldb/corpus";

/// Tools for one client of the Model Context Protocol; `rmcp::ServiceExt::serve` takes a transport.
#[derive(Clone)]
pub struct McpServer {
    service: Arc<Service>,
}

/// The corpus that a request over HTTP read, for the answer's header.
#[derive(Clone, Default)]
struct Read(Arc<OnceLock<String>>);

impl McpServer {
    /// Returns a server of the backend's tools.
    ///
    /// # Errors
    /// Names or options that do not hold.
    pub fn new(backend: Arc<dyn Backend>, options: Options) -> Result<McpServer, ServeError> {
        Ok(McpServer { service: Arc::new(Service::new(backend, options)?) })
    }

    pub(super) fn over(service: Arc<Service>) -> McpServer {
        McpServer { service }
    }

    pub(super) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    async fn call(&self, request: CallToolRequestParams) -> Result<CallToolResult, Failure> {
        let deadline = Deadline::after(self.service.options.limits.request_time);
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let output = calls::call(&self.service, deadline, &request.name, arguments).await?;
        let content = vec![ContentBlock::text(output.text)];
        let mut result = match output.is_error {
            true => CallToolResult::error(content),
            false => CallToolResult::success(content),
        };
        result.structured_content = output.structured;
        Ok(result)
    }
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("swirldb", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.service.tools.iter().filter_map(describe).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = self.service.tool(&request.name).ok();
        let corpus = tool.and_then(|tool| tool.corpus.clone());
        let done = tokio::select! {
            done = self.call(request) => done,
            // Nobody reads this; the call itself is cancelled with it.
            () = context.ct.cancelled() => Err(Failure::busy("the call was cancelled")),
        };
        let mut result = done.unwrap_or_else(|failure| {
            CallToolResult::error(vec![ContentBlock::text(failure.to_string())])
        });
        if let Some(corpus) = corpus {
            if let Some(text) = self.service.provenance(&corpus) {
                let meta = result.meta.get_or_insert_with(MetaObject::new);
                meta.0.insert(CORPUS_KEY.to_owned(), Value::String(text));
            }
            let parts = context.extensions.get::<Parts>();
            if let Some(read) = parts.and_then(|parts| parts.extensions.get::<Read>()) {
                // A request calls one tool: nobody has set this before.
                read.0.get_or_init(|| corpus);
            }
        }
        Ok(result.into())
    }
}

fn describe(tool: &ToolSpec) -> Option<Tool> {
    let schema = tool.parameters.as_object()?.clone();
    let hints = ToolAnnotations::new().read_only(tool.read_only);
    let mut described = Tool::new(tool.name.clone(), tool.description.clone(), schema);
    described.annotations = Some(hints);
    let version = Value::String(tool.version.clone());
    described.meta =
        Some(MetaObject([("swirldb/version".to_owned(), version)].into_iter().collect()));
    Some(described)
}

/// Answers a request of the protocol over HTTP.
///
/// # Errors
/// 503 where there is no answer in time; what the protocol's library refuses keeps its status.
pub(super) async fn answer_http(
    service: &Arc<Service>,
    mut parts: Parts,
    body: Vec<u8>,
    mut held: Held,
) -> Result<Reply, Failure> {
    let read = Read::default();
    parts.extensions.insert(read.clone());
    let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
    let deadline = Deadline::after(service.options.limits.request_time);
    // A call ends by a deadline of its own, a moment later than this one: let it say so.
    let answering = async {
        let response = service.http_protocol().handle(request).await;
        let (head, body) = response.into_parts();
        match body.collect().await {
            Ok(body) => (head, body.to_bytes()),
            Err(never) => match never {},
        }
    };
    let end = deadline.instant() + std::time::Duration::from_secs(1);
    let (head, bytes) = timeout_at(end, answering).await.map_err(|_| deadline.passed())?;
    let is_text = head.headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/json");
    if head.status.is_client_error() && is_text {
        let message = String::from_utf8_lossy(&bytes).into_owned();
        let mut reply = Failure::new(head.status, "protocol", message).reply();
        for (name, value) in head.headers.iter().filter(|(name, _)| *name != CONTENT_TYPE) {
            reply.headers_mut().insert(name, value.clone());
        }
        return Ok(reply);
    }
    held.grow(bytes.len())?;
    let mut reply = Response::from_parts(head, Full::new(body::keep(bytes.to_vec(), held)));
    if let Some(corpus) = read.0.get() {
        add_provenance(service, &mut reply, corpus);
    }
    Ok(reply)
}
