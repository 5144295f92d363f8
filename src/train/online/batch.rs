//! Samples in forward passes: each trunk once, its samples as branches.

use candle_core::Tensor;

use crate::lm::{Branch, Decoder, Packed};
use crate::train::error::TrainError;
use crate::train::sequence::Sequence;

use super::sampling::Drawn;

/// The samples of one state that are trained on.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Its sequence.
    pub(super) sequence: usize,
    /// Its number in it.
    pub(super) state: usize,
    /// The places of its samples among those drawn.
    pub(super) samples: Vec<usize>,
}

/// States of one forward pass.
pub(super) struct SampleBatch<'a> {
    pub(super) packed: Packed,
    /// For each token of a sample the row that predicts it.
    rows: Vec<u32>,
    targets: Vec<u32>,
    pub(super) states: &'a [State],
}

impl<'a> SampleBatch<'a> {
    /// Cuts states, which lie sequence by sequence, into forward passes of at most `budget` tokens,
    /// or one state.
    pub(super) fn cut(
        states: &'a [State],
        sequences: &[Sequence],
        drawn: &[Drawn],
        budget: u64,
    ) -> Vec<SampleBatch<'a>> {
        let mut batches = Vec::new();
        let (mut first, mut trunks, mut branches) = (0, 0, 0);
        for (at, state) in states.iter().enumerate() {
            let prefix = sequences[state.sequence].actions[state.state].start;
            let own: usize = state.samples.iter().map(|sample| drawn[*sample].tokens.len()).sum();
            let before = states[first..at].last().filter(|b| b.sequence == state.sequence);
            // A later state of the same sequence makes its trunk longer.
            let longer = |before: &State| {
                prefix.saturating_sub(sequences[before.sequence].actions[before.state].start)
            };
            let more = before.map_or(prefix, longer);
            if at > first && (trunks + more + branches + own) as u64 > budget {
                batches.push(SampleBatch::new(&states[first..at], sequences, drawn));
                (first, trunks, branches) = (at, prefix, own);
            } else {
                (trunks, branches) = (trunks + more, branches + own);
            }
        }
        if first < states.len() {
            batches.push(SampleBatch::new(&states[first..], sequences, drawn));
        }
        batches
    }

    fn new(states: &'a [State], sequences: &[Sequence], drawn: &[Drawn]) -> SampleBatch<'a> {
        let mut batch = SampleBatch {
            packed: Packed::default(),
            rows: Vec::new(),
            targets: Vec::new(),
            states,
        };
        for of_sequence in states.chunk_by(|a, b| a.sequence == b.sequence) {
            let sequence = &sequences[of_sequence[0].sequence];
            let prefix = |state: &State| sequence.actions[state.state].start;
            let trunk = of_sequence.iter().map(prefix).max().unwrap_or(0);
            let (number, first) = (batch.packed.lengths.len(), batch.packed.tokens.len());
            batch.packed.tokens.extend_from_slice(&sequence.tokens[..trunk]);
            batch.packed.lengths.push(trunk);
            for (state, sample) in
                of_sequence.iter().flat_map(|state| state.samples.iter().map(move |s| (state, s)))
            {
                let (prefix, tokens) = (prefix(state), &drawn[*sample].tokens);
                let begin = batch.packed.tokens.len();
                // The last token of the state predicts the first one of the sample.
                batch.rows.push((first + prefix - 1) as u32);
                batch.rows.extend((begin..begin + tokens.len() - 1).map(|row| row as u32));
                batch.targets.extend_from_slice(tokens);
                batch.packed.tokens.extend_from_slice(tokens);
                let length = tokens.len();
                batch.packed.branches.push(Branch { sequence: number, prefix, length });
            }
        }
        batch
    }

    /// Returns the log-probability of every token of the samples, in f32, state by state.
    pub(super) fn log_probs(&self, decoder: &Decoder) -> Result<Tensor, TrainError> {
        let hidden = decoder.hidden(&self.packed)?;
        Ok(decoder.log_probs(&hidden, &self.rows, &self.targets)?)
    }
}
