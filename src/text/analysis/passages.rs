//! A document cut into passages of so many words.
//!
//! A word here is what stands between white space, as in the passages that retrieval over
//! Wikipedia is made of; punctuation belongs to the word it touches. In scripts that write no
//! blanks (Han, kana, and those of South East Asia) every character counts as a word. A word of
//! more than 255 bytes counts as several, so that no passage is long.

use std::ops::Range;

use super::character::{Class, class};

/// From so many bytes on a word counts as one more.
const WORD_BYTES_MAX: usize = 255;

/// How a document is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    words: usize,
    overlap: usize,
}

/// Why a document cannot be cut so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkingError {
    /// A passage would hold nothing.
    #[error("a passage of 0 words holds nothing; expected at least 1 word")]
    NoWords,
    /// The next passage would begin where this one does, or before.
    #[error(
        "passages of {words} words cannot share {overlap}: each must go on by at least one; \
         expected an overlap below {words}"
    )]
    Overlap {
        /// Words of a passage.
        words: usize,
        /// Words that each shares with the one before.
        overlap: usize,
    },
}

impl Chunking {
    /// Returns passages of `words` words, each but the first beginning with the last `overlap`
    /// words of the one before.
    ///
    /// # Errors
    /// No words, or an overlap that is not smaller than a passage.
    pub fn new(words: usize, overlap: usize) -> Result<Chunking, ChunkingError> {
        match words {
            0 => Err(ChunkingError::NoWords),
            _ if overlap >= words => Err(ChunkingError::Overlap { words, overlap }),
            _ => Ok(Chunking { words, overlap }),
        }
    }

    /// Returns the words of a passage.
    pub fn words(self) -> usize {
        self.words
    }

    /// Returns the words that a passage shares with the one before.
    pub fn overlap(self) -> usize {
        self.overlap
    }

    /// Returns the passages of `text` in bytes, in order, without white space at their ends. Every
    /// word is in one, and the last may be short; a text of white space has none.
    pub fn passages(self, text: &str) -> Vec<Range<usize>> {
        let starts = word_starts(text);
        let mut passages = Vec::new();
        let mut first = 0;
        while let Some(&start) = starts.get(first) {
            let behind = starts.get(first.saturating_add(self.words)).copied();
            let within = &text[start..behind.unwrap_or(text.len())];
            passages.push(start..start + within.trim_end().len());
            if behind.is_none() {
                break;
            }
            first += self.words - self.overlap;
        }
        passages
    }
}

/// Returns where the words of a text begin, in bytes.
fn word_starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    // Where the word at hand begins to be too long; none between words.
    let mut limit = None;
    let mut after_alone = false;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            (limit, after_alone) = (None, false);
            continue;
        }
        let is_alone = stands_alone(c);
        // Behind a character that is a word, only a letter or digit begins another one.
        let begins = is_alone || after_alone && c.is_alphanumeric();
        if begins || limit.is_none_or(|limit| at >= limit) {
            starts.push(at);
            limit = Some(at + WORD_BYTES_MAX);
            after_alone = is_alone;
        }
    }
    starts
}

/// Whether a character is a word by itself.
fn stands_alone(c: char) -> bool {
    matches!(class(c), Class::Han | Class::Hiragana | Class::Katakana | Class::Southeast)
}
