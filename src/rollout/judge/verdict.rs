//! Verdicts, and how they are read from what a model wrote.
//!
//! The rule for texts. Reasoning in `<think>` tags is left out. A line is a *clear* verdict when it
//! is the word alone, in whatever marks (`**GOOD**`, `Good.`), or the word in capitals behind words
//! that say nothing else (`Final verdict: GOOD`). The last clear line counts, unless a line behind
//! it takes the word up again. Everything else is unreadable: both words, a word that is hedged
//! (`probably GOOD`, `GOOD?`), no word, a text that was cut off. Better no verdict than a wrong
//! one.

use std::fmt;

use serde_json::{Map, Value, json};

use super::super::policy::Proposed;
use super::spec::{Reading, Scale};
use crate::chat::ScoredToken;
use crate::model::{GOOD_ABOVE, Label, LabelName, Target};

/// Words that may stand before a verdict on its line.
const NEUTRAL: [&str; 33] = [
    "a",
    "and",
    "answer",
    "as",
    "assessment",
    "conclude",
    "conclusion",
    "decision",
    "evaluation",
    "final",
    "finally",
    "grade",
    "hence",
    "i",
    "in",
    "is",
    "it",
    "judge",
    "judgement",
    "judgment",
    "label",
    "my",
    "overall",
    "rate",
    "rating",
    "result",
    "score",
    "so",
    "the",
    "therefore",
    "this",
    "thus",
    "verdict",
];

/// Words that may stand there too when the verdict is a word: before a number they count.
const NUMBERED: [&str; 6] = ["action", "last", "message", "newest", "query", "step"];

/// Marks around words.
const MARKS: &[char] = &[
    '*', '_', '"', '\'', '`', '(', ')', '[', ']', '{', '}', '.', ',', ';', '!', '#', '>', '<', '|',
    '~', '\\', '$', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}',
];

/// What a judge found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The value, 0 to 1.
    pub value: f64,
    /// The judge's own value, where it was mapped: a grade.
    pub raw: Option<String>,
    /// The verdict in the judge's own word.
    pub verdict: Option<String>,
    /// Why.
    pub rationale: Option<String>,
}

impl Verdict {
    /// Returns a verdict that is a value and nothing else.
    pub fn of(value: f64) -> Verdict {
        Verdict { value, raw: None, verdict: None, rationale: None }
    }

    /// Returns the label that it is.
    pub fn into_label(
        self,
        target: Target,
        name: LabelName,
        judge: &str,
        run_id: Option<&str>,
    ) -> Label {
        Label {
            target,
            name,
            judge: judge.to_owned(),
            value: self.value,
            raw: self.raw,
            verdict: self.verdict,
            rationale: self.rationale,
            run_id: run_id.map(str::to_owned),
        }
    }
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnreadableReason {
    /// Nothing was written.
    Empty,
    /// The text was cut off before its end.
    Cut,
    /// No word of the scale occurs.
    NoVerdict,
    /// Both words occur, and neither stands on its own at the end.
    Both,
    /// A word of the scale occurs, and does not stand on its own.
    Hedged,
    /// The probabilities at the verdict are not there, or name no word of the scale.
    NoProbability,
    /// There is nothing to judge it by: no gold, no observation.
    NoGround,
    /// It is longer than the model can be shown, or than the judge may show.
    TooLong,
}

impl UnreadableReason {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            UnreadableReason::Empty => "empty",
            UnreadableReason::Cut => "cut",
            UnreadableReason::NoVerdict => "no_verdict",
            UnreadableReason::Both => "both",
            UnreadableReason::Hedged => "hedged",
            UnreadableReason::NoProbability => "no_probability",
            UnreadableReason::NoGround => "no_ground",
            UnreadableReason::TooLong => "too_long",
        }
    }
}

impl fmt::Display for UnreadableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was written and is no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Why.
    pub reason: UnreadableReason,
    /// What was written.
    pub text: String,
}

/// Reads the verdict that a model wrote.
///
/// # Errors
/// There is none, or none that is clear.
pub fn read_verdict(
    scale: &Scale,
    reading: Reading,
    answer: &Proposed,
) -> Result<Verdict, Unreadable> {
    let unreadable = |reason| Unreadable { reason, text: answer.text.clone() };
    match answer.finish_reason.as_deref() {
        Some("length") => return Err(unreadable(UnreadableReason::Cut)),
        Some("context") if answer.text.is_empty() => {
            let text = answer.unread.clone().unwrap_or_default();
            return Err(Unreadable { reason: UnreadableReason::TooLong, text });
        }
        Some("context") => return Err(unreadable(UnreadableReason::Cut)),
        _ => {}
    }
    let found = find(scale, &answer.text).map_err(unreadable)?;
    let read = match reading {
        Reading::Text => Some(found.point.value(scale)),
        Reading::Probability => probability(scale, &found, answer.tokens.as_deref()),
        // Nothing was to be written: see `scored_verdict`.
        Reading::Scored => None,
    };
    let value = read.ok_or_else(|| unreadable(UnreadableReason::NoProbability))?;
    let (raw, verdict) = match (&found.point, scale) {
        (Point::Grade(grade), _) => (Some(grade.to_string()), None),
        (Point::Good, Scale::Words { good, .. }) => (None, Some(good.clone())),
        (Point::Bad, Scale::Words { bad, .. }) => (None, Some(bad.clone())),
        (Point::Good | Point::Bad, Scale::Grades) => (None, None),
    };
    Ok(Verdict { value, raw, verdict, rationale: found.rationale })
}

/// Returns the verdict by the natural logarithms of the probabilities of the words of a scale
/// ([`Scale::written`]), in their order: of two words p(good) / (p(good) + p(bad)), of grades their
/// mean.
///
/// # Errors
/// `NoProbability` if one is no number, or all are impossible.
pub fn scored_verdict(scale: &Scale, log_probs: &[f64]) -> Result<Verdict, Unreadable> {
    let points = scale.points();
    let best = log_probs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let named: Map<String, Value> =
        points.iter().zip(log_probs).map(|((word, _), l)| (word.clone(), json!(l))).collect();
    let raw = Value::Object(named).to_string();
    if log_probs.len() != points.len() || !best.is_finite() || log_probs.iter().any(|l| l.is_nan())
    {
        return Err(Unreadable { reason: UnreadableReason::NoProbability, text: raw });
    }
    let (mut sum, mut weighted) = (0.0, 0.0);
    for ((_, value), log_prob) in points.iter().zip(log_probs) {
        // The most probable counts 1: no sum is 0.
        let chance = (log_prob - best).exp();
        sum += chance;
        weighted += chance * value;
    }
    let value = weighted / sum;
    let verdict = match scale {
        Scale::Words { good, .. } if value > GOOD_ABOVE => Some(good.clone()),
        Scale::Words { bad, .. } => Some(bad.clone()),
        Scale::Grades => None,
    };
    Ok(Verdict { value, raw: Some(raw), verdict, rationale: None })
}

/// A point of a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Good,
    Bad,
    Grade(u8),
}

impl Point {
    fn value(self, scale: &Scale) -> f64 {
        match (self, scale) {
            (Point::Good, _) => 1.0,
            (Point::Bad, _) => 0.0,
            (Point::Grade(grade), _) => f64::from(grade - 1) / 4.0,
        }
    }
}

/// A clear verdict in a text.
struct Found {
    point: Point,
    /// As it is written.
    written: String,
    rationale: Option<String>,
}

fn find(scale: &Scale, text: &str) -> Result<Found, UnreadableReason> {
    let text = match text.rfind("</think>") {
        Some(at) => &text[at + "</think>".len()..],
        None if text.contains("<think>") => return Err(UnreadableReason::Cut),
        None => text,
    };
    if text.trim().is_empty() {
        return Err(UnreadableReason::Empty);
    }
    let mut end = text.len();
    for line in text.rsplit('\n') {
        let start = end - line.len();
        if let Some((point, written)) = clear(scale, line) {
            let before = text[..start].trim();
            let behind = text[end..].trim();
            let rationale = if before.is_empty() { behind } else { before };
            let rationale = Some(rationale.to_owned()).filter(|text| !text.is_empty());
            return Ok(Found { point, written, rationale });
        }
        // What takes the word up again behind a clear line leaves it open.
        if !mentioned(scale, line).is_empty() {
            break;
        }
        end = start.saturating_sub(1);
    }
    let mut points = mentioned(scale, text);
    points.dedup();
    Err(match points.len() {
        0 => UnreadableReason::NoVerdict,
        1 => UnreadableReason::Hedged,
        _ => UnreadableReason::Both,
    })
}

/// Returns the verdict that a line is, and how it is written there.
fn clear(scale: &Scale, line: &str) -> Option<(Point, String)> {
    let plain = line.replace("<verdict>", " ").replace("</verdict>", " ");
    let plain =
        plain.replace("\\boxed", " ").replace("\\text", " ").replace([':', '=', '\u{2014}'], " ");
    let mut words: Vec<&str> = plain
        .split_whitespace()
        .map(|word| word.trim_matches(MARKS))
        .filter(|word| !word.is_empty() && *word != "-")
        .collect();
    if *scale == Scale::Grades {
        for tail in [&["out", "of", "5"][..], &["of", "5"], &["/", "5"]] {
            if words.len() > tail.len() && words.ends_with(tail) {
                words.truncate(words.len() - tail.len());
                break;
            }
        }
    }
    let (last, before) = words.split_last()?;
    let is_alone = before.is_empty();
    let is_neutral = |word: &&str| {
        let word = word.to_lowercase();
        let says_nothing = NEUTRAL.contains(&word.as_str());
        says_nothing || (*scale != Scale::Grades && NUMBERED.contains(&word.as_str()))
    };
    if !before.iter().all(is_neutral) {
        return None;
    }
    let point = match scale {
        Scale::Words { good, bad } => {
            let is = |word: &str| *last == word || (is_alone && last.to_uppercase() == word);
            match (is(good), is(bad)) {
                (true, false) => Point::Good,
                (false, true) => Point::Bad,
                _ => return None,
            }
        }
        Scale::Grades => Point::Grade(grade(last.strip_suffix("/5").unwrap_or(last))?),
    };
    Some((point, last.strip_suffix("/5").unwrap_or(last).to_owned()))
}

fn grade(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [digit @ b'1'..=b'5'] => Some(digit - b'0'),
        _ => None,
    }
}

/// Returns the points of the scale that a text names, in order: words in capitals, single digits.
fn mentioned(scale: &Scale, text: &str) -> Vec<Point> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let point = |word: &str| match scale {
        Scale::Words { good, .. } if word == good => Some(Point::Good),
        Scale::Words { bad, .. } if word == bad => Some(Point::Bad),
        Scale::Words { .. } => None,
        Scale::Grades => grade(word).map(Point::Grade),
    };
    let mut points: Vec<Point> = words.filter_map(point).collect();
    points.sort_by_key(|point| match point {
        Point::Bad => 0,
        Point::Good => 6,
        Point::Grade(grade) => *grade,
    });
    points
}

/// Returns the value by the probabilities at the token where the verdict begins: of two words
/// p(good) / (p(good) + p(bad)), of grades their mean. A point that is not among the likeliest
/// tokens has a probability below all of them and counts as 0.
fn probability(scale: &Scale, found: &Found, tokens: Option<&[ScoredToken]>) -> Option<f64> {
    let tokens = tokens?;
    let text: String = tokens.iter().map(|token| token.text.as_str()).collect();
    let at = text.rfind(&found.written)?;
    let mut end = 0;
    let token = tokens.iter().find(|token| {
        end += token.text.len();
        end > at
    })?;
    if token.top.is_empty() {
        return None;
    }
    let own = std::iter::once((token.text.as_str(), token.log_prob))
        .filter(|(text, _)| !token.top.iter().any(|(other, _)| other == text));
    let listed = token.top.iter().map(|(text, log_prob)| (text.as_str(), *log_prob));
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (text, log_prob) in listed.chain(own) {
        let Some(point) = begun(scale, text) else { continue };
        // Tokens with negative infinity are not possible.
        let chance = log_prob.exp();
        sum += chance;
        weighted += chance * point.value(scale);
    }
    (sum > 0.0 && sum.is_finite()).then(|| weighted / sum)
}

/// Returns the point of the scale that a token begins: the word or its beginning.
fn begun(scale: &Scale, token: &str) -> Option<Point> {
    let start = token.trim_start_matches(|c: char| !c.is_alphanumeric()).to_uppercase();
    let word: String = start.chars().take_while(|c| c.is_alphanumeric()).collect();
    if word.is_empty() {
        return None;
    }
    match scale {
        Scale::Grades => grade(&word).map(Point::Grade),
        Scale::Words { good, bad } => match (good.starts_with(&word), bad.starts_with(&word)) {
            (true, false) => Some(Point::Good),
            (false, true) => Some(Point::Bad),
            _ => None,
        },
    }
}
