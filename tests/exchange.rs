//! Reading and writing foreign formats: goldens, bad records, damage, threads, memory.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use swirldb::exchange::{
    BadRecord, ChatWriter, ExchangeError, Format, Imported, LabelPlace, Place, ReadOptions, Record,
    create, open,
};
use swirldb::model::{Message, Target, Trajectory};

/// Everything a file yields.
#[derive(Debug, Default)]
pub struct Read {
    pub records: Vec<Record>,
    pub bad: Vec<BadRecord>,
    pub error: Option<ExchangeError>,
}

impl Read {
    pub fn of(path: &Path, options: &ReadOptions) -> Read {
        let mut read = Read::default();
        match open(path, options) {
            Err(error) => read.error = Some(error),
            Ok(reader) => {
                for batch in reader {
                    match batch {
                        Err(error) => read.error = Some(error),
                        Ok(batch) => batch.records.into_iter().for_each(|result| match result {
                            Ok(record) => read.records.push(record),
                            Err(bad) => read.bad.push(bad),
                        }),
                    }
                }
            }
        }
        read
    }

    pub fn trajectories(&self) -> Vec<&Imported> {
        let mut trajectories: Vec<&Imported> = Vec::new();
        for record in &self.records {
            if let Record::Trajectory(imported) = record {
                trajectories.push(imported);
            }
        }
        trajectories
    }

    pub fn ids(&self) -> Vec<&str> {
        self.trajectories().iter().map(|imported| imported.trajectory.id.as_str()).collect()
    }
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

pub fn read(name: &str) -> Read {
    Read::of(&fixture(name), &ReadOptions::default())
}

/// Writes `bytes` to a file of this name in a directory of its own and reads it.
pub fn read_bytes(name: &str, bytes: &[u8], options: &ReadOptions) -> Read {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Read::of(&path, options)
}

/// Draws a trajectory for people: one line a message.
fn sketch(imported: &Imported) -> String {
    let Trajectory { source, id, prompt, steps, .. } = &imported.trajectory;
    let mut out = format!("{} [{source}] [{id}]\n", imported.place);
    let said = described(&imported.trajectory);
    if !said.is_empty() {
        let _ = writeln!(out, "   {said}");
    }
    for message in prompt {
        let _ = writeln!(out, "   {}", line(message));
    }
    for (step, number) in steps.iter().zip(1..) {
        let _ = writeln!(out, "{number}: {}", line(&step.action));
        for call in &step.action.tool_calls {
            let id = call.id.as_deref().unwrap_or("-");
            let _ = writeln!(out, "   call {id} {}({})", call.name, call.arguments);
        }
        for message in &step.observation {
            let _ = writeln!(out, "   {}", line(message));
        }
    }
    for label in &imported.labels {
        let place = match &label.target {
            Target::Trajectory => "all".to_owned(),
            Target::Step(step) => format!("step {step}"),
            Target::Sample { .. } => "sample".to_owned(),
        };
        let raw = label.raw.as_deref().unwrap_or("-");
        let (name, judge, value) = (&label.name, &label.judge, label.value);
        let _ = writeln!(out, "   label {place}: {name}@{judge} = {value} ({raw})");
    }
    for judge in &imported.judges {
        let _ = writeln!(out, "   judge {} ({})", judge.name, judge.kind.as_str());
    }
    out
}

/// Draws what a trajectory says besides its messages.
fn described(t: &Trajectory) -> String {
    let mut words = Vec::new();
    let mut say = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{name}={value}")));
    };
    say("split", t.split.clone());
    say("question_id", t.question_id.clone());
    say("question", t.question.clone());
    say("gold", (!t.gold.is_empty()).then(|| t.gold.join("|")));
    say("answer", t.answer.clone());
    say("status", t.status.map(|status| status.as_str().to_owned()));
    say("model", t.model.clone());
    say("sample_index", t.sample_index.map(|n| n.to_string()));
    say("run_id", t.run_id.clone());
    say("round", t.round.map(|n| n.to_string()));
    say("created_at", t.created_at.map(|n| n.to_string()));
    say("tools", t.tools.as_ref().map(|json| json.as_str().to_owned()));
    say("meta", t.meta.as_ref().map(|json| json.as_str().to_owned()));
    words.join("\n   ")
}

fn line(message: &Message) -> String {
    let mut out = message.role.clone();
    if let Some(name) = &message.name {
        let _ = write!(out, " {name}");
    }
    if let Some(id) = &message.tool_call_id {
        let _ = write!(out, " <{id}>");
    }
    if let Some(error) = message.error {
        let _ = write!(out, " error={error}");
    }
    if let Some(reasoning) = &message.reasoning {
        let _ = write!(out, " ({reasoning})");
    }
    match &message.content {
        Some(content) => {
            let _ = write!(out, ": {content:?}");
        }
        None => out.push_str(": null"),
    }
    if let Some(parts) = &message.parts {
        let _ = write!(out, "\n   parts {}", parts.as_str());
    }
    out
}

/// Compares the sketches of a file's trajectories with what is expected, by eye readable.
#[track_caller]
pub fn assert_sketch(read: &Read, expected: &str) {
    assert_eq!(read.bad, Vec::new());
    assert!(read.error.is_none(), "{:?}", read.error);
    let found: Vec<String> = read.trajectories().into_iter().map(sketch).collect();
    assert_eq!(found.join("\n"), expected.trim_start_matches('\n'));
}

const TRAPS: &str = r#"
line 1 [shop] [openai]
   split=train
   question_id=17
   question=Is the blue kettle in stock?
   gold=yes
   answer=Yes, 3 left.
   status=answered
   model=m-1
   sample_index=2
   run_id=r9
   round=0
   created_at=1738551906500000
   tools=[{"type": "function", "function": {"name": "stock"}}]
   meta={"price":12345678901234567890.10,"nested":{"b": 1, "a": [1e400]}}
   developer: "Be brief."
   user: "Is the blue kettle in stock?"
1: assistant: null
   call a stock({"item": "kettle"})
   call b stock()
   tool <b> error=true: "no item given"
   tool <a>: "3"
2: assistant: "Yes, 3 left."
   label all: reward@source = 0.25 (-)
   judge source (source)

line 2 [traps] [trl]
   gold=4|4.0
   answer=4
   tools=[{"name": "calculator"}]
   user: "2 + 2?"
1: assistant: ""
   call - calculator({"expression": "2 + 2", "digits": 1.50})
   tool calculator: "4.0"
2: assistant: "<think>Easy.</think>\n4"

line 3 [traps] []
   user: "Hello?"
1: assistant: "Hello."
2: assistant: "Still there?"
   user: "Bye."

line 4 [traps] [4]
   gold=Oslo
   user: "1 + 1?"
   assistant: "2"
   user: "Where?"
1: assistant: ""
   call c1 look({"q":1})
   tool: "{'city': 'Oslo'}"
2: assistant: "Oslo"
   label all: reward@source = -1.5 (-)
   judge source (source)

line 5 [traps] [parts]
   meta={"status":"done"}
   user: "What is\nthis?"
   parts [{"type": "text", "text": "What is"},{"type": "image"},"this?"]
1: assistant (A cat?): "Let me see."
   parts [{"type": "thinking", "thinking": "A cat?"},{"type": "text", "text": "Let me see."}]
   call - see(not json)
   tool see: "a cat"
2: assistant: "A cat."
   parts ["A cat.",{"type": "tool_use", "id": "t", "name": "purr", "input": {"n": 2}}]
   call t purr({"n": 2})

line 6 [elsewhere] [roles]
   gold=a|b
   meta={"message_fields":{"5":{"weight":0}}}
   user: "Go."
1: assistant (one): "1"
   tool: "ok"
2: assistant (two): "2"
   tool t <z> error=false: "ko"
3: assistant (three): "3"
   narrator: "End."
"#;

#[test]
fn chat_traps_are_read_as_they_are_meant() {
    let read = read("chat/traps.jsonl");
    assert_sketch(&read, TRAPS);
}

#[test]
fn crlf_blank_lines_and_a_byte_order_mark_do_no_harm() {
    let read = read("chat/crlf.jsonl");
    assert_sketch(
        &read,
        r#"
line 1 [crlf] [1]
   user: "a"
1: assistant: "b"

line 4 [crlf] [2]
   user: "\0 𠀀"
1: assistant: "d"
"#,
    );
}

#[test]
fn agentprocess_labels_become_labels_of_steps() {
    let read = read("agentprocess/trajectories.jsonl");
    assert_sketch(
        &read,
        r#"
line 1 [villages] [villages:3:0]
   question_id=villages:3
   question=Who built the mill?
   gold=Orm
   answer=Orm
   status=answered
   sample_index=0
   tools=[]
   meta={"total_index":0,"query_index":3,"tool_metrics":{"search": [{"topk": 3}]}}
   system: "Help."
   user: "Who built the mill?"
1: assistant: ""
   call 1 search({"query_list": ["mill"]})
   tool search <1>: "{\"result\": []}"
2: assistant: "Perhaps Orm."
3: assistant: "Orm"
   label step 1: process@human = 1 (1)
   label step 2: process@human = 0.5 (0)
   label step 3: process@human = 0 (-1)
   label all: outcome@human = 1 (1)
   judge human (human)

line 2 [villages] [villages:3:1]
   question_id=villages:3
   question=Who built the mill?
   gold=Orm
   sample_index=1
   meta={"total_index":1,"query_index":3}
   user: "Who built the mill?"
1: assistant: "I do not know."
   label step 1: process@human = 0 (-1)
   label all: outcome@human = 0 (-1)
   judge human (human)
"#,
    );
}

#[test]
fn a_judges_file_yields_labels_of_trajectories_elsewhere() {
    let labels = read("agentprocess/judge.jsonl");
    let trajectories = read("agentprocess/trajectories.jsonl");
    let [Record::Labels(first), Record::Labels(second)] = labels.records.as_slice() else {
        panic!("{labels:?}");
    };
    assert_eq!(first.source.as_deref(), Some("villages"));
    assert_eq!((first.id.as_str(), first.place), ("villages:3:0", Place::Line(1)));
    assert_eq!(
        (first.judges[0].name.as_str(), first.judges[0].kind.as_str()),
        ("judge-x", "model")
    );
    let places: Vec<LabelPlace> = first.labels.iter().map(|label| label.target).collect();
    let at = LabelPlace::Message;
    assert_eq!(places, [at(2), at(4), at(5), LabelPlace::Trajectory]);
    assert_eq!(first.labels[0].rationale.as_deref(), Some("A fitting query."));
    assert_eq!(first.labels[1].rationale, None);
    assert_eq!(first.labels[3].rationale.as_deref(), Some("The name is right."));
    assert_eq!((second.judges[0].kind.as_str(), second.labels.len()), ("human", 1));

    let trajectory = &trajectories.trajectories()[0].trajectory;
    assert_eq!(first.labels[2].clone().resolve(trajectory).unwrap().target, Target::Step(3));
    let mut other = first.labels[0].clone();
    other.target = LabelPlace::Message(3);
    assert_eq!(
        other.clone().resolve(trajectory).unwrap_err(),
        "message 3 is no action but a tool message; expected the index of a generated assistant \
         message, counted from 0"
    );
    other.target = LabelPlace::Step(4);
    assert_eq!(other.resolve(trajectory).unwrap_err(), "found a label of step 4; expected 1 to 3");
}

#[test]
fn taubench_is_read_element_by_element() {
    let read = read("taubench/results.json");
    assert_sketch(
        &read,
        r#"
entry 0 [results] [0:0]
   question_id=0
   question=Cancel X1.
   gold=42
   sample_index=0
   meta={"info":{"task":{"instruction":"Cancel X1.","outputs":["42"]},"reward_info":null}}
   system: "Policy ] with [ brackets } and \"quotes\" \\"
   user: "Cancel X1."
1: assistant: null
   call c cancel({"id": "X1"})
   tool cancel <c>: "{}"
2: assistant: "Done."
   user: "STOP"
   label all: reward@source = 1 (-)
   judge source (source)

entry 1 [results] [air:0:1]
   question_id=air:0
   question=Cancel X1.
   sample_index=1
   meta={"info":{"domain":"air","task":{"instruction":"Cancel X1.","outputs":[]}}}
   user: "Cancel X1."
1: assistant: "No."
   label all: reward@source = 0 (-)
   judge source (source)
"#,
    );
}

#[test]
fn options_override_source_and_split() {
    let options = ReadOptions {
        source: Some("mine".to_owned()),
        split: Some("dev".to_owned()),
        ..ReadOptions::default()
    };
    let read = Read::of(&fixture("chat/traps.jsonl"), &options);
    for imported in read.trajectories() {
        assert_eq!(imported.trajectory.source, "mine");
        assert_eq!(imported.trajectory.split.as_deref(), Some("dev"));
    }
    // What the record says is kept.
    let meta = read.trajectories()[5].trajectory.meta.as_ref().unwrap().as_str();
    assert_eq!(meta, r#"{"data_source":"elsewhere","message_fields":{"5":{"weight":0}}}"#);
}

/// The trajectories of a file, written as chat JSONL and read again.
fn through_chat(name: &str) -> (Read, Read, usize) {
    let before = read(name);
    let mut writer = ChatWriter::new(Vec::new());
    let mut left_out = 0;
    for imported in before.trajectories() {
        left_out += writer.write(&imported.trajectory, &imported.labels).unwrap();
    }
    let bytes = writer.finish().unwrap();
    let after = read_bytes("again.jsonl", &bytes, &ReadOptions::default());
    (before, after, left_out)
}

#[test]
fn chat_that_is_written_reads_back_the_same() {
    for name in [
        "chat/traps.jsonl",
        "agentprocess/trajectories.jsonl",
        "taubench/results.json",
        "world/trajectories.jsonl",
    ] {
        let (before, after, left_out) = through_chat(name);
        assert_eq!((after.bad.len(), left_out), (0, 0), "{name}: {:?}", after.bad);
        for (a, b) in before.trajectories().into_iter().zip(after.trajectories()) {
            assert_eq!(a.trajectory, b.trajectory, "{name}");
            let key = |label: &swirldb::model::Label| format!("{label:?}").replace("Some", "");
            let sorted = |labels: &[swirldb::model::Label]| {
                let mut keys: Vec<String> = labels.iter().map(key).collect();
                keys.sort();
                keys
            };
            assert_eq!(sorted(&a.labels), sorted(&b.labels), "{name}");
        }
        assert_eq!(before.records.len(), after.records.len());
    }
}

#[test]
fn a_file_is_created_compressed_as_its_name_says() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read(fixture("chat/traps.jsonl")).unwrap();
    for (name, magic) in
        [("a.jsonl", &b"{"[..]), ("a.jsonl.gz", b"\x1f\x8b"), ("a.zst", b"\x28\xb5")]
    {
        let path = dir.path().join(name);
        let mut file = create(&path).unwrap();
        file.write_all(&text).unwrap();
        file.finish().unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(magic), "{name}");
        let read = Read::of(&path, &ReadOptions::default());
        assert_eq!(read.ids(), ["openai", "trl", "", "4", "parts", "roles"], "{name}");
        assert_eq!(read.trajectories()[1].trajectory.source, "a", "{name}");
    }
}

#[test]
fn formats_have_words() {
    for format in Format::ALL {
        assert_eq!(Format::parse(format.as_str()), Some(format));
    }
    assert_eq!(Format::parse("parquet"), None);
    let names = ["chat", "agentprocess", "taubench", "r1searcher", "verifiers", "steps", "swirl"];
    assert_eq!(Format::names(), names);
}

#[test]
fn prompt_and_completion_may_be_texts() {
    let read = read_bytes("x.jsonl", br#"{"prompt": "2 + 2?", "completion": "4"}"#, &plain());
    assert_sketch(
        &read,
        r#"
line 1 [x] []
   user: "2 + 2?"
1: assistant: "4"
"#,
    );
}

fn plain() -> ReadOptions {
    ReadOptions { format: Some(Format::Chat), ..ReadOptions::default() }
}

#[test]
fn times_are_microseconds_or_rfc_3339() {
    let second = 1_000_000;
    let cases = [
        ("17", Some(17)),
        ("-17", Some(-17)),
        (r#""1970-01-01T00:00:00Z""#, Some(0)),
        (r#""1969-12-31 23:59:59.999999z""#, Some(-1)),
        (r#""2000-02-29t12:00:00+00:00""#, Some(951_825_600 * second)),
        (r#""2000-02-29T12:00:00-05:30""#, Some((951_825_600 + 19_800) * second)),
        (r#""2026-07-31T23:59:60.1234567Z""#, Some(1_785_542_400 * second + 123_456)),
        (r#""1900-02-29T12:00:00Z""#, None),
        (r#""2025-13-01T12:00:00Z""#, None),
        (r#""2025-01-01T24:00:00Z""#, None),
        (r#""2025-01-01T12:00:00""#, None),
        (r#""2025-01-01T12:00:00.Z""#, None),
        (r#""2025-01-01""#, None),
        (r#""2025-01-01T12:00:00Zé""#, None),
        ("1.5", None),
        ("true", None),
    ];
    for (text, expected) in cases {
        let line = format!(
            "{{\"created_at\":{text},\"messages\":[{{\"role\":\"user\",\"content\":\"\"}}]}}"
        );
        let read = read_bytes("x.jsonl", line.as_bytes(), &plain());
        match (read.records.first(), read.bad.first()) {
            (Some(Record::Trajectory(found)), None) => {
                assert_eq!(found.trajectory.created_at, expected, "{text}");
            }
            (None, Some(bad)) => {
                assert_eq!((bad.field.as_deref(), expected), (Some("created_at"), None), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}
