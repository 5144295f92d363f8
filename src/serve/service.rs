//! What all connections share: the backend, its corpora and tools by name, the limits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use crate::diag::list_some;

use super::backend::{Backend, Corpus, Refusal, ToolSpec};
use super::body::Budget;
use super::error::ServeError;
use super::guard::Guard;
use super::mcp::McpServer;
use super::options::Options;
use super::pool::Pool;

/// What stands in a corpus's name as it is in a header.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Longest name of a corpus or tool, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Answers requests, whatever way they come.
pub(super) struct Service {
    pub backend: Arc<dyn Backend>,
    pub corpora: Vec<Corpus>,
    pub tools: Vec<ToolSpec>,
    pub options: Options,
    pub guard: Guard,
    pub pool: Pool,
    pub budget: Arc<Budget>,
    requests: AtomicU64,
}

/// The service by which requests of the Model Context Protocol over HTTP are answered.
pub(super) type HttpProtocol = StreamableHttpService<McpServer, NeverSessionManager>;

impl Service {
    /// Checks what the backend serves and the options with it.
    ///
    /// # Errors
    /// Names that are empty, too long, twice there or cannot stand in a path; a schema that is no
    /// object; a default corpus that does not exist; options that do not hold.
    pub fn new(backend: Arc<dyn Backend>, options: Options) -> Result<Service, ServeError> {
        options.validate()?;
        let (corpora, tools) = (backend.corpora(), backend.tools());
        check_names("corpus", corpora.iter().map(|corpus| corpus.name.as_str()))?;
        check_names("tool", tools.iter().map(|tool| tool.name.as_str()))?;
        if let Some(tool) = tools.iter().find(|tool| !tool.parameters.is_object()) {
            return Err(ServeError::Schema { name: tool.name.clone() });
        }
        if let Some(name) = &options.corpus
            && !corpora.iter().any(|corpus| corpus.name == *name)
        {
            let known = list_some(corpora.iter().map(|corpus| corpus.name.as_str()));
            return Err(ServeError::UnknownCorpus { name: name.clone(), known });
        }
        Ok(Service {
            guard: Guard::new(&options),
            pool: Pool::new(options.limits.running, options.limits.waiting),
            budget: Budget::new(options.limits.held_bytes),
            backend,
            corpora,
            tools,
            options,
            requests: AtomicU64::new(0),
        })
    }

    /// Counts a request.
    pub fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many requests there were.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Returns the corpus of this name.
    ///
    /// # Errors
    /// The names there are, where it is none of them.
    pub fn corpus(&self, name: &str) -> Result<&Corpus, Refusal> {
        let found = self.corpora.iter().find(|corpus| corpus.name == name);
        found.ok_or_else(|| Refusal::UnknownCorpus {
            name: name.to_owned(),
            known: list_some(self.corpora.iter().map(|corpus| corpus.name.as_str())),
        })
    }

    /// Returns the tool of this name.
    ///
    /// # Errors
    /// The names there are, where it is none of them.
    pub fn tool(&self, name: &str) -> Result<&ToolSpec, Refusal> {
        let found = self.tools.iter().find(|tool| tool.name == name);
        found.ok_or_else(|| Refusal::UnknownTool {
            name: name.to_owned(),
            known: list_some(self.tools.iter().map(|tool| tool.name.as_str())),
        })
    }

    /// Returns `name=fingerprint` of a corpus, the name percent-encoded.
    pub fn provenance(&self, name: &str) -> Option<String> {
        let corpus = self.corpora.iter().find(|corpus| corpus.name == name)?;
        Some(format!("{}={}", utf8_percent_encode(name, PLAIN), corpus.fingerprint))
    }

    /// Returns what answers the Model Context Protocol over HTTP: each request alone, as JSON.
    /// Names of hosts and origins were checked before.
    pub fn http_protocol(self: &Arc<Service>) -> HttpProtocol {
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(self.options.limits.body_bytes)
            .disable_allowed_hosts()
            .disable_allowed_origins();
        let server = McpServer::over(Arc::clone(self));
        StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), config)
    }
}

fn check_names<'a>(
    kind: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), ServeError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let problem = if name.is_empty() {
            "is empty"
        } else if name.len() > NAME_BYTES_MAX {
            "is longer than 128 bytes"
        } else if name.contains('/') || name.chars().any(char::is_control) || name.starts_with('.')
        {
            "has a slash or a control character, or begins with a dot"
        } else if !seen.insert(name) {
            "is there twice"
        } else {
            continue;
        };
        return Err(ServeError::Name { kind, name: name.to_owned(), problem });
    }
    Ok(())
}
