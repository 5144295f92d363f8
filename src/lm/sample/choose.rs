//! The token that is drawn from logits.

use pulp::Arch;

use super::request::Distribution;
use crate::lm::LmError;
use crate::lm::ops::{exp, max_of, sum_of};

/// A token and its log-probabilities.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) token: u32,
    /// Under the model.
    pub(super) log_prob: f32,
    /// Under the distribution that it was drawn from.
    pub(super) drawn_log_prob: f32,
}

/// Returns log sum e^logit, or what is wrong with the logits.
pub(super) fn normalizer(logits: &[f32]) -> Result<f32, String> {
    let (max, sum) = Arch::new().dispatch(|| {
        let max = max_of(logits);
        (max, sum_of(logits, |logit| exp(logit - max)))
    });
    let normalizer = max + sum.ln();
    // The largest number passes over NaN; the sum does not.
    if normalizer.is_finite() {
        return Ok(normalizer);
    }
    Err(match logits.iter().position(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        Some(token) => format!("token {token} has the logit {}", logits[token]),
        None => "every token has the probability 0".to_owned(),
    })
}

/// Returns the token that `unit`, a number in [0, 1), picks from the distribution, or what is wrong
/// with the logits. Tokens lie in the order of their ids.
pub(super) fn choose(
    logits: &[f32],
    distribution: &Distribution,
    unit: f64,
) -> Result<Choice, String> {
    let normalizer = normalizer(logits)?;
    if distribution.temperature == 0.0 {
        let token = greedy(logits);
        let log_prob = logits[token] - normalizer;
        return Ok(Choice { token: token as u32, log_prob, drawn_log_prob: 0.0 });
    }
    let (scores, weights) = cut(logits, distribution);
    let (token, sum) = pick(&weights, unit);
    let max = Arch::new().dispatch(|| max_of(&scores));
    Ok(Choice {
        token: token as u32,
        log_prob: logits[token] - normalizer,
        drawn_log_prob: scores[token] - max - (sum.ln() as f32),
    })
}

impl Distribution {
    /// Returns the log-probability of every token under the distribution, minus infinity for those
    /// that are cut, for the logits of all of them.
    ///
    /// # Errors
    /// `NoProbabilities` if a logit is no number or all are minus infinity; `Request` if a setting
    /// makes no sense.
    pub fn log_probs(&self, logits: &[f32]) -> Result<Vec<f32>, LmError> {
        self.check(0)?;
        normalizer(logits).map_err(|what| LmError::NoProbabilities {
            number: 0,
            position: 0,
            what,
        })?;
        if self.temperature == 0.0 {
            let choice = greedy(logits);
            let log_prob = |token| if token == choice { 0.0 } else { f32::NEG_INFINITY };
            return Ok((0..logits.len()).map(log_prob).collect());
        }
        let (scores, weights) = cut(logits, self);
        let normalizer =
            Arch::new().dispatch(|| max_of(&scores) + (sum_of(&weights, |weight| weight)).ln());
        Ok(scores.into_iter().map(|score| score - normalizer).collect())
    }
}

/// Returns the first of the largest logits.
fn greedy(logits: &[f32]) -> usize {
    let max = Arch::new().dispatch(|| max_of(logits));
    logits.iter().position(|logit| *logit == max).unwrap_or_default()
}

/// Returns the scores that are left, minus infinity for the others, and e^(score - largest score).
fn cut(logits: &[f32], distribution: &Distribution) -> (Vec<f32>, Vec<f32>) {
    let Distribution { temperature, top_k, top_p, min_p } = *distribution;
    let mut scores = logits.to_vec();
    if temperature != 1.0 {
        let temperature = temperature as f32;
        Arch::new().dispatch(|| scores.iter_mut().for_each(|score| *score /= temperature));
    }
    if (1..scores.len()).contains(&top_k) {
        keep_top_k(&mut scores, top_k);
    }
    let mut weights = weights(&scores);
    if top_p < 1.0 {
        keep_top_p(&mut scores, &mut weights, top_p);
    }
    if min_p > 0.0 {
        keep_min_p(&mut scores, &mut weights, min_p);
    }
    (scores, weights)
}

/// Returns e^(score - largest score) for each score.
fn weights(scores: &[f32]) -> Vec<f32> {
    let mut weights = scores.to_vec();
    Arch::new().dispatch(|| {
        let max = max_of(scores);
        for weight in &mut weights {
            // Our e^x is not 0 far below.
            *weight = if *weight == f32::NEG_INFINITY { 0.0 } else { exp(*weight - max) };
        }
    });
    weights
}

/// Leaves the `count` largest scores and those that equal the last of them.
fn keep_top_k(scores: &mut [f32], count: usize) {
    let mut sorted = scores.to_vec();
    let (_, last, _) = sorted.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    let last = *last;
    for score in scores.iter_mut().filter(|score| **score < last) {
        *score = f32::NEG_INFINITY;
    }
}

/// Goes from the least probable token up, equals in the order of their ids, and takes tokens out as
/// long as all so far have at most 1 - `top_p` together; the last one stays.
fn keep_top_p(scores: &mut [f32], weights: &mut [f32], top_p: f64) {
    let sum = Arch::new().dispatch(|| sum_of(weights, |weight| weight));
    let out = (1.0 - top_p) as f32;
    // All tokens below this have less than 1 - top_p together, so they need not be sorted.
    let small = (0.5 * (1.0 - top_p) / scores.len() as f64) as f32;
    let mut below = 0f64;
    let mut sorted = Vec::new();
    for (token, weight) in weights.iter_mut().enumerate() {
        let probability = *weight / sum;
        if probability < small {
            below += f64::from(probability);
            (scores[token], *weight) = (f32::NEG_INFINITY, 0.0);
        } else {
            sorted.push((scores[token], token, probability));
        }
    }
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    sorted.pop();
    for (_, token, probability) in sorted {
        below += f64::from(probability);
        if below as f32 > out {
            break;
        }
        (scores[token], weights[token]) = (f32::NEG_INFINITY, 0.0);
    }
}

/// Leaves tokens with at least `min_p` times the largest probability.
fn keep_min_p(scores: &mut [f32], weights: &mut [f32], min_p: f64) {
    let (sum, max) = Arch::new().dispatch(|| (sum_of(weights, |weight| weight), max_of(weights)));
    let least = min_p as f32 * (max / sum);
    for (score, weight) in scores.iter_mut().zip(weights) {
        if *weight / sum < least {
            (*score, *weight) = (f32::NEG_INFINITY, 0.0);
        }
    }
}

/// Returns the place that `unit` times the sum of the weights falls to, and the sum.
fn pick(weights: &[f32], unit: f64) -> (usize, f64) {
    const PART: usize = 512;
    let sums: Vec<f64> = Arch::new().dispatch(|| {
        weights.chunks(PART).map(|part| f64::from(sum_of(part, |weight| weight))).collect()
    });
    let sum: f64 = sums.iter().sum();
    let mut rest = unit * sum;
    let mut last = 0;
    for (number, (part, part_sum)) in weights.chunks(PART).zip(&sums).enumerate() {
        if rest >= *part_sum {
            rest -= part_sum;
            continue;
        }
        for (at, weight) in part.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            last = number * PART + at;
            rest -= f64::from(*weight);
            if rest < 0.0 {
                return (last, sum);
            }
        }
        // The sums of a part differ in their last bits.
        return (last, sum);
    }
    (weights.iter().rposition(|weight| *weight > 0.0).unwrap_or_default(), sum)
}
