//! Texts of answers.

use std::collections::HashMap;

/// Returns a text as answers are compared: lower case, without the punctuation of ASCII, without
/// the articles of English, words parted by one space.
pub fn normalise(text: &str) -> String {
    let lower = text.to_lowercase();
    let plain: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let plain = without_articles(&plain);
    let words = plain.split(is_space).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// White space as Python's `str.split` has it, with which the official scripts part words: the
/// separators of ASCII (file, group, record, unit) are white space too.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Puts a space for every article that stands alone between characters that are no letters and no
/// digits.
fn without_articles(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = |of_word: bool| rest.find(|c: char| c.is_alphanumeric() != of_word);
        let of_word = rest.starts_with(char::is_alphanumeric);
        let (run, behind) = rest.split_at(end(of_word).unwrap_or(rest.len()));
        out.push_str(if ["a", "an", "the"].contains(&run) { " " } else { run });
        rest = behind;
    }
    out
}

/// Returns whether two answers are the same once normalised.
pub fn exact_match(answer: &str, gold: &str) -> bool {
    normalise(answer) == normalise(gold)
}

/// Returns the harmonic mean of precision and recall over the words of two answers, 0 to 1. Where
/// one is `yes`, `no` or `noanswer`, only the same answer counts.
pub fn f1(answer: &str, gold: &str) -> f64 {
    one_hotpotqa(answer, gold).f1
}

/// How an answer compares with the gold answers; every figure lies in 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnswerScore {
    /// 1 where the answer is one of the gold answers, once both are normalised, else 0.
    pub exact_match: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// The share of the answer's words that the gold answer has.
    pub precision: f64,
    /// The share of the gold answer's words that the answer has.
    pub recall: f64,
}

/// Returns the score of an answer as `hotpot_evaluate_v1.py` of HotpotQA has it, against the best
/// of the gold answers: the highest exact match and the highest F1, with precision and recall of
/// the gold answer that gave that F1 (the first of several). Where one side is `yes`, `no` or
/// `noanswer` and the other differs, F1, precision and recall are 0. `None` without gold answers.
pub fn score_hotpotqa<S: AsRef<str>>(answer: &str, gold: &[S]) -> Option<AnswerScore> {
    best(gold, |gold| one_hotpotqa(answer, gold))
}

/// Returns the score of an answer as the evaluation of MuSiQue has it (`metrics/answer.py` there,
/// after the script of SQuAD 2.0), against the best of the answer and its aliases as in
/// [`score_hotpotqa`]. `yes` and `no` are words like others; where one side has no words left,
/// F1, precision and recall are 1 if the other has none either, else 0. `None` without gold
/// answers.
pub fn score_musique<S: AsRef<str>>(answer: &str, gold: &[S]) -> Option<AnswerScore> {
    best(gold, |gold| one_musique(answer, gold))
}

fn best<S: AsRef<str>>(gold: &[S], score: impl Fn(&str) -> AnswerScore) -> Option<AnswerScore> {
    let better = |best: AnswerScore, next: AnswerScore| {
        let exact_match = best.exact_match.max(next.exact_match);
        AnswerScore { exact_match, ..if next.f1 > best.f1 { next } else { best } }
    };
    gold.iter().map(|gold| score(gold.as_ref())).reduce(better)
}

fn one_hotpotqa(answer: &str, gold: &str) -> AnswerScore {
    let (answer, gold) = (normalise(answer), normalise(gold));
    let is_closed = |text: &str| ["yes", "no", "noanswer"].contains(&text);
    if (is_closed(&answer) || is_closed(&gold)) && answer != gold {
        return AnswerScore::default();
    }
    let exact_match = f64::from(u8::from(answer == gold));
    AnswerScore { exact_match, ..overlap(&answer, &gold) }
}

fn one_musique(answer: &str, gold: &str) -> AnswerScore {
    let (answer, gold) = (normalise(answer), normalise(gold));
    let exact_match = f64::from(u8::from(answer == gold));
    if answer.is_empty() || gold.is_empty() {
        let both = exact_match;
        return AnswerScore { exact_match, f1: both, precision: both, recall: both };
    }
    AnswerScore { exact_match, ..overlap(&answer, &gold) }
}

/// Returns F1, precision and recall of the words of two normalised texts.
fn overlap(answer: &str, gold: &str) -> AnswerScore {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in gold.split(' ').filter(|word| !word.is_empty()) {
        *left.entry(word).or_default() += 1;
    }
    let n_gold: usize = left.values().sum();
    let (mut n_answer, mut n_common) = (0usize, 0usize);
    for word in answer.split(' ').filter(|word| !word.is_empty()) {
        n_answer += 1;
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            n_common += 1;
        }
    }
    if n_common == 0 {
        return AnswerScore::default();
    }
    let precision = n_common as f64 / n_answer as f64;
    let recall = n_common as f64 / n_gold as f64;
    let f1 = 2.0 * precision * recall / (precision + recall);
    AnswerScore { exact_match: 0.0, f1, precision, recall }
}

/// Returns whether an answer occurs in a text as whole words, both normalised. An answer of which
/// nothing is left occurs nowhere.
pub fn contains(text: &str, answer: &str) -> bool {
    let answer = normalise(answer);
    let padded = format!(" {} ", normalise(text));
    !answer.is_empty() && padded.contains(&format!(" {answer} "))
}
