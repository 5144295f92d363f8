//! Tools of a server of the Model Context Protocol.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig,
    ContentBlock, Implementation,
};
use rmcp::service::{RunningService, ServiceError};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{IntoTransport, StreamableHttpClientTransport};
use rmcp::{RoleClient, ServiceExt};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::diag::list_some;

use super::super::backend::{Cancelled, ToolOutput, ToolSpec};
use super::error::ProxyError;
use super::http::{check_scheme, client};
use super::worker::{ProxyLimits, Worker};

/// How much of what a command writes to standard error is kept for messages.
const STDERR_BYTES: usize = 2048;

/// What frames a message beside the answer in it.
const FRAME_BYTES: usize = 64 << 10;

/// How long to wait for what a command that failed has said.
const LAST_WORDS_TIME: Duration = Duration::from_millis(200);

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum McpTarget {
    /// A program that speaks over standard input and output. It ends when the tools are dropped.
    Command {
        /// The program, by path or by name.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// What its environment has beside ours.
        environment: Vec<(String, String)>,
    },
    /// An address that speaks streamable HTTP.
    Url {
        /// The address, `http://..` or `https://..`.
        url: String,
        /// Headers of each request, by name.
        headers: Vec<(String, String)>,
    },
}

/// The tools of a server.
pub struct McpTools {
    // Fields are dropped in this order: the client says goodbye before its thread ends.
    client: Arc<RunningService<RoleClient, ClientConfig>>,
    _child: Option<Child>,
    stderr: Arc<Tail>,
    tools: Vec<ToolSpec>,
    target: String,
    limits: ProxyLimits,
    worker: Worker,
}

/// The end of what a command wrote to standard error.
#[derive(Default)]
struct Tail(Mutex<VecDeque<u8>>);

type Pipes = AsyncRwTransport<RoleClient, ChildStdout, ChildStdin>;

type Connected = (RunningService<RoleClient, ClientConfig>, Vec<ToolSpec>);

impl McpTools {
    /// Connects and asks which tools there are, within the time limit.
    ///
    /// # Errors
    /// A command that cannot be started, an address that is none or does not answer, a server
    /// that speaks something else.
    pub fn connect(target: &McpTarget, limits: ProxyLimits) -> Result<McpTools, ProxyError> {
        let worker = Worker::start()?;
        let stderr = Arc::new(Tail::default());
        let mut child = None;
        let outcome = match target {
            McpTarget::Command { program, arguments, environment } => {
                let mut command = Command::new(program);
                command.args(arguments).envs(environment.iter().cloned());
                let started = child.insert(start(&worker, command, program)?);
                let transport = pipes(started, limits)?;
                let reading = started
                    .stderr
                    .take()
                    .map(|written| worker.handle().spawn(Arc::clone(&stderr).fill(written)));
                let outcome = worker.run(limits.time, &|| false, speak(transport));
                if let (Ok(Err(_)), Some(reading)) = (&outcome, reading) {
                    // What the command said at its end explains it.
                    let all = async move { reading.await.map_err(|e| io::Error::other(e).into()) };
                    let _late = worker.run(LAST_WORDS_TIME, &|| false, all);
                }
                outcome
            }
            McpTarget::Url { url, headers } => {
                check_scheme(url)?;
                let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                    .custom_headers(parse_headers(headers)?)
                    .max_sse_event_size(limits.answer_bytes.saturating_add(FRAME_BYTES));
                let http = client()?;
                worker.run(limits.time, &|| false, async move {
                    speak(StreamableHttpClientTransport::with_client(http, config)).await
                })
            }
        };
        let target = target.name();
        let (client, tools) = outcome?.map_err(|problem| ProxyError::Protocol {
            target: target.clone(),
            problem: stderr.after(&problem),
        })?;
        Ok(McpTools {
            client: Arc::new(client),
            _child: child,
            stderr,
            tools,
            target,
            limits,
            worker,
        })
    }

    /// Returns the tools. Their version is the server's name and version.
    pub fn tools(&self) -> &[ToolSpec] {
        &self.tools
    }

    /// Calls a tool. What goes wrong in the tool is an output that is an error.
    ///
    /// # Errors
    /// A tool that there is not, and why there is no answer to use.
    pub fn call(
        &self,
        tool: &str,
        arguments: &Value,
        cancelled: Cancelled,
    ) -> Result<ToolOutput, ProxyError> {
        if !self.tools.iter().any(|spec| spec.name == tool) {
            let known = list_some(self.tools.iter().map(|spec| spec.name.as_str()));
            return Err(ProxyError::UnknownTool { name: tool.to_owned(), known });
        }
        let arguments = arguments.as_object().ok_or(ProxyError::Arguments)?.clone();
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let client = Arc::clone(&self.client);
        let calling = async move { Ok(client.peer().call_tool_once(request).await) };
        let answered = self.worker.run(self.limits.time, cancelled, calling)?;
        match answered {
            Ok(CallToolResponse::Complete(result)) => self.output(result),
            Ok(_) => Err(self.broken("it asks for input during a call, which nobody can give")),
            Err(ServiceError::McpError(error)) => Ok(ToolOutput {
                text: format!("error {}: {}", error.code.0, error.message),
                is_error: true,
                structured: None,
            }),
            Err(error) => Err(self.broken(&error.to_string())),
        }
    }

    fn broken(&self, problem: &str) -> ProxyError {
        let problem = self.stderr.after(problem);
        ProxyError::Protocol { target: self.target.clone(), problem }
    }

    fn output(&self, result: CallToolResult) -> Result<ToolOutput, ProxyError> {
        let mut lines = Vec::new();
        for block in &result.content {
            lines.push(match block {
                ContentBlock::Text(text) => text.text.clone(),
                // Pictures and links stay what they are, as JSON.
                other => serde_json::to_string(other).map_err(|e| self.broken(&e.to_string()))?,
            });
        }
        let text = lines.join("\n");
        let structured = result.structured_content;
        let structured_bytes = structured.as_ref().map_or(0, |value| value.to_string().len());
        let limit_bytes = self.limits.answer_bytes;
        if text.len() + structured_bytes > limit_bytes {
            return Err(ProxyError::TooLarge { limit_bytes });
        }
        Ok(ToolOutput { text, is_error: result.is_error.unwrap_or(false), structured })
    }
}

impl McpTarget {
    /// Returns what it is called in messages.
    pub fn name(&self) -> String {
        match self {
            McpTarget::Command { program, .. } => format!("the command '{program}'"),
            McpTarget::Url { url, .. } => url.clone(),
        }
    }
}

impl Tail {
    /// Reads to the end and keeps the last of it.
    async fn fill(self: Arc<Tail>, mut written: ChildStderr) {
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = written.read(&mut buffer).await {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&buffer[..read]);
            let over = kept.len().saturating_sub(STDERR_BYTES);
            kept.drain(..over);
        }
    }

    /// Returns a message with what is kept behind it.
    fn after(&self, problem: &str) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(kept.make_contiguous()).trim().to_owned();
        match text.is_empty() {
            true => problem.to_owned(),
            false => format!("{problem}; it wrote: {text}"),
        }
    }
}

fn start(worker: &Worker, mut command: Command, program: &str) -> Result<Child, ProxyError> {
    let _inside = worker.handle().enter();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = command.kill_on_drop(true).spawn();
    started.map_err(|source| ProxyError::Start { program: program.to_owned(), source })
}

fn pipes(child: &mut Child, limits: ProxyLimits) -> Result<Pipes, ProxyError> {
    match (child.stdout.take(), child.stdin.take()) {
        (Some(output), Some(input)) => Ok(AsyncRwTransport::new_client(output, input)
            .with_max_line_length(limits.answer_bytes.saturating_add(FRAME_BYTES))),
        _ => Err(ProxyError::Run(io::Error::other("the command has no pipes"))),
    }
}

/// Connects and asks for the tools, page by page; the time limit ends a list without an end.
async fn speak<T, E, A>(transport: T) -> Result<Result<Connected, String>, ProxyError>
where
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    let program = Implementation::new("swirldb", env!("CARGO_PKG_VERSION"));
    let config = ClientConfig::new(ClientCapabilities::default(), program);
    let client = match config.serve(transport).await {
        Ok(client) => client,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let server = client.peer().peer_info().and_then(|info| info.server_info.clone());
    let version =
        server.map_or_else(String::new, |server| format!("{} {}", server.name, server.version));
    let tools = match client.peer().list_all_tools().await {
        Ok(tools) => tools,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let specs = tools.into_iter().map(|tool| ToolSpec {
        name: tool.name.into_owned(),
        description: tool.description.unwrap_or_default().into_owned(),
        parameters: Value::Object(tool.input_schema.as_ref().clone()),
        version: version.clone(),
        corpus: None,
        read_only: tool.annotations.and_then(|hints| hints.read_only_hint).unwrap_or(false),
        // What it remembers is not known: each call counts.
        has_state: true,
    });
    let specs = specs.collect();
    Ok(Ok((client, specs)))
}

fn parse_headers(
    headers: &[(String, String)],
) -> Result<HashMap<HeaderName, HeaderValue>, ProxyError> {
    let parse = |(name, value): &(String, String)| {
        let parsed = name.parse::<HeaderName>().ok().zip(value.parse::<HeaderValue>().ok());
        parsed.ok_or_else(|| ProxyError::Template {
            part: format!("the header {name}"),
            text: value.clone(),
            problem: "name or value cannot stand in a header".to_owned(),
        })
    };
    headers.iter().map(parse).collect()
}
