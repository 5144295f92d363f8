//! The predicate `matches(column, 'words')`, and its evaluation on one text.
//!
//! A query is a list of phrases that must all occur, in any order and anywhere. What stands
//! between quotes is one phrase; outside quotes each piece between blanks is one, so `find` is a
//! phrase of one word, `get_user`, `example.com` and `北京` are phrases of several. A text matches a
//! phrase if its words occur in the text next to each other in this order.

use std::fmt;

use super::words::Words;
use crate::diag::{Diagnostic, Span};

/// A full-text predicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextQuery {
    /// Each phrase once, with at least one word.
    phrases: Vec<Vec<String>>,
}

impl TextQuery {
    /// Returns the query written in `text`.
    ///
    /// # Errors
    /// A quote without its partner, or a text without any word: with a place in `text`.
    pub fn parse(text: &str) -> Result<TextQuery, Diagnostic> {
        let mut phrases: Vec<Vec<String>> = Vec::new();
        let mut at = 0;
        for (number, part) in text.split('"').enumerate() {
            let is_quoted = number % 2 == 1;
            if is_quoted && at + part.len() == text.len() {
                return Err(unclosed(text, at - 1));
            }
            let pieces: Vec<&str> =
                if is_quoted { vec![part] } else { part.split_whitespace().collect() };
            for piece in pieces {
                let phrase = words(piece);
                if !phrase.is_empty() && !phrases.contains(&phrase) {
                    phrases.push(phrase);
                }
            }
            at += part.len() + 1;
        }
        if phrases.is_empty() {
            return Err(wordless(text));
        }
        Ok(TextQuery { phrases })
    }

    /// Returns the phrases, each a list of words as `Words` gives them.
    pub fn phrases(&self) -> &[Vec<String>] {
        &self.phrases
    }

    /// Returns whether `text` holds every phrase; the index answers the same.
    pub fn matches(&self, text: &str) -> bool {
        let mut searches: Vec<Search<'_>> = self.phrases.iter().map(|p| Search::new(p)).collect();
        let mut missing = searches.len();
        let mut text_words = Words::new(text);
        let mut word = String::new();
        while missing > 0 && text_words.read(&mut word) {
            for search in searches.iter_mut().filter(|search| !search.is_found()) {
                search.advance(&word);
                missing -= usize::from(search.is_found());
            }
        }
        missing == 0
    }
}

impl fmt::Display for TextQuery {
    /// Writes the query so that `parse` returns it again (a word over the limit shows as its hash).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, phrase) in self.phrases.iter().enumerate() {
            let blank = if number == 0 { "" } else { " " };
            match phrase.as_slice() {
                [word] => write!(f, "{blank}{word}")?,
                _ => write!(f, "{blank}\"{}\"", phrase.join(" "))?,
            }
        }
        Ok(())
    }
}

/// The search for one phrase in a stream of words (Knuth, Morris and Pratt 1977).
struct Search<'a> {
    phrase: &'a [String],
    /// For each length of a part already found: the next shorter length to fall back to.
    fallback: Vec<usize>,
    /// How many words of the phrase the last words of the text are.
    found: usize,
}

impl<'a> Search<'a> {
    fn new(phrase: &'a [String]) -> Search<'a> {
        let mut fallback = vec![0; phrase.len()];
        let mut length = 0;
        for at in 1..phrase.len() {
            while length > 0 && phrase[at] != phrase[length] {
                length = fallback[length - 1];
            }
            length += usize::from(phrase[at] == phrase[length]);
            fallback[at] = length;
        }
        Search { phrase, fallback, found: 0 }
    }

    fn is_found(&self) -> bool {
        self.found == self.phrase.len()
    }

    fn advance(&mut self, word: &str) {
        while self.found > 0 && self.phrase[self.found] != word {
            self.found = self.fallback[self.found - 1];
        }
        self.found += usize::from(self.phrase[self.found] == word);
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words = Words::new(text);
    let mut out = Vec::new();
    let mut word = String::new();
    while words.read(&mut word) {
        out.push(word.clone());
    }
    out
}

fn unclosed(text: &str, quote: usize) -> Diagnostic {
    Diagnostic::new("unclosed-quote", "the phrase that starts here has no closing quote")
        .at(Span::new(quote, text.len()))
        .help("a phrase stands between two quotes: \"a phrase\"")
}

fn wordless(text: &str) -> Diagnostic {
    Diagnostic::new("no-words", "a full-text query needs at least one word")
        .at(Span::new(0, text.len()))
        .help("letters and digits make words; for other characters use LIKE")
}
