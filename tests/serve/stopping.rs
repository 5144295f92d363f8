//! The end of a server.

use std::io::Write;
use std::net::TcpStream;

use swirldb::serve::{Event, Summary};

use super::client::{connect, read, request};
use super::sample::Running;

fn gate() -> Vec<u8> {
    request("POST", "/retrieve/wiki", &[], br#"{"queries": ["gate"]}"#)
}

/// Waits until the server has taken its address down.
fn wait_until_closed(server: &Running) {
    while TcpStream::connect(server.address).is_ok() {
        std::thread::yield_now();
    }
}

#[test]
fn what_runs_is_finished_and_nothing_new_is_taken() {
    let server = Running::start(Running::options());
    let idle = connect(server.address);
    let mut working = connect(server.address);
    working.write_all(&gate()).unwrap();
    server.backend.gate.entered.wait_for(1);
    server.stop.stop();
    wait_until_closed(&server);
    server.backend.gate.open();
    let answer = read(&mut working).expect("what ran is answered");
    assert_eq!(answer.status, 200);
    assert!(read(&mut working).is_none(), "and its connection ends");
    let events = std::sync::Arc::clone(&server.events);
    assert_eq!(server.join(), Summary { requests: 1, cut: 0 });
    drop(idle);
    let said: Vec<String> = events.lock().unwrap().iter().map(Event::to_string).collect();
    assert!(said[0].ends_with("without a token; corpora: wiki, notes"), "{said:?}");
    assert!(said[1].starts_with("stopping: "), "{said:?}");
    assert_eq!(said[2..], ["stopped after 1 requests".to_owned()]);
}

#[test]
fn a_second_stop_waits_for_nothing() {
    let server = Running::start(Running::options());
    let mut working = connect(server.address);
    working
        .write_all(&request("POST", "/retrieve/wiki", &[], br#"{"queries": ["wait"]}"#))
        .unwrap();
    server.backend.waiting.wait_for(1);
    server.stop.stop();
    server.stop.stop();
    assert!(read(&mut working).is_none());
    server.join();
}

#[test]
fn what_does_not_end_is_cut_after_the_time_limit() {
    let server = Running::with(|options| {
        options.limits.stop_time = std::time::Duration::from_millis(50);
    });
    let mut working = connect(server.address);
    working.write_all(&gate()).unwrap();
    server.backend.gate.entered.wait_for(1);
    server.stop.stop();
    assert!(read(&mut working).is_none());
    server.backend.gate.open();
    assert_eq!(server.join(), Summary { requests: 1, cut: 1 });
}
