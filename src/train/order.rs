//! Which sequences an optimiser step holds: a pure function of data, seed and epoch.
//!
//! The order of an epoch is the order of BLAKE3(seed, epoch, source, id, step) over its sequences.
//! Nothing is carried from epoch to epoch, so a position is two numbers and a resumed run needs no
//! state of a generator; no library's shuffle can change the order of an old run, and no database
//! that the rows come from either.
//!
//! The two sequences of a pair have one place in it, and nothing is cut between them.

use super::sequence::Sequence;

/// Returns the indexes of the sequences in the order of epoch `epoch`, from 0.
pub fn epoch_order(sequences: &[Sequence], seed: u64, epoch: u64) -> Vec<usize> {
    let place = |index: &usize| {
        let sequence = &sequences[*index];
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"swirldb training order 2");
        hasher.update(&seed.to_le_bytes()).update(&epoch.to_le_bytes());
        match (sequence.pair, sequence.actions.first()) {
            (Some(pair), _) => {
                hasher.update(b"pair").update(&pair.to_le_bytes());
            }
            (None, Some(first)) => {
                for text in [&first.row.source, &first.row.id] {
                    hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
                }
                hasher.update(&first.row.step.to_le_bytes());
            }
            (None, None) => {}
        }
        (*hasher.finalize().as_bytes(), *index)
    };
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_cached_key(place);
    order
}

/// Cuts an order into runs of at most `budget` tokens, each of at least one sequence, or one pair.
pub fn cut_by_tokens(sequences: &[Sequence], order: &[usize], budget: u64) -> Vec<Vec<usize>> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0u64;
    let pair = |index: &usize| sequences[*index].pair;
    for unit in order.chunk_by(|a, b| pair(a).is_some() && pair(a) == pair(b)) {
        let length: u64 = unit.iter().map(|index| sequences[*index].tokens.len() as u64).sum();
        match runs.last_mut() {
            Some(run) if tokens + length <= budget => {
                run.extend_from_slice(unit);
                tokens += length;
            }
            _ => {
                runs.push(unit.to_vec());
                tokens = length;
            }
        }
    }
    runs
}

/// What goes together: into an optimiser step, or into several on the same samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// Sequences while they have at most so many tokens, at least one.
    Tokens(u64),
    /// So many sequences, for so many optimiser steps.
    Sequences {
        /// The sequences.
        count: usize,
        /// The steps.
        steps: u64,
    },
}

/// Where a run stands and what comes next.
#[derive(Clone, Debug)]
pub struct Course<'a> {
    sequences: &'a [Sequence],
    seed: u64,
    together: Together,
    /// Optimiser steps of the whole run.
    pub steps_total: u64,
    /// The epoch of the next step, from 0.
    pub epoch: u64,
    /// The next step within its epoch, from 0; where several steps go together, their number.
    pub index: u64,
    steps_of_epoch: Vec<Vec<usize>>,
}

impl<'a> Course<'a> {
    /// Returns the course of a run over the sequences, at its beginning. `max_steps` overrides
    /// `epochs`.
    pub fn new(
        sequences: &'a [Sequence],
        seed: u64,
        together: Together,
        epochs: u64,
        max_steps: Option<u64>,
    ) -> Course<'a> {
        let mut course = Course {
            sequences,
            seed,
            together,
            steps_total: 0,
            epoch: 0,
            index: 0,
            steps_of_epoch: Vec::new(),
        };
        let repeated = match together {
            Together::Tokens(_) => 1,
            Together::Sequences { steps, .. } => steps,
        };
        let of_epoch = |epoch| course.steps_of(epoch).len() as u64 * repeated;
        course.steps_total = max_steps.unwrap_or_else(|| (0..epochs).map(of_epoch).sum());
        course.steps_of_epoch = course.steps_of(0);
        course
    }

    fn steps_of(&self, epoch: u64) -> Vec<Vec<usize>> {
        let order = epoch_order(self.sequences, self.seed, epoch);
        match self.together {
            Together::Tokens(budget) => cut_by_tokens(self.sequences, &order, budget),
            Together::Sequences { count, .. } => {
                order.chunks(count.max(1)).map(<[usize]>::to_vec).collect()
            }
        }
    }

    /// Returns the sequences of the next optimiser step and moves on.
    pub fn advance(&mut self) -> Vec<usize> {
        let step = self.steps_of_epoch.get(self.index as usize).cloned().unwrap_or_default();
        self.index += 1;
        if self.index as usize >= self.steps_of_epoch.len() {
            self.epoch += 1;
            self.index = 0;
            self.steps_of_epoch = self.steps_of(self.epoch);
        }
        step
    }

    /// Moves to a position that an earlier run stored.
    pub fn seek(&mut self, epoch: u64, index: u64) {
        self.epoch = epoch;
        self.index = index;
        self.steps_of_epoch = self.steps_of(epoch);
    }

    /// Returns the part of the data seen so far, in epochs.
    pub fn epochs_seen(&self) -> f64 {
        self.epoch as f64 + self.index as f64 / self.steps_of_epoch.len().max(1) as f64
    }
}
