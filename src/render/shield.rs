//! Text of a transcript kept apart from control tokens while a template runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::model::{Json, Message};

use super::choice::Vocabulary;

/// Keeps text of a transcript from being taken for control tokens: while the template runs, each
/// control token's spelling is replaced by a number between two marks that occur nowhere else.
pub(super) struct Shield {
    /// The spellings, the longest first.
    tokens: Vec<String>,
    /// The characters that they begin with: some vocabularies have thousands of spellings.
    firsts: BTreeSet<char>,
    mark: char,
}

impl Shield {
    /// Returns a shield for these messages and tools, with a mark that none of them holds.
    pub(super) fn new<'a>(
        vocabulary: &Vocabulary,
        messages: impl Iterator<Item = &'a Message>,
        tools: Option<&Json>,
    ) -> Shield {
        let mut tokens = vocabulary.control_tokens.clone();
        tokens.retain(|t| !t.is_empty());
        tokens.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        // A mark inside JSON may be spelled as an escape, so its hexadecimal digits count too.
        let mut used = BTreeSet::new();
        let mut note = |text: &str| {
            used.extend(text.chars().filter(|c| ('\u{e000}'..='\u{f8ff}').contains(c)));
            for (at, _) in text.match_indices("\\u") {
                let digits = text.get(at + 2..at + 6);
                let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
                used.extend(code.and_then(char::from_u32));
            }
        };
        for message in messages {
            note(message.text());
            for call in &message.tool_calls {
                note(&call.name);
                note(&call.arguments);
                note(call.id.as_deref().unwrap_or(""));
            }
            for text in [&message.reasoning, &message.tool_call_id, &message.name] {
                note(text.as_deref().unwrap_or(""));
            }
        }
        note(tools.map_or("", Json::as_str));
        let mark = ('\u{e000}'..='\u{f8ff}').find(|c| !used.contains(c)).unwrap_or('\u{f8ff}');
        let firsts = tokens.iter().filter_map(|token| token.chars().next()).collect();
        Shield { tokens, firsts, mark }
    }

    /// Returns the text with every spelling of a control token replaced.
    pub(super) fn cover(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let found = match self.firsts.contains(&first) {
                true => self.tokens.iter().position(|token| rest.starts_with(token.as_str())),
                false => None,
            };
            let length = match found {
                Some(index) => {
                    let _ = write!(out, "{0}{index}{0}", self.mark);
                    self.tokens[index].len()
                }
                None => {
                    out.push(first);
                    first.len_utf8()
                }
            };
            rest = &rest[length..];
        }
        out
    }

    /// Returns the pieces of a covered text, uncovered, and which of them were covered.
    pub(super) fn split(&self, text: &str) -> Vec<(String, bool)> {
        let piece = |(index, piece): (usize, &str)| {
            if index % 2 == 0 {
                return (piece.to_owned(), false);
            }
            let token = piece.parse::<usize>().ok().and_then(|i| self.tokens.get(i));
            (token.cloned().unwrap_or_default(), true)
        };
        text.split(self.mark).enumerate().map(piece).collect()
    }

    /// Returns a covered text as it was.
    pub(super) fn uncover(&self, text: &str) -> String {
        self.split(text).into_iter().map(|(text, _)| text).collect()
    }
}
