//! What a step is told by.

use super::form::Malformed;

/// Counts and sums over the samples of one optimiser step, or of a held-out set.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Samples, and the sum of their tokens.
    pub(super) samples: usize,
    pub(super) tokens: usize,
    pub(super) clipped: usize,
    /// Values of samples that have one, malformed ones included.
    pub(super) rewards: Vec<f64>,
    /// For each state that is trained on the deviation of its values.
    pub(super) deviations: Vec<f64>,
    pub(super) judged: usize,
    pub(super) failed: usize,
    pub(super) dropped_states: usize,
    pub(super) cut: usize,
    pub(super) unreadable: usize,
    pub(super) nothing: usize,
    pub(super) several: usize,
    /// Minus the sum of the log-probabilities of sampled tokens, and their number.
    pub(super) surprise: (f64, usize),
    /// The largest distance of the sampler's log-probabilities from the trainer's.
    pub(super) distance: f64,
}

impl Tally {
    pub(super) fn malformed(&mut self, why: &Malformed) {
        match why {
            Malformed::Cut => self.cut += 1,
            Malformed::Unreadable(_) => self.unreadable += 1,
            Malformed::Nothing => self.nothing += 1,
            Malformed::Several => self.several += 1,
        }
    }

    /// Returns the mean value of the samples; 0 without any.
    pub(super) fn reward(&self) -> f64 {
        self.rewards.iter().sum::<f64>() / self.rewards.len().max(1) as f64
    }

    /// Returns the numbers of a held-out set.
    pub(super) fn held_out(&self) -> Vec<(&'static str, f64)> {
        let of_samples = |count: usize| count as f64 / self.samples.max(1) as f64;
        vec![
            ("reward", self.reward()),
            ("completions/mean_length", of_samples(self.tokens)),
            ("completions/clipped_ratio", of_samples(self.clipped)),
            ("judged", self.judged as f64),
            ("judge_failures", self.failed as f64),
            ("malformed/cut", self.cut as f64),
            ("malformed/unreadable", self.unreadable as f64),
            ("malformed/nothing", self.nothing as f64),
            ("malformed/several", self.several as f64),
        ]
    }

    /// Returns the numbers of an optimiser step, under TRL's names where it has them.
    pub(super) fn step(&self) -> Vec<(&'static str, f64)> {
        let states = self.deviations.len().max(1) as f64;
        let zero = self.deviations.iter().filter(|deviation| **deviation == 0.0).count();
        let (surprise, tokens) = self.surprise;
        let mut metrics = self.held_out();
        metrics.extend([
            ("reward_std", self.deviations.iter().sum::<f64>() / states),
            ("frac_reward_zero_std", zero as f64 / states),
            ("entropy", surprise / tokens.max(1) as f64),
            ("dropped_states", self.dropped_states as f64),
            ("sampling/sampling_logp_difference/max", self.distance),
        ]);
        metrics
    }
}

/// Returns the deviation of a sample, by n - 1; exactly 0 for equal numbers.
pub(super) fn deviation(values: &[f64]) -> f64 {
    if values.windows(2).all(|pair| pair[0] == pair[1]) {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}
