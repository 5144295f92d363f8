//! Porter's stemmer (Porter 1980, "An algorithm for suffix stripping", Program 14, 130-137).
//!
//! As its author's own programs and Lucene's `PorterStemFilter` have it, which depart from the
//! paper in three points: words of one or two characters stay as they are; step 2 takes `bli` to
//! `ble` where the paper takes `abli` to `able`; and it takes `logi` to `log`.

use std::borrow::Cow;

/// A character of a word, or a unit of UTF-16. What is not ASCII counts as a consonant.
pub(super) trait Unit: Copy + Eq {
    /// Returns the character of ASCII that this is, or 0.
    fn ascii(self) -> u8;
    /// Returns the unit for a character of ASCII.
    fn from_ascii(byte: u8) -> Self;
}

impl Unit for u8 {
    #[inline]
    fn ascii(self) -> u8 {
        self
    }

    #[inline]
    fn from_ascii(byte: u8) -> u8 {
        byte
    }
}

impl Unit for u16 {
    fn ascii(self) -> u8 {
        u8::try_from(self).ok().filter(u8::is_ascii).unwrap_or(0)
    }

    fn from_ascii(byte: u8) -> u16 {
        u16::from(byte)
    }
}

/// Returns the stem of a word in lower case.
pub fn stem(word: &str) -> Cow<'_, str> {
    let stemmed = if word.is_ascii() {
        let mut units = word.as_bytes().to_vec();
        let length = stem_units(&mut units);
        units.truncate(length);
        String::from_utf8(units).unwrap_or_default()
    } else {
        let mut units: Vec<u16> = word.encode_utf16().collect();
        let length = stem_units(&mut units);
        String::from_utf16_lossy(&units[..length])
    };
    if stemmed == word { Cow::Borrowed(word) } else { Cow::Owned(stemmed) }
}

/// Puts the stem of a word in its place and returns how long the stem is. It is never longer.
pub(super) fn stem_units<U: Unit>(units: &mut [U]) -> usize {
    let length = units.len();
    if length <= 2 {
        return length;
    }
    let mut word = Word { units, length };
    word.plurals();
    word.past_and_gerund();
    word.final_y();
    word.double_suffixes();
    word.suffixes();
    word.bare_suffixes();
    word.final_e_and_l();
    word.length
}

/// The first `length` units are the word; there is room up to its first length.
struct Word<'a, U> {
    units: &'a mut [U],
    length: usize,
}

impl<U: Unit> Word<'_, U> {
    fn is_vowel_after(unit: U, after_consonant: bool) -> bool {
        match unit.ascii() {
            b'a' | b'e' | b'i' | b'o' | b'u' => true,
            b'y' => after_consonant,
            _ => false,
        }
    }

    fn is_consonant(&self, at: usize) -> bool {
        if self.units[at].ascii() != b'y' {
            return !Self::is_vowel_after(self.units[at], false);
        }
        // A y is the other thing than what stands before it; the first of a word is a consonant.
        let run = self.units[..at].iter().rev().take_while(|unit| unit.ascii() == b'y').count();
        let begins = at - run;
        let first = begins == 0 || !self.is_consonant(begins - 1);
        if run % 2 == 0 { first } else { !first }
    }

    /// Returns how often consonants follow vowels in the first `length` units: 0, 1, or 2 for more.
    fn measure(&self, length: usize) -> usize {
        let (mut count, mut was_vowel) = (0, true);
        for (at, unit) in self.units[..length].iter().enumerate() {
            let is_vowel = Self::is_vowel_after(*unit, at > 0 && !was_vowel);
            if at > 0 && was_vowel && !is_vowel {
                count += 1;
                if count == 2 {
                    break;
                }
            }
            was_vowel = is_vowel;
        }
        count
    }

    fn has_vowel(&self, length: usize) -> bool {
        let mut after_consonant = false;
        for unit in &self.units[..length] {
            if Self::is_vowel_after(*unit, after_consonant) {
                return true;
            }
            after_consonant = true;
        }
        false
    }

    fn ends_in_double_consonant(&self) -> bool {
        let length = self.length;
        length >= 2
            && self.units[length - 1] == self.units[length - 2]
            && self.is_consonant(length - 1)
    }

    /// Whether the first `length` units end in consonant, vowel and a consonant that is not w, x
    /// or y: a short syllable, which may have lost an e.
    fn ends_in_short_syllable(&self, length: usize) -> bool {
        length >= 3
            && self.is_consonant(length - 1)
            && !self.is_consonant(length - 2)
            && self.is_consonant(length - 3)
            && !matches!(self.units[length - 1].ascii(), b'w' | b'x' | b'y')
    }

    /// Returns the length of what stands before `suffix`, if the word ends with that.
    #[inline]
    fn before(&self, suffix: &[u8]) -> Option<usize> {
        let length = self.length.checked_sub(suffix.len())?;
        let end = &self.units[length..self.length];
        end.iter().zip(suffix).all(|(unit, byte)| unit.ascii() == *byte).then_some(length)
    }

    fn ends(&self, suffix: &[u8]) -> bool {
        self.before(suffix).is_some()
    }

    /// Returns the character that stands `back` places before the last one, or 0.
    fn last(&self, back: usize) -> u8 {
        let at = self.length.checked_sub(back + 1);
        at.and_then(|at| self.units.get(at)).map_or(0, |unit| unit.ascii())
    }

    fn append(&mut self, byte: u8) {
        if let Some(unit) = self.units.get_mut(self.length) {
            *unit = U::from_ascii(byte);
            self.length += 1;
        }
    }

    /// Step 1a.
    fn plurals(&mut self) {
        if self.last(0) != b's' {
            return;
        }
        if self.ends(b"sses") || self.ends(b"ies") {
            self.length -= 2;
        } else if self.last(1) != b's' {
            self.length -= 1;
        }
    }

    /// Step 1b.
    fn past_and_gerund(&mut self) {
        if let Some(stem) = self.before(b"eed") {
            self.length -= usize::from(self.measure(stem) > 0);
            return;
        }
        let stem = self.before(b"ed").or_else(|| self.before(b"ing"));
        let Some(stem) = stem.filter(|stem| self.has_vowel(*stem)) else { return };
        self.length = stem;
        if self.ends(b"at") || self.ends(b"bl") || self.ends(b"iz") {
            self.append(b'e');
        } else if self.ends_in_double_consonant() {
            self.length -= usize::from(!matches!(self.last(0), b'l' | b's' | b'z'));
        } else if self.measure(stem) == 1 && self.ends_in_short_syllable(stem) {
            self.append(b'e');
        }
    }

    /// Step 1c.
    fn final_y(&mut self) {
        if self.before(b"y").is_some_and(|stem| self.has_vowel(stem)) {
            self.units[self.length - 1] = U::from_ascii(b'i');
        }
    }

    /// Replaces the first of the suffixes that the word ends with, if its stem is long enough.
    fn replace(&mut self, rules: &[(&[u8], &[u8])]) {
        let found = rules.iter().find_map(|(suffix, by)| Some((self.before(suffix)?, by)));
        let Some((stem, by)) = found.filter(|(stem, _)| self.measure(*stem) > 0) else { return };
        self.length = stem;
        by.iter().for_each(|byte| self.append(*byte));
    }

    /// Step 2. The last character but one tells which suffixes are possible.
    fn double_suffixes(&mut self) {
        self.replace(match self.last(1) {
            b'a' => &[(b"ational", b"ate"), (b"tional", b"tion")],
            b'c' => &[(b"enci", b"ence"), (b"anci", b"ance")],
            b'e' => &[(b"izer", b"ize")],
            b'g' => &[(b"logi", b"log")],
            b'l' => &[
                (b"bli", b"ble"),
                (b"alli", b"al"),
                (b"entli", b"ent"),
                (b"eli", b"e"),
                (b"ousli", b"ous"),
            ],
            b'o' => &[(b"ization", b"ize"), (b"ation", b"ate"), (b"ator", b"ate")],
            b's' => &[
                (b"alism", b"al"),
                (b"iveness", b"ive"),
                (b"fulness", b"ful"),
                (b"ousness", b"ous"),
            ],
            b't' => &[(b"aliti", b"al"), (b"iviti", b"ive"), (b"biliti", b"ble")],
            _ => &[],
        });
    }

    /// Step 3.
    fn suffixes(&mut self) {
        self.replace(match self.last(0) {
            b'e' => &[(b"icate", b"ic"), (b"ative", b""), (b"alize", b"al")],
            b'i' => &[(b"iciti", b"ic")],
            b'l' => &[(b"ical", b"ic"), (b"ful", b"")],
            b's' => &[(b"ness", b"")],
            _ => &[],
        });
    }

    /// Step 4.
    fn bare_suffixes(&mut self) {
        let suffixes: &[&[u8]] = match self.last(1) {
            b'a' => &[b"al"],
            b'c' => &[b"ance", b"ence"],
            b'e' => &[b"er"],
            b'i' => &[b"ic"],
            b'l' => &[b"able", b"ible"],
            b'n' => &[b"ant", b"ement", b"ment", b"ent"],
            b'o' if self.ends(b"ion") => {
                if matches!(self.last(3), b's' | b't') {
                    &[b"ion"]
                } else {
                    &[]
                }
            }
            b'o' => &[b"ou"],
            b's' => &[b"ism"],
            b't' => &[b"ate", b"iti"],
            b'u' => &[b"ous"],
            b'v' => &[b"ive"],
            b'z' => &[b"ize"],
            _ => &[],
        };
        let stem = suffixes.iter().find_map(|suffix| self.before(suffix));
        if let Some(stem) = stem.filter(|stem| self.measure(*stem) > 1) {
            self.length = stem;
        }
    }

    /// Step 5.
    fn final_e_and_l(&mut self) {
        let measure = self.measure(self.length);
        if let Some(stem) = self.before(b"e") {
            let is_spare = measure > 1 || measure == 1 && !self.ends_in_short_syllable(stem);
            self.length -= usize::from(is_spare);
        }
        if measure > 1 && self.last(0) == b'l' && self.ends_in_double_consonant() {
            self.length -= 1;
        }
    }
}
