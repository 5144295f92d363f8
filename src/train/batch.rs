//! One forward pass: sequences packed, and the rows whose predictions are asked for.

use candle_core::Tensor;

use crate::lm::{Decoder, Packed};

use super::error::TrainError;
use super::sequence::{ActionSpan, Sequence};

/// Sequences of one forward pass.
#[derive(Clone, Debug)]
pub(super) struct Batch<'a> {
    packed: Packed,
    /// For each action token the row before it, which predicts it; then the same for the context.
    rows: Vec<u32>,
    /// The action tokens, then those of the context.
    targets: Vec<u32>,
    /// The actions: sequence, index in it, and the span.
    actions: Vec<(usize, usize, &'a ActionSpan)>,
}

impl<'a> Batch<'a> {
    /// Packs the sequences at `indexes`.
    pub(super) fn new(sequences: &'a [Sequence], indexes: &[usize]) -> Batch<'a> {
        let mut batch = Batch {
            packed: Packed::default(),
            rows: Vec::new(),
            targets: Vec::new(),
            actions: Vec::new(),
        };
        for index in indexes {
            let sequence = &sequences[*index];
            let before = batch.packed.tokens.len();
            for (number, action) in sequence.actions.iter().enumerate() {
                // An action never begins a sequence: the head of its turn stands before it.
                let predicts = |at: usize| (before + at).saturating_sub(1) as u32;
                batch.rows.extend((action.start..action.end).map(predicts));
                batch.targets.extend_from_slice(&sequence.tokens[action.start..action.end]);
                batch.actions.push((*index, number, action));
            }
            batch.packed.tokens.extend_from_slice(&sequence.tokens);
            batch.packed.lengths.push(sequence.tokens.len());
        }
        batch
    }

    /// Returns the batch of the sequences at `indexes` whose other tokens, but the first of each,
    /// are asked for too: they stand behind all action tokens.
    pub(super) fn with_context(sequences: &'a [Sequence], indexes: &[usize]) -> Batch<'a> {
        let mut batch = Batch::new(sequences, indexes);
        let mut before = 0;
        for index in indexes {
            let Sequence { tokens, actions, .. } = &sequences[*index];
            let is_context = |at: &usize| !actions.iter().any(|a| (a.start..a.end).contains(at));
            for at in (1..tokens.len()).filter(is_context) {
                batch.rows.push((before + at - 1) as u32);
                batch.targets.push(tokens[at]);
            }
            before += tokens.len();
        }
        batch
    }

    /// Returns the log-probability of every token that is asked for, `[tokens]` in f32.
    pub(super) fn log_probs(&self, decoder: &Decoder) -> Result<Tensor, TrainError> {
        let hidden = decoder.hidden(&self.packed)?;
        Ok(decoder.log_probs(&hidden, &self.rows, &self.targets)?)
    }

    /// Returns the log-probability of every action token and the divergence of the distribution
    /// there from that of `reference`, each `[action tokens]` in f32.
    pub(super) fn log_probs_and_divergence(
        &self,
        decoder: &Decoder,
        reference: &Decoder,
    ) -> Result<(Tensor, Tensor), TrainError> {
        let (hidden, other) = (decoder.hidden(&self.packed)?, reference.hidden(&self.packed)?);
        let (rows, targets) = (&self.rows, &self.targets);
        Ok(decoder.log_probs_and_divergence(&hidden, rows, targets, reference, &other)?)
    }

    /// Returns each action (sequence, index in it, span) with its part of `values`, which has one
    /// number for each action token.
    pub(super) fn split<'v>(
        &self,
        values: &'v [f32],
    ) -> impl Iterator<Item = (usize, usize, &'a ActionSpan, &'v [f32])> {
        let mut rest = values;
        self.actions.iter().map(move |(sequence, number, span)| {
            let (own, after) = rest.split_at((span.end - span.start).min(rest.len()));
            rest = after;
            (*sequence, *number, *span, own)
        })
    }
}
