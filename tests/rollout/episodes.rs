//! Episodes: what the protocol makes of every kind of action, with a policy that reads from a list.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::ControlFlow;

use serde_json::json;
use swirldb::model::{Json, Message, Status, ToolCall, Trajectory, role};
use swirldb::rollout::{
    ActRequest, AnswerForm, Counts, Episode, OnBoth, OnLimit, OnMalformed, OnProposed, OnRepeated,
    OnToolError, Policy, PolicyError, PolicyIdentity, PolicyKind, Proposed, Protocol, Question,
    RolloutError, Setting, check_form, play,
};
use swirldb::tools::ToolOutput;

fn call(query: &str) -> Message {
    let arguments = json!({"query": query}).to_string();
    let call = ToolCall { id: None, name: "search".to_owned(), arguments };
    Message { role: role::ASSISTANT.to_owned(), tool_calls: vec![call], ..Message::default() }
}

fn says(text: &str) -> Message {
    Message::new(role::ASSISTANT, text)
}

fn act(message: Message) -> Proposed {
    Proposed { message, finish_reason: Some("stop".to_owned()), ..Proposed::default() }
}

fn unread(text: &str, reason: &str) -> Proposed {
    Proposed {
        unread: Some("it cannot be read".to_owned()),
        finish_reason: Some(reason.to_owned()),
        ..act(says(text))
    }
}

fn question(id: &str) -> Question {
    Question {
        id: id.to_owned(),
        text: "Who?".to_owned(),
        gold: vec!["Ada".to_owned()],
        ..Question::default()
    }
}

/// Plays the acts and returns the trajectory, the counts, and the queries that were made.
fn played(protocol: &Protocol, acts: Vec<Proposed>) -> (Trajectory, Counts, Vec<String>) {
    let mut episode = Episode::new(question("q"), 2, protocol);
    let mut made = Vec::new();
    let number = acts.len();
    for (at, act) in acts.into_iter().enumerate() {
        assert!(!episode.has_ended(), "it ended after {at} of {number} acts");
        let mut search = |_: &Question, name: &str, arguments: &str| {
            assert_eq!(name, "search");
            made.push(arguments.to_owned());
            Ok::<_, Infallible>(match arguments {
                a if a.contains("nothing") => {
                    ToolOutput::text("no document").with_structured(json!({"hits": []}))
                }
                a if a.contains("error") => ToolOutput::error("the search is down"),
                _ => ToolOutput::text("a document"),
            })
        };
        episode.act(act, protocol, &mut search).unwrap();
    }
    let (trajectory, counts) = episode.finish("run");
    (trajectory, counts, made)
}

#[test]
fn calls_and_an_answer() {
    let acts = vec![act(call("a")), act(call("b")), act(says("So. <answer> Ada </answer>"))];
    let (of, counts, made) = played(&Protocol::default(), acts);
    assert_eq!((of.id.as_str(), of.source.as_str()), ("q:2", "run"));
    assert_eq!((of.status, of.answer.as_deref()), (Some(Status::Answered), Some("Ada")));
    assert_eq!(of.steps.len(), 3);
    assert_eq!(of.steps[0].observation_text(), "a document");
    assert_eq!(of.steps[0].observation[0].name.as_deref(), Some("search"));
    assert_eq!(of.steps[0].call_results()[0].1.unwrap().text(), "a document");
    assert_eq!(made.len(), 2);
    let expected = Counts { episodes: 1, answered: 1, actions: 3, calls: 2, ..Counts::default() };
    assert_eq!(counts, expected);
    let said = of.prompt[0].text();
    assert!(said.contains("up to 5 times"), "{said}");
}

#[test]
fn what_is_not_as_it_should_be_is_done_as_the_protocol_says() {
    let remind = Protocol::default();
    let stop = Protocol {
        on_no_action: OnMalformed::Stop,
        on_unreadable: OnMalformed::Stop,
        on_both: OnBoth::Stop,
        on_tool_error: OnToolError::Stop,
        on_repeated: OnRepeated::Stop,
        ..Protocol::default()
    };
    let both = || Message { content: Some("<answer>Ada</answer>".to_owned()), ..call("a") };
    type Of = fn(&Counts) -> u64;
    let table: [(&str, Proposed, Of); 5] = [
        ("no action", act(says("I wonder.")), |c| c.no_action),
        ("both", act(both()), |c| c.both),
        ("unreadable", unread("<tool_call>", "stop"), |c| c.unreadable),
        ("two answers", act(says("<answer>a</answer><answer>b</answer>")), |c| c.unreadable),
        ("cut", unread("I wo", "length"), |c| c.cut),
    ];
    for (name, bad, count) in table {
        let answer = act(says("<answer>Ada</answer>"));
        let (of, counts, made) = played(&remind, vec![bad.clone(), answer]);
        assert_eq!(
            (of.status, count(&counts), made.len()),
            (Some(Status::Answered), 1, 0),
            "{name}"
        );
        assert_eq!(of.steps[0].observation[0].role, role::USER, "{name}");
        let (of, counts, _) = played(&stop, vec![bad.clone()]);
        assert_eq!(
            (of.status, count(&counts), counts.error),
            (Some(Status::Error), 1, 1),
            "{name}"
        );
        assert!(of.steps[0].observation.is_empty(), "{name}");
        // The third time in a row ends it.
        let (of, counts, _) = played(&remind, vec![bad.clone(), bad.clone(), bad]);
        assert_eq!((of.status, count(&counts)), (Some(Status::Error), 3), "{name}");
    }
    let calls = Protocol { on_both: OnBoth::Call, ..Protocol::default() };
    let (of, _, made) = played(&calls, vec![act(both())]);
    assert_eq!((of.status, made.len()), (Some(Status::Limit), 1));
    let answers = Protocol { on_both: OnBoth::Answer, ..Protocol::default() };
    let (of, _, made) = played(&answers, vec![act(both())]);
    assert_eq!((of.answer.as_deref(), made.len()), (Some("Ada"), 0));
    let text = Protocol { answer: AnswerForm::Text, ..Protocol::default() };
    let (of, ..) = played(&text, vec![act(says(" It is Ada. "))]);
    assert_eq!(of.answer.as_deref(), Some("It is Ada."));
}

#[test]
fn tools_that_fail_find_nothing_or_are_asked_again() {
    let protocol = Protocol::default();
    let acts = vec![act(call("error")), act(call("nothing")), act(call("nothing"))];
    let (of, counts, made) = played(&protocol, acts);
    assert_eq!((counts.tool_errors, counts.nothing_found, counts.repeated), (1, 2, 1));
    assert_eq!((made.len(), of.status), (3, Some(Status::Limit)));
    assert_eq!(of.steps[0].observation[0].error, Some(true));
    let stop = Protocol { on_tool_error: OnToolError::Stop, ..Protocol::default() };
    let (of, ..) = played(&stop, vec![act(call("error"))]);
    assert_eq!(of.status, Some(Status::Error));
    let told = Protocol { on_repeated: OnRepeated::Remind, ..Protocol::default() };
    // The same arguments in another spelling are the same call.
    let mut again = call("a");
    again.tool_calls[0].arguments = "{ \"query\" : \"a\" }".to_owned();
    let (of, counts, made) = played(&told, vec![act(call("a")), act(again)]);
    assert_eq!((made.len(), counts.repeated, counts.calls), (1, 1, 1));
    assert!(of.steps[1].observation_text().contains("made before"));
}

#[test]
fn the_limit_of_calls_ends_it_or_asks_for_the_answer() {
    let two = Protocol { max_queries: 2, ..Protocol::default() };
    let acts = || vec![act(call("a")), act(call("b")), act(call("c"))];
    let (of, counts, made) = played(&two, acts());
    assert_eq!(
        (of.status, counts.limit, made.len(), of.steps.len()),
        (Some(Status::Limit), 1, 2, 3)
    );
    let asks = Protocol { on_limit: OnLimit::Answer, ..two };
    let mut with_answer = acts();
    with_answer.push(act(says("<answer>Ada</answer>")));
    let (of, ..) = played(&asks, with_answer);
    assert_eq!((of.status, of.steps.len()), (Some(Status::Answered), 4));
    let mut with_call = acts();
    with_call.push(act(call("d")));
    let (of, ..) = played(&asks, with_call);
    assert_eq!(of.status, Some(Status::Limit));
    // An action with more calls than are left is not done by halves.
    let mut parallel = call("a");
    parallel.tool_calls.extend(call("b").tool_calls);
    parallel.tool_calls.extend(call("c").tool_calls);
    let limit = Protocol { max_queries: 2, ..Protocol::default() };
    let (_, _, made) = played(&limit, vec![act(parallel)]);
    assert!(made.is_empty());
}

#[test]
fn the_form_of_an_action() {
    let protocol = Protocol::default();
    let mut two = call("a");
    two.tool_calls.extend(call("b").tool_calls);
    let both = Message { content: Some("<answer>Ada</answer>".to_owned()), ..call("a") };
    for (message, expected) in [
        (call("a"), Ok(())),
        (says("<answer>Ada</answer>"), Ok(())),
        (says("Ada"), Err("no_action")),
        (both, Err("both")),
        (two, Err("several_calls")),
        (says("<answer>Ada"), Err("unreadable")),
    ] {
        assert_eq!(check_form(&message, &protocol), expected, "{message:?}");
    }
}

/// Proposes what its list says for each conversation; `None` fails for that one.
struct Listed {
    identity: PolicyIdentity,
    acts: VecDeque<Option<Proposed>>,
    alive: Vec<usize>,
}

impl Policy for Listed {
    fn identity(&self) -> &PolicyIdentity {
        &self.identity
    }

    fn act(
        &mut self,
        requests: &[ActRequest],
        _: &dyn Fn() -> bool,
        on_done: &mut OnProposed<'_>,
    ) -> Result<(), PolicyError> {
        self.alive.push(requests.len());
        // Backwards: in whatever order answers come, they belong to their requests.
        let acts: Vec<Option<Proposed>> =
            requests.iter().map(|_| self.acts.pop_front().unwrap()).collect();
        for (at, act) in acts.into_iter().enumerate().rev() {
            let outcome = act.ok_or_else(|| PolicyError::Local("no answer".to_owned()));
            assert_eq!(on_done(at, outcome), ControlFlow::Continue(()));
        }
        Ok(())
    }
}

#[test]
fn episodes_make_room_and_one_that_fails_is_told() {
    let identity = PolicyIdentity {
        name: "listed".to_owned(),
        version: "1".to_owned(),
        kind: PolicyKind::Local,
        sampling: Json::of(&json!({})),
    };
    let answer = |text: &str| Some(act(says(&format!("<answer>{text}</answer>"))));
    let acts = [Some(act(call("a"))), answer("one"), answer("zero"), None, answer("three")];
    let mut policy = Listed { identity, acts: acts.into(), alive: Vec::new() };
    let protocol = Protocol::default();
    let mut episodes = (0..4).map(|n| Episode::new(question(&format!("q{n}")), 0, &protocol));
    let mut setting = Setting {
        protocol: &protocol,
        tools: None,
        call: &mut |_, _, _| Ok(ToolOutput::text("a document")),
        seed: &|episode, step| u64::from(step) + episode.question().id.len() as u64,
        source: "run",
        width: 2,
    };
    let mut stored = Vec::new();
    let error =
        play::<RolloutError>(&mut episodes, &mut policy, &mut setting, &|| false, &mut |ended| {
            stored.extend(ended.into_iter().map(|(of, _)| (of.id, of.answer.unwrap())));
            Ok(())
        })
        .unwrap_err();
    let of = |id: &str, answer: &str| (format!("{id}:0"), answer.to_owned());
    assert_eq!(stored, [of("q1", "one"), of("q0", "zero"), of("q3", "three")]);
    assert_eq!(policy.alive, [2, 2, 1]);
    let told = error.to_string();
    assert!(told.contains("1 of the episodes") && told.contains("no answer"), "{told}");
}
