//! A small hub on a port of this machine, which does as it is told.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use swirldb::hub::{FetchEvent, HubError, HubOptions, ModelId, Patience, Snapshot, fetch};

/// The commit of models here.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The name of the model here.
pub const NAME: &str = "org/tiny-1";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    head: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Whether it is one of this method for a path with this end.
    pub fn is(&self, method: &str, end: &str) -> bool {
        self.method == method && self.path.ends_with(end)
    }
}

/// An answer to give.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How many bytes of the body are sent before the connection is cut.
    pub sent: usize,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into(), sent: usize::MAX }
    }

    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Reply {
        self.headers.retain(|(found, _)| found != name);
        self
    }

    /// An error as the hub gives it.
    pub fn error(status: u16, code: &str, message: &str) -> Reply {
        Reply::new(status, "").with("X-Error-Code", code).with("X-Error-Message", message)
    }
}

/// A file of a model.
#[derive(Clone)]
pub struct File {
    pub bytes: Vec<u8>,
    pub etag: String,
}

/// A model: one commit, which every revision is.
#[derive(Clone)]
pub struct Model {
    pub commit: String,
    pub files: BTreeMap<String, File>,
    /// Where large files are redirected to.
    pub store: Option<String>,
}

impl Model {
    pub fn empty() -> Model {
        Model { commit: COMMIT.to_owned(), files: BTreeMap::new(), store: None }
    }

    /// Returns a model with weights in one file, and files that nobody wants.
    pub fn whole() -> Model {
        Model::empty()
            .small("config.json", "{}")
            .small("tokenizer.json", "{\"model\": {}}")
            .small("tokenizer_config.json", "{\"a\": 1}")
            .small("README.md", "# Tiny")
            .large("model.safetensors", &weights(3 << 20))
            .large("pytorch_model.bin", b"pickle")
            .large("onnx/model.onnx", b"graph")
            .large("tiny.gguf", b"GGUF")
    }

    /// Returns a model with weights in two files.
    pub fn sharded() -> Model {
        let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
        let index = json!({"metadata": {}, "weight_map": {"a": one, "b": two, "c": one}});
        Model::empty()
            .small("config.json", "{}")
            .small("tokenizer.json", "{}")
            .small("model.safetensors.index.json", &index.to_string())
            .large(one, &weights(1000))
            .large(two, &weights(2000))
    }

    /// Adds a file that Git keeps itself, under a hash that is not checked.
    pub fn small(mut self, name: &str, text: &str) -> Model {
        let etag = sha256(text.as_bytes())[..40].to_owned();
        self.files.insert(name.to_owned(), File { bytes: text.as_bytes().to_vec(), etag });
        self
    }

    /// Adds a file under its SHA-256.
    pub fn large(mut self, name: &str, bytes: &[u8]) -> Model {
        let file = File { bytes: bytes.to_vec(), etag: sha256(bytes) };
        self.files.insert(name.to_owned(), file);
        self
    }

    pub fn etag(&self, name: &str) -> &str {
        &self.files[name].etag
    }

    fn answer(&self, request: &Request) -> Reply {
        // A proxy is told the whole address.
        let path = request.path.trim_start_matches("http://hub.invalid");
        let parts: Vec<&str> = path.trim_start_matches('/').splitn(5, '/').collect();
        match parts[..] {
            ["api", "models", "org", "tiny-1", rest] if rest.starts_with("revision/") => {
                let names = self.files.keys().map(|name| json!({"rfilename": name}));
                let siblings: Vec<_> = names.collect();
                let answer = json!({"sha": self.commit, "id": NAME, "siblings": siblings});
                Reply::new(200, answer.to_string()).with("Content-Type", "application/json")
            }
            ["org", "tiny-1", "resolve", commit, name] if commit == self.commit => {
                match self.files.get(name) {
                    Some(file) => self.file(request, file),
                    None => Reply::error(404, "EntryNotFound", "Entry not found"),
                }
            }
            ["store", etag] => {
                let etag = etag.split('?').next().unwrap();
                let file = self.files.values().find(|file| file.etag == etag);
                file.map_or(Reply::new(404, ""), |file| part(request, &file.bytes))
            }
            _ => Reply::error(404, "RepoNotFound", "Repository not found"),
        }
    }

    fn file(&self, request: &Request, file: &File) -> Reply {
        let quoted = format!("\"{}\"", file.etag);
        let reply = match &self.store {
            Some(store) if file.etag.len() == 64 => {
                let location = format!("{store}/store/{}?signature=hidden", file.etag);
                let size = file.bytes.len().to_string();
                Reply::new(302, "moved")
                    .with("Location", &location)
                    .with("X-Linked-Etag", &quoted)
                    .with("X-Linked-Size", &size)
            }
            _ => part(request, &file.bytes).with("ETag", &quoted),
        };
        reply.with("X-Repo-Commit", &self.commit)
    }
}

/// Returns a file, or the part of it that is asked for.
fn part(request: &Request, bytes: &[u8]) -> Reply {
    let range = request.header("range").and_then(|value| value.strip_prefix("bytes="));
    let Some(start) = range.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok())
    else {
        return Reply::new(200, bytes);
    };
    if start >= bytes.len() {
        return Reply::new(416, "");
    }
    let (end, total) = (bytes.len() - 1, bytes.len());
    Reply::new(206, &bytes[start..]).with("Content-Range", &format!("bytes {start}-{end}/{total}"))
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server that ends when it is dropped.
pub struct Mirror {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// Serves a model.
    pub fn of(model: Model) -> Mirror {
        Mirror::with(model, |_, usual| usual)
    }

    /// Serves a model, with other answers than the usual ones where `change` says so.
    pub fn with(
        model: Model,
        change: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
    ) -> Mirror {
        let handler = move |request: &Request| change(request, model.answer(request));
        Mirror::serve(Arc::new(handler))
    }

    fn serve(handler: Arc<Handler>) -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (seen, ends) = (Arc::clone(&requests), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                threads.push(std::thread::spawn(move || answer(stream, &seen, &*handler)));
            }
            for thread in threads {
                thread.join().expect("a connection is answered");
            }
        });
        Mirror { address, requests, stopped, thread: Some(thread) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn count(&self, method: &str, end: &str) -> usize {
        self.requests().iter().filter(|request| request.is(method, end)).count()
    }

    /// Returns options for this hub, with three further tries and no pauses.
    pub fn options(&self, cache: &Path) -> HubOptions {
        let pauses = vec![Duration::ZERO; 3];
        HubOptions {
            endpoint: self.endpoint(),
            patience: Patience { pauses, ..Patience::default() },
            ..HubOptions::new(cache)
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().expect("the mirror ends");
        }
    }
}

/// Answers one request and closes.
fn answer(mut stream: TcpStream, seen: &Mutex<Vec<Request>>, handler: &Handler) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).expect("a head is text");
    let mut words = head.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let request = Request { method, path, head };
    seen.lock().unwrap().push(request.clone());
    let reply = handler(&request);
    let mut out = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply.headers.iter().any(|(name, _)| name == "Content-Length") {
        out.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    out.push_str("\r\n");
    let mut bytes = out.into_bytes();
    if request.method != "HEAD" {
        bytes.extend_from_slice(&reply.body[..reply.sent.min(reply.body.len())]);
    }
    // Who asked may have gone.
    let _written = stream.write_all(&bytes).and_then(|()| stream.flush());
}

/// Returns bytes that differ from place to place.
pub fn weights(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn id(text: &str) -> ModelId {
    ModelId::parse(text).unwrap()
}

/// Fetches a model that nobody watches.
pub fn get(options: &HubOptions, name: &str) -> Result<Snapshot, HubError> {
    fetch(options, &id(name), &mut |_: &FetchEvent| ControlFlow::Continue(()))
}

/// Returns the sentence of the error of a fetch.
pub fn refusal(options: &HubOptions, name: &str) -> String {
    get(options, name).expect_err("the fetch fails").to_string()
}
