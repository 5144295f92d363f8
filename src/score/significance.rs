//! Whether differences are more than chance: p-values of pairs, and of many at once.

use super::interval::StatisticsError;

/// Returns the p-values of a family adjusted by the method of Holm (1979), in the order given:
/// where those that are at most alpha are called significant, the chance of any false one among
/// them is at most alpha, whatever their dependence.
///
/// The i-th smallest of m is multiplied by m - i + 1; none is below a smaller one's, none above 1.
///
/// # Errors
/// `Probability`.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatisticsError> {
    if let Some(at) = p_values.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(StatisticsError::Probability { number: at + 1, found: p_values[at] });
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut least = 0.0_f64;
    for (rank, at) in order.into_iter().enumerate() {
        least = least.max((p_values.len() - rank) as f64 * p_values[at]).min(1.0);
        adjusted[at] = least;
    }
    Ok(adjusted)
}

/// Returns the exact two-sided p of McNemar's test: `first_only` and `second_only` count the
/// questions that one of two runs answers and the other does not; were neither better, each such
/// question would fall to either side with a chance of one half. 1 where there are none.
pub fn mcnemar(first_only: u64, second_only: u64) -> f64 {
    let n = first_only + second_only;
    let fewer = first_only.min(second_only);
    let log_factorial = |k: u64| libm::lgamma(k as f64 + 1.0);
    let whole = log_factorial(n) - n as f64 * std::f64::consts::LN_2;
    let chance = |k: u64| libm::exp(whole - log_factorial(k) - log_factorial(n - k));
    // From the smallest term on, so that none is lost.
    let tail: f64 = (0..=fewer).map(chance).sum();
    (2.0 * tail).min(1.0)
}
