//! Tools elsewhere, as a file names them.
//!
//! ```toml
//! [[http]]
//! name = "web_search"
//! description = "Searches the web."
//! version = "2026-11"
//! method = "POST"                       # or GET
//! url = "http://127.0.0.1:9000/search"
//! headers = { authorization = "Bearer KEY" }
//! body = { q = "{query}", count = 5 }
//! parameters = '{"type": "object", "properties": {"query": {"type": "string"}}}'
//!
//! [[mcp]]
//! command = ["uvx", "mcp-server-fetch"]  # or url = "http://127.0.0.1:9001/mcp"
//! tools = ["fetch"]                      # all, if not given
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::backend::{ToolOutput, ToolSpec};
use super::proxy::{HttpTarget, HttpTool, McpTarget, McpTools, Method, ProxyError, ProxyLimits};
use crate::diag::list_some;
use crate::tools::Tool;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    http: Vec<Http>,
    #[serde(default)]
    mcp: Vec<Mcp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    name: String,
    description: String,
    version: String,
    url: String,
    parameters: String,
    #[serde(default)]
    method: Verb,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    timeout_seconds: Option<f64>,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum Verb {
    #[serde(rename = "GET")]
    Get,
    #[default]
    #[serde(rename = "POST")]
    Post,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mcp {
    command: Option<Vec<String>>,
    url: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    tools: Option<Vec<String>>,
    timeout_seconds: Option<f64>,
}

/// Why the tools of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProxiedError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something in it is not as it must be.
    #[error("{path}: {problem}")]
    Wrong {
        /// The file.
        path: String,
        /// What, and what was expected.
        problem: String,
    },
    /// A tool cannot be reached.
    #[error("{path}: {tool}: {source}")]
    Proxy {
        /// The file.
        path: String,
        /// The tool, or the server of several.
        tool: String,
        /// Why.
        source: ProxyError,
    },
}

/// Reads a file of tools and connects to those that need it.
///
/// # Errors
/// What is wrong with the file, or which tool cannot be reached.
pub fn read_proxied(path: &Path) -> Result<Vec<Arc<dyn Tool>>, ProxiedError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| ProxiedError::File { path: shown.clone(), source })?;
    let wrong = |problem: String| ProxiedError::Wrong { path: shown.clone(), problem };
    let file: File = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let limits = |seconds: Option<f64>| match seconds {
        None => Ok(ProxyLimits::default()),
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map(|time| ProxyLimits { time, ..ProxyLimits::default() })
            .map_err(|_| wrong(format!("timeout_seconds = {seconds}: expected a time"))),
    };
    let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
    for http in file.http {
        let failed =
            |source| ProxiedError::Proxy { path: shown.clone(), tool: http.name.clone(), source };
        let parameters: Value = serde_json::from_str(&http.parameters)
            .map_err(|error| wrong(format!("{}: parameters: {error}", http.name)))?;
        let target = HttpTarget {
            method: if matches!(http.method, Verb::Get) { Method::Get } else { Method::Post },
            url: http.url,
            headers: http.headers.into_iter().collect(),
            body: http.body,
        };
        let tool = HttpTool::new(&target, limits(http.timeout_seconds)?).map_err(failed)?;
        let mut spec = ToolSpec::new(http.name, http.description, parameters, http.version);
        (spec.has_state, spec.read_only) = (true, false);
        let call =
            move |arguments: &Value, cancelled: &dyn Fn() -> bool| tool.call(arguments, cancelled);
        tools.push(Arc::new(Proxied { spec, call: Box::new(call) }));
    }
    for mcp in file.mcp {
        let limits = limits(mcp.timeout_seconds)?;
        tools.extend(tools_of(mcp, limits, &shown)?);
    }
    Ok(tools)
}

/// Connects to a server and returns those of its tools that are wanted.
fn tools_of(mcp: Mcp, limits: ProxyLimits, path: &str) -> Result<Vec<Arc<dyn Tool>>, ProxiedError> {
    let wrong = |problem: String| ProxiedError::Wrong { path: path.to_owned(), problem };
    let target = match (mcp.command, mcp.url) {
        (Some(command), None) => match command.split_first() {
            Some((program, arguments)) => McpTarget::Command {
                program: program.clone(),
                arguments: arguments.to_vec(),
                environment: mcp.environment.into_iter().collect(),
            },
            None => return Err(wrong("an mcp command is empty".to_owned())),
        },
        (None, Some(url)) => McpTarget::Url { url, headers: mcp.headers.into_iter().collect() },
        _ => return Err(wrong("each [[mcp]] has a command or a url".to_owned())),
    };
    let failed =
        |source| ProxiedError::Proxy { path: path.to_owned(), tool: target.name(), source };
    let server = Arc::new(McpTools::connect(&target, limits).map_err(failed)?);
    let there: Vec<&str> = server.tools().iter().map(|spec| spec.name.as_str()).collect();
    if let Some(missing) = mcp.tools.iter().flatten().find(|w| !there.contains(&w.as_str())) {
        return Err(wrong(format!(
            "the server has no tool '{missing}'; it has: {}",
            list_some(there)
        )));
    }
    let is_wanted =
        |spec: &&ToolSpec| mcp.tools.as_ref().is_none_or(|wanted| wanted.contains(&spec.name));
    let tool = |spec: &ToolSpec| -> Arc<dyn Tool> {
        let (server, name) = (server.clone(), spec.name.clone());
        let call = move |arguments: &Value, cancelled: &dyn Fn() -> bool| {
            server.call(&name, arguments, cancelled)
        };
        Arc::new(Proxied { spec: spec.clone(), call: Box::new(call) })
    };
    Ok(server.tools().iter().filter(is_wanted).map(tool).collect())
}

type Call = dyn Fn(&Value, &dyn Fn() -> bool) -> Result<ToolOutput, ProxyError> + Send + Sync;

/// A tool elsewhere.
struct Proxied {
    spec: ToolSpec,
    call: Box<Call>,
}

impl Tool for Proxied {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call(&self, arguments: &Value, cancelled: &dyn Fn() -> bool) -> ToolOutput {
        (self.call)(arguments, cancelled)
            .unwrap_or_else(|error| ToolOutput::error(error.to_string()))
    }
}
