//! English terms: what Lucene's `EnglishAnalyzer` makes of a token.

use tinystr::TinyAsciiStr;

use super::analyzer::TermNumbers;
use super::porter;

/// The words that Lucene leaves out of English text.
pub const STOP_WORDS: [&str; 33] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it",
    "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these",
    "they", "this", "to", "was", "will", "with",
];

/// The longest of them, in bytes.
const STOP_BYTES_MAX: usize = 5;

/// The longest token whose term is remembered, in bytes.
const REMEMBERED_BYTES_MAX: usize = 16;

/// How many are remembered at first, as a power of two: 8 KiB, enough for a query.
const SLOTS_BITS_MIN: u32 = 8;

/// How many are remembered once much was read: 1 MiB, which a core's own cache holds.
const SLOTS_BITS_MAX: u32 = 15;

/// Makes terms of tokens, one after the other.
///
/// Text repeats its words: the terms of short tokens of ASCII, and their numbers, are remembered.
/// What is remembered never changes a term.
pub(super) struct English {
    terms: Slots<ShortTerm>,
    numbers: Slots<Option<u32>>,
    term: String,
    units: Vec<u8>,
    wide: Vec<u16>,
}

/// A term of a short token; empty for a stop word.
type ShortTerm = TinyAsciiStr<REMEMBERED_BYTES_MAX>;

impl English {
    pub(super) fn new() -> English {
        English {
            terms: Slots::new(TinyAsciiStr::EMPTY),
            numbers: Slots::new(None),
            term: String::new(),
            units: Vec::new(),
            wide: Vec::new(),
        }
    }

    /// Returns the term of the token `text[start..end]`; `None` for a stop word.
    #[inline]
    pub(super) fn term(&mut self, text: &str, start: usize, end: usize) -> Option<&str> {
        let Some(token) = short_token(text, start, end) else {
            return self.long_term(text.get(start..end)?);
        };
        let term = self.terms.get_or_put(token, || short_term(token));
        Some(term.as_str()).filter(|term| !term.is_empty())
    }

    /// Returns the number of the term of the token `text[start..end]`; `None` for a stop word.
    /// `numbers` is the same in every call.
    #[inline]
    pub(super) fn number(
        &mut self,
        text: &str,
        start: usize,
        end: usize,
        numbers: &mut dyn TermNumbers,
    ) -> Option<u32> {
        let Some(token) = short_token(text, start, end) else {
            return self.long_term(text.get(start..end)?).and_then(|term| numbers.number(term));
        };
        let make = || match short_term(token) {
            term if term.is_empty() => None,
            term => numbers.number(term.as_str()),
        };
        *self.numbers.get_or_put(token, make)
    }

    /// As [`English::term`], for any token.
    fn long_term(&mut self, token: &str) -> Option<&str> {
        let token = without_possessive(token);
        self.term.clear();
        if token.is_ascii() {
            self.units.clear();
            self.units.extend(token.bytes().map(|byte| byte.to_ascii_lowercase()));
            let length = ascii_term(&mut self.units);
            self.term.push_str(std::str::from_utf8(self.units.get(..length)?).ok()?);
        } else {
            // Java's lower case is that of single characters: of U+0130 the dot goes.
            self.term.extend(token.chars().filter_map(|c| c.to_lowercase().next()));
            if STOP_WORDS.contains(&self.term.as_str()) {
                return None;
            }
            self.wide.clear();
            self.wide.extend(self.term.encode_utf16());
            let length = porter::stem_units(&mut self.wide);
            self.term.clear();
            let units = self.wide.iter().take(length).copied();
            self.term.extend(char::decode_utf16(units).filter_map(Result::ok));
        }
        Some(self.term.as_str()).filter(|term| !term.is_empty())
    }
}

/// A table in which a token has one place, and takes it from the one that was there. It grows with
/// what is read.
struct Slots<V> {
    slots: Vec<Slot<V>>,
    bits: u32,
    /// How many were put since it has its size.
    puts: usize,
    empty: Slot<V>,
}

/// A token as [`short_token`] gives it, and what is remembered of it.
#[derive(Clone, Copy)]
struct Slot<V> {
    token: u128,
    value: V,
}

impl<V: Copy> Slots<V> {
    /// Returns an empty table; `value` stands where there is none.
    fn new(value: V) -> Slots<V> {
        let empty = Slot { token: 0, value };
        Slots { slots: vec![empty; 1 << SLOTS_BITS_MIN], bits: SLOTS_BITS_MIN, puts: 0, empty }
    }

    /// Returns what is remembered of a token, or what `make` makes.
    #[inline]
    fn get_or_put(&mut self, token: u128, make: impl FnOnce() -> V) -> &V {
        let slot = place(token, self.bits);
        let slot = if self.slots[slot].token == token { slot } else { self.put(token, make()) };
        &self.slots[slot].value
    }

    /// Remembers a token and returns its place.
    #[inline(never)]
    fn put(&mut self, token: u128, value: V) -> usize {
        if self.puts > 2 * self.slots.len() && self.bits < SLOTS_BITS_MAX {
            self.bits = (self.bits + 2).min(SLOTS_BITS_MAX);
            self.slots = vec![self.empty; 1 << self.bits];
            self.puts = 0;
        }
        self.puts += 1;
        let slot = place(token, self.bits);
        self.slots[slot] = Slot { token, value };
        slot
    }
}

/// Returns a short token of ASCII in lower case, as a number with the first character lowest;
/// `None` for any other token.
#[inline]
fn short_token(text: &str, start: usize, end: usize) -> Option<u128> {
    let bytes = text.as_bytes();
    let length = end - start;
    if length > REMEMBERED_BYTES_MAX {
        return None;
    }
    let token = match bytes.get(start..).and_then(|rest| rest.first_chunk::<16>()) {
        Some(chunk) => u128::from_le_bytes(*chunk) & (u128::MAX >> (128 - 8 * length)),
        None => padded(bytes.get(start..end)?),
    };
    (token & HIGH_BITS == 0).then(|| lower(token))
}

/// Returns the term of a short token.
#[inline(never)]
fn short_term(token: u128) -> ShortTerm {
    let mut term = token.to_le_bytes();
    // Letters, digits and what joins them are ASCII without a NUL.
    let length = REMEMBERED_BYTES_MAX - token.leading_zeros() as usize / 8;
    let kept = match &term[..length] {
        [.., b'\'', b's'] => length - 2,
        _ => length,
    };
    let length = ascii_term(&mut term[..kept]);
    TinyAsciiStr::try_from_utf8(&term[..length]).unwrap_or(TinyAsciiStr::EMPTY)
}

/// Puts the term of a word in lower case in its place and returns how long it is: 0 for a stop
/// word.
fn ascii_term(word: &mut [u8]) -> usize {
    if word.len() <= STOP_BYTES_MAX && STOP_WORDS.iter().any(|stop| stop.as_bytes() == word) {
        return 0;
    }
    porter::stem_units(word)
}

/// Returns a token without 's at its end, written with any of three apostrophes.
fn without_possessive(token: &str) -> &str {
    let Some(before) = token.strip_suffix(['s', 'S']) else { return token };
    before.strip_suffix(['\'', '\u{2019}', '\u{FF07}']).unwrap_or(token)
}

/// The highest bit of each byte, which no character of ASCII has.
const HIGH_BITS: u128 = repeated(0x80);

const fn repeated(byte: u8) -> u128 {
    u128::from_le_bytes([byte; 16])
}

/// Returns up to 16 bytes as a number.
fn padded(bytes: &[u8]) -> u128 {
    let mut padded = [0; REMEMBERED_BYTES_MAX];
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    u128::from_le_bytes(padded)
}

/// Returns 16 characters of ASCII in lower case. Bytes are below 128, so that sums stay in theirs.
#[inline]
fn lower(token: u128) -> u128 {
    let from_a = token + repeated(0x80 - b'A');
    let behind_z = token + repeated(0x80 - b'Z' - 1);
    let is_upper = (from_a ^ behind_z) & HIGH_BITS;
    token | (is_upper >> 2)
}

/// Returns the place of a token in a table of `1 << bits`: the high bits of a product with odd
/// numbers (those of SplitMix64, Steele, Lea and Flood 2014).
#[inline]
fn place(token: u128, bits: u32) -> usize {
    let (low, high) = (token as u64, (token >> 64) as u64);
    let mixed = low.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ high.wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)) as usize
}
