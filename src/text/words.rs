//! From a text to its words: one analysis for the index, for queries and for single texts.
//!
//! ```text
//!   "Bärlauch's  GET_user(ＩＤ) 北京市"     the text
//!   "Bärlauch's  GET_user(ID) 北京市"       compatibility forms composed (NFKC), if not ASCII
//!   bärlauch · s · get · user · id · 北 · 京 · 市
//! ```
//!
//! - A word is a run of letters, digits and the marks on them, lower-cased. Everything else
//!   separates, underscores, dots and apostrophes included, so that the parts of an identifier, a
//!   path or a URL are findable; a query keeps them together by making a phrase of what stands
//!   without a blank between (see `query`).
//! - Scripts written without blanks between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese),
//!   and Hangul, where endings are glued to the word, give one word per character with its marks. A
//!   word of such a language is then a phrase of characters and found inside any sentence, without
//!   a dictionary that would change the answers with its version.
//! - Accents are kept: "resume" does not find "résumé". Final sigma is an ordinary sigma, so that
//!   capital Greek finds small. Characters without a shape (soft hyphen, joiners, marks of
//!   direction, variation selectors) and the Arabic tatweel are as if they were not there.
//! - A word longer than [`WORD_BYTES_MAX`] (base64, keys) is replaced by `#` and the hash of the
//!   whole: it is found by itself and by nothing else, and the dictionary of the index stays small.
//!
//! Any change here, and any update of the Unicode tables behind it, changes answers: it needs a new
//! [`ANALYSIS_VERSION`], which makes every index of an older version be rebuilt.

use std::borrow::Cow;

use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// The version of the analysis, part of every index.
pub const ANALYSIS_VERSION: u32 = 1;

/// The longest word, in bytes of UTF-8, that is kept as it is.
pub const WORD_BYTES_MAX: usize = 255;

/// The words of one text, in order.
pub struct Words<'a> {
    text: Cow<'a, str>,
    at: usize,
}

impl<'a> Words<'a> {
    /// Returns the words of `text`.
    pub fn new(text: &'a str) -> Words<'a> {
        let is_composed = text.is_ascii() || is_nfkc_quick(text.chars()) == IsNormalized::Yes;
        let text = if is_composed { Cow::Borrowed(text) } else { text.nfkc().collect() };
        Words { text, at: 0 }
    }

    /// Replaces `word` by the next word; returns false, with `word` empty, behind the last one.
    pub fn read(&mut self, word: &mut String) -> bool {
        word.clear();
        let bytes = self.text.as_bytes();
        // Most text is ASCII; the loop below would do for it too, at a third of the speed.
        while bytes.get(self.at).is_some_and(|b| b.is_ascii() && !b.is_ascii_alphanumeric()) {
            self.at += 1;
        }
        let start = self.at;
        while bytes.get(self.at).is_some_and(u8::is_ascii_alphanumeric) {
            self.at += 1;
        }
        word.push_str(&self.text[start..self.at]);
        word.make_ascii_lowercase();
        if bytes.get(self.at).is_some_and(|b| !b.is_ascii()) {
            self.read_unicode(word);
        }
        shorten(word);
        !word.is_empty()
    }

    /// Continues `word`, which may be empty, with characters of any kind.
    fn read_unicode(&mut self, word: &mut String) {
        for c in self.text[self.at..].chars() {
            let width = c.len_utf8();
            match kind(c) {
                Kind::Invisible => {}
                Kind::Mark if !word.is_empty() => push_lower(word, c),
                Kind::Letter => push_lower(word, c),
                Kind::Alone if word.is_empty() => {
                    self.at += width;
                    push_lower(word, c);
                    self.read_marks(word);
                    return;
                }
                Kind::Other | Kind::Mark if word.is_empty() => {}
                // A separator is left behind for the next word's start, as is a lone character.
                _ => return,
            }
            self.at += width;
        }
    }

    /// Adds the marks that stand on a character that is a word by itself.
    fn read_marks(&mut self, word: &mut String) {
        for c in self.text[self.at..].chars() {
            match kind(c) {
                Kind::Mark => push_lower(word, c),
                Kind::Invisible => {}
                _ => return,
            }
            self.at += c.len_utf8();
        }
    }
}

/// Whether a word is a single character, with its marks, of a script without blanks.
pub(super) fn stands_alone(word: &str) -> bool {
    word.chars().next().is_some_and(|first| matches!(kind(first), Kind::Alone))
}

/// What a character is to the analysis.
enum Kind {
    /// Part of a word of several characters.
    Letter,
    /// A word by itself.
    Alone,
    /// Belongs to the character before it.
    Mark,
    /// As if it were not there.
    Invisible,
    /// Separates words.
    Other,
}

fn kind(c: char) -> Kind {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => Kind::Letter,
        '\0'..='\u{7F}' => Kind::Other,
        _ if is_invisible(c) => Kind::Invisible,
        _ if is_combining_mark(c) => Kind::Mark,
        _ if !c.is_alphanumeric() => Kind::Other,
        _ if is_alone(c) => Kind::Alone,
        _ => Kind::Letter,
    }
}

/// Returns whether a character has no shape of its own: default ignorable code points (Unicode
/// 16, DerivedCoreProperties) that occur in text, and the Arabic tatweel.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{640}' | '\u{180B}'..='\u{180F}'
        | '\u{200C}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Returns whether a letter belongs to a script without blanks between words, or to Hangul
/// (blocks of Unicode 16; line break class SA and the East Asian scripts).
fn is_alone(c: char) -> bool {
    matches!(c, '\u{E00}'..='\u{EFF}' // Thai, Lao
        | '\u{1000}'..='\u{109F}' | '\u{A9E0}'..='\u{A9FF}' | '\u{AA60}'..='\u{AA7F}' // Myanmar
        | '\u{1100}'..='\u{11FF}' | '\u{A960}'..='\u{A97F}' | '\u{AC00}'..='\u{D7FF}' // Hangul
        | '\u{1780}'..='\u{17FF}' // Khmer
        | '\u{1950}'..='\u{19DF}' | '\u{1A20}'..='\u{1AAF}' | '\u{AA80}'..='\u{AADF}' // Tai
        | '\u{2E80}'..='\u{2FDF}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}'
        | '\u{3040}'..='\u{318F}' // Kana, Bopomofo
        | '\u{31A0}'..='\u{31FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' // Han
        | '\u{A000}'..='\u{A4CF}' // Yi
        | '\u{F900}'..='\u{FAFF}' | '\u{16FE0}'..='\u{18DFF}' | '\u{1AFF0}'..='\u{1B2FF}'
        | '\u{20000}'..='\u{3FFFF}')
}

fn push_lower(word: &mut String, c: char) {
    match c {
        'Σ' | 'ς' => word.push('σ'),
        _ => word.extend(c.to_lowercase()),
    }
}

/// Replaces a word that is too long by `#`, which no word contains, and its hash.
fn shorten(word: &mut String) {
    if word.len() > WORD_BYTES_MAX {
        let hash = blake3::hash(word.as_bytes()).to_hex();
        word.clear();
        word.push('#');
        word.push_str(&hash);
    }
}
