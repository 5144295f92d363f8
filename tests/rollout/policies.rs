//! Remote policies: what they propose, recorded and replayed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Value, json};
use swirldb::chat::{ApiKey, ChatClient, ChatOptions, Sampling};
use swirldb::model::{Message, role};
use swirldb::rollout::{ActRequest, Policy, PolicyError, PolicyKind, Proposed, RemotePolicy};
use swirldb::tools::{CallKind, Cassette, RecordError, RecordMode, Recorder, ToolOutput};

use crate::chat::server::{End, Reply, Server, Still, completion};
use crate::tools::memory::{Memory, Ticks};

fn client(options: ChatOptions) -> Arc<ChatClient> {
    Arc::new(ChatClient::new(options, Arc::new(Still::default())).unwrap())
}

/// A policy whose calls are recorded.
fn recorded(options: ChatOptions, cassette: &Arc<Memory>, mode: RecordMode) -> RemotePolicy {
    let sampling =
        Sampling { temperature: Some(0.8), logprobs: true, seed: Some(3), ..Sampling::default() };
    let recorder = Recorder::new(Arc::clone(cassette) as _, Arc::new(Ticks::default()), mode);
    let policy = RemotePolicy::new(client(options), "rev-1", sampling).unwrap();
    policy.recorded(Arc::new(recorder), CallKind::Policy)
}

/// Options for a server that is not there.
fn nowhere() -> ChatOptions {
    ChatOptions::new("http://127.0.0.1:9/v1", "tiny-1")
}

pub fn asked(text: &str) -> ActRequest {
    ActRequest { messages: vec![Message::new(role::USER, text)], ..ActRequest::default() }
}

/// What came of each request.
type Outcomes = BTreeMap<usize, Result<Proposed, String>>;

pub fn act(policy: &mut dyn Policy, requests: &[ActRequest]) -> Result<Outcomes, PolicyError> {
    let mut outcomes = Outcomes::new();
    policy.act(requests, &|| false, &mut |index, outcome| {
        let outcome = outcome.map_err(|error| error.to_string());
        assert!(outcomes.insert(index, outcome).is_none(), "{index} came twice");
        ControlFlow::Continue(())
    })?;
    Ok(outcomes)
}

/// Answers with the question and the number of the request.
fn numbering() -> Server {
    Server::with(|request, number| {
        let message = json!({ "content": format!("{} #{number}", request.last()) });
        let mut answer = completion(&message, "stop");
        answer["choices"][0]["logprobs"] =
            json!({ "content": [{ "token": "a", "logprob": -0.1 }] });
        answer["choices"][0]["token_ids"] = json!([9]);
        Reply::json(200, &answer)
    })
}

#[test]
fn a_policy_proposes_the_next_message() {
    let server = numbering();
    let mut policy =
        RemotePolicy::new(client(server.options()), "rev-1", Sampling::default()).unwrap();
    let identity = policy.identity().clone();
    assert_eq!((identity.name.as_str(), identity.version.as_str()), ("tiny-1", "rev-1"));
    assert_eq!(identity.kind, PolicyKind::Remote);
    assert_eq!(identity.sampling.as_str(), "{\"n\":1,\"logprobs\":false}");

    let mut requests = vec![asked("one")];
    requests[0].seed = Some(17);
    requests[0].tools = Some(json!([{ "type": "function", "function": { "name": "f" } }]));
    let outcomes = act(&mut policy, &requests).unwrap();
    let proposed = outcomes[&0].as_ref().unwrap();
    assert_eq!(proposed.message, Message::new(role::ASSISTANT, "one #0"));
    assert_eq!(proposed.text, "one #0");
    assert_eq!(proposed.token_ids, Some(vec![9]));
    assert_eq!(proposed.log_probs, Some(vec![-0.1]));
    assert_eq!(proposed.finish_reason.as_deref(), Some("stop"));
    assert_eq!(proposed.usage.unwrap().completion_tokens, Some(2));
    assert!(!proposed.is_replayed);
    let body = &server.requests()[0].body;
    assert_eq!((&body["seed"], &body["tools"][0]["function"]["name"]), (&json!(17), &json!("f")));
    assert!(act(&mut policy, &[]).unwrap().is_empty());
}

#[test]
fn what_was_recorded_is_replayed_without_a_server() {
    let cassette = Arc::new(Memory::default());
    // Equal requests are told apart by their order, not by who was faster.
    let requests: Vec<ActRequest> =
        ["a", "b", "a", "a", "c", "b"].iter().map(|text| asked(text)).collect();
    let made = {
        let server = numbering();
        let mut policy = recorded(server.options(), &cassette, RecordMode::Once);
        let made = act(&mut policy, &requests).unwrap();
        assert_eq!(server.requests().len(), 6);
        made
    };
    assert_eq!(made.len(), 6);
    let kept = cassette.all();
    assert_eq!(kept.len(), 6);
    for _ in 0..2 {
        let cassette = cassette.reopened();
        let mut policy = recorded(nowhere(), &cassette, RecordMode::None);
        let replayed = act(&mut policy, &requests).unwrap();
        for (index, outcome) in &replayed {
            let outcome = outcome.clone().unwrap();
            assert!(outcome.is_replayed);
            let as_made = Proposed { is_replayed: false, ..outcome };
            assert_eq!(&as_made, made[index].as_ref().unwrap());
        }
        assert_eq!(replayed.len(), 6);
        assert_eq!(cassette.all(), kept);
        // One more of what was asked three times is not recorded.
        let error = act(&mut policy, &[asked("a")]).unwrap_err();
        assert!(matches!(error, PolicyError::Record(RecordError::Missing(_))), "{error}");
        let said = error.to_string();
        assert!(said.contains("policy 'tiny-1'") && said.contains("(after 3 equal"), "{said}");
    }
}

#[test]
fn a_recording_says_what_was_asked_and_no_secret() {
    let server = numbering();
    let mut options = server.options();
    options.api_key = Some(ApiKey::new("sk-hidden"));
    let cassette = Arc::new(Memory::default());
    act(&mut recorded(options, &cassette, RecordMode::NewEpisodes), &[asked("one")]).unwrap();
    let kept = cassette.all().remove(0);
    assert_eq!(
        kept.call.arguments,
        "{\"logprobs\":true,\"messages\":[{\"content\":\"one\",\"role\":\"user\"}],\"seed\":3,\
         \"temperature\":0.8}"
    );
    assert_eq!(kept.call.kind, CallKind::Policy);
    assert_eq!((kept.call.name.as_str(), kept.call.version.as_str()), ("tiny-1", "rev-1"));
    assert_eq!(kept.output.text, "one #0");
    let shown = format!("{kept:?}");
    assert!(!shown.contains("hidden") && !shown.contains("127.0.0.1"), "{shown}");
}

#[test]
fn what_fails_for_one_is_recorded_and_what_fails_for_all_is_not() {
    let server = Server::with(|request, _| match request.last() {
        "long" => Reply::error(400, "too long"),
        "who" => Reply::error(403, "not you"),
        text => Reply::text(text),
    });
    let cassette = Arc::new(Memory::default());
    let mut policy = recorded(server.options(), &cassette, RecordMode::NewEpisodes);
    let outcomes = act(&mut policy, &[asked("long"), asked("fine")]).unwrap();
    assert!(outcomes[&0].as_ref().unwrap_err().contains("answers 400: too long"));
    assert_eq!(outcomes[&1].as_ref().unwrap().text, "fine");
    let error = act(&mut policy, &[asked("who")]).unwrap_err();
    assert!(error.to_string().contains("answers 403: not you"), "{error}");
    assert_eq!(cassette.all().len(), 2);

    let mut replay = recorded(nowhere(), &cassette.reopened(), RecordMode::None);
    let outcomes = act(&mut replay, &[asked("long"), asked("fine")]).unwrap();
    let said = outcomes[&0].as_ref().unwrap_err();
    assert!(said.starts_with("when it was recorded: ") && said.contains("too long"), "{said}");
    assert_eq!(outcomes[&1].as_ref().unwrap().text, "fine");
}

#[test]
fn a_miss_ends_the_run_before_anything_is_called() {
    let server = numbering();
    let cassette = Arc::new(Memory::default());
    act(&mut recorded(server.options(), &cassette, RecordMode::Once), &[asked("a")]).unwrap();
    let mut policy = recorded(server.options(), &cassette.reopened(), RecordMode::Once);
    let error = act(&mut policy, &[asked("a"), asked("new")]).unwrap_err();
    assert!(matches!(error, PolicyError::Record(RecordError::Missing(_))), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_recording_that_is_no_action_is_named() {
    let server = numbering();
    let cassette = Arc::new(Memory::default());
    act(&mut recorded(server.options(), &cassette, RecordMode::Once), &[asked("a")]).unwrap();
    for (structured, said) in [
        (None, "it is a text only"),
        (Some(json!({ "choices": [] })), "it has 0 choices, not one"),
        (Some(json!({ "hello": 1 })), "unknown field `hello`"),
        (Some(Value::Null), "invalid type: null"),
    ] {
        let mut recording = cassette.all().remove(0);
        recording.output = ToolOutput { structured, ..ToolOutput::text("a") };
        cassette.replace(recording).unwrap();
        let mut policy = recorded(nowhere(), &cassette.reopened(), RecordMode::None);
        let error = act(&mut policy, &[asked("a")]).unwrap_err().to_string();
        assert!(error.contains(said) && error.ends_with("record the call again"), "{error}");
    }
}

#[test]
fn a_policy_ends_when_it_is_told_to() {
    let server = Server::of(vec![Reply::text("").ending(End::Never)]);
    let cassette = Arc::new(Memory::default());
    let mut policy = recorded(server.options(), &cassette, RecordMode::NewEpisodes);
    let asked_for = Cell::new(0);
    let cancelled = || {
        asked_for.set(asked_for.get() + 1);
        asked_for.get() > 3
    };
    let error = policy.act(&[asked("a")], &cancelled, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(error, Err(PolicyError::Cancelled)));
    assert!(cassette.all().is_empty());
}

#[test]
fn one_action_is_asked_for_at_a_time() {
    let sampling = Sampling { n: 4, ..Sampling::default() };
    let error = RemotePolicy::new(client(nowhere()), "1", sampling).err().unwrap().to_string();
    assert!(error.starts_with("n is 4; expected 1: ask for several actions"), "{error}");
}
