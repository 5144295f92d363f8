//! How sure a figure is: intervals of shares and of means over questions.

use std::collections::BTreeMap;

use super::random::Random;

/// Why a statistic cannot be given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StatisticsError {
    /// A level that is no share.
    #[error("the level is {found}; expected a number between 0 and 1, such as 0.95")]
    Level {
        /// What it is.
        found: f64,
    },
    /// More successes than trials, or no trials.
    #[error("found {successes} successes of {trials}; expected at most as many, of 1 or more")]
    Share {
        /// The successes.
        successes: u64,
        /// The trials.
        trials: u64,
    },
    /// Too few questions to say how much they vary.
    #[error("found values of {found} questions; an interval takes 2 or more")]
    TooFew {
        /// The questions.
        found: usize,
    },
    /// No resamples.
    #[error("found {found} resamples; expected 1 to 10000000, such as 10000")]
    Resamples {
        /// What was asked for.
        found: usize,
    },
    /// A value that is no finite number.
    #[error("question '{question}' has the value {found}; expected a finite number")]
    Value {
        /// The question.
        question: String,
        /// The value.
        found: f64,
    },
    /// Two runs do not have the same questions.
    #[error(
        "question '{question}' is in {present} run only; \
         compare two runs on the same questions"
    )]
    Unpaired {
        /// The first question that one lacks.
        question: String,
        /// Which has it: the first or the second.
        present: &'static str,
    },
    /// A number that is no probability.
    #[error("p-value {number} (they count from 1) is {found}; expected a number from 0 to 1")]
    Probability {
        /// Which, from 1.
        number: usize,
        /// What it is.
        found: f64,
    },
}

/// A figure and the interval around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How a bootstrap is drawn. The default is 10,000 resamples at a level of .95.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resampling {
    /// The seed; the same seed gives the same bits, in whatever order the values come.
    pub seed: u64,
    /// How many times the questions are drawn again.
    pub resamples: usize,
    /// The share of cases in which an interval is to hold the true value.
    pub level: f64,
}

impl Default for Resampling {
    fn default() -> Resampling {
        Resampling { seed: 0, resamples: 10_000, level: 0.95 }
    }
}

/// The difference of two runs on the same questions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The second run's mean less the first one's, with its interval.
    pub difference: Estimate,
    /// The share of resamples of no difference at all that lie as far from 0 as what was seen, on
    /// either side; with what was seen counted among them, it is never 0.
    pub p_value: f64,
    /// The questions.
    pub questions: usize,
}

/// Returns the interval of Wilson (1927) around a share: the shares that a test at this level does
/// not reject. It keeps its level where the normal one does not: few trials, shares near 0 or 1.
///
/// # Errors
/// `Share`; `Level`.
pub fn wilson(successes: u64, trials: u64, level: f64) -> Result<Estimate, StatisticsError> {
    let (share, n, z) = checked(successes, trials, level)?;
    let width = 1.0 + z * z / n;
    let middle = (share + z * z / (2.0 * n)) / width;
    let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt() / width;
    // At the ends rounding must not put the share itself outside.
    let low = if successes == 0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if successes == trials { 1.0 } else { (middle + half).min(1.0) };
    Ok(Estimate { value: share, low, high })
}

/// Returns the normal interval of a share, p -+ z sqrt(p (1 - p) / n), as the SWiRL paper gives it
/// with z = 1.96. It may reach beyond 0 and 1, and has no width at a share of 0 or 1.
///
/// # Errors
/// `Share`; `Level`.
pub fn normal(successes: u64, trials: u64, level: f64) -> Result<Estimate, StatisticsError> {
    let (share, n, z) = checked(successes, trials, level)?;
    let half = z * (share * (1.0 - share) / n).sqrt();
    Ok(Estimate { value: share, low: share - half, high: share + half })
}

fn checked(successes: u64, trials: u64, level: f64) -> Result<(f64, f64, f64), StatisticsError> {
    if successes > trials || trials == 0 {
        return Err(StatisticsError::Share { successes, trials });
    }
    let z = quantile_of_level(level)?;
    Ok((successes as f64 / trials as f64, trials as f64, z))
}

/// Returns the z between whose negative and itself the standard normal distribution has the share
/// `level`: 1.96 of .95. Found by bisection, with the error function of `libm`, which is the same
/// on every machine.
fn quantile_of_level(level: f64) -> Result<f64, StatisticsError> {
    if !(level > 0.0 && level < 1.0) {
        return Err(StatisticsError::Level { found: level });
    }
    let (mut low, mut high) = (0.0_f64, 40.0_f64);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        let outside = libm::erfc(middle / std::f64::consts::SQRT_2);
        if outside > 1.0 - level { low = middle } else { high = middle }
    }
    Ok(f64::midpoint(low, high))
}

/// Returns the mean over questions of the mean of each question's values, with the interval of a
/// bootstrap that draws whole questions (a cluster bootstrap, by percentiles: Efron 1979; Field and
/// Welsh 2007): samples of one question are not independent, and drawing single rows would make the
/// interval too narrow.
///
/// # Errors
/// `Value`; `TooFew` below 2 questions; `Level`; `Resamples`.
pub fn bootstrap<'a>(
    values: impl IntoIterator<Item = (&'a str, f64)>,
    drawn: Resampling,
) -> Result<Estimate, StatisticsError> {
    let means: Vec<f64> = means(values)?.into_values().collect();
    let (value, drawn_means) = resample(&means, "bootstrap", drawn)?;
    Ok(between(value, drawn_means, drawn.level))
}

/// Returns by how much the second of two runs on the same questions is better than the first, by
/// a paired bootstrap over questions: the difference of the means, its percentile interval, and the
/// two-sided p of the hypothesis that there is none, from the resamples moved to a mean of 0 (Efron
/// and Tibshirani 1993, chapter 16; one is added above and below as in Davison and Hinkley 1997).
///
/// # Errors
/// `Unpaired`; as [`bootstrap`].
pub fn paired_bootstrap<'a>(
    first: impl IntoIterator<Item = (&'a str, f64)>,
    second: impl IntoIterator<Item = (&'a str, f64)>,
    drawn: Resampling,
) -> Result<Comparison, StatisticsError> {
    let (first, second) = (means(first)?, means(second)?);
    let lacking = |one: &BTreeMap<&str, f64>, other: &BTreeMap<&str, f64>, present| {
        let question = one.keys().find(|question| !other.contains_key(*question))?;
        Some(StatisticsError::Unpaired { question: (*question).to_owned(), present })
    };
    let missing = lacking(&first, &second, "the first");
    if let Some(error) = missing.or_else(|| lacking(&second, &first, "the second")) {
        return Err(error);
    }
    let differences: Vec<f64> = first.iter().map(|(key, mean)| second[key] - mean).collect();
    let (value, drawn_means) = resample(&differences, "paired bootstrap", drawn)?;
    // A resample that is as far off but for rounding counts.
    let least = value.abs() - 1e-12;
    let far = drawn_means.iter().filter(|mean| (**mean - value).abs() >= least).count();
    let p_value = (far + 1) as f64 / (drawn_means.len() + 1) as f64;
    let difference = between(value, drawn_means, drawn.level);
    Ok(Comparison { difference, p_value, questions: differences.len() })
}

/// Returns the mean of each question's values, to the last bit the same in any order.
fn means<'a>(
    values: impl IntoIterator<Item = (&'a str, f64)>,
) -> Result<BTreeMap<&'a str, f64>, StatisticsError> {
    let mut by_question: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (question, value) in values {
        if !value.is_finite() {
            return Err(StatisticsError::Value { question: question.to_owned(), found: value });
        }
        by_question.entry(question).or_default().push(value);
    }
    let mean = |(question, mut values): (&'a str, Vec<f64>)| {
        values.sort_by(f64::total_cmp);
        (question, values.iter().sum::<f64>() / values.len() as f64)
    };
    Ok(by_question.into_iter().map(mean).collect())
}

/// Returns the mean of the questions and the means of the questions drawn again, in ascending
/// order.
fn resample(
    questions: &[f64],
    purpose: &str,
    drawn: Resampling,
) -> Result<(f64, Vec<f64>), StatisticsError> {
    const MOST: usize = 10_000_000;
    if questions.len() < 2 {
        return Err(StatisticsError::TooFew { found: questions.len() });
    }
    if !(drawn.level > 0.0 && drawn.level < 1.0) {
        return Err(StatisticsError::Level { found: drawn.level });
    }
    if !(1..=MOST).contains(&drawn.resamples) {
        return Err(StatisticsError::Resamples { found: drawn.resamples });
    }
    let n = questions.len();
    let mut random = Random::new(drawn.seed, purpose);
    let mut resampled = || {
        let sum: f64 = (0..n).map(|_| questions[random.below(n)]).sum();
        sum / n as f64
    };
    let mut drawn_means: Vec<f64> = (0..drawn.resamples).map(|_| resampled()).collect();
    drawn_means.sort_by(f64::total_cmp);
    Ok((questions.iter().sum::<f64>() / n as f64, drawn_means))
}

/// Returns the percentiles of ascending values, between two of them by their distance.
fn between(value: f64, ascending: Vec<f64>, level: f64) -> Estimate {
    let at = |share: f64| {
        let place = share * (ascending.len() - 1) as f64;
        let (below, part) = (place.floor(), place - place.floor());
        let (low, high) = (ascending[below as usize], ascending[place.ceil() as usize]);
        low + part * (high - low)
    };
    let outside = (1.0 - level) / 2.0;
    Estimate { value, low: at(outside), high: at(1.0 - outside) }
}
