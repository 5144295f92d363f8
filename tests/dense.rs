//! Corpora that are searched by vectors: made, gone on with, moved, damaged, fused.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use swirldb::db::{DbError, Retrieval};
use swirldb::session::{Session, SessionError, corpus_draft, toolbox};

use super::session::{OPTIONS, run};

const TEXTS: [(&str, &str, &str); 5] = [
    ("a", "Moon", "the moon draws the sea"),
    ("b", "Tides", "the sea rises and falls twice a day"),
    ("c", "", "lighthouses warn ships of rocks"),
    ("d", "Glaciers", "ice that flows like a slow river"),
    ("e", "", ""),
];

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/bert-tiny")
}

/// A database with the corpus `sea`.
fn sea(folder: &Path) -> Arc<Session> {
    let session = Session::open(&folder.join("db"), OPTIONS, true).unwrap();
    let line = |(id, title, text): &(&str, &str, &str)| {
        json!({"id": id, "title": title, "text": text}).to_string()
    };
    let file = folder.join("sea.jsonl");
    fs::write(&file, TEXTS.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    session.create_corpus(corpus_draft("sea"), &[file], None, false, &mut |_| {}).unwrap();
    Arc::new(session)
}

fn by(session: &Session, retrieval: Retrieval) -> Result<Vec<(String, f64)>, SessionError> {
    let corpus = session.open_corpus_by("sea", retrieval, None)?;
    Ok(corpus.rank("Moon\nthe moon draws the sea", 3, &|| false)?)
}

fn vectors(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder.join("db/corpora")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.into_iter().find(|path| path.extension().is_some_and(|e| e == "vectors")).unwrap()
}

#[test]
fn documents_are_found_by_their_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let session = sea(folder.path());
    let without = by(&session, Retrieval::Dense).unwrap_err();
    assert!(matches!(&without, SessionError::Database(DbError::Corpus { .. })), "{without:?}");
    assert_eq!(session.embed_corpus("sea", &model()).unwrap().dimensions, 24);
    let words = by(&session, Retrieval::Bm25).unwrap();
    let dense = by(&session, Retrieval::Dense).unwrap();
    // The query is the document, word for word: its vector is the same.
    assert_eq!(dense[0].0, "a");
    assert!((dense[0].1 - 1.0).abs() < 1e-4 && dense[1].1 < dense[0].1, "{dense:?}");
    assert_eq!((words[0].0.as_str(), words.len(), dense.len()), ("a", 2, 3));
    let hybrid = by(&session, Retrieval::Hybrid).unwrap();
    assert_eq!(hybrid[0], ("a".to_owned(), 1.0 / 61.0 + 1.0 / 61.0));

    let corpus = session.open_corpus_by("sea", Retrieval::Dense, None).unwrap();
    let plain = session.open_corpus("sea").unwrap().fingerprint();
    assert!(corpus.fingerprint().starts_with(&format!("{plain}+dense.")));
    let tools = toolbox(&session, &[corpus], false).unwrap();
    let spec = &tools.get("search").unwrap().spec().clone();
    assert!(spec.description.contains("by meaning") && spec.corpus.as_ref().unwrap() != &plain);
    let output = tools.call("search", &json!({"query": "ice", "k": 1}), &|| false);
    assert_eq!(output.structured.unwrap()["hits"].as_array().unwrap().len(), 1);
}

#[test]
fn vectors_are_gone_on_with_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let session = sea(folder.path());
    let mut asked = 0;
    let stopped = session.database().embed_corpus("sea", &model(), &mut |_, _| {
        asked += 1;
        if asked == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(DbError::Stopped)));
    assert!(by(&session, Retrieval::Dense).is_err());
    session.embed_corpus("sea", &model()).unwrap();
    let gone_on = fs::read(vectors(folder.path())).unwrap();
    session.embed_corpus("sea", &model()).unwrap();
    assert_eq!(fs::read(vectors(folder.path())).unwrap(), gone_on);
}

#[test]
fn another_model_other_documents_and_damage_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let session = sea(folder.path());
    session.embed_corpus("sea", &model()).unwrap();
    let wrong = |model: &Path| {
        session.open_corpus_by("sea", Retrieval::Dense, Some(model)).err().unwrap().render()
    };
    assert!(wrong(&folder.path().join("none")).contains("none"));
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "modules.json"] {
        fs::copy(model().join(name), other.join(name)).unwrap();
    }
    // The same model elsewhere is the same; with another limit of tokens it is another.
    fs::create_dir(other.join("1_Pooling")).unwrap();
    let pooling = "1_Pooling/config.json";
    fs::copy(model().join(pooling), other.join(pooling)).unwrap();
    let limits = "sentence_bert_config.json";
    fs::copy(model().join(limits), other.join(limits)).unwrap();
    assert!(session.open_corpus_by("sea", Retrieval::Dense, Some(&other)).is_ok());
    fs::write(other.join(limits), r#"{"max_seq_length": 4}"#).unwrap();
    assert!(wrong(&other).contains("is not the one that made its vectors"), "{}", wrong(&other));

    let path = vectors(folder.path());
    assert_eq!(session.verify_corpora(Some("sea")).unwrap()[0].1, Vec::<String>::new());
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let told = &session.verify_corpora(Some("sea")).unwrap()[0].1;
    assert!(told.len() == 1 && told[0].contains("damaged"), "{told:?}");
    run(&session, "DROP CORPUS sea");
    assert!(!path.exists() && !path.with_extension("json").exists());
}
