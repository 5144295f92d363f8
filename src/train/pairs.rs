//! Pairs of actions at one state.

use std::collections::BTreeMap;

use super::encoder::Encoded;
use super::error::TrainError;
use super::example::{ChosenStep, Example, Row};
use super::sequence::{Encoding, Sequence};

/// The two actions of a pair as examples of one step each, chosen first.
pub(super) struct Pairs {
    ids: Vec<u64>,
    /// Twice as many as pairs.
    pub(super) examples: Vec<Example>,
}

/// The sides of a pair while they are collected.
#[derive(Default)]
struct Sides<'a> {
    chosen: Option<(&'a Example, &'a ChosenStep)>,
    rejected: Option<(&'a Example, &'a ChosenStep)>,
}

impl Pairs {
    /// Returns the pairs of all rows, in the order of their ids.
    ///
    /// # Errors
    /// No rows, a row in no pair, a pair without one of its sides or with two of one.
    pub(super) fn new(examples: &[Example]) -> Result<Pairs, TrainError> {
        let mut all: BTreeMap<u64, Sides<'_>> = BTreeMap::new();
        for example in examples {
            for chosen in &example.steps {
                let row = || Row::of(example, chosen.step);
                let Some(pair) = chosen.pair else {
                    return Err(TrainError::Unpaired { row: row(), missing: "pair" });
                };
                let sides = all.entry(pair.id).or_default();
                let side = if pair.chosen { &mut sides.chosen } else { &mut sides.rejected };
                if side.replace((example, chosen)).is_some() {
                    return Err(TrainError::PairSide { row: row(), pair: pair.id });
                }
            }
        }
        if all.is_empty() {
            return Err(TrainError::Empty("the selection holds no pair".to_owned()));
        }
        let mut pairs = Pairs { ids: Vec::new(), examples: Vec::new() };
        for (id, sides) in all {
            let (chosen, rejected) = match (sides.chosen, sides.rejected) {
                (Some(chosen), Some(rejected)) => (chosen, rejected),
                (Some((example, lone)), None) => {
                    let row = Row::of(example, lone.step);
                    return Err(TrainError::Unpaired { row, missing: "rejected action" });
                }
                (None, Some((example, lone))) => {
                    let row = Row::of(example, lone.step);
                    return Err(TrainError::Unpaired { row, missing: "chosen action" });
                }
                (None, None) => continue,
            };
            pairs.ids.push(id);
            for (example, step) in [chosen, rejected] {
                pairs.examples.push(Example { steps: vec![step.clone()], ..example.clone() });
            }
        }
        Ok(pairs)
    }

    /// Returns the sequences of all pairs, chosen and rejected in turns, and what became of their
    /// rows; `each` is what came of the examples. A pair that loses one side to `max_length` loses
    /// both.
    ///
    /// # Errors
    /// The first of encoding; a pair whose states differ in their tokens.
    pub(super) fn join(&self, each: Vec<Encoded>) -> Result<(Vec<Sequence>, Encoding), TrainError> {
        let mut encoding = Encoding::default();
        let mut sides = Vec::with_capacity(each.len());
        for one in each {
            let (sequences, of_one) = one?;
            encoding.add(of_one);
            sides.push(sequences);
        }
        let mut sequences = Vec::new();
        let mut each = sides.into_iter();
        for id in &self.ids {
            let mut side = || each.next().unwrap_or_default().into_iter().next();
            match (side(), side()) {
                (Some(chosen), Some(rejected)) => {
                    check_states(*id, &chosen, &rejected)?;
                    for sequence in [chosen, rejected] {
                        sequences.push(Sequence { pair: Some(*id), ..sequence });
                    }
                }
                (Some(_), None) | (None, Some(_)) => encoding.dropped += 1,
                (None, None) => {}
            }
        }
        let actions = sequences.iter().flat_map(|sequence: &Sequence| &sequence.actions);
        encoding.stored = actions.filter(|action| action.stored).count();
        Ok((sequences, encoding))
    }
}

/// Checks that two actions follow the same tokens.
fn check_states(pair: u64, chosen: &Sequence, rejected: &Sequence) -> Result<(), TrainError> {
    let (Some(up), Some(down)) = (chosen.actions.first(), rejected.actions.first()) else {
        return Ok(());
    };
    let (a, b) = (&chosen.tokens[..up.start], &rejected.tokens[..down.start]);
    if a == b {
        return Ok(());
    }
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
    Err(TrainError::PairStates {
        pair,
        chosen: up.row.clone(),
        rejected: down.row.clone(),
        position: at,
        lengths: (a.len(), b.len()),
    })
}
