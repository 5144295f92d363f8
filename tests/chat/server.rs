//! A small chat server on a port of this machine, which does as it is told, and a clock that
//! nobody waits for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use swirldb::chat::{
    ChatClient, ChatError, ChatOptions, ChatRequest, ChatResponse, Clock, Completed,
};
use swirldb::model::{Message, role};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub head: String,
    pub body: Value,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The text of the last message.
    pub fn last(&self) -> &str {
        let messages = self.body["messages"].as_array().unwrap();
        messages.last().unwrap()["content"].as_str().unwrap()
    }
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// As it should.
    Whole,
    /// The connection is closed in the middle of it.
    Cut,
    /// Nothing more comes, until the client leaves.
    Never,
}

/// An answer to give.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// The pieces that are sent one by one.
    pub pieces: Vec<Vec<u8>>,
    pub end: End,
}

impl Reply {
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Reply {
        let headers = vec![("Content-Type".to_owned(), kind.to_owned())];
        Reply { status, headers, pieces: vec![body.into()], end: End::Whole }
    }

    pub fn json(status: u16, body: &Value) -> Reply {
        Reply::new(status, "application/json", body.to_string())
    }

    /// An error in OpenAI's form.
    pub fn error(status: u16, message: &str) -> Reply {
        Reply::json(status, &json!({ "error": { "message": message, "type": "some" } }))
    }

    /// An answer as one object, with this text.
    pub fn text(text: &str) -> Reply {
        Reply::json(200, &completion(&json!({ "role": "assistant", "content": text }), "stop"))
    }

    /// A stream of these bytes.
    pub fn stream(pieces: &[&[u8]]) -> Reply {
        let mut reply = Reply::new(200, "text/event-stream; charset=utf-8", "");
        reply.pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        reply
    }

    /// A whole stream of events with these pieces of the only message, then its end.
    pub fn deltas(deltas: &[Value], finish_reason: &str) -> Reply {
        Reply::stream(&[events(deltas, finish_reason).as_bytes()])
    }

    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn ending(mut self, end: End) -> Reply {
        self.end = end;
        self
    }
}

/// Returns an answer of one choice as one object.
pub fn completion(message: &Value, finish_reason: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "tiny-1",
        "choices": [{ "index": 0, "message": message, "finish_reason": finish_reason }],
        "usage": { "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7 },
    })
}

/// Returns the text of one event.
pub fn event(object: &Value) -> String {
    format!("data: {object}\n\n")
}

/// Returns the event of a piece of a message.
pub fn delta(index: u64, delta: &Value, finish_reason: Option<&str>) -> String {
    let choice = json!({ "index": index, "delta": delta, "finish_reason": finish_reason });
    event(&json!({ "model": "tiny-1", "choices": [choice] }))
}

/// Returns the events of a whole stream.
pub fn events(deltas: &[Value], finish_reason: &str) -> String {
    let mut out: String = deltas.iter().map(|piece| delta(0, piece, None)).collect();
    out.push_str(&delta(0, &json!({}), Some(finish_reason)));
    let usage = json!({ "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7 });
    out.push_str(&event(&json!({ "model": "tiny-1", "choices": [], "usage": usage })));
    out.push_str("data: [DONE]\n\n");
    out
}

type Handler = dyn Fn(&Request, usize) -> Reply + Send + Sync;

/// A server; it ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    is_ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers with what `handler` says to a request and its number, from 0.
    pub fn with(handler: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Server {
        let handler: Arc<Handler> = Arc::new(handler);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let is_ended = Arc::new(AtomicBool::new(false));
        let (seen, ends) = (Arc::clone(&requests), Arc::clone(&is_ended));
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
        Server { address, requests, is_ended, thread: Some(thread) }
    }

    /// Answers with these replies one after another, and with the last one from then on.
    pub fn of(replies: Vec<Reply>) -> Server {
        Server::with(move |_, number| replies[number.min(replies.len() - 1)].clone())
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn options(&self) -> ChatOptions {
        ChatOptions {
            timeout: Duration::from_secs(20),
            concurrency: 3,
            ..ChatOptions::new(self.base_url(), "tiny-1")
        }
    }

    pub fn client(&self) -> ChatClient {
        client(self.options())
    }

    /// Asks one question of a client with the usual options.
    pub fn ask(&self) -> Result<ChatResponse, ChatError> {
        ask(&self.client()).map(|completed| completed.response)
    }

    /// Returns the sentence of the error of a question that fails.
    pub fn refusal(&self) -> String {
        let error = self.ask().expect_err("the question fails").to_string();
        error.replace(&self.base_url(), "URL")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().expect("the server ends");
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
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let mut request = Request { path, head, body: Value::Null };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).is_err() {
        return;
    }
    request.body = serde_json::from_slice(&body).expect("a request is JSON");
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let reply = handler(&request, number);
    let mut out = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", reply.status);
    out.push_str("Transfer-Encoding: chunked\r\n");
    for (name, value) in &reply.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    // Who asked may have gone.
    let mut write = |bytes: &[u8]| {
        let _written = stream.write_all(bytes).and_then(|()| stream.flush());
    };
    write(out.as_bytes());
    for piece in reply.pieces.iter().filter(|piece| !piece.is_empty()) {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        write(&chunk);
    }
    match reply.end {
        End::Whole => write(b"0\r\n\r\n"),
        End::Cut => {}
        End::Never => {
            let _left = stream.read(&mut byte);
        }
    }
}

/// A clock that sleeping moves on at once.
#[derive(Default)]
pub struct Still {
    microseconds: AtomicU64,
    slept: AtomicU64,
}

impl Still {
    /// How long was slept, all sleeps together.
    pub fn slept(&self) -> Duration {
        Duration::from_micros(self.slept.load(Ordering::SeqCst))
    }
}

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::from_micros(self.microseconds.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) {
        assert!(time <= Duration::from_millis(50), "slept for {time:?} at once");
        let microseconds = time.as_micros().max(1) as u64;
        self.microseconds.fetch_add(microseconds, Ordering::SeqCst);
        self.slept.fetch_add(microseconds, Ordering::SeqCst);
    }
}

pub fn client(options: ChatOptions) -> ChatClient {
    ChatClient::new(options, Arc::new(Still::default())).unwrap()
}

pub fn request(text: &str) -> ChatRequest {
    ChatRequest { messages: vec![Message::new(role::USER, text)], ..ChatRequest::default() }
}

pub fn ask(client: &ChatClient) -> Result<Completed, ChatError> {
    client.complete(&request("how many?"), &|| false)
}
