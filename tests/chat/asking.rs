//! What is sent, and what is read of an answer.

use serde_json::{Value, json};
use swirldb::chat::{
    ApiKey, ChatOptions, ChatRequest, Sampling, ScoredToken, Usage, messages_json,
};
use swirldb::model::{Json, Message, ToolCall, role};

use super::server::{Reply, Server, ask, client, completion, request};

fn call(id: Option<&str>, name: &str, arguments: &str) -> ToolCall {
    let (name, arguments) = (name.to_owned(), arguments.to_owned());
    ToolCall { id: id.map(str::to_owned), name, arguments }
}

#[test]
fn a_request_says_all_that_was_asked() {
    let server = Server::of(vec![Reply::text("four")]);
    let mut options = server.options();
    options.api_key = Some(ApiKey::new(" sk-abc\n"));
    let sampling = Sampling {
        temperature: Some(0.7),
        top_p: Some(0.95),
        max_tokens: Some(64),
        stop: vec!["</end>".to_owned()],
        seed: Some(11),
        logprobs: true,
        top_logprobs: Some(5),
        extra: serde_json::Map::from_iter([("top_k".to_owned(), json!(20))]),
        ..Sampling::default()
    };
    let tools = json!([{ "type": "function", "function": { "name": "search" } }]);
    let asked = ChatRequest { tools: Some(tools.clone()), sampling, ..request("how many?") };
    let completed = client(options).complete(&asked, &|| false).unwrap();
    assert_eq!(completed.response.choices[0].message.text(), "four");
    assert_eq!(completed.tries, 1);

    let sent = &server.requests()[0];
    assert_eq!(sent.path, "/v1/chat/completions");
    assert_eq!(sent.header("authorization"), Some("Bearer sk-abc"));
    let expected = json!({
        "messages": [{ "role": "user", "content": "how many?" }],
        "tools": tools, "temperature": 0.7, "top_p": 0.95, "max_tokens": 64,
        "stop": ["</end>"], "seed": 11, "logprobs": true, "top_logprobs": 5, "top_k": 20,
        "model": "tiny-1", "stream": true, "stream_options": { "include_usage": true },
    });
    assert_eq!(sent.body, expected);
}

#[test]
fn what_is_left_open_is_not_sent() {
    let server = Server::of(vec![Reply::text("four")]);
    let mut options = server.options();
    options.stream = false;
    let empty = ChatRequest { tools: Some(json!([])), ..request("how many?") };
    client(options).complete(&empty, &|| false).unwrap();
    let expected =
        json!({ "messages": [{ "role": "user", "content": "how many?" }], "model": "tiny-1" });
    assert_eq!(server.requests()[0].body, expected);
    assert_eq!(server.requests()[0].header("authorization"), None);
}

#[test]
fn calls_and_results_find_each_other() {
    let result = |id: Option<&str>, text: &str| Message {
        tool_call_id: id.map(str::to_owned),
        ..Message::new(role::TOOL, text)
    };
    let assistant = |calls: Vec<ToolCall>| Message {
        role: role::ASSISTANT.to_owned(),
        reasoning: Some("look".to_owned()),
        tool_calls: calls,
        ..Message::default()
    };
    let parts = Message {
        parts: Some(Json::parse("[{\"type\": \"text\", \"text\": \"hi\"}]").unwrap()),
        ..Message::new(role::USER, "hi")
    };
    let messages = [
        parts,
        assistant(vec![call(None, "search", "{\"q\": 1}"), call(Some("x9"), "search", "oh")]),
        result(Some("x9"), "second"),
        result(None, "first"),
        assistant(vec![call(None, "sum", "{}")]),
        result(None, "third"),
    ];
    let out = messages_json(&messages, false);
    assert_eq!(out[0]["content"], json!([{ "type": "text", "text": "hi" }]));
    assert_eq!(out[1]["content"], Value::Null);
    assert_eq!(
        out[1]["tool_calls"][0],
        json!({
            "id": "call_1_0", "type": "function",
            "function": { "name": "search", "arguments": "{\"q\": 1}" },
        })
    );
    let ids = [&out[2], &out[3], &out[5]].map(|message| message["tool_call_id"].clone());
    assert_eq!(ids, ["x9", "call_1_0", "call_4_0"].map(Value::from));
    assert_eq!(out[1].get("reasoning_content"), None);
    assert_eq!(messages_json(&messages, true)[1]["reasoning_content"], "look");
}

#[test]
fn all_of_an_answer_is_read() {
    let message = json!({
        "role": "assistant", "content": null, "reasoning": "because",
        "tool_calls": [
            { "id": "c1", "type": "function",
              "function": { "name": "search", "arguments": "{\"query\":\"é\"}" } },
            { "type": "function", "function": { "name": "sum", "arguments": { "a": 1 } } },
        ],
    });
    let mut answer = completion(&message, "tool_calls");
    answer["system_fingerprint"] = json!("fp_1");
    answer["choices"][0]["token_ids"] = json!([5, 6]);
    answer["choices"][0]["logprobs"] = json!({ "content": [
        { "token": "a", "logprob": -0.5, "bytes": null,
          "top_logprobs": [{ "token": "a", "logprob": -0.5 }, { "token": "b", "logprob": -1.5 }] },
        { "token": "c", "logprob": -2.0 },
    ] });
    let response = Server::of(vec![Reply::json(200, &answer)]).ask().unwrap();
    let usage = Usage { prompt_tokens: Some(5), completion_tokens: Some(2) };
    assert_eq!(response.usage, Some(usage));
    assert_eq!(response.model.as_deref(), Some("tiny-1"));
    assert_eq!(response.system_fingerprint.as_deref(), Some("fp_1"));
    let choice = &response.choices[0];
    assert_eq!(choice.finish_reason.as_deref(), Some("tool_calls"));
    assert_eq!(choice.message.content, None);
    assert_eq!(choice.message.reasoning.as_deref(), Some("because"));
    let calls = [call(Some("c1"), "search", "{\"query\":\"é\"}"), call(None, "sum", "{\"a\":1}")];
    assert_eq!(choice.message.tool_calls, calls);
    assert_eq!(choice.token_ids, Some(vec![5, 6]));
    let top = vec![("a".to_owned(), -0.5), ("b".to_owned(), -1.5)];
    let first = ScoredToken { text: "a".to_owned(), log_prob: -0.5, top };
    let second = ScoredToken { text: "c".to_owned(), log_prob: -2.0, top: Vec::new() };
    assert_eq!(choice.tokens, Some(vec![first, second]));
    // What is recorded is read back as it was.
    let kept = serde_json::to_string(&response).unwrap();
    assert_eq!(serde_json::from_str::<swirldb::chat::ChatResponse>(&kept).unwrap(), response);
}

#[test]
fn several_choices_are_read_by_their_index() {
    let choice = |index: u64, text: &str| {
        let message = json!({ "content": text });
        json!({ "index": index, "finish_reason": "stop", "message": message })
    };
    let answer = json!({ "choices": [choice(1, "second"), choice(0, "first")] });
    let server = Server::of(vec![Reply::json(200, &answer)]);
    let mut asked = request("two");
    asked.sampling.n = 2;
    let response = server.client().complete(&asked, &|| false).unwrap().response;
    let texts: Vec<&str> = response.choices.iter().map(|choice| choice.message.text()).collect();
    assert_eq!(texts, ["first", "second"]);
    assert_eq!(server.requests()[0].body["n"], 2);
    // Who asked for one does not pick one of two.
    let said = server.refusal();
    assert!(said.contains("found 2 choices (0, 1), expected 1"), "{said}");
}

#[test]
fn an_empty_content_is_one_and_no_content_is_none() {
    for (content, expected) in
        [(json!(""), Some("")), (Value::Null, None), (json!([{ "text": "a" }]), Some("a"))]
    {
        let answer = completion(&json!({ "role": "assistant", "content": content }), "stop");
        let response = Server::of(vec![Reply::json(200, &answer)]).ask().unwrap();
        assert_eq!(response.choices[0].message.content.as_deref(), expected);
    }
}

#[test]
fn numbers_of_tokens_are_read_where_they_stand_for_texts() {
    let mut answer = completion(&json!({ "content": "ab" }), "stop");
    let token = |id: u32| json!({ "token": format!("token_id:{id}"), "logprob": -1 });
    answer["choices"][0]["logprobs"] = json!({ "content": [token(7), token(8)] });
    let response = Server::of(vec![Reply::json(200, &answer)]).ask().unwrap();
    assert_eq!(response.choices[0].token_ids, Some(vec![7, 8]));
}

#[test]
fn options_that_cannot_be_used_say_so() {
    let options = || ChatOptions::new("http://localhost:8000/v1", "tiny-1");
    let said = |change: &dyn Fn(&mut ChatOptions)| {
        let mut changed = options();
        change(&mut changed);
        let clock = std::sync::Arc::new(super::server::Still::default());
        swirldb::chat::ChatClient::new(changed, clock).err().unwrap().to_string()
    };
    let with_key = |url: &str| {
        said(&|o| (o.base_url, o.api_key) = (url.to_owned(), Some(ApiKey::new("sk-a"))))
    };
    for (found, expected) in [
        (said(&|o| o.base_url = "localhost".to_owned()), "base_url is no address of HTTP"),
        (said(&|o| o.base_url += "?key=1"), "base_url has something behind ? or #"),
        (said(&|o| o.concurrency = 0), "concurrency is 0; expected 1 or more"),
        (said(&|o| o.requests_per_minute = Some(0)), "requests_per_minute is 0"),
        (said(&|o| o.model = " ".to_owned()), "model is empty"),
        (said(&|o| o.api_key = Some(ApiKey::new(""))), "the key in api_key_env is empty"),
        (said(&|o| o.proxy = Some("secret".to_owned())), "the proxy is no address"),
        (with_key("http://me:hidden@localhost"), "base_url holds a password"),
    ] {
        assert!(found.starts_with(expected), "{found}");
        assert!(!found.contains("secret") && !found.contains("hidden"), "{found}");
    }
    let client = client(options());
    let mut asked = request("a");
    asked.sampling.extra.insert("stream".to_owned(), json!(false));
    let error = client.complete(&asked, &|| false).unwrap_err().to_string();
    assert!(error.starts_with("the further field 'stream' is a field"), "{error}");
    let mut asked = request("a");
    asked.sampling.top_logprobs = Some(3);
    let error = client.complete(&asked, &|| false).unwrap_err().to_string();
    assert!(error.starts_with("top_logprobs is set without logprobs"), "{error}");
}

#[test]
fn the_key_and_passwords_are_never_shown() {
    let server = Server::of(vec![Reply::error(401, "the key sk-secret-1 is not known")]);
    let mut options = server.options();
    options.api_key = Some(ApiKey::new("sk-secret-1"));
    options.api_key_env = Some("CHAT_KEY".to_owned());
    options.proxy = None;
    let shown = format!("{options:?} {:?}", options.api_key);
    assert!(!shown.contains("secret"), "{shown}");
    let error = ask(&client(options)).unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(!said.contains("secret"), "{said}");
    assert!(said.contains("the key *** is not known; set CHAT_KEY to a valid key"), "{said}");

    let mut options = server.options();
    options.base_url = options.base_url.replace("http://", "http://me:hidden@");
    options.proxy = Some("http://me:hidden@localhost".to_owned());
    assert!(!format!("{options:?}").contains("hidden"));
    options.proxy = None;
    let error = ask(&client(options)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hidden"));
    let sent = server.requests();
    assert!(sent.last().unwrap().header("authorization").unwrap().starts_with("Basic "));
}
