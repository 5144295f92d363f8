//! Numbers and names as they are read in a picture.

use unicode_width::UnicodeWidthChar;

/// Returns the columns that a text takes on a terminal.
pub fn shown_width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Returns a text of at most `width` columns, what is cut marked by `…`.
pub fn cut(text: &str, width: usize) -> String {
    if shown_width(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for letter in text.chars() {
        used += letter.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(letter);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// Returns the text cut or filled to exactly `width` columns, at its left.
pub(super) fn left(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let space = width.saturating_sub(shown_width(&text));
    text + &" ".repeat(space)
}

/// Returns the text cut or filled to exactly `width` columns, at its right.
pub(super) fn right(text: &str, width: usize) -> String {
    let text = cut(text, width);
    " ".repeat(width.saturating_sub(shown_width(&text))) + &text
}

/// Returns the text in the middle of `width` columns.
pub(super) fn middle(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let space = width.saturating_sub(shown_width(&text));
    " ".repeat(space / 2) + &text + &" ".repeat(space - space / 2)
}

/// Returns whether a character is none to be shown: a control, one that XML does not take, or one
/// that turns the direction in which what is behind it is read.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{FFFE}' | '\u{FFFF}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}')
        || matches!(c, '\u{2066}'..='\u{2069}')
}

/// Returns a name fit to be shown: the empty text as `(empty)`, control characters and others that
/// neither a terminal nor XML takes as `·`.
pub fn visible(text: &str) -> String {
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    text.chars().map(|c| if is_harmful(c) { '·' } else { c }).collect()
}

/// Numbers from here on are written in powers of ten: more digits do not fit beside a picture.
pub(super) const PLAIN_BELOW: f64 = 1e9;

/// Returns a number as short as it reads: whole ones in full, others with four digits that matter,
/// very large and very small ones in powers of ten.
pub fn readable(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{}", if value == 0.0 { 0.0 } else { value });
    }
    if !(1e-4..PLAIN_BELOW).contains(&size) {
        return trimmed(&format!("{value:.3e}"));
    }
    if value.fract() == 0.0 {
        return grouped(value);
    }
    let before = size.log10().floor() as i32;
    let decimals = (3 - before).clamp(0, 7) as usize;
    let fixed = format!("{value:.decimals$}");
    match decimals {
        0 => with_thousands(&fixed),
        _ => with_thousands(fixed.trim_end_matches('0').trim_end_matches('.')),
    }
}

/// Returns a number with `digits` behind the point and its thousands apart; numbers too large to be
/// read so in powers of ten.
pub fn fixed(value: f64, digits: usize) -> String {
    if !value.is_finite() || value.abs() >= 1e15 {
        return readable(value);
    }
    let digits = digits.min(17);
    let told = format!("{value:.digits$}");
    // No sign on what is nothing when rounded.
    let is_nothing = told.bytes().all(|digit| matches!(digit, b'-' | b'0' | b'.'));
    with_thousands(if is_nothing { told.trim_start_matches('-') } else { &told })
}

/// Returns a whole number with its thousands apart.
pub fn grouped(value: f64) -> String {
    with_thousands(&format!("{value:.0}"))
}

/// Puts commas between the thousands of a number in digits.
pub(super) fn with_thousands(number: &str) -> String {
    let (sign, rest) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
    let mut out = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

/// Takes the zeros off the end of the digits of `1.500e20`.
fn trimmed(number: &str) -> String {
    match number.split_once('e') {
        Some((digits, power)) if digits.contains('.') => {
            format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => number.to_owned(),
    }
}

/// Returns a text in lines of at most `width` columns, broken between words.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if shown_width(line) + 1 + shown_width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| cut(line, width)).collect()
}
