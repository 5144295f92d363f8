//! Recording: keys, modes, state, errors, threads, and the lines they are written in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use swirldb::tools::{
    Call, CallKey, CallKind, Played, RecordError, RecordMode, RecordedTool, Recorder, Recording,
    Tool, ToolOutput, ToolSpec, parse_recording, read_recordings, write_recording,
};

use super::memory::{Memory, Ticks};

/// A tool that counts its calls and answers with the count.
struct Counter {
    spec: ToolSpec,
    calls: Arc<AtomicUsize>,
}

impl Counter {
    fn new(version: &str, has_state: bool) -> (Counter, Arc<AtomicUsize>) {
        let mut spec = ToolSpec::new("counter", "Counts.", json!({ "type": "object" }), version);
        spec.has_state = has_state;
        let calls = Arc::new(AtomicUsize::new(0));
        (Counter { spec, calls: Arc::clone(&calls) }, calls)
    }
}

impl Tool for Counter {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call(&self, arguments: &Value, _cancelled: &dyn Fn() -> bool) -> ToolOutput {
        let count = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        match arguments.get("fail") {
            Some(_) => ToolOutput::error(format!("timed out after {count} calls")),
            None => ToolOutput::text(count.to_string()).with_structured(json!({ "count": count })),
        }
    }
}

struct Bench {
    tool: RecordedTool<Counter>,
    made: Arc<AtomicUsize>,
}

impl Bench {
    fn new(cassette: Arc<Memory>, mode: RecordMode, has_state: bool) -> Bench {
        let recorder = Recorder::new(cassette, Arc::new(Ticks::default()), mode);
        let (counter, made) = Counter::new("1", has_state);
        Bench { tool: RecordedTool::new(counter, Arc::new(recorder)), made }
    }

    fn play(&self, arguments: &Value) -> Result<Played, RecordError> {
        self.tool.play(arguments, &|| false)
    }

    fn text(&self, arguments: &Value) -> String {
        self.play(arguments).unwrap().output.text
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

fn call(name: &str, version: &str, corpus: Option<&str>, arguments: &str, occurrence: u32) -> Call {
    Call {
        kind: CallKind::Tool,
        name: name.to_owned(),
        version: version.to_owned(),
        corpus: corpus.map(str::to_owned),
        arguments: arguments.to_owned(),
        occurrence,
    }
}

#[test]
fn a_key_depends_on_everything_that_the_answer_may() {
    let calls = [
        call("search", "1", None, "{}", 0),
        call("searc", "h1", None, "{}", 0),
        call("search", "2", None, "{}", 0),
        call("search", "1", Some(""), "{}", 0),
        call("search", "1", Some("ab"), "{}", 0),
        call("search", "1", None, "{\"a\":1}", 0),
        call("search", "1", None, "{}", 1),
        Call { kind: CallKind::Judge, ..call("search", "1", None, "{}", 0) },
    ];
    let keys: std::collections::HashSet<CallKey> = calls.iter().map(Call::key).collect();
    assert_eq!(keys.len(), calls.len());
    for key in keys {
        assert_eq!(CallKey::parse(&key.to_string()), Some(key));
        assert_eq!(CallKey::from_bytes(*key.as_bytes()), key);
    }
    // Keys stand in stores: this one must never change.
    let pinned = call("search", "1", Some("c0ffee"), "{\"query\":\"tides\"}", 0).key();
    let expected = "0ff29c5f40cc8884523f1e7ab7c04439e0c4e15154faece36db8636386ed9c0f";
    assert_eq!(pinned.to_string(), expected);
}

#[test]
fn arguments_that_mean_the_same_have_one_recording() {
    let cassette = Arc::new(Memory::default());
    let bench = Bench::new(Arc::clone(&cassette), RecordMode::NewEpisodes, false);
    assert_eq!(bench.text(&json!({ "a": 1, "b": "\u{e9}" })), "1");
    assert_eq!(bench.text(&json!({ "b": "e\u{301}", "a": 1.0 })), "1");
    assert_eq!(bench.text(&json!({ "a": 2, "b": "\u{e9}" })), "2");
    assert_eq!((bench.made(), cassette.all().len()), (2, 2));
}

#[test]
fn the_modes_mean_what_vcrpy_means_by_them() {
    let (a, b) = (json!({ "q": "a" }), json!({ "q": "b" }));
    let first = Arc::new(Memory::default());
    let bench = Bench::new(Arc::clone(&first), RecordMode::Once, false);
    // A new cassette takes new calls, and replays them at once.
    assert!(!bench.play(&a).unwrap().is_replayed);
    assert!(bench.play(&a).unwrap().is_replayed);
    assert_eq!((bench.text(&b), bench.made()), ("2".to_owned(), 2));

    // One that was there takes none.
    let once = Bench::new(first.reopened(), RecordMode::Once, false);
    assert_eq!(once.text(&b), "2");
    assert!(matches!(once.play(&json!({ "q": "c" })), Err(RecordError::Missing(_))));
    assert_eq!(once.made(), 0);

    let new_episodes = Bench::new(first.reopened(), RecordMode::NewEpisodes, false);
    assert_eq!(new_episodes.text(&b), "2");
    assert_eq!((new_episodes.text(&json!({ "q": "c" })), new_episodes.made()), ("1".to_owned(), 1));

    // None never calls, not even with nothing recorded.
    let none = Bench::new(first.reopened(), RecordMode::None, false);
    assert_eq!(none.text(&a), "1");
    assert!(none.play(&json!({ "q": "c" })).is_err());
    let none = Bench::new(Arc::new(Memory::default()), RecordMode::None, false);
    assert!(none.play(&a).is_err());
    assert_eq!(none.made(), 0);

    // All never replays, and the last answer stays.
    let cassette = first.reopened();
    let all = Bench::new(Arc::clone(&cassette), RecordMode::All, false);
    assert_eq!((all.text(&b), all.text(&b), all.made()), ("1".to_owned(), "2".to_owned(), 2));
    assert_eq!(cassette.all().len(), 2);
    let none = Bench::new(cassette.reopened(), RecordMode::None, false);
    assert_eq!(none.text(&b), "2");

    for mode in RecordMode::ALL {
        assert_eq!(RecordMode::parse(mode.as_str()), Some(mode));
    }
}

#[test]
fn a_tool_with_state_is_replayed_in_its_order() {
    let cassette = Arc::new(Memory::default());
    let bench = Bench::new(Arc::clone(&cassette), RecordMode::Once, true);
    let same = json!({ "q": "a" });
    let told: Vec<String> = (0..3).map(|_| bench.text(&same)).collect();
    assert_eq!(told, ["1", "2", "3"]);
    let replayed = Bench::new(cassette.reopened(), RecordMode::None, true);
    let again: Vec<String> = (0..3).map(|_| replayed.text(&same)).collect();
    assert_eq!(again, told);
    let fourth = replayed.play(&same).unwrap_err().to_string();
    let expected = "after 2 equal calls it was recorded, after 3 it is asked";
    assert!(fourth.contains(expected), "{fourth}");
}

#[test]
fn errors_are_recorded_and_cancelled_calls_are_not() {
    let cassette = Arc::new(Memory::default());
    let bench = Bench::new(Arc::clone(&cassette), RecordMode::NewEpisodes, false);
    let failing = json!({ "fail": true });
    let first = bench.play(&failing).unwrap().output;
    assert_eq!(first, ToolOutput::error("timed out after 1 calls"));
    let second = bench.play(&failing).unwrap();
    assert_eq!(second, Played { output: first, is_replayed: true });
    let played = bench.tool.play(&json!({ "q": "given up" }), &|| true).unwrap();
    assert!(!played.is_replayed);
    assert_eq!(cassette.all().len(), 1);
    let kept = &cassette.all()[0];
    assert_eq!(kept.latency_microseconds, 1_000);
    assert_eq!(kept.recorded_at_microseconds, 1_760_000_000_002_000);
}

#[test]
fn a_missing_call_names_the_nearest_one() {
    let cassette = Arc::new(Memory::default());
    let bench = Bench::new(Arc::clone(&cassette), RecordMode::Once, false);
    for query in ["tides of the moon", "rivers of Kent"] {
        bench.play(&json!({ "query": query })).unwrap();
    }
    let none = Bench::new(cassette.reopened(), RecordMode::None, false);
    let miss = none.play(&json!({ "query": "tides of the sun" })).unwrap_err();
    assert_eq!(
        miss.to_string(),
        "this call is not recorded, and mode 'none' makes no new ones: tool 'counter' \
         {\"query\":\"tides of the sun\"}; of the nearest recorded call, the arguments \
         {\"query\":\"tides of the moon\"} were recorded"
    );
    let recorder = Recorder::new(cassette.reopened(), Arc::new(Ticks::default()), RecordMode::None);
    let other = RecordedTool::new(Counter::new("2", false).0, Arc::new(recorder));
    let miss = other.play(&json!({ "query": "rivers of Kent" }), &|| false).unwrap_err();
    assert!(miss.to_string().ends_with("version '1' was recorded, '2' is asked"), "{miss}");
    // Behind the trait the agent is told, and is_error is set.
    let output = other.call(&json!({ "query": "rivers of Kent" }), &|| false);
    assert!(output.is_error && output.text == miss.to_string());
    let empty = Bench::new(Arc::new(Memory::default()), RecordMode::None, false);
    let miss = empty.play(&json!({})).unwrap_err().to_string();
    assert!(miss.ends_with("no call of this name is recorded"), "{miss}");
}

#[test]
fn judges_go_through_the_same_door() {
    let cassette: Arc<Memory> = Arc::default();
    let recorder =
        Recorder::new(cassette.clone(), Arc::new(Ticks::default()), RecordMode::NewEpisodes);
    let judge = || Call { kind: CallKind::Judge, ..call("gemini", "1.5", None, "{\"step\":1}", 0) };
    let mut made = 0;
    for _ in 0..2 {
        let mut make = || {
            made += 1;
            ToolOutput::text("GOOD")
        };
        let played = recorder.call(judge(), false, &|| false, &mut make).unwrap();
        assert_eq!(played.output.text, "GOOD");
    }
    assert_eq!(made, 1);
    assert_eq!(cassette.all()[0].call.kind, CallKind::Judge);
}

#[test]
fn threads_that_ask_at_once_get_one_answer() {
    let cassette = Arc::new(Memory::default());
    let bench = Bench::new(Arc::clone(&cassette), RecordMode::NewEpisodes, false);
    let texts: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| bench.text(&json!({ "q": "a" })))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let kept = &cassette.all()[0].output.text;
    assert!(texts.iter().all(|text| text == kept), "{texts:?}, {kept}");
}

#[test]
fn recordings_are_written_and_read_back() {
    let cassette = Arc::new(Memory::default());
    let bench = Bench::new(Arc::clone(&cassette), RecordMode::NewEpisodes, true);
    bench.play(&json!({ "z": 1e300, "a": "line\nbreak \u{1f600}", "n": 0.1 })).unwrap();
    bench.play(&json!({ "fail": [null, -0.0] })).unwrap();
    bench.play(&json!({ "fail": [null, 0] })).unwrap();
    let recordings = cassette.all();
    assert_eq!(recordings.len(), 3);
    let mut text = Vec::new();
    recordings.iter().for_each(|recording| write_recording(&mut text, recording).unwrap());
    let text = String::from_utf8(text).unwrap();
    assert!(text.lines().next().unwrap().starts_with("{\"swirl_recording\":1,\"key\":\""));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls.jsonl.zst");
    std::fs::write(&path, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    let read: Vec<Recording> =
        read_recordings(&path).unwrap().map(|line| line.unwrap().unwrap()).collect();
    assert_eq!(read, recordings);

    // Written by hand with blanks and another order, a line is the same recording.
    let first = text.lines().next().unwrap();
    let spread = first.replace(",\"kind\"", " , \"kind\"");
    assert_eq!(parse_recording(&spread).unwrap(), recordings[0]);
    let bad = [
        (first.replace("\"n\":0.1", "\"n\":0.2"), "key"),
        (first.replace("\"swirl_recording\":1", "\"swirl_recording\":2"), "swirl_recording"),
        (first.replace("\"kind\":\"tool\"", "\"kind\":\"tol\""), "kind"),
        ("{\"id\":\"a\"}".to_owned(), "swirl_recording"),
    ];
    for (line, field) in bad {
        let fault = parse_recording(&line).unwrap_err();
        assert_eq!(fault.field.as_deref(), Some(field), "{}", fault.message);
    }
    let extra = first.replace(",\"kind\"", ",\"more\":1,\"kind\"");
    assert!(parse_recording(&extra).unwrap_err().message.contains("unknown field `more`"));
    std::fs::write(&path, format!("{first}\nnot JSON\n\n{first}\n")).unwrap();
    let lines: Vec<String> = read_recordings(&path)
        .unwrap()
        .map(|line| line.unwrap().map_or_else(|bad| bad.to_string(), |_| "good".to_owned()))
        .collect();
    assert_eq!((lines.len(), lines[0].as_str(), lines[2].as_str()), (3, "good", "good"));
    assert!(lines[1].starts_with("line 2: "), "{}", lines[1]);
}
