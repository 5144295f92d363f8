//! GENERATE, RESAMPLE, TRAIN and studies where actions call tools by tags.

use std::path::Path;

use serde_json::json;
use swirldb::codec::{BodyPlacer, HeaderRecord, Record, StepRecord, TableId};
use swirldb::exchange::{ChatWriter, NativeWriter, ReadOptions};
use swirldb::model::{ContextItem, Message, Step, ToolCall, Trajectory, role};
use swirldb::session::{Outcome, Session, Study};
use swirldb::synth::{self, ActionForm, Shape, StudyOptions, SynthOptions};

use crate::chat::server::{Reply, Server};
use crate::exchange::read_bytes;
use crate::rollouts::{judged, rolled, small_model};
use crate::session::{OPTIONS, load, mistake, number, run, table};

const WORLD: &str = "questions=30, held_out=20";

/// Writes the demonstrator's trajectories with actions by tags.
fn demonstrations(folder: &Path) -> std::path::PathBuf {
    let study = StudyOptions {
        questions: 30,
        held_out: 20,
        samples: 1,
        noise_permille: 0,
        form: ActionForm::Tags,
        ..StudyOptions::default()
    };
    let mut lines = Vec::new();
    let options = SynthOptions { shape: Shape::Study, study, ..SynthOptions::default() };
    synth::write(&options, &mut lines).unwrap();
    let path = folder.join("study.jsonl");
    std::fs::write(&path, lines).unwrap();
    path
}

fn stored(session: &Session, source: &str) -> Vec<Trajectory> {
    let view = session.database().view();
    let all: Vec<u64> = (0..view.rows(TableId::Trajectories)).collect();
    let trajectories = view.trajectories(&all).unwrap();
    trajectories.into_iter().filter(|of| of.source == source).collect()
}

/// A calculation, then its result as the answer; the server keeps the closing tags.
fn calculating() -> Server {
    Server::with(|request, _| match request.body["messages"].as_array().unwrap().len() {
        2 => Reply::text("Half of it.\n<math_exp> 48 / 2 "),
        _ => Reply::text("<answer>24"),
    })
}

fn asked_of(server: &Server, questions: &Path, options: &str) -> String {
    format!(
        "GENERATE WITH (model = 'tiny-1', base_url = '{}', questions = '{}', tools = 'calculator', \
         {options}) AS g",
        server.base_url(),
        questions.display()
    )
}

#[test]
fn a_server_calls_tools_by_tags() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    let questions = folder.path().join("q.jsonl");
    let line = json!({"id": "q1", "question": "Half of 48?", "answer": "24"});
    std::fs::write(&questions, format!("{line}\n")).unwrap();
    let server = calculating();
    let summary = rolled(&session, &asked_of(&server, &questions, "action_form = 'tags'"));
    let counts = summary.counts;
    assert_eq!((counts.answered, counts.calls, counts.restored), (1, 1, 2));
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    let body = &requests[1].body;
    assert!(body.get("tools").is_none(), "{body}");
    assert_eq!(body["stop"], json!(["</math_exp>", "</answer>"]));
    let messages = &body["messages"];
    let told = messages[0]["content"].as_str().unwrap();
    assert!(told.contains("<math_exp>...</math_exp> calculator: "), "{told}");
    let action = "Half of it.\n<math_exp> 48 / 2 </math_exp>";
    assert_eq!(messages[2], json!({"role": "assistant", "content": action}));
    assert_eq!(messages[3], json!({"role": "user", "content": "48 / 2 -> 24.0"}));
    let steps = table(
        &session,
        "FROM steps |> WHERE run_id = 'g' |> ORDER BY step |> SELECT tool, tools, n_calls, \
         arguments, observation, observation_error, action_chars",
    );
    let first =
        "| calculator | [calculator] | 1 | {\"expression\":\"48 / 2\"} | 48 / 2 -> 24.0 | false |";
    assert!(
        steps.replace("  ", " ").contains(first) || squeezed(&steps).contains(first),
        "{steps}"
    );
    assert_eq!(
        number(&session, "FROM steps |> WHERE step = 1 |> SELECT action_chars"),
        action.len() as f64
    );
    let calls = squeezed(&table(&session, "FROM tool_calls |> SELECT tool, output, error"));
    assert!(calls.contains("| calculator | 48 / 2 -> 24.0 | false |"), "{calls}");
    // What is stored is what was said, and export and import keep it.
    let [of] = &stored(&session, "g")[..] else { panic!("one trajectory") };
    assert_eq!((of.steps[0].action.text(), of.answer.as_deref()), (action, Some("24")));
    assert!(of.steps[0].action.calls_in_content && of.tools.is_none());
    resampled(&session, &server);
    refused(&session, &server, &questions);
}

/// Returns a table with one space where there are several.
fn squeezed(table: &str) -> String {
    table.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn resampled(session: &Session, server: &Server) {
    let text = |options: &str| {
        format!(
            "FROM steps |> WHERE run_id = 'g' |> RESAMPLE WITH (model = 'tiny-1', base_url = '{}', \
             n = 1{options}) AS s",
            server.base_url()
        )
    };
    let outcome = run(session, &text(", action_form = 'tags', tools = 'calculator'")).0;
    let Outcome::Resampled(summary) = outcome else { panic!("{outcome:?}") };
    assert_eq!((summary.states, summary.samples, summary.malformed), (2, 2, 0));
    let samples = squeezed(&table(
        session,
        "FROM samples |> WHERE run_id = 's' |> ORDER BY step |> SELECT tool, action",
    ));
    assert!(samples.contains("| calculator | Half of it."), "{samples}");
    for (options, told) in [
        (", action_form = 'tags'", "which tools? tools = 'search,calculator'"),
        (", tools = 'calculator'", "there is none that does: drop it"),
        ("", "is written with action_form = 'tags', and 'calls' is asked for"),
    ] {
        let error = mistake(session, &text(options).replace("AS s", "AS other"));
        assert!(error.contains(told), "{told}\n{error}");
    }
}

fn refused(session: &Session, server: &Server, questions: &Path) {
    for (options, told) in [
        ("stop_tags = 'none'", "stop_tags: it is for action_form = 'tags'"),
        ("action_form = 'tag'", "unknown variant `tag`, expected `calls` or `tags`"),
        ("action_form = 'tags', stop_tag = 'none'", "did you mean 'stop_tags'"),
    ] {
        let error = mistake(session, &asked_of(server, questions, options));
        assert!(error.contains(told), "{told}\n{error}");
    }
    let local = format!(
        "GENERATE WITH (model = 'm', questions = '{}', tools = 'none', action_form = 'tags', \
         stop_tags = 'included') AS l",
        questions.display()
    );
    let error = mistake(session, &local);
    assert!(error.contains("a model of this process ends its turn itself"), "{error}");
}

#[test]
fn a_server_that_is_not_asked_to_stop_closes_its_tags_itself() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    let questions = folder.path().join("q.jsonl");
    std::fs::write(
        &questions,
        "{\"id\": \"q1\", \"question\": \"Half of 48?\", \"answer\": \"24\"}\n",
    )
    .unwrap();
    let server = calculating();
    let options = "action_form = 'tags', stop_tags = 'none', max_reminders = 0";
    let summary = rolled(&session, &asked_of(&server, &questions, options));
    assert_eq!((summary.counts.unreadable, summary.counts.restored), (1, 0));
    assert!(server.requests()[0].body.get("stop").is_none());
    let [of] = &stored(&session, "g")[..] else { panic!("one trajectory") };
    assert_eq!(of.steps[0].action.text(), "Half of it.\n<math_exp> 48 / 2 ");
}

#[test]
fn the_demonstrator_writes_tags_that_columns_and_judges_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = demonstrations(folder.path());
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    load(&session, &path, Some("shown"));
    let all = number(&session, "FROM steps |> AGGREGATE count(*)");
    let calls = "FROM steps |> WHERE tool IS NOT NULL AND n_calls = 1 \
                 AND observation_error = false AND action LIKE '<%>' |> AGGREGATE count(*)";
    let answers = "FROM steps |> WHERE tool IS NULL |> AGGREGATE count(*)";
    assert_eq!(number(&session, calls) + number(&session, answers), all);
    assert!(number(&session, calls) > number(&session, answers));
    let text = format!("FROM steps |> JUDGE AS process WITH (judge = 'world', world = '{WORLD}')");
    judged(&session, &text);
    let bad = "FROM steps |> WHERE \"process@world\" < .5 |> AGGREGATE count(*)";
    assert_eq!(number(&session, bad), 0.0, "a call is not seen twice");
    let repeated = judged(&session, "FROM steps |> JUDGE AS fresh WITH (judge = 'not_repeated')");
    assert_eq!(repeated.added as f64, number(&session, calls));
    // Chat JSONL and our own carry where calls are written.
    let kept = stored(&session, "shown");
    let (mut chat, mut native) = (ChatWriter::new(Vec::new()), NativeWriter::new(Vec::new()));
    for of in &kept {
        chat.write(of, &[]).unwrap();
        native.write_trajectory(of, &[]).unwrap();
    }
    for bytes in [chat.finish().unwrap(), native.finish().unwrap()] {
        let read = read_bytes("x.jsonl", &bytes, &ReadOptions::default());
        let messages = |of: &Trajectory| of.transcript().cloned().collect::<Vec<_>>();
        assert_eq!(read.trajectories().len(), kept.len());
        for (read, kept) in read.trajectories().into_iter().zip(&kept) {
            assert_eq!(messages(&read.trajectory), messages(kept));
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("calls_in_content"));
    }
    let both = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b",
        "tool_calls":[{"function":{"name":"f"}}],
        "calls_in_content":[{"function":{"name":"f"}}]}]}"#;
    let read = read_bytes("x.jsonl", both.replace('\n', "").as_bytes(), &ReadOptions::default());
    let told = format!("{:?}", read.bad);
    assert!(told.contains("expected those of a message in one place"), "{told}");
}

#[test]
fn records_say_where_calls_are_written() {
    let called = |in_content| Message {
        tool_calls: vec![ToolCall { id: None, name: "search".into(), arguments: "{}".into() }],
        calls_in_content: in_content,
        ..Message::new(role::ASSISTANT, "<search_query>a</search_query>")
    };
    let step = |marks: [bool; 3]| Step {
        action: called(marks[0]),
        observation: vec![Message::new(role::USER, "a"), called(marks[1])],
        context: Some(vec![
            ContextItem::Kept { from: 0, to: 1 },
            ContextItem::Replaced(called(marks[2])),
        ]),
        ..Step::default()
    };
    let cases = [[false; 3], [true, false, false], [false, true, true], [true; 3]];
    for marks in cases {
        let step = step(marks);
        let bytes = StepRecord::new(&step, &mut BodyPlacer::new(&[])).encode();
        // What needs no mark is written as it always was.
        assert_eq!(bytes[0], if marks == [false; 3] { 1 } else { 2 });
        let read = StepRecord::decode(&bytes).unwrap().into_step(&|_| None).unwrap();
        assert_eq!(read, step);
        for cut in 1..bytes.len() {
            assert!(StepRecord::decode(&bytes[..cut]).is_err(), "{cut} of {}", bytes.len());
        }
        let of =
            Trajectory { prompt: vec![called(marks[0]), called(marks[1])], ..Default::default() };
        let bytes = HeaderRecord::new(&of, 0, &mut BodyPlacer::new(&[])).encode();
        assert_eq!(bytes[0], if marks[0] || marks[1] { 2 } else { 1 });
        let read = HeaderRecord::decode(&bytes).unwrap().into_trajectory(&|_| None).unwrap();
        assert_eq!(read, of);
    }
}

#[test]
fn a_policy_of_this_process_is_trained_on_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    load(&session, &demonstrations(folder.path()), Some("shown"));
    let model = small_model(&session, folder.path());
    // Learnt by heart: enough for whole tags.
    let learn = format!(
        "FROM steps |> WHERE source = 'shown' AND split = 'train' |> SAMPLE 2 TRAJECTORIES SEED 1 \
         |> TRAIN WITH (model = '{}', full = true, max_steps = 120, learning_rate = 0.01, \
         tokens_per_step = 1500) AS learnt",
        model.display()
    );
    run(&session, &learn);
    let summary = rolled(
        &session,
        &format!(
            "GENERATE WITH (model = 'run:learnt', world = '{WORLD}', split = 'train', n = 1, \
             action_form = 'tags', temperature = 0, max_new_tokens = 24, limit = 12) AS played"
        ),
    );
    assert!(summary.counts.calls > 0, "{:?}", summary.counts);
    let called = "FROM steps |> WHERE run_id = 'played' AND tool IS NOT NULL AND n_calls = 1 AND \
                  observation LIKE '% -> %' |> AGGREGATE count(*)";
    assert!(
        number(&session, called) >= summary.counts.calls as f64 - summary.counts.repeated as f64
    );
    // Every action that ended is trained on with the tokens that were sampled.
    let whole = "FROM steps |> WHERE run_id = 'played' AND finish_reason = 'stop'";
    let actions = number(&session, &format!("{whole} |> AGGREGATE count(*)"));
    let train = |options: &str, name: &str| {
        format!(
            "{whole} |> TRAIN WITH (model = 'run:learnt', full = true, max_steps = 1, \
             tokens_per_step = 400{options}) AS {name}"
        )
    };
    let Outcome::Trained(summary) = run(&session, &train("", "again")).0 else {
        panic!("not trained")
    };
    assert!(actions > 0.0);
    assert_eq!(summary.plan.stored_tokens as f64, actions);
    let judge = format!(
        ", objective = 'swirl', judge = 'world', judge.world = '{WORLD}', num_generations = 2, \
         max_completion_length = 24"
    );
    let error = mistake(&session, &train(&judge, "s"));
    assert!(error.contains("action_form = 'tags', and 'calls' is asked for"), "{error}");
    let error = mistake(&session, &train(", action_form = 'tags'", "s"));
    assert!(error.contains("'action_form' has no effect on objective 'sft'"), "{error}");
    run(&session, &train(&format!("{judge}, action_form = 'tags'"), "s"));
    let good = "FROM samples |> WHERE run_id = 's' AND malformed IS NULL \
                AND verdict IS NOT NULL AND action LIKE '%_query>' |> AGGREGATE count(*)";
    assert!(
        number(&session, good) > 0.0,
        "{}",
        table(&session, "FROM samples |> SELECT action, malformed")
    );
}

#[test]
fn a_study_is_written_in_one_form() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
name = "small"
world = "questions=30, held_out=20"
action_form = "tags"
demonstrations = 1
filters = ["none"]
sizes = [1]
seeds = [1]
report = "small"
model = {path = "m", hidden_size = 32}
warm_start = {full = true, max_steps = 2}
generate = {n = 2}
judge = {judge = "world", flipped = 0.2}
evaluation_judge = {judge = "world"}
objectives.sft = {full = true}
objectives.swirl = {objective = "swirl", num_generations = 2}
"#;
    let path = folder.path().join("study.toml");
    std::fs::write(&path, text).unwrap();
    let study = Study::read(&path).unwrap();
    let plan = study.plan();
    assert!(plan.contains("as 'small/demonstrator', actions by tags"), "{plan}");
    let statements: Vec<&str> = plan.split(";\n").collect();
    for statement in statements {
        let is_acting = ["GENERATE ", "EVALUATE ", "'swirl'"].iter().any(|w| statement.contains(w));
        assert_eq!(statement.contains("action_form = 'tags'"), is_acting, "{statement}");
    }
    // The demonstrations are in that form too.
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    let _stopped = study.carry_out(&session, &mut |doing| match doing.number {
        1 => Ok(()),
        _ => Err(swirldb::session::SessionError::Cancelled),
    });
    let tagged = "FROM steps |> WHERE tool = 'search' AND action LIKE '<search_query>%' \
                  |> AGGREGATE count(*)";
    assert!(number(&session, tagged) > 0.0);
    std::fs::write(
        &path,
        text.replace("generate = {n = 2}", "generate = {action_form = \"tags\"}"),
    )
    .unwrap();
    let Err(error) = Study::read(&path) else { panic!("it is set twice") };
    assert!(
        error.render().contains("generate.action_form: the study sets it"),
        "{}",
        error.render()
    );
}
