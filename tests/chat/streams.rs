//! Streams: pieces that end anywhere, calls in pieces, and streams that are not whole.

use serde_json::json;
use swirldb::chat::ChatError;
use swirldb::model::ToolCall;

use super::server::{End, Reply, Server, completion, delta, event, events};

#[test]
fn pieces_may_end_anywhere() {
    let text = "na\u{ef}ve \u{1f5fc} \u{5854}\r\n\"x\"";
    let deltas: Vec<_> = std::iter::once(json!({ "role": "assistant", "content": "" }))
        .chain(text.chars().map(|c| json!({ "content": c.to_string() })))
        .collect();
    let whole = events(&deltas, "stop");
    let returned = whole.replace('\n', "\r\n");
    let commented = format!(": hello\n\nevent: message\nid: 1\n{whole}");
    let unfinished = whole.trim_end().to_owned();
    // The data of an event may stand on several lines.
    let parted = whole.replace("\"choices\":", "\ndata: \"choices\":");
    let parted_returned = parted.replace('\n', "\r\n");
    let streams = [whole, returned, commented, format!("{unfinished}\n"), parted, parted_returned];
    for stream in streams {
        for size in [1, 2, 3, 7, 64, 100_000] {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            let response = Server::of(vec![Reply::stream(&pieces)]).ask().unwrap();
            assert_eq!(response.choices[0].message.text(), text, "{size}");
            assert_eq!(response.choices[0].finish_reason.as_deref(), Some("stop"));
            assert_eq!(response.usage.unwrap().completion_tokens, Some(2));
        }
    }
}

#[test]
fn a_stream_and_one_object_say_the_same() {
    let call = |id: &str, arguments: &str| {
        json!({ "id": id, "type": "function",
                "function": { "name": "search", "arguments": arguments } })
    };
    let message = json!({
        "role": "assistant", "content": null, "reasoning_content": "hm, so",
        "tool_calls": [call("c1", "{\"query\":\"a\"}"), call("c2", "{}")],
    });
    let plain = Server::of(vec![Reply::json(200, &completion(&message, "tool_calls"))]);
    let piece = |index: u64, arguments: &str| {
        let function = json!({ "arguments": arguments });
        json!({ "tool_calls": [{ "index": index, "function": function }] })
    };
    let begin = |index: u64, id: &str| {
        json!({ "tool_calls": [{ "index": index, "id": id, "type": "function",
                "function": { "name": "search", "arguments": "" } }] })
    };
    let stream = Reply::deltas(
        &[
            json!({ "role": "assistant", "content": "" }),
            json!({ "reasoning_content": "hm, " }),
            json!({ "reasoning_content": "so" }),
            begin(0, "c1"),
            piece(0, "{\"que"),
            begin(1, "c2"),
            piece(0, "ry\":\"a\"}"),
            piece(1, "{}"),
        ],
        "tool_calls",
    );
    assert_eq!(Server::of(vec![stream]).ask().unwrap(), plain.ask().unwrap());
}

#[test]
fn calls_without_numbers_are_told_apart() {
    let calls = |list: serde_json::Value| json!({ "tool_calls": list });
    let stream = Reply::deltas(
        &[
            calls(json!([{ "id": "a", "function": { "name": "one", "arguments": "{" } }])),
            calls(json!([{ "function": { "arguments": "}" } }])),
            calls(json!([{ "id": "b", "function": { "name": "two", "arguments": "{}" } }])),
            calls(json!([{ "function": { "name": "three", "arguments": "{}" } }])),
        ],
        "tool_calls",
    );
    let response = Server::of(vec![stream]).ask().unwrap();
    let call = |id: Option<&str>, name: &str| ToolCall {
        id: id.map(str::to_owned),
        name: name.to_owned(),
        arguments: "{}".to_owned(),
    };
    let expected = [call(Some("a"), "one"), call(Some("b"), "two"), call(None, "three")];
    assert_eq!(response.choices[0].message.tool_calls, expected);
}

#[test]
fn calls_that_share_a_number_are_told_apart() {
    let call = |id: &str, name: &str, arguments: &str| {
        json!({ "tool_calls": [{ "index": 0, "id": id,
                "function": { "name": name, "arguments": arguments } }] })
    };
    let read = |deltas: &[serde_json::Value]| {
        let response = Server::of(vec![Reply::deltas(deltas, "tool_calls")]).ask().unwrap();
        let calls = response.choices[0].message.tool_calls.clone();
        calls.into_iter().map(|c| (c.id.unwrap(), c.name, c.arguments)).collect::<Vec<_>>()
    };
    let own = |id: &str, name: &str, arguments: &str| {
        (id.to_owned(), name.to_owned(), arguments.to_owned())
    };
    // Two whole calls, both with the number 0.
    let two = read(&[call("a", "one", "{\"x\":1}"), call("b", "one", "{}")]);
    assert_eq!(two, [own("a", "one", "{\"x\":1}"), own("b", "one", "{}")]);
    // One call in pieces, each with an identifier of its own.
    let one = read(&[call("a", "one", "{\"x\""), call("b", "one", ":1"), call("c", "", "}")]);
    assert_eq!(one, [own("a", "one", "{\"x\":1}")]);
}

#[test]
fn log_probabilities_come_in_pieces_too() {
    let piece = |token: &str, id: u32| {
        let scored = json!({ "content": [{ "token": token, "logprob": -1, "top_logprobs": [] }] });
        event(&json!({ "choices": [{ "index": 0, "delta": { "content": token },
                                     "logprobs": scored, "token_ids": [id] }] }))
    };
    let stream = [piece("a", 3), piece("b", 4), delta(0, &json!({}), Some("stop"))].concat();
    let response = Server::of(vec![Reply::stream(&[stream.as_bytes()])]).ask().unwrap();
    let choice = &response.choices[0];
    let texts: Vec<&str> =
        choice.tokens.as_ref().unwrap().iter().map(|token| token.text.as_str()).collect();
    assert_eq!((texts, choice.token_ids.clone()), (vec!["a", "b"], Some(vec![3, 4])));
}

#[test]
fn a_cut_stream_is_tried_again_and_never_taken_as_whole() {
    let good = Reply::deltas(&[json!({ "content": "all of it" })], "stop");
    let part = delta(0, &json!({ "content": "all" }), None);
    let done = format!("{part}data: [DONE]\n\n");
    let half = format!("{part}data: {{\"choices\": [");
    let aborted = delta(0, &json!({ "content": "all" }), Some("abort"));
    for (cut, said) in [
        (Reply::stream(&[aborted.as_bytes()]), "choice 0 ended with 'abort'"),
        (Reply::json(200, &completion(&json!({ "content": "" }), "error")), "ended with 'error'"),
        (Reply::stream(&[part.as_bytes()]).ending(End::Cut), "after "),
        (Reply::stream(&[part.as_bytes()]), "choice 0 has no finish_reason after 3 characters"),
        (Reply::stream(&[done.as_bytes()]), "choice 0 has no finish_reason after 3 characters"),
        (Reply::stream(&[half.as_bytes()]), "choice 0 has no finish_reason"),
        (Reply::stream(&[b""]), "0 of 1 choices have come"),
    ] {
        let server = Server::of(vec![cut.clone(), good.clone()]);
        let response = server.ask().unwrap();
        assert_eq!(response.choices[0].message.text(), "all of it");
        assert_eq!(server.requests().len(), 2);
        let server = Server::of(vec![cut]);
        match server.ask().unwrap_err() {
            ChatError::GaveUp { tries: 5, last } => {
                let text = last.to_string();
                assert!(matches!(*last, ChatError::Cut { .. }), "{text}");
                assert!(text.contains(said), "{text}");
            }
            other => panic!("{other}"),
        }
        assert_eq!(server.requests().len(), 5);
    }
}

#[test]
fn a_stream_that_ends_without_its_mark_is_whole_when_every_choice_is() {
    let text = [delta(0, &json!({ "content": "yes" }), None), delta(0, &json!({}), Some("stop"))];
    let response = Server::of(vec![Reply::stream(&[text.concat().as_bytes()])]).ask().unwrap();
    assert_eq!(response.choices[0].message.text(), "yes");
    assert_eq!(response.usage, None);
}

#[test]
fn what_goes_wrong_within_a_stream_is_told() {
    let good = Reply::deltas(&[json!({ "content": "fine" })], "stop");
    let part = delta(0, &json!({ "content": "fi" }), None);
    let failed = event(&json!({ "error": { "message": "out of memory", "code": 500 } }));
    let failed = Reply::stream(&[part.as_bytes(), failed.as_bytes()]);
    let server = Server::of(vec![failed.clone(), good]);
    assert_eq!(server.ask().unwrap().choices[0].message.text(), "fine");
    let said = Server::of(vec![failed]).refusal();
    assert!(said.contains("answers 500: out of memory"), "{said}");
    // A mistake in the request is not tried again.
    let wrong = event(&json!({ "error": { "message": "too long", "code": 400 } }));
    let server = Server::of(vec![Reply::stream(&[wrong.as_bytes()])]);
    let said = server.refusal();
    assert!(said.contains("answers 400: too long; check the options of sampling"), "{said}");
    assert_eq!(server.requests().len(), 1);

    for (stream, said) in [
        (&b"data: {nonsense}\n\n"[..], "an event of the stream is no JSON"),
        (b"data: \xff\n\n", "a line of the stream is not UTF-8 from byte 6"),
        (b"data: {\"choices\": 3}\n\n", "'choices' is 3, expected a list"),
        (
            b"data: {\"choices\": [{\"delta\": {\"content\": 4}}]}\n\n",
            "'content' of choice 0 is 4, expected a text",
        ),
    ] {
        let found = Server::of(vec![Reply::stream(&[stream])]).refusal();
        assert!(found.contains(said), "{found}");
        assert!(found.ends_with("(tried 5 times)"), "{found}");
    }
}

#[test]
fn a_server_that_does_not_stream_is_asked_without() {
    for status in [400, 422, 501] {
        let server = Server::with(move |request, _| match request.body.get("stream") {
            Some(_) => Reply::error(status, "'stream_options' is not supported"),
            None => Reply::text("plain"),
        });
        let client = server.client();
        for asked in [2, 3] {
            let completed = super::server::ask(&client).unwrap();
            assert_eq!(completed.response.choices[0].message.text(), "plain");
            assert_eq!(server.requests().len(), asked);
        }
    }
}
