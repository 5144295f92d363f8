//! The project's own JSONL: nothing is lost, and the same records give the same bytes.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use swirldb::exchange::{
    DatasetManifest, DatasetRows, Imported, LabelPlace, LabelRecord, NativeWriter,
    PinnedTrajectory, Place, PlacedLabel, ReadOptions, Record, WrittenRow, content_hash,
};
use swirldb::model::{
    ContextItem, Json, Judge, JudgeKind, Label, LabelName, Message, Status, Step, Target, ToolCall,
    Trajectory,
};

use super::exchange::{Read, fixture, read_bytes};

fn write(records: &[Record]) -> Vec<u8> {
    let mut writer = NativeWriter::new(Vec::new());
    for record in records {
        match record {
            Record::Judge(judge) => writer.write_judge(judge).unwrap(),
            Record::Trajectory(i) => writer.write_trajectory(&i.trajectory, &i.labels).unwrap(),
            Record::Labels(labels) => writer.write_labels(labels).unwrap(),
            Record::Dataset(dataset) => writer.write_dataset(dataset).unwrap(),
            Record::DatasetRows(rows) => writer.write_dataset_rows(rows).unwrap(),
        }
    }
    writer.finish().unwrap()
}

fn reread(bytes: &[u8]) -> Read {
    read_bytes("x.jsonl", bytes, &ReadOptions::default())
}

/// Texts with everything that a line of JSON could stumble over.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z]{1,8}",
        any::<String>(),
        Just("\u{0}\r\n\t\"\\/\u{2028}\u{feff}é\u{1F600}</s>{\"swirl\":9}".to_owned()),
    ]
}

fn json() -> impl Strategy<Value = Json> {
    let texts = [
        "{}",
        r#"{"a":1e400,"b":-0.0,"c":123456789012345678901234567890.0,"d":[null,true,"\u0000"]}"#,
        r#"{"z": 1.10, "a" : [ ], "é":"\ud83d\ude00"}"#,
    ];
    proptest::sample::select(texts.to_vec()).prop_map(|text| Json::parse(text).unwrap())
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |x| x.is_finite()),
        proptest::sample::select(vec![0.1, -0.0, 1e308, 5e-324, f64::MAX]),
    ]
}

prop_compose! {
    fn call()(id in of(text()), name in text(), arguments in text()) -> ToolCall {
        ToolCall { id, name, arguments }
    }
}

prop_compose! {
    fn message()(
        role in proptest::sample::select(vec!["system", "user", "assistant", "tool", "narrator"]),
        content in of(text()), parts in of(json()), reasoning in of(text()),
        tool_calls in vec(call(), 0..3), tool_call_id in of(text()), name in of(text()),
        error in of(any::<bool>()), calls_in_content in any::<bool>(),
    ) -> Message {
        let role = role.to_owned();
        Message {
            role,
            content,
            parts,
            reasoning,
            tool_calls,
            calls_in_content,
            tool_call_id,
            name,
            error,
        }
    }
}

fn context() -> impl Strategy<Value = ContextItem> {
    prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(from, to)| ContextItem::Kept { from, to }),
        message().prop_map(ContextItem::Replaced),
    ]
}

prop_compose! {
    fn step()(
        action in message(), observation in vec(message(), 0..3), finish_reason in of(text()),
        action_tokens in of(any::<i64>()), observation_tokens in of(any::<i64>()),
        latency_ms in of(number()), cost in of(number()),
        token_ids in of(vec(any::<u32>(), 0..4)),
        logprobs in of(vec(any::<f32>().prop_filter("finite", |x| x.is_finite()), 0..4)),
        context in of(vec(context(), 0..3)),
    ) -> Step {
        Step {
            action, observation, finish_reason, action_tokens, observation_tokens, latency_ms,
            cost, token_ids, logprobs, context,
        }
    }
}

prop_compose! {
    fn described()(
        (source, id, split) in (text(), text(), of(text())),
        (question_id, question) in (of(text()), of(text())), gold in vec(text(), 0..3),
        tools in of(json()), (model, run_id, answer) in (of(text()), of(text()), of(text())),
        sampler in of(json()), (sample_index, round) in (of(any::<i64>()), of(any::<i64>())),
        status in of(proptest::sample::select(vec![Status::Answered, Status::Limit])),
        created_at in of(any::<i64>()), meta in of(json()),
    ) -> Trajectory {
        Trajectory {
            source, id, split, question_id, question, gold, tools, model, sampler, sample_index,
            run_id, round, status, answer, created_at, meta, ..Trajectory::default()
        }
    }
}

prop_compose! {
    fn trajectory()(
        described in described(), prompt in vec(message(), 0..3), steps in vec(step(), 0..3),
    ) -> Trajectory {
        Trajectory { prompt, steps, ..described }
    }
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Trajectory),
        any::<u32>().prop_map(Target::Step),
        (any::<u32>(), text(), any::<u32>()).prop_map(|(step, run_id, sample)| Target::Sample {
            step,
            run_id,
            sample
        }),
    ]
}

prop_compose! {
    fn label()(
        target in target(), name in "[a-z_][a-z0-9_]{0,6}", judge in text(), value in number(),
        raw in of(text()), verdict in of(text()), rationale in of(text()), run_id in of(text()),
    ) -> Label {
        let name = LabelName::new(&name).unwrap();
        Label { target, name, judge, value, raw, verdict, rationale, run_id }
    }
}

prop_compose! {
    fn judge()(
        name in text(), definition in of(json()), sees_gold in of(any::<bool>()),
        kind in proptest::sample::select(vec![JudgeKind::Human, JudgeKind::Program]),
    ) -> Judge {
        Judge { name, kind, definition, sees_gold }
    }
}

fn placed() -> impl Strategy<Value = PlacedLabel> {
    let place = prop_oneof![
        Just(LabelPlace::Trajectory),
        any::<u32>().prop_map(LabelPlace::Step),
        any::<u32>().prop_map(|index| LabelPlace::Message(index as usize)),
    ];
    (place, label()).prop_map(|(target, label)| {
        let Label { target: _, name, judge, value, raw, verdict, rationale, run_id } = label;
        Label { target, name, judge, value, raw, verdict, rationale, run_id }
    })
}

prop_compose! {
    fn dataset()(
        (name, statement, program) in (text(), text(), of(text())),
        seeds in vec(any::<u64>(), 0..3), judges in vec(text(), 0..3),
        saw_gold in of(any::<bool>()),
        (rows, trajectories, undecided, sequence) in any::<(u64, u64, u64, u64)>(),
        hash in any::<[u8; 32]>(), database in any::<[u8; 16]>(), created_at in any::<i64>(),
    ) -> DatasetManifest {
        DatasetManifest {
            name, statement, seeds, judges, saw_gold, rows, trajectories, undecided, hash, database,
            sequence, created_at, program,
        }
    }
}

prop_compose! {
    fn dataset_rows()(
        dataset in text(), first in any::<u64>(),
        pinned in vec((text(), text(), any::<[u8; 32]>()), 0..3),
        rows in vec((any::<u32>(), any::<u32>(), of(number()), of(any::<u64>())), 0..4),
    ) -> DatasetRows {
        let trajectories =
            pinned.into_iter().map(|(source, id, hash)| PinnedTrajectory(source, id, hash));
        let rows = rows.into_iter().map(|(at, step, reward, pair)| match pair {
            None => WrittenRow::Single(at, step, reward),
            Some(pair) => WrittenRow::Paired(at, step, reward, pair),
        });
        let (trajectories, rows) = (trajectories.collect(), rows.collect());
        DatasetRows { dataset, first, trajectories, rows }
    }
}

fn record() -> impl Strategy<Value = Record> {
    let place = Place::Line(0);
    prop_oneof![
        1 => judge().prop_map(Record::Judge),
        1 => dataset().prop_map(|dataset| Record::Dataset(Box::new(dataset))),
        1 => dataset_rows().prop_map(|rows| Record::DatasetRows(Box::new(rows))),
        4 => (trajectory(), vec(label(), 0..3)).prop_map(move |(trajectory, labels)| {
            let (content_hash, judges) = (content_hash(&trajectory), vec![]);
            let imported = Imported { place, trajectory, content_hash, labels, judges, row: None };
            Record::Trajectory(Box::new(imported))
        }),
        1 => (of(text()), text(), vec(placed(), 0..3), vec(judge(), 0..2)).prop_map(
            move |(source, id, labels, judges)| {
                Record::Labels(Box::new(LabelRecord { place, source, id, labels, judges }))
            }
        ),
    ]
}

/// Numbers the lines that records would stand on.
fn placed_in_order(mut records: Vec<Record>) -> Vec<Record> {
    for (record, number) in records.iter_mut().zip(1..) {
        match record {
            Record::Trajectory(imported) => imported.place = Place::Line(number),
            Record::Labels(labels) => labels.place = Place::Line(number),
            Record::Judge(_) | Record::Dataset(_) | Record::DatasetRows(_) => {}
        }
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_is_read_back(records in vec(record(), 1..5)) {
        let records = placed_in_order(records);
        let bytes = write(&records);
        let read = reread(&bytes);
        prop_assert!(read.error.is_none(), "{:?}", read.error);
        prop_assert_eq!(&read.bad, &Vec::new());
        prop_assert_eq!(&read.records, &records);
        prop_assert_eq!(write(&read.records), bytes);
    }
}

#[test]
fn files_can_be_concatenated() {
    let read = Read::of(&fixture("chat/traps.jsonl"), &ReadOptions::default());
    let bytes = write(&read.records);
    let twice = reread(&[bytes.clone(), bytes].concat());
    assert_eq!((twice.records.len(), twice.bad.len()), (12, 0));
    assert_eq!(twice.records[..6], twice.records[6..].iter().map(earlier).collect::<Vec<_>>());
}

/// The same record six lines earlier.
fn earlier(record: &Record) -> Record {
    let mut record = record.clone();
    if let Record::Trajectory(imported) = &mut record
        && let Place::Line(number) = imported.place
    {
        imported.place = Place::Line(number - 6);
    }
    record
}

#[test]
fn lines_that_cannot_be_understood_are_refused() {
    let cases = [
        (
            r#"{"swirl":1,"trajectory":{"source":"s","id":"a","mood":"good"}}"#,
            "line 1, trajectory.mood: unknown field `mood`",
        ),
        (
            r#"{"swirl":1,"trajectory":{"source":"","id":"","steps":[{"action":{"content":""}}]}}"#,
            "line 1, trajectory.steps[0].action.role: missing",
        ),
        (r#"{"swirl":1,"trajectory":{"source":"s"}}"#, "line 1, trajectory.id: missing"),
        (
            r#"{"swirl":1,"extra":2,"judge":{"name":"j","kind":"human"}}"#,
            "line 1, extra: unknown field `extra`",
        ),
        (r#"{"swirl":1,"judge":{"name":"j","kind":"cat"}}"#, "line 1, judge.kind: unknown variant"),
        (
            r#"{"swirl":2,"future":{}}"#,
            "line 1, swirl: found version 2; this program reads version 1; a newer one is needed",
        ),
        (r#"{"swirl":0}"#, "line 1, swirl: found 0; expected 1"),
        (r#"{"swirl":1}"#, "line 1: expected one of judge, trajectory"),
    ];
    for (line, expected) in cases {
        let read = reread(line.as_bytes());
        let found = read.bad.first().map(ToString::to_string).unwrap_or_default();
        assert!(found.starts_with(expected), "{line}\n  found    {found}\n  expected {expected}");
    }
}

#[test]
fn numbers_without_json_are_refused_and_nothing_is_written() {
    let step = Step { logprobs: Some(vec![-0.5, f32::NEG_INFINITY]), ..Step::default() };
    let trajectory = Trajectory { id: "t".to_owned(), steps: vec![step], ..Trajectory::default() };
    let mut writer = NativeWriter::new(Vec::new());
    let error = writer.write_trajectory(&trajectory, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "trajectory 't', steps[0].logprobs: found -inf; expected a finite number"
    );
    assert_eq!(writer.finish().unwrap(), b"");
}

#[test]
fn json_over_several_lines_is_written_on_one() {
    let meta = Some(Json::parse("{\n  \"a\": \"x\\ny\"\r\n}").unwrap());
    let trajectory = Trajectory { meta, ..Trajectory::default() };
    let mut writer = NativeWriter::new(Vec::new());
    writer.write_trajectory(&trajectory, &[]).unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
    let read = reread(&bytes);
    let meta = read.trajectories()[0].trajectory.meta.as_ref().unwrap();
    assert_eq!(meta.to_value(), serde_json::json!({"a": "x\ny"}));
}

#[test]
fn a_content_hash_is_of_everything_but_the_identifier() {
    let read = Read::of(&fixture("chat/crlf.jsonl"), &ReadOptions::default());
    let trajectory = read.trajectories()[0].trajectory.clone();
    let hash = content_hash(&trajectory);
    // Pinned: identifiers of stored trajectories must not change.
    let pinned = "5000eb82358c015073e18b092003d1132d0e487a9367b234b0dd298ca2711f7c";
    assert_eq!(blake3::Hash::from_bytes(hash).to_hex().as_str(), pinned);
    let named = Trajectory { id: "other".to_owned(), ..trajectory.clone() };
    assert_eq!(content_hash(&named), hash);
    let other = Trajectory { answer: Some(String::new()), ..trajectory };
    assert_ne!(content_hash(&other), hash);
}
