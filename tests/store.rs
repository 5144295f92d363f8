//! The store: what goes in comes out, whatever is folded, reopened or held.

mod timing;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

pub const LIMITS: Limits = Limits { memory_bytes: 64 << 20 };

pub fn create(path: &Path) -> Arc<Store> {
    Store::create(path, [7; 16], LIMITS).unwrap()
}

pub fn reopen(path: &Path) -> Arc<Store> {
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

pub fn label(target: Target, name: LabelName, judge: &str, value: f64) -> Label {
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

pub fn incoming(number: u64, steps: usize) -> Incoming {
    let trajectory = trajectory(number, steps);
    let value = |step: usize| if (number as usize + step).is_multiple_of(3) { 0.0 } else { 1.0 };
    let labels = (1..=steps)
        .map(|s| label(Target::Step(s as u32), LabelName::process(), "human", value(s)))
        .chain([label(Target::Trajectory, LabelName::reward(), "source", number as f64)])
        .collect();
    Incoming { content_hash: content_hash(&trajectory), trajectory, labels }
}

pub fn human() -> Judge {
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

pub fn check(store: &Arc<Store>, expected: u64) {
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

/// Returns the number of chunk versions on disk.
fn chunk_versions(folder: &Path) -> usize {
    let path = folder.join("records");
    let names = rocksdb::DB::list_cf(&rocksdb::Options::default(), &path).unwrap();
    let options = rocksdb::Options::default();
    let db = rocksdb::DB::open_cf_for_read_only(&options, &path, names, false).unwrap();
    let family = db.cf_handle(Family::Column.name()).unwrap();
    db.iterator_cf(family, rocksdb::IteratorMode::Start).count()
}

#[test]
fn chunk_versions_that_a_view_held_to_the_end_are_removed_at_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    store.append(&[incoming(1, 3)], &[human()], Durability::Now).unwrap();
    store.fold().unwrap();
    let view = store.view();
    store.append(&[incoming(2, 2)], &[human()], Durability::Now).unwrap();
    store.fold().unwrap();
    drop((store, view));
    let held = chunk_versions(folder.path());
    check(&reopen(folder.path()), 2);
    let live = chunk_versions(folder.path());
    assert_eq!(held, 2 * live);
    check(&reopen(folder.path()), 2);
}

/// As many trajectories as make a commit large, with texts of their own.
pub fn large(numbers: std::ops::Range<u64>) -> Vec<Incoming> {
    let with_long_texts = |number| {
        let mut incoming = incoming(number, 3);
        for (step, at) in incoming.trajectory.steps.iter_mut().zip(0..) {
            step.observation[0].content = Some(format!("{number} {at} ").repeat(700));
        }
        incoming.content_hash = content_hash(&incoming.trajectory);
        incoming
    };
    numbers.map(with_long_texts).collect()
}

#[test]
fn a_large_commit_is_like_many_small_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut batch = large(0..300);
    // Two labels of one judge on one target: the later one counts.
    let again = label(Target::Step(1), LabelName::process(), "human", 0.25);
    batch[7].labels.push(again.clone());
    let (one, many) = (create(&folder.path().join("one")), create(&folder.path().join("many")));
    one.append(&batch, &[human()], Durability::Later).unwrap();
    for incoming in batch.chunks(30) {
        many.append(incoming, &[human()], Durability::Later).unwrap();
    }
    assert_eq!(one.view().rows(TableId::Steps), 900);
    let ordinals: Vec<u64> = (0..300).collect();
    let trajectories = one.view().trajectories(&ordinals).unwrap();
    assert_eq!(trajectories, many.view().trajectories(&ordinals).unwrap());
    let facts = one.labels_of(7).unwrap();
    assert!(facts.iter().any(|(_, label)| *label == again));
    for (name, store) in [("one", one), ("many", many)] {
        check(&store, 300);
        drop(store);
        assert!(!folder.path().join(name).join("incoming").exists());
        check(&reopen(&folder.path().join(name)), 300);
    }
}

/// Puts entries into a database behind the store's back.
fn put(folder: &Path, keys: &[Key]) {
    put_bytes(folder, keys, b"from a commit that never was");
}

/// Puts a value under keys, behind the store's back.
pub fn put_bytes(folder: &Path, keys: &[Key], value: &[u8]) {
    let path = folder.join("records");
    let names = rocksdb::DB::list_cf(&rocksdb::Options::default(), &path).unwrap();
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), &path, names).unwrap();
    for key in keys {
        let family = db.cf_handle(key.family().name()).unwrap();
        db.put_cf(family, key.encode(), value).unwrap();
    }
}

#[test]
fn what_a_killed_bulk_load_left_is_not_seen_and_not_reused() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    store.append(&large(0..300), &[human()], Durability::Now).unwrap();
    drop(store);
    // It had taken in the tables of trajectories 300 and 301, the second with nine steps.
    let stale = Key::Label {
        trajectory: 301,
        step: 9,
        name: "process".to_owned(),
        judge: "human".to_owned(),
        sequence: 2,
    };
    let mut keys = vec![Key::Trajectory(300), Key::Trajectory(301), stale];
    keys.extend((1..=9).map(|step| Key::Step(301, step)));
    keys.extend((0..5_000).map(Key::Body).skip(1_000));
    put(folder.path(), &keys);
    let incoming = folder.path().join("incoming");
    std::fs::create_dir(&incoming).unwrap();
    std::fs::write(incoming.join("body-0.sst"), "half a table").unwrap();
    let reader = Store::open(folder.path(), Mode::Read, LIMITS).unwrap();
    assert_eq!(reader.view().rows(TableId::Trajectories), 300);
    drop(reader);
    let store = reopen(folder.path());
    assert!(!incoming.exists());
    check(&store, 300);
    let batch = large(300..600);
    store.append(&batch, &[human()], Durability::Now).unwrap();
    let back = store.view().trajectories(&[301]).unwrap();
    assert_eq!(back[0], batch[1].trajectory);
    assert_eq!(store.labels_of(301).unwrap().len(), batch[1].labels.len());
    check(&store, 600);
}

#[test]
fn a_bulk_load_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    // A file stands where tables are built.
    let incoming = folder.path().join("incoming");
    std::fs::write(&incoming, "in the way").unwrap();
    let failed = store.append(&large(0..300), &[human()], Durability::Now);
    assert!(matches!(failed, Err(StoreError::Environment { .. })), "{failed:?}");
    check(&store, 0);
    std::fs::remove_file(&incoming).unwrap();
    store.append(&large(5..305), &[human()], Durability::Now).unwrap();
    check(&store, 300);
}

#[test]
fn a_table_that_a_bulk_load_lost_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    store.append(&large(0..300), &[human()], Durability::Now).unwrap();
    drop(store);
    // As RocksDB leaves it where the disk fails while the list of tables is written.
    let records = std::fs::read_dir(folder.path().join("records")).unwrap();
    let tables = records.map(|entry| entry.unwrap().path());
    let is_table = |path: &PathBuf| path.extension().is_some_and(|end| end == "sst");
    let table = tables.filter(is_table).max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let incoming = folder.path().join("incoming");
    std::fs::create_dir(&incoming).unwrap();
    std::fs::rename(&table, incoming.join("body-0.sst")).unwrap();
    std::fs::write(incoming.join("step-1.sst"), "of a family that was not begun").unwrap();
    let reader = Store::open(folder.path(), Mode::Read, LIMITS).map(|_| ());
    assert!(matches!(reader, Err(StoreError::Damaged { .. })), "{reader:?}");
    check(&reopen(folder.path()), 300);
    assert!(table.exists() && !incoming.exists());
}

/// Merges the tables of the family of long texts, past the store.
fn merge_bodies(records: &Path) {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, records).unwrap();
    let db = rocksdb::DB::open_cf(&options, records, names).unwrap();
    let family = db.cf_handle(Family::Body.name()).unwrap();
    let mut all = rocksdb::CompactOptions::default();
    all.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
    db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &all);
}

/// Returns the tables of a database, by path.
fn tables(records: &Path) -> HashMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(records).unwrap().map(|entry| entry.unwrap().path());
    let tables = paths.filter(|path| path.extension().is_some_and(|end| end == "sst"));
    tables.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn a_merge_whose_end_was_never_acknowledged_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    store.append(&large(0..300), &[human()], Durability::Now).unwrap();
    store.append(&large(300..600), &[human()], Durability::Now).unwrap();
    store.flush().unwrap();
    drop(store);
    // As RocksDB leaves it where the disk fails while the list of tables is written.
    let records = folder.path().join("records");
    let before = tables(&records);
    merge_bodies(&records);
    let new: Vec<PathBuf> =
        tables(&records).into_keys().filter(|path| !before.contains_key(path)).collect();
    assert!(!new.is_empty());
    new.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    before.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    let reader = Store::open(folder.path(), Mode::Read, LIMITS).map(|_| ());
    assert!(matches!(reader, Err(StoreError::Damaged { .. })), "{reader:?}");
    check(&reopen(folder.path()), 600);
    check(&reopen(folder.path()), 600);
    // A table that is gone for another reason stays a loss that is told.
    let gone = tables(&records).into_keys().next().unwrap();
    std::fs::remove_file(&gone).unwrap();
    let writer = Store::open(folder.path(), Mode::Write, LIMITS).map(|_| ());
    assert!(matches!(writer, Err(StoreError::Damaged { .. })), "{writer:?}");
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
fn folds_beside_writers_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    store.append(&[incoming(0, 5)], &[human()], Durability::Now).unwrap();
    let is_done = AtomicBool::new(false);
    let write = |writer: u64| {
        for number in 0..60 {
            let batch = [incoming(1 + 60 * writer + number, 3)];
            store.append(&batch, &[], Durability::Later).unwrap();
            // The same rows again and again, and back to values that they had.
            let target = Target::Step(1 + (number % 5) as u32);
            let value = (number % 3 + writer) as f64 / 8.0;
            let label = label(target, LabelName::process(), "human", value);
            store.label(&[Fact { trajectory: 0, label }], &[], Durability::Later).unwrap();
        }
    };
    let write = &write;
    std::thread::scope(|scope| {
        let folding = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                store.fold().unwrap();
            }
        });
        let writers: Vec<_> = (0..3).map(|writer| scope.spawn(move || write(writer))).collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_done.store(true, Ordering::Relaxed);
        folding.join().unwrap();
    });
    check(&store, 181);
    drop(store);
    let store = reopen(folder.path());
    check(&store, 181);
    store.fold().unwrap();
    check(&store, 181);
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
