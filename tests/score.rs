//! Answers against gold answers and judges against each other, by hand and in statements.

mod answers;
mod statistics;

use swirldb::score::{
    Agreement, NUMERIC_TOLERANCE, contains, exact_match, f1, normalise, numeric_equal, parse_number,
};

#[test]
fn answers_are_compared_as_the_official_script_does() {
    for (text, normal) in [
        ("The Eiffel Tower!", "eiffel tower"),
        ("  a  an the ", ""),
        ("Theatre of the absurd", "theatre of absurd"),
        ("U.S.A.", "usa"),
        ("well-known", "wellknown"),
        ("the\u{2013}end", "\u{2013}end"),
        ("A\u{a0}B", "b"),
        ("\u{4e2d}\u{6587} text", "\u{4e2d}\u{6587} text"),
    ] {
        assert_eq!(normalise(text), normal, "{text}");
    }
    assert!(exact_match("the  Red Fox.", "red fox"));
    assert!(!exact_match("red foxes", "red fox"));
    assert!(exact_match("the", "a"));
    for (answer, gold, expected) in [
        ("the big red dog", "red dog", 0.8),
        ("red dog", "red dog", 1.0),
        ("cat", "dog", 0.0),
        ("yes it is", "yes", 0.0),
        ("Yes.", "yes", 1.0),
        ("red red dog", "red dog dog", 2.0 / 3.0),
        ("", "", 0.0),
    ] {
        assert!((f1(answer, gold) - expected).abs() < 1e-12, "{answer}, {gold}");
    }
    assert!(contains("It was founded in the Year 1889, in Paris.", "1889"));
    assert!(contains("a tower: The Eiffel-Tower", "eiffeltower"));
    assert!(!contains("it was 18890", "1889"));
    assert!(!contains("anything", "the"));
}

#[test]
fn numbers_are_read_as_people_write_them() {
    for (text, number) in [
        ("1,234.50", 1234.5),
        ("$3", 3.0),
        ("-1/2", -0.5),
        ("50%", 0.5),
        ("1e3", 1000.0),
        ("42.", 42.0),
        ("\u{2212}7", -7.0),
        (".5", 0.5),
    ] {
        assert_eq!(parse_number(text), Some(number), "{text}");
    }
    for text in ["", "12 apples", "1,23", "1234,567", "1/0", "inf", "nan", "--1", "0x10", "1 2"] {
        assert_eq!(parse_number(text), None, "{text}");
    }
    let equal = |one, other| numeric_equal(one, other, NUMERIC_TOLERANCE);
    assert!(equal("0.3333333", "1/3") && equal("1,000", "1e3") && equal("0", "-0"));
    assert!(!equal("0.333", "1/3") && !equal("many", "many"));
    assert!(numeric_equal("99", "100", 0.02));
}

#[test]
fn kappa_is_agreement_beyond_chance() {
    let mut agreement = Agreement::default();
    assert_eq!((agreement.share(), agreement.kappa()), (None, None));
    for (one, other, count) in [(1.0, 1.0, 20), (1.0, 0.0, 5), (0.0, 1.0, 10), (0.0, -0.0, 15)] {
        agreement.add(one, other, count);
    }
    assert_eq!(agreement.share(), Some(0.7));
    assert!((agreement.kappa().unwrap() - 0.4).abs() < 1e-12);
    // Of 20 that the other calls BAD 5 are GOOD here, of 30 that it calls GOOD 10 are BAD.
    assert_eq!(agreement.false_good(), Some(0.25));
    assert_eq!(agreement.false_bad(), Some(1.0 / 3.0));
    assert_eq!((agreement.count(), agreement.verdicts()), (50, agreement));
    let mut same = Agreement::default();
    same.add(0.5, 0.5, 3);
    assert_eq!((same.false_good(), same.false_bad()), (Some(0.0), None));
    assert_eq!((same.share(), same.kappa()), (Some(1.0), None));
}
