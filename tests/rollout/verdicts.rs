//! How verdicts are read: what is clear, what is not.

use swirldb::chat::ScoredToken;
use swirldb::rollout::Proposed;
use swirldb::rollout::judge::{
    Reading, Scale, Unreadable, UnreadableReason as Reason, Verdict, read_verdict,
};

fn answer(text: &str) -> Proposed {
    Proposed { text: text.to_owned(), ..Proposed::default() }
}

fn value(scale: &Scale, text: &str) -> Result<f64, Reason> {
    let read = read_verdict(scale, Reading::Text, &answer(text));
    read.map(|verdict| verdict.value).map_err(|unreadable| unreadable.reason)
}

#[test]
fn words_are_read_where_they_stand_on_their_own() {
    let scale = Scale::words("GOOD", "BAD");
    for (text, expected) in [
        ("GOOD", Ok(1.0)),
        ("BAD", Ok(0.0)),
        ("good.", Ok(1.0)),
        ("  Bad!\n\n", Ok(0.0)),
        ("It helps.\nGOOD", Ok(1.0)),
        ("It helps.\r\nGOOD\r\n", Ok(1.0)),
        ("It helps.\n\n**GOOD**", Ok(1.0)),
        ("# GOOD", Ok(1.0)),
        ("- BAD", Ok(0.0)),
        ("\"GOOD\"", Ok(1.0)),
        ("\u{201c}GOOD\u{201d}", Ok(1.0)),
        ("\\boxed{GOOD}", Ok(1.0)),
        ("<verdict>BAD</verdict>", Ok(0.0)),
        ("Verdict: GOOD", Ok(1.0)),
        ("**Final verdict:** GOOD", Ok(1.0)),
        ("Verdict:BAD", Ok(0.0)),
        ("So the newest message is GOOD.", Ok(1.0)),
        ("Therefore, my judgment is BAD", Ok(0.0)),
        ("BAD at first sight.\nBut it helps.\nGOOD", Ok(1.0)),
        ("BAD\nOn reflection:\nGOOD", Ok(1.0)),
        ("GOOD\n\nThe query is a good idea.", Ok(1.0)),
        ("<think>BAD or GOOD?\nBAD</think>\nGOOD", Ok(1.0)),
        ("", Err(Reason::Empty)),
        ("  \n ", Err(Reason::Empty)),
        ("<think>hm</think>", Err(Reason::Empty)),
        ("<think>GOOD", Err(Reason::Cut)),
        ("It may help.", Err(Reason::NoVerdict)),
        ("This is a good query.", Err(Reason::NoVerdict)),
        ("this is good", Err(Reason::NoVerdict)),
        ("GOODNESS", Err(Reason::NoVerdict)),
        ("GOOD or BAD", Err(Reason::Both)),
        ("GOOD/BAD", Err(Reason::Both)),
        ("Somewhere between GOOD and BAD.", Err(Reason::Both)),
        ("GOOD BAD", Err(Reason::Both)),
        ("GOOD\nthough one could say BAD", Err(Reason::Both)),
        ("BAD\nI would not call it GOOD.", Err(Reason::Both)),
        ("probably GOOD", Err(Reason::Hedged)),
        ("GOOD?", Err(Reason::Hedged)),
        ("It is not GOOD.", Err(Reason::Hedged)),
        ("not bad, but not GOOD", Err(Reason::Hedged)),
        ("The query is likely to help, which is GOOD", Err(Reason::Hedged)),
        ("GOOD, because it helps", Err(Reason::Hedged)),
        ("GOOD-ish", Err(Reason::Hedged)),
        ("GOOD\nperhaps GOOD", Err(Reason::Hedged)),
    ] {
        assert_eq!(value(&scale, text), expected, "{text:?}");
    }
    let scale = Scale::words("YES", "NO");
    for (text, expected) in [
        ("Answer: YES", Ok(1.0)),
        ("The key says Paris.\nno", Ok(0.0)),
        ("The answer is no", Err(Reason::NoVerdict)),
        ("There is NO such answer", Err(Reason::Hedged)),
        ("KNOWN", Err(Reason::NoVerdict)),
    ] {
        assert_eq!(value(&scale, text), expected, "{text:?}");
    }
}

#[test]
fn grades_are_read_where_they_stand_on_their_own() {
    for (text, expected) in [
        ("1", Ok(0.0)),
        ("It is fine.\n4", Ok(0.75)),
        ("**5**", Ok(1.0)),
        ("Grade: 3", Ok(0.5)),
        ("Score: 2/5", Ok(0.25)),
        ("4 / 5", Ok(0.75)),
        ("I rate it 4 out of 5.", Ok(0.75)),
        ("2\n3", Ok(0.5)),
        ("6", Err(Reason::NoVerdict)),
        ("0", Err(Reason::NoVerdict)),
        ("10", Err(Reason::NoVerdict)),
        ("five", Err(Reason::NoVerdict)),
        ("-1", Err(Reason::Hedged)),
        ("4.5", Err(Reason::Both)),
        ("3-4", Err(Reason::Both)),
        ("3 or 4", Err(Reason::Both)),
        ("step 4", Err(Reason::Hedged)),
        ("about 4", Err(Reason::Hedged)),
        ("4\nas 3 results were found", Err(Reason::Both)),
    ] {
        assert_eq!(value(&Scale::Grades, text), expected, "{text:?}");
    }
}

#[test]
fn a_verdict_says_why_in_whose_words() {
    let scale = Scale::words("GOOD", "BAD");
    let read = read_verdict(&scale, Reading::Text, &answer("It\nhelps.\n\nbad\n")).unwrap();
    let expected = Verdict {
        value: 0.0,
        raw: None,
        verdict: Some("BAD".to_owned()),
        rationale: Some("It\nhelps.".to_owned()),
    };
    assert_eq!(read, expected);
    let read = read_verdict(&Scale::Grades, Reading::Text, &answer("4")).unwrap();
    let expected = Verdict { raw: Some("4".to_owned()), ..Verdict::of(0.75) };
    assert_eq!(read, expected);
    // What was cut off may have gone on to say otherwise.
    let mut cut = answer("GOOD");
    cut.finish_reason = Some("length".to_owned());
    let expected = Unreadable { reason: Reason::Cut, text: "GOOD".to_owned() };
    assert_eq!(read_verdict(&scale, Reading::Text, &cut), Err(expected));
}

fn token(text: &str, chance: f64, top: &[(&str, f64)]) -> ScoredToken {
    let top = top.iter().map(|(text, chance)| ((*text).to_owned(), chance.ln())).collect();
    ScoredToken { text: text.to_owned(), log_prob: chance.ln(), top }
}

fn by_probability(scale: &Scale, tokens: Vec<ScoredToken>) -> Result<f64, Reason> {
    let text = tokens.iter().map(|token| token.text.as_str()).collect::<String>();
    // A server may count the token at the end, and show no text of it.
    let text = text.replace("<eos>", "");
    let answer = Proposed { tokens: Some(tokens), ..answer(&text) };
    let read = read_verdict(scale, Reading::Probability, &answer);
    read.map(|verdict| verdict.value).map_err(|unreadable| unreadable.reason)
}

#[test]
fn probabilities_are_read_where_the_verdict_begins() {
    let scale = Scale::words("GOOD", "BAD");
    let near = |found: Result<f64, Reason>, expected: f64| {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} and not {expected}");
    };
    let top = [("GOOD", 0.6), ("BAD", 0.2), ("The", 0.1)];
    near(by_probability(&scale, vec![token("GOOD", 0.6, &top)]), 0.75);
    // In pieces, in other spellings, behind an explanation that says the other word.
    let top = [(" BA", 0.5), (" GO", 0.1), (" Good", 0.1), ("**GOOD", 0.05), ("But", 0.2)];
    let tokens = vec![
        token("So GOOD", 0.9, &[("So", 0.9)]),
        token(" a start.\n", 0.9, &[]),
        token(" BA", 0.5, &top),
        token("D", 1.0, &[("D", 1.0)]),
        token("<eos>", 1.0, &[]),
    ];
    near(by_probability(&scale, tokens), 0.25 / 0.75);
    // The token that was sampled may be none of the likeliest.
    let top = [("GOOD", 0.6), ("The", 0.2)];
    near(by_probability(&scale, vec![token("BAD", 0.1, &top)]), 0.6 / 0.7);
    near(by_probability(&scale, vec![token("GOOD", 0.6, &top)]), 1.0);
    let grades = [("4", 0.5), ("5", 0.3), ("2", 0.1), ("7", 0.1)];
    let expected = (0.5 * 0.75 + 0.3 + 0.1 * 0.25) / 0.9;
    near(by_probability(&Scale::Grades, vec![token("4", 0.5, &grades)]), expected);

    for tokens in [vec![token("GOOD", 0.5, &[])], vec![]] {
        let found = read_verdict(
            &scale,
            Reading::Probability,
            &Proposed { tokens: Some(tokens), ..answer("GOOD") },
        );
        assert_eq!(found.unwrap_err().reason, Reason::NoProbability);
    }
    let found = read_verdict(&scale, Reading::Probability, &answer("GOOD"));
    assert_eq!(found.unwrap_err().reason, Reason::NoProbability);
    // Probabilities make no verdict of a text that has none.
    let top = [("Well", 0.6), ("GOOD", 0.4)];
    assert_eq!(by_probability(&scale, vec![token("Well", 0.6, &top)]), Err(Reason::NoVerdict));
}
