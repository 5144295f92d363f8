//! Functions of texts: likeness, tokens, a state as it is rendered.

use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swirldb::query::ELSEWHERE;
use swirldb::text::minhash::{BANDS, Signature};

use crate::session::{mistake, number, table, world};

/// Two texts of which `shared` of 300 words are the same, and their Jaccard similarity.
fn pair(random: &mut ChaCha8Rng, shared: usize) -> (String, String, f64) {
    let words = |random: &mut ChaCha8Rng, count: usize| -> Vec<String> {
        (0..count).map(|_| format!("w{}", random.random_range(0..1_000_000))).collect()
    };
    let common = words(random, shared);
    let text = |own: Vec<String>| common.iter().cloned().chain(own).collect::<Vec<_>>();
    let (one, other) = (text(words(random, 300 - shared)), text(words(random, 300 - shared)));
    let shingles = |words: &[String]| -> std::collections::BTreeSet<String> {
        words.windows(3).map(|w| w.join(" ")).collect()
    };
    let (a, b) = (shingles(&one), shingles(&other));
    let jaccard = a.intersection(&b).count() as f64 / a.union(&b).count() as f64;
    (one.join(" "), other.join(" "), jaccard)
}

#[test]
fn signatures_estimate_the_jaccard_similarity() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut errors = Vec::new();
    for shared in (0..=300).step_by(10) {
        let (one, other, jaccard) = pair(&mut random, shared);
        let (a, b) = (Signature::of(&one).unwrap(), Signature::of(&other).unwrap());
        let error = a.similarity(&b) - jaccard;
        // Five standard errors of 128 draws.
        let bound = 5.0 * (jaccard * (1.0 - jaccard) / 128.0).sqrt() + 1e-9;
        assert!(error.abs() <= bound, "{shared}: {} {jaccard}", a.similarity(&b));
        errors.push(error);
        let bands = (0..BANDS).filter(|at| a.bands()[*at] == b.bands()[*at]).count();
        if jaccard > 0.8 {
            assert!(bands > 0, "alike and in no band together: {jaccard}");
        }
        if jaccard < 0.05 {
            assert_eq!(bands, 0, "{jaccard}");
        }
    }
    let mean: f64 = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(mean.abs() < 0.02, "{mean}");
    assert_eq!(Signature::of(" ,. "), None);
    assert_eq!(Signature::of("One two"), Signature::of("one, TWO!"));
    // Signatures are written into databases of others: they never change.
    let bands = Signature::of("the quick brown fox jumps").unwrap().bands();
    assert_eq!(bands[..2], [-3_263_095_202_448_167_644, -3_923_568_015_672_037_112]);
}

#[test]
fn texts_are_measured_in_statements() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let text = "SELECT minhash_similarity('a b c d', 'A, b; c d') AS same,
        minhash_similarity('a b c d', 'e f g h') AS other,
        minhash_similarity('a', NULL) AS none, minhash_similarity('a', '!') AS wordless,
        array_length(minhash_bands('a b c d')) AS bands";
    let expected = "\
+------+-------+------+----------+-------+
| same | other | none | wordless | bands |
+------+-------+------+----------+-------+
| 1.0  | 0.0   |      |          | 32    |
+------+-------+------+----------+-------+";
    assert_eq!(table(&session, text), expected);
    let rendered = "FROM subtrajectories |> WHERE step = 2 |> LIMIT 1 |> SELECT render(state) AS s";
    let rendered = table(&session, rendered);
    assert!(rendered.contains("<|im_start|>system"), "{rendered}");
    assert!(rendered.contains("<|im_start|>assistant"), "{rendered}");
    let not_json = mistake(&session, "FROM steps |> SELECT render(action)");
    assert!(not_json.contains("render() takes messages as a JSON array"), "{not_json}");
    let no_model = mistake(&session, "FROM steps |> SELECT tokens(action, 'nowhere')");
    assert!(no_model.contains("nowhere"), "{no_model}");
    let no_text = mistake(&session, "FROM steps |> SELECT tokens(step, 'nowhere')");
    assert!(no_text.contains("takes texts"), "{no_text}");

    let model = folder.path().join("model");
    let new = swirldb::session::NewModel {
        vocab_size: 300,
        hidden_size: 32,
        n_layers: 1,
        n_heads: 1,
        ..Default::default()
    };
    swirldb::session::create_model(&session, &model, &new).unwrap();
    let count = |path: &Path| {
        let path = path.display();
        number(&session, &format!("SELECT tokens('Name the capital', '{path}')"))
    };
    assert!(count(&model) >= 3.0);
    assert_eq!(count(&model), count(&model.join("tokenizer.json")));
}

#[test]
fn functions_of_other_systems_are_taught() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let known = session.engine().function_names();
    for (name, ours) in ELSEWHERE {
        assert!(!known.contains(&(*name).to_owned()), "{name} is a function here");
        let told = mistake(&session, &format!("FROM steps |> SELECT {name}(tool)"));
        assert!(told.contains(ours) && told.contains('^'), "{name}\n{told}");
        if !ours.contains("models/") {
            table(&session, &format!("SELECT {ours} AS x FROM steps LIMIT 1"));
        }
    }
}

#[test]
fn functions_that_make_much_of_little_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    for call in [
        "repeat('x', 1000000000)",
        "lpad('x', 2000000000, 'y')",
        "rpad(tool, 2000000000)",
        "array_repeat(step, 1000000000)",
        "list_repeat(tool, 1000000000)",
        "range(0, 100000000000)",
        "generate_series(DATE '1900-01-01', DATE '2100-01-01', INTERVAL '1 millisecond')",
    ] {
        let wrong = mistake(&session, &format!("FROM steps |> SELECT length({call}::text)"));
        assert!(wrong.contains("MiB"), "{call}: {wrong}");
    }
    for (call, expected) in [
        ("repeat('ab', 3)", "ababab"),
        ("lpad('7', 3, '0')", "007"),
        ("array_to_string(range(1, 10, 3), ',')", "1,4,7"),
        ("array_to_string(array_repeat(2, 3), ',')", "2,2,2"),
    ] {
        assert!(table(&session, &format!("SELECT {call}")).contains(expected), "{call}");
    }
}
