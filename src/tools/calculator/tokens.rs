//! The words of an expression.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::machine::BITS_MAX;
use crate::diag::{Diagnostic, Span};

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// A literal.
    Number(RBig),
    /// The name of a function or constant.
    Name(String),
    /// An operator or a parenthesis.
    Sign(Sign),
    /// Behind the last word.
    End,
}

/// Operators and parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
    Times,
    Over,
    FloorOver,
    Percent,
    Power,
    Factorial,
    Open,
    Close,
    Comma,
}

/// Reads words one after the other.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    /// Returns the words of `text`.
    pub(super) fn new(text: &'a str) -> Tokens<'a> {
        Tokens { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Returns the next word and its place. `grouped` says whether a comma within digits parts
    /// thousands; within the parentheses of a function it parts arguments.
    pub(super) fn next(&mut self, grouped: bool) -> Result<(Word, Span), Diagnostic> {
        self.at += self.rest().len() - self.rest().trim_start().len();
        let start = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Ok((Word::End, Span::new(start, start)));
        };
        let after_point = self.rest()[first.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        if first.is_ascii_digit() || first == '.' && after_point {
            let number = self.number(grouped)?;
            return Ok((Word::Number(number), Span::new(start, self.at)));
        }
        if first.is_alphabetic() || first == '_' || first == 'π' {
            let name: String = self
                .rest()
                .chars()
                .take_while(|c| c.is_alphanumeric() || "_.".contains(*c))
                .collect();
            self.at += name.len();
            return Ok((Word::Name(name), Span::new(start, self.at)));
        }
        let (sign, length) = match first {
            '*' if self.rest().starts_with("**") => (Sign::Power, 2),
            '/' if self.rest().starts_with("//") => (Sign::FloorOver, 2),
            '+' => (Sign::Plus, 1),
            '-' | '\u{2212}' | '\u{2013}' => (Sign::Minus, first.len_utf8()),
            '*' | '\u{d7}' | '\u{b7}' | '\u{22c5}' => (Sign::Times, first.len_utf8()),
            '/' | '\u{f7}' => (Sign::Over, first.len_utf8()),
            '%' => (Sign::Percent, 1),
            '^' => (Sign::Power, 1),
            '!' => (Sign::Factorial, 1),
            '(' => (Sign::Open, 1),
            ')' => (Sign::Close, 1),
            ',' => (Sign::Comma, 1),
            _ => return Err(self.unknown(first)),
        };
        self.at += length;
        Ok((Word::Sign(sign), Span::new(start, self.at)))
    }

    /// Returns the next word and leaves it.
    pub(super) fn peek(&self, grouped: bool) -> Result<(Word, Span), Diagnostic> {
        self.clone().next(grouped)
    }

    fn unknown(&self, found: char) -> Diagnostic {
        let span = Span::new(self.at, self.at + found.len_utf8());
        let what = found.escape_debug();
        let error = Diagnostic::new(
            "character",
            format!("found '{what}'; expected a number, a name or an operator"),
        );
        let help = match found {
            '=' | '<' | '>' => {
                "leave equations and comparisons out: the calculator takes one expression"
            }
            '$' | '\u{20ac}' | '\u{a3}' | '\u{a5}' => "leave currency signs out",
            '\u{b0}' => "angles are in radians; radians(30) is 30 degrees",
            '[' | ']' | '{' | '}' => "use round parentheses",
            '"' | '\'' => "leave quotes out",
            _ => "an example: (12.5 + 3) * 4 / sqrt(2)",
        };
        error.at(span).help(help)
    }

    /// Reads digits with `_` between them and appends them to `digits`; returns how many there are.
    fn digits(&mut self, digits: &mut String) -> usize {
        let bytes = self.text.as_bytes();
        let before = digits.len();
        while let Some(&byte) = bytes.get(self.at) {
            let next_is_digit = bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit);
            if byte.is_ascii_digit() {
                digits.push(char::from(byte));
            } else if byte != b'_' || !next_is_digit || digits.len() == before {
                break;
            }
            self.at += 1;
        }
        digits.len() - before
    }

    /// Returns how many groups of a comma and exactly three digits follow.
    fn groups(&self) -> usize {
        let bytes = self.rest().as_bytes();
        let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let mut count = 0;
        while bytes.get(4 * count) == Some(&b',')
            && (1..=3).all(|place| is_digit(4 * count + place))
        {
            count += 1;
        }
        // 1,2345 is no number.
        if count > 0 && is_digit(4 * count) { 0 } else { count }
    }

    fn number(&mut self, grouped: bool) -> Result<RBig, Diagnostic> {
        let start = self.at;
        let mut digits = String::new();
        let whole = self.digits(&mut digits);
        let groups = if (1..=3).contains(&whole) { self.groups() } else { 0 };
        if groups > 0 && !grouped {
            let span = Span::new(start, self.at + 4 * groups);
            let found = &self.text[start..span.end];
            let message = format!("'{found}' could be one number or {} of them", groups + 1);
            let help = format!(
                "write {} for one number, or a blank behind each comma for several",
                found.replace(',', "")
            );
            return Err(Diagnostic::new("ambiguous", message).at(span).help(help));
        }
        for _ in 0..groups {
            digits.push_str(&self.rest()[1..4]);
            self.at += 4;
        }
        let mut scale = 0_i64;
        if self.rest().starts_with('.') {
            self.at += 1;
            scale -= self.digits(&mut digits) as i64;
        }
        let exponent = self.exponent();
        let span = Span::new(start, self.at);
        let too_large = || {
            let message = "this number has too many digits; at most 19,000 are computed with";
            Diagnostic::new("size", message).at(span)
        };
        let scale =
            exponent.and_then(|exponent| scale.checked_add(exponent)).ok_or_else(too_large)?;
        let significant: IBig = digits.parse().map_err(|_| too_large())?;
        if significant.is_zero() {
            return Ok(RBig::ZERO);
        }
        let places = usize::try_from(scale.unsigned_abs()).map_err(|_| too_large())?;
        // Four bits hold a digit: nothing beyond the limit is built first.
        if places.saturating_add(digits.len()) > BITS_MAX * 3 / 10 {
            return Err(too_large());
        }
        let power = UBig::from(10_u8).pow(places);
        let (numerator, denominator) = match scale < 0 {
            true => (significant, power),
            false => (significant * IBig::from(power), UBig::ONE),
        };
        Ok(RBig::from_parts(numerator, denominator))
    }

    /// Reads `e` and a whole number, if they follow; `None` where the number is too large.
    fn exponent(&mut self) -> Option<i64> {
        let rest = self.rest().as_bytes();
        let sign = usize::from(matches!(rest.get(1), Some(b'+' | b'-')));
        let is_one = matches!(rest.first(), Some(b'e' | b'E'))
            && rest.get(1 + sign).is_some_and(u8::is_ascii_digit);
        if !is_one {
            return Some(0);
        }
        let is_negative = rest.get(1) == Some(&b'-');
        self.at += 1 + sign;
        let mut digits = String::new();
        self.digits(&mut digits);
        let exponent = digits.parse::<i64>().ok()?;
        Some(if is_negative { -exponent } else { exponent })
    }
}
