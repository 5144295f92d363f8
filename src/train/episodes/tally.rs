//! What a step is told by.

use super::player::{Played, Worth};

/// Counts and sums over the trajectories of a generation, or of a held-out set.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    trajectories: usize,
    /// Tokens of actions.
    pub(super) tokens: usize,
    pub(super) actions: usize,
    /// Trajectories with an action that was cut.
    clipped: usize,
    /// Values of trajectories that have one, those without an answer included.
    rewards: Vec<f64>,
    /// For each question the deviation of its values.
    pub(super) deviations: Vec<f64>,
    pub(super) judged: usize,
    pub(super) failed: usize,
    /// Why the first verdict failed.
    pub(super) first_failure: Option<String>,
    pub(super) dropped_groups: usize,
    /// The sum of the log-probabilities of sampled tokens.
    pub(super) log_prob: f64,
    /// The largest distance of the sampler's log-probabilities from the trainer's.
    pub(super) distance: f64,
    counts: Vec<(&'static str, f64)>,
}

impl Tally {
    /// Adds a trajectory.
    pub(super) fn add(&mut self, played: &Played, malformed: f64) {
        self.trajectories += 1;
        for turn in &played.turns {
            self.actions += usize::from(!turn.action.is_empty());
            self.tokens += turn.action.len();
            self.log_prob += turn.log_probs.iter().map(|l| f64::from(*l)).sum::<f64>();
        }
        self.clipped += usize::from(played.turns.iter().any(|turn| !turn.ended));
        match &played.worth {
            Worth::Value(value) => {
                self.judged += 1;
                self.rewards.push(*value);
            }
            Worth::Unanswered => self.rewards.push(malformed),
            Worth::Failed(why) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| why.clone());
            }
        }
        for (name, count) in &played.counts {
            match self.counts.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += count,
                None => self.counts.push((name, *count)),
            }
        }
    }

    /// Returns the mean value of the trajectories; 0 without any.
    pub(super) fn reward(&self) -> f64 {
        self.rewards.iter().sum::<f64>() / self.rewards.len().max(1) as f64
    }

    /// Returns the numbers of a held-out set: counts by name are means over trajectories.
    pub(super) fn held_out(&self) -> Vec<(&'static str, f64)> {
        let trajectories = self.trajectories.max(1) as f64;
        let mut metrics = vec![
            ("reward", self.reward()),
            ("completions/mean_length", self.tokens as f64 / trajectories),
            ("completions/clipped_ratio", self.clipped as f64 / trajectories),
            ("judged", self.judged as f64),
            ("judge_failures", self.failed as f64),
        ];
        metrics.extend(self.counts.iter().map(|(name, sum)| (*name, sum / trajectories)));
        let of = |wanted: &str| {
            self.counts.iter().find(|(name, _)| *name == wanted).map(|(_, count)| *count)
        };
        // TRL's names for what tools do.
        if let (Some(calls), Some(errors)) = (of("episodes/calls"), of("episodes/tool_errors")) {
            metrics.push(("tools/call_frequency", calls / trajectories));
            metrics.push(("tools/failure_frequency", errors / calls.max(1.0)));
        }
        metrics
    }

    /// Returns the numbers of an optimiser step, under TRL's names where it has them.
    pub(super) fn step(&self) -> Vec<(&'static str, f64)> {
        let groups = self.deviations.len().max(1) as f64;
        let zero = self.deviations.iter().filter(|deviation| **deviation == 0.0).count();
        let mut metrics = self.held_out();
        metrics.extend([
            ("reward_std", self.deviations.iter().sum::<f64>() / groups),
            ("frac_reward_zero_std", zero as f64 / groups),
            ("entropy", -self.log_prob / self.tokens.max(1) as f64),
            ("dropped_groups", self.dropped_groups as f64),
            ("sampling/sampling_logp_difference/max", self.distance),
        ]);
        metrics
    }
}
