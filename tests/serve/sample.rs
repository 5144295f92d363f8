//! A small backend in memory, and a server of it on a port of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use swirldb::serve::{
    Backend, Corpus, Document, Event, Hit, Options, Refusal, Server, Stop, Summary, ToolOutput,
    ToolSpec,
};

const WIKI: &[(&str, Option<&str>, &str)] = &[
    ("w1", Some("Lighthouse"), "A tower with a lamp that warns ships."),
    ("w2", Some("Lamp"), "A lamp gives light; the lamp of a lighthouse gives much."),
    ("folder/w 3.md", None, "Ships carry a lamp on each side."),
];
const NOTES: &[(&str, Option<&str>, &str)] = &[("n1", None, "Remember the lamp.")];

/// Searches by counting words. A query `wait` waits until it is cancelled, `gate` until the gate is
/// opened, `panic` and `nan` are a backend's mistakes.
#[derive(Default)]
pub struct Sample {
    pub gate: Gate,
    pub waiting: Counter,
    pub cancelled: Counter,
}

/// How often something happened.
#[derive(Default)]
pub struct Counter {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Counter {
    pub fn add(&self) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    pub fn wait_for(&self, count: usize) {
        let mut seen = self.count.lock().unwrap();
        while *seen < count {
            seen = self.changed.wait(seen).unwrap();
        }
    }
}

/// Keeps calls inside until it is opened.
#[derive(Default)]
pub struct Gate {
    pub entered: Counter,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        self.entered.add();
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }

    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

fn corpus(name: &str) -> &'static [(&'static str, Option<&'static str>, &'static str)] {
    if name == "wiki" { WIKI } else { NOTES }
}

impl Sample {
    fn wait(&self, cancelled: &dyn Fn() -> bool) -> Refusal {
        self.waiting.add();
        while !cancelled() {
            std::thread::yield_now();
        }
        self.cancelled.add();
        Refusal::Cancelled
    }
}

impl Backend for Sample {
    fn corpora(&self) -> Vec<Corpus> {
        let corpus = |name: &str, fingerprint: &str, documents| Corpus {
            name: name.to_owned(),
            fingerprint: fingerprint.to_owned(),
            documents,
            description: format!("Made up {name}"),
            tool: format!("search_{name}"),
        };
        vec![corpus("wiki", "0a1b", 3), corpus("notes", "2c3d", 1)]
    }

    fn search(
        &self,
        name: &str,
        query: &str,
        k: usize,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Hit>, Refusal> {
        match query {
            "wait" => return Err(self.wait(cancelled)),
            "gate" => self.gate.pass(),
            "panic" => panic!("a mistake of the backend"),
            "damaged" => return Err(Refusal::Internal("block 7 is damaged".to_owned())),
            _ => {}
        }
        let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
        let score = |text: &str| {
            let text = text.to_lowercase();
            words.iter().map(|word| text.matches(word.as_str()).count()).sum::<usize>() as f64
        };
        let hit = |&(id, title, text): &(&str, Option<&str>, &str)| Hit {
            id: id.to_owned(),
            title: title.map(str::to_owned),
            text: text.to_owned(),
            score: if query == "nan" { f64::NAN } else { score(text) + 0.25 },
        };
        let mut hits: Vec<Hit> = corpus(name).iter().map(hit).filter(|h| h.score != 0.25).collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        hits.truncate(k);
        Ok(hits)
    }

    fn document(&self, name: &str, id: &str) -> Result<Option<Document>, Refusal> {
        let found = corpus(name).iter().find(|(known, ..)| *known == id);
        Ok(found.map(|&(id, title, text)| Document {
            id: id.to_owned(),
            title: title.map(str::to_owned),
            text: text.to_owned(),
        }))
    }

    fn tools(&self) -> Vec<ToolSpec> {
        let tool = |name: &str, corpus: Option<&str>| ToolSpec {
            name: name.to_owned(),
            description: format!("The tool {name}"),
            parameters: json!({
                "type": "object",
                "properties": {"query": {"type": "string"}},
                "required": ["query"],
            }),
            version: "1".to_owned(),
            corpus: corpus.map(str::to_owned),
            read_only: true,
            has_state: false,
        };
        vec![tool("search_wiki", Some("wiki")), tool("echo", None)]
    }

    fn call(
        &self,
        tool: &str,
        arguments: &Value,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<ToolOutput, Refusal> {
        let Some(query) = arguments["query"].as_str() else {
            let text = "the argument query is missing; expected {\"query\": \"text\"}".to_owned();
            return Ok(ToolOutput { text, is_error: true, structured: None });
        };
        if query == "wait" {
            return Err(self.wait(cancelled));
        }
        if tool == "echo" {
            let structured = Some(json!({"said": query}));
            return Ok(ToolOutput { text: query.to_owned(), is_error: false, structured });
        }
        let hits = self.search("wiki", query, 3, cancelled)?;
        let text = hits.iter().map(|hit| format!("{}: {}\n", hit.id, hit.text)).collect();
        Ok(ToolOutput { text, is_error: false, structured: None })
    }
}

/// A server that runs until this is dropped.
pub struct Running {
    pub backend: Arc<Sample>,
    pub address: SocketAddr,
    pub stop: Stop,
    pub events: Arc<Mutex<Vec<Event>>>,
    thread: Option<JoinHandle<Summary>>,
}

impl Running {
    /// Options of a test: loopback, a free port.
    pub fn options() -> Options {
        Options { address: "127.0.0.1:0".parse().unwrap(), ..Options::default() }
    }

    pub fn start(options: Options) -> Running {
        let backend = Arc::new(Sample::default());
        let events = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&events);
        let sink = Arc::new(move |event: &Event| taken.lock().unwrap().push(event.clone()));
        let served = Arc::clone(&backend) as Arc<dyn Backend>;
        let server = Server::bind(served, options, sink).expect("the server listens");
        let (address, stop) = (server.address(), server.stop());
        let thread = std::thread::spawn(move || server.run().expect("the server runs"));
        Running { backend, address, stop, events, thread: Some(thread) }
    }

    /// Starts with these changes to the options.
    pub fn with(change: impl FnOnce(&mut Options)) -> Running {
        let mut options = Running::options();
        change(&mut options);
        Running::start(options)
    }

    /// Waits for the end.
    pub fn join(mut self) -> Summary {
        self.thread.take().unwrap().join().expect("the server ends without a panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.backend.gate.open();
        self.stop.stop();
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok());
        }
    }
}
