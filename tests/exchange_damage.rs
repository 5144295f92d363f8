//! Bad records, damaged and empty files, threads, memory.

use std::io::Write as _;
use std::path::Path;

use swirldb::exchange::{ExchangeError, Format, Place, ReadOptions, Reader, Record, open};

use super::exchange::{Read, fixture, read_bytes};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A chat record with this identifier and a text of about `bytes` bytes.
fn record(id: usize, bytes: usize) -> String {
    let text = "lorem ipsum ".repeat(bytes / 12);
    format!(
        "{{\"id\":{id},\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}},\
         {{\"role\":\"assistant\",\"content\":\"ok\"}}]}}"
    )
}

fn records(count: usize, bytes: usize) -> Vec<u8> {
    (0..count).flat_map(|id| (record(id, bytes) + "\n").into_bytes()).collect()
}

#[test]
fn every_bad_record_is_named_and_the_good_ones_survive() {
    let read = Read::of(&fixture("bad/chat.jsonl"), &ReadOptions::default());
    assert!(read.error.is_none());
    assert_eq!(read.ids(), ["good-1", "good-2"]);
    let found: Vec<String> = read.bad.iter().map(ToString::to_string).collect();
    // One line a bad record, to be read beside the file.
    let expected = std::fs::read_to_string(fixture("bad/chat.expected.txt")).unwrap();
    assert_eq!(found, expected.lines().collect::<Vec<_>>());
}

#[test]
fn several_members_and_frames_are_one_text() {
    let (a, b) = (records(2, 50), records(3, 50));
    let options = ReadOptions::default();
    for bytes in [[gzip(&a), gzip(&b)].concat(), [zstd(&a), zstd(&b)].concat()] {
        let read = read_bytes("x.jsonl", &bytes, &options);
        assert!(read.error.is_none());
        assert_eq!(read.ids(), ["0", "1", "0", "1", "2"]);
    }
}

#[test]
fn what_stands_before_damage_is_read_and_the_damage_is_named() {
    // Text that does not compress, so that the cut falls behind some records.
    let mut text = Vec::new();
    swirldb::synth::bench(&mut text, 7, 300).unwrap();
    let whole = read_bytes("x.jsonl", &text, &ReadOptions::default()).ids().len();
    for (method, bytes) in [("gzip", gzip(&text)), ("zstd", zstd(&text))] {
        let cut = &bytes[..bytes.len() - bytes.len() / 4];
        let read = read_bytes("x.jsonl", cut, &ReadOptions::default());
        let found = read.ids().len();
        assert!(found > 0 && found < whole, "{method}: {found} of {whole}");
        assert_eq!(read.bad, Vec::new(), "{method}");
        let error = read.error.unwrap();
        let ExchangeError::Compression { method: named, offset, decoded, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*named, method);
        assert_eq!(*offset, cut.len() as u64);
        assert!(*decoded > 0);
        assert!(error.to_string().contains("damaged or cut off near byte"), "{error}");
    }
    let read = read_bytes("x.jsonl", &gzip(&text)[..5], &ReadOptions::default());
    assert!(matches!(read.error, Some(ExchangeError::Compression { .. })), "{:?}", read.error);
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &Path| match open(path, &ReadOptions::default()) {
        Ok(_) => panic!("{} was read", path.display()),
        Err(error) => error.to_string().replace(&path.display().to_string(), "FILE"),
    };
    let missing = error(&dir.path().join("missing.jsonl"));
    assert!(missing.starts_with("FILE: No such file or directory"), "{missing}");
    assert_eq!(error(dir.path()), "FILE: is a directory");
    let written = |bytes: &[u8]| {
        let path = dir.path().join("x.jsonl");
        std::fs::write(&path, bytes).unwrap();
        error(&path)
    };
    let one = "expected at least one record";
    assert_eq!(written(b""), format!("FILE: the file is empty; {one}"));
    assert_eq!(written(b" \r\n\n"), format!("FILE: the file holds only white space; {one}"));
    assert_eq!(written(b"[ ]\n"), format!("FILE: the file holds an empty list; {one}"));
    assert_eq!(written(&gzip(b"")), format!("FILE: the file is empty; {one}"));

    let formats = "expected chat (messages, or prompt and completion), agentprocess (step_labels \
                   too), taubench (task_id and traj), r1searcher (question and a tagged text), \
                   verifiers (prompt, completion, reward and example_id), steps (a row a \
                   step: trajectory_id, step and action or tool) or swirl";
    let as_named =
        "--as names the format: chat, agentprocess, taubench, r1searcher, verifiers, steps, swirl";
    let cases = [
        (&b"id,text\n1,a\n"[..], "found 'id,text'".to_owned()),
        (b"{\"_id\": 1, \"text\": \"a\"}\n", "found records with the fields _id, text".to_owned()),
        (b"[1, 2]", "found '1, 2]'".to_owned()),
        (
            b"{\"task_id\": 1, \"traj\": [], \"messages\": []}\n",
            "found records with both messages and traj, which could be chat or taubench".to_owned(),
        ),
    ];
    for (bytes, found) in cases {
        assert_eq!(written(bytes), format!("FILE: {found}; {formats}; {as_named}"));
    }
    assert_eq!(
        written(b"{\n  \"messages\": []\n}\n"),
        format!(
            "FILE: found one JSON object over several lines, with the fields messages; expected \
             one record a line or a list of records; {as_named}"
        )
    );
}

#[test]
fn a_bad_first_line_does_not_hide_the_format() {
    let bytes = [b"{\"messages\": [{\"ro\n".to_vec(), records(2, 50)].concat();
    let read = read_bytes("x.jsonl", &bytes, &ReadOptions::default());
    assert_eq!(read.ids(), ["0", "1"]);
    assert_eq!(
        read.bad[0].to_string(),
        "line 1, messages[0]: the JSON ends at column 18, within this field: it is cut off"
    );
}

#[test]
fn a_named_format_is_not_questioned() {
    let options = ReadOptions { format: Some(Format::TauBench), ..ReadOptions::default() };
    let read = read_bytes("x.jsonl", &records(1, 50), &options);
    assert_eq!(read.bad[0].to_string(), "line 1, traj: missing; expected a list of messages");
}

#[test]
fn a_cut_off_array_keeps_its_whole_elements() {
    let episode =
        |id: usize| format!("{{\"task_id\":{id},\"trial\":0,\"traj\":[{{\"role\":\"user\"}}]}}");
    let (a, b) = (episode(1), episode(2));
    let last = |text: String| {
        let read = read_bytes("x.json", text.as_bytes(), &ReadOptions::default());
        let bad: Vec<String> = read.bad.iter().map(ToString::to_string).collect();
        (read.ids().join(" "), bad.join("\n"))
    };
    let both = "1:0 2:0".to_owned();
    assert_eq!(last(format!("[{a}, {b}]")), (both.clone(), String::new()));
    assert_eq!(
        last(format!("[{a},\n{}", &b[..20])),
        ("1:0".to_owned(), "entry 1: the file ends inside this entry: it is cut off".to_owned())
    );
    assert_eq!(
        last(format!("[{a}, {b},")),
        (
            both.clone(),
            "entry 2: the file ends here without the ']' of its array: it is cut off".to_owned()
        )
    );
    assert_eq!(
        last(format!("[{a}, {b}]\n{a}")),
        (
            both.clone(),
            "entry 2: found text behind the ']' of the array; expected the end of the file"
                .to_owned()
        )
    );
    assert_eq!(
        last(format!("[{a}, {{\"task_id\": nope}}, 7, {b}]")),
        (
            both,
            "entry 1, task_id: found nope at column 13, which is not JSON\n\
             entry 2: found integer `7`; expected a record: an object"
                .to_owned()
        )
    );
}

#[test]
fn records_over_the_limit_are_skipped_and_named() {
    let options = ReadOptions { record_bytes_max: 1_000, ..ReadOptions::default() };
    // One within a block, one of several blocks, one at the end of the file.
    let lines =
        [record(0, 50), record(1, 2_000), record(2, 9 << 20), record(3, 50), record(4, 5_000)];
    let read = read_bytes("x.jsonl", lines.join("\n").as_bytes(), &options);
    assert_eq!(read.ids(), ["0", "3"]);
    let message = "the record is longer than 1000 bytes, the limit for one";
    let found: Vec<(Place, &str)> =
        read.bad.iter().map(|bad| (bad.place, bad.message.as_str())).collect();
    let expected = [Place::Line(2), Place::Line(3), Place::Line(5)].map(|place| (place, message));
    assert_eq!(found, expected);

    let array = format!("[{}]", lines.join(",\n"));
    let read = read_bytes("x.json", array.as_bytes(), &options);
    assert_eq!(read.ids(), ["0", "3"]);
    let found: Vec<(Place, &str)> =
        read.bad.iter().map(|bad| (bad.place, bad.message.as_str())).collect();
    let expected =
        [Place::Entry(1), Place::Entry(2), Place::Entry(4)].map(|place| (place, message));
    assert_eq!(found, expected);
}

/// Some blocks of bulk data with a bad record here and there.
fn bulk(steps: u64) -> Vec<u8> {
    let mut text = Vec::new();
    swirldb::synth::bench(&mut text, 7, steps).unwrap();
    let mut out = Vec::with_capacity(text.len() + 1_000);
    for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if number % 97 == 0 {
            out.extend_from_slice(b"{\"messages\":[{}]}\n\n");
        }
        out.extend_from_slice(line);
    }
    out
}

#[test]
fn threads_and_framing_do_not_change_what_is_read() {
    let lines = bulk(6_000);
    let options = |threads| ReadOptions { threads, ..ReadOptions::default() };
    let one = read_bytes("x.jsonl", &lines, &options(1));
    let four = read_bytes("x.jsonl", &lines, &options(4));
    assert!(lines.len() > 12 << 20 && one.bad.len() > 8);
    assert_eq!(one.records, four.records);
    assert_eq!(one.bad, four.bad);
    let places: Vec<Place> = one.bad.iter().map(|bad| bad.place).collect();
    assert!(places.is_sorted() && places[1] == Place::Line(1 + 97 + 2));

    let text = String::from_utf8(lines).unwrap();
    let elements: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let array = format!("[\n  {}\n]\n", elements.join(" ,\n  "));
    let read = read_bytes("x.json", array.as_bytes(), &options(2));
    assert_eq!(read.bad.len(), one.bad.len());
    let plain = |read: &Read| -> Vec<_> {
        read.trajectories().into_iter().map(|i| (i.trajectory.clone(), i.labels.clone())).collect()
    };
    assert_eq!(plain(&read), plain(&one));
}

#[test]
fn memory_is_bounded_by_blocks_and_not_by_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl.zst");
    let text = bulk(18_000);
    std::fs::write(&path, zstd(&text)).unwrap();
    let options = ReadOptions { threads: 1, ..ReadOptions::default() };
    let mut reader: Reader = open(&path, &options).unwrap();
    let progress = reader.progress();
    let (mut records, mut batches) = (0, 0);
    for batch in &mut reader {
        let batch = batch.unwrap();
        batches += 1;
        let steps: usize = batch
            .records
            .iter()
            .filter_map(|record| match record {
                Ok(Record::Trajectory(imported)) => Some(imported.trajectory.steps.len()),
                _ => None,
            })
            .sum();
        assert!(steps < 4_000, "a batch of {steps} steps");
        records += batch.records.len();
    }
    // Queued replies, one that waits to be queued, one that is handed out.
    let blocks = (1 + 3) + 1 + 1;
    assert!(text.len() as u64 > 9 * (4 << 20));
    assert!(
        progress.bytes_buffered_max() < blocks * (5 << 20),
        "{}",
        progress.bytes_buffered_max()
    );
    assert_eq!(progress.bytes_buffered(), 0);
    assert_eq!(progress.bytes_read(), progress.bytes_total());
    assert!(batches >= 10 && records > 2_500);
}

#[test]
fn a_dropped_reader_reads_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    std::fs::write(&path, bulk(18_000)).unwrap();
    let mut reader = open(&path, &ReadOptions::default()).unwrap();
    let progress = reader.progress();
    assert!(reader.next().unwrap().is_ok());
    drop(reader);
    assert!(progress.bytes_read() < progress.bytes_total());
    assert_eq!(progress.bytes_buffered(), 0);
}
