//! Replay: what drifted, and what only is asked otherwise.

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::{Value, json};
use swirldb::tools::{
    Call, CallKind, DriftReport, OutputChange, Recording, SettingChange, Tool, ToolOutput,
    ToolSpec, Toolbox, output_change, replay,
};

/// A tool that always answers this.
struct Fixed(ToolSpec, ToolOutput);

impl Fixed {
    fn new(version: &str, corpus: Option<&str>, output: ToolOutput) -> Fixed {
        let schema = json!({ "type": "object", "properties": { "query": { "type": "string" } } });
        let mut spec = ToolSpec::new("search", "Answers.", schema, version);
        spec.corpus = corpus.map(str::to_owned);
        Fixed(spec, output)
    }
}

impl Tool for Fixed {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call(&self, _arguments: &Value, _cancelled: &dyn Fn() -> bool) -> ToolOutput {
        self.1.clone()
    }
}

fn recorded(tool: &Fixed, query: &str) -> Recording {
    let call = Call::of_tool(&tool.0, &json!({ "query": query })).unwrap();
    Recording {
        key: call.key(),
        call,
        output: tool.1.clone(),
        latency_microseconds: 1,
        recorded_at_microseconds: 1,
    }
}

fn replayed(recording: Recording, now: Fixed) -> DriftReport {
    let mut tools = Toolbox::new();
    tools.add(Arc::new(now)).unwrap();
    replay([Ok::<_, Infallible>(recording)], &tools, &|| false).unwrap()
}

fn hits(list: &[(&str, f64, &str)]) -> ToolOutput {
    let text: Vec<&str> = list.iter().map(|(_, _, text)| *text).collect();
    let hits: Vec<Value> = list
        .iter()
        .map(|(id, score, text)| json!({ "id": id, "score": score, "text": text }))
        .collect();
    ToolOutput::text(text.join("\n")).with_structured(json!({ "hits": hits, "warnings": [] }))
}

#[test]
fn what_is_the_same_is_counted_only() {
    let old = Fixed::new("1", Some("aa"), hits(&[("a", 2.5, "x")]));
    let recording = recorded(&old, "tides");
    let report = replayed(recording, old);
    assert_eq!((report.calls, report.same, report.drifts.len()), (1, 1, 0));
    assert_eq!(report.to_string(), "1 calls made again: 1 as recorded, 0 otherwise");
}

#[test]
fn another_version_or_corpus_is_told_apart_from_another_answer() {
    let old = Fixed::new("1", Some("aa"), ToolOutput::text("same"));
    let recording = recorded(&old, "tides");
    let report = replayed(recording.clone(), Fixed::new("2", None, ToolOutput::text("same")));
    assert_eq!((report.calls, report.same), (1, 1));
    let drift = &report.drifts[0];
    assert_eq!(drift.settings.len(), 2);
    assert_eq!(drift.output, None);
    assert_eq!(
        drift.to_string(),
        "tool 'search' {\"query\":\"tides\"}: version '1' was recorded, now it is '2'; corpus aa \
         was recorded, now it is none; the output is the same"
    );
    let report = replayed(recording, Fixed::new("1", Some("aa"), ToolOutput::text("other")));
    let drift = &report.drifts[0];
    assert_eq!(drift.settings, Vec::<SettingChange>::new());
    assert!(matches!(drift.output, Some(OutputChange::Text { line: 1, column: 1, .. })));
}

#[test]
fn a_changed_document_is_named() {
    let old = hits(&[("a", 3.0, "one"), ("b", 2.0, "two"), ("c", 1.0, "three")]);
    let cases = [
        (
            hits(&[("a", 3.0, "one"), ("c", 1.5, "three"), ("d", 1.0, "four")]),
            "gone: b (place 2); come: d (place 3); score: c (1 to 1.5)",
        ),
        (
            hits(&[("b", 2.0, "two"), ("a", 3.0, "one"), ("c", 1.0, "three")]),
            "moved: a (1 to 2), b (2 to 1)",
        ),
        (hits(&[("a", 3.0, "one"), ("b", 2.0, "TWO"), ("c", 1.0, "three")]), "changed: b"),
        (hits(&[]), "gone: a (place 1), b (place 2), c (place 3)"),
    ];
    for (now, expected) in cases {
        assert_eq!(output_change(&old, &now).unwrap().to_string(), expected);
    }
    // Search-R1's shape.
    let documents = |text: &str| {
        ToolOutput::text("")
            .with_structured(json!([{ "document": { "id": 7, "contents": text }, "score": 1.0 }]))
    };
    let change = output_change(&documents("x"), &documents("y")).unwrap();
    assert_eq!(change.to_string(), "changed: 7");
}

#[test]
fn other_differences_have_their_place() {
    let text = |text: &str| ToolOutput::text(text);
    let change = output_change(&text("a\nb\u{e9}c"), &text("a\nb\u{e8}c")).unwrap();
    let expected = "line 2, column 2: \"\u{e9}c\" was recorded, now it is \"\u{e8}c\"";
    assert_eq!(change.to_string(), expected);
    let change = output_change(&text("same"), &text("same and more")).unwrap();
    assert_eq!(change.to_string(), "line 1, column 5: \"\" was recorded, now it is \" and more\"");
    let change = output_change(&text("a"), &ToolOutput::error("timed out")).unwrap();
    assert_eq!(change.to_string(), "a result was recorded, now it is an error: \"timed out\"");
    let structured = |value: Value| text("a").with_structured(value);
    let old = structured(json!({ "a": { "b": [1, 2] } }));
    let cases = [
        (structured(json!({ "a": { "b": [1, 3] } })), "at 'a.b[1]' 2 was recorded, now it is 3"),
        (structured(json!({ "a": { "b": [1] } })), "at 'a.b[1]' 2 was recorded, now it is nothing"),
        (structured(json!({ "a": 1 })), "at 'a' {\"b\":[1,2]} was recorded, now it is 1"),
        (text("a"), "at '' {\"a\":{\"b\":[1,2]}} was recorded, now it is null"),
    ];
    for (now, expected) in cases {
        let found = output_change(&old, &now).unwrap().to_string();
        assert_eq!(found, format!("the text is the same; {expected}"));
    }
    // The order of fields is no difference.
    let (a, b) = (json!({ "x": 1, "y": 2 }), json!({ "y": 2, "x": 1 }));
    assert_eq!(output_change(&structured(a), &structured(b)), None);
}

#[test]
fn what_cannot_be_made_again_is_counted() {
    let old = Fixed::new("1", None, ToolOutput::text("x"));
    let recording = recorded(&old, "tides");
    let mut judge = recording.clone();
    judge.call.kind = CallKind::Judge;
    let empty = Toolbox::new();
    let both = [Ok::<_, Infallible>(recording.clone()), Ok(judge.clone())];
    let report = replay(both, &empty, &|| false).unwrap();
    assert_eq!((report.calls, report.skipped), (0, 2));
    assert!(report.drifts.iter().all(|drift| drift.settings == [SettingChange::NoTool]));
    // A judge with a tool's name is no tool.
    let report = replayed(judge, old);
    assert_eq!(report.skipped, 1);
    let report = replay([Ok::<_, Infallible>(recording)], &empty, &|| true).unwrap();
    assert!(report.is_cut && report.calls == 0);
    let failed: Result<DriftReport, &str> = replay([Err("damaged")], &empty, &|| false);
    assert_eq!(failed, Err("damaged"));
}
