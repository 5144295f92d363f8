//! Scoring: the log-probability of actions under a model, without training it.

use crate::lm::Decoder;

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
