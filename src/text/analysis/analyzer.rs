//! The analyzers by name, and their state for one thread.

use super::english::English;
use super::neutral::Neutral;
use super::tokenizer::Tokenizer;

/// How the text of a corpus, and of what is searched in it, becomes terms; see [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Analyzer {
    /// Lucene's English, by which published figures are made.
    English,
    /// No language: Unicode's words, and pairs of characters of East Asia.
    Neutral,
}

impl Analyzer {
    /// Every analyzer.
    pub const ALL: [Analyzer; 2] = [Analyzer::English, Analyzer::Neutral];

    /// Returns the analyzer's name: `english` or `neutral`.
    pub fn as_str(self) -> &'static str {
        match self {
            Analyzer::English => "english",
            Analyzer::Neutral => "neutral",
        }
    }

    /// Returns the analyzer that a name means, or `None` for any other word.
    pub fn parse(name: &str) -> Option<Analyzer> {
        Analyzer::ALL.into_iter().find(|analyzer| analyzer.as_str() == name)
    }

    /// Returns the version of the terms: as long as it is the same, so are the terms of a text.
    pub fn version(self) -> u32 {
        match self {
            Analyzer::English | Analyzer::Neutral => 1,
        }
    }

    /// Returns the analyzer that a name and a version mean, if this program has it.
    pub fn of_version(name: &str, version: u32) -> Option<Analyzer> {
        Analyzer::parse(name).filter(|analyzer| analyzer.version() == version)
    }

    /// Returns what analyses one text after the other; each thread has its own.
    pub fn start(self) -> Analysis {
        Analysis(match self {
            Analyzer::English => State::English(English::new()),
            Analyzer::Neutral => State::Neutral(Neutral::default()),
        })
    }
}

/// Whoever gives each term a number.
pub trait TermNumbers {
    /// Returns the number of a term, the same whenever it is asked; `None` for a term that shall be
    /// as if it were not there.
    fn number(&mut self, term: &str) -> Option<u32>;
}

/// An analyzer at work, with its scratch space. What it did before never changes a term.
pub struct Analysis(State);

enum State {
    English(English),
    Neutral(Neutral),
}

impl Analysis {
    /// Calls `each` with every term of `text`, in order. No term is empty.
    pub fn tokens<F: FnMut(&str) + ?Sized>(&mut self, text: &str, each: &mut F) {
        match &mut self.0 {
            State::English(english) => {
                for token in Tokenizer::new(text) {
                    if let Some(term) = english.term(text, token.start, token.end) {
                        each(term);
                    }
                }
            }
            State::Neutral(neutral) => neutral.terms(text, each),
        }
    }

    /// Appends the number of every term of `text` to `to`, in order. Numbers are remembered:
    /// `numbers` must be the same in every call.
    pub fn numbers(&mut self, text: &str, numbers: &mut dyn TermNumbers, to: &mut Vec<u32>) {
        match &mut self.0 {
            State::English(english) => {
                for token in Tokenizer::new(text) {
                    to.extend(english.number(text, token.start, token.end, numbers));
                }
            }
            State::Neutral(neutral) => {
                neutral.terms(text, &mut |term: &str| to.extend(numbers.number(term)));
            }
        }
    }

    /// Returns the terms of `text`, in order.
    pub fn collect(&mut self, text: &str) -> Vec<String> {
        let mut terms = Vec::new();
        self.tokens(text, &mut |term: &str| terms.push(term.to_owned()));
        terms
    }
}
