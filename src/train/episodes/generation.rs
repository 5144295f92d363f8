//! What was played at a time: its advantages, its sequences.

use crate::train::advantage::{DEVIATION_EPSILON, moments};
use crate::train::config::{ScaleRewards, TrainConfig};
use crate::train::example::Row;
use crate::train::objective::GroupCounts;
use crate::train::sequence::{ActionSpan, Sequence};

use super::player::{Played, Turn, Worth};
use super::tally::Tally;

/// A trajectory of a generation.
#[derive(Clone, Debug)]
pub(super) struct Trajectory {
    pub(super) row: Row,
    pub(super) number: usize,
    pub(super) turns: Vec<Turn>,
    /// What its answer is worth; `None`: its judge failed.
    pub(super) reward: Option<f64>,
    /// `None`: it was left out, or all others of its question were.
    pub(super) advantage: Option<f64>,
}

/// A sequence of a generation: all actions of a trajectory, or those that stand apart.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Whose actions it holds.
    pub(super) trajectory: usize,
    /// Their log-probabilities as the sampler computed them, action by action.
    pub(super) sampled: Vec<f32>,
    /// The same under the policy that played, by the forward pass of the first step on it.
    pub(super) old: Option<Vec<f32>>,
}

/// What was played at a time.
pub(in crate::train) struct Generation {
    /// The questions, by their sequences.
    pub(super) chosen: Vec<usize>,
    pub(super) trajectories: Vec<Trajectory>,
    /// What is trained on.
    pub(super) sequences: Vec<Sequence>,
    /// What is known of each sequence.
    pub(super) parts: Vec<Part>,
    /// The tokens of each trajectory's actions.
    pub(super) lengths: Vec<usize>,
    pub(super) counts: GroupCounts,
    pub(super) tally: Tally,
    /// Optimiser steps made on it.
    pub(super) steps: u64,
}

/// Returns the advantages of the rewards of one question's trajectories; `deviation` is that of all
/// rewards of the generation.
pub fn group_advantages(scaling: ScaleRewards, rewards: &[f64], deviation: f64) -> Vec<f64> {
    let (mean, of_group) = moments(rewards);
    let scale = match scaling {
        ScaleRewards::Group => of_group + DEVIATION_EPSILON,
        ScaleRewards::Batch => deviation + DEVIATION_EPSILON,
        ScaleRewards::None => 1.0,
    };
    // Of equal rewards the mean is exact, and so is the difference: zero.
    rewards.iter().map(|reward| (reward - mean) / scale).collect()
}

impl Generation {
    /// Returns what was played of the questions of `chosen`, question by question; `rows` say which
    /// episodes those are.
    pub(super) fn new(
        config: &TrainConfig,
        chosen: Vec<usize>,
        rows: Vec<(Row, usize)>,
        played: Vec<Played>,
    ) -> Generation {
        let mut tally = Tally::default();
        let mut trajectories = Vec::with_capacity(played.len());
        for ((row, number), played) in rows.into_iter().zip(played) {
            tally.add(&played, config.malformed());
            let reward = match played.worth {
                Worth::Value(value) => Some(value),
                Worth::Unanswered => Some(config.malformed()),
                Worth::Failed(_) => None,
            };
            let turns = played.turns;
            trajectories.push(Trajectory { row, number, turns, reward, advantage: None });
        }
        weigh(config.scaling(), &mut trajectories, &mut tally);
        let mut generation = Generation {
            chosen,
            trajectories,
            sequences: Vec::new(),
            parts: Vec::new(),
            lengths: Vec::new(),
            counts: GroupCounts::default(),
            tally,
            steps: 0,
        };
        generation.arrange(config.group_divergence() > 0.0);
        generation
    }

    /// Makes sequences of the trajectories that have an advantage; of those that have one of zero
    /// only where something else in the loss acts on them.
    fn arrange(&mut self, keeps_zero: bool) {
        for (index, trajectory) in self.trajectories.iter().enumerate() {
            let tokens = trajectory.turns.iter().map(|turn| turn.action.len()).sum();
            self.lengths.push(tokens);
            let Some(advantage) = trajectory.advantage else { continue };
            self.counts.trajectories += 1;
            self.counts.tokens += tokens;
            if advantage == 0.0 && !keeps_zero {
                continue;
            }
            for (sequence, sampled) in sequences(&trajectory.row, &trajectory.turns) {
                self.sequences.push(sequence);
                self.parts.push(Part { trajectory: index, sampled, old: None });
            }
        }
    }
}

/// Gives each trajectory its advantage, question by question.
fn weigh(scaling: ScaleRewards, trajectories: &mut [Trajectory], tally: &mut Tally) {
    let all: Vec<f64> = trajectories.iter().filter_map(|one| one.reward).collect();
    let (_, of_all) = moments(&all);
    for group in trajectories.chunk_by_mut(|a, b| a.row == b.row) {
        let rewards: Vec<f64> = group.iter().filter_map(|one| one.reward).collect();
        if rewards.len() < 2 {
            tally.dropped_groups += 1;
            continue;
        }
        tally.deviations.push(moments(&rewards).1);
        let mut advantages = group_advantages(scaling, &rewards, of_all).into_iter();
        for one in group.iter_mut().filter(|one| one.reward.is_some()) {
            one.advantage = advantages.next();
        }
    }
}

/// Returns the sequences that hold a trajectory's actions, with the log-probabilities of their
/// tokens: one, unless a state is not what was read and written before it.
fn sequences(row: &Row, turns: &[Turn]) -> Vec<(Sequence, Vec<f32>)> {
    let mut all: Vec<(Sequence, Vec<f32>)> = Vec::new();
    for (number, turn) in turns.iter().enumerate().filter(|(_, turn)| !turn.action.is_empty()) {
        let continues =
            |(last, _): &&mut (Sequence, Vec<f32>)| turn.state.starts_with(&last.tokens);
        if all.last_mut().filter(continues).is_none() {
            let (tokens, actions) = (Vec::new(), Vec::new());
            all.push((Sequence { key: row.key, tokens, actions, pair: None }, Vec::new()));
        }
        let Some((sequence, sampled)) = all.last_mut() else { continue };
        sequence.tokens.extend_from_slice(&turn.state[sequence.tokens.len()..]);
        let start = sequence.tokens.len();
        sequence.tokens.extend_from_slice(&turn.action);
        sampled.extend_from_slice(&turn.log_probs);
        sequence.actions.push(ActionSpan {
            row: Row { step: number as u32 + 1, ..row.clone() },
            start,
            end: sequence.tokens.len(),
            stored: true,
        });
    }
    all
}
