//! Stores of earlier programs, which every later one opens.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use swirldb::codec::TableId;
use swirldb::diag::hexadecimal;
use swirldb::exchange::content_hash;
use swirldb::store::{Durability, Mode, Store};

use crate::damage::{copy, database};
use crate::session::fixture;
use crate::store::{LIMITS, check, human, incoming, reopen};

/// What is in every family, in words that stay when structures get new fields.
fn told(store: &Arc<Store>) -> String {
    let view = store.view();
    let mut text = String::new();
    let all: Vec<u64> = view.ordinals(0..view.rows(TableId::Trajectories)).collect();
    for (ordinal, t) in all.iter().zip(view.trajectories(&all).unwrap()) {
        let hash = hexadecimal(&content_hash(&t));
        writeln!(text, "trajectory {ordinal} {} {} {hash}", t.source, t.id).unwrap();
        for (sequence, label) in view.labels_of(*ordinal).unwrap() {
            let (target, name) = (&label.target, label.name.as_str());
            let (judge, value) = (&label.judge, label.value);
            writeln!(text, "  label {target:?} {name}@{judge} {value} at {sequence}").unwrap();
        }
    }
    for dataset in store.datasets().unwrap() {
        for row in store.dataset_rows(&dataset.name).unwrap() {
            let hash = hexadecimal(&row.content_hash);
            let (of, step) = (row.trajectory, row.step);
            writeln!(text, "dataset {} {of} {step} {hash}", dataset.name).unwrap();
        }
    }
    for run in store.runs().unwrap() {
        writeln!(text, "run {} {} {}", run.id, run.kind, run.statement).unwrap();
    }
    let mut line = |line: String| writeln!(text, "{line}").unwrap();
    store
        .scan_metrics(|run, step, name, value| line(format!("metric {run} {step} {name} {value}")))
        .unwrap();
    store
        .scan_samples(|run, of, sample| {
            line(format!("sample {run} {of:?} {} {:?}", sample.text, sample.log_probs));
            Ok(true)
        })
        .unwrap();
    store
        .scan_examples(|run, epoch, of, example| {
            line(format!("example {run} {epoch} {of:?} {}", example.advantage));
            Ok(true)
        })
        .unwrap();
    store
        .scan_recordings(None, |cassette, _, recording| {
            line(format!("recording {cassette} {} {:?}", recording.name, recording.output));
            true
        })
        .unwrap();
    for corpus in store.corpora().unwrap() {
        let document = store.document(&corpus.name, "nile").unwrap().unwrap();
        line(format!("corpus {} {}", corpus.name, document.text));
    }
    let tokens = store.tokens(&[[4; 32]]).unwrap();
    line(format!("tokens {:?}", tokens[0].as_ref().unwrap().sequences[0].tokens));
    text
}

fn place(name: &str) -> PathBuf {
    fixture("stores").join(name)
}

#[test]
fn a_store_of_format_version_1_is_read_and_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    copy(&place("version-1"), &path);
    let expected = std::fs::read_to_string(place("version-1.txt")).unwrap();
    let reader = Store::open(&path, Mode::Read, LIMITS).unwrap();
    assert_eq!(told(&reader), expected);
    check(&reader, 33);
    drop(reader);
    let writer = reopen(&path);
    assert_eq!(told(&writer), expected);
    writer.append(&[incoming(77, 3)], &[human()], Durability::Now).unwrap();
    writer.compact().unwrap();
    check(&writer, 34);
    let names = expected.lines().filter(|line| line.starts_with("trajectory")).count();
    assert_eq!(names, 33);
}

#[test]
#[ignore = "a writer: once for every version of the format"]
fn writes_the_store() {
    let path = Path::new(&std::env::var("SWIRL_STORE").expect("where it is to lie")).to_owned();
    database(&path);
    std::fs::remove_dir_all(path.with_extension("live")).unwrap();
    for entry in std::fs::read_dir(path.join("records")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        // They say where and when it was made, and RocksDB does without them.
        if name.starts_with("LOG") || name.starts_with("OPTIONS") || name == "LOCK" {
            std::fs::remove_file(&file).unwrap();
        }
    }
    let read = folder_of(&path);
    std::fs::write(path.with_extension("txt"), told(&read)).unwrap();
}

/// Opens a copy, so that nothing of the store is changed.
fn folder_of(path: &Path) -> Arc<Store> {
    let folder = tempfile::tempdir().unwrap();
    let copied = folder.path().join("db");
    copy(path, &copied);
    Store::open(&copied, Mode::Read, LIMITS).unwrap()
}
