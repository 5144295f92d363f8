//! Topics, judgements and runs: read in every shape, refused with their place, written and read.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use swirldb::exchange::trec::{
    RunWriter, Topic, TrecError, read_judgements, read_run, read_topics,
};
use tempfile::TempDir;

/// A folder with one file.
fn file(content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, content).unwrap();
    (folder, path)
}

fn topics(content: &str) -> Vec<Topic> {
    let (_folder, path) = file(content);
    read_topics(&path).unwrap()
}

fn pairs(content: &str) -> Vec<(String, String)> {
    topics(content).into_iter().map(|topic| (topic.id, topic.query)).collect()
}

fn judgements(content: impl AsRef<[u8]>) -> Result<Vec<(String, String, i64)>, TrecError> {
    let (_folder, path) = file(content);
    let mut out = Vec::new();
    read_judgements(&path, &mut |found| {
        out.push((found.topic, found.document, found.relevance));
        Ok(())
    })?;
    Ok(out)
}

fn ranked(content: impl AsRef<[u8]>) -> Result<Vec<(String, String, f64)>, TrecError> {
    let (_folder, path) = file(content);
    let mut out = Vec::new();
    read_run(&path, &mut |found| {
        out.push((found.topic, found.document, found.score));
        Ok(())
    })?;
    Ok(out)
}

/// What an error says, without the folder of the file.
fn said<T: std::fmt::Debug>(result: Result<T, TrecError>) -> String {
    let said = result.unwrap_err().to_string();
    said.split_once("/file").map_or(said.clone(), |(_, rest)| rest.to_owned())
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(id, query)| ((*id).to_owned(), (*query).to_owned())).collect()
}

#[test]
fn topics_are_read_in_every_shape() {
    let expected = owned(&[("7", "what is a fish"), ("8", "and a bird")]);
    for content in [
        "7\twhat is a fish\n8\tand a bird\n",
        "\u{FEFF}qid\tquery\r\n7\twhat is  a fish\r\n\r\n8\tand a bird",
        "{\"_id\": \"7\", \"text\": \"what is a fish\", \"metadata\": {}}\n\
         {\"qid\": 8, \"query\": \"and a bird\"}\n",
        "<top>\n<num> Number: 7\n<title> Topic: what is\na fish\n\n<desc> Description:\n\
         A fish.\n</top>\n<TOP><NUM>8</NUM><TITLE>and a bird</TITLE></TOP>\n",
        "<topics>\n<topic number=\"7\" type='x'>\n<query>what is a fish</query>\n</topic>\n\
         <topic number='8'><query>and a bird</query></topic>\n</topics>\n",
        "<DOC>\n<DOCNO> 7 </DOCNO>\n\n what is\na fish\n</DOC>\n\
         <DOC>\n<DOCNO>8</DOCNO>and a bird</DOC>",
        ".I 7\n.W\nwhat is\na fish\n.I 8\n.T\ntitle\n.W\nand a bird\n.A\nauthor\n",
    ] {
        assert_eq!(pairs(content), expected, "{content}");
    }
}

#[test]
fn topics_keep_what_their_authors_say() {
    let content = "<top>\n<num> Number: 401\n<title> foreign minorities, a < b\n\
                   <desc> Description:\nWhat do\nthey say?\n\
                   <narr> Narrative:\nA relevant document says it.\n</top>\n\n\
                   <top>\n<num> Number: 402\n<title> other\n</top>\n";
    let read = topics(content);
    assert_eq!(read[0].query, "foreign minorities, a < b");
    assert_eq!(read[0].description.as_deref(), Some("What do they say?"));
    assert_eq!(read[0].narrative.as_deref(), Some("A relevant document says it."));
    assert_eq!((read[1].position, read[1].line, &read[1].narrative), (2, 11, &None));
}

#[test]
fn topics_that_cannot_be_read_are_said_with_their_place() {
    for (content, expected) in [
        ("", ": found no line; expected 'id<TAB>query', JSON"),
        ("\n \n", ": found no line"),
        ("one two\n", ", line 1: found 'one two'; expected 'id<TAB>query', JSON"),
        ("1\ta\n2 b\n", ", line 2: found no tab"),
        ("1\ta\tb\n", ", line 1: found more than one tab"),
        ("1\ta\n\n1\tb\n", ", line 3, id: found '1' again, which is the topic of line 1"),
        ("1\t \n", ", line 1, query: topic '1', which begins on line 1, has no text"),
        ("\tq\n", ", line 1, id: the topic that begins on line 1 has no identifier"),
        ("{\"_id\": \"1\", \"text\": [1]}", ", line 1, text: found [1]; expected text"),
        ("{\"_id\": \"1\", \"text\": \"a\"}\n{\"_id\"", ", line 2, _id: the JSON ends at column 6"),
        ("<top>\n<num> 1\n<title> a\n", ", line 1: found the end of the file within this topic"),
        (
            "<top>\n<num> 1\n<top>\n",
            ", line 3, <top>: found another topic within the one of line 1",
        ),
        ("<top>\n<title> a\n</top>", ", line 3, id: the topic that begins on line 1 has no"),
        (".I 1\n.A\nx\n.I 2\n", ", line 4, query: topic '1', which begins on line 1, has no text"),
        ("1\ta\n2\tb\0c\n", ", line 2: found a NUL byte at column 4"),
    ] {
        let (_folder, path) = file(content);
        let said = said(read_topics(&path));
        assert!(said.starts_with(expected), "{content:?}: {said}");
    }
}

#[test]
fn judgements_are_read_in_both_shapes() {
    let expected = vec![("1".to_owned(), "a".to_owned(), 2), ("1".to_owned(), "b".to_owned(), -1)];
    for content in [
        "1 0 a 2\n1 Q0 b -1\n",
        "1\t0\ta\t2\n\n1   0\tb -1",
        "query-id\tcorpus-id\tscore\r\n1\ta\t2\r\n1\tb\t-1\r\n",
        "1\ta\t2\n1\tb\t-1\n",
    ] {
        assert_eq!(judgements(content).unwrap(), expected, "{content}");
    }
    assert_eq!(judgements("q 1\tdoc with blanks\t1").unwrap()[0].1, "doc with blanks");
    for (content, expected) in [
        ("", ": found no line; expected 'topic 0 document relevance'"),
        ("1 0 a 2\n1 0 b\n", ", line 2: found 3 columns ('1 0 b'); expected 'topic 0 document"),
        ("1 0 a 1.5\n", ", line 1, relevance: found '1.5'; expected a whole number"),
        ("1\t\t1\n", ", line 1, document: found nothing in this column"),
        ("1 0 a 2 9\n", ", line 1: found 5 columns"),
    ] {
        let said = said(judgements(content));
        assert!(said.starts_with(expected), "{content:?}: {said}");
    }
    let said = said(judgements(b"1 0 a 1\n1 0 \xff 1\n"));
    assert_eq!(said, ", line 2: found a byte at column 5 that is no UTF-8");
}

#[test]
fn runs_are_written_and_read_compressed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let ranking = [("b", 0.1 + 0.2), ("a", 1.0 / 3.0), ("c", -1e-9)];
    for name in ["run.txt", "run.txt.gz", "run.txt.zst"] {
        let path = folder.path().join(name);
        let mut writer = RunWriter::create(&path, "tag").unwrap();
        writer.write("t1", ranking).unwrap();
        writer.write("t2", ranking).unwrap();
        writer.finish().unwrap();
        let mut out = Vec::new();
        read_run(&path, &mut |found| {
            assert_eq!(found.tag, "tag");
            out.push((found.topic, found.document, found.score));
            Ok(())
        })
        .unwrap();
        let expected: Vec<_> = ["t1", "t2"]
            .iter()
            .flat_map(|topic| {
                ranking.map(|(document, score)| ((*topic).to_owned(), document.to_owned(), score))
            })
            .collect();
        assert_eq!(out, expected, "{name}");
    }
    let plain = fs::read_to_string(folder.path().join("run.txt")).unwrap();
    assert!(plain.starts_with("t1 Q0 b 1 0.30000000000000004 tag\nt1 Q0 a 2 "), "{plain}");
}

#[test]
fn runs_that_cannot_be_read_or_written_are_said() {
    for (content, expected) in [
        ("", ": found no line; expected 'topic Q0 document rank score tag'"),
        ("1 a 1\n", ", line 1: found 3 columns ('1 a 1'); expected 'topic Q0 document rank"),
        ("1 Q0 a 1 x t\n", ", line 1, score: found 'x'; expected a number"),
        ("1 Q0 a 1 nan t\n", ", line 1, score: found 'nan'; expected a number"),
        ("1 Q0 a 9.5 1 t\n", ", line 1, rank: found '9.5'; expected a whole number"),
    ] {
        let said = said(ranked(content));
        assert!(said.starts_with(expected), "{content:?}: {said}");
    }
    let (_folder, path) = file("1 Q0 a 1 2 t\n1 Q0 a 1 2 t\n");
    let refused = read_run(&path, &mut |found| match found.line {
        2 => Err("that again".to_owned()),
        _ => Ok(()),
    });
    assert_eq!(said(refused), ", line 2: that again");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    assert!(RunWriter::create(&path, "my run").is_err());
    assert!(RunWriter::create(&folder.path().join("no/file"), "t").is_err());
    let mut writer = RunWriter::create(&path, "t").unwrap();
    for (topic, document, score) in [("", "a", 1.0), ("1", "a b", 1.0), ("1", "a", f64::NAN)] {
        let error = writer.write(topic, [(document, score)]).unwrap_err();
        assert!(error.to_string().contains("cannot stand in a run"), "{error}");
    }
}

#[test]
fn files_without_lines_or_cut_off_end_the_reading() {
    let (_folder, path) = file(vec![b'a'; 17 << 20]);
    assert!(said(read_topics(&path)).starts_with(", line 1: found no end of this line"));
    let mut whole = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut whole, flate2::Compression::default());
    encoder.write_all("1 0 a 1\n".repeat(1000).as_bytes()).unwrap();
    encoder.finish().unwrap();
    let said = said(judgements(&whole[..whole.len() - 9]));
    assert!(said.contains("the gzip data is damaged or cut off"), "{said}");
}
