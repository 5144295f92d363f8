//! Actions that call tools by tags: how texts are read, what the protocol makes of each, what a
//! server is asked for, and how stored actions are printed.

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::json;
use swirldb::chat::{ChatClient, ChatOptions, Sampling, messages_json};
use swirldb::model::{Message, Status, Step, Trajectory, role};
use swirldb::render::{Action, Renderer, Vocabulary};
use swirldb::rollout::{
    CallForm, Counts, Episode, OnBoth, OnLimit, OnMalformed, OnRepeated, OnToolError, Proposed,
    Protocol, Question, RemotePolicy, StopTags, TagForm, check_form,
};
use swirldb::tools::{CallKind, RecordMode, Recorder, ToolOutput, ToolSpec};

use super::policies::{act, asked};
use crate::chat::server::{Reply, Server, Still, completion};
use crate::tools::memory::{Memory, Ticks};

fn spec(name: &str, parameter: &str) -> ToolSpec {
    let parameters = json!({
        "type": "object",
        "properties": {parameter: {"type": "string"}, "k": {"type": "integer"}},
        "required": [parameter],
    });
    ToolSpec::new(name, format!("Does {name}."), parameters, "1")
}

fn tags() -> TagForm {
    TagForm::of([spec("search", "words"), spec("calculator", "expression")].iter()).unwrap()
}

fn protocol() -> Protocol {
    Protocol { action_form: CallForm::Tags, tags: tags(), ..Protocol::default() }
}

fn says(text: &str) -> Proposed {
    Proposed {
        message: Message::new(role::ASSISTANT, text),
        finish_reason: Some("stop".to_owned()),
        ..Proposed::default()
    }
}

fn cut(text: &str) -> Proposed {
    Proposed { finish_reason: Some("length".to_owned()), ..says(text) }
}

/// Plays the acts; returns the trajectory, the counts, and the calls that were made.
fn played(protocol: &Protocol, acts: Vec<Proposed>) -> (Trajectory, Counts, Vec<String>) {
    let question = Question { id: "q".to_owned(), text: "Who?".to_owned(), ..Question::default() };
    let mut episode = Episode::new(question, 0, protocol);
    let mut made = Vec::new();
    for act in acts {
        assert!(!episode.has_ended());
        let mut call = |_: &Question, name: &str, arguments: &str| {
            made.push(format!("{name} {arguments}"));
            Ok::<_, Infallible>(match name {
                "search" | "calculator" => ToolOutput::text("a result"),
                other => ToolOutput::error(format!("there is no tool '{other}'")),
            })
        };
        episode.act(act, protocol, &mut call).unwrap();
    }
    let (trajectory, counts) = episode.finish("run");
    (trajectory, counts, made)
}

#[test]
fn calls_are_read_from_the_text_which_stays_as_it_is() {
    let first = "I should look.\n<search_query> who is she </search_query>\n";
    let acts = vec![
        says(first),
        says("<math_exp>48 / 2</math_exp>"),
        says("<think>not <answer>this</answer></think>So <answer> Ada </answer>"),
    ];
    let (of, counts, made) = played(&protocol(), acts);
    assert_eq!(
        made,
        ["search {\"words\":\"who is she\"}", "calculator {\"expression\":\"48 / 2\"}"]
    );
    assert_eq!((of.status, of.answer.as_deref()), (Some(Status::Answered), Some("Ada")));
    let expected = Counts { episodes: 1, answered: 1, actions: 3, calls: 2, ..Counts::default() };
    assert_eq!(counts, expected);
    let Step { action, observation, .. } = &of.steps[0];
    assert_eq!(action.text(), first);
    assert!(action.calls_in_content && action.calls_apart().is_empty());
    assert_eq!((action.tool_calls.len(), action.tool_calls[0].name.as_str()), (1, "search"));
    let result =
        Message { error: Some(false), ..Message::new(role::USER, "who is she -> a result") };
    assert_eq!(observation, &[result]);
    assert_eq!(of.steps[0].call_results()[0].1.unwrap().text(), "who is she -> a result");
    assert_eq!(CallForm::of(&of.steps[0]), Some(CallForm::Tags));
    assert!(!of.steps[2].action.calls_in_content && of.steps[2].action.tool_calls.is_empty());
    assert_eq!(of.n_tool_calls(), 2);
}

#[test]
fn the_instructions_show_the_tags_of_the_tools() {
    let (of, ..) = played(&protocol(), vec![says("<answer>a</answer>")]);
    let told = of.prompt[0].text();
    for line in [
        "<search_query>...</search_query> search: Does search.\n",
        "<math_exp>...</math_exp> calculator: Does calculator.\n",
        "up to 5 times",
        "QUERY -> RESULT",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    let own = Protocol { instructions: Some("Use:\n{tools}".to_owned()), ..protocol() };
    let (of, ..) = played(&own, vec![says("<answer>a</answer>")]);
    assert!(of.prompt[0].text().starts_with("Use:\n<search_query>"), "{:?}", of.prompt);
    let bare = Protocol { tags: TagForm::default(), ..protocol() };
    let (of, ..) = played(&bare, vec![says("<answer>a</answer>")]);
    assert!(!of.prompt[0].text().contains("quer"), "{:?}", of.prompt);
    let none = Protocol { instructions: Some(String::new()), ..protocol() };
    let (of, ..) = played(&none, vec![says("<answer>a</answer>")]);
    assert_eq!(of.prompt, [Message::new(role::USER, "Who?")]);
    let mut kept = protocol();
    kept.complete();
    assert!(kept.instructions.unwrap().contains("{tools}"));
}

#[test]
fn a_tool_that_takes_no_single_text_is_refused() {
    let two = json!({
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "required": ["a", "b"],
    });
    let number = json!({"properties": {"n": {"type": "integer"}}, "required": ["n"]});
    for (name, parameters, told) in [
        ("add", two, "it requires 2 arguments (a, b)"),
        ("count", number, "its argument 'n' is integer"),
        ("now", json!({"properties": {}}), "it requires no argument"),
        ("a tool", json!({"required": ["q"]}), "its name has characters"),
    ] {
        let spec = ToolSpec::new(name, "", parameters, "1");
        let error = TagForm::of([spec].iter()).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("leave it out of tools"), "{error}");
    }
}

#[test]
fn every_other_action_has_its_count_and_its_rule() {
    let stop = Protocol {
        on_no_action: OnMalformed::Stop,
        on_unreadable: OnMalformed::Stop,
        on_both: OnBoth::Stop,
        ..protocol()
    };
    let mut native = says("<search_query>a</search_query>");
    let call = json!({"name": "search", "arguments": "{}"});
    native.message.tool_calls = vec![serde_json::from_value(call).unwrap()];
    type Of = fn(&Counts) -> u64;
    let table: [(&str, Proposed, Of); 13] = [
        ("no tag", says("I wonder."), |c| c.no_action),
        ("nothing", says(""), |c| c.no_action),
        ("another tag", says("<b>bold</b> <query>a</query>"), |c| c.no_action),
        ("two calls", says("<search_query>a</search_query><math_exp>1</math_exp>"), |c| c.several),
        ("two answers", says("<answer>a</answer><answer>b</answer>"), |c| c.several),
        ("both", says("<search_query>a</search_query> <answer>b</answer>"), |c| c.both),
        ("unclosed", says("<search_query>a"), |c| c.unreadable),
        ("closed by another", says("<search_query>a</answer>"), |c| c.unreadable),
        ("not opened", says("a</answer>"), |c| c.unreadable),
        ("nested", says("<answer><math_exp>1</math_exp></answer>"), |c| c.unreadable),
        ("open reasoning", says("<think><answer>a</answer>"), |c| c.unreadable),
        ("native", native, |c| c.unreadable),
        ("cut", cut("<search_query>a"), |c| c.cut),
    ];
    for (name, bad, count) in table {
        let text = bad.message.text().to_owned();
        let answer = says("<answer>Ada</answer>");
        let (of, counts, made) = played(&protocol(), vec![bad.clone(), answer]);
        let found = (of.status, count(&counts), made.len());
        assert_eq!(found, (Some(Status::Answered), 1, 0), "{name}: {counts:?}");
        assert_eq!(of.steps[0].action.text(), text, "{name}");
        let told = &of.steps[0].observation[0];
        assert!(told.role == role::USER && told.text().contains("one query between"), "{name}");
        assert_eq!(CallForm::of(&of.steps[0]), None, "{name}");
        let (of, counts, _) = played(&stop, vec![bad.clone()]);
        assert_eq!((of.status, count(&counts)), (Some(Status::Error), 1), "{name}");
        assert!(check_form(&bad.message, &protocol()).is_err(), "{name}");
    }
    let both = || says("<search_query>a</search_query> <answer>b</answer>");
    let calls = Protocol { on_both: OnBoth::Call, ..protocol() };
    assert_eq!(played(&calls, vec![both()]).2.len(), 1);
    let answers = Protocol { on_both: OnBoth::Answer, ..protocol() };
    assert_eq!(played(&answers, vec![both()]).0.answer.as_deref(), Some("b"));
    // One that is whole counts, however it ended.
    let (of, counts, _) = played(&protocol(), vec![cut("<answer>Ada</answer> and")]);
    assert_eq!((of.answer.as_deref(), counts.cut), (Some("Ada"), 0));
}

#[test]
fn unknown_tools_repeated_queries_and_the_limit() {
    let ask = |query: &str| says(&format!("<search_query>{query}</search_query>"));
    let (of, counts, made) = played(&protocol(), vec![says("<atlas_query>a</atlas_query>")]);
    assert_eq!((counts.tool_errors, made.as_slice()), (1, &["atlas {\"query\":\"a\"}".into()][..]));
    let told = &of.steps[0].observation[0];
    assert_eq!(
        (told.text(), told.error, told.role.as_str()),
        ("a -> there is no tool 'atlas'", Some(true), role::USER)
    );
    let stops = Protocol { on_tool_error: OnToolError::Stop, ..protocol() };
    let (of, ..) = played(&stops, vec![says("<atlas_query>a</atlas_query>")]);
    assert_eq!(of.status, Some(Status::Error));
    let told = Protocol { on_repeated: OnRepeated::Remind, ..protocol() };
    let (of, counts, made) =
        played(&told, vec![ask("a"), says("Again: <search_query> a\n</search_query>")]);
    assert_eq!((made.len(), counts.repeated), (1, 1));
    assert!(of.steps[1].observation_text().starts_with("a -> This call was made before"));
    let one = Protocol { max_queries: 1, ..protocol() };
    let (of, counts, _) = played(&one, vec![ask("a"), ask("b")]);
    assert_eq!((of.status, counts.limit), (Some(Status::Limit), 1));
    let asks = Protocol { on_limit: OnLimit::Answer, ..one };
    let acts = vec![ask("a"), ask("b"), says("<answer>Ada</answer>")];
    let (of, ..) = played(&asks, acts);
    assert_eq!(of.status, Some(Status::Answered));
    // The call was not made, so what the policy was told is no result of it.
    assert_eq!(of.steps[1].call_results()[0].1, None);
}

#[test]
fn the_form_that_training_checks() {
    let of = |text: &str| check_form(&Message::new(role::ASSISTANT, text), &protocol());
    assert_eq!(of("<search_query>a</search_query>"), Ok(()));
    assert_eq!(of("<answer>a</answer>"), Ok(()));
    assert_eq!(of("a"), Err("no_action"));
    assert_eq!(of("<answer>a"), Err("unreadable"));
    assert_eq!(of("<math_exp>1</math_exp><math_exp>2</math_exp>"), Err("several_calls"));
}

fn asking(server: &ChatOptions, how: StopTags) -> RemotePolicy {
    let client = ChatClient::new(server.clone(), Arc::new(Still::default())).unwrap();
    let policy = RemotePolicy::new(Arc::new(client), "1", Sampling::default()).unwrap();
    policy.stopping_at(tags().closing_tags(), how)
}

#[test]
fn a_tag_that_a_server_keeps_to_itself_is_put_back() {
    let server = Server::with(|request, _| match request.last() {
        "cut" => {
            let message = json!({ "content": "<search_query>a" });
            Reply::json(200, &completion(&message, "length"))
        }
        text => Reply::text(text),
    });
    let options = server.options();
    let cases = [
        ("Look: <search_query>the tower", "</search_query>", true),
        ("<search_query>the tower</search_query>", "", false),
        ("<search_query>a</search_query> <answer>b", "</answer>", true),
        ("<atlas_query>a", "", false),
        ("no tag", "", false),
        ("<think>a <search_query></think> no", "", false),
        ("cut", "", false),
    ];
    let requests: Vec<_> = cases.iter().map(|(text, ..)| asked(text)).collect();
    let cassette = Arc::new(Memory::default());
    let recorder = |mode| {
        Arc::new(Recorder::new(Arc::clone(&cassette) as _, Arc::new(Ticks::default()), mode))
    };
    let policy = asking(&options, StopTags::Restored);
    let mut policy = policy.recorded(recorder(RecordMode::Once), CallKind::Policy);
    let outcomes = act(&mut policy, &requests).unwrap();
    for (at, (text, tag, restored)) in cases.iter().enumerate() {
        let found = outcomes[&at].as_ref().unwrap();
        assert_eq!(found.restored, *restored, "{text}");
        if *text != "cut" {
            assert_eq!(found.message.text(), format!("{text}{tag}"));
            assert_eq!(found.text, found.message.text());
        }
    }
    let body = &server.requests()[0].body;
    assert_eq!(body["stop"], json!(["</search_query>", "</math_exp>", "</answer>"]));
    assert!(body.get("tools").is_none() && body.get("include_stop_str_in_output").is_none());
    // Recordings hold what the server said, and give the same action.
    let replay = asking(&options, StopTags::Restored);
    let mut replay = replay.recorded(recorder(RecordMode::None), CallKind::Policy);
    let again = act(&mut replay, &requests).unwrap();
    for (at, outcome) in &outcomes {
        let (was, is) = (outcome.as_ref().unwrap(), again[at].as_ref().unwrap());
        assert_eq!((&was.message, was.restored), (&is.message, is.restored));
    }
    assert!(cassette.all().iter().any(|kept| kept.output.text.ends_with("the tower")));

    // Nothing is put back that the server was not asked to stop at, or was asked to return.
    for (how, stops, returns) in
        [(StopTags::Included, true, Some(true)), (StopTags::None, false, None)]
    {
        let server = Server::with(|request, _| Reply::text(request.last()));
        let outcomes = act(&mut asking(&server.options(), how), &requests[..1]).unwrap();
        let found = outcomes[&0].as_ref().unwrap();
        assert_eq!((found.message.text(), found.restored), (cases[0].0, false));
        let body = &server.requests()[0].body;
        assert_eq!(body.get("stop").is_some(), stops);
        assert_eq!(body["include_stop_str_in_output"].as_bool(), returns);
    }
}

#[test]
fn what_is_put_back_is_counted() {
    let restored = Proposed { restored: true, ..says("<search_query>a</search_query>") };
    let (of, counts, _) = played(&protocol(), vec![restored, says("<answer>a</answer>")]);
    assert_eq!((counts.restored, counts.actions, of.steps.len()), (1, 2, 2));
    // Counts of a time before it are still read.
    let earlier: Counts = serde_json::from_value(json!({"episodes": 3, "calls": 1})).unwrap();
    assert_eq!(earlier, Counts { episodes: 3, calls: 1, ..Counts::default() });
}

#[test]
fn a_stored_action_is_printed_once_and_to_the_letter() {
    let texts = [
        "First.\n<search_query> a & b </search_query>\n",
        "<math_exp>1 < 2</math_exp>",
        "  <answer>24</answer>  ",
        "<search_query>what is <\\think>?</search_query>",
    ];
    let (of, ..) = played(&protocol(), vec![says(texts[0]), says(texts[1]), says(texts[2])]);
    let vocabulary = Vocabulary {
        control_tokens: vec!["<|im_start|>".to_owned(), "<|im_end|>".to_owned()],
        ..Vocabulary::default()
    };
    let template = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}{% for \
                    c in m.tool_calls %}{{ c.function.name }}{% endfor %}{{ '<|im_end|>\\n' }}{% \
                    endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% \
                    endif %}";
    let renderers = [
        Renderer::of_tags(&vocabulary).unwrap(),
        Renderer::of_template(Some(template), &vocabulary).unwrap(),
    ];
    for renderer in &renderers {
        let rendered = renderer.trajectory(&of, &[1, 2, 3]).unwrap();
        assert_eq!(rendered.sequences.len(), 1);
        let sequence = &rendered.sequences[0];
        for (step, text) in (1..).zip(&texts[..3]) {
            let own = sequence.segments.iter().filter(|piece| piece.step == Some(step));
            let own: String = own.map(|piece| piece.text.as_str()).collect();
            assert_eq!(own, format!("{text}<|im_end|>"), "{}", renderer.name());
            // What the policy wrote is read as what is stored.
            let read = renderer.parse_action(text).unwrap();
            assert_eq!(read, Action::of(&of.steps[step as usize - 1].action).unwrap());
        }
        let state = renderer.state(&of.state(2), None).unwrap().text();
        assert_eq!(state.matches("a & b").count(), 2, "the call and its result: {state}");
    }
    // Tags of the renderer's own form are escaped around ours, which stay.
    let read = renderers[0].parse_action(texts[3]).unwrap();
    assert_eq!(read.content.as_deref(), Some("<search_query>what is <think>?</search_query>"));
    assert_eq!(read.print(), texts[3]);
    // A server is sent the text alone.
    let sent = messages_json(&of.transcript().cloned().collect::<Vec<_>>(), false);
    assert_eq!(sent[2], json!({"role": "assistant", "content": texts[0]}));
    assert_eq!(sent[3], json!({"role": "user", "content": "a & b -> a result"}));
    assert!(!sent.to_string().contains("tool_calls"));
}
