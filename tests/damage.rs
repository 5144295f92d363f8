//! Damage to every file of a database: what comes of it is the right data or an error that says
//! where, never a panic and never another answer.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use swirldb::codec::{
    CorpusRecord, DatasetRecord, DatasetRow, DocumentRecord, ExampleRecord, Family,
    RecordingRecord, RunRecord, RunStatus, SampleRecord, TableId, TokenSequence, TokensRecord,
};
use swirldb::exchange::content_hash;
use swirldb::store::{Durability, Mode, Store, StoreError};

use crate::store::{LIMITS, create, human, incoming};

fn run_record() -> RunRecord {
    RunRecord {
        id: "first".to_owned(),
        kind: "train".to_owned(),
        status: RunStatus::Finished,
        statement: "FROM steps |> TRAIN WITH (objective = 'sft')".to_owned(),
        config: "{}".to_owned(),
        seed: Some(7),
        dataset: Some("chosen".to_owned()),
        output: None,
        error: None,
        started_at: 1,
        ended_at: Some(2),
    }
}

fn sample() -> SampleRecord {
    SampleRecord {
        text: "an action".to_owned(),
        tool: None,
        finish_reason: "stop".to_owned(),
        malformed: None,
        token_ids: vec![1, 2, 3],
        log_probs: vec![-0.5, -1.5, -0.25],
        verdict: Some(1.0),
        reward: Some(0.5),
        advantage: Some(0.25),
        training_step: 1,
        seed: 9,
    }
}

fn example() -> ExampleRecord {
    ExampleRecord {
        weight: 1.0,
        advantage: 0.5,
        tokens: 3,
        training_step: 1,
        log_prob_start: Some(-1.0),
        log_prob_end: None,
        log_prob_reference: None,
    }
}

fn recording() -> RecordingRecord {
    RecordingRecord {
        kind: "tool".to_owned(),
        name: "search".to_owned(),
        version: "1".to_owned(),
        corpus: None,
        arguments: "{\"query\":\"rivers\"}".to_owned(),
        occurrence: 0,
        output: Some("a river".to_owned()),
        is_error: false,
        structured: None,
        hits: 1,
        misses: 0,
        latency_microseconds: 3,
        recorded_at: 4,
    }
}

fn dataset() -> DatasetRecord {
    DatasetRecord {
        name: "chosen".to_owned(),
        statement: "FROM steps |> SAVE AS chosen".to_owned(),
        sequence: 1,
        seeds: vec![],
        judges: vec![],
        saw_gold: None,
        rows: 1,
        trajectories: 1,
        undecided: 0,
        hash: [0; 32],
        created_at: 1,
        horizon: None,
        program: None,
        origin: None,
    }
}

fn corpus() -> CorpusRecord {
    CorpusRecord {
        name: "rivers".to_owned(),
        description: "rivers".to_owned(),
        analyzer: ("english".to_owned(), 1),
        k1: 0.9,
        b: 0.4,
        fields: vec![],
        passages: None,
        made_from: vec![],
        documents: 1,
        text_bytes: 8,
        fingerprint: None,
        created_at: 1,
        program: "1".to_owned(),
    }
}

/// Puts something into every family.
fn fill(store: &Arc<Store>) {
    let view = store.view();
    let hash = content_hash(&view.trajectories(&[1]).unwrap()[0]);
    let row = DatasetRow { trajectory: 1, step: 1, content_hash: hash, reward: None, pair: None };
    store.save_dataset(&dataset(), &[row]).unwrap();
    store.put_run(&run_record()).unwrap();
    store.put_metrics("first", 1, &[("loss", 0.5)]).unwrap();
    store.put_samples("first", &[((1, 1, 0), sample())], Durability::Now).unwrap();
    store.put_examples("first", 0, &[((1, 1, 0), example())]).unwrap();
    store.change_recording("cassette", [3; 32], true, |_| recording()).unwrap();
    store.put_corpus(&corpus()).unwrap();
    let document = DocumentRecord { title: None, text: "the Nile".to_owned(), metadata: None };
    store.add_documents("rivers", vec![("nile".to_owned(), document)]).unwrap();
    let tokens = TokensRecord {
        sequences: vec![TokenSequence { tokens: vec![1, 2], actions: vec![] }],
        truncated: 0,
        dropped: 0,
        respelled: 0,
    };
    store.put_tokens(&[([4; 32], tokens)]).unwrap();
}

/// Everything that a database says.
fn content(store: &Arc<Store>) -> Result<String, StoreError> {
    let view = store.view();
    let all: Vec<u64> = view.ordinals(0..view.rows(TableId::Trajectories)).collect();
    let mut text = String::new();
    let mut write = |part: &dyn std::fmt::Debug| writeln!(text, "{part:?}").unwrap();
    write(&view.trajectories(&all)?);
    for ordinal in &all {
        write(&view.labels_of(*ordinal)?);
    }
    for segment in view.segments(TableId::Steps) {
        let column = view.stored(TableId::Steps, "tool").unwrap();
        write(&view.column(&segment, column)?);
    }
    for dataset in store.datasets()? {
        write(&(&dataset, store.dataset_rows(&dataset.name)?));
    }
    write(&store.runs()?);
    store.scan_metrics(|run, step, name, value| write(&(run, step, name, value)))?;
    store.scan_samples(|run, of, sample| {
        write(&(run, of, sample));
        Ok(true)
    })?;
    store.scan_examples(|run, epoch, of, example| {
        write(&(run, epoch, of, example));
        Ok(true)
    })?;
    store.scan_recordings(None, |cassette, call, recording| {
        write(&(cassette, call, recording));
        true
    })?;
    for corpus in store.corpora()? {
        write(&(&corpus, store.document(&corpus.name, "nile")?));
    }
    write(&store.tokens(&[[4; 32]])?);
    Ok(text)
}

/// A database with a file of every family and commits that are only in the log, as a killed process
/// leaves it, and what it says after each of these.
pub fn database(path: &Path) -> Vec<String> {
    let live = path.with_extension("live");
    let store = create(&live);
    let batch: Vec<_> = (0..30).map(|n| incoming(n, n as usize % 5)).collect();
    store.append(&batch, &[human()], Durability::Now).unwrap();
    store.delete([4], false).unwrap();
    fill(&store);
    store.fold().unwrap();
    store.append(&[incoming(98, 2)], &[], Durability::Now).unwrap();
    store.flush().unwrap();
    let mut states = vec![content(&store).unwrap()];
    for number in 30..33 {
        store.append(&[incoming(number, 2)], &[], Durability::Now).unwrap();
        states.push(content(&store).unwrap());
    }
    for family in Family::ALL {
        assert!(store.bytes(family).unwrap() > 0, "family {} has a file", family.name());
    }
    copy(&live, path);
    states
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// A bit is another, so many sixteenths into the file.
    Flipped(usize),
    /// It ends after so many sixteenths.
    Cut(usize),
    /// Its last byte is missing.
    Shorter,
    /// It is not there.
    Gone,
}

impl Damage {
    fn all() -> impl Iterator<Item = Damage> {
        let flipped = [0, 1, 3, 6, 8, 11, 14, 15].map(Damage::Flipped);
        flipped.into_iter().chain([Damage::Cut(0), Damage::Cut(8), Damage::Shorter, Damage::Gone])
    }

    fn to(self, file: &Path) {
        let mut bytes = std::fs::read(file).unwrap();
        match self {
            Damage::Flipped(at) => {
                let at = bytes.len() * at / 16;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 4;
                }
            }
            Damage::Cut(at) => bytes.truncate(bytes.len() * at / 16),
            Damage::Shorter => bytes.truncate(bytes.len().saturating_sub(1)),
            Damage::Gone => return std::fs::remove_file(file).unwrap(),
        }
        std::fs::write(file, bytes).unwrap();
    }
}

/// What came of a damage.
#[derive(Debug, PartialEq)]
enum Came {
    Whole,
    /// Commits that were only in the log are not there, the last ones.
    Earlier(usize),
    Told(String),
    Found(String),
    Wrong(String),
}

fn came_of(path: &Path, mode: Mode, states: &[String]) -> Came {
    let told = catch_unwind(AssertUnwindSafe(|| {
        let store = Store::open(path, mode, LIMITS)?;
        let said = content(&store)?;
        let report = store.verify(&content_hash, &mut |_, _| true)?;
        Ok::<_, StoreError>((said, report.findings))
    }));
    match told {
        Err(_) => Came::Wrong("a panic".to_owned()),
        Ok(Err(error)) => Came::Told(error.to_string()),
        Ok(Ok((_, findings))) if !findings.is_empty() => {
            Came::Found(format!("{}: {}", findings[0].place, findings[0].what))
        }
        Ok(Ok((said, _))) => match states.iter().rev().position(|state| *state == said) {
            Some(0) => Came::Whole,
            Some(commits) => Came::Earlier(commits),
            None => Came::Wrong(format!("{} bytes, not {}", said.len(), states[0].len())),
        },
    }
}

#[test]
fn every_damage_ends_in_the_right_data_or_in_an_error_that_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let states = database(&whole);
    assert_eq!(came_of(&whole, Mode::Read, &states), Came::Whole);
    let entries = std::fs::read_dir(whole.join("records")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.push(whole.join("SWIRLDB"));
    let tried: Vec<(PathBuf, Damage, Mode)> = files
        .iter()
        .filter(|file| !file.ends_with("LOCK"))
        .flat_map(|file| Damage::all().map(move |damage| (file.clone(), damage)))
        .flat_map(|(file, damage)| {
            [Mode::Read, Mode::Write].map(|mode| (file.clone(), damage, mode))
        })
        .collect();
    let came: Vec<Came> = tried
        .par_iter()
        .enumerate()
        .map(|(number, (file, damage, mode))| {
            let path = folder.path().join(format!("try-{number}"));
            copy(&whole, &path);
            damage.to(&path.join(file.strip_prefix(&whole).unwrap()));
            let came = came_of(&path, *mode, &states);
            std::fs::remove_dir_all(&path).unwrap();
            came
        })
        .collect();
    let mut wrong = Vec::new();
    for ((file, damage, mode), came) in tried.iter().zip(&came) {
        let name = file.file_name().unwrap().to_string_lossy();
        let is_log = name.ends_with(".log");
        let fits = match came {
            Came::Whole => true,
            // A log that ends in the middle of a commit is what a kill leaves.
            Came::Earlier(_) => is_log,
            Came::Told(error) | Came::Found(error) => !error.is_empty(),
            Came::Wrong(_) => false,
        };
        if !fits {
            wrong.push(format!("{name} {damage:?} {mode:?}: {came:?}"));
        }
    }
    if std::env::var_os("SWIRL_DAMAGES").is_some() {
        for ((file, damage, mode), came) in tried.iter().zip(&came) {
            eprintln!("{} {damage:?} {mode:?}: {came:?}", file.display());
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(tried.len() > 400, "{} damages", tried.len());
    let said = came.iter().filter(|came| matches!(came, Came::Told(_) | Came::Found(_))).count();
    assert!(said > tried.len() / 3, "{said} of {}", tried.len());
}
