//! From rewards to the weights of actions.
//!
//! Offline all rewards are known before the first step, so weights are worked out once, over the
//! whole selection. "Batch" is all chosen rows of the run, a group all of one question.

use std::collections::{HashMap, HashSet};

use super::config::{AdvEstimator, Baseline, Objective, ScaleRewards, TrainConfig};
use super::error::TrainError;
use super::example::{ChosenStep, Example, Row};
use super::sequence::Sequence;

/// Added to deviations, as TRL does.
pub(super) const DEVIATION_EPSILON: f64 = 1e-4;

/// Added to the variance that advantages are whitened by, as verl does.
const VARIANCE_EPSILON: f64 = 1e-8;

/// For each sequence a number for each of its actions.
pub(super) type PerAction = Vec<Vec<f64>>;

/// The rows that are left after weighing, and how many went.
pub(super) struct Weighed {
    pub(super) examples: Vec<Example>,
    /// Reward and weight of each row left, by key and step.
    of_row: HashMap<(u64, u32), (f64, f64)>,
    pub(super) rows: usize,
    pub(super) zero_weight: usize,
    pub(super) no_baseline: usize,
}

impl Weighed {
    /// Returns the rows with their weights.
    ///
    /// # Errors
    /// No rows, a row twice, a weight that is no number, a label that is neither 1 nor 0, weights
    /// below zero and nothing that bounds the loss, nothing left.
    pub(super) fn new(config: &TrainConfig, examples: &[Example]) -> Result<Weighed, TrainError> {
        check_rows(config, examples)?;
        let mut weighed = Weighed {
            examples: Vec::new(),
            of_row: HashMap::new(),
            rows: examples.iter().map(|e| e.steps.len()).sum(),
            zero_weight: 0,
            no_baseline: 0,
        };
        let rule = Rule::new(config, examples);
        // A divergence acts on rows of weight zero too, a label of zero is one, and whitening
        // moves zero away.
        let whitens = rule.estimator == Some(AdvEstimator::ReinforcePlusPlusBaseline);
        let keeps_zero = config.kl() > 0.0 || config.objective == Objective::Kto || whitens;
        for example in examples {
            let mut steps = Vec::new();
            for chosen in &example.steps {
                match rule.weight(example, chosen.weight) {
                    None => weighed.no_baseline += 1,
                    Some(weight) if weight == 0.0 && !keeps_zero => weighed.zero_weight += 1,
                    Some(weight) => {
                        let key = (example.key, chosen.step);
                        weighed.of_row.insert(key, (chosen.weight, weight));
                        steps.push(ChosenStep { weight, ..chosen.clone() });
                    }
                }
            }
            if !steps.is_empty() {
                steps.sort_by_key(|chosen| chosen.step);
                weighed.examples.push(Example { steps, ..example.clone() });
            }
        }
        weighed.check(config)?;
        Ok(weighed)
    }

    /// Returns rows of which the states alone count, each with a weight of 1.
    ///
    /// # Errors
    /// No rows, a row twice.
    pub(super) fn states(
        config: &TrainConfig,
        examples: &[Example],
    ) -> Result<Weighed, TrainError> {
        let one = |example: &Example| {
            let mut steps = example.steps.clone();
            steps.iter_mut().for_each(|chosen| chosen.weight = 1.0);
            steps.sort_by_key(|chosen| chosen.step);
            Example { steps, ..example.clone() }
        };
        let examples: Vec<Example> = examples.iter().map(one).collect();
        check_rows(config, &examples)?;
        Ok(Weighed::unweighed(&examples))
    }

    /// Returns rows whose weights are what was handed in, for scoring.
    pub(super) fn unweighed(examples: &[Example]) -> Weighed {
        let all = examples.iter().flat_map(|e| e.steps.iter().map(move |s| (e, s)));
        Weighed {
            examples: examples.to_vec(),
            of_row: all.map(|(e, s)| ((e.key, s.step), (s.weight, s.weight))).collect(),
            rows: examples.iter().map(|e| e.steps.len()).sum(),
            zero_weight: 0,
            no_baseline: 0,
        }
    }

    fn check(&self, config: &TrainConfig) -> Result<(), TrainError> {
        if self.examples.is_empty() {
            return Err(self.empty());
        }
        let all = self.examples.iter().flat_map(|e| e.steps.iter().map(move |s| (e, s)));
        let negative: Vec<Row> =
            all.filter(|(_, s)| s.weight < 0.0).map(|(e, s)| Row::of(e, s.step)).collect();
        match negative.first() {
            Some(row) if !is_bounded(config) => {
                Err(TrainError::Unbounded { rows: negative.len(), row: row.clone() })
            }
            _ => Ok(()),
        }
    }

    fn empty(&self) -> TrainError {
        let (zero, lone) = (self.zero_weight, self.no_baseline);
        TrainError::Empty(format!(
            "of {} rows {zero} have a weight of zero and {lone} have no baseline",
            self.rows
        ))
    }

    /// Returns the rewards and the weights of all sequences' actions.
    ///
    /// # Errors
    /// Weights that are all zero, where that shows only now.
    pub(super) fn weights(
        &self,
        config: &TrainConfig,
        sequences: &[Sequence],
    ) -> Result<(PerAction, PerAction), TrainError> {
        let rewards = self.rewards(sequences);
        let mut weights = self.per_action(sequences, |both| both.1);
        if config.adv_estimator == Some(AdvEstimator::ReinforcePlusPlusBaseline) {
            whiten(sequences, &mut weights);
            let is_zero = weights.iter().flatten().all(|weight| *weight == 0.0);
            if is_zero && config.kl() == 0.0 {
                return Err(TrainError::Empty(format!(
                    "every one of {} rows has the mean reward of its question",
                    self.rows
                )));
            }
        }
        Ok((rewards, weights))
    }
}

impl Weighed {
    /// Returns the rewards of all sequences' actions.
    pub(super) fn rewards(&self, sequences: &[Sequence]) -> PerAction {
        self.per_action(sequences, |both| both.0)
    }

    fn per_action(&self, sequences: &[Sequence], part: fn((f64, f64)) -> f64) -> PerAction {
        let of_row = |row: &Row| self.of_row.get(&(row.key, row.step)).copied().unwrap_or_default();
        let all = |s: &Sequence| s.actions.iter().map(|a| part(of_row(&a.row))).collect();
        sequences.iter().map(all).collect()
    }
}

/// Whether a loss with weights below zero has a lower bound. Clipping stops a falling ratio; k2 and
/// k3 grow faster than the log-probability falls; the exact divergence does not: it stays finite
/// when one token's probability goes to zero.
fn is_bounded(config: &TrainConfig) -> bool {
    match config.objective {
        Objective::Sft => false,
        Objective::Reinforce => {
            config.epsilon.is_some() || (config.kl() > 0.0 && !config.needs_start_model())
        }
        Objective::Ppo | Objective::Dpo | Objective::Kto => true,
        Objective::Swirl | Objective::Grpo => true,
    }
}

/// Checks weights, and that every row is chosen once and every key belongs to one example.
fn check_rows(config: &TrainConfig, examples: &[Example]) -> Result<(), TrainError> {
    if examples.iter().all(|e| e.steps.is_empty()) {
        return Err(TrainError::Empty("the selection holds no row".to_owned()));
    }
    let mut seen = HashSet::new();
    for example in examples {
        for chosen in &example.steps {
            let row = || Row::of(example, chosen.step);
            let weight = chosen.weight;
            if !weight.is_finite() {
                return Err(TrainError::Weight { row: row(), weight });
            }
            if config.objective == Objective::Kto && weight != 0.0 && weight != 1.0 {
                return Err(TrainError::Label { row: row(), label: weight });
            }
            if !seen.insert((example.key, chosen.step)) {
                return Err(TrainError::Twice { row: row() });
            }
        }
    }
    Ok(())
}

/// The rewards of one question.
#[derive(Default)]
struct Group {
    /// For each trajectory its key, and the sum and number of its rewards.
    trajectories: Vec<(u64, f64, usize)>,
    rewards: Vec<f64>,
}

/// How a reward becomes a weight.
struct Rule {
    baseline: Baseline,
    estimator: Option<AdvEstimator>,
    scaling: ScaleRewards,
    groups: HashMap<String, Group>,
    /// Mean and deviation of all rewards.
    mean: f64,
    deviation: f64,
}

impl Rule {
    fn new(config: &TrainConfig, examples: &[Example]) -> Rule {
        let mut groups: HashMap<String, Group> = HashMap::new();
        for example in examples {
            let rewards: Vec<f64> = example.steps.iter().map(|s| s.weight).collect();
            let group = groups.entry(question_of(example)).or_default();
            group.trajectories.push((example.key, rewards.iter().sum(), rewards.len()));
            group.rewards.extend(rewards);
        }
        let all = || examples.iter().flat_map(|e| &e.steps).map(|s| s.weight);
        let (mean, deviation) = moments(&all().collect::<Vec<f64>>());
        let is_ppo = config.objective == Objective::Ppo;
        Rule {
            baseline: config.baseline(),
            estimator: is_ppo.then(|| config.adv_estimator.unwrap_or_default()),
            scaling: config.scaling(),
            groups,
            mean,
            deviation,
        }
    }

    /// Returns the weight of a row with this reward; `None` if there is nothing to compare with.
    fn weight(&self, example: &Example, reward: f64) -> Option<f64> {
        let group = || self.groups.get(&question_of(example));
        let Some(estimator) = self.estimator else {
            return match self.baseline {
                Baseline::None => Some(reward),
                Baseline::Mean => Some(reward - self.mean),
                Baseline::LeaveOneOut => Some(reward - group()?.mean_of_others(example.key)?),
            };
        };
        let group = group()?;
        let others = group.mean_of_others(example.key)?;
        let (mean, deviation) = moments(&group.rewards);
        let advantage = match estimator {
            AdvEstimator::Rloo => reward - others,
            AdvEstimator::Grpo | AdvEstimator::ReinforcePlusPlusBaseline => reward - mean,
        };
        Some(match self.scaling {
            ScaleRewards::Group => advantage / (deviation + DEVIATION_EPSILON),
            ScaleRewards::Batch => advantage / (self.deviation + DEVIATION_EPSILON),
            ScaleRewards::None => advantage,
        })
    }
}

impl Group {
    /// Returns the mean reward of the trajectories beside this one; `None` without any.
    fn mean_of_others(&self, key: u64) -> Option<f64> {
        let others = self.trajectories.iter().filter(|(other, _, _)| *other != key);
        let (sum, rows) = others.fold((0.0, 0), |(sum, rows), (_, s, n)| (sum + s, rows + n));
        (rows > 0).then(|| sum / rows as f64)
    }
}

/// Returns mean and standard deviation (of a sample: by n - 1); a deviation of one number is 0.
pub(super) fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    if let Some(first) = values.first()
        && values.iter().all(|value| value == first)
    {
        // Exactly: rounding must not make a small advantage of none.
        return (*first, 0.0);
    }
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

/// Moves and scales weights so that over all action tokens their mean is zero and their variance
/// one; each action counts as often as it has tokens, as in verl's `masked_whiten`.
fn whiten(sequences: &[Sequence], weights: &mut [Vec<f64>]) {
    let tokens = || sequences.iter().map(|s| s.actions.iter().map(|a| (a.end - a.start) as f64));
    let weighted = |values: &[Vec<f64>], of: &dyn Fn(f64) -> f64| {
        let pairs = tokens().zip(values).flat_map(|(n, w)| n.zip(w));
        pairs.map(|(n, w)| n * of(*w)).sum::<f64>()
    };
    let count: f64 = tokens().flatten().sum();
    let flat: Vec<f64> = weights.iter().flatten().copied().collect();
    let mean = match moments(&flat) {
        (same, 0.0) => same,
        _ => weighted(weights, &|w| w) / count,
    };
    let variance = weighted(weights, &|w| (w - mean).powi(2)) / (count - 1.0).max(1.0);
    let scale = 1.0 / (variance + VARIANCE_EPSILON).sqrt();
    for weight in weights.iter_mut().flatten() {
        *weight = (*weight - mean) * scale;
    }
}

/// Returns the question that an example answers: its id, else its text; without either the
/// example is a group of its own.
fn question_of(example: &Example) -> String {
    let of = &example.trajectory;
    match (&of.question_id, &of.question) {
        (Some(id), _) => format!("id {} {id}", of.source),
        (None, Some(question)) => format!("text {question}"),
        (None, None) => format!("key {}", example.key),
    }
}
