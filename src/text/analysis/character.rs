//! What a character is to the tokenizer.
//!
//! The properties are those of ICU4X (`icu_properties`): Word_Break of UAX #29, and where that
//! leaves the choice to others, Script and Line_Break.

use icu_properties::props::{
    EmojiModifier, EmojiModifierBase, ExtendedPictographic, LineBreak, Script, WordBreak,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// The class of a character in the rules of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// Nothing that a word may hold.
    Other,
    Letter,
    Hebrew,
    Digit,
    Katakana,
    /// Joins on both sides, as the underscore does.
    Joiner,
    /// Between letters only.
    MidLetter,
    /// Between digits only.
    MidNumber,
    /// Between letters, or between digits.
    MidBoth,
    /// The apostrophe of ASCII: as `MidBoth`, and behind a Hebrew letter.
    Quote,
    /// The quotation mark of ASCII, within Hebrew abbreviations.
    DoubleQuote,
    /// Belongs to the character before it: marks and characters without a shape.
    Extend,
    /// U+200D, which is `Extend` too and joins emoji.
    ZeroWidthJoiner,
    Han,
    Hiragana,
    /// Of a script of South East Asia that writes no blanks between words.
    Southeast,
    /// Half of a flag.
    Regional,
    /// A colour of skin.
    Modifier,
    Emoji,
}

/// Returns the class of a character.
pub(super) fn class(c: char) -> Class {
    if c.is_ascii() {
        return ASCII[c as usize];
    }
    match CodePointMapData::<WordBreak>::new().get(c) {
        WordBreak::ALetter => Class::Letter,
        WordBreak::HebrewLetter => Class::Hebrew,
        WordBreak::Numeric => Class::Digit,
        WordBreak::Katakana => Class::Katakana,
        WordBreak::ExtendNumLet => Class::Joiner,
        WordBreak::MidLetter => Class::MidLetter,
        WordBreak::MidNum => Class::MidNumber,
        WordBreak::MidNumLet => Class::MidBoth,
        WordBreak::SingleQuote => Class::Quote,
        WordBreak::DoubleQuote => Class::DoubleQuote,
        WordBreak::ZWJ => Class::ZeroWidthJoiner,
        // Colours of skin became marks after the version of the rules that Lucene keeps to.
        WordBreak::Extend if CodePointSetData::new::<EmojiModifier>().contains(c) => {
            Class::Modifier
        }
        WordBreak::Extend | WordBreak::Format => Class::Extend,
        WordBreak::RegionalIndicator => Class::Regional,
        _ => class_without_rule(c),
    }
}

/// Returns the class of a character that UAX #29 has no rule for.
fn class_without_rule(c: char) -> Class {
    // Colons were between letters until Unicode 15; Lucene's rules are those of Unicode 9.
    if matches!(c, '\u{FE13}' | '\u{FE55}' | '\u{FF1A}') {
        return Class::MidLetter;
    }
    match CodePointMapData::<Script>::new().get(c) {
        Script::Han => Class::Han,
        Script::Hiragana => Class::Hiragana,
        _ if is_southeast(c) => Class::Southeast,
        _ if is_pictographic(c) => Class::Emoji,
        _ => Class::Other,
    }
}

/// Whether a character is of a script of South East Asia without blanks; marks of such scripts
/// are, too, and have the class [`Class::Extend`].
pub(super) fn is_southeast(c: char) -> bool {
    !c.is_ascii() && CodePointMapData::<LineBreak>::new().get(c) == LineBreak::ComplexContext
}

/// Whether a character is, or is reserved to be, a pictograph. Some are letters, too.
pub(super) fn is_pictographic(c: char) -> bool {
    // Most text is asked about and has none: these blocks hold them all.
    matches!(c, '\u{80}'..='\u{FF}' | '\u{2000}'..='\u{33FF}' | '\u{1F000}'..='\u{1FFFF}')
        && CodePointSetData::new::<ExtendedPictographic>().contains(c)
}

/// Whether a pictograph can be followed by a colour of skin.
pub(super) fn takes_modifier(c: char) -> bool {
    CodePointSetData::new::<EmojiModifierBase>().contains(c)
}

/// Whether a letter is of the Korean alphabet.
pub(super) fn is_hangul(c: char) -> bool {
    !c.is_ascii() && CodePointMapData::<Script>::new().get(c) == Script::Hangul
}

/// The classes of ASCII.
pub(super) const ASCII: [Class; 128] = ascii();

const fn ascii() -> [Class; 128] {
    let mut classes = [Class::Other; 128];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'_' => Class::Joiner,
            b':' => Class::MidLetter,
            b',' | b';' => Class::MidNumber,
            b'.' => Class::MidBoth,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
}
