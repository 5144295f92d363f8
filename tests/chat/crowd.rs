//! Many requests at once.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use swirldb::chat::{ChatError, ChatOptions, ChatRequest};

use super::server::{End, Reply, Server, client, request};

/// What came of each request, by index.
type Outcomes = BTreeMap<usize, Result<String, String>>;

fn run(
    server: &Server,
    requests: &mut dyn Iterator<Item = ChatRequest>,
    cancelled: &dyn Fn() -> bool,
) -> (Outcomes, Result<(), ChatError>) {
    let mut outcomes = Outcomes::new();
    let ended = server.client().run_all(requests, cancelled, &mut |index, outcome| {
        let text = outcome
            .map(|completed| completed.response.choices[0].message.text().to_owned())
            .map_err(|error| error.to_string());
        assert!(outcomes.insert(index, text).is_none(), "{index} came twice");
        ControlFlow::Continue(())
    });
    (outcomes, ended)
}

/// Answers a question with itself.
fn echo() -> Server {
    Server::with(|request, _| Reply::text(&format!("<{}>", request.last())))
}

#[test]
fn every_request_is_answered_once() {
    let server = echo();
    let mut requests = (0..40).map(|n| request(&n.to_string()));
    let (outcomes, ended) = run(&server, &mut requests, &|| false);
    ended.unwrap();
    let expected: Outcomes = (0..40).map(|n| (n, Ok(format!("<{n}>")))).collect();
    assert_eq!(outcomes, expected);
    assert_eq!(server.requests().len(), 40);
    let (none, ended) = run(&server, &mut std::iter::empty(), &|| false);
    ended.unwrap();
    assert!(none.is_empty());
}

#[test]
fn a_server_that_misbehaves_loses_and_doubles_nothing() {
    let server = Server::with(|request, number| match number % 6 {
        0 => Reply::error(429, "wait").with("Retry-After", "1"),
        1 => Reply::error(500, "broken"),
        2 => Reply::stream(&[b"data: {\"choices\": [{\"delta\": {\"content\": \"<\"}}]}\n\n"]),
        3 => Reply::text("never whole").ending(End::Cut),
        _ => Reply::text(&format!("<{}>", request.last())),
    });
    let mut requests = (0..30).map(|n| request(&n.to_string()));
    let mut outcomes = Outcomes::new();
    let options = ChatOptions { max_retries: 200, ..server.options() };
    let ended = client(options).run_all(&mut requests, &|| false, &mut |index, outcome| {
        let text = outcome.unwrap().response.choices[0].message.text().to_owned();
        // Nothing is made up for what did not come.
        assert!(outcomes.insert(index, Ok(text)).is_none());
        ControlFlow::Continue(())
    });
    ended.unwrap();
    // An object whose connection was cut behind it is no answer, although it can be read.
    let expected: Outcomes = (0..30).map(|n| (n, Ok(format!("<{n}>")))).collect();
    assert_eq!(outcomes, expected);
}

#[test]
fn the_error_of_one_request_is_its_outcome() {
    let server = Server::with(|request, _| match request.last() {
        "3" => Reply::error(400, "too long"),
        text => Reply::text(text),
    });
    let mut requests = (0..6).map(|n| request(&n.to_string()));
    let (outcomes, ended) = run(&server, &mut requests, &|| false);
    ended.unwrap();
    assert_eq!(outcomes.len(), 6);
    let wrong: Vec<usize> =
        outcomes.iter().filter(|(_, text)| text.is_err()).map(|(index, _)| *index).collect();
    assert_eq!(wrong, [3]);
}

#[test]
fn what_concerns_all_stops_the_rest() {
    let server = Server::with(|request, _| match request.last() {
        "5" => Reply::error(401, "who are you"),
        text => Reply::text(text),
    });
    let taken = Cell::new(0);
    let mut requests = (0..1_000).map(|n| {
        taken.set(n + 1);
        request(&n.to_string())
    });
    let (outcomes, ended) = run(&server, &mut requests, &|| false);
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("answers 401: who are you"), "{error}");
    assert!(!outcomes.contains_key(&5));
    assert!(outcomes.values().all(|outcome| outcome.is_ok()));
    // Requests are taken as there is room for them, and each that was begun was handed on.
    assert!(taken.get() < 100, "{}", taken.get());
    assert_eq!(outcomes.len() + 1, server.requests().len());
}

#[test]
fn no_more_are_held_than_there_is_room_for() {
    let server = echo();
    let (taken, done) = (Cell::new(0), Cell::new(0));
    let mut requests = (0..30).map(|n| {
        taken.set(n + 1);
        assert!(taken.get() - done.get() <= 6, "{} held", taken.get() - done.get());
        request(&n.to_string())
    });
    let ended = server.client().run_all(&mut requests, &|| false, &mut |_, outcome| {
        outcome.unwrap();
        done.set(done.get() + 1);
        ControlFlow::Continue(())
    });
    ended.unwrap();
    assert_eq!(done.get(), 30);
}

#[test]
fn no_more_are_asked_at_once_than_allowed() {
    let now = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let seen = Arc::clone(&now);
    let server = Server::with(move |request, _| {
        let under_way = seen.0.fetch_add(1, Ordering::SeqCst) + 1;
        seen.1.fetch_max(under_way, Ordering::SeqCst);
        std::thread::yield_now();
        seen.0.fetch_sub(1, Ordering::SeqCst);
        Reply::text(request.last())
    });
    let mut requests = (0..30).map(|n| request(&n.to_string()));
    run(&server, &mut requests, &|| false).1.unwrap();
    assert!(now.1.load(Ordering::SeqCst) <= 3);
}

#[test]
fn who_has_enough_gets_no_more() {
    let server = echo();
    let mut requests = (0..1_000).map(|n| request(&n.to_string()));
    let mut count = 0;
    let ended = server.client().run_all(&mut requests, &|| false, &mut |_, _| {
        count += 1;
        if count == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    ended.unwrap();
    assert_eq!(count, 4);
    assert!(server.requests().len() < 20);
}

#[test]
fn a_wish_to_end_ends_all_requests() {
    let server = Server::of(vec![Reply::text("").ending(End::Never)]);
    let asked = Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 4
    };
    let mut requests = (0..1_000).map(|n| request(&n.to_string()));
    let (outcomes, ended) = run(&server, &mut requests, &cancelled);
    assert!(matches!(ended, Err(ChatError::Cancelled)));
    assert!(outcomes.is_empty());
}
