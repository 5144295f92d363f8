//! Deletions: what is deleted is in no answer, and after a compaction nowhere.

use std::path::Path;
use std::sync::Arc;

use swirldb::codec::{Family, TableId};
use swirldb::model::{LabelName, Target};
use swirldb::session::{Outcome, Session};
use swirldb::store::{
    Appended, Deletion, Durability, Fact, Limits, Pinning, Store, StoreError, Swept,
};

use crate::session::{fixture, load, mistake, number, run, table, world};
use crate::store::{LIMITS, check, create, human, incoming, label, large, reopen};

/// Statements over every kind of table and way of reading; none shows what numbers rows.
const ASKED: [&str; 16] = [
    "FROM trajectories |> AGGREGATE count(*), sum(n_steps), min(trajectory_id)",
    "FROM steps |> AGGREGATE count(*) AS n, avg(action_chars) GROUP BY tool |> ORDER BY n, tool",
    "FROM steps |> WHERE tool = 'search' AND step < 3 |> AGGREGATE count(*), max(state_chars)",
    "FROM subtrajectories |> WHERE matches(observation, 'the') |> AGGREGATE count(*)",
    "FROM steps |> WHERE action LIKE '%a%' |> AGGREGATE count(*)",
    "SELECT trajectory_id, step, action FROM steps ORDER BY trajectory_id, step LIMIT 40",
    "FROM steps |> EXTEND lag(tool) OVER (PARTITION BY trajectory_id ORDER BY step) AS before \
     |> AGGREGATE count(*) AS n GROUP BY before, tool |> ORDER BY n, before, tool",
    "FROM steps |> MATCH a:{tool = 'search'} b:{tool = 'search'} |> AGGREGATE count(*)",
    "FROM steps |> SAMPLE 7 STEPS SEED 3 |> AGGREGATE count(*)",
    "FROM tool_calls |> AGGREGATE count(*) AS n GROUP BY tool |> ORDER BY n, tool",
    "FROM labels |> AGGREGATE count(*), sum(value)",
    "SELECT t.trajectory_id, count(*) FROM trajectories t JOIN steps s \
     ON t.trajectory_id = s.trajectory_id GROUP BY t.trajectory_id ORDER BY 1",
    "FROM trajectories |> WHERE question LIKE '%a%' |> AGGREGATE count(*)",
    "FROM trajectories |> AGGREGATE count(DISTINCT question_id)",
    "FROM steps |> WHERE is_final |> SELECT trajectory_id, action |> ORDER BY trajectory_id",
    "FROM steps |> ORDER BY trajectory_id DESC, step |> LIMIT 5 |> SELECT trajectory_id, step",
];

/// What every statement answers.
fn answers(session: &Session) -> Vec<String> {
    ASKED.iter().map(|asked| table(session, asked)).collect()
}

fn deleted(session: &Session, text: &str) -> (u64, u64, Vec<Pinning>) {
    match run(session, text).0 {
        Outcome::Deleted { trajectories, steps, datasets } => (trajectories, steps, datasets),
        other => panic!("{other:?}"),
    }
}

/// A database with the trajectories of the fixture that `keep` keeps.
fn only(folder: &Path, keep: impl Fn(usize) -> bool) -> Session {
    let text = std::fs::read_to_string(fixture("world/trajectories.jsonl")).unwrap();
    let lines = text.lines().enumerate().filter(|(at, _)| keep(*at)).map(|(_, line)| line);
    let path = folder.join("kept.jsonl");
    std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let options = crate::session::OPTIONS;
    let session = Session::open(&folder.join("kept"), options, true).unwrap();
    load(&session, &path, Some("world"));
    session
}

/// Places in the file, in quotes, for a list of ids.
fn ids(session: &Session, gone: impl Fn(usize) -> bool) -> String {
    let view = session.database().view();
    let all: Vec<u64> = (0..view.rows(TableId::Trajectories)).collect();
    let ids = view.trajectories(&all).unwrap().into_iter().enumerate();
    let gone = ids.filter(|(at, _)| gone(*at)).map(|(_, t)| format!("'{}'", t.id));
    gone.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_database_after_a_deletion_answers_as_one_that_never_had_the_trajectories() {
    for seed in [3usize, 7, 11] {
        let folder = tempfile::tempdir().unwrap();
        let session = world(folder.path());
        let before = answers(&session);
        let gone = |at: usize| at * seed % 13 < 4 || (20..40).contains(&at);
        let expected = answers(&only(folder.path(), |at| !gone(at)));
        let held = session.database().view();
        let list = ids(&session, gone);
        let (trajectories, steps, _) =
            deleted(&session, &format!("DELETE FROM trajectories WHERE trajectory_id IN ({list})"));
        assert!(trajectories > 20 && steps > trajectories, "{trajectories} {steps}");
        assert_eq!(answers(&session), expected, "seed {seed}");
        assert_eq!(held.count(TableId::Trajectories), held.rows(TableId::Trajectories));
        drop(held);
        assert_eq!(session.database().verify(&mut |_, _| true).unwrap().findings, []);
        // What statements ran may still be held by threads that end.
        let path = session.database().store().path().to_owned();
        drop(session);
        let session = Session::open(&path, crate::session::OPTIONS, false).unwrap();
        let swept = session.compact().unwrap();
        assert_eq!((swept.trajectories, swept.waiting), (trajectories, 0));
        assert_eq!(answers(&session), expected, "seed {seed}, compacted");
        assert_eq!(session.database().verify(&mut |_, _| true).unwrap().findings, []);
        drop(session);
        let limits = Limits { memory_bytes: 64 << 20 };
        Store::repair(&path, limits, &mut |_, _| true).unwrap().unwrap();
        let session = Session::open(&path, crate::session::OPTIONS, false).unwrap();
        assert_eq!(answers(&session), expected, "seed {seed}, repaired");
        assert_eq!(session.database().verify(&mut |_, _| true).unwrap().findings, []);
        // What was deleted may come again, and is then as it was.
        let report = load(&session, &fixture("world/trajectories.jsonl"), Some("world"));
        assert_eq!(report.trajectories, trajectories);
        let again = answers(&session);
        let same = before.iter().zip(&again).filter(|(before, again)| before == again).count();
        assert_eq!(same, ASKED.len(), "all but the order of arrival is the same");
    }
}

#[test]
fn what_datasets_hold_is_deleted_with_them_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    run(&session, "FROM steps |> WHERE step = 1 |> LIMIT 9 |> SAVE AS first_steps");
    let all = number(&session, "FROM trajectories |> AGGREGATE count(*)");
    let told = mistake(&session, "DELETE FROM trajectories WHERE n_steps > 0");
    assert!(told.contains("dataset 'first_steps' holds 9 of them"), "{told}");
    assert!(told.contains("CASCADE"), "{told}");
    assert_eq!(number(&session, "FROM trajectories |> AGGREGATE count(*)"), all);
    let (trajectories, _, datasets) =
        deleted(&session, "DELETE FROM trajectories WHERE true CASCADE");
    assert_eq!(trajectories as f64, all);
    assert_eq!(datasets, [Pinning { dataset: "first_steps".to_owned(), trajectories: 9 }]);
    assert_eq!(number(&session, "FROM steps |> AGGREGATE count(*)"), 0.0);
    assert_eq!(session.database().store().datasets().unwrap(), []);
    assert_eq!(deleted(&session, "DELETE FROM trajectories WHERE true").0, 0);
    session.compact().unwrap();
    assert_eq!(session.database().verify(&mut |_, _| true).unwrap().findings, []);
}

#[test]
fn what_is_no_deletion_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    for (text, told) in [
        ("DELETE FROM steps WHERE tool = 'search'", "only whole trajectories are deleted"),
        ("DELETE FROM trajectories", "WHERE true deletes all of them"),
        ("DELETE trajectories WHERE true", "expected FROM trajectories"),
        ("DELETE FROM labels WHERE true", "expected trajectories, found 'labels'"),
        ("DELETE FROM trajectories WHERE n_stps > 3", "n_steps"),
        ("DELETE FROM trajectories WHERE true |> LIMIT 3", "one condition and no stages"),
        ("UPDATE steps SET process = 1", "LABEL AS name BY"),
    ] {
        let found = mistake(&session, text);
        assert!(found.contains(told), "{text}\n{found}");
    }
    assert!(number(&session, "FROM trajectories |> AGGREGATE count(*)") > 100.0);
}

/// Every value of every family that holds `text`.
fn holding(path: &Path, text: &str) -> Vec<String> {
    let path = path.join("records");
    let names = rocksdb::DB::list_cf(&rocksdb::Options::default(), &path).unwrap();
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), &path, &names).unwrap();
    let mut found = Vec::new();
    for name in names.iter().filter(|name| *name != "default") {
        let family = db.cf_handle(name).unwrap();
        for entry in db.iterator_cf(family, rocksdb::IteratorMode::Start) {
            let (key, value) = entry.unwrap();
            let whole = [key.as_ref(), value.as_ref()].concat();
            if whole.windows(text.len()).any(|part| part == text.as_bytes()) {
                found.push(format!("{name} {key:02x?}"));
            }
        }
    }
    found
}

#[test]
fn after_a_compaction_nothing_holds_a_word_of_what_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    let mut batch = large(0..40);
    for (at, incoming) in batch.iter_mut().enumerate().filter(|(at, _)| at % 5 == 2) {
        let t = &mut incoming.trajectory;
        t.id = format!("a-secret-identifier-{at}");
        t.model = Some(format!("a secret model with a long name {at}"));
        t.question = Some("a secret question".to_owned());
        t.steps[1].action.content = Some("a secret action ".repeat(30));
        t.steps[1].action.tool_calls[0].name = "a secret tool with a long name".to_owned();
        incoming.labels[0].rationale = Some("a secret reason".to_owned());
        incoming.content_hash = swirldb::exchange::content_hash(&incoming.trajectory);
    }
    store.append(&batch, &[human()], Durability::Now).unwrap();
    let gone: Vec<u64> = (0..40).filter(|at| at % 5 == 2).collect();
    let before = store.view();
    let whole = before.trajectories(&gone).unwrap();
    let done = store.delete(gone.clone(), false).unwrap();
    assert_eq!(done, Deletion::Done { trajectories: 8, steps: 24, datasets: vec![] });
    // A view from before reads them still, and a compaction waits for it.
    assert_eq!(store.compact().unwrap(), Swept { trajectories: 0, waiting: 8 });
    assert_eq!(before.trajectories(&gone).unwrap(), whole);
    drop(before);
    assert_eq!(store.compact().unwrap(), Swept { trajectories: 8, waiting: 0 });
    check(&store, 32);
    assert_eq!(store.view().census(&mut |_, _| true).unwrap().trajectories, 32);
    drop(store);
    assert_eq!(holding(folder.path(), "secret"), Vec::<String>::new());
    // What they shared with others stays.
    let store = reopen(folder.path());
    check(&store, 32);
    assert_eq!(store.compact().unwrap(), Swept::default());
    check(&store, 32);
    let kept = store.view().trajectories(&[3]).unwrap();
    assert_eq!(kept[0], batch[3].trajectory);
    assert!(store.bytes(Family::Body).unwrap() > 0);
}

#[test]
fn nothing_is_added_to_what_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    let batch: Vec<_> = (0..6).map(|n| incoming(n, 3)).collect();
    store.append(&batch, &[human()], Durability::Now).unwrap();
    store.delete([1, 1, 4, 99], false).unwrap();
    let label = label(Target::Step(1), LabelName::process(), "human", 0.5);
    let fact = Fact { trajectory: 4, label };
    let error = store.label(&[fact], &[], Durability::Now).unwrap_err();
    assert!(matches!(&error, StoreError::Name(told) if told.contains("was deleted")), "{error}");
    // The same again is new, and its name leads to it from then on.
    let (outcome, _) = store.append(&batch, &[human()], Durability::Now).unwrap();
    let expected: Vec<Appended> = [0, 6, 2, 3, 7, 5]
        .map(|at| if at < 6 { Appended::Same(at) } else { Appended::Stored(at) })
        .to_vec();
    assert_eq!(outcome, expected);
    store.compact().unwrap();
    check(&store, 6);
    assert_eq!(store.view().find("test", "t4").unwrap().map(|(ordinal, _)| ordinal), Some(7));
    drop(store);
    let again: Arc<Store> = reopen(folder.path());
    check(&again, 6);
    let report = Store::repair(&folder.path().join("none"), LIMITS, &mut |_, _| true);
    assert!(report.is_err());
}
