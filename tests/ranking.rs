//! The ranked index: the same best documents and scores, to the last bit, however it was built, as
//! from scoring every document by the definition.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swirldb::text::ranking::{
    AnalysisFactory, Bm25, BuildOptions, Checking, RankedIndex, RankedIndexBuilder, RankedQuery,
    RankingError, TOKEN_BYTES_MAX, TermSource,
};

const KEY: &str = "documents 1, analysis 1";

/// Tokens are what stands between blanks.
struct Blanks;

impl TermSource for Blanks {
    fn tokens(&mut self, text: &str, each: &mut dyn FnMut(&str)) {
        text.split_whitespace().for_each(each);
    }
}

fn blanks() -> AnalysisFactory {
    Arc::new(|| Box::new(Blanks))
}

/// Documents, each with the text of every field.
type Documents = Vec<Vec<String>>;

fn options(threads: usize, segment_documents_max: usize) -> BuildOptions {
    BuildOptions { threads, segment_documents_max, ..BuildOptions::default() }
}

fn name(number: usize) -> String {
    format!("{number:08}")
}

fn build(directory: &Path, fields: &[&str], documents: &Documents, options: &BuildOptions) {
    let mut builder = RankedIndexBuilder::create(directory, fields, blanks(), options).unwrap();
    for (number, texts) in documents.iter().enumerate() {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(builder.add(&name(number), &texts).unwrap(), number as u32);
    }
    builder.finish(KEY).unwrap();
}

fn open(directory: &Path) -> RankedIndex {
    RankedIndex::open(directory, KEY, Checking::Contents).unwrap()
}

fn of_one_field(texts: &[&str]) -> Documents {
    texts.iter().map(|text| vec![(*text).to_owned()]).collect()
}

fn search(index: &RankedIndex, query: &RankedQuery, k: usize) -> Vec<(u32, f64)> {
    index.search(query, k, &|| false).unwrap()
}

fn query(text: &str) -> RankedQuery {
    text.split_whitespace().collect()
}

/// How a definition scores: k1, b, weights of the fields.
struct Scoring {
    k1: f64,
    b: f64,
    weights: Vec<f64>,
}

/// The tokens of a query: a field or all, and the token, as often as it counts.
type Asked = Vec<(Option<usize>, String)>;

/// A term of a query in one field: how much it weighs, and where it occurs.
struct Term {
    weight: f64,
    /// Document, frequency, `k1 * (1 - b + b * length / average)`.
    occurrences: Vec<(usize, f64, f64)>,
}

/// Scores every document by the definition, and sorts them.
fn scored(documents: &Documents, asked: &Asked, scoring: &Scoring) -> Vec<(u32, f64)> {
    let terms: Vec<Term> = (0..scoring.weights.len())
        .filter(|field| scoring.weights[*field] > 0.0)
        .flat_map(|field| terms(documents, asked, scoring, field))
        .collect();
    // All contributions are rounded to multiples of one power of two; their sums are then exact.
    let total: f64 = terms.iter().map(|term| term.weight).sum();
    let unit = f64::from_bits(total.to_bits() & (0x7ff << 52)) / 2.0f64.powi(49);
    let mut sums = vec![0.0; documents.len()];
    for term in terms.iter().rev() {
        for (document, frequency, norm) in &term.occurrences {
            let exact = term.weight / (1.0 + norm / frequency);
            sums[*document] += ((exact / unit).round_ties_even() * unit).max(unit);
        }
    }
    let mut ranked: Vec<(u32, f64)> =
        sums.into_iter().enumerate().map(|(number, sum)| (number as u32, sum)).collect();
    ranked.retain(|(_, score)| *score > 0.0);
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked
}

/// Returns the terms of a query that occur in a field, by spelling.
fn terms(documents: &Documents, asked: &Asked, scoring: &Scoring, field: usize) -> Vec<Term> {
    let count = documents.len() as f64;
    let mut lengths = Vec::new();
    let mut frequencies: BTreeMap<&str, BTreeMap<usize, f64>> = BTreeMap::new();
    for (document, texts) in documents.iter().enumerate() {
        let words: Vec<&str> = texts[field].split_whitespace().collect();
        lengths.push(words.len() as f64);
        for word in words {
            *frequencies.entry(word).or_default().entry(document).or_default() += 1.0;
        }
    }
    let slope = scoring.k1 * scoring.b / (lengths.iter().sum::<f64>() / count);
    let mut times: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, token) in asked.iter().filter(|(only, _)| only.is_none_or(|only| only == field)) {
        *times.entry(token).or_default() += 1.0;
    }
    let mut terms = Vec::new();
    for (token, times) in times {
        let Some(holding) = frequencies.get(token) else { continue };
        let frequency = holding.len() as f64;
        let idf = libm::log(1.0 + (count - frequency + 0.5) / (frequency + 0.5));
        let norm = |document: usize| scoring.k1 * (1.0 - scoring.b) + slope * lengths[document];
        let occurrences = holding.iter().map(|(document, tf)| (*document, *tf, norm(*document)));
        let weight = scoring.weights[field] * idf * times;
        terms.push(Term { weight, occurrences: occurrences.collect() });
    }
    terms
}

fn bits(found: &[(u32, f64)]) -> Vec<(u32, u64)> {
    found.iter().map(|(number, score)| (*number, score.to_bits())).collect()
}

/// Returns documents of two fields whose words are frequent and rare, long and short by stretches,
/// so that blocks differ and some can be left out.
fn made_documents(random: &mut ChaCha8Rng, count: usize) -> Documents {
    let word = |random: &mut ChaCha8Rng| {
        let rank = (random.random::<f64>().powi(3) * 60.0) as usize;
        format!("w{rank:02}")
    };
    let mut length = 1;
    let mut documents = Vec::new();
    for _ in 0..count {
        if random.random_bool(0.02) {
            length = random.random_range(0..12);
        }
        let text = |random: &mut ChaCha8Rng, most: usize| {
            let words = random.random_range(0..=most);
            (0..words).map(|_| word(random)).collect::<Vec<_>>().join(" ")
        };
        let (title, body) = (text(random, length / 3), text(random, length));
        documents.push(vec![title, body]);
    }
    documents
}

fn made_query(random: &mut ChaCha8Rng) -> Asked {
    let most = if random.random_bool(0.15) { 90 } else { 6 };
    let words = random.random_range(1..=most);
    let skew = random.random_range(1..4);
    let token = |random: &mut ChaCha8Rng| {
        let rank = (random.random::<f64>().powi(skew) * 64.0) as usize;
        let only = random.random_bool(0.2).then(|| random.random_range(0..2));
        (only, format!("w{rank:02}"))
    };
    (0..words).map(|_| token(random)).collect()
}

fn as_query(asked: &Asked) -> RankedQuery {
    let mut query = RankedQuery::new();
    for (field, token) in asked {
        match field {
            Some(field) => query.add_to_field(*field, token),
            None => query.add(token),
        }
    }
    query
}

fn scorings() -> Vec<Scoring> {
    vec![
        Scoring { k1: 0.9, b: 0.4, weights: vec![1.0, 1.0] },
        Scoring { k1: 1.2, b: 0.75, weights: vec![2.5, 1.0] },
        Scoring { k1: 0.0, b: 0.0, weights: vec![0.0, 3.0] },
        Scoring { k1: 3.0, b: 1.0, weights: vec![0.1, 1.0] },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn five_builds_rank_as_the_definition_does(seed in any::<u64>(), count in 1usize..2000) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let documents = made_documents(&mut random, count);
        let folder = tempfile::tempdir().unwrap();
        let cuts = [(1, usize::MAX), (1, 700), (2, 1100), (4, 300), (2, count.div_ceil(3))];
        let mut indexes = Vec::new();
        for (number, (threads, cut)) in cuts.into_iter().enumerate() {
            let directory = folder.path().join(number.to_string());
            build(&directory, &["title", "text"], &documents, &options(threads, cut));
            indexes.push(open(&directory));
        }
        for scoring in scorings() {
            let bm25 = Bm25::new(scoring.k1, scoring.b).unwrap();
            let with = |index: RankedIndex| index.with_scoring(bm25, &scoring.weights).unwrap();
            indexes = indexes.into_iter().map(with).collect();
            for _ in 0..6 {
                let asked = made_query(&mut random);
                let expected = bits(&scored(&documents, &asked, &scoring));
                let query = as_query(&asked);
                for k in [1, random.random_range(1..40), usize::MAX] {
                    let expected = &expected[..k.min(expected.len())];
                    for index in &indexes {
                        let found = bits(&search(index, &query, k));
                        prop_assert_eq!(&found, expected, "{:?}, the best {}", asked, k);
                    }
                }
            }
        }
    }
}

#[test]
fn equal_scores_come_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let texts: Vec<&str> = (0..3000).map(|n| if n % 3 == 0 { "b" } else { "a" }).collect();
    for (threads, cut) in [(1, usize::MAX), (3, 500)] {
        let directory = folder.path().join(threads.to_string());
        build(&directory, &["contents"], &of_one_field(&texts), &options(threads, cut));
        let found = search(&open(&directory), &query("a b"), 5);
        let numbers: Vec<u32> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 3, 6, 9, 12]);
        let found = search(&open(&directory), &query("a"), 4);
        let numbers: Vec<u32> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 4, 5]);
    }
}

#[test]
fn the_order_of_the_words_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let documents = made_documents(&mut random, 800);
    build(folder.path().join("i").as_path(), &["title", "text"], &documents, &options(1, 300));
    let index = open(&folder.path().join("i"));
    let (there, back) = ("w00 w01 w02 w03 w10 w20", "w20 w10 w03 w02 w01 w00");
    let found = search(&index, &query(there), 50);
    assert_eq!(found.len(), 50);
    assert_eq!(bits(&found), bits(&search(&index, &query(back), 50)));
}

#[test]
fn scores_are_those_of_the_textbook() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["the cat sat", "the dog ran and ran", "a cat and a dog and a cat", "birds"];
    let directory = folder.path().join("index");
    build(&directory, &["contents"], &of_one_field(&texts), &options(1, 2));
    let index = open(&directory);
    // ln(1 + (4 - 2 + .5) / (2 + .5)) * 2 / (2 + .9 * (.6 + .4 * 8 / 4.25)) for the third
    let idf = 2.0f64.ln();
    let expected = [(2, idf * 2.0 / (2.0 + 0.9 * (0.6 + 0.4 * 8.0 / 4.25)))];
    let third = search(&index, &query("cat"), 1);
    assert_eq!(third[0].0, expected[0].0);
    assert!((third[0].1 - expected[0].1).abs() < 1e-15, "{third:?} {expected:?}");
    // A word that is asked for twice counts twice, one that is nowhere not at all.
    let twice = search(&index, &query("cat zebra cat"), 1);
    assert!((twice[0].1 - 2.0 * third[0].1).abs() < 1e-14);
    assert_eq!(search(&index, &query("zebra"), 10), []);
    assert_eq!(search(&index, &RankedQuery::new(), 10), []);
    assert_eq!(search(&index, &query("cat"), 0), []);
    assert_eq!(index.document_frequency(0, "dog").unwrap(), 2);
    assert_eq!((index.documents(), index.tokens(0), index.tokens(1)), (4, Some(17), None));
    assert_eq!(index.segment_count(), 2);
}

#[test]
fn an_explanation_adds_up_to_the_score() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let documents = made_documents(&mut random, 600);
    let directory = folder.path().join("index");
    build(&directory, &["title", "text"], &documents, &options(2, 250));
    let index = open(&directory);
    let asked = query("w00 w05 w05 w40 nowhere");
    let found = search(&index, &asked, 20);
    for (number, score) in found {
        let explanation = index.explain(&asked, number).unwrap();
        assert_eq!(explanation.score.to_bits(), score.to_bits());
        for part in explanation.parts {
            let text = &documents[number as usize][part.field];
            let words: Vec<&str> = text.split_whitespace().collect();
            assert_eq!(part.length as usize, words.len());
            let frequency = words.iter().filter(|word| **word == part.token).count();
            assert_eq!(part.frequency as usize, frequency);
            assert_eq!(part.count, if part.token == "w05" { 2 } else { 1 });
        }
    }
    let told = index.explain(&asked, 600).unwrap_err().to_string();
    assert_eq!(told, "the ranked index has 600 documents and no document 600 (they count from 0)");
}

#[test]
fn strange_documents_are_documents() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(TOKEN_BYTES_MAX + 1);
    let texts = ["", "\0 \0\0", &format!("a {long}"), "a", "\u{301} \u{202e} 😀"];
    let directory = folder.path().join("index");
    build(&directory, &["contents"], &of_one_field(&texts), &options(2, usize::MAX));
    let index = open(&directory);
    assert_eq!(index.tokens(0), Some(2 + 1 + 1 + 3));
    assert_eq!(search(&index, &query(&long), 3), []);
    let numbers = |text: &str| -> Vec<u32> {
        search(&index, &query(text), 9).into_iter().map(|(number, _)| number).collect()
    };
    assert_eq!(numbers("a"), [2, 3]);
    assert_eq!(numbers("\0 😀"), [1, 4]);
    let nothing = folder.path().join("nothing");
    build(&nothing, &["contents"], &Vec::new(), &options(2, 1));
    assert_eq!(search(&open(&nothing), &query("a"), 9), []);
    let silent = folder.path().join("silent");
    build(&silent, &["contents"], &of_one_field(&["", ""]), &options(1, 1));
    assert_eq!(search(&open(&silent), &query("a"), 9), []);
}

#[test]
fn a_query_of_many_words_is_answered_and_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let texts: Vec<String> = (0..4000).map(|n| format!("a w{n} w{}", n / 2)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let documents = of_one_field(&texts);
    let directory = folder.path().join("index");
    build(&directory, &["contents"], &documents, &options(1, 1500));
    let index = open(&directory);
    let asked: Asked = (0..20_000).map(|n| (None, format!("w{n}"))).collect();
    let scoring = Scoring { k1: 0.9, b: 0.4, weights: vec![1.0] };
    let expected = scored(&documents, &asked[..4000].to_vec(), &scoring);
    let found = search(&index, &as_query(&asked), 30);
    assert_eq!(bits(&found), bits(&expected[..30]));
    let stopped = index.search(&as_query(&asked), 30, &|| true);
    assert!(matches!(stopped, Err(RankingError::Cancelled)));
}

fn files_below(directory: &Path) -> BTreeSet<PathBuf> {
    let mut out = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => out.append(&mut files_below(&path)),
            false => drop(out.insert(path)),
        }
    }
    out
}

#[test]
fn reading_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("index");
    build(&directory, &["contents"], &of_one_field(&["a b", "b c"]), &options(1, 1));
    let before = files_below(folder.path());
    for file in &before {
        let mut permissions = fs::metadata(file).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(file, permissions).unwrap();
    }
    let indexes = [open(&directory), open(&directory)];
    for index in &indexes {
        assert_eq!(search(index, &query("b"), 2).len(), 2);
        index.verify().unwrap();
        assert_eq!(files_below(folder.path()), before);
    }
}

#[test]
fn damage_is_noticed_and_can_be_mended() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("index");
    let open = |checking| RankedIndex::open(&directory, KEY, checking).map(drop);
    assert!(matches!(open(Checking::Lengths), Err(RankingError::Missing { .. })));
    let documents = of_one_field(&["a b", "b c", "c d"]);
    build(&directory, &["contents"], &documents, &options(1, 2));
    for file in files_below(&directory) {
        let whole = fs::read(&file).unwrap();
        for at in [0, whole.len() / 2, whole.len().saturating_sub(1)] {
            let mut bytes = whole.clone();
            let Some(byte) = bytes.get_mut(at) else { continue };
            *byte ^= 0x20;
            fs::write(&file, bytes).unwrap();
            let error = open(Checking::Contents).unwrap_err();
            assert!(matches!(error, RankingError::Damaged { .. }), "{file:?}: {error}");
            assert!(error.is_mended_by_building());
        }
        // No bounds are written of so few documents.
        if let Some((_, cut)) = whole.split_last() {
            fs::write(&file, cut).unwrap();
            assert!(open(Checking::Lengths).unwrap_err().is_mended_by_building(), "{file:?} cut");
        }
        fs::remove_file(&file).unwrap();
        assert!(open(Checking::Lengths).unwrap_err().is_mended_by_building(), "{file:?} gone");
        fs::write(&file, &whole).unwrap();
        open(Checking::Contents).unwrap();
    }
    let other = RankedIndex::open(&directory, "documents 2", Checking::Lengths).map(drop);
    let told = other.unwrap_err().to_string();
    assert!(told.contains("key 'documents 1, analysis 1' where 'documents 2' is needed"), "{told}");
    let later = r#"{"format":3,"shape":"unknown"}"#;
    let manifest = format!("{}\n{later}", blake3::hash(later.as_bytes()).to_hex());
    fs::write(directory.join("manifest"), manifest).unwrap();
    let told = open(Checking::Lengths).unwrap_err().to_string();
    assert!(told.contains("format '3' where '2' is needed"), "{told}");
    build(&directory, &["contents"], &documents, &options(1, 2));
    open(Checking::Contents).unwrap();
}

#[test]
fn an_index_is_replaced_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("index");
    build(&directory, &["contents"], &of_one_field(&["a"]), &options(1, 9));
    let before = files_below(folder.path());
    let create = || RankedIndexBuilder::create(&directory, &["contents"], blanks(), &options(2, 1));
    let mut given_up = create().unwrap();
    given_up.add("b", &["b"]).unwrap();
    drop(given_up);
    assert_eq!(files_below(folder.path()), before);
    // What a killed process left beside it is no hindrance.
    fs::create_dir_all(folder.path().join("index.partial/0000")).unwrap();
    fs::create_dir_all(folder.path().join("index.replaced/0000")).unwrap();
    build(&directory, &["contents"], &of_one_field(&["b", "b"]), &options(1, 9));
    assert_eq!(search(&open(&directory), &query("b"), 9).len(), 2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("index");
    let create =
        |fields: &[&str]| RankedIndexBuilder::create(&directory, fields, blanks(), &options(0, 0));
    let told = create(&[]).map(drop).unwrap_err().to_string();
    assert_eq!(told, "fields is empty and must be at least one name");
    let mut builder = create(&["title", "text"]).unwrap();
    let told = builder.add("a", &["only one"]).unwrap_err().to_string();
    assert_eq!(told, "a document has 1 texts where the ranked index has 2 fields");
    builder.add("b", &["a", "b"]).unwrap();
    let told = builder.add("b", &["a", "b"]).unwrap_err().to_string();
    assert_eq!(told, "document 'b' comes after 'b', and names must ascend");
    builder.finish(KEY).unwrap();
    let index = open(&directory);
    assert_eq!((index.name(0).unwrap(), index.number("b").unwrap()), ("b", Some(0)));
    assert_eq!(index.number("a").unwrap(), None);
    let told = index.name(1).unwrap_err().to_string();
    assert_eq!(told, "the ranked index has 1 documents and no document 1 (they count from 0)");
    let mut third = RankedQuery::new();
    third.add_to_field(2, "a");
    let told = index.search(&third, 1, &|| false).unwrap_err().to_string();
    assert_eq!(told, "the ranked index has 2 fields and no field 2 (they count from 0)");
    for (k1, b) in [(-0.1, 0.4), (f64::NAN, 0.4), (0.9, 1.1), (0.9, f64::INFINITY)] {
        assert!(Bm25::new(k1, b).unwrap_err().to_string().contains("must be a number from 0 to"));
    }
    let weights = [1.0, -1.0];
    let told = index.with_scoring(Bm25::default(), &weights).map(drop).unwrap_err().to_string();
    assert_eq!(
        told,
        "weights is [1.0, -1.0] and must be a number from 0 to 1000000 for each field"
    );
}

#[test]
fn little_memory_makes_segments_of_many_documents() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("index");
    let texts: Vec<String> = (0..3000).map(|n| format!("a w{n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let little = BuildOptions { memory_bytes: 1, ..BuildOptions::default() };
    build(&directory, &["contents"], &of_one_field(&texts), &little);
    assert_eq!(open(&directory).segment_count(), 1);
    let names: Vec<String> = (0..12).map(|field| field.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let documents = vec![vec!["a b".to_owned(); 12]; 100];
    build(&directory, &names, &documents, &little);
    assert_eq!(open(&directory).segment_count(), 1);
}

#[test]
fn nothing_that_belongs_is_left_out_of_long_lists() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(23);
    let text = |random: &mut ChaCha8Rng| {
        let length = random.random_range(1..20);
        let word = |random: &mut ChaCha8Rng| format!("w{}", random.random_range(0..12u32).pow(2));
        (0..length).map(|_| word(random)).collect::<Vec<_>>().join(" ")
    };
    let documents: Documents = (0..12_000).map(|_| vec![text(&mut random)]).collect();
    let directory = folder.path().join("index");
    build(&directory, &["contents"], &documents, &options(1, usize::MAX));
    let index = open(&directory);
    let scoring = Scoring { k1: 0.9, b: 0.4, weights: vec![1.0] };
    for words in ["w0", "w4", "w121", "w1 w9", "w16 w25 w36", "w0 w1 w4 w9 w16 w25 w49 w64 w81"] {
        let asked: Asked = words.split(' ').map(|word| (None, word.to_owned())).collect();
        let expected = bits(&scored(&documents, &asked, &scoring));
        for k in [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597] {
            let found = bits(&search(&index, &as_query(&asked), k));
            assert_eq!(found, expected[..k], "{words}, the best {k}");
        }
    }
}

#[test]
fn numbers_of_every_size_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    // Frequencies of one, two and three bytes, blocks that are full, lengths of four bytes.
    let times = |document: usize| match document % 200 {
        7 => 200,
        11 => 20_000,
        number => number % 3,
    };
    let text = |document: usize| format!("{} b{}", "a ".repeat(times(document)), document % 700);
    let mut documents: Documents = (0..1500).map(|document| vec![text(document)]).collect();
    documents[1234] = vec!["c ".repeat(70_000)];
    let directory = folder.path().join("index");
    build(&directory, &["contents"], &documents, &options(1, usize::MAX));
    let index = open(&directory);
    for document in [7, 11, 12, 1211, 1499] {
        let parts = index.explain(&query("a"), document as u32).unwrap().parts;
        assert_eq!(parts.first().map_or(0, |part| part.frequency as usize), times(document));
    }
    let parts = index.explain(&query("c"), 1234).unwrap().parts;
    assert_eq!((parts[0].frequency, parts[0].length), (70_000, 70_000));
    let scoring = Scoring { k1: 0.9, b: 0.4, weights: vec![1.0] };
    for words in ["a", "a b11", "b7 b11 c", "a b1 b2 b3"] {
        let asked: Asked = words.split(' ').map(|word| (None, word.to_owned())).collect();
        let expected = bits(&scored(&documents, &asked, &scoring));
        for k in [1, 10, 300] {
            let found = bits(&search(&index, &as_query(&asked), k));
            assert_eq!(found, expected[..k.min(expected.len())], "{words}, the best {k}");
        }
    }
}

#[test]
fn changed_bytes_give_an_answer_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let documents = made_documents(&mut random, 700);
    let directory = folder.path().join("index");
    build(&directory, &["title", "text"], &documents, &options(1, usize::MAX));
    let asked = query("w00 w01 w05 w10 w40");
    let many: RankedQuery = (0..200).map(|number| format!("w{number:02}")).collect();
    let mut told = 0;
    for file in files_below(&directory.join("0000")) {
        let whole = fs::read(&file).unwrap();
        for _ in 0..20 {
            let Some(last) = whole.len().checked_sub(1) else { break };
            let mut bytes = whole.clone();
            bytes[random.random_range(0..=last)] = random.random();
            fs::write(&file, bytes).unwrap();
            let index = RankedIndex::open(&directory, KEY, Checking::Lengths);
            let answers = index.and_then(|index| {
                index.search(&asked, 10, &|| false)?;
                index.search(&many, 10, &|| false)?;
                index.explain(&asked, 3)
            });
            match answers {
                Ok(_) => {}
                Err(RankingError::Damaged { .. }) => told += 1,
                Err(other) => panic!("{file:?}: {other}"),
            }
        }
        fs::write(&file, &whole).unwrap();
    }
    assert!(told > 10, "{told}");
}

#[test]
fn little_memory_for_sealing_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(9);
    // More postings than a quarter of the least memory has room for.
    let text = |random: &mut ChaCha8Rng| {
        let word = |random: &mut ChaCha8Rng| format!("w{}", random.random_range(0..400));
        (0..150).map(|_| word(random)).collect::<Vec<_>>().join(" ")
    };
    let documents: Documents = (0..6000).map(|_| vec![text(&mut random)]).collect();
    let directories = [1, 1 << 29].map(|memory_bytes| {
        let directory = folder.path().join(memory_bytes.to_string());
        let options = BuildOptions { memory_bytes, ..BuildOptions::default() };
        build(&directory, &["contents"], &documents, &options);
        directory
    });
    let bytes = directories.each_ref().map(|directory| {
        let postings = directory.join("0000").join("postings-0");
        blake3::hash(&fs::read(postings).unwrap())
    });
    assert_eq!(bytes[0], bytes[1]);
}
