//! Trajectories in forward passes: the prompt of a question once, what follows as its branches.

use std::ops::Range;

use candle_core::Tensor;

use crate::lm::{Branch, Decoder, Packed};
use crate::train::error::TrainError;
use crate::train::sequence::Sequence;

/// Sequences of one forward pass.
pub(super) struct GroupBatch {
    packed: Packed,
    /// For each action token the row that predicts it.
    rows: Vec<u32>,
    targets: Vec<u32>,
    /// Which sequences.
    pub(super) sequences: Range<usize>,
}

impl GroupBatch {
    /// Cuts sequences, which lie question by question, into forward passes of at most `budget`
    /// tokens, or one sequence; `trunks` says with how many tokens those of a question begin alike.
    pub(super) fn cut(sequences: &[Sequence], trunks: &[usize], budget: u64) -> Vec<GroupBatch> {
        let mut batches = Vec::new();
        let (mut first, mut tokens) = (0, 0);
        for (at, sequence) in sequences.iter().enumerate() {
            let own = sequence.tokens.len() - trunks[at];
            let is_known = at > first && sequences[at - 1].key == sequence.key;
            let more = if is_known { own } else { own + trunks[at] };
            if at > first && (tokens + more) as u64 > budget {
                batches.push(GroupBatch::new(sequences, trunks, first..at));
                (first, tokens) = (at, sequence.tokens.len());
            } else {
                tokens += more;
            }
        }
        if first < sequences.len() {
            batches.push(GroupBatch::new(sequences, trunks, first..sequences.len()));
        }
        batches
    }

    fn new(all: &[Sequence], trunks: &[usize], range: Range<usize>) -> GroupBatch {
        let mut batch = GroupBatch {
            packed: Packed::default(),
            rows: Vec::new(),
            targets: Vec::new(),
            sequences: range.clone(),
        };
        let mut before = range.start;
        for of_question in all[range].chunk_by(|a, b| a.key == b.key) {
            let trunk = trunks[before];
            before += of_question.len();
            let (number, first) = (batch.packed.lengths.len(), batch.packed.tokens.len());
            batch.packed.tokens.extend_from_slice(&of_question[0].tokens[..trunk]);
            // Sequences that have nothing in common stand alone.
            if trunk > 0 {
                batch.packed.lengths.push(trunk);
            }
            for sequence in of_question {
                let begin = batch.packed.tokens.len();
                for action in &sequence.actions {
                    // The last token of the trunk predicts the first one behind it.
                    let row = |at: usize| match at == trunk {
                        true => first + trunk - 1,
                        false => begin + at - trunk - 1,
                    };
                    batch.rows.extend((action.start..action.end).map(|at| row(at) as u32));
                    batch.targets.extend_from_slice(&sequence.tokens[action.start..action.end]);
                }
                batch.packed.tokens.extend_from_slice(&sequence.tokens[trunk..]);
                let length = sequence.tokens.len() - trunk;
                match trunk {
                    0 => batch.packed.lengths.push(length),
                    prefix => {
                        batch.packed.branches.push(Branch { sequence: number, prefix, length });
                    }
                }
            }
        }
        batch
    }

    /// Returns how many tokens go through the model.
    pub(super) fn tokens(&self) -> usize {
        self.packed.tokens.len()
    }

    /// Returns the log-probability of every action token, in f32, sequence by sequence.
    pub(super) fn log_probs(&self, decoder: &Decoder) -> Result<Tensor, TrainError> {
        let hidden = decoder.hidden(&self.packed)?;
        Ok(decoder.log_probs(&hidden, &self.rows, &self.targets)?)
    }
}

/// Returns for each sequence with how many tokens those of its question begin alike, before any of
/// their actions.
pub(super) fn trunks(sequences: &[Sequence]) -> Vec<usize> {
    let mut trunks = Vec::with_capacity(sequences.len());
    for of_question in sequences.chunk_by(|a, b| a.key == b.key) {
        let first = &of_question[0].tokens;
        let alike = |sequence: &Sequence| {
            let both = first.iter().zip(&sequence.tokens);
            let common = both.take_while(|(a, b)| a == b).count();
            sequence.actions.first().map_or(common, |action| action.start.min(common))
        };
        let trunk = of_question.iter().map(alike).min().unwrap_or(0);
        trunks.extend(std::iter::repeat_n(trunk, of_question.len()));
    }
    trunks
}
