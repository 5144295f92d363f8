//! Parquet: rows are records like lines of JSON; damaged files are told from failing disks.

use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::Arc;

use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use swirldb::exchange::{DocumentFormat, DocumentOptions, Documents, ExchangeError, ReadOptions};

use super::exchange::Read;

/// Returns the bytes of a Parquet file with the rows that lines of JSON are.
fn parquet(lines: &str, compression: Compression, group_rows: usize) -> Vec<u8> {
    let (schema, _) = arrow_json::reader::infer_json_schema(Cursor::new(lines), None).unwrap();
    let schema = Arc::new(schema);
    let rows = arrow_json::ReaderBuilder::new(Arc::clone(&schema)).build(Cursor::new(lines));
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(group_rows))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).unwrap();
    for batch in rows.unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.close().unwrap();
    bytes
}

/// What a file of documents holds: each document as `id|title|text|metadata`, each mistake.
fn documents(path: &Path) -> Result<Vec<String>, ExchangeError> {
    let mut found = Vec::new();
    for batch in Documents::open(path, &DocumentOptions::default())? {
        for document in batch?.documents {
            found.push(match document {
                Ok(placed) => {
                    let of = placed.document;
                    let title = of.title.unwrap_or_default();
                    format!("{}|{title}|{}|{}", of.id, of.text, of.metadata.unwrap_or_default())
                }
                Err(bad) => bad.to_string().replace(&path.display().to_string(), "FILE"),
            });
        }
    }
    Ok(found)
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

const LINES: &str = r#"{"id":"a","title":"Moon","text":"The moon.","year":1969,"tags":["tide"]}
{"id":"b","text":"Untitled, with \"quotes\"\nand two lines."}
{"title":"No id","text":"lost"}
{"id":"d","title":"","text":"月は海を引く","year":2001}
"#;

#[test]
fn rows_are_documents_whatever_their_compression() {
    let expected = [
        r#"a|Moon|The moon.|{"year":1969,"tags":["tide"]}"#,
        "b||Untitled, with \"quotes\"\nand two lines.|",
        "FILE, row 3, id: missing; expected a string or a whole number",
        r#"d||月は海を引く|{"year":2001}"#,
    ];
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let methods = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
        Compression::BROTLI(Default::default()),
        zstd,
    ];
    for method in methods {
        for group_rows in [1, 3, 100] {
            let (_folder, path) = file(&parquet(LINES, method, group_rows));
            assert_eq!(documents(&path).unwrap(), expected, "{method} {group_rows}");
        }
    }
}

#[test]
fn nested_rows_are_questions_and_conversations() {
    let question = concat!(
        r#"{"id":"q","question":"who?","#,
        r#""context":{"title":["Ann","Bo"],"sentences":[["A."," B."],["C."]]}}"#
    );
    let (_folder, path) = file(&parquet(question, Compression::SNAPPY, 10));
    let found = documents(&path).unwrap();
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("Ann#") && found[0].contains("|Ann|A. B.|"), "{found:?}");

    let chat = concat!(
        r#"{"id":"t1","messages":[{"role":"user","content":"2+2?"},"#,
        r#"{"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function","#,
        r#""function":{"name":"calculator","arguments":"{\"expression\":\"2+2\"}"}}]},"#,
        r#"{"role":"tool","tool_call_id":"c1","content":"4.0"},"#,
        r#"{"role":"assistant","content":"4"}]}"#,
        "\n",
        r#"{"id":"t2","messages":[{"role":"user","content":"hi"},"#,
        r#"{"role":"assistant","content":"hello"}]}"#,
        "\n",
    );
    let (_folder, path) = file(&parquet(chat, Compression::SNAPPY, 1));
    let options = ReadOptions { source: Some("chat".to_owned()), ..ReadOptions::default() };
    let rows = Read::of(&path, &options);
    let lines = super::exchange::read_bytes("rows.jsonl", chat.as_bytes(), &options);
    assert_eq!(rows.ids(), ["t1", "t2"]);
    for (row, line) in rows.trajectories().iter().zip(lines.trajectories()) {
        assert_eq!(row.trajectory, line.trajectory);
    }
}

#[test]
fn damage_is_told_and_what_was_before_it_is_read() {
    let lines: String = (0..400)
        .map(|n| format!("{{\"id\":\"{n:04}\",\"text\":\"document {n} of the sea {}\"}}\n", n * n))
        .collect();
    let whole = parquet(&lines, Compression::SNAPPY, 100);
    let all = {
        let (_folder, path) = file(&whole);
        documents(&path).unwrap()
    };
    assert_eq!(all.len(), 400);
    let step = whole.len() / 150;
    let (mut told, mut refused) = (0, 0);
    for at in (4..whole.len()).step_by(step) {
        // A file cut there has no footer; a byte changed there may be text, which nothing checks.
        let (_folder, path) = file(&whole[..at]);
        assert!(matches!(documents(&path), Err(ExchangeError::Parquet { .. })), "cut at {at}");
        let mut changed = whole.clone();
        changed[at] ^= 0xff;
        let (_folder, path) = file(&changed);
        match documents(&path) {
            Ok(found) => assert_eq!(found.len(), 400, "changed at {at}"),
            Err(ExchangeError::Parquet { decoded, reason, .. }) => {
                told += 1;
                refused += usize::from(decoded == 0);
                assert!(!reason.is_empty());
            }
            Err(other) => panic!("changed at {at}: {other}"),
        }
    }
    assert!(told > 10 && refused < told, "{told} {refused}");
}

#[test]
fn what_no_row_can_be_is_refused() {
    let (_folder, path) = file(&parquet(LINES, Compression::SNAPPY, 10));
    let text = DocumentOptions { format: Some(DocumentFormat::Text), ..DocumentOptions::default() };
    let error = Documents::open(&path, &text).err().unwrap().to_string();
    assert!(error.contains("whose rows are records"), "{error}");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&std::fs::read(&path).unwrap()).unwrap();
    std::fs::write(&path, gzip.finish().unwrap()).unwrap();
    let error = documents(&path).unwrap_err().to_string();
    assert!(error.contains("a Parquet file within a compressed one"), "{error}");
    let (_folder, path) = file(b"PAR1");
    assert!(matches!(documents(&path), Err(ExchangeError::Parquet { .. })));
}
