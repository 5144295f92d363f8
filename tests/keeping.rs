//! Looking after a database: backups, repair, deletions, many writers, what it takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use swirldb::codec::{Family, Key, TableId};
use swirldb::model::{LabelName, Target};
use swirldb::store::{
    Backup, CrashPoints, Durability, Fact, Mode, RepairReport, Store, StoreError, restore,
};

use crate::store::{LIMITS, check, create, human, incoming, label, large, put_bytes, reopen};

/// A database with rows in columns and rows that are not, a label that replaced another, and a file
/// of a training run.
fn filled(path: &Path) -> Arc<Store> {
    let store = create(path);
    let batch: Vec<_> = (0..40).map(|n| incoming(n, n as usize % 7)).collect();
    store.append(&batch, &[human()], Durability::Now).unwrap();
    store.fold().unwrap();
    let batch: Vec<_> = (40..60).map(|n| incoming(n, 3)).collect();
    store.append(&batch, &[], Durability::Now).unwrap();
    let newer = label(Target::Step(1), LabelName::process(), "human", 0.25);
    let facts = [3, 50].map(|trajectory| Fact { trajectory, label: newer.clone() });
    store.label(&facts, &[], Durability::Now).unwrap();
    let run = path.join("runs/first");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("weights"), "1 2 3").unwrap();
    let corpora = path.join("corpora");
    std::fs::create_dir_all(corpora.join("0123456789abcdef")).unwrap();
    std::fs::write(corpora.join("0123456789abcdef.vectors"), "made by a model").unwrap();
    store
}

const ROWS: TableId = TableId::Trajectories;

/// Everything that a database says of its trajectories and labels.
fn content(store: &Arc<Store>) -> String {
    let view = store.view();
    let all: Vec<u64> = view.ordinals(0..view.rows(TableId::Trajectories)).collect();
    let labels: Vec<_> = all.iter().map(|of| view.labels_of(*of).unwrap()).collect();
    format!("{:?} {labels:?} {:?}", view.trajectories(&all).unwrap(), view.labels())
}

fn backed_up(store: &Arc<Store>, to: &Path) -> Backup {
    store.backup(to, &mut |_, _| true).unwrap().unwrap()
}

fn restored(from: &Path, to: &Path) -> Result<Option<Backup>, StoreError> {
    restore(from, to, &mut |_, _| true)
}

#[test]
fn a_restored_backup_is_the_database_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let store = filled(&place("db"));
    let before = content(&store);
    let backup = backed_up(&store, &place("backup"));
    assert_eq!(backup.sequence, store.view().sequence());
    store.append(&[incoming(99, 4)], &[], Durability::Now).unwrap();
    store.compact().unwrap();
    drop(store);
    assert_eq!(restored(&place("backup"), &place("again")).unwrap(), Some(backup));
    let again = reopen(&place("again"));
    assert_eq!(content(&again), before);
    check(&again, 60);
    let weights = std::fs::read_to_string(place("again/runs/first/weights")).unwrap();
    assert_eq!(weights, "1 2 3");
    assert!(place("again/corpora/0123456789abcdef.vectors").is_file(), "no model is asked again");
    // It is a database like any other.
    again.append(&[incoming(99, 4)], &[], Durability::Now).unwrap();
    check(&again, 61);
}

#[test]
fn a_backup_is_taken_beside_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let writer = filled(&place("db"));
    let reader = Store::open(&place("db"), Mode::Read, LIMITS).unwrap();
    writer.append(&[incoming(99, 4)], &[], Durability::Now).unwrap();
    backed_up(&reader, &place("backup"));
    restored(&place("backup"), &place("again")).unwrap();
    let again = reopen(&place("again"));
    // What was there when the reader was opened: in files and in the log.
    check(&again, 60);
    assert_eq!(without_sequences(&again), without_sequences(&reader));
}

/// The files of a backup but its manifest.
fn files(backup: &Path) -> Vec<PathBuf> {
    let text = std::fs::read(backup.join("BACKUP.json")).unwrap();
    let backup_of: Backup = serde_json::from_slice(&text).unwrap();
    backup_of.files.iter().map(|file| backup.join(&file.path)).collect()
}

#[test]
fn every_damage_to_a_backup_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let store = filled(&place("db"));
    backed_up(&store, &place("backup"));
    drop(store);
    let all = files(&place("backup"));
    assert!(all.len() > 4, "{all:?}");
    let mut damages = 0;
    for (number, file) in all.iter().enumerate() {
        let whole = std::fs::read(file).unwrap();
        // A file that is linked is the database's own: it is not written to.
        std::fs::remove_file(file).unwrap();
        let mut flipped = whole.clone();
        if let Some(byte) = flipped.get_mut(whole.len() / 2) {
            *byte ^= 1;
        }
        let longer = [whole.as_slice(), b"x"].concat();
        let cut = whole[..whole.len().saturating_sub(1)].to_vec();
        for damage in [None, Some(flipped), Some(longer), Some(cut)] {
            if damage.as_ref() == Some(&whole) {
                continue;
            }
            damages += 1;
            if let Some(bytes) = &damage {
                std::fs::write(file, bytes).unwrap();
            }
            let to = place(&format!("to-{number}-{damages}"));
            let error = restored(&place("backup"), &to).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(&file.display().to_string()), "{error}");
            assert!(!to.join("SWIRLDB").exists(), "what is not whole is no database");
        }
        std::fs::write(file, whole).unwrap();
    }
    assert!(damages > 12, "{damages}");
    assert!(restored(&place("backup"), &place("whole")).is_ok());
}

#[test]
fn what_is_no_backup_or_no_place_for_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let store = filled(&place("db"));
    let error = store.backup(&place("db"), &mut |_, _| true).unwrap_err().to_string();
    assert!(error.contains("something is in it"), "{error}");
    let error = restored(&place("db"), &place("to")).unwrap_err().to_string();
    assert!(error.contains("it has no file BACKUP.json"), "{error}");
    // One that was stopped leaves nothing, and may be begun again.
    assert_eq!(store.backup(&place("stopped"), &mut |_, _| false).unwrap(), None);
    let error = restored(&place("stopped"), &place("to")).unwrap_err().to_string();
    assert!(error.contains("when a backup is whole"), "{error}");
    backed_up(&store, &place("stopped"));
    backed_up(&store, &place("backup"));
    let error = restored(&place("backup"), &place("db")).unwrap_err().to_string();
    assert!(error.contains("something is in it"), "{error}");
    let manifest = place("backup/BACKUP.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    for (from, to, told) in [
        ("records/CURRENT", "records/../../CURRENT", "is no place here"),
        ("\"format\": 1", "\"format\": 9", "format version 9"),
        ("\"files\"", "\"fles\"", "missing field `files`"),
    ] {
        assert!(text.contains(from), "{text}");
        std::fs::write(&manifest, text.replacen(from, to, 1)).unwrap();
        let error = restored(&place("backup"), &place("to")).unwrap_err().to_string();
        assert!(error.contains(told), "{told}: {error}");
    }
}

#[test]
fn a_reader_sees_all_that_was_acknowledged_and_keeps_it_whatever_the_writer_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let writer = create(&path);
    let mut held = Vec::new();
    let steps: [Operation; 4] = [
        |_| Ok(()),
        |store| store.fold(),
        |store| store.flush(),
        |store| store.compact().map(drop),
    ];
    for round in 0..16u64 {
        let batch: Vec<_> = (round * 5..round * 5 + 5).map(|n| incoming(n, 3)).collect();
        writer.append(&batch, &[human()], Durability::Now).unwrap();
        let newer = label(Target::Step(1), LabelName::process(), "human", 1.0 / (round + 2) as f64);
        let fact = Fact { trajectory: round, label: newer };
        writer.label(&[fact], &[], Durability::Now).unwrap();
        // One that was labelled before, so that labels go with it.
        let gone = round.checked_sub(9).filter(|at| at % 2 == 1);
        writer.delete(gone, false).unwrap();
        let reader = Store::open(&path, Mode::Read, LIMITS).unwrap();
        assert_eq!(content(&reader), content(&writer), "what is acknowledged is seen");
        held.push((content(&reader), reader));
        steps[round as usize % steps.len()](&writer).unwrap();
        check(&Store::open(&path, Mode::Read, LIMITS).unwrap(), writer.view().count(ROWS));
    }
    for (said, reader) in &held {
        assert_eq!(content(reader), *said);
    }
}

fn repair(path: &Path) -> RepairReport {
    Store::repair(path, LIMITS, &mut |_, _| true).unwrap().unwrap()
}

#[test]
fn columns_are_made_anew_from_records_whatever_became_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path());
    let before = content(&store);
    let sequence = store.view().sequence();
    drop(store);
    // Chunks and deltas that are no such thing, and what a killed bulk load left.
    let column = |column| Key::Column { table: TableId::Steps, column, chunk: 0, version: 2 };
    let mut damaged: Vec<Key> = (0..12).map(column).collect();
    damaged.extend([3, 4].map(Key::Delta));
    damaged.extend([Key::Trajectory(60), Key::Step(60, 1), Key::Body(5_000)]);
    damaged.push(Key::Meta("manifest".to_owned()));
    put_bytes(folder.path(), &damaged, b"no such thing");
    let error = Store::open(folder.path(), Mode::Write, LIMITS).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let report = repair(folder.path());
    let steps = (0..40).map(|n| n % 7).sum::<u64>() + 60;
    assert_eq!((report.trajectories, report.steps), (60, steps));
    let again = reopen(folder.path());
    assert_eq!(content(&again), before);
    assert!(again.view().sequence() > sequence, "a view of before is not taken for one of now");
    check(&again, 60);
    again.append(&[incoming(99, 4)], &[], Durability::Now).unwrap();
    check(&again, 61);
    drop(again);
    // Of a whole database it makes the same.
    repair(folder.path());
    check(&reopen(folder.path()), 61);
}

#[test]
fn a_repair_that_was_stopped_is_begun_again_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path());
    let before = content(&store);
    drop(store);
    // While it only reads, everything is as it was.
    let stopped = Store::repair(folder.path(), LIMITS, &mut |_, _| false).unwrap();
    assert_eq!(stopped, None);
    assert_eq!(content(&reopen(folder.path())), before);
    let stopped = Store::repair(folder.path(), LIMITS, &mut |done, all| done <= all / 2).unwrap();
    assert_eq!(stopped, None);
    for mode in [Mode::Write, Mode::Read] {
        let error = Store::open(folder.path(), mode, LIMITS).err().unwrap().to_string();
        assert!(error.contains("run 'swirl repair' again"), "{error}");
    }
    // It was killed between dropping a family and making it.
    for family in ["column", "delta"] {
        let path = folder.path().join("records");
        let names = rocksdb::DB::list_cf(&rocksdb::Options::default(), &path).unwrap();
        let mut db = rocksdb::DB::open_cf(&rocksdb::Options::default(), &path, names).unwrap();
        db.drop_cf(family).unwrap();
        drop(db);
        let error = Store::open(folder.path(), Mode::Write, LIMITS).err().unwrap().to_string();
        assert!(error.contains("run 'swirl repair' again"), "{error}");
    }
    repair(folder.path());
    let again = reopen(folder.path());
    assert_eq!(content(&again), before);
    check(&again, 60);
}

#[test]
fn a_record_that_cannot_be_read_is_named_and_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    put_bytes(folder.path(), &[Key::Step(41, 2)], b"no such thing");
    let error = Store::repair(folder.path(), LIMITS, &mut |_, _| true).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("step"), "{error}");
    // The columns still answer.
    assert_eq!(reopen(folder.path()).view().rows(TableId::Trajectories), 60);
}

#[test]
fn many_writers_lose_nothing_and_share_what_is_there() {
    const WRITERS: u64 = 8;
    const EACH: u64 = 12;
    let folder = tempfile::tempdir().unwrap();
    let store = create(folder.path());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for number in 0..EACH {
                    // Every second one is also written by the next writer.
                    let own = writer * EACH + number;
                    let numbers = [own, (own + EACH * (own % 2)) % (WRITERS * EACH)];
                    let batch = numbers.map(|number| incoming(number, 2));
                    store.append(&batch, &[human()], Durability::Now).unwrap();
                }
            });
        }
    });
    check(&store, WRITERS * EACH);
    let all = content(&store);
    drop(store);
    let again = reopen(folder.path());
    assert_eq!(content(&again), all);
    check(&again, WRITERS * EACH);
}

#[test]
fn a_census_counts_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path());
    store.compact().unwrap();
    let census = store.view().census(&mut |_, _| true).unwrap();
    let steps = (0..40).map(|n| n % 7).sum::<u64>() + 60;
    assert_eq!((census.trajectories, census.steps, census.unfolded), (60, steps, 0));
    let family = |of: Family| census.families.iter().find(|f| f.name == of.name()).unwrap();
    assert_eq!(family(Family::Trajectory).entries, 60);
    assert_eq!(family(Family::Step).entries, steps);
    // Five observations and one prompt, each stored once.
    let texts = census.texts.unwrap();
    assert_eq!((texts.texts, texts.occurrences), (6, steps + 60));
    let prompt = "be careful ".len() as u64 * 60;
    let observation = "observation 0 ".len() as u64 * 40;
    assert_eq!(texts.bytes, prompt + 5 * observation);
    assert_eq!(texts.occurring_bytes, 60 * prompt + steps * observation);
    assert_eq!(store.view().census(&mut |_, _| false).unwrap().texts.is_some(), steps + 60 < 4_096);
}

type Operation = fn(&Arc<Store>) -> Result<(), StoreError>;

fn labelled(store: &Arc<Store>, value: f64) -> Result<(), StoreError> {
    let newer = label(Target::Step(1), LabelName::process(), "human", value);
    let facts = [3, 5].map(|trajectory| Fact { trajectory, label: newer.clone() });
    store.label(&facts, &[], Durability::Now).map(drop)
}

fn appended(
    store: &Arc<Store>,
    numbers: std::ops::Range<u64>,
    durability: Durability,
) -> Result<(), StoreError> {
    let batch: Vec<_> = numbers.map(|n| incoming(n, 2)).collect();
    store.append(&batch, &[human()], durability).map(drop)
}

/// Bulk loads and what is done between them; each with the trajectories there are after it.
const OPERATIONS: [(Operation, u64); 13] = [
    (|store| appended(store, 0..10, Durability::Now), 10),
    (|store| store.append(&large(100..400), &[human()], Durability::Later).map(drop), 310),
    (|store| labelled(store, 0.25), 310),
    (|store| store.fold(), 310),
    (|store| appended(store, 10..12, Durability::Later), 312),
    (|store| labelled(store, 0.75), 312),
    (|store| store.settle(), 312),
    (|store| store.append(&large(400..700), &[], Durability::Now).map(drop), 612),
    (|store| store.compact().map(drop), 612),
    (|store| store.delete([2, 3, 305, 306, 307], false).map(drop), 607),
    (|store| appended(store, 2..4, Durability::Now), 609),
    (|store| store.compact().map(drop), 609),
    (|store| store.delete(400..600, true).map(drop), 409),
];

#[test]
fn at_every_crash_point_what_was_acknowledged_is_there_and_the_rest_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let whole = create(&folder.path().join("whole"));
    OPERATIONS.iter().for_each(|(operation, _)| operation(&whole).unwrap());
    let expected = content(&whole);
    let mut visited = 0;
    loop {
        let path = folder.path().join(format!("point-{visited}"));
        drop(create(&path));
        let points = Arc::new(CrashPoints::after(visited));
        let opened = Store::open_failing(&path, LIMITS, points.clone());
        let mut done = 0;
        if let Ok(store) = opened {
            let mut operations = OPERATIONS.iter();
            done +=
                operations.by_ref().take_while(|(operation, _)| operation(&store).is_ok()).count();
        }
        let store = reopen(&path);
        let rows = store.view().count(TableId::Trajectories);
        let before = done.checked_sub(1).map_or(0, |last| OPERATIONS[last].1);
        let after = OPERATIONS.get(done).map_or(before, |(_, after)| *after);
        assert!(rows == before || rows == after, "point {visited}: {rows} in operation {done}");
        check(&store, rows);
        // It goes on from there as if nothing had been.
        for (operation, _) in &OPERATIONS[done..] {
            operation(&store).unwrap();
        }
        check(&store, OPERATIONS[OPERATIONS.len() - 1].1);
        drop(store);
        assert_eq!(without_sequences(&reopen(&path)), without_sequences(&whole), "point {visited}");
        std::fs::remove_dir_all(&path).unwrap();
        if points.passed() <= visited {
            break;
        }
        visited += 1;
    }
    assert_eq!(content(&whole), expected);
    assert!(visited > 25, "{visited} crash points");
}

/// What a database says, but for when it was said.
fn without_sequences(store: &Arc<Store>) -> String {
    let view = store.view();
    let all: Vec<u64> = view.ordinals(0..view.rows(TableId::Trajectories)).collect();
    let labels: Vec<_> = all.iter().map(|of| view.current_labels(*of).unwrap()).collect();
    format!("{:?} {labels:?}", view.trajectories(&all).unwrap())
}
