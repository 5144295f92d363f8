//! Corpora from files and rows: sealed, searched, compared, carried; tools over them, recorded.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use swirldb::codec::CorpusField;
use swirldb::db::{Chunking, CorpusDraft};
use swirldb::diag::hexadecimal;
use swirldb::score::{Measure, Topics};
use swirldb::serve::{Backend, DatabaseBackend, Refusal};
use swirldb::session::{
    Outcome, Session, SessionOptions, TopicSearch, corpus_draft, measured, qrels, toolbox,
};
use swirldb::tools::{RecordMode, Recorder, Toolbox};

use super::session::{OPTIONS, number, run, table, world};

const LINES: &[(&str, &str, &str)] = &[
    ("b", "Tides", "The sea rises and falls twice a day, drawn by the moon."),
    ("a", "Moon", "The moon draws the sea; its pull makes tides."),
    ("c", "", "Lighthouses warn ships of rocks."),
    ("d", "Glaciers", "Ice that flows like a slow river, a day at a time."),
];

/// The rows of a statement, cells with commas between.
fn rows(session: &Session, text: &str) -> Vec<String> {
    let shown = table(session, text);
    let rows = shown.lines().filter(|line| line.starts_with('|')).skip(1);
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|').map(str::trim);
        cells.collect::<Vec<_>>().join(",")
    };
    rows.map(cells).collect()
}

fn write_lines(folder: &Path, name: &str, lines: &[(&str, &str, &str)]) -> PathBuf {
    let path = folder.join(name);
    let line = |(id, title, text): &(&str, &str, &str)| {
        json!({"id": id, "title": title, "text": text}).to_string()
    };
    fs::write(&path, lines.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    path
}

fn open(folder: &Path, options: SessionOptions) -> Session {
    Session::open(&folder.join("db"), options, true).unwrap()
}

fn create(session: &Session, name: &str, files: &[PathBuf]) -> String {
    let created =
        session.create_corpus(corpus_draft(name), files, None, false, &mut |told| panic!("{told}"));
    hexadecimal(&created.unwrap().0.fingerprint.unwrap())
}

fn ranked(session: &Session, name: &str, query: &str) -> Vec<(String, u64)> {
    let corpus = session.open_corpus(name).unwrap();
    let ranked = corpus.rank(query, 10, &|| false).unwrap();
    ranked.into_iter().map(|(id, score)| (id, score.to_bits())).collect()
}

#[test]
fn however_it_is_built_a_corpus_answers_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let whole = write_lines(folder.path(), "whole.jsonl", LINES);
    let mut turned = LINES.to_vec();
    turned.reverse();
    let first = write_lines(folder.path(), "first.jsonl", &turned[..1]);
    let rest = write_lines(folder.path(), "rest.jsonl", &turned[1..]);
    let mut answers = Vec::new();
    let builds: [(usize, usize, Vec<PathBuf>); 5] = [
        (1, 1 << 30, vec![whole.clone()]),
        (2, 1 << 30, vec![first.clone(), rest.clone()]),
        (4, 64 << 20, vec![rest.clone(), first.clone()]),
        (3, 256 << 20, vec![whole.clone(), rest.clone()]),
        (2, 64 << 20, vec![first, whole, rest]),
    ];
    for (at, (threads, memory_bytes, files)) in builds.into_iter().enumerate() {
        let place = folder.path().join(at.to_string());
        let session = open(&place, SessionOptions { memory_bytes, threads, ..OPTIONS });
        let fingerprint = create(&session, "sea", &files);
        let found = ["moon sea day", "tides", "a slow ship of the sea", "nothing"]
            .map(|query| ranked(&session, "sea", query));
        answers.push((fingerprint, found));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let ids: Vec<&str> = answers[0].1[0].iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["b", "a", "d"]);
    assert!(answers[0].1[3].is_empty());
}

#[test]
fn what_is_left_out_of_a_corpus_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let session = open(folder.path(), OPTIONS);
    let file = folder.path().join("some.jsonl");
    let lines = [
        r#"{"id": "a", "text": "one"}"#,
        r#"{"id": "a", "text": "one"}"#,
        r#"{"id": "a", "text": "two"}"#,
        r#"{"id": "b"}"#,
        r#"{"id": "c", "text": "three"}"#,
    ];
    fs::write(&file, lines.join("\n")).unwrap();
    let files = [file.clone()];
    let mut told = Vec::new();
    let mut hear = |text: &str| told.push(text.replace(&folder.path().display().to_string(), ""));
    let strict = session.create_corpus(corpus_draft("strict"), &files, None, true, &mut hear);
    assert!(strict.unwrap_err().to_string().contains("line 4"), "the first that is wrong");
    let (corpus, report) =
        session.create_corpus(corpus_draft("some"), &files, None, false, &mut hear).unwrap();
    assert_eq!((corpus.documents, report.new, report.same), (2, 2, 1));
    assert_eq!((report.conflicts, report.bad), (1, 1));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|t| t.starts_with("/some.jsonl, line 3: document 'a'")), "{told:?}");
    // Without its seal a corpus is not searched, and making it again goes on.
    let refused = session.open_corpus("strict").map(drop).unwrap_err().to_string();
    assert!(refused.contains("not sealed"), "{refused}");
    let other = CorpusDraft { k1: 1.2, ..corpus_draft("strict") };
    let refused = session.create_corpus(other, &files, None, false, &mut |_| ()).unwrap_err();
    assert!(refused.to_string().contains("other settings"), "{refused}");
    let other = [file.clone(), file.clone()];
    let refused = session.create_corpus(corpus_draft("strict"), &other, None, false, &mut |_| ());
    assert!(refused.unwrap_err().to_string().contains("other files"), "a mixture is not sealed");
    session.create_corpus(corpus_draft("strict"), &files, None, false, &mut |_| ()).unwrap();
    let missing = [folder.path().join("nothing.jsonl")];
    let refused = session.create_corpus(corpus_draft("none"), &missing, None, false, &mut |_| ());
    assert!(refused.is_err() && session.known_corpus("none").is_err(), "nothing is left behind");
    let again = session.create_corpus(corpus_draft("some"), &files, None, false, &mut |_| ());
    assert!(again.unwrap_err().to_string().contains("there already, and sealed"));
}

#[test]
fn a_corpus_is_verified_compared_and_carried() {
    let folder = tempfile::tempdir().unwrap();
    let session = open(folder.path(), OPTIONS);
    let file = write_lines(folder.path(), "sea.jsonl", LINES);
    let fingerprint = create(&session, "sea", &[file]);
    let mut others = LINES.to_vec();
    others[0].2 = "Something else.";
    others.remove(3);
    others.push(("e", "New", "A new document."));
    let other = create(&session, "other", &[write_lines(folder.path(), "o.jsonl", &others)]);
    assert_ne!(fingerprint, other);
    let differences = ["b,changed", "d,removed", "e,added"];
    assert_eq!(rows(&session, "DIFF CORPUS sea other"), differences);
    let verdict = ["sea,4,as sealed"];
    assert_eq!(rows(&session, "VERIFY CORPUS sea"), verdict);
    let path = folder.path().join("sea.swirl.zst");
    let text = format!("EXPORT CORPUS sea TO '{}'", path.display());
    assert!(matches!(run(&session, &text).0, Outcome::CorpusExported { .. }));
    let elsewhere = open(&folder.path().join("elsewhere"), OPTIONS);
    let brought = elsewhere.import_corpus(&path, Some("brought")).unwrap();
    assert_eq!(hexadecimal(&brought.fingerprint.unwrap()), fingerprint);
    assert_eq!(ranked(&elsewhere, "brought", "moon"), ranked(&session, "sea", "moon"));
    // A file that was changed is not taken for what it says it is.
    let plain = folder.path().join("changed.swirl");
    session.export_corpus("sea", &plain).unwrap();
    let changed = fs::read_to_string(&plain).unwrap().replace("twice a day", "once a day");
    fs::write(&plain, changed).unwrap();
    let refused = elsewhere.import_corpus(&plain, None).unwrap_err().to_string();
    assert!(refused.contains("it was changed or damaged"), "{refused}");
    assert_eq!(number(&elsewhere, "FROM corpora |> AGGREGATE count(*)"), 1.0);
    // So is an index: a flipped byte is found, and without the index one is made again.
    let directory = fs::read_dir(folder.path().join("db/corpora")).unwrap();
    let names: Vec<PathBuf> = directory.map(|entry| entry.unwrap().path().join("names")).collect();
    let before = ranked(&session, "sea", "moon sea");
    for names in &names {
        let mut bytes = fs::read(names).unwrap();
        bytes[0] ^= 1;
        fs::write(names, bytes).unwrap();
    }
    assert!(table(&session, "VERIFY CORPUS sea").contains("its hash is not"), "damage is told");
    fs::remove_dir_all(folder.path().join("db/corpora")).unwrap();
    assert_eq!(rows(&session, "VERIFY CORPUS sea"), verdict);
    assert_eq!(ranked(&session, "sea", "moon sea"), before);
    assert!(matches!(run(&session, "DROP CORPUS sea").0, Outcome::CorpusDropped(_)));
    assert_eq!(rows(&session, "FROM corpora |> SELECT corpus"), ["other"]);
}

#[test]
fn passages_fields_and_weights_are_searched() {
    let folder = tempfile::tempdir().unwrap();
    let session = open(folder.path(), OPTIONS);
    let file = write_lines(folder.path(), "sea.jsonl", LINES);
    let draft =
        CorpusDraft { passages: Some(Chunking::new(4, 1).unwrap()), ..corpus_draft("passages") };
    session.create_corpus(draft, std::slice::from_ref(&file), None, true, &mut |_| ()).unwrap();
    let ids: Vec<String> =
        ranked(&session, "passages", "rocks").into_iter().map(|(id, _)| id).collect();
    let twice = "SELECT count(*) FROM corpus.passages WHERE id IN (SELECT id FROM corpus.passages)";
    assert!(number(&session, twice) > 4.0);
    assert_eq!(ids, ["c#2"], "{}", table(&session, "FROM corpus.passages |> SELECT id, text"));
    let field = |name: &str, weight: f64| CorpusField { name: name.to_owned(), weight };
    let draft = CorpusDraft {
        fields: vec![field("title", 3.0), field("text", 1.0)],
        ..corpus_draft("fields")
    };
    session.create_corpus(draft, &[file], None, true, &mut |_| ()).unwrap();
    let first = |query: &str| ranked(&session, "fields", query).first().map(|(id, _)| id.clone());
    assert_eq!(first("tides").as_deref(), Some("b"), "the title counts thrice");
    assert_eq!(first("text:tides").as_deref(), Some("a"));
    assert_eq!(ranked(&session, "fields", "title:moon").len(), 1);
}

#[test]
fn rows_become_a_corpus_and_say_who_saw_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let (outcome, _) = run(
        &session,
        "CREATE CORPUS seen WITH (analyzer = 'neutral', description = 'what was shown') AS \
         FROM tool_calls |> WHERE output IS NOT NULL |> SELECT DISTINCT output AS text",
    );
    let Outcome::CorpusSealed { corpus, report } = outcome else { panic!("{outcome:?}") };
    let shown = "FROM tool_calls |> AGGREGATE count(DISTINCT nullif(output, ''))";
    assert_eq!((corpus.documents as f64, report.conflicts), (number(&session, shown), 0));
    assert_eq!(corpus.analyzer.0, "neutral");
    let (_, kept) = run(&session, "FROM corpus.seen |> SELECT id, text |> LIMIT 1");
    let cell = |at: usize| {
        use arrow::array::AsArray;
        kept.batches[0].column(at).as_string_view().value(0).to_owned()
    };
    let saw = format!("FROM seen_by('seen', '{}') |> AGGREGATE count(*) GROUP BY \"by\"", cell(0));
    let text = cell(1).replace('\'', "''");
    let shown = format!("FROM tool_calls |> WHERE output = '{text}' |> AGGREGATE count(*)");
    let counted = rows(&session, &saw);
    assert!(counted.contains(&format!("content,{}", number(&session, &shown))), "{counted:?}");
}

#[test]
fn topics_are_searched_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let session = open(folder.path(), OPTIONS);
    create(&session, "sea", &[write_lines(folder.path(), "sea.jsonl", LINES)]);
    let topics = folder.path().join("topics.tsv");
    fs::write(&topics, "1\tmoon\n2\tships and rocks\n").unwrap();
    let judged = folder.path().join("qrels");
    fs::write(&judged, "1 0 b 1\n2 0 c 1\n").unwrap();
    let run_file = folder.path().join("run");
    let search =
        TopicSearch { topics: &topics, by_position: false, k: 10, run: Some(&run_file), passes: 2 };
    let corpus = session.open_corpus("sea").unwrap();
    let searched = session.search_topics(&corpus, &search).unwrap();
    assert_eq!(searched.times.len(), 2);
    let found = searched.run;
    let measures = ["RR", "P@1"].map(|name| Measure::parse(name).unwrap());
    let judged = qrels(&judged).unwrap();
    let evaluation = measured(&judged, &found, &measures, Topics::Judged).unwrap();
    assert_eq!(evaluation.means, [0.75, 0.5]);
    let from_file = swirldb::session::run(&run_file).unwrap();
    assert_eq!(measured(&judged, &from_file, &measures, Topics::Judged).unwrap(), evaluation);
}

/// The tools of a database.
fn tools(session: &Arc<Session>) -> Toolbox {
    let corpora = vec![session.open_corpus("sea").unwrap()];
    toolbox(session, &corpora, true).unwrap()
}

/// A database as it is served with a recorder.
fn recorded(session: &Arc<Session>, recorder: Arc<Recorder>) -> DatabaseBackend {
    let corpora = vec![session.open_corpus("sea").unwrap()];
    DatabaseBackend::new(corpora, tools(session)).recorded(recorder).unwrap()
}

#[test]
fn calls_are_recorded_and_replayed_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let session = Arc::new(open(folder.path(), OPTIONS));
    create(&session, "sea", &[write_lines(folder.path(), "sea.jsonl", LINES)]);
    let calls = [
        ("search", json!({"query": "moon", "k": 2})),
        ("get_document", json!({"id": "c"})),
        ("get_document", json!({"id": "z"})),
        ("calculator", json!({"expression": "0.1 + 0.2"})),
        ("query", json!({"statement": "FROM corpora |> SELECT corpus, documents"})),
    ];
    let go_on = || false;
    let recorder = |mode| Arc::new(session.recorder("first", mode).unwrap());
    let recording = recorded(&session, recorder(RecordMode::Once));
    let answers = |backend: &DatabaseBackend| {
        calls.clone().map(|(tool, given)| backend.call(tool, &given, &go_on).unwrap())
    };
    let first = answers(&recording);
    assert!(first[0].text.starts_with("[1] Moon (id: a)\nThe moon draws"), "{}", first[0].text);
    assert!(first[2].is_error && !first[1].is_error, "{first:?}");
    assert_eq!(first[3].text, "0.3");
    assert_eq!(first[4].text, "{\"corpus\":\"sea\",\"documents\":4}\n");
    let held = "FROM recordings |> AGGREGATE count(*), sum(CASE WHEN error THEN 1 ELSE 0 END)";
    assert_eq!(rows(&session, held), ["6,1"]);
    // What programs ask is one recording with what agents ask.
    let found = recording.search("sea", "moon", 2, &go_on).unwrap();
    assert_eq!((found.len(), found[0].id.as_str()), (2, "a"));
    assert!(recording.document("sea", "z").unwrap().is_none());
    assert_eq!(rows(&session, held), ["6,1"]);
    // The tools answer otherwise now, and are not asked.
    run(&session, "DROP CORPUS sea");
    let mut changed = LINES.to_vec();
    changed[1].2 = "The moon is made of rock and draws nothing.";
    create(&session, "sea", &[write_lines(folder.path(), "changed.jsonl", &changed)]);
    let report = session.replay("first", &tools(&session)).unwrap();
    assert_eq!((report.calls, report.same), (5, 3 + 1), "{report:?}");
    let drift = report.drifts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(drift.contains("corpus") && drift.contains('a'), "{drift}");
    // A corpus of another fingerprint is another key, and an old cassette takes nothing new.
    let refused = recorded(&session, recorder(RecordMode::Once));
    let missed = refused.call("search", &calls[0].1, &go_on).unwrap_err();
    assert!(matches!(&missed, Refusal::NotRecorded(text) if text.contains("corpus")), "{missed}");
    // Nothing is asked at all in mode none, and all is answered.
    run(&session, "DROP CORPUS sea");
    let replayed = || DatabaseBackend::replayed(recorder(RecordMode::None), &[]).unwrap();
    let replaying = replayed();
    assert_eq!(answers(&replaying), first);
    assert_eq!(replaying.search("sea", "moon", 2, &go_on).unwrap(), found);
    assert_eq!((replaying.corpora(), replaying.tools()), (recording.corpora(), recording.tools()));
    let missed = replayed().search("sea", "moon", 3, &go_on).unwrap_err();
    assert!(matches!(&missed, Refusal::NotRecorded(text) if text.contains("nearest")), "{missed}");
    let unlike = DatabaseBackend::replayed(recorder(RecordMode::None), &["see".to_owned()]);
    assert!(unlike.is_err_and(|error| error.to_string().contains("served were: sea")));
    create(&session, "sea", &[write_lines(folder.path(), "again.jsonl", LINES)]);
    let counted = "FROM recordings |> WHERE name = 'search' |> SELECT hits, misses, output IS NULL \
                   |> ORDER BY hits";
    assert_eq!(rows(&session, counted), ["0,1,true", "0,1,true", "3,0,false"]);
    // Elsewhere too.
    let path = folder.path().join("first.jsonl.zst");
    assert_eq!(session.export_recordings("first", &path).unwrap(), 6);
    let elsewhere = open(&folder.path().join("elsewhere"), OPTIONS);
    assert_eq!(elsewhere.import_recordings("first", &path).unwrap(), (6, 0));
    assert_eq!(elsewhere.import_recordings("first", &path).unwrap(), (0, 0));
    assert_eq!(elsewhere.recordings("first").unwrap(), session.recordings("first").unwrap());
    assert!(session.recordings("second").is_err());
}

#[test]
fn an_agent_reads_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let session = Arc::new(world(folder.path()));
    let tools = toolbox(&session, &[], true).unwrap();
    let call = |statement: &str| tools.call("query", &json!({"statement": statement}), &|| false);
    assert_eq!(call("SELECT count(*) AS n FROM judges").structured.unwrap()["is_cut"], false);
    for statement in [
        "FROM steps |> SAVE AS taken",
        "FROM steps |> LABEL AS process BY 'me' = 1",
        "DROP CORPUS sea",
        "FROM steps |> EXPORT TO 'x.jsonl'",
        "SELECT 1; SELECT 2",
        "SELEC 1",
    ] {
        let output = call(statement);
        assert!(output.is_error, "{statement}: {}", output.text);
    }
    let cut = call("FROM steps |> SELECT trajectory_id");
    assert_eq!(cut.structured.unwrap()["is_cut"], true);
    assert_eq!(number(&session, "FROM datasets |> AGGREGATE count(*)"), 0.0);
    let stopped = tools.call("query", &json!({"statement": "FROM steps"}), &|| true);
    assert!(stopped.text.contains("cancelled") || stopped.structured.is_some());
}

#[test]
fn a_database_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let session = Arc::new(open(folder.path(), OPTIONS));
    let file = write_lines(folder.path(), "sea.jsonl", LINES);
    create(&session, "sea", std::slice::from_ref(&file));
    create(&session, "the sea", &[file]);
    let corpora =
        DatabaseBackend::open_corpora(&session, &[], |name| session.open_corpus(name)).unwrap();
    let tools = toolbox(&session, &corpora, false).unwrap();
    let backend = DatabaseBackend::new(corpora, tools);
    let names: Vec<String> = backend.tools().into_iter().map(|tool| tool.name).collect();
    let expected =
        ["search_sea", "get_document_sea", "search_the_sea", "get_document_the_sea", "calculator"];
    assert_eq!(names, expected);
    assert_eq!(backend.corpora()[1].tool, "search_the_sea");
    let hits = backend.search("the sea", "moon", 1, &|| false).unwrap();
    assert_eq!((hits.len(), hits[0].id.as_str()), (1, "a"));
    assert!(backend.search("sae", "moon", 1, &|| false).unwrap_err().to_string().contains("sea"));
    assert_eq!(backend.document("sea", "c").unwrap().unwrap().title, None);
    assert!(backend.document("sea", "z").unwrap().is_none());
}

#[test]
fn a_changed_byte_of_an_index_is_found_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let session = open(folder.path(), OPTIONS);
    create(&session, "sea", &[write_lines(folder.path(), "sea.jsonl", LINES)]);
    let expected = ranked(&session, "sea", "moon sea day");
    let files = || {
        let mut files: Vec<PathBuf> = Vec::new();
        let mut folders = vec![folder.path().join("db/corpora")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    };
    let count = files().len();
    assert!(count > 4, "{:?}", files());
    for at in 0..count {
        let path = files().remove(at);
        let mut bytes = fs::read(&path).unwrap();
        let Some(byte) = bytes.last_mut() else { continue };
        *byte ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        assert!(!session.database().has_index("sea").unwrap(), "{}", path.display());
        assert_eq!(ranked(&session, "sea", "moon sea day"), expected, "{}", path.display());
        assert_ne!(fs::read(&path).unwrap(), bytes, "{} was not made again", path.display());
    }
}

#[test]
fn what_is_saved_is_described_by_its_two_names() {
    let folder = tempfile::tempdir().unwrap();
    let session = open(folder.path(), OPTIONS);
    create(&session, "the sea", &[write_lines(folder.path(), "sea.jsonl", LINES)]);
    let described = rows(&session, "DESCRIBE corpus.\"the sea\"");
    assert_eq!(described[0], "id,text,the document's id");
    assert_eq!(rows(&session, "SHOW COLUMNS FROM corpus.\"the sea\""), described);
    for (text, expected) in [
        ("DESCRIBE corpus.see", "unknown corpus 'see'"),
        ("DESCRIBE dataset.good", "unknown dataset 'good'"),
        ("DESCRIBE corpse.sea", "dataset.NAME and corpus.NAME"),
    ] {
        let wrong = super::session::mistake(&session, text);
        assert!(wrong.contains(expected), "{text}: {wrong}");
    }
}
