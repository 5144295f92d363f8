//! Numbers written in answers.

/// The relative difference up to which numbers are equal.
pub const NUMERIC_TOLERANCE: f64 = 1e-6;

/// Returns the number that a text is: with a sign, thousands parted by commas, a fraction `a/b`, a
/// leading `$`, `€` or `£`, a trailing `%` (which divides by 100) or full stop. `None` for any
/// other text, a number with a unit among them.
pub fn parse_number(text: &str) -> Option<f64> {
    let text = text.trim().trim_end_matches('.').trim();
    let (negative, text) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let text = text.strip_prefix(['$', '€', '£']).unwrap_or(text).trim_start();
    let (text, divisor) = match text.strip_suffix('%') {
        Some(rest) => (rest.trim_end(), 100.0),
        None => (text, 1.0),
    };
    let value = match text.split_once('/') {
        Some((top, bottom)) => plain(top.trim())? / plain(bottom.trim())?,
        None => plain(text)?,
    };
    let value = value / divisor;
    value.is_finite().then_some(if negative { -value } else { value })
}

/// Reads digits with at most one point and an exponent, commas between groups of three digits.
fn plain(text: &str) -> Option<f64> {
    let begins = text.chars().next()?;
    if !(begins.is_ascii_digit() || begins == '.') {
        return None;
    }
    let whole = text.split(['.', 'e', 'E']).next().unwrap_or_default();
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let mut rest = groups.peekable();
    if rest.peek().is_some() && (first.is_empty() || first.len() > 3) {
        return None;
    }
    if !rest.all(|group| group.len() == 3) {
        return None;
    }
    text.replace(',', "").parse().ok()
}

/// Returns whether two texts are numbers that differ by at most `tolerance` of the larger.
pub fn numeric_equal(one: &str, other: &str, tolerance: f64) -> bool {
    let (Some(one), Some(other)) = (parse_number(one), parse_number(other)) else { return false };
    near(one, other, tolerance)
}

/// Returns the last number written in a text, with its sign and commas between thousands: `12.5` of
/// "so 3 of them, $12.50 in all.". `None` where no digit stands in it.
///
/// This is how answers to GSM8K are read: the gold answer stands at the end behind `####`, and
/// what a model writes ends with its result. A sign counts where no letter, digit or closing
/// bracket stands before it (`5-3` ends with 3); a `/` or a unit ends a number.
pub fn last_number(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let end = bytes.iter().rposition(u8::is_ascii_digit)? + 1;
    let is_part = |at: usize| {
        let digit = |place: Option<&u8>| place.is_some_and(u8::is_ascii_digit);
        match bytes[at] {
            b'0'..=b'9' => true,
            // A comma parts thousands only where three digits follow.
            b',' => {
                let after = &bytes[at + 1..end];
                let groups = after.iter().position(|byte| !byte.is_ascii_digit());
                at > 0 && digit(bytes.get(at - 1)) && groups.unwrap_or(after.len()) == 3
            }
            b'.' => digit(bytes.get(at + 1)) && !bytes[at + 1..end].contains(&b'.'),
            _ => false,
        }
    };
    let mut start = end;
    while start > 0 && is_part(start - 1) {
        // A point behind which thousands are parted is no decimal point.
        if bytes[start - 1] == b'.' && bytes[start..end].contains(&b',') {
            break;
        }
        start -= 1;
    }
    let number: f64 = text[start..end].replace(',', "").parse().ok()?;
    Some(if has_minus(&text[..start]) { -number } else { number })
}

/// Returns whether a text ends with the sign of a negative number, a currency between allowed.
fn has_minus(before: &str) -> bool {
    let before = before.strip_suffix(['$', '€', '£']).unwrap_or(before);
    let Some(rest) = before.strip_suffix(['-', '\u{2212}']) else { return false };
    !rest.ends_with(|c: char| c.is_alphanumeric() || c == ')' || c == '%')
}

/// Returns whether the last numbers of an answer and of one of the gold answers differ by at most
/// [`NUMERIC_TOLERANCE`] of the larger: the measure of GSM8K. An answer without a number is wrong;
/// `None` where no gold answer has a number.
pub fn score_gsm8k<S: AsRef<str>>(answer: &str, gold: &[S]) -> Option<bool> {
    let gold: Vec<f64> = gold.iter().filter_map(|gold| last_number(gold.as_ref())).collect();
    if gold.is_empty() {
        return None;
    }
    let Some(answer) = last_number(answer) else { return Some(false) };
    Some(gold.iter().any(|gold| near(answer, *gold, NUMERIC_TOLERANCE)))
}

fn near(one: f64, other: f64, tolerance: f64) -> bool {
    (one - other).abs() <= tolerance * one.abs().max(other.abs())
}
