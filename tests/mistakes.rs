//! Mistakes from the text as typed to the message as shown, and that no kind of mistake goes
//! without such an example.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use swirldb::repl::{Console, Format, script};
use swirldb::session::SessionError;

use crate::session::{load, world};
use crate::syntax::goldens;

/// Kinds of mistakes that no statement and no command at the prompt can make, and the tests that
/// make them.
const OF_THE_PROGRAM: [(&str, &str); 36] = [
    ("action-form", "rollouts_tags: actions that are written in another form"),
    ("ambiguous", "tools: expressions of the calculator"),
    ("bundle", "runs: a bundle is made again to the last bit"),
    ("character", "tools: expressions of the calculator"),
    ("dataset", "datasets: a saved statement that is no query"),
    ("dataset-in-use", "datasets: a dataset is dropped unless a run needs it"),
    ("document", "corpora: what is left out of a corpus is told"),
    ("demo", "the demo's folder holds something else: by hand"),
    ("evaluate", "rollouts: an answer without gold is told"),
    ("expression", "session: a reward that is no expression"),
    ("evaluation", "trec: files that are wrong, evaluation: rankings that are"),
    ("one-query", "program: swirl export and swirl sample take a query"),
    ("file", "program: -f names no file"),
    ("hub", "hub: what a hub refuses; runs: a model of a hub"),
    ("import", "program: import of what is not there"),
    ("merge", "runs: a merged model is the adapted one"),
    ("model", "session: a model without a tokenizer"),
    ("name", "tools: expressions of the calculator"),
    ("one-statement", "corpora: an agent reads and changes nothing"),
    ("read-only", "corpora: an agent reads and changes nothing"),
    ("pinned-trajectories", "deleting: what datasets hold goes with them or not at all"),
    ("recording", "tools: lines that are no recordings"),
    ("renderer", "a chat template that loses calls, asked for by name: render"),
    ("report", "evaluations: a report that cannot be written"),
    ("run", "program: swirl train --resume of a run that is no training"),
    ("sample", "runs: samples of stored states"),
    ("serve", "serve: options that do not hold"),
    ("schema", "what the engine says of a schema beside unknown and ambiguous columns"),
    ("shared-questions", "session: questions of the evaluation are not trained on"),
    ("size", "tools: expressions of the calculator"),
    ("study", "study: a name is not taken by another study"),
    ("study-config", "study: mistakes in a file are told"),
    ("too-long", "syntax: statements of more than a megabyte"),
    ("train-config", "runs: a file says what a statement does"),
    ("unknown-cassette", "corpora: calls are recorded and replayed with the same bytes"),
    ("value", "tools: expressions of the calculator"),
];

#[test]
fn mistakes_are_shown_as_these() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/agentprocess");
    load(&session, &fixture.join("trajectories.jsonl"), None);
    load(&session, &fixture.join("judge.jsonl"), None);
    goldens("../mistakes.txt", |text| {
        let ran = script(&session, &mut Console::new(Format::Csv), text);
        match ran {
            Ok(()) => "no mistake".to_owned(),
            Err(SessionError::Mistake { diagnostic, text }) => {
                format!("[{}] {}", diagnostic.code, diagnostic.render(&text))
            }
            Err(error) => error.render(),
        }
    });
}

#[test]
fn every_kind_of_mistake_is_shown_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut codes = BTreeSet::new();
    for path in files(&root.join("src"), "rs") {
        let text = std::fs::read_to_string(path).unwrap();
        for opening in ["Diagnostic::new(", "SessionError::mistake(", "code: "] {
            for (at, _) in text.match_indices(opening) {
                let behind = text[at + opening.len()..].trim_start();
                let code = behind.strip_prefix('"').and_then(|rest| rest.split('"').next());
                codes.extend(code.filter(|code| !code.is_empty()).map(str::to_owned));
            }
        }
    }
    assert!(codes.len() > 40, "{codes:?}");
    let goldens: String = files(&root.join("tests/goldens"), "txt")
        .into_iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let elsewhere = |code: &str| OF_THE_PROGRAM.iter().any(|(known, _)| *known == code);
    let unseen: Vec<&String> = codes
        .iter()
        .filter(|code| !goldens.contains(&format!("[{code}]")) && !elsewhere(code))
        .collect();
    assert!(unseen.is_empty(), "no golden shows {unseen:?}");
    let idle: Vec<&str> = OF_THE_PROGRAM
        .iter()
        .map(|(code, _)| *code)
        .filter(|code| !codes.contains(*code) || goldens.contains(&format!("[{code}]")))
        .collect();
    assert!(idle.is_empty(), "not made, or shown after all: {idle:?}");
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}
