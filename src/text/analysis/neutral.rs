//! Terms of any language: one spelling of each character, and pairs where there are no blanks.
//!
//! The text is first brought into Unicode's NFKC with case folded and characters without a shape
//! left out (NFKC_Casefold, what the normaliser of Lucene's ICU filters does), with three
//! differences that make more be found: vowel marks of Arabic and Hebrew, which most writing leaves
//! out, and the tatweel go; the curly apostrophe is the straight one; Cherokee folds to lower case.
//! Accents stay.
//!
//! Characters of Han, Hiragana, Katakana and Hangul that stand next to each other give overlapping
//! pairs, as with Lucene's `CJKBigramFilter`, and so do, unlike there, those of the scripts of
//! South East Asia, with their marks: any sentence is then found by a word in it, without a
//! dictionary. A character without a neighbour is a term.

use std::ops::Range;

use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

use super::character::{Class, class};
use super::tokenizer::{Kind, Tokenizer};

/// Scratch space for one text after the other.
#[derive(Default)]
pub(super) struct Neutral {
    text: String,
    folded: String,
}

impl Neutral {
    /// Calls `each` with every term of a text, in order.
    pub(super) fn terms<F: FnMut(&str) + ?Sized>(&mut self, text: &str, each: &mut F) {
        self.normalise(text);
        let text = self.text.as_str();
        let mut run: Range<usize> = 0..0;
        let mut run_is_southeast = false;
        for token in Tokenizer::new(text) {
            let is_southeast = token.kind == Kind::Southeast;
            if matches!(token.kind, Kind::Word | Kind::Emoji) {
                pairs(text, std::mem::take(&mut run), each);
                each(&text[token.start..token.end]);
            } else if run.end == token.start && run_is_southeast == is_southeast {
                run.end = token.end;
            } else {
                pairs(text, std::mem::replace(&mut run, token.start..token.end), each);
                run_is_southeast = is_southeast;
            }
        }
        pairs(text, run, each);
    }

    /// Puts the normal form of a text into `self.text`.
    fn normalise(&mut self, text: &str) {
        self.text.clear();
        self.folded.clear();
        if text.is_ascii() {
            self.text.push_str(text);
            self.text.make_ascii_lowercase();
            return;
        }
        if is_nfkc_quick(text.chars()) == IsNormalized::Yes {
            text.chars().for_each(|c| fold(c, &mut self.folded));
        } else {
            text.nfkc().for_each(|c| fold(c, &mut self.folded));
        }
        if is_nfkc_quick(self.folded.chars()) == IsNormalized::Yes {
            std::mem::swap(&mut self.text, &mut self.folded);
        } else {
            self.text.extend(self.folded.nfkc());
        }
    }
}

/// Calls `each` with the pairs of neighbours in a run of characters, or with its only one.
fn pairs<F: FnMut(&str) + ?Sized>(text: &str, run: Range<usize>, each: &mut F) {
    let within = &text[run];
    let starts = |(at, c): (usize, char)| {
        let is_mark = matches!(class(c), Class::Extend | Class::ZeroWidthJoiner);
        (at == 0 || !is_mark).then_some(at)
    };
    let mut starts = within.char_indices().filter_map(starts).chain([within.len()]);
    let (Some(mut first), Some(mut second)) = (starts.next(), starts.next()) else { return };
    let mut end = starts.next();
    if end.is_none() {
        each(within);
    }
    while let Some(behind) = end {
        each(&within[first..behind]);
        (first, second) = (second, behind);
        end = starts.next();
    }
}

/// Appends a character of NFKC text in the spelling that is compared.
fn fold(c: char, to: &mut String) {
    match c {
        '\0'..='\x7F' => to.push(c.to_ascii_lowercase()),
        '\u{2019}' => to.push('\''),
        // Its upper case is that of i, which is another letter.
        'ı' => to.push(c),
        _ if is_passed_over(c) => {}
        // Both cases of a letter, and its forms at the end of a word, have one upper case; but the
        // capital sharp s has only a lower case in common with the small one.
        _ if c.is_alphabetic() || c.is_uppercase() || c.is_lowercase() => {
            let upper = c.to_lowercase().flat_map(char::to_uppercase);
            to.extend(upper.flat_map(char::to_lowercase));
        }
        _ => to.push(c),
    }
}

/// Whether a character is as if it were not there: without a shape, or a vowel mark or lengthening
/// that writing may leave out.
fn is_passed_over(c: char) -> bool {
    matches!(c, '\u{0591}'..='\u{05BD}' | '\u{05BF}' | '\u{05C1}' | '\u{05C2}' | '\u{05C4}'
        | '\u{05C5}' | '\u{05C7}' | '\u{0640}' | '\u{064B}'..='\u{0652}' | '\u{0670}')
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}
