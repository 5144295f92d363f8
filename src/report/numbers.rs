//! Numbers as papers write them: shares without the 0 before the point, intervals in brackets.

use crate::plot::fixed;
use crate::score::Estimate;

/// Digits behind the point of a p-value.
const P_DIGITS: usize = 3;
/// The smallest p-value that these can say; smaller ones are said to be below it.
const P_LEAST: f64 = 0.001;

/// Returns a share with `digits` behind the point and none before it below 1: `.512`, `1.000`.
pub fn print_share(share: f64, digits: usize) -> String {
    let told = fixed(share, digits);
    // Without digits behind the point the 0 is all there is.
    match told.split_once("0.") {
        Some((sign @ ("" | "-"), behind)) => format!("{sign}.{behind}"),
        _ => told,
    }
}

/// Returns a difference of shares with its sign: `+.032`, `-.010`, and `.000` where nothing is left
/// of it in so many digits.
pub fn print_signed(difference: f64, digits: usize) -> String {
    let told = print_share(difference, digits);
    let is_more = difference > 0.0 && told.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    if is_more || difference == f64::INFINITY { format!("+{told}") } else { told }
}

/// Returns an estimate and its interval: `.512 [.480, .544]`.
pub fn print_estimate(estimate: Estimate, digits: usize) -> String {
    bracketed(estimate, |number| print_share(number, digits))
}

/// Returns a p-value: `.032`, and `<.001` below that.
pub fn print_p_value(p: f64) -> String {
    match (0.0..P_LEAST).contains(&p) {
        true => format!("<{}", print_share(P_LEAST, P_DIGITS)),
        false => print_share(p, P_DIGITS),
    }
}

/// Returns an estimate and its interval, each number as `print` writes it.
pub(super) fn bracketed(estimate: Estimate, print: impl Fn(f64) -> String) -> String {
    let Estimate { value, low, high } = estimate;
    format!("{} [{}, {}]", print(value), print(low), print(high))
}
