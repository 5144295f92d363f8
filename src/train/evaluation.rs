//! Scoring: the log-probability of actions under a model, without training it.

use crate::lm::{Branch, Decoder, Packed};

use super::batch::Batch;
use super::error::TrainError;
use super::example::Row;
use super::order::cut_by_tokens;
use super::sequence::{ActionSpan, Sequence};

/// The score of one action.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionScore {
    /// Which sub-trajectory it is.
    pub row: Row,
    /// The log-probability of each of its tokens, the end of turn included.
    pub log_probs: Vec<f32>,
}

/// The scores of a set of actions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The actions, in the order of the sequences.
    pub actions: Vec<ActionScore>,
}

impl ActionScore {
    /// Returns the log-probability of the whole action.
    pub fn sum(&self) -> f64 {
        self.log_probs.iter().map(|l| f64::from(*l)).sum()
    }

    /// Returns the mean over its tokens.
    pub fn mean(&self) -> f64 {
        self.sum() / self.log_probs.len().max(1) as f64
    }
}

impl Evaluation {
    /// Returns the number of tokens scored.
    pub fn tokens(&self) -> usize {
        self.actions.iter().map(|a| a.log_probs.len()).sum()
    }

    /// Returns the mean over tokens of the negative log-probability; 0 for no actions.
    pub fn loss(&self) -> f64 {
        -self.actions.iter().map(ActionScore::sum).sum::<f64>() / self.tokens().max(1) as f64
    }

    /// Returns the mean over actions of their log-probability; 0 for no actions.
    pub fn log_prob(&self) -> f64 {
        let sum: f64 = self.actions.iter().map(ActionScore::sum).sum();
        sum / self.actions.len().max(1) as f64
    }
}

/// Returns the score of every marked action, in forward passes of at most `tokens_per_batch`
/// tokens, or one sequence.
///
/// # Errors
/// A model that fails.
pub fn evaluate(
    decoder: &Decoder,
    sequences: &[Sequence],
    tokens_per_batch: u64,
) -> Result<Evaluation, TrainError> {
    let decoder = decoder.detached();
    let order: Vec<usize> = (0..sequences.len()).collect();
    let mut evaluation = Evaluation::default();
    for indexes in cut_by_tokens(sequences, &order, tokens_per_batch) {
        let batch = Batch::new(sequences, &indexes);
        let values: Vec<f32> = batch.log_probs(&decoder)?.to_vec1()?;
        let score = |(_, _, span, own): (_, _, &ActionSpan, &[f32])| ActionScore {
            row: span.row.clone(),
            log_probs: own.to_vec(),
        };
        evaluation.actions.extend(batch.split(&values).map(score));
    }
    Ok(evaluation)
}

/// Returns what [`evaluate`] returns, up to rounding, for sequences that have one action each:
/// where the states of neighbours are beginnings of one another, their tokens are computed once.
/// Actions that were proposed at the states of one trajectory are such neighbours.
///
/// # Errors
/// A model that fails.
pub fn evaluate_shared(
    decoder: &Decoder,
    sequences: &[Sequence],
    tokens_per_batch: u64,
) -> Result<Evaluation, TrainError> {
    let decoder = decoder.detached();
    let mut evaluation = Evaluation::default();
    let mut rest = sequences;
    while !rest.is_empty() {
        let (trunk, count) = shared(rest, tokens_per_batch);
        let (group, after) = rest.split_at(count);
        rest = after;
        let mut packed = Packed { tokens: trunk.to_vec(), ..Packed::default() };
        packed.lengths.push(trunk.len());
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for sequence in group {
            let Some(ActionSpan { start, end, .. }) = sequence.actions.first() else { continue };
            let (prefix, action) = (*start, &sequence.tokens[*start..*end]);
            // The last token of the state predicts the first one of the action.
            rows.push(prefix.saturating_sub(1) as u32);
            let begin = packed.tokens.len();
            rows.extend((begin..begin + action.len().saturating_sub(1)).map(|row| row as u32));
            targets.extend_from_slice(action);
            packed.tokens.extend_from_slice(action);
            packed.branches.push(Branch { sequence: 0, prefix, length: action.len() });
        }
        let hidden = decoder.hidden(&packed)?;
        let values: Vec<f32> = decoder.log_probs(&hidden, &rows, &targets)?.to_vec1()?;
        let mut values = values.as_slice();
        for span in group.iter().filter_map(|sequence| sequence.actions.first()) {
            let (own, after) = values.split_at((span.end - span.start).min(values.len()));
            values = after;
            evaluation.actions.push(ActionScore { row: span.row.clone(), log_probs: own.to_vec() });
        }
    }
    Ok(evaluation)
}

/// Returns the longest state of the first sequences whose states are beginnings of it, and how many
/// they are: one, or as many as make no more than `budget` tokens.
fn shared(sequences: &[Sequence], budget: u64) -> (&[u32], usize) {
    let mut trunk: &[u32] = &[];
    let (mut count, mut behind) = (0, 0);
    for sequence in sequences {
        let span = sequence.actions.first().map_or(0..0, |action| action.start..action.end);
        let state = &sequence.tokens[..span.start];
        let (short, long) = if state.len() < trunk.len() { (state, trunk) } else { (trunk, state) };
        let tokens = (long.len() + behind + span.len()) as u64;
        if count > 0 && (!long.starts_with(short) || tokens > budget) {
            break;
        }
        trunk = long;
        behind += span.len();
        count += 1;
    }
    (trunk, count)
}
