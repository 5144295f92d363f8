//! What is tried again, how long it is waited, and what is told in the end.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use swirldb::chat::{ChatClient, ChatError, ChatOptions};

use super::server::{End, Reply, Server, Still, ask, client, request};

/// A client with a clock that can be asked.
fn timed(options: ChatOptions) -> (ChatClient, Arc<Still>) {
    let clock = Arc::new(Still::default());
    (ChatClient::new(options, Arc::clone(&clock) as _).unwrap(), clock)
}

#[test]
fn what_may_pass_is_tried_again() {
    let page = Reply::new(200, "text/html", "<html>hello</html>");
    let long = Reply::new(200, "application/json", "{\"choices\": [");
    for bad in [
        Reply::error(408, "slow"),
        Reply::error(409, "not yet"),
        Reply::error(425, "early"),
        Reply::error(429, "too many"),
        Reply::error(500, "broken"),
        Reply::error(503, "starting"),
        Reply::new(502, "text/html", "<html>bad gateway</html>"),
        page,
        Reply::json(200, &json!({ "hello": 1 })),
        Reply::json(200, &json!({ "choices": [] })),
        Reply::json(200, &json!({ "choices": [{ "message": "text" }] })),
        Reply::json(200, &json!({ "error": "overloaded" })),
        long.clone(),
        long.ending(End::Cut),
        Reply::new(200, "application/json", &b"\xff\xfe"[..]),
    ] {
        let server = Server::of(vec![bad.clone(), bad, Reply::text("at last")]);
        let completed = ask(&server.client()).unwrap();
        assert_eq!(completed.response.choices[0].message.text(), "at last");
        assert_eq!((completed.tries, server.requests().len()), (3, 3));
        let bodies = server.requests();
        assert_eq!(bodies[0].body, bodies[2].body);
    }
}

#[test]
fn what_stays_wrong_is_told_in_the_servers_words() {
    for (status, advice) in [
        (400, "check the options of sampling, and that the conversation fits"),
        (401, "the server wants a key: name the environment variable that holds it"),
        (403, "check what the key may use"),
        (404, "check base_url, which most often ends in /v1, and the model's name"),
        (422, "check the options of sampling"),
    ] {
        let server = Server::of(vec![Reply::error(status, "no\u{7} such \n thing")]);
        let said = server.refusal();
        let start = format!("URL/chat/completions answers {status}: no such thing; {advice}");
        assert!(said.starts_with(&start), "{said}");
        assert_eq!(server.requests().len(), 1);
    }
    let moved = Reply::error(308, "moved").with("Location", "http://elsewhere/v1?sig=secret");
    let said = Server::of(vec![moved]).refusal();
    assert!(said.ends_with("it redirects to http://elsewhere/v1: change base_url"), "{said}");
    // However much a server says, a message is short.
    let said = Server::of(vec![Reply::error(400, &"long ".repeat(100_000))]).refusal();
    assert!(said.chars().count() < 500, "{} characters", said.chars().count());
}

#[test]
fn nonsense_is_named() {
    for (reply, expected) in [
        (
            Reply::new(200, "text/html; charset=utf-8", "<html>\n hello"),
            "the answer is of type 'text/html' and begins with '<html> hello', expected \
             application/json or text/event-stream",
        ),
        (Reply::new(200, "application/json", "hello"), "the answer is no JSON"),
        (Reply::json(200, &json!([1])), "'choices' is nothing, expected a list"),
        (Reply::json(200, &json!({ "choices": [] })), "found 0 choices (), expected 1"),
        (
            Reply::json(200, &json!({ "choices": [{ "message": [] }] })),
            "'message' of choice 0 is [], expected an object",
        ),
        (
            Reply::json(200, &json!({ "choices": [{ "message": {}, "index": -1 }] })),
            "the index of a choice is -1, expected a number from 0",
        ),
        (
            Reply::json(200, &json!({ "choices": [{ "message": {}, "finish_reason": 1 }] })),
            "'finish_reason' of choice 0 is 1, expected a text",
        ),
    ] {
        let said = Server::of(vec![reply]).refusal();
        assert!(said.contains(expected), "{said}");
        assert!(said.ends_with("(tried 5 times)"), "{said}");
    }
}

#[test]
fn pauses_double_and_are_cut_by_a_hash() {
    let server = Server::of(vec![Reply::error(500, "broken")]);
    let slept = |text: &str| {
        let (client, clock) = timed(server.options());
        client.complete(&request(text), &|| false).unwrap_err();
        clock.slept()
    };
    let (one, other) = (slept("a"), slept("b"));
    // 1, 2, 4 and 8 s, each cut by up to half.
    for time in [one, other] {
        assert!(time >= Duration::from_millis(7_500), "{time:?}");
        assert!(time <= Duration::from_secs(15), "{time:?}");
    }
    assert_ne!(one, other);
    assert_eq!(one, slept("a"));
}

#[test]
fn a_server_that_names_a_time_is_left_alone_until_then() {
    let waits = |reply: Reply| {
        let server = Server::of(vec![reply, Reply::text("ok")]);
        let (client, clock) = timed(server.options());
        ask(&client).map(|_| clock.slept().as_secs())
    };
    let busy = || Reply::error(429, "wait");
    assert_eq!(waits(busy().with("Retry-After", "30")).unwrap(), 30);
    assert_eq!(waits(Reply::error(503, "wait").with("Retry-After", "2.5")).unwrap(), 2);
    let dated = busy()
        .with("Date", "Thu, 29 Feb 2024 23:59:50 GMT")
        .with("Retry-After", "Fri, 01 Mar 2024 00:00:35 GMT");
    assert_eq!(waits(dated).unwrap(), 45);
    // What cannot be read, or lies in the past, is as if it were not there.
    for header in ["soon", "-5", "Wed, 28 Feb 2024 23:59:50 GMT"] {
        let reply = busy().with("Date", "Thu, 29 Feb 2024 23:59:50 GMT");
        assert_eq!(waits(reply.with("Retry-After", header)).unwrap(), 0, "{header}");
    }
    // Nobody waits for an hour.
    let error = waits(busy().with("Retry-After", "3600")).unwrap_err().to_string();
    assert!(error.contains("takes no more requests for now (for 3600 s): wait; lower"), "{error}");
}

#[test]
fn no_more_requests_are_sent_than_a_minute_may_have() {
    let server = Server::of(vec![Reply::text("ok")]);
    let (client, clock) = timed(ChatOptions { requests_per_minute: Some(30), ..server.options() });
    for _ in 0..5 {
        ask(&client).unwrap();
    }
    assert_eq!(clock.slept(), Duration::from_secs(8));
}

#[test]
fn there_are_limits_to_time_and_size() {
    let server = Server::of(vec![Reply::text("").ending(End::Never)]);
    let options =
        ChatOptions { timeout: Duration::from_millis(30), max_retries: 1, ..server.options() };
    let error = ask(&client(options)).unwrap_err().to_string();
    assert!(error.contains("gave no whole answer within 0.03 s"), "{error}");
    assert!(error.ends_with("(tried 2 times)"), "{error}");

    let server = Server::of(vec![Reply::text(&"x".repeat(10_000))]);
    let options = ChatOptions { response_bytes_max: 5_000, ..server.options() };
    let error = ask(&client(options)).unwrap_err();
    assert!(matches!(error, ChatError::TooLarge { limit_bytes: 5_000, .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_is_not_there_stops_everything() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = ChatOptions::new(format!("http://127.0.0.1:{port}/v1"), "tiny-1");
    let error = ask(&client(options)).unwrap_err();
    assert!(error.stops_all());
    assert!(error.to_string().contains("cannot be reached: "), "{error}");
}

#[test]
fn a_wish_to_end_is_noticed_while_waiting() {
    // In an answer that never comes, and in a pause.
    let hanging = Server::of(vec![Reply::text("").ending(End::Never)]);
    let failing = Server::of(vec![Reply::error(500, "broken")]);
    for server in [hanging, failing] {
        let asked = AtomicUsize::new(0);
        let cancelled = || asked.fetch_add(1, Ordering::SeqCst) >= 3;
        let (client, clock) = timed(server.options());
        let error = client.complete(&request("a"), &cancelled).unwrap_err();
        assert!(matches!(error, ChatError::Cancelled), "{error}");
        assert_eq!(asked.load(Ordering::SeqCst), 4);
        assert!(clock.slept() < Duration::from_millis(200), "{:?}", clock.slept());
    }
}
