//! Full text: words, queries, and an index that answers as the texts themselves do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swirldb::text::{COLUMNS, Position, TextError, TextIndex, TextQuery, WORD_BYTES_MAX, Words};

const MEMORY_BYTES: usize = 15 << 20;

const NO_ROWS: [u64; 0] = [];

fn words(text: &str) -> Vec<String> {
    let mut words = Words::new(text);
    let mut out = Vec::new();
    let mut word = String::new();
    while words.read(&mut word) {
        out.push(word.clone());
    }
    out
}

fn query(text: &str) -> TextQuery {
    TextQuery::parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.message))
}

fn position(sequence: u64) -> Position {
    Position { database: [7; 16], sequence }
}

/// Creates an index of observations, row 0, 1, ..; committed after each group.
fn index(directory: &Path, groups: &[&[&str]]) -> TextIndex {
    let mut index = TextIndex::open_or_create(directory, MEMORY_BYTES).unwrap();
    let mut row = 0;
    for group in groups {
        for text in *group {
            index.add(row, &[("observation", text)]).unwrap();
            row += 1;
        }
        index.commit(position(row)).unwrap();
    }
    index
}

fn rows(index: &TextIndex, text: &str) -> Vec<u64> {
    index.rows("observation", &query(text)).unwrap()
}

#[test]
fn texts_have_words() {
    for (text, expected) in [
        ("", ""),
        (" \t\n.,;—…", ""),
        ("Hello, World!", "hello world"),
        ("get_user_details(user_id=12)", "get user details user id 12"),
        ("https://en.wikipedia.org/wiki/X", "https en wikipedia org wiki x"),
        ("don't 3.14 C++", "don t 3 14 c"),
        ("Ünïcode ÇA straße STRAẞE", "ünïcode ça straße straße"),
        ("cafe\u{301} CAFÉ", "café café"),
        ("ＦＵＬＬ ｗｉｄｔｈ ﬁne x²", "full width fine x2"),
        ("ΟΔΟΣ οδός ὈΔΌΣ", "οδοσ οδόσ ὀδόσ"),
        ("İstanbul Iğdır", "i\u{307}stanbul iğdır"),
        ("北京市 is in 中国", "北 京 市 is in 中 国"),
        ("東京タワー2階", "東 京 タ ワ ー 2 階"),
        ("서울에서 만나", "서 울 에 서 만 나"),
        ("สวัสดี", "ส วั ส ดี"),
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),
        ("مَرْحَبًا بِالعالم كـــتاب", "مَرْحَبًا بِالعالم كتاب"),
        ("می\u{200C}خواهم", "میخواهم"),
        ("co\u{AD}operate zero\u{200B}width", "cooperate zero width"),
        ("\u{301}\u{302}a", "a"),
        ("\u{1F600}smile\u{1F600}", "smile"),
        ("a\0b", "a b"),
        ("日abc日", "日 abc 日"),
    ] {
        assert_eq!(words(text).join(" "), expected, "{text:?}");
    }
}

#[test]
fn words_are_words_of_themselves() {
    // For every character: analysing the words again changes nothing.
    for c in '\0'..=char::MAX {
        let once = words(&format!("x{c} {c}y {c}"));
        assert_eq!(words(&once.join(" ")), once, "U+{:04X}", u32::from(c));
    }
}

#[test]
fn a_long_word_is_found_by_itself_only() {
    let longest = "x".repeat(WORD_BYTES_MAX);
    assert_eq!(words(&longest), [longest.as_str()]);
    let (long, other) = ("x".repeat(70_000), "x".repeat(70_001));
    assert_eq!(words(&long).len(), 1);
    assert!(words(&long)[0].len() <= WORD_BYTES_MAX);
    assert!(query(&long).matches(&format!("key: {}.", long.to_uppercase())));
    assert!(!query(&long).matches(&other));
    let folder = tempfile::tempdir().unwrap();
    let index = index(folder.path(), &[&[&long, &other, &longest, "x"]]);
    assert_eq!(rows(&index, &long), [0]);
    assert_eq!(rows(&index, &other), [1]);
    assert_eq!(rows(&index, &longest), [2]);
}

#[test]
fn queries_are_phrases() {
    for (text, expected) in [
        ("paris france", "paris france"),
        (" Paris \t paris\n", "paris"),
        ("\"Paris, France\" capital", "\"paris france\" capital"),
        ("get_user x", "\"get user\" x"),
        ("北京 東", "\"北 京\" 東"),
        ("say\"a b\"c", "say \"a b\" c"),
        ("a & - b \"\" \"!\"", "a b"),
        ("found* \"was found\"* get_us*", "found* \"was found\"* \"get us\"*"),
        ("a OR b c", "a OR (b c)"),
        ("(a OR b) AND c and", "(a OR b) c and"),
        ("a NOT b NOT (c d)", "a NOT (b OR (c d))"),
        ("f(x) (f(y) OR g(z))", "\"f x\" (\"f y\" OR \"g z\")"),
        ("\"AND\" x) not", "and x not"),
        ("\"was bor*\" a*", "\"was bor\"* a*"),
    ] {
        let parsed = query(text);
        assert_eq!(parsed.to_string(), expected, "{text:?}");
        assert_eq!(query(expected), parsed);
    }
}

#[test]
fn bad_queries_are_explained() {
    for (text, code, span) in [
        ("a \"b c", "unclosed-quote", (2, 6)),
        ("a \"b\" c\"", "unclosed-quote", (7, 8)),
        ("", "no-words", (0, 0)),
        ("++ && \"\"", "no-words", (0, 8)),
        ("a (b OR", "operator-alone", (5, 7)),
        ("a (b", "unclosed-group", (2, 3)),
        ("OR a", "operator-alone", (0, 2)),
        ("a OR AND b", "operator-alone", (5, 8)),
        ("a NOT", "operator-alone", (2, 5)),
        ("a OR NOT b", "nothing-sought", (5, 8)),
        ("a b*rn", "misplaced-star", (3, 4)),
        ("*orn", "misplaced-star", (0, 1)),
    ] {
        let error = TextQuery::parse(text).unwrap_err();
        let at = error.span.expect("a place");
        assert_eq!((error.code, (at.start, at.end)), (code, span), "{text:?}");
        assert!(!error.help.is_empty());
    }
}

#[test]
fn a_text_matches_or_not() {
    let text = "The Eiffel Tower (Tour Eiffel) stands in Paris; 埃菲尔铁塔在巴黎。";
    for good in ["paris eiffel", "\"tour eiffel\"", "EIFFEL-tower", "巴黎", "铁塔在 tower"] {
        assert!(query(good).matches(text), "{good}");
    }
    for bad in ["pari", "\"eiffel tour\" stands", "tower-stands", "黎巴", "eiffel london"] {
        assert!(!query(bad).matches(text), "{bad}");
    }
    for good in ["eiff*", "\"tour eif\"*", "london OR paris", "tower NOT berlin", "铁塔*"] {
        assert!(query(good).matches(text), "{good}");
    }
    for bad in ["iffel*", "tower NOT par*", "\"eiff tower\"*", "(london OR rome) paris"] {
        assert!(!query(bad).matches(text), "{bad}");
    }
    assert!(query("\"a a b\"").matches("a a a b"));
    assert!(query("\"a b a c\"").matches("a b a b a c"));
    assert!(!query("a").matches(""));
}

#[test]
fn rows_are_seen_after_the_commit_and_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = TextIndex::open_or_create(folder.path(), MEMORY_BYTES).unwrap();
    assert_eq!(index.position(), None);
    assert_eq!(rows(&index, "paris"), NO_ROWS);
    index.add(5, &[("observation", "in Paris"), ("action", "go")]).unwrap();
    index.add(9, &[("observation", "Paris again"), ("reasoning", "")]).unwrap();
    assert_eq!(rows(&index, "paris"), NO_ROWS);
    index.commit(position(12)).unwrap();
    assert_eq!(rows(&index, "paris"), [5, 9]);
    assert_eq!(index.rows("action", &query("go")).unwrap(), [5]);
    assert_eq!(index.rows("action", &query("paris")).unwrap(), NO_ROWS);
    // Rows not committed are gone with the process.
    index.add(10, &[("observation", "Paris lost")]).unwrap();
    drop(index);

    let mut index = TextIndex::open_or_create(folder.path(), MEMORY_BYTES).unwrap();
    assert_eq!(index.position(), Some(position(12)));
    assert_eq!(rows(&index, "paris"), [5, 9]);
    index.add(2, &[("observation", "earlier Paris")]).unwrap();
    index.commit(Position { database: [0xFE; 16], sequence: u64::MAX }).unwrap();
    assert_eq!(rows(&index, "paris"), [2, 5, 9]);
    assert_eq!(index.row_count().unwrap(), 3);
    assert!(index.size_bytes().unwrap() > 0);
    index.verify().unwrap();
    index.close().unwrap();

    let mut index = TextIndex::open_or_create(folder.path(), MEMORY_BYTES).unwrap();
    let far = Position { database: [0xFE; 16], sequence: u64::MAX };
    assert_eq!(index.position(), Some(far));
    index.clear().unwrap();
    index.commit(position(13)).unwrap();
    assert_eq!(rows(&index, "paris"), NO_ROWS);
}

#[test]
fn every_column_has_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = TextIndex::open_or_create(folder.path(), MEMORY_BYTES).unwrap();
    for (row, column) in (0..).zip(COLUMNS) {
        index.add(row, &[(column, "word")]).unwrap();
    }
    index.commit(position(1)).unwrap();
    for (row, column) in (0..).zip(COLUMNS) {
        assert_eq!(index.rows(column, &query("word")).unwrap(), [row]);
    }
    let error = index.rows("tool", &query("word")).unwrap_err();
    assert!(matches!(error, TextError::UnknownColumn(name) if name == "tool"));
    let error = index.add(9, &[("tool", "x")]).unwrap_err();
    assert!(matches!(error, TextError::UnknownColumn(_)));
}

#[test]
fn there_is_one_writer_and_any_number_of_readers() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = index(folder.path(), &[&["one"]]);
    let mut reader = TextIndex::open_read_only(folder.path()).unwrap();
    assert_eq!(rows(&reader, "one"), [0]);
    let mut second = TextIndex::open_or_create(folder.path(), MEMORY_BYTES).unwrap();
    let error = second.add(0, &[]).unwrap_err();
    assert!(matches!(error, TextError::Locked), "{error}");
    let error = reader.add(0, &[]).unwrap_err();
    assert!(matches!(error, TextError::ReadOnly), "{error}");

    writer.add(1, &[("observation", "one more")]).unwrap();
    writer.commit(position(2)).unwrap();
    assert_eq!((rows(&reader, "one"), reader.position()), (vec![0], Some(position(1))));
    reader.refresh().unwrap();
    assert_eq!((rows(&reader, "one"), reader.position()), (vec![0, 1], Some(position(2))));
}

/// Returns the files below a folder with their bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_reader_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    index(folder.path(), &[&["one", "two"]]).close().unwrap();
    for (path, _) in files(folder.path()) {
        if path.extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(path).unwrap();
        }
    }
    let before = files(folder.path());
    let reader = TextIndex::open_read_only(folder.path()).unwrap();
    assert_eq!(rows(&reader, "two"), [1]);
    reader.verify().unwrap();
    drop(reader);
    assert_eq!(files(folder.path()), before);
}

#[test]
fn an_index_of_another_version_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let missing = TextIndex::open_read_only(&folder.path().join("absent")).err().unwrap();
    assert!(matches!(missing, TextError::Outdated { found: "missing", .. }), "{missing}");
    index(folder.path(), &[&["one"]]).close().unwrap();
    let meta = folder.path().join("meta.json");
    let text = fs::read_to_string(&meta).unwrap();
    assert!(text.contains("words-1"));
    fs::write(&meta, text.replace("words-1", "words-0")).unwrap();
    let outdated = TextIndex::open_read_only(folder.path()).err().unwrap();
    assert!(matches!(outdated, TextError::Outdated { found: "of another version", .. }));
    let index = TextIndex::open_or_create(folder.path(), MEMORY_BYTES).unwrap();
    assert_eq!((index.position(), rows(&index, "one")), (None, vec![]));
}

/// Returns the rows that a damaged index gives, or the error.
fn rows_of_damaged(folder: &Path) -> Result<Vec<u64>, TextError> {
    TextIndex::open_read_only(folder)?.rows("observation", &query("paris"))
}

#[test]
fn damage_is_an_error_and_never_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = index(folder.path(), &[&["Paris", "Rome"], &["Paris Rome", ""]]);
    index.add(4, &[("action", "x")]).unwrap();
    index.commit(position(5)).unwrap();
    drop(index);
    let whole = files(folder.path());
    assert_eq!(rows_of_damaged(folder.path()).unwrap(), [0, 2]);
    let mut damages = 0;
    for (path, bytes) in whole.iter().filter(|(path, _)| !is_bookkeeping(path)) {
        let mut variants = vec![Vec::new(), bytes[..bytes.len() / 2].to_vec()];
        for at in (0..bytes.len()).step_by(bytes.len() / 7 + 1) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            variants.push(flipped);
        }
        for damaged in variants {
            fs::write(path, &damaged).unwrap();
            match rows_of_damaged(folder.path()) {
                Err(TextError::Damaged(_)) => damages += 1,
                // A bit of the file's footer that carries nothing.
                Ok(rows) => assert_eq!(rows, [0, 2], "{}", path.display()),
                Err(other) => panic!("{}: {other}", path.display()),
            }
        }
        fs::remove_file(path).unwrap();
        let error = rows_of_damaged(folder.path()).unwrap_err();
        assert!(matches!(error, TextError::Damaged(_)), "{error}");
        fs::write(path, bytes).unwrap();
    }
    assert!(damages > 50, "{damages}");
    let recreated = TextIndex::recreate(folder.path(), MEMORY_BYTES).unwrap();
    assert_eq!((recreated.position(), rows(&recreated, "paris")), (None, vec![]));
}

/// Lock files, and the lists that have no checksum.
fn is_bookkeeping(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.starts_with('.') || name == "meta.json"
}

#[test]
fn a_damaged_position_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    index(folder.path(), &[&["one"]]).close().unwrap();
    let meta = folder.path().join("meta.json");
    let text = fs::read_to_string(&meta).unwrap();
    for (whole, damaged) in [("0707 1", "0707 3"), ("0707 1", "0705 1"), ("{", "["), ("}", "")] {
        assert!(text.contains(whole));
        fs::write(&meta, text.replace(whole, damaged)).unwrap();
        let error = TextIndex::open_or_create(folder.path(), MEMORY_BYTES).err().unwrap();
        assert!(matches!(error, TextError::Damaged(_)), "{damaged}: {error}");
    }
}

/// A text of a few pieces, so that words and phrases repeat.
fn random_text(random: &mut ChaCha8Rng, pieces_max: usize) -> String {
    const PIECES: &[&str] = &[
        "a",
        "b",
        "A",
        "ab",
        "é",
        "e\u{301}",
        "Σ",
        "ς",
        "北",
        "京",
        "北京",
        "ガ",
        "カ\u{3099}",
        "ส",
        "วั",
        "서울",
        "न",
        "म\u{94D}",
        "ا",
        "ـ",
        "\u{200C}",
        "\u{AD}",
        "1",
        "２",
        "_",
        ".",
        "-",
        "'",
        "·",
        "\u{1F600}",
        "\u{301}",
        "\0",
        "ß",
        "ẞ",
        "ﬁ",
    ];
    let count = random.random_range(0..=pieces_max);
    let mut text = String::new();
    for _ in 0..count {
        text.push_str(PIECES.choose(random).expect("some piece"));
        if random.random_bool(0.4) {
            text.push([' ', '\n', '\u{3000}', ','][random.random_range(0..4)]);
        }
    }
    if random.random_bool(0.02) {
        text.push_str(&"b".repeat(random.random_range(250..260)));
    }
    text
}

fn random_query(random: &mut ChaCha8Rng) -> Option<TextQuery> {
    let mut text = String::new();
    for _ in 0..random.random_range(1..=2) {
        let piece = random_text(random, 3);
        let quote = if random.random_bool(0.4) { "\"" } else { "" };
        let star = if random.random_bool(0.2) { "*" } else { "" };
        let operator = ["", "", "", "OR ", "NOT "][random.random_range(0..5)];
        text += &format!("{operator}{quote}{}{quote}{star} ", piece.trim_end());
    }
    TextQuery::parse(&text).ok()
}

#[test]
fn a_search_takes_scripts_without_blanks_by_pairs() {
    let search = |text: &str| TextQuery::parse_search(text).unwrap().to_string();
    assert_eq!(search("谁建立了"), "\"谁 建\" OR \"建 立\" OR \"立 了\"");
    assert_eq!(search("巴黎 城"), "\"巴 黎\" OR 城");
    assert_eq!(search("\"谁建立了\""), "\"谁 建 立 了\"");
    assert_eq!(search("get_user北京市"), "\"get user\" OR \"北 京\" OR \"京 市\"");
    assert_eq!(search("who founded AND (a b)"), "who OR (founded (a OR b))");
    assert_eq!(query("谁建立了").to_string(), "\"谁 建 立 了\"");
}

/// Scores computed from the words themselves: the formula of Robertson and Zaragoza (2009).
#[test]
fn scores_are_bm25_whatever_the_segments() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let text = |random: &mut ChaCha8Rng| {
        let words = (0..random.random_range(1..=30))
            .map(|_| ["tower", "in", "paris", "eiffel", "x", "y", "z"][random.random_range(0..7)]);
        words.collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = (0..120).map(|_| text(&mut random)).collect();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = index(one.path(), &[&all]);
    let groups: Vec<&[&str]> = all.chunks(17).collect();
    let many = index(many.path(), &groups);
    let search = TextQuery::parse_search("tower \"eiffel paris\" nowhere").unwrap();
    let scored = one.scored(&["observation"], &search).unwrap();
    assert_eq!(scored, many.scored(&["observation"], &search).unwrap());

    let length = |text: &str| text.split(' ').count() as f64;
    let mean = texts.iter().map(|t| length(t)).sum::<f64>() / texts.len() as f64;
    let holding = |word: &str| texts.iter().filter(|t| t.split(' ').any(|w| w == word)).count();
    let rarity = |word: &str| {
        let (n, with) = (texts.len() as f64, holding(word) as f64);
        (1.0 + (n - with + 0.5) / (with + 0.5)).ln()
    };
    let part = |text: &str, phrase: &str| {
        let words: Vec<&str> = text.split(' ').collect();
        let sought: Vec<&str> = phrase.split(' ').collect();
        let count = words.windows(sought.len()).filter(|w| **w == sought[..]).count() as f64;
        let weight: f64 = sought.iter().map(|word| rarity(word)).sum();
        weight * 2.2 * count / (count + 1.2 * (0.25 + 0.75 * length(text) / mean))
    };
    let expected = texts.iter().zip(0..).filter_map(|(text, row)| {
        let score = part(text, "tower") + part(text, "eiffel paris");
        (score > 0.0).then_some((row, score))
    });
    let expected: Vec<(u64, f64)> = expected.collect();
    assert!(expected.len() > 50 && expected.len() < texts.len());
    assert_eq!(scored.len(), expected.len());
    for ((row, score), (expected_row, expected_score)) in scored.iter().zip(&expected) {
        assert_eq!(row, expected_row);
        assert!((score - expected_score).abs() < 1e-4, "{row}: {score} {expected_score}");
    }
}

#[test]
fn the_index_answers_as_the_texts_do() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let texts: Vec<String> = (0..600).map(|_| random_text(&mut random, 12)).collect();
    let folder = tempfile::tempdir().unwrap();
    let groups: Vec<Vec<&str>> =
        texts.chunks(200).map(|group| group.iter().map(String::as_str).collect()).collect();
    let groups: Vec<&[&str]> = groups.iter().map(Vec::as_slice).collect();
    let index = index(folder.path(), &groups);
    let mut answers = BTreeSet::new();
    for _ in 0..3_000 {
        let Some(query) = random_query(&mut random) else { continue };
        let indexed = index.rows("observation", &query).unwrap();
        let evaluated: Vec<u64> =
            (0..).zip(&texts).filter(|(_, text)| query.matches(text)).map(|(row, _)| row).collect();
        assert_eq!(indexed, evaluated, "{query}");
        answers.insert(evaluated.len());
    }
    // The test sees rare and common queries, not only empty answers.
    assert!(answers.len() > 50 && answers.contains(&0), "{answers:?}");
}
