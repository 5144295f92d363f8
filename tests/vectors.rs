//! Exact search over vectors: the same as comparing all of them one by one; files that are found
//! damaged, and writing that goes on after a kill.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swirldb::vectors::{Checking, VectorIndex, VectorsError, VectorsWriter};

const KEY: &str = "documents 1, encoder 1";

fn never() -> bool {
    false
}

fn unit(numbers: &[f32]) -> Vec<f32> {
    let square: f64 = numbers.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    numbers.iter().map(|x| (f64::from(*x) / square.sqrt()) as f32).collect()
}

/// Returns unit vectors with many ties: few different numbers, and some vectors again.
fn vectors(seed: u64, count: usize, dimensions: usize) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut out: Vec<Vec<f32>> = Vec::new();
    for _ in 0..count {
        if !out.is_empty() && rng.random_bool(0.3) {
            out.push(out[rng.random_range(0..out.len())].clone());
            continue;
        }
        let mut numbers: Vec<f32> =
            (0..dimensions).map(|_| rng.random_range(-3..=3i8).into()).collect();
        numbers[0] += 4.0;
        out.push(unit(&numbers));
    }
    out
}

fn write(path: &Path, vectors: &[Vec<f32>], dimensions: usize) {
    let mut writer = VectorsWriter::create(path, dimensions, KEY).unwrap();
    for vector in vectors {
        writer.append(vector).unwrap();
    }
    writer.finish().unwrap();
}

fn open(path: &Path) -> VectorIndex {
    VectorIndex::open(path, KEY, Checking::Contents).unwrap()
}

/// Scores all vectors by the definition, in 64 bits.
fn naive(vectors: &[Vec<f32>], query: &[f32], k: usize) -> Vec<(u32, f64)> {
    let stored = |x: &f32| (f64::from(*x) * 32767.0).round() as i64;
    let score = |vector: &Vec<f32>| -> i64 {
        vector.iter().zip(query).map(|(x, y)| stored(x) * stored(y)).sum()
    };
    let mut all: Vec<(u32, i64)> = (0..).zip(vectors.iter().map(score)).collect();
    all.sort_by_key(|(number, score)| (-score, *number));
    all.truncate(k);
    all.into_iter().map(|(number, score)| (number, score as f64 / (32767.0 * 32767.0))).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("vectors")
    }

    fn partial(&self) -> PathBuf {
        self.0.path().join("vectors.partial")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_comparing_all(
        seed in any::<u64>(),
        count in 0_usize..300,
        dimensions in prop_oneof![1_usize..70, Just(384)],
        k in prop_oneof![0_usize..20, Just(1_000_000_000)],
        threads in 1_usize..5,
    ) {
        let folder = Folder::new();
        let vectors = vectors(seed, count, dimensions);
        write(&folder.file(), &vectors, dimensions);
        let index = open(&folder.file());
        prop_assert_eq!((index.len() as usize, index.dimensions()), (count, dimensions));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for query in vectors.iter().take(2).chain(&self::vectors(seed ^ 1, 2, dimensions)) {
            let found = pool.install(|| index.search(query, k, &never)).unwrap();
            prop_assert_eq!(found, naive(&vectors, query, k));
        }
    }
}

#[test]
fn pieces_and_ranges_are_put_together() {
    let folder = Folder::new();
    let vectors = vectors(5, 3_000, 1_024);
    write(&folder.file(), &vectors, 1_024);
    let index = open(&folder.file());
    // One range of 3,000 rows of 2 KiB is more than one piece of 4 MiB.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let query = &vectors[2_999];
    let expected = naive(&vectors, query, 50);
    assert_eq!(pool.install(|| index.search(query, 50, &never)).unwrap(), expected);
    assert_eq!(index.search(query, 50, &never).unwrap(), expected);
}

#[test]
fn the_greatest_sums_fit() {
    let folder = Folder::new();
    for dimensions in [1, 2, 65_536] {
        let flat = unit(&vec![1.0; dimensions]);
        let opposite: Vec<f32> = flat.iter().map(|x| -x).collect();
        // As long as a vector may be.
        let longer: Vec<f32> = flat.iter().map(|x| x * 1.000_49).collect();
        let all = vec![opposite, flat.clone(), longer.clone()];
        write(&folder.file(), &all, dimensions);
        let found = open(&folder.file()).search(&longer, 3, &never).unwrap();
        assert_eq!(found, naive_clamped(&all, &longer));
        assert!((found[0].1 - 1.0).abs() < 1e-2 && (found[2].1 + 1.0).abs() < 1e-2, "{found:?}");
    }
}

fn naive_clamped(vectors: &[Vec<f32>], query: &[f32]) -> Vec<(u32, f64)> {
    let clamp =
        |vector: &[f32]| -> Vec<f32> { vector.iter().map(|x| x.clamp(-1.0, 1.0)).collect() };
    let clamped: Vec<Vec<f32>> = vectors.iter().map(|vector| clamp(vector)).collect();
    naive(&clamped, &clamp(query), usize::MAX)
}

#[test]
fn rows_are_near_what_was_written() {
    let folder = Folder::new();
    let vectors = vectors(3, 20, 50);
    write(&folder.file(), &vectors, 50);
    let index = open(&folder.file());
    for (number, vector) in (0..).zip(&vectors) {
        let row = index.row(number).unwrap();
        assert!(row.iter().zip(vector).all(|(a, b)| (a - b).abs() <= 0.500_1 / 32767.0));
    }
    let error = index.row(20).unwrap_err();
    assert_eq!(error.to_string(), "there are 20 vectors and no vector 20 (they count from 0)");
}

#[test]
fn a_search_is_stopped() {
    let folder = Folder::new();
    write(&folder.file(), &vectors(1, 100, 8), 8);
    let index = open(&folder.file());
    let query = index.row(0).unwrap();
    let query = unit(&query);
    assert!(matches!(index.search(&query, 3, &|| true), Err(VectorsError::Cancelled)));
    let asked = AtomicUsize::new(0);
    let later = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
    assert!(matches!(index.search(&query, 3, &later), Err(VectorsError::Cancelled)));
}

#[test]
fn what_is_no_unit_vector_is_refused() {
    let folder = Folder::new();
    let mut writer = VectorsWriter::create(&folder.file(), 2, KEY).unwrap();
    for (vector, expected) in [
        (vec![1.0], "a vector has 1 numbers where 2 are needed"),
        (vec![1.0, 1.0], "a vector has length 1.414"),
        (vec![0.0, 0.0], "a vector has length 0 and"),
        (vec![f32::NAN, 1.0], "a vector has length NaN"),
        (vec![f32::INFINITY, 1.0], "a vector has length inf"),
    ] {
        let said = writer.append(&vector).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{said}");
    }
    writer.append(&[0.6, -0.8]).unwrap();
    writer.finish().unwrap();
    let index = open(&folder.file());
    assert!(matches!(index.search(&[2.0, 0.0], 1, &never), Err(VectorsError::NotUnit { .. })));
    assert!(matches!(index.search(&[1.0], 1, &never), Err(VectorsError::Dimensions { .. })));
    let first = index.search(&[0.6, -0.8], 1, &never).unwrap();
    assert!(first[0].0 == 0 && (first[0].1 - 1.0).abs() < 1e-4, "{first:?}");
    for (dimensions, key) in [(0, KEY), (65_537, KEY), (2, "a\nb"), (2, &"k".repeat(513))] {
        let error = VectorsWriter::create(&folder.file(), dimensions, key).err().unwrap();
        assert!(matches!(error, VectorsError::BadParameter { .. }), "{error}");
    }
}

#[test]
fn a_killed_writer_is_gone_on_from() {
    let folder = Folder::new();
    let vectors = vectors(9, 40, 6);
    write(&folder.file(), &vectors, 6);
    let whole = fs::read(folder.file()).unwrap();
    fs::remove_file(folder.file()).unwrap();
    // Checkpoints after 0, 1 and 2 times 10 rows; then more rows, and a torn tail of any length.
    for checkpoints in 0..3 {
        for torn in [0, 1, 11, 12, 25] {
            let mut writer = VectorsWriter::create(&folder.file(), 6, KEY).unwrap();
            for (number, vector) in vectors.iter().take(35).enumerate() {
                if number > 0 && number % 10 == 0 && number / 10 <= checkpoints {
                    writer.checkpoint().unwrap();
                }
                writer.append(vector).unwrap();
            }
            drop(writer);
            let mut file = OpenOptions::new().append(true).open(folder.partial()).unwrap();
            file.write_all(&vec![7; torn]).unwrap();
            drop(file);
            let missing = VectorIndex::open(&folder.file(), KEY, Checking::Lengths).err().unwrap();
            assert!(matches!(missing, VectorsError::Missing { .. }), "{missing}");
            let mut writer = VectorsWriter::continue_from(&folder.file(), 6, KEY).unwrap();
            assert_eq!(writer.rows() as usize, checkpoints * 10);
            for vector in &vectors[checkpoints * 10..] {
                writer.append(vector).unwrap();
            }
            writer.finish().unwrap();
            assert!(fs::read(folder.file()).unwrap() == whole, "{checkpoints}, {torn}");
            fs::remove_file(folder.file()).unwrap();
        }
    }
}

#[test]
fn a_torn_header_leaves_the_one_before() {
    let folder = Folder::new();
    let vectors = vectors(4, 9, 6);
    for (torn, rows) in [(0, 3), (1, 6)] {
        let mut writer = VectorsWriter::create(&folder.file(), 6, KEY).unwrap();
        for three in vectors.chunks(3).take(2) {
            three.iter().for_each(|vector| writer.append(vector).unwrap());
            writer.checkpoint().unwrap();
        }
        drop(writer);
        // Created, 3 rows, 6 rows: the newest header is in slot 0, the one before in slot 1.
        let mut bytes = fs::read(folder.partial()).unwrap();
        bytes[torn * 2048 + 100] ^= 1;
        fs::write(folder.partial(), bytes).unwrap();
        let writer = VectorsWriter::continue_from(&folder.file(), 6, KEY).unwrap();
        assert_eq!(writer.rows(), rows);
    }
}

#[test]
fn two_do_not_write_one_file() {
    let folder = Folder::new();
    let first = VectorsWriter::create(&folder.file(), 2, KEY).unwrap();
    let second = VectorsWriter::create(&folder.file(), 2, KEY).err().unwrap();
    assert!(matches!(second, VectorsError::InUse { .. }), "{second}");
    let second = VectorsWriter::continue_from(&folder.file(), 2, KEY).err().unwrap();
    assert!(matches!(second, VectorsError::InUse { .. }), "{second}");
    first.finish().unwrap();
}

#[test]
fn vectors_of_something_else_are_made_again() {
    let folder = Folder::new();
    let missing = VectorsWriter::continue_from(&folder.file(), 2, KEY).err().unwrap();
    assert!(matches!(missing, VectorsError::Missing { .. }), "{missing}");
    drop(VectorsWriter::create(&folder.file(), 2, KEY).unwrap());
    for (dimensions, key, what) in [(3, KEY, "dimensions"), (2, "documents 2", "key")] {
        let error = VectorsWriter::continue_from(&folder.file(), dimensions, key).err().unwrap();
        assert!(error.is_mended_by_building() && error.to_string().contains(what), "{error}");
    }
    write(&folder.file(), &[vec![1.0, 0.0]], 2);
    let error = VectorIndex::open(&folder.file(), "documents 2", Checking::Lengths).err().unwrap();
    assert!(matches!(error, VectorsError::Outdated { what: "key", .. }), "{error}");
}

#[test]
fn every_changed_byte_is_found() {
    let folder = Folder::new();
    write(&folder.file(), &vectors(2, 3, 4), 4);
    let whole = fs::read(folder.file()).unwrap();
    let open = |checking| VectorIndex::open(&folder.file(), KEY, checking).err();
    for at in (0..600).chain(2_040..2_700).chain(4_090..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(folder.file(), bytes).unwrap();
        let error =
            open(Checking::Contents).unwrap_or_else(|| panic!("a change of byte {at} is missed"));
        assert!(matches!(error, VectorsError::Damaged { .. }), "byte {at}: {error}");
    }
    for length in [0, 1, 2_048, 4_095, 4_096, whole.len() - 1] {
        fs::write(folder.file(), &whole[..length]).unwrap();
        let error =
            open(Checking::Lengths).unwrap_or_else(|| panic!("a cut to {length} bytes is missed"));
        assert!(matches!(error, VectorsError::Damaged { .. }), "{length}: {error}");
    }
    fs::write(folder.file(), [whole.as_slice(), b"x"].concat()).unwrap();
    assert!(matches!(open(Checking::Lengths), Some(VectorsError::Damaged { .. })));
    fs::write(folder.file(), &whole).unwrap();
    assert!(open(Checking::Contents).is_none());
}
