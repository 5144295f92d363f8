//! What came of judging, counted.

use std::collections::BTreeMap;
use std::fmt;

use super::verdict::{Unreadable, UnreadableReason, Verdict};
use crate::model::GOOD_ABOVE;

/// How many texts are kept as examples.
const EXAMPLES_MAX: usize = 3;

/// How many characters of each.
const EXAMPLE_CHARACTERS: usize = 300;

/// What came of judging one thing.
#[derive(Clone, Debug, PartialEq)]
pub enum Judged {
    /// A verdict.
    Verdict(Verdict),
    /// No verdict that can be read.
    Unreadable(Unreadable),
    /// The judge did not answer: why.
    Failed(String),
}

/// Counts of what came of judging, with examples of what was no verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Verdicts.
    pub verdicts: u64,
    /// Verdicts above one half.
    pub good: u64,
    /// What could not be read, by reason.
    pub unreadable: BTreeMap<UnreadableReason, u64>,
    /// What was not answered.
    pub failed: u64,
    /// Conversations that were shown without their oldest turns.
    pub shortened: u64,
    /// The ends of the first texts that could not be read.
    pub examples: Vec<String>,
    /// The first errors.
    pub errors: Vec<String>,
}

impl Tally {
    /// Counts one outcome.
    pub fn add(&mut self, judged: &Judged) {
        match judged {
            Judged::Verdict(verdict) => {
                self.verdicts += 1;
                self.good += u64::from(verdict.value > GOOD_ABOVE);
            }
            Judged::Unreadable(unreadable) => {
                *self.unreadable.entry(unreadable.reason).or_default() += 1;
                keep(&mut self.examples, end_of(&unreadable.text));
            }
            Judged::Failed(error) => {
                self.failed += 1;
                keep(&mut self.errors, error.clone());
            }
        }
    }

    /// Adds the counts of another one.
    pub fn merge(&mut self, other: Tally) {
        self.verdicts += other.verdicts;
        self.good += other.good;
        self.failed += other.failed;
        self.shortened += other.shortened;
        for (reason, count) in other.unreadable {
            *self.unreadable.entry(reason).or_default() += count;
        }
        other.examples.into_iter().for_each(|text| keep(&mut self.examples, text));
        other.errors.into_iter().for_each(|text| keep(&mut self.errors, text));
    }

    /// Returns how many could not be read.
    pub fn unreadable_count(&self) -> u64 {
        self.unreadable.values().sum()
    }

    /// Returns how many outcomes were counted.
    pub fn count(&self) -> u64 {
        self.verdicts + self.failed + self.unreadable_count()
    }

    /// Returns the share of outcomes without a verdict, `None` without outcomes.
    pub fn share_without_verdict(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| (count - self.verdicts) as f64 / count as f64)
    }
}

impl fmt::Display for Tally {
    /// Writes the counts, and a line for each example.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (good, bad) = (self.good, self.verdicts - self.good);
        write!(f, "{} judged: {good} GOOD, {bad} BAD", self.count())?;
        for (reason, count) in &self.unreadable {
            write!(f, ", {count} unreadable ({reason})")?;
        }
        if self.failed > 0 {
            write!(f, ", {} not answered", self.failed)?;
        }
        if self.shortened > 0 {
            write!(f, "; {} shown without their oldest turns", self.shortened)?;
        }
        for text in &self.examples {
            write!(f, "\n  unreadable: {text:?}")?;
        }
        for text in &self.errors {
            write!(f, "\n  not answered: {text}")?;
        }
        Ok(())
    }
}

fn keep(list: &mut Vec<String>, text: String) {
    if list.len() < EXAMPLES_MAX && !list.contains(&text) {
        list.push(text);
    }
}

/// Returns the end of a text, where a verdict should have been.
fn end_of(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().rev().nth(EXAMPLE_CHARACTERS) {
        Some((at, c)) => format!("...{}", &text[at + c.len_utf8()..]),
        None => text.to_owned(),
    }
}
