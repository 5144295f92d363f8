//! What clients should not send; after each of it the server answers as before.

use std::io::Write;
use std::net::Shutdown;

use serde_json::json;

use super::client::{Answer, connect, get, post, read, request, send};
use super::sample::Running;

fn wiki() -> Running {
    Running::with(|options| options.corpus = Some("wiki".to_owned()))
}

fn assert_well(server: &Running) {
    assert_eq!(post(server.address, "/retrieve", r#"{"queries": ["lamp"]}"#).status, 200);
}

fn retrieve(server: &Running, body: &[u8]) -> Answer {
    send(server.address, &request("POST", "/retrieve", &[], body)).expect("an answer")
}

#[test]
fn bodies_that_make_no_sense_are_told_why() {
    let server = wiki();
    let deep = "[".repeat(100_000);
    for (body, said) in [
        ("", "there is none"),
        ("{", "EOF while parsing"),
        ("nonsense", "no JSON object"),
        (r#"[["lamp"], 3, true, null]"#, "no JSON object"),
        ("{}", "missing field `queries`"),
        (r#"{"queries": "lamp"}"#, "invalid type: string"),
        (r#"{"queries": [1]}"#, "invalid type: integer"),
        (r#"{"queries": [null]}"#, "invalid type: null"),
        (r#"{"queries": ["lamp"], "topk": "3"}"#, "invalid type: string"),
        (r#"{"queries": ["lamp"], "topk": -1}"#, "invalid value: integer `-1`"),
        (r#"{"queries": ["lamp"], "topk": 1.5}"#, "invalid type: floating point"),
        (r#"{"queries": ["lamp"], "topk": 1e300}"#, "invalid type: floating point"),
        (r#"{"queries": ["lamp"], "topk": 0}"#, "ask for 1 to 1000"),
        (r#"{"queries": ["lamp"], "topk": 1000000000}"#, "ask for 1 to 1000"),
        (r#"{"queries": ["lamp"], "top_k": 5}"#, "unknown field `top_k`"),
        (r#"{"queries": ["lamp"], "queries": ["x"]}"#, "duplicate field `queries`"),
        (r#"{"queries": ["lamp"], "return_scores": 1}"#, "invalid type: integer"),
        (r#"{"queries": ["lamp"]} {}"#, "trailing characters"),
        (r#"{"queries": ["\ud800"]}"#, "unexpected end of hex escape"),
        (deep.as_str(), "no JSON object"),
    ] {
        let answer = retrieve(&server, body.as_bytes());
        let shown = body.get(..60).unwrap_or(body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{shown}");
        assert!(answer.message().contains(said), "{shown}: {}", answer.message());
    }
    let nested = format!("{{\"query\": {deep}");
    let nested = post(server.address, "/tools/echo", &nested);
    assert!(nested.message().contains("recursion limit"), "{}", nested.message());
    let broken = retrieve(&server, b"{\"queries\": [\"\xff\xfe\"]}");
    assert_eq!(broken.status, 400);
    assert!(broken.message().contains("unicode"), "{}", broken.message());
    assert_well(&server);
}

#[test]
fn queries_of_any_characters_are_queries() {
    let server = wiki();
    for query in ["\0", "", "\u{202e}lamp", "lamp\u{0}", "../../etc/passwd", "'; DROP TABLE"] {
        let answer = retrieve(&server, json!({"queries": [query]}).to_string().as_bytes());
        assert_eq!(answer.status, 200, "{query:?}");
    }
}

#[test]
fn over_a_limit_the_limit_is_named() {
    let server = wiki();
    let long = json!({"queries": ["lamp", "x".repeat(1 << 20)]}).to_string();
    let answer = retrieve(&server, long.as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    assert_eq!(answer.message(), "query 2 has 1048576 bytes; a query may have 65536");
    let many = json!({"queries": vec!["a"; 1025]}).to_string();
    let answer = retrieve(&server, many.as_bytes());
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    assert_eq!(answer.message(), "there are 1025 queries; ask at most 1024 at once");
    let huge = "GET /v1/wiki/search?query=".to_owned() + &"x".repeat(1 << 20);
    let answer = send(server.address, (huge + " HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    assert!(answer.is_none_or(|answer| [414, 431].contains(&answer.status)));
    assert_well(&server);
}

#[test]
fn bodies_over_their_limit_are_not_read() {
    let server = Running::with(|options| {
        options.corpus = Some("wiki".to_owned());
        options.limits.body_bytes = 1000;
    });
    let announced =
        b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n";
    let answer = send(server.address, announced).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    let mut chunked =
        b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(b"40\r\n");
        chunked.extend_from_slice(&[b' '; 64]);
        chunked.extend_from_slice(b"\r\n");
    }
    let answer = send(server.address, &chunked).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    assert!(answer.message().contains("more than 1000 bytes"), "{}", answer.message());
    assert_well(&server);
}

#[test]
fn what_is_not_http_ends_the_connection() {
    let server = wiki();
    for bytes in [
        b"\0\0\0\0\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
    ] {
        let mut stream = connect(server.address);
        stream.write_all(bytes).unwrap();
        let _closed = stream.shutdown(Shutdown::Write);
        let answer = read(&mut stream);
        assert!(answer.as_ref().is_none_or(|a| a.status == 400), "{bytes:?}: {answer:?}");
    }
    assert_well(&server);
}

#[test]
fn chunked_nonsense_is_refused() {
    let server = wiki();
    let head = "POST /retrieve HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for rest in ["zz\r\nabc\r\n0\r\n\r\n", "ffffffffffffffffff\r\n", "5\r\nabc\r\n0\r\n\r\n"] {
        let answer = send(server.address, (head.to_owned() + rest).as_bytes());
        assert!(answer.as_ref().is_some_and(|a| a.status == 400), "{rest}: {answer:?}");
    }
    // A body of two lengths could be read as two requests by a server in front.
    let both = "POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\
                Content-Length: 3\r\n\r\n{}";
    assert_eq!(send(server.address, both.as_bytes()).map(|a| a.status), Some(400));
    assert_well(&server);
}

#[test]
fn old_clients_are_answered() {
    let server = wiki();
    let answer = send(server.address, b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(answer.status, 200);
    let body = r#"{"queries": ["lamp"]}"#;
    let post = format!("POST /retrieve HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(send(server.address, post.as_bytes()).unwrap().status, 200);
}

#[test]
fn hosts_that_stand_twice_are_refused() {
    let server = wiki();
    let twice = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n";
    assert_eq!(send(server.address, twice).unwrap().status, 400);
}

#[test]
fn mistakes_of_the_backend_are_errors_of_the_server() {
    let server = wiki();
    for (query, said) in
        [("panic", "a bug"), ("nan", "no number to rank by"), ("damaged", "block 7 is damaged")]
    {
        let answer = post(server.address, "/retrieve", &json!({"queries": [query]}).to_string());
        assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
        assert!(answer.message().contains(said), "{}", answer.message());
        let answer = get(server.address, &format!("/v1/wiki/search?query={query}"));
        assert_eq!(answer.status, 500);
    }
    assert_well(&server);
}
