//! Time, threads and connections are bounded.

use std::io::Write;
use std::time::Duration;

use super::client::{connect, get, post, read, request, send};
use super::sample::Running;

const GATE: &str = r#"{"queries": ["gate"]}"#;
const WAIT: &str = r#"{"queries": ["wait"]}"#;
const LAMP: &str = r#"{"queries": ["lamp"]}"#;

fn retrieve(body: &str) -> Vec<u8> {
    request("POST", "/retrieve/wiki", &[], body.as_bytes())
}

#[test]
fn over_the_line_clients_are_told_to_come_back() {
    let server = Running::with(|options| {
        options.limits.running = 1;
        options.limits.waiting = 1;
    });
    let mut first = connect(server.address);
    first.write_all(&retrieve(GATE)).unwrap();
    server.backend.gate.entered.wait_for(1);
    // One of these two waits in line, the other finds it full: which one is not known.
    let (mut second, mut third) = (connect(server.address), connect(server.address));
    second.write_all(&retrieve(LAMP)).unwrap();
    third.write_all(&retrieve(LAMP)).unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    let readers: Vec<_> = [second, third]
        .into_iter()
        .map(|mut stream| {
            let send = send.clone();
            std::thread::spawn(move || send.send(read(&mut stream).unwrap()).unwrap())
        })
        .collect();
    let refused = receive.recv().unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "busy"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Health does not stand in line.
    assert_eq!(get(server.address, "/health").status, 200);
    server.backend.gate.open();
    assert_eq!(receive.recv().unwrap().status, 200);
    assert_eq!(read(&mut first).unwrap().status, 200);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

#[test]
fn work_that_takes_too_long_is_cancelled() {
    let server = Running::with(|options| options.limits.request_time = Duration::from_millis(50));
    let answer = post(server.address, "/retrieve/wiki", WAIT);
    assert_eq!((answer.status, answer.code().as_str()), (503, "time_limit"));
    assert!(answer.message().contains("within 0.05 s"), "{}", answer.message());
    server.backend.cancelled.wait_for(1);
    let answer = post(server.address, "/tools/echo", r#"{"query": "wait"}"#);
    assert_eq!((answer.status, answer.code().as_str()), (503, "time_limit"));
}

#[test]
fn waiting_in_line_counts_as_time() {
    let server = Running::with(|options| {
        options.limits.running = 1;
        options.limits.request_time = Duration::from_millis(50);
    });
    let mut first = connect(server.address);
    first.write_all(&retrieve(GATE)).unwrap();
    server.backend.gate.entered.wait_for(1);
    let answer = post(server.address, "/retrieve/wiki", LAMP);
    assert_eq!((answer.status, answer.code().as_str()), (503, "time_limit"));
    // The first is answered too, although its thread is still inside.
    assert_eq!(read(&mut first).unwrap().code(), "time_limit");
}

#[test]
fn bodies_that_do_not_come_are_not_waited_for() {
    let server = Running::with(|options| options.limits.request_time = Duration::from_millis(50));
    let head =
        "POST /retrieve/wiki HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{\"quer";
    let answer = send(server.address, head.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn heads_that_do_not_come_end_the_connection() {
    let server = Running::with(|options| options.limits.head_time = Duration::from_millis(50));
    let mut silent = connect(server.address);
    assert!(read(&mut silent).is_none());
    let slow = send(server.address, b"GET /health HTTP/1.1\r\nHost: loc");
    assert!(slow.is_none_or(|answer| answer.status == 408));
}

#[test]
fn work_for_clients_that_left_is_cancelled() {
    let server = Running::start(Running::options());
    let mut stream = connect(server.address);
    stream.write_all(&retrieve(WAIT)).unwrap();
    server.backend.waiting.wait_for(1);
    drop(stream);
    server.backend.cancelled.wait_for(1);
}

#[test]
fn a_crowd_of_silent_clients_keeps_nobody_out() {
    let server = Running::with(|options| options.limits.connections = 4);
    let crowd: Vec<_> = (0..40)
        .map(|i| {
            let mut stream = connect(server.address);
            if i % 2 == 0 {
                // Half of them begin to speak.
                stream.write_all(b"POST /retrieve HTTP/1.1\r\nHost:").unwrap();
            }
            stream
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(post(server.address, "/retrieve/wiki", LAMP).status, 200);
    }
    drop(crowd);
}

#[test]
fn connections_that_are_worked_for_are_not_cut() {
    let server = Running::with(|options| {
        options.limits.connections = 2;
        options.limits.running = 2;
    });
    let mut working = [connect(server.address), connect(server.address)];
    for stream in &mut working {
        stream.write_all(&retrieve(GATE)).unwrap();
    }
    server.backend.gate.entered.wait_for(2);
    let mut third = connect(server.address);
    let answer = read(&mut third).expect("it is told before it asks");
    assert_eq!((answer.status, answer.code().as_str()), (503, "busy"));
    server.backend.gate.open();
    for stream in &mut working {
        assert_eq!(read(stream).unwrap().status, 200);
    }
}

#[test]
fn a_connection_takes_many_requests() {
    let server = Running::start(Running::options());
    let mut stream = connect(server.address);
    for _ in 0..20 {
        stream.write_all(&retrieve(LAMP)).unwrap();
        assert_eq!(read(&mut stream).unwrap().status, 200);
    }
    // Two at once are answered one after the other.
    stream.write_all(&[retrieve(LAMP), request("GET", "/health", &[], b"")].concat()).unwrap();
    assert_eq!(read(&mut stream).unwrap().status, 200);
}

#[test]
fn answers_and_held_bytes_have_limits() {
    let small = Running::with(|options| options.limits.answer_bytes = 100);
    assert_eq!(post(small.address, "/retrieve/notes", LAMP).status, 200);
    let answer = post(small.address, "/retrieve/wiki", LAMP);
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"));
    assert!(answer.message().contains("more than 100 bytes"), "{}", answer.message());
    let full = Running::with(|options| options.limits.held_bytes = 60);
    let nothing = r#"{"queries": ["xyz"]}"#;
    // On one connection what was held is free before the next request is read.
    let mut stream = connect(full.address);
    for _ in 0..3 {
        stream.write_all(&retrieve(nothing)).unwrap();
        assert_eq!(read(&mut stream).unwrap().status, 200);
        stream.write_all(&retrieve(LAMP)).unwrap();
        let answer = read(&mut stream).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (503, "busy"));
    }
}
