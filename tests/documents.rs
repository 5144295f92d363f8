//! Reading documents: goldens of every format, compression, limits, damage, folders.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use swirldb::exchange::{
    Document, DocumentFormat, DocumentOptions, Documents, ExchangeError, write_document,
};

/// Everything a file or folder yields.
#[derive(Debug, Default, PartialEq)]
struct Found {
    documents: Vec<Document>,
    places: Vec<String>,
    bad: Vec<String>,
    error: Option<String>,
}

fn read(path: &Path, options: &DocumentOptions) -> Found {
    let mut found = Found::default();
    let reader = match Documents::open(path, options) {
        Ok(reader) => reader,
        Err(error) => return Found { error: Some(error.to_string()), ..found },
    };
    for batch in reader {
        match batch {
            Err(error) => found.error = Some(error.to_string()),
            Ok(batch) => {
                for document in batch.documents {
                    match document {
                        Ok(placed) => {
                            found.places.push(placed.place.to_string());
                            found.documents.push(placed.document);
                        }
                        Err(bad) => found.bad.push(bad.to_string()),
                    }
                }
            }
        }
    }
    found
}

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/documents")
}

/// Writes `bytes` to a file of this name in a folder of its own and reads it.
fn read_bytes(name: &str, bytes: &[u8], options: &DocumentOptions) -> Found {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let mut found = read(&path, options);
    let folder = format!("{}/", dir.path().display());
    let texts = found.bad.iter_mut().chain(&mut found.places).chain(&mut found.error);
    texts.for_each(|text| *text = text.replace(&folder, ""));
    found
}

#[test]
fn every_format_reads_as_its_golden() {
    let files = [
        "beir.jsonl",
        "contents.jsonl",
        "bad.jsonl",
        "plain.tsv",
        "named.tsv",
        "hotpotqa.json",
        "musique.jsonl",
        "passages.json",
        "folder",
    ];
    let mut out = String::new();
    for name in files {
        let path = fixtures().join(name);
        let reader = Documents::open(&path, &DocumentOptions::default()).unwrap();
        let skipped = reader.skipped_files();
        let _ = writeln!(out, "== {name}: {}, {skipped} skipped", reader.format().as_str());
        let found = read(&path, &DocumentOptions::default());
        assert_eq!(found.error, None, "{name}");
        for (document, place) in found.documents.iter().zip(&found.places) {
            let place = place.rsplit_once(", ").map_or("file", |(_, place)| place);
            let Document { id, title, text, metadata } = document;
            let title = title.as_deref().unwrap_or("-");
            let _ = writeln!(out, "{place} [{id}] [{title}] {text:?}");
            if let Some(metadata) = metadata {
                let _ = writeln!(out, "   {metadata}");
            }
        }
        for bad in found.bad {
            let shown = bad.replace(&format!("{}/", fixtures().display()), "");
            let _ = writeln!(out, "bad {shown}");
        }
    }
    let golden = fixtures().join("expected.txt");
    if std::env::var_os("SWIRL_WRITE_GOLDENS").is_some() {
        std::fs::write(&golden, &out).unwrap();
    }
    assert_eq!(out, std::fs::read_to_string(&golden).unwrap());
}

#[test]
fn compression_and_framing_do_not_matter() {
    let options = DocumentOptions::default();
    let text = std::fs::read(fixtures().join("beir.jsonl")).unwrap();
    let plain = read_bytes("x.jsonl", &text, &options);
    assert_eq!(plain.documents.len(), 5);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&text).unwrap();
    let lines = String::from_utf8(text.clone()).unwrap();
    let array =
        format!("[{}]", lines.lines().filter(|l| !l.is_empty()).collect::<Vec<_>>().join(",\n"));
    let cases = [
        ("x.jsonl", gzip.finish().unwrap()),
        ("no-name", zstd::encode_all(&text[..], 1).unwrap()),
        ("x.json", array.into_bytes()),
        ("x.jsonl", [b"\xef\xbb\xbf", &text[..]].concat()),
        ("x.jsonl", lines.replace('\n', "\r\n").into_bytes()),
    ];
    for (name, bytes) in cases {
        let found = read_bytes(name, &bytes, &options);
        assert_eq!(found.documents, plain.documents, "{name}");
        assert_eq!((found.bad, found.error), (Vec::new(), None), "{name}");
    }
}

#[test]
fn a_paragraph_of_two_questions_is_one_document() {
    let options = DocumentOptions::default();
    let questions = read(&fixtures().join("musique.jsonl"), &options).documents;
    let passages = read(&fixtures().join("passages.json"), &options).documents;
    let ash: Vec<&Document> =
        questions.iter().chain(&passages).filter(|d| d.title.as_deref() == Some("Ash")).collect();
    assert_eq!(ash.len(), 3);
    assert!(ash.iter().all(|one| one.id == ash[0].id));
    assert!(ash.iter().all(|one| one.content_hash() == ash[0].content_hash()));
    let rivers = read(&fixtures().join("hotpotqa.json"), &options).documents;
    assert_eq!(rivers[0].id, rivers[2].id);
    // Another paragraph of the same article is another document.
    assert_ne!(rivers[0].id, rivers[3].id);
}

#[test]
fn the_hash_tells_fields_apart() {
    let document = |title: Option<&str>, text: &str, metadata: Option<&str>| {
        let (title, metadata) = (title.map(str::to_owned), metadata.map(str::to_owned));
        Document { id: "x".to_owned(), title, text: text.to_owned(), metadata }.content_hash()
    };
    let hashes = [
        document(None, "ab", None),
        document(Some("a"), "b", None),
        document(Some(""), "ab", None),
        document(None, "a", Some("b")),
        document(None, "", Some("ab")),
    ];
    let distinct: std::collections::HashSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
}

#[test]
fn what_is_written_reads_back() {
    for name in ["beir.jsonl", "contents.jsonl", "named.tsv", "hotpotqa.json"] {
        let documents = read(&fixtures().join(name), &DocumentOptions::default()).documents;
        let mut text = Vec::new();
        documents.iter().for_each(|document| write_document(&mut text, document).unwrap());
        let again = read_bytes("x.jsonl", &text, &DocumentOptions::default());
        assert_eq!(again.documents, documents, "{name}");
        assert_eq!(again.bad, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn long_records_are_refused_one_by_one() {
    let options = DocumentOptions { record_bytes_max: 1_000, ..DocumentOptions::default() };
    let long = "x".repeat(2_000);
    let text = format!(
        "{{\"id\":\"a\",\"text\":\"1\"}}\n{{\"id\":\"b\",\"text\":\"{long}\"}}\n\
         {{\"id\":\"c\",\"text\":\"3\"}}\n"
    );
    let found = read_bytes("x.jsonl", text.as_bytes(), &options);
    assert_eq!(found.documents.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    let expected = "x.jsonl, line 2: the record is longer than 1000 bytes, the limit for one";
    assert_eq!(found.bad, [expected]);
    let found = read_bytes("x.txt", long.as_bytes(), &options);
    assert_eq!(found.bad, ["x.txt: the file is longer than 1000 bytes, the limit for one"]);
}

#[test]
fn damage_ends_a_file_and_what_stands_before_it_is_read() {
    let line = |id: usize| format!("{{\"id\":{id},\"text\":\"{:x}\"}}\n", id * id * 7_919 + 13);
    let text: String = (0..200_000).map(line).collect();
    let whole = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let found = read_bytes("x.jsonl", &whole[..whole.len() * 3 / 4], &DocumentOptions::default());
    assert!(found.documents.len() > 50_000 && found.documents.len() < 200_000);
    assert!(found.error.unwrap().contains("zstd data is damaged or cut off"));
    let cut =
        read_bytes("x.json", b"[{\"id\":1,\"text\":\"a\"},{\"id\":2", &DocumentOptions::default());
    assert_eq!(cut.documents.len(), 1);
    assert_eq!(cut.bad, ["x.json, entry 1: the file ends inside this entry: it is cut off"]);
    let bytes = b"{\"id\":1,\"text\":\"\xff\"}\n{\"id\":2,\"text\":\"b\"}\n";
    let bad = read_bytes("x.jsonl", bytes, &DocumentOptions::default());
    assert_eq!(bad.bad, ["x.jsonl, line 1: found the byte 0xff at column 17, which is not UTF-8"]);
    assert_eq!(bad.documents.len(), 1);
}

#[test]
fn what_is_no_corpus_is_refused_with_what_was_found() {
    let cases: [(&str, &[u8], &str); 10] = [
        ("x.jsonl", b"", "the file holds no text"),
        ("x.jsonl", b" \n ", "the file holds no text"),
        ("x.json", b"[ ]", "the file holds an empty list"),
        (
            "x.json",
            b"{\n \"a\": [\"b\"],\n \"c\": []\n}",
            "found one JSON object over several lines",
        ),
        ("x.jsonl", b"{\"query\":\"a\",\"topk\":3}", "found records with the fields query, topk"),
        ("x", b"just a sentence\n", "found 'just a sentence'"),
        ("x.tsv", b"query-id\tcorpus-id\tscore\n1\t2\t1\n", "found relevance judgements"),
        ("x.parquet", b"PAR1\x00", "the Parquet file is damaged"),
        ("x.zip", b"PK\x03\x04", "found a ZIP archive"),
        ("x.tar", b"a.html\0\0\0\t\0", "found 'a.html"),
    ];
    for (name, bytes, expected) in cases {
        let error = read_bytes(name, bytes, &DocumentOptions::default()).error.unwrap();
        assert!(error.contains(expected) && error.starts_with(name), "{name}: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let empty = Documents::open(dir.path(), &DocumentOptions::default()).err().unwrap();
    assert!(matches!(empty, ExchangeError::Empty { .. }), "{empty}");
    let missing = Documents::open(&dir.path().join("none"), &DocumentOptions::default());
    assert!(matches!(missing.err().unwrap(), ExchangeError::File { .. }));
}

#[test]
fn a_format_that_is_told_is_kept_to() {
    let told = |format| DocumentOptions { format: Some(format), ..DocumentOptions::default() };
    let json = b"{\"id\":\"a\",\"title\":\"t\",\"text\":\"x\"}\n";
    let ids = |found: &Found| found.documents.iter().map(|d| d.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&read_bytes("x", json, &told(DocumentFormat::Documents))), ["a"]);
    assert_eq!(ids(&read_bytes("x.md", json, &told(DocumentFormat::Text))), ["x.md"]);
    let found = read_bytes("x.txt", b"a\tb\n", &told(DocumentFormat::Tsv));
    assert_eq!(ids(&found), ["a"]);
    let found = read_bytes("x", b"a\tb\n", &told(DocumentFormat::Musique));
    assert!(found.error.unwrap().contains("expected JSON for musique"));
    for format in DocumentFormat::ALL {
        assert_eq!(DocumentFormat::parse(format.as_str()), Some(format));
    }
    assert_eq!(DocumentFormat::parse("parquet"), None);
}

#[test]
fn batches_stay_small_whatever_the_file() {
    let text = "word ".repeat(2_000);
    let line = |id: usize| format!("{{\"id\":{id},\"text\":\"{text}\"}}\n");
    let all: String = (0..2_000).map(line).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    std::fs::write(&path, &all).unwrap();
    let mut reader = Documents::open(&path, &DocumentOptions::default()).unwrap();
    assert_eq!(reader.bytes_total(), all.len() as u64);
    let mut count = 0;
    let mut batches = 0;
    while let Some(batch) = reader.next() {
        let batch = batch.unwrap();
        assert!(batch.bytes <= 9 << 20, "{}", batch.bytes);
        assert!(reader.bytes_read() <= (batches + 3) * (4 << 20));
        count += batch.documents.len();
        batches += 1;
    }
    assert!(batches >= 4);
    assert_eq!((count, reader.bytes_read()), (2_000, all.len() as u64));
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::write(dir.path().join("in/a.txt"), "a").unwrap();
    std::fs::write(dir.path().join("secret.txt"), "b").unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("in/up")).unwrap();
    std::os::unix::fs::symlink("../secret.txt", dir.path().join("in/s.txt")).unwrap();
    let reader = Documents::open(&dir.path().join("in"), &DocumentOptions::default()).unwrap();
    assert_eq!(reader.skipped_files(), 2);
    let found = read(&dir.path().join("in"), &DocumentOptions::default());
    assert_eq!(found.documents.len(), 1);
}
