//! From verdicts to advantages, state by state.

use crate::train::config::Baseline;

/// Returns for each reward its distance from the mean of the others, 0 for a single one.
pub fn leave_one_out(rewards: &[f64]) -> Vec<f64> {
    let others = rewards.len().saturating_sub(1).max(1) as f64;
    let advantage = |(at, reward): (usize, &f64)| {
        let rest = rewards.iter().enumerate().filter(|(other, _)| *other != at);
        // A sum of differences: equal rewards have advantages of exactly zero.
        rest.map(|(_, other)| reward - other).sum::<f64>() / others
    };
    rewards.iter().enumerate().map(advantage).collect()
}

/// Returns the advantages of one state's rewards.
pub(super) fn advantages(baseline: Baseline, rewards: &[f64]) -> Vec<f64> {
    match baseline {
        Baseline::LeaveOneOut => leave_one_out(rewards),
        Baseline::None | Baseline::Mean => rewards.to_vec(),
    }
}

/// Returns how many samples a state needs to be trained on.
pub(super) fn samples_min(baseline: Baseline) -> usize {
    match baseline {
        Baseline::LeaveOneOut => 2,
        Baseline::None | Baseline::Mean => 1,
    }
}
