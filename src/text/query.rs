//! Full-text queries, `matches(column, 'words')` and SEARCH, and their evaluation on one text.
//!
//! What a query asks for are **phrases**. What stands between quotes is one phrase; outside quotes
//! each piece between blanks is one, so `find` is a phrase of one word, `get_user`, `example.com`
//! and `北京` are phrases of several. A text holds a phrase if its words occur in the text next to
//! each other in this order; the last word of a phrase with a star behind it (`found*`, `"was
//! found*"`) may go on.
//!
//! ```text
//!   query  = part { OR part }
//!   part   = { [AND] item | NOT item }      at least one item without NOT
//!   item   = phrase | ( query )
//! ```
//!
//! What stands side by side must all occur in a predicate ([`TextQuery::parse`]), and any of it in
//! a search ([`TextQuery::parse_search`]), where `AND` binds what must occur together. The
//! operators are written in capitals; in small letters, and in quotes, they are words. What a
//! search finds outside quotes in a script without blanks, such as 谁建立了巴黎, are its pairs of
//! characters, since no text holds the whole sentence.

use std::fmt;

use super::words::{Words, stands_alone};
use crate::diag::{Diagnostic, Span};

/// How deep parentheses may stand in each other.
const DEPTH_MAX: usize = 32;

/// A full-text query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TextQuery {
    clause: Clause,
}

/// What must be true of a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Clause {
    /// It holds the phrase.
    Phrase(Phrase),
    /// All are true; at least two.
    All(Vec<Clause>),
    /// Any is true; at least two.
    Any(Vec<Clause>),
    /// The first is true and the second is not.
    Without(Box<Clause>, Box<Clause>),
}

/// Words next to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Phrase {
    /// The words as `Words` gives them; at least one.
    pub words: Vec<String>,
    /// Whether the last one may be the beginning of a word.
    pub is_prefix: bool,
}

impl TextQuery {
    /// Returns the predicate written in `text`: what stands side by side must all occur.
    ///
    /// # Errors
    /// A quote or parenthesis without its partner, an operator without what it joins, nothing
    /// that must occur, or a text without any word: with a place in `text`.
    pub fn parse(text: &str) -> Result<TextQuery, Diagnostic> {
        Parser::parse(text, false)
    }

    /// Returns the search written in `text`: any of what stands side by side may occur.
    ///
    /// # Errors
    /// As [`TextQuery::parse`].
    pub fn parse_search(text: &str) -> Result<TextQuery, Diagnostic> {
        Parser::parse(text, true)
    }

    /// Returns the phrases that may occur in a text that is found, in the order written.
    pub fn phrases(&self) -> Vec<&Phrase> {
        let mut phrases = Vec::new();
        self.clause.sought(&mut phrases);
        phrases
    }

    pub(super) fn clause(&self) -> &Clause {
        &self.clause
    }

    /// Returns whether the query is true of `text`; the index answers the same.
    pub fn matches(&self, text: &str) -> bool {
        let mut searches = Vec::new();
        self.clause.searches(&mut searches);
        let mut missing = searches.len();
        let mut text_words = Words::new(text);
        let mut word = String::new();
        while missing > 0 && text_words.read(&mut word) {
            for search in searches.iter_mut().filter(|search| !search.is_found()) {
                search.advance(&word);
                missing -= usize::from(search.is_found());
            }
        }
        self.clause.holds(&mut searches.iter().map(Search::is_found))
    }
}

impl Clause {
    fn joined(mut clauses: Vec<Clause>, join: fn(Vec<Clause>) -> Clause) -> Option<Clause> {
        let mut once = Vec::with_capacity(clauses.len());
        for clause in clauses.drain(..) {
            if !once.contains(&clause) {
                once.push(clause);
            }
        }
        match once.len() {
            0 | 1 => once.pop(),
            _ => Some(join(once)),
        }
    }

    fn sought<'a>(&'a self, phrases: &mut Vec<&'a Phrase>) {
        match self {
            Clause::Phrase(phrase) if phrases.contains(&phrase) => {}
            Clause::Phrase(phrase) => phrases.push(phrase),
            Clause::All(clauses) | Clause::Any(clauses) => {
                clauses.iter().for_each(|clause| clause.sought(phrases));
            }
            Clause::Without(kept, _) => kept.sought(phrases),
        }
    }

    /// Lists a search for every phrase, in the order in which `holds` asks for what was found.
    fn searches<'a>(&'a self, searches: &mut Vec<Search<'a>>) {
        match self {
            Clause::Phrase(phrase) => searches.push(Search::new(phrase)),
            Clause::All(clauses) | Clause::Any(clauses) => {
                clauses.iter().for_each(|clause| clause.searches(searches));
            }
            Clause::Without(kept, dropped) => {
                kept.searches(searches);
                dropped.searches(searches);
            }
        }
    }

    /// Returns whether the clause is true, `found` saying of each phrase whether it occurs.
    fn holds(&self, found: &mut dyn Iterator<Item = bool>) -> bool {
        match self {
            Clause::Phrase(_) => found.next().unwrap_or(false),
            // Every clause takes its answers, also where the result is known already.
            Clause::All(clauses) => clauses.iter().fold(true, |all, c| c.holds(found) & all),
            Clause::Any(clauses) => clauses.iter().fold(false, |any, c| c.holds(found) | any),
            Clause::Without(kept, dropped) => {
                let (kept, dropped) = (kept.holds(found), dropped.holds(found));
                kept && !dropped
            }
        }
    }

    /// Writes the clause so that `parse` returns it again; `inside` another, in parentheses.
    fn write(&self, f: &mut fmt::Formatter<'_>, inside: bool) -> fmt::Result {
        let (open, close) = if inside { ("(", ")") } else { ("", "") };
        match self {
            Clause::Phrase(phrase) => write!(f, "{phrase}"),
            Clause::All(clauses) | Clause::Any(clauses) => {
                let between = if matches!(self, Clause::All(_)) { " " } else { " OR " };
                f.write_str(open)?;
                for (number, clause) in clauses.iter().enumerate() {
                    f.write_str(if number == 0 { "" } else { between })?;
                    clause.write(f, true)?;
                }
                f.write_str(close)
            }
            Clause::Without(kept, dropped) => {
                f.write_str(open)?;
                kept.write(f, true)?;
                f.write_str(" NOT ")?;
                dropped.write(f, true)?;
                f.write_str(close)
            }
        }
    }
}

impl fmt::Display for TextQuery {
    /// Writes the query so that `parse` returns it again (a word over the limit shows as its hash).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clause.write(f, false)
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_prefix { "*" } else { "" };
        match self.words.as_slice() {
            [word] => write!(f, "{word}{star}"),
            _ => write!(f, "\"{}\"{star}", self.words.join(" ")),
        }
    }
}

/// The search for one phrase in a stream of words (Knuth, Morris and Pratt 1977).
struct Search<'a> {
    phrase: &'a Phrase,
    /// For each length of a part already found: the next shorter length to fall back to.
    fallback: Vec<usize>,
    /// How many words of the phrase the last words of the text are.
    found: usize,
}

impl<'a> Search<'a> {
    fn new(phrase: &'a Phrase) -> Search<'a> {
        let words = &phrase.words;
        let mut fallback = vec![0; words.len()];
        let mut length = 0;
        for at in 1..words.len() {
            while length > 0 && words[at] != words[length] {
                length = fallback[length - 1];
            }
            length += usize::from(words[at] == words[length]);
            fallback[at] = length;
        }
        Search { phrase, fallback, found: 0 }
    }

    fn is_found(&self) -> bool {
        self.found == self.phrase.words.len()
    }

    fn advance(&mut self, word: &str) {
        while self.found > 0 && !self.goes_on(word) {
            self.found = self.fallback[self.found - 1];
        }
        self.found += usize::from(self.goes_on(word));
    }

    /// Whether the word may stand behind what was found.
    fn goes_on(&self, word: &str) -> bool {
        let sought = &self.phrase.words[self.found];
        let is_last = self.found + 1 == self.phrase.words.len();
        word == sought || self.phrase.is_prefix && is_last && word.starts_with(sought.as_str())
    }
}

/// What a query is written with.
#[derive(Clone, Debug, PartialEq)]
enum Sign {
    /// What is sought; none where a piece has no word.
    Phrase(Option<Phrase>),
    /// The same between quotes.
    Quoted(Option<Phrase>),
    Open,
    Close,
    And,
    Or,
    Not,
}

struct Parser<'a> {
    text: &'a str,
    signs: Vec<(Sign, Span)>,
    at: usize,
    is_search: bool,
}

impl Parser<'_> {
    fn parse(text: &str, is_search: bool) -> Result<TextQuery, Diagnostic> {
        let mut parser = Parser { text, signs: signs(text)?, at: 0, is_search };
        match parser.query(0)? {
            Some(clause) => Ok(TextQuery { clause }),
            None => Err(parser.wordless()),
        }
    }

    fn peek(&self) -> Option<&Sign> {
        self.signs.get(self.at).map(|(sign, _)| sign)
    }

    fn take(&mut self, sign: &Sign) -> bool {
        let found = self.peek() == Some(sign);
        self.at += usize::from(found);
        found
    }

    /// Returns the place of the next sign, or of the end.
    fn place(&self) -> Span {
        let end = Span::new(self.text.len(), self.text.len());
        self.signs.get(self.at).map_or(end, |(_, span)| *span)
    }

    fn query(&mut self, depth: usize) -> Result<Option<Clause>, Diagnostic> {
        let mut parts = Vec::new();
        loop {
            let part = self.part(depth)?;
            let is_joined = self.peek() == Some(&Sign::Or);
            if part.is_none() && (is_joined || !parts.is_empty()) {
                let place = if is_joined { self.place() } else { self.signs[self.at - 1].1 };
                return Err(operator("OR", place));
            }
            parts.extend(part);
            if !self.take(&Sign::Or) {
                return Ok(Clause::joined(parts, Clause::Any));
            }
        }
    }

    fn part(&mut self, depth: usize) -> Result<Option<Clause>, Diagnostic> {
        // Runs of items that AND joins; in a predicate all items are one run.
        let mut runs: Vec<Vec<Clause>> = Vec::new();
        let mut dropped: Vec<Clause> = Vec::new();
        let mut first_not = None;
        loop {
            let place = self.place();
            let and = self.take(&Sign::And);
            if and && runs.is_empty() && dropped.is_empty() {
                return Err(operator("AND", place));
            }
            let not = self.place();
            let negated = self.take(&Sign::Not);
            if negated {
                first_not.get_or_insert(not);
            }
            let item = match self.peek() {
                Some(Sign::Phrase(_) | Sign::Quoted(_) | Sign::Open) => self.item(depth)?,
                _ if negated => return Err(operator("NOT", not)),
                _ if and => return Err(operator("AND", place)),
                _ => break,
            };
            let Some(item) = item else { continue };
            match runs.last_mut() {
                _ if negated => dropped.push(item),
                Some(run) if and || !self.is_search => run.push(item),
                _ => runs.push(vec![item]),
            }
        }
        let runs = runs.into_iter().filter_map(|run| Clause::joined(run, Clause::All)).collect();
        match (Clause::joined(runs, Clause::Any), first_not) {
            (None, Some(not)) => Err(Diagnostic::new(
                "nothing-sought",
                "NOT takes away from what is found, and nothing is",
            )
            .at(not)
            .help("error NOT timeout; for all other rows: NOT matches(column, 'timeout')")),
            (Some(kept), Some(_)) => Ok(Some(match Clause::joined(dropped, Clause::Any) {
                Some(dropped) => Clause::Without(Box::new(kept), Box::new(dropped)),
                None => kept,
            })),
            (kept, None) => Ok(kept),
        }
    }

    fn item(&mut self, depth: usize) -> Result<Option<Clause>, Diagnostic> {
        let place = self.place();
        if !self.take(&Sign::Open) {
            let sign = self.signs.get(self.at).map(|(sign, _)| sign.clone());
            self.at += 1;
            return Ok(match sign {
                Some(Sign::Phrase(Some(phrase))) if self.is_search => paired(phrase),
                Some(Sign::Phrase(phrase) | Sign::Quoted(phrase)) => phrase.map(Clause::Phrase),
                _ => None,
            });
        }
        if depth == DEPTH_MAX {
            let message = format!("parentheses stand more than {DEPTH_MAX} deep here");
            return Err(Diagnostic::new("too-deep", message).at(place));
        }
        let inner = self.query(depth + 1)?;
        if !self.take(&Sign::Close) {
            return Err(Diagnostic::new("unclosed-group", "this parenthesis is not closed")
                .at(place)
                .help("a parenthesis that is sought is no word: leave it out"));
        }
        Ok(inner)
    }

    fn wordless(&self) -> Diagnostic {
        Diagnostic::new("no-words", "a full-text query needs at least one word")
            .at(Span::new(0, self.text.len()))
            .help("letters and digits make words; for other characters use LIKE")
    }
}

/// Reads what a query is written with.
fn signs(text: &str) -> Result<Vec<(Sign, Span)>, Diagnostic> {
    let mut signs = Vec::new();
    let mut open = 0;
    let mut at = 0;
    for (number, part) in text.split('"').enumerate() {
        let end = at + part.len();
        let rest = text.get(end + 1..).unwrap_or_default();
        if number % 2 == 1 {
            if end == text.len() {
                return Err(unclosed(text, at - 1));
            }
            let is_prefix = rest.starts_with('*') || part.ends_with('*');
            signs.push((Sign::Quoted(phrase(part, is_prefix)), Span::new(at - 1, end + 1)));
        } else {
            for piece in part.split_whitespace() {
                let start = at + (piece.as_ptr() as usize - part.as_ptr() as usize);
                split(piece, start, &mut open, &mut signs)?;
            }
        }
        at = end + 1;
    }
    Ok(signs)
}

/// Reads a piece between blanks: an operator, or a phrase with parentheses around it.
fn split(
    piece: &str,
    start: usize,
    open: &mut usize,
    signs: &mut Vec<(Sign, Span)>,
) -> Result<(), Diagnostic> {
    let at = |from: usize, to: usize| Span::new(start + from, start + to);
    let word = piece.trim_start_matches('(');
    let opened = piece.len() - word.len();
    for number in 0..opened {
        signs.push((Sign::Open, at(number, number + 1)));
    }
    *open += opened;
    // Parentheses that the piece opens itself, as in `f(x)`, belong to it.
    let inside = word.matches('(').count();
    let trailing = word.len() - word.trim_end_matches(')').len();
    let closed = trailing.saturating_sub(inside).min(*open);
    *open -= closed;
    let word = &word[..word.len() - closed];
    let beginning = word.trim_end_matches('*');
    let star = beginning
        .match_indices('*')
        .find(|(at, _)| beginning[at + 1..].chars().next().is_some_and(char::is_alphanumeric));
    if let Some((at_star, _)) = star {
        let from = opened + at_star;
        return Err(Diagnostic::new("misplaced-star", "a star stands at the end of a word only")
            .at(at(from, from + 1))
            .help("found* finds what begins so; a star that is sought is no word: leave it out"));
    }
    let sign = match word {
        "AND" => Sign::And,
        "OR" => Sign::Or,
        "NOT" => Sign::Not,
        _ => Sign::Phrase(phrase(word, word.ends_with('*'))),
    };
    if !word.is_empty() {
        signs.push((sign, at(opened, opened + word.len())));
    }
    for number in 0..closed {
        let from = opened + word.len() + number;
        signs.push((Sign::Close, at(from, from + 1)));
    }
    Ok(())
}

/// Returns a phrase with every run of more than two characters that are words by themselves taken
/// as its pairs, any of which may occur.
fn paired(phrase: Phrase) -> Option<Clause> {
    let Phrase { words, is_prefix } = phrase;
    if is_prefix {
        return Some(Clause::Phrase(Phrase { words, is_prefix }));
    }
    let mut clauses = Vec::new();
    let mut rest = words.as_slice();
    while let Some(first) = rest.first() {
        let alone = stands_alone(first);
        let run = rest.iter().take_while(|word| stands_alone(word) == alone).count();
        let (words, behind) = rest.split_at(run);
        let width = if alone { run.min(2) } else { run };
        let phrase =
            |words: &[String]| Clause::Phrase(Phrase { words: words.to_vec(), is_prefix: false });
        clauses.extend(words.windows(width).map(phrase));
        rest = behind;
    }
    Clause::joined(clauses, Clause::Any)
}

/// Returns the words of `text` as a phrase, if there are any.
fn phrase(text: &str, is_prefix: bool) -> Option<Phrase> {
    let mut text_words = Words::new(text);
    let mut words = Vec::new();
    let mut word = String::new();
    while text_words.read(&mut word) {
        words.push(word.clone());
    }
    (!words.is_empty()).then_some(Phrase { words, is_prefix })
}

fn operator(word: &str, place: Span) -> Diagnostic {
    let message = format!("{word} joins what is sought, and on one side of it there is nothing");
    Diagnostic::new("operator-alone", message)
        .at(place)
        .help(format!("the word itself stands in quotes: \"{word}\""))
}

fn unclosed(text: &str, quote: usize) -> Diagnostic {
    Diagnostic::new("unclosed-quote", "the phrase that starts here has no closing quote")
        .at(Span::new(quote, text.len()))
        .help("a phrase stands between two quotes: \"a phrase\"")
}
