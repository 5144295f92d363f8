//! Words, by the rules of Lucene's `StandardTokenizer`.
//!
//! Those are the rules of Unicode's text segmentation (UAX #29, word boundaries, as of Unicode 9,
//! in which a colon may stand within a word), with these choices where the annex leaves one:
//!
//! - Only what holds a letter, a digit, an ideograph, kana or an emoji is a token.
//! - Each character of Han and Hiragana is a token; Katakana and Hangul are runs.
//! - A run of a script of South East Asia without blanks (Thai, Lao, Khmer, Burmese) is one token:
//!   finding its words takes a dictionary.
//! - Emoji are tokens: pictographs with their selectors, colours, joiners, keycaps, flags.
//! - A token is at most [`TOKEN_UNITS_MAX`] units of UTF-16 long. Lucene reads through a window of
//!   that size, which begins where the token does: what is longer is cut there, and the rest is
//!   read anew. This also bounds the work for each token.
//!
//! A word is the longest match of a regular expression over characters with their marks; the
//! machine that walks it is [`Window::word`]. Text of ASCII alone takes a short cut,
//! [`Tokenizer::ascii`], which gives the same.

use super::character::takes_modifier;
use super::character::{ASCII, Class, class, is_hangul, is_pictographic, is_southeast};

/// The longest token, in units of UTF-16.
pub const TOKEN_UNITS_MAX: usize = 255;

/// What kind of text a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Letters and digits.
    Word,
    /// Letters of the Korean alphabet only.
    Hangul,
    /// Katakana only.
    Katakana,
    /// One ideograph with its marks.
    Han,
    /// One character of Hiragana with its marks.
    Hiragana,
    /// A run of a script of South East Asia.
    Southeast,
    /// A pictograph, keycap or flag.
    Emoji,
}

/// A token: bytes of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
    /// What it is.
    pub kind: Kind,
}

/// The tokens of one text, in order.
pub struct Tokenizer<'a> {
    text: &'a str,
    at: usize,
}

/// What the short cut found.
enum Short {
    Word(usize),
    Nothing(usize),
    /// The rules for all characters must decide.
    Undecided,
}

impl<'a> Tokenizer<'a> {
    /// Returns the tokens of `text`.
    pub fn new(text: &'a str) -> Tokenizer<'a> {
        Tokenizer { text, at: 0 }
    }

    /// Reads a token that begins with a letter, digit or underscore of ASCII.
    #[inline]
    fn ascii(&self, start: usize) -> Short {
        let bytes = self.text.as_bytes();
        let (mut at, mut end, mut last) = (start, start, Class::Other);
        while let Some(&byte) = bytes.get(at).filter(|_| at - start <= TOKEN_UNITS_MAX) {
            let Some(&class) = ASCII.get(usize::from(byte)) else { return Short::Undecided };
            match class {
                Class::Letter | Class::Digit => {
                    at += 1;
                    end = at;
                }
                Class::Joiner => {
                    at += 1;
                    // Underscores alone are no word, but belong to one.
                    if end > start {
                        end = at;
                    }
                }
                _ => {
                    let joins = match class {
                        Class::MidLetter => last == Class::Letter,
                        Class::MidNumber => last == Class::Digit,
                        Class::MidBoth | Class::Quote => {
                            last == Class::Letter || last == Class::Digit
                        }
                        _ => false,
                    };
                    match bytes.get(at + 1).map(|next| ASCII.get(usize::from(*next))) {
                        Some(None) if joins => return Short::Undecided,
                        Some(Some(next)) if joins && *next == last => {
                            at += 2;
                            end = at;
                            continue;
                        }
                        _ => break,
                    }
                }
            }
            last = class;
        }
        match (at - start > TOKEN_UNITS_MAX, end > start) {
            (true, _) => Short::Undecided,
            (false, true) => Short::Word(end),
            (false, false) => Short::Nothing(at),
        }
    }

    /// Returns where to look on behind `start`, at which no token begins.
    fn behind(&self, start: usize) -> usize {
        let rest = &self.text[start..];
        let Some(first) = rest.chars().next() else { return self.text.len() };
        let class_of_run = class(first);
        let mut behind = first.len_utf8();
        if matches!(class_of_run, Class::Joiner | Class::ZeroWidthJoiner) {
            // A run of what may begin a token, longer than one: at its end there may be room for
            // what it joins. All of these are one unit long.
            let run = || rest.chars().take_while(|c| class(*c) == class_of_run);
            let spare = run().count().saturating_sub(TOKEN_UNITS_MAX - 1);
            behind = run().take(spare.max(1)).map(char::len_utf8).sum();
        }
        start + behind
    }

    /// Reads a token that begins at `start` by the rules for all characters.
    #[inline(never)]
    fn unicode(&self, start: usize) -> Option<(usize, Kind)> {
        let mut narrow = (start + TOKEN_UNITS_MAX).min(self.text.len());
        while !self.text.is_char_boundary(narrow) {
            narrow -= 1;
        }
        // A unit of UTF-16 is at least a byte of UTF-8: this window is never too wide.
        let mut window = Window::new(&self.text[start..narrow], narrow < self.text.len());
        let mut found = window.longest();
        if window.is_cut && window.reached_end {
            let mut units = 0;
            let fits = |c: &char| {
                units += c.len_utf16();
                units <= TOKEN_UNITS_MAX
            };
            let bytes: usize =
                self.text[start..].chars().take_while(fits).map(char::len_utf8).sum();
            found = Window::new(&self.text[start..start + bytes], false).longest();
        }
        found.map(|(length, kind)| (start + length, kind))
    }
}

impl Iterator for Tokenizer<'_> {
    type Item = Token;

    #[inline]
    fn next(&mut self) -> Option<Token> {
        let bytes = self.text.as_bytes();
        loop {
            let start = self.at;
            let first = *bytes.get(start)?;
            let short = match ASCII.get(usize::from(first)) {
                Some(Class::Letter | Class::Digit) => match plain_length(bytes, start) {
                    Some(length) => Short::Word(start + length),
                    None => self.ascii(start),
                },
                Some(Class::Joiner) => self.ascii(start),
                // Before a character that is not ASCII, these may begin a keycap.
                Some(_) if !matches!(first, b'#' | b'*') => Short::Nothing(start + 1),
                Some(_) if bytes.get(start + 1).is_none_or(u8::is_ascii) => {
                    Short::Nothing(start + 1)
                }
                _ => Short::Undecided,
            };
            let found = match short {
                Short::Word(end) => Some((end, Kind::Word)),
                Short::Undecided => self.unicode(start),
                Short::Nothing(next) => {
                    self.at = next;
                    continue;
                }
            };
            if let Some((end, kind)) = found {
                self.at = end;
                return Some(Token { start, end, kind });
            }
            self.at = self.behind(start);
        }
    }
}

/// Returns how long the word at `start` is if that is plain: up to 15 letters and digits of ASCII,
/// behind which nothing can belong to it. Most words are.
#[inline]
fn plain_length(bytes: &[u8], start: usize) -> Option<usize> {
    let length = leading_alphanumerics(u128::from_le_bytes(*bytes.get(start..)?.first_chunk()?));
    let class_at = |at: usize| ASCII.get(usize::from(*bytes.get(at)?)).copied();
    match class_at(start + length)? {
        Class::Other => Some(length),
        Class::Letter | Class::Digit | Class::Joiner => None,
        // What may stand within a word does so before a letter or digit only.
        _ => class_at(start + length + 1).filter(|next| *next == Class::Other).map(|_| length),
    }
}

/// Returns how many of 16 bytes, from the lowest, are letters and digits of ASCII.
#[inline]
fn leading_alphanumerics(chunk: u128) -> usize {
    const fn each(byte: u8) -> u128 {
        u128::from_le_bytes([byte; 16])
    }
    const HIGH: u128 = each(0x80);
    // The highest bit of each byte of a sum tells whether it reached 128; no sum reaches 256.
    let within = |low: u128, first: u8, last: u8| {
        (low + each(0x80 - first)) & !(low + each(0x7F - last)) & HIGH
    };
    let low = chunk & !HIGH;
    let found = within(low | each(0x20), b'a', b'z') | within(low, b'0', b'9');
    let others = !(found & !chunk) & HIGH;
    (others.trailing_zeros() / 8) as usize
}

/// The text that one token can be made of, which begins at its start.
struct Window<'a> {
    text: &'a str,
    /// Whether the text goes on behind the window.
    is_cut: bool,
    /// Whether the end of the window was looked at, so that more text could change the match.
    reached_end: bool,
}

impl<'a> Window<'a> {
    fn new(text: &'a str, is_cut: bool) -> Window<'a> {
        Window { text, is_cut, reached_end: false }
    }

    /// Returns the length and kind of the longest token; the first rule wins where two match the
    /// same text.
    fn longest(&mut self) -> Option<(usize, Kind)> {
        let first = self.char_at(0)?;
        let class = class(first);
        let emoji = match class {
            Class::Other if first.is_ascii() => self.emoji(),
            Class::Other | Class::Extend | Class::Southeast | Class::Han | Class::Hiragana => None,
            _ => self.emoji(),
        };
        let emoji = emoji.map(|end| (end, Kind::Emoji));
        let other = match class {
            Class::Other => None,
            Class::Han => Some((self.marks(first.len_utf8()), Kind::Han)),
            Class::Hiragana => Some((self.marks(first.len_utf8()), Kind::Hiragana)),
            Class::Southeast => Some((self.southeast(), Kind::Southeast)),
            Class::Extend if is_southeast(first) => Some((self.southeast(), Kind::Southeast)),
            Class::Extend => None,
            _ => self.word(),
        };
        match (emoji, other) {
            (Some(emoji), Some(other)) if other.0 > emoji.0 => Some(other),
            (emoji, other) => emoji.or(other),
        }
    }

    fn char_at(&mut self, at: usize) -> Option<char> {
        let found = self.text.get(at..).and_then(|rest| rest.chars().next());
        self.reached_end |= found.is_none();
        found
    }

    /// Returns the place behind the marks that stand at `at`.
    fn marks(&mut self, mut at: usize) -> usize {
        while let Some(c) = self.char_at(at) {
            if !matches!(class(c), Class::Extend | Class::ZeroWidthJoiner) {
                break;
            }
            at += c.len_utf8();
        }
        at
    }

    fn southeast(&mut self) -> usize {
        let mut at = 0;
        while let Some(c) = self.char_at(at).filter(|c| is_southeast(*c)) {
            at = self.marks(at + c.len_utf8());
        }
        at
    }

    /// Returns the class of the character at `at`, and the place behind it and its marks.
    fn unit(&mut self, at: usize) -> Option<(Class, char, usize)> {
        let c = self.char_at(at)?;
        Some((class(c), c, self.marks(at + c.len_utf8())))
    }

    /// Reads a word. `last` is what was read last, with joiners at its end left aside only where
    /// they join: letters and digits follow each other as they like, Katakana only Katakana, and
    /// behind a joiner any of them.
    fn word(&mut self) -> Option<(usize, Kind)> {
        let (mut at, mut end, mut last) = (0, None, Class::Joiner);
        let (mut only_hangul, mut only_katakana) = (true, true);
        while let Some((class, c, next)) = self.unit(at) {
            let after_letter = matches!(last, Class::Letter | Class::Hebrew);
            let after_word = after_letter || matches!(last, Class::Digit | Class::Quote);
            match class {
                Class::Letter | Class::Hebrew | Class::Digit
                    if after_word || last == Class::Joiner =>
                {
                    only_hangul = only_hangul && class == Class::Letter && is_hangul(c);
                    only_katakana = false;
                    (at, end, last) = (next, Some(next), class);
                }
                Class::Katakana if matches!(last, Class::Katakana | Class::Joiner) => {
                    only_hangul = false;
                    (at, end, last) = (next, Some(next), class);
                }
                Class::Joiner => {
                    (only_hangul, only_katakana) = (false, false);
                    (at, end, last) = (next, end.map(|_| next), class);
                }
                _ => {
                    let Some((class, behind)) = self.between(class, last, next) else { break };
                    (only_hangul, only_katakana) = (false, false);
                    (at, end, last) = (behind, Some(behind), class);
                }
            }
        }
        let kind = match (only_hangul, only_katakana) {
            (true, _) => Kind::Hangul,
            (_, true) => Kind::Katakana,
            _ => Kind::Word,
        };
        end.map(|end| (end, kind))
    }

    /// Returns how a word goes on at a character of `class` that may stand between two others:
    /// the class and end of what follows it, or of itself behind a Hebrew letter.
    fn between(&mut self, class: Class, last: Class, next: usize) -> Option<(Class, usize)> {
        let is_letter = |class| matches!(class, Class::Letter | Class::Hebrew);
        let follows = self.unit(next);
        let joined = follows.filter(|(follows, ..)| match class {
            Class::MidLetter => is_letter(last) && is_letter(*follows),
            Class::MidNumber => last == Class::Digit && *follows == Class::Digit,
            Class::MidBoth | Class::Quote => {
                is_letter(last) && is_letter(*follows)
                    || last == Class::Digit && *follows == Class::Digit
            }
            Class::DoubleQuote => last == Class::Hebrew && *follows == Class::Hebrew,
            _ => false,
        });
        match joined {
            Some((class, _, end)) => Some((class, end)),
            None if class == Class::Quote && last == Class::Hebrew => Some((Class::Quote, next)),
            None => None,
        }
    }

    /// Reads an emoji: a keycap, a flag, or pictographs joined by U+200D.
    fn emoji(&mut self) -> Option<usize> {
        let first = self.char_at(0)?;
        if first.is_ascii() {
            return if matches!(first, '0'..='9' | '#' | '*') { self.keycap() } else { None };
        }
        if class(first) == Class::Regional {
            let (_, _, next) = self.unit(0)?;
            return self.unit(next).filter(|unit| unit.0 == Class::Regional).map(|unit| unit.2);
        }
        let mut end = self.pictograph(0)?;
        while self.text[..end].ends_with('\u{200D}') || self.char_at(end) == Some('\u{200D}') {
            match self.pictograph(end) {
                Some(next) => end = next,
                None => break,
            }
        }
        Some(end)
    }

    fn keycap(&mut self) -> Option<usize> {
        let end = self.marks_but_selectors(1);
        if self.char_at(end) == Some('\u{FE0F}') && self.char_at(end + 3) == Some('\u{20E3}') {
            return Some(self.marks_but_selectors(end + 6));
        }
        self.text[..end].contains('\u{20E3}').then_some(end)
    }

    /// Reads joiners and a pictograph with its colour or selector.
    fn pictograph(&mut self, mut at: usize) -> Option<usize> {
        while self.char_at(at) == Some('\u{200D}') {
            at += '\u{200D}'.len_utf8();
        }
        let first = self.char_at(at)?;
        let end = self.marks_but_selectors(at + first.len_utf8());
        if class(first) == Class::Modifier {
            return Some(end);
        }
        if !is_pictographic(first) {
            return None;
        }
        match self.char_at(end) {
            Some(next) if class(next) == Class::Modifier && takes_modifier(first) => {
                Some(self.marks_but_selectors(end + next.len_utf8()))
            }
            Some('\u{FE0F}') => Some(end + '\u{FE0F}'.len_utf8()),
            _ => Some(end),
        }
    }

    /// As [`Window::marks`], but for the selectors of text or picture.
    fn marks_but_selectors(&mut self, mut at: usize) -> usize {
        while let Some(c) = self.char_at(at) {
            let is_mark = matches!(class(c), Class::Extend | Class::ZeroWidthJoiner);
            if !is_mark || matches!(c, '\u{FE0E}' | '\u{FE0F}') {
                break;
            }
            at += c.len_utf8();
        }
        at
    }
}
