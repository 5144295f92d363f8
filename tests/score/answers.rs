//! Answers against gold answers: by hand, and against a second implementation.

use proptest::prelude::*;
use regex::Regex;
use swirldb::score::{
    AnswerScore, last_number, normalise, score_gsm8k, score_hotpotqa, score_musique,
};

fn assert_score(found: Option<AnswerScore>, [em, f1, precision, recall]: [f64; 4], what: &str) {
    let found = found.unwrap();
    let figures = [found.exact_match, found.f1, found.precision, found.recall];
    let close = figures.iter().zip([em, f1, precision, recall]).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close, "{what}: {found:?}");
}

#[test]
fn hotpotqa_and_musique_differ_where_their_scripts_do() {
    let third = 1.0 / 3.0;
    for (answer, gold, hotpotqa, musique) in [
        ("the big red dog", "red dog", [0.0, 0.8, 2.0 / 3.0, 1.0], [0.0, 0.8, 2.0 / 3.0, 1.0]),
        ("dog", "big red dog", [0.0, 0.5, 1.0, third], [0.0, 0.5, 1.0, third]),
        ("Yes!", "yes", [1.0; 4], [1.0; 4]),
        ("yes it is", "yes", [0.0; 4], [0.0, 0.5, third, 1.0]),
        ("no", "no one", [0.0; 4], [0.0, 2.0 / 3.0, 1.0, 0.5]),
        ("noanswer", "no answer", [0.0; 4], [0.0; 4]),
        ("", "the", [1.0, 0.0, 0.0, 0.0], [1.0; 4]),
        ("", "dog", [0.0; 4], [0.0; 4]),
        ("the", "dog", [0.0; 4], [0.0; 4]),
        ("a\u{1c}b", "b", [1.0; 4], [1.0; 4]),
    ] {
        assert_score(score_hotpotqa(answer, &[gold]), hotpotqa, answer);
        assert_score(score_musique(answer, &[gold]), musique, answer);
    }
}

#[test]
fn the_best_gold_answer_counts() {
    let gold = ["United States of America", "USA", "United States"];
    assert_score(score_musique("U.S.A.", &gold), [1.0; 4], "an alias");
    // F1 .8 of the third is more than 3/4 over 7 of the first.
    let expected = [0.0, 0.8, 2.0 / 3.0, 1.0];
    assert_score(score_musique("the United States territory", &gold), expected, "by F1");
    assert_score(score_hotpotqa("the United States territory", &gold), expected, "by F1");
    assert_eq!(score_musique::<&str>("x", &[]), None);
    assert_eq!(score_hotpotqa::<&str>("x", &[]), None);
}

#[test]
fn the_last_number_is_the_answer_to_gsm8k() {
    for (text, number) in [
        ("48 / 2 = <<48/2=24>>24 in all.\n#### 72", 72.0),
        ("#### 1,234,567", 1_234_567.0),
        ("so $12.50 in all.", 12.5),
        ("#### -3", -3.0),
        ("it falls to \u{2212}$7.", -7.0),
        ("5-3", 3.0),
        ("(5) - 3", 3.0),
        ("1, 2, 30", 30.0),
        ("1,23", 23.0),
        ("about .5", 0.5),
        ("version 1.2.3", 2.3),
        ("75% of them", 75.0),
        ("9,000.00 dollars", 9000.0),
        ("é7é", 7.0),
    ] {
        assert_eq!(last_number(text), Some(number), "{text}");
    }
    assert_eq!(last_number("none at all"), None);
    assert_eq!(score_gsm8k("so 18.0 eggs", &["She makes 18.\n#### 18"]), Some(true));
    assert_eq!(score_gsm8k("18 or 17", &["#### 18"]), Some(false));
    assert_eq!(score_gsm8k("1,000", &["#### 999", "#### 1000"]), Some(true));
    assert_eq!(score_gsm8k("many", &["#### 1"]), Some(false));
    assert_eq!(score_gsm8k("1", &["many"]), None);
}

/// The words of a text by regular expressions, as the scripts have them.
fn words(text: &str) -> Vec<String> {
    let plain =
        Regex::new(r"[!-/:-@\[-`{-~]").unwrap().replace_all(&text.to_lowercase(), "").into_owned();
    let plain = Regex::new(r"\b(a|an|the)\b").unwrap().replace_all(&plain, " ").into_owned();
    plain.split_whitespace().map(str::to_owned).collect()
}

/// F1 from sorted lists of words.
fn reference(answer: &str, gold: &str, is_musique: bool) -> (f64, f64) {
    let (mut answer, mut gold) = (words(answer), words(gold));
    let em = f64::from(u8::from(answer == gold));
    let closed = |words: &[String]| ["yes", "no", "noanswer"].contains(&words.join(" ").as_str());
    if !is_musique && em == 0.0 && (closed(&answer) || closed(&gold)) {
        return (em, 0.0);
    }
    if answer.is_empty() || gold.is_empty() {
        return (em, if is_musique { em } else { 0.0 });
    }
    answer.sort();
    gold.sort();
    let (n_answer, mut common) = (answer.len(), 0);
    let n_gold = gold.len();
    for word in answer {
        if let Ok(at) = gold.binary_search(&word) {
            gold.remove(at);
            common += 1;
        }
    }
    // 2pr / (p + r) with p = common / n_answer and r = common / n_gold.
    (em, 2.0 * f64::from(common) / (n_answer + n_gold) as f64)
}

proptest! {
    #[test]
    fn scores_are_those_of_a_second_implementation(
        answer in "(yes|no|the|An|red|Dog|dog's|u.s.|[a-c ,.é–]){0,6}",
        gold in "(yes|no|the|An|red|Dog|dog's|u.s.|[a-c ,.é–]){0,6}",
    ) {
        prop_assert_eq!(normalise(&answer), words(&answer).join(" "));
        for is_musique in [false, true] {
            let score = if is_musique { score_musique } else { score_hotpotqa };
            let found = score(&answer, &[&gold]).unwrap();
            let (em, f1) = reference(&answer, &gold, is_musique);
            prop_assert_eq!(found.exact_match, em);
            prop_assert!((found.f1 - f1).abs() < 1e-12, "{:?} {}", found, f1);
        }
    }
}
