//! Numbers as Python prints them.

use dashu_int::ops::UnsignedAbs;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::evaluate::Answer;
use super::number::Number;

/// The most digits of a whole number: Python's own limit (`sys.int_info.default_max_str_digits`).
const WHOLE_DIGITS_MAX: usize = 4_300;

/// The most digits of a decimal fraction that is written in full: those that Python's `decimal`
/// keeps.
const DECIMAL_DIGITS_MAX: usize = 28;

/// Up to 2^53 every whole number is a double, and is printed as one.
const DOUBLE_WHOLE_MAX: u64 = 1 << 53;

/// The digits of a number that no double can hold.
const DIGITS_BEYOND_DOUBLE: usize = 17;

/// Returns a number as text.
///
/// # Errors
/// A sentence, where it is too long.
pub(super) fn answer(number: &Number) -> Result<Answer, String> {
    if let Number::Exact(exact) = number
        && let Some(text) = in_full(exact)?
    {
        return Ok(Answer { text, is_exact: true });
    }
    let nearest = number.to_exact().to_f64().value();
    let text = match nearest.is_finite() && nearest.abs() >= f64::MIN_POSITIVE {
        true => double(nearest),
        false => beyond_double(number),
    };
    Ok(Answer { text, is_exact: false })
}

/// Returns a fraction that is a whole number or a short decimal.
fn in_full(exact: &RBig) -> Result<Option<String>, String> {
    if exact.is_int() {
        let digits = exact.numerator().to_string();
        let length = digits.trim_start_matches('-').len();
        if length > WHOLE_DIGITS_MAX {
            return Err(format!(
                "the result has {length} digits; at most {WHOLE_DIGITS_MAX} are printed"
            ));
        }
        let is_double = exact.numerator().unsigned_abs() <= UBig::from(DOUBLE_WHOLE_MAX);
        return Ok(Some(if is_double { digits + ".0" } else { digits }));
    }
    let Some(places) = decimal_places(exact.denominator()) else { return Ok(None) };
    let scaled = exact.clone() * RBig::from(UBig::from(10_u8).pow(places));
    let digits = scaled.numerator().unsigned_abs().to_string();
    if digits.len() > DECIMAL_DIGITS_MAX {
        return Ok(None);
    }
    let sign = if *exact < RBig::ZERO { "-" } else { "" };
    let exponent = digits.len() as i64 - 1 - places as i64;
    Ok(Some(format!("{sign}{}", placed(&digits, exponent, i64::MAX))))
}

/// Returns how many digits stand behind the point of a fraction with this denominator, in lowest
/// terms; `None` where they never end, or are too many to be printed.
fn decimal_places(denominator: &UBig) -> Option<usize> {
    let mut rest = denominator.clone();
    let twos = rest.remove(&UBig::from(2_u8)).unwrap_or(0);
    let fives = rest.remove(&UBig::from(5_u8)).unwrap_or(0);
    let places = twos.max(fives);
    // Zeros behind the point are not counted as digits: 1e-300 has one.
    (rest.is_one() && places <= 400).then_some(places)
}

/// Returns a double in the fewest digits that read back as it.
fn double(number: f64) -> String {
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let digits = digits.replace('.', "");
    format!("{sign}{}", placed(&digits, exponent.parse().unwrap_or(0), 16))
}

/// Returns a number beyond the range of doubles with 17 digits.
fn beyond_double(number: &Number) -> String {
    let decimal = number.to_real().with_base_and_precision::<10>(DIGITS_BEYOND_DOUBLE).value();
    let (significand, exponent): (IBig, isize) = decimal.into_repr().into_parts();
    let sign = if significand < IBig::ZERO { "-" } else { "" };
    let digits = significand.unsigned_abs().to_string();
    let exponent = exponent as i64 + digits.len() as i64 - 1;
    format!("{sign}{}", placed(digits.trim_end_matches('0'), exponent, 16))
}

/// Returns digits with the point behind the first one, times 10^`exponent`: as Python does, with an
/// exponent below 10^-4 and from 10^`positional_max` on.
fn placed(digits: &str, exponent: i64, positional_max: i64) -> String {
    let (first, rest) = digits.split_at(1);
    if !(-4..positional_max).contains(&exponent) {
        let point = if rest.is_empty() { "" } else { "." };
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{first}{point}{rest}e{sign}{:02}", exponent.unsigned_abs());
    }
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        return format!("{digits}{}.0", "0".repeat(whole - digits.len()));
    }
    format!("{}.{}", &digits[..whole], &digits[whole..])
}
