//! Questions of evaluations, in the forms of their releases.

use std::io::Write;
use std::path::PathBuf;

use swirldb::exchange::{BadRecord, ExchangeError, Place, Question, Questions};

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn read(name: &str, text: &str) -> Vec<Result<(Place, Question), BadRecord>> {
    let (_dir, path) = file(name, text.as_bytes());
    Questions::open(&path).unwrap().map(Result::unwrap).collect()
}

fn one(name: &str, text: &str) -> Question {
    let mut read = read(name, text);
    assert_eq!(read.len(), 1, "{read:?}");
    read.remove(0).unwrap().1
}

/// Identifier, text, gold, hops, kind and titles.
type Summary<'a> = (&'a str, &'a str, Vec<&'a str>, Option<u32>, Option<&'a str>, Vec<&'a str>);

fn summary(question: &Question) -> Summary<'_> {
    let Question { id, question, gold, hops, kind, supporting_titles, .. } = question;
    let gold = gold.iter().map(String::as_str).collect();
    let titles = supporting_titles.iter().map(String::as_str).collect();
    (id, question, gold, *hops, kind.as_deref(), titles)
}

#[test]
fn every_release_is_read_by_its_content() {
    let hotpotqa = r#"[ {"_id": "5a8b", "question": "Who?", "answer": "yes", "type": "bridge",
        "level": "hard", "context": [["B", ["s"]]],
        "supporting_facts": [["A", 0], ["B", 2], ["A", 1]]} ]"#;
    assert_eq!(
        summary(&one("dev.json", hotpotqa)),
        ("5a8b", "Who?", vec!["yes"], Some(2), Some("bridge"), vec!["A", "B"])
    );
    let columns = r#"{"id": "5a8b", "question": "Who?", "answer": "no", "type": "comparison",
        "supporting_facts": {"title": ["A", "A"], "sent_id": [0, 1]}}"#
        .replace('\n', "");
    assert_eq!(
        summary(&one("rows.jsonl", &columns)),
        ("5a8b", "Who?", vec!["no"], Some(1), Some("comparison"), vec!["A"])
    );
    let two_wiki = r#"[{"_id": "8813", "type": "compositional", "question": "Whose mother?",
        "context": [], "supporting_facts": [["A", 0], ["B", 1]], "answer": "Anna",
        "evidences": [["A", "mother", "B"], ["B", "mother", "C"], ["C", "born", "D"]]}]"#;
    assert_eq!(
        summary(&one("2wiki.json", two_wiki)),
        ("8813", "Whose mother?", vec!["Anna"], Some(3), Some("compositional"), vec!["A", "B"])
    );
    let musique =
        r#"{"id": "2hop__1_2", "question": "Where?", "answer": "Rome", "answerable": true,
        "answer_aliases": ["Roma", "Rome", ""], "question_decomposition": [{"id": 1}, {"id": 2}],
        "paragraphs": [{"idx": 0, "title": "X", "paragraph_text": "x", "is_supporting": false},
        {"idx": 1, "title": "Y", "paragraph_text": "y", "is_supporting": true}]}"#
            .replace('\n', "");
    assert_eq!(
        summary(&one("musique.jsonl", &musique)),
        ("2hop__1_2", "Where?", vec!["Rome", "Roma"], Some(2), None, vec!["Y"])
    );
    let beerqa = r#"{"version": "1.0", "split": "dev", "data": [
        {"id": "b3d5", "src": "squad", "question": "When?", "answers": ["1889", "in 1889"],
         "context": [["Tower", "Text [1]."]]},
        {"id": "b3d6", "src": "new", "question": "What?", "answers": ["it"], "context": []}]}"#;
    let both = read("beerqa.json", beerqa);
    let first = both[0].as_ref().unwrap();
    assert_eq!(
        summary(&first.1),
        ("b3d5", "When?", vec!["1889", "in 1889"], Some(1), Some("squad"), vec!["Tower"])
    );
    assert_eq!((both.len(), first.0), (2, Place::Entry(0)));
    let gsm8k = r#"{"question": "How many?", "answer": "48/2 = <<48/2=24>>24\n#### 1,072"}"#;
    let found = one("gsm8k.jsonl", gsm8k);
    assert_eq!(summary(&found).2, ["1,072"]);
    assert_eq!((found.kind.as_deref(), found.id.len()), (Some("arithmetic"), 16));
    let bamboogle = "Question,Answer\n\"Who, if \"\"anyone\"\"?\",Ann\n\n What?, it \n";
    let both = read("bamboogle.csv", bamboogle);
    assert_eq!(both[0].as_ref().unwrap().1.question, "Who, if \"anyone\"?");
    assert_eq!(both[1].as_ref().unwrap().1.gold, ["it"]);
    let own = r#"{"id": "test-1", "split": "test", "type": "chain", "question": "Name x.",
        "answer": ["y"], "hops": 3, "supporting_titles": ["a", "b"], "tools": []}"#
        .replace('\n', "");
    let found = one("questions.jsonl", &own);
    assert_eq!(
        summary(&found),
        ("test-1", "Name x.", vec!["y"], Some(3), Some("chain"), vec!["a", "b"])
    );
    assert_eq!(found.split.as_deref(), Some("test"));
    let plain = one("idx.jsonl", r#"{"idx": 4, "question": "Q", "answer": "A", "gen": ""}"#);
    assert_eq!((plain.id.as_str(), plain.hops), ("4", None));
}

#[test]
fn a_bad_record_names_its_place_and_field_among_good_ones() {
    let lines = [
        r#"{"question": "Q1", "answer": "A1"}"#,
        r#"{"question": "Q2"}"#,
        "",
        r#"{"question": "", "answer": "A"}"#,
        r#"{"question": "Q", "answer": []}"#,
        r#"{"question": "Q", "answer": "so\n####"}"#,
        r#"{"question": "Q", "answer": "A", "supporting_facts": [["T", 0], ["T"]]}"#,
        r#"{"question": "Q", "answer": "A", "supporting_facts": 3}"#,
        r#"{"question": "Q", "answer": "A", "paragraphs": [{"text": "x"}]}"#,
        r#"{"question": "Q", "answer": "A", "paragraphs": [], "answerable": false}"#,
        r#"{"question": "Q", "answers": ["A"], "src": "new", "context": [["T"]]}"#,
        r#"{"question": "Q", "answer": "A", "hops": -1}"#,
        r#"{"question": "Q", "answer": "#,
        r#"{"question": "Q9", "answer": "A9"}"#,
    ];
    let read = read("questions.jsonl", &lines.join("\n"));
    let bad: Vec<String> =
        read.iter().filter_map(|one| one.as_ref().err()).map(BadRecord::to_string).collect();
    let expected = [
        "line 2, answer: missing",
        "line 4, question: found no text",
        "line 5, answer: found no answer",
        "line 6, answer: found nothing behind '####'",
        "line 7, supporting_facts[1]: found a list; expected [title, sentence]",
        "line 8, supporting_facts: found 3; expected a list of [title, sentence]",
        "line 9, paragraphs[0]: found an object; expected an object with the string title",
        "line 10, answerable: found false; expected true",
        "line 11, context[0]: found a list; expected [title, text]",
        "line 12, hops: found -1; expected a whole number",
        "line 13",
    ];
    assert_eq!(bad.len(), expected.len(), "{bad:#?}");
    for (bad, expected) in bad.iter().zip(expected) {
        assert!(bad.starts_with(expected), "{bad} does not start with {expected}");
    }
    let good: Vec<&str> =
        read.iter().flatten().map(|(_, question)| question.question.as_str()).collect();
    assert_eq!(good, ["Q1", "Q9"]);
}

#[test]
fn cut_off_and_foreign_files_are_errors() {
    let failed = |bytes: &[u8]| {
        let (_dir, path) = file("x", bytes);
        Questions::open(&path).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(failed(b"").contains("holds no text"));
    assert!(failed(b"Once upon a time").contains("found 'Once upon a time'; expected questions"));
    assert!(failed(b"a,b\n1,2\n").contains("expected questions"));
    let (_dir, path) = file("x", b"");
    assert!(matches!(Questions::open(&path.join("none")), Err(ExchangeError::File { .. })));
    for cut in
        ["[{\"question\": \"Q\", \"answer\": \"A\"}, {\"que", "{\"data\": [{\"question\": \"Q\","]
    {
        let read = read("cut.json", cut);
        let error = read.last().unwrap().as_ref().unwrap_err();
        assert!(error.message.contains("cut off"), "{error}");
    }
    let trailing = read("list.json", "[{\"question\": \"Q\", \"answer\": \"A\"}] and more");
    assert!(trailing[0].is_ok() && trailing[1].is_err());
    let csv = read("x.csv", "Answer,Question\n,Q\nA,Q\n");
    assert_eq!(
        csv[0].as_ref().unwrap_err().to_string(),
        "line 2, Answer: missing; expected a text"
    );
    assert_eq!(csv[1].as_ref().unwrap().0, Place::Line(3));
}

#[test]
fn compressed_files_of_many_blocks_are_streamed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many.jsonl.zst");
    let mut out = zstd::Encoder::new(std::fs::File::create(&path).unwrap(), 1).unwrap();
    let filler = "x".repeat(2_000);
    for number in 0..5_000 {
        writeln!(out, r#"{{"id": {number}, "question": "Q{number} {filler}", "answer": "A"}}"#)
            .unwrap();
    }
    out.finish().unwrap();
    let ids: Vec<String> =
        Questions::open(&path).unwrap().map(|one| one.unwrap().unwrap().1.id).collect();
    assert_eq!(ids.len(), 5_000);
    assert!(ids.iter().enumerate().all(|(at, id)| *id == at.to_string()));
}
