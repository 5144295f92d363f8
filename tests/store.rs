//! The store: what goes in comes out, whatever is folded, reopened or held.

use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use swirldb::codec::{CHUNK_ROWS, Family, Key, TableId};
use swirldb::exchange::content_hash;
use swirldb::model::{
    Json, Judge, JudgeKind, Label, LabelName, Message, Step, Target, ToolCall, Trajectory, role,
};
use swirldb::store::{
    Appended, ColumnRef, Durability, Fact, Incoming, Limits, Mode, Store, StoreError, View,
};

const LIMITS: Limits = Limits { memory_bytes: 64 << 20 };

fn create(path: &Path) -> Arc<Store> {
    Store::create(path, [7; 16], LIMITS).unwrap()
}

fn reopen(path: &Path) -> Arc<Store> {
    Store::open(path, Mode::Write, LIMITS).unwrap()
}

/// A trajectory of `steps` steps; long texts repeat between trajectories.
fn trajectory(number: u64, steps: usize) -> Trajectory {
    let long = |n: usize| format!("observation {} ", n % 5).repeat(40);
    let step = |n: usize| Step {
        action: Message {
            role: role::ASSISTANT.to_owned(),
            content: Some(format!("action {n} of {number}")),
            tool_calls: vec![ToolCall {
                id: Some(format!("call-{n}")),
                name: if n.is_multiple_of(2) { "search" } else { "calculator" }.to_owned(),
                arguments: format!("{{\"query\": \"{number} {n}\"}}"),
            }],
            ..Message::default()
        },
        observation: vec![Message {
            tool_call_id: Some(format!("call-{n}")),
            ..Message::new(role::TOOL, long(n))
        }],
        cost: Some(n as f64 / 8.0),
        ..Step::default()
    };
    Trajectory {
        source: "test".to_owned(),
        id: format!("t{number}"),
        question: Some(format!("question {number}")),
        gold: vec![format!("answer {number}")],
        model: Some("a model with a long name".to_owned()),
        sample_index: Some(number as i64 % 3),
        meta: Some(Json::parse("{\"n\": 1e400}").unwrap()),
        prompt: vec![Message::new(role::SYSTEM, "be careful ".repeat(60))],
        steps: (0..steps).map(step).collect(),
        ..Trajectory::default()
    }
}

fn label(target: Target, name: LabelName, judge: &str, value: f64) -> Label {
    Label {
        target,
        name,
        judge: judge.to_owned(),
        value,
        raw: None,
        verdict: None,
        rationale: None,
        run_id: None,
    }
}

fn incoming(number: u64, steps: usize) -> Incoming {
    let trajectory = trajectory(number, steps);
    let value = |step: usize| if (number as usize + step).is_multiple_of(3) { 0.0 } else { 1.0 };
    let labels = (1..=steps)
        .map(|s| label(Target::Step(s as u32), LabelName::process(), "human", value(s)))
        .chain([label(Target::Trajectory, LabelName::reward(), "source", number as f64)])
        .collect();
    Incoming { content_hash: content_hash(&trajectory), trajectory, labels }
}

fn human() -> Judge {
    Judge {
        name: "human".to_owned(),
        kind: JudgeKind::Human,
        definition: None,
        sees_gold: Some(false),
    }
}

fn values(view: &View, table: TableId, column: ColumnRef) -> Vec<Option<f64>> {
    let arrays = view.segments(table).into_iter().map(|s| view.column(&s, column).unwrap());
    arrays.flat_map(|a| a.as_primitive::<Float64Type>().iter().collect::<Vec<_>>()).collect()
}

fn check(store: &Arc<Store>, expected: u64) {
    let report = store.verify(&content_hash, &mut |_, _| true).unwrap();
    assert_eq!(report.findings, [], "everything agrees");
    assert_eq!(report.trajectories, expected);
}

#[test]
fn what_goes_in_comes_out_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let batch: Vec<Incoming> = (0..40).map(|n| incoming(n, n as usize % 7)).collect();
    let store = create(folder.path());
    let (outcome, labels) = store.append(&batch, &[human()], Durability::Now).unwrap();
    assert_eq!(outcome, (0..40).map(Appended::Stored).collect::<Vec<_>>());
    assert_eq!(labels.added, batch.iter().map(|i| i.labels.len() as u64).sum::<u64>());
    drop(store);
    for _ in 0..2 {
        let store = reopen(folder.path());
        let ordinals: Vec<u64> = (0..40).collect();
        let back = store.view().trajectories(&ordinals).unwrap();
        let expected: Vec<Trajectory> = batch.iter().map(|i| i.trajectory.clone()).collect();
        assert_eq!(back, expected);
        let facts: Vec<Label> =
            store.labels_of(6).unwrap().into_iter().map(|(_, label)| label).collect();
        assert_eq!(facts.len(), 7, "six steps and the trajectory");
        check(&store, 40);
        // The second time around everything is in columns and no delta is left.
        store.fold().unwrap();
        check(&store, 40);
    }
}

#[test]
fn the_same_again_changes_nothing_and_other_content_is_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    let batch = [incoming(1, 3), incoming(2, 2), incoming(1, 3)];
    let (outcome, _) = store.append(&batch, &[human()], Durability::Now).unwrap();
    assert_eq!(outcome, [Appended::Stored(0), Appended::Stored(1), Appended::Same(0)]);
    let before = store.view().sequence();
    let (outcome, labels) = store.append(&batch, &[human()], Durability::Now).unwrap();
    assert_eq!(outcome, [Appended::Same(0), Appended::Same(1), Appended::Same(0)]);
    assert_eq!((labels.added, labels.same), (0, 4 + 3 + 4));
    assert_eq!(store.view().sequence(), before, "nothing was committed");
    let mut other = incoming(1, 3);
    other.trajectory.answer = Some("changed".to_owned());
    other.content_hash = content_hash(&other.trajectory);
    let (outcome, _) = store.append(&[other], &[], Durability::Now).unwrap();
    assert_eq!(outcome, [Appended::Conflict(0)]);
    assert_eq!(store.view().trajectories(&[0]).unwrap()[0], batch[0].trajectory);
    check(&store, 2);
}

#[test]
fn repeated_long_texts_are_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    let batch: Vec<Incoming> = (0..50).map(|n| incoming(n, 5)).collect();
    store.append(&batch, &[], Durability::Now).unwrap();
    let report = store.verify(&content_hash, &mut |_, _| true).unwrap();
    assert_eq!(report.bodies, 1 + 5, "one prompt and five observations, for 250 steps");
}

#[test]
fn the_newest_label_counts_and_history_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    store.append(&[incoming(0, 3), incoming(1, 3)], &[human()], Durability::Now).unwrap();
    store.fold().unwrap();
    let fact = |value| Fact {
        trajectory: 1,
        label: label(Target::Step(2), LabelName::process(), "human", value),
    };
    let report = store.label(&[fact(0.25)], &[], Durability::Now).unwrap();
    assert_eq!((report.added, report.same), (1, 0));
    let report = store.label(&[fact(0.25)], &[], Durability::Now).unwrap();
    assert_eq!((report.added, report.same), (0, 1));
    store.label(&[fact(0.75)], &[], Durability::Now).unwrap();
    let process = ColumnRef::Label(0);
    let expected = [1.0, 1.0, 0.0, 1.0, 0.75, 1.0].map(Some);
    for _ in 0..2 {
        assert_eq!(values(&store.view(), TableId::Steps, process), expected);
        check(&store, 2);
        store.fold().unwrap();
    }
    let of_step: Vec<f64> = store
        .labels_of(1)
        .unwrap()
        .into_iter()
        .filter(|(_, l)| l.target == Target::Step(2))
        .map(|(_, l)| l.value)
        .collect();
    assert_eq!(of_step, [0.0, 0.25, 0.75]);
    let missing =
        Fact { trajectory: 1, label: label(Target::Step(4), LabelName::process(), "human", 1.0) };
    let error = store.label(&[missing], &[], Durability::Now).unwrap_err();
    assert_eq!(error.to_string(), "'t1' has steps 1 to 3, no step 4");
}

#[test]
fn a_view_sees_its_own_state_whatever_comes_after() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    store.append(&[incoming(0, 4)], &[human()], Durability::Now).unwrap();
    store.fold().unwrap();
    let early = store.view();
    let process = ColumnRef::Label(0);
    let before = values(&early, TableId::Steps, process);
    let changed =
        Fact { trajectory: 0, label: label(Target::Step(1), LabelName::process(), "human", 0.5) };
    store.label(&[changed], &[], Durability::Now).unwrap();
    for number in 1..20 {
        store.append(&[incoming(number, 4)], &[], Durability::Now).unwrap();
        store.fold().unwrap();
    }
    assert_eq!(early.rows(TableId::Steps), 4);
    assert_eq!(values(&early, TableId::Steps, process), before);
    assert_eq!(values(&store.view(), TableId::Steps, process)[0], Some(0.5));
    drop(early);
    // With the last view gone the next fold takes the old versions away.
    store.append(&[incoming(99, 1)], &[], Durability::Now).unwrap();
    store.fold().unwrap();
    drop(store);
    check(&reopen(folder.path()), 21);
}

#[test]
fn rows_cross_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    let small = |number: u64| {
        let steps =
            vec![Step { action: Message::new(role::ASSISTANT, "a"), ..Step::default() }; 700];
        let trajectory = Trajectory { steps, ..trajectory(number, 0) };
        let reward = label(Target::Trajectory, LabelName::reward(), "source", number as f64);
        let labels = vec![reward];
        Incoming { content_hash: content_hash(&trajectory), trajectory, labels }
    };
    for first in (0..200u64).step_by(40) {
        let batch: Vec<Incoming> = (first..first + 40).map(small).collect();
        store.append(&batch, &[], Durability::Now).unwrap();
    }
    let view = store.view();
    assert_eq!(view.rows(TableId::Steps), 140_000);
    let segments = view.segments(TableId::Steps);
    assert!(segments.iter().any(|s| s.rows == CHUNK_ROWS), "a full chunk among {segments:?}");
    for segment in &segments {
        let widened = view.widened(segment, ColumnRef::Label(0)).unwrap();
        let rewards = widened.as_primitive::<Float64Type>();
        for row in [0, segment.rows - 1] {
            let expected = ((segment.first_row + row) / 700) as f64;
            assert_eq!(rewards.value(row as usize), expected);
        }
    }
    store.settle().unwrap();
    drop((view, store));
    let store = reopen(folder.path());
    assert_eq!(store.view().segments(TableId::Steps).len(), 3);
    check(&store, 200);
}

#[test]
fn what_is_no_database_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| Store::open(path, Mode::Write, LIMITS).map(drop).unwrap_err();
    let missing = folder.path().join("missing");
    assert!(matches!(open(&missing), StoreError::Missing { .. }));
    assert!(matches!(open(folder.path()), StoreError::NotADatabase { .. }));
    let file = folder.path().join("file");
    std::fs::write(&file, "text").unwrap();
    assert!(matches!(open(&file), StoreError::NotADatabase { .. }));
    let error = Store::create(folder.path(), [0; 16], LIMITS).map(drop).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
    let database = folder.path().join("db");
    drop(create(&database));
    let first = reopen(&database);
    let second = open(&database);
    assert!(matches!(second, StoreError::Locked { .. }), "{second}");
    drop(first);
    std::fs::write(database.join("SWIRLDB"), "swirldb format 9\n").unwrap();
    let newer = open(&database);
    assert!(matches!(newer, StoreError::Newer { found: 9, .. }), "{newer}");
    assert!(newer.to_string().contains("use a newer swirl"), "{newer}");
}

#[test]
fn a_reader_beside_a_writer_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let writer = create(folder.path());
    writer.append(&[incoming(0, 2)], &[], Durability::Now).unwrap();
    let reader = Store::open(folder.path(), Mode::Read, LIMITS).unwrap();
    assert_eq!(reader.view().trajectories(&[0]).unwrap()[0], trajectory(0, 2));
    let error = reader.append(&[incoming(1, 2)], &[], Durability::Now).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error}");
}

#[test]
fn keys_decode_to_what_they_encode_and_sort_as_meant() {
    let keys = vec![
        Key::Meta("sequence".into()),
        Key::Id("a".into(), "b\0c".into()),
        Key::Trajectory(5),
        Key::Step(5, 2),
        Key::Body(9),
        Key::BodyId([3; 16]),
        Key::Column { table: TableId::Steps, column: 1, chunk: 2, version: 3 },
        Key::Delta(8),
        Key::Label {
            trajectory: 1,
            step: 0,
            name: "process".into(),
            judge: "größer".into(),
            sequence: 4,
        },
        Key::Dataset("d".into(), 1),
        Key::Run("r".into()),
        Key::Metric("r".into(), 3, "loss".into()),
    ];
    for key in keys {
        let bytes = key.encode();
        assert_eq!(Key::decode(key.family(), &bytes).unwrap(), key);
        if key.family() != Family::Meta {
            assert!(Key::decode(key.family(), &bytes[..bytes.len() - 1]).is_err(), "{key:?}");
        }
    }
    let sorted = [
        Key::Id("a".into(), "z".into()),
        Key::Id("a\0".into(), "a".into()),
        Key::Id("ab".into(), "a".into()),
        Key::Id("b".into(), String::new()),
    ];
    assert!(sorted.windows(2).all(|pair| pair[0].encode() < pair[1].encode()));
}
