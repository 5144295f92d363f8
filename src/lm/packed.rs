//! Sequences without padding, and branches that share the beginning of one.
//!
//! Several actions sampled at one state share its tokens, and the states of one trajectory are
//! prefixes of each other. Such a batch has each token once:
//!
//! ```text
//! trunk     [state 1][action][came back][action][came back]
//! branches           [sample][sample]           [sample][sample]
//! ```
//!
//! A branch's tokens see the first tokens of the trunk up to its prefix, and its own: each has the
//! number that it would have in a sequence of prefix and branch alone.

use super::LmError;
use super::ops::Span;

/// Several sequences one after another, without padding. Attention stays inside each, and
/// positions begin at 0 in each. Right behind a sequence lie its branches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The token ids of all sequences, each followed by those of its branches.
    pub tokens: Vec<u32>,
    /// The length of each sequence, without its branches.
    pub lengths: Vec<usize>,
    /// The branches in the order of their tokens; lengths of sequences and branches sum to the
    /// number of tokens.
    pub branches: Vec<Branch>,
}

/// Tokens that go on from the beginning of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The number of the sequence, from 0.
    pub sequence: usize,
    /// How many of its first tokens come before the branch, at least one.
    pub prefix: usize,
    /// The number of tokens.
    pub length: usize,
}

/// A batch whose branches are sequences of their own, and where the rows of the first one are.
pub(super) struct Unrolled {
    pub(super) batch: Packed,
    /// For each token of the batch with branches its row.
    pub(super) rows: Vec<u32>,
}

impl Packed {
    /// Returns where the sequences and branches lie, in the order of their rows.
    pub(super) fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::with_capacity(self.lengths.len() + self.branches.len());
        let (mut start, mut branches) = (0, self.branches.iter().peekable());
        for (number, length) in self.lengths.iter().enumerate() {
            let trunk = start;
            spans.push(Span { start, length: *length, trunk, prefix: 0 });
            start += length;
            while let Some(branch) = branches.next_if(|branch| branch.sequence == number) {
                let Branch { prefix, length, .. } = *branch;
                spans.push(Span { start, length, trunk, prefix });
                start += length;
            }
        }
        spans
    }

    /// Returns the batch with each branch, its prefix before it, as a sequence of its own.
    pub(super) fn unrolled(&self) -> Unrolled {
        let mut batch = Packed::default();
        let mut rows = Vec::with_capacity(self.tokens.len());
        for Span { start, length, trunk, prefix } in self.spans() {
            batch.tokens.extend_from_slice(&self.tokens[trunk..trunk + prefix]);
            let first = batch.tokens.len();
            rows.extend((first..first + length).map(|row| row as u32));
            batch.tokens.extend_from_slice(&self.tokens[start..start + length]);
            batch.lengths.push(prefix + length);
        }
        Unrolled { batch, rows }
    }

    /// Checks the batch against a model of this context and vocabulary.
    ///
    /// # Errors
    /// `Batch` if lengths and tokens disagree, a sequence or branch is empty, goes on from nothing
    /// or is longer than the context, or a token is not in the vocabulary.
    pub(super) fn check(&self, context: usize, vocabulary: usize) -> Result<(), LmError> {
        let fail = |what: String, expected: String| Err(LmError::Batch { what, expected });
        let branches = self.branches.iter().map(|branch| &branch.length);
        let mut parts = self.lengths.iter().chain(branches);
        let total = parts.try_fold(0usize, |sum, n| sum.checked_add(*n));
        if total != Some(self.tokens.len()) || self.tokens.is_empty() {
            let branches = match self.branches.len() {
                0 => String::new(),
                count => format!(" and {count} branches"),
            };
            return fail(
                format!(
                    "{} tokens in {} sequences{branches}",
                    self.tokens.len(),
                    self.lengths.len()
                ),
                "lengths that sum to the number of tokens, and at least one token".to_owned(),
            );
        }
        for (number, length) in self.lengths.iter().enumerate() {
            if *length == 0 || *length > context {
                return fail(
                    format!("sequence {number} has {length} tokens"),
                    format!("1 to {context}, the context of the model"),
                );
            }
        }
        self.check_branches(context)?;
        match self.tokens.iter().position(|token| *token as usize >= vocabulary) {
            Some(at) => fail(
                format!("token {} at position {at}", self.tokens[at]),
                format!("an id below {vocabulary}, the vocabulary of the model"),
            ),
            None => Ok(()),
        }
    }

    fn check_branches(&self, context: usize) -> Result<(), LmError> {
        let fail = |what: String, expected: String| Err(LmError::Batch { what, expected });
        let mut last = 0;
        for (number, branch) in self.branches.iter().enumerate() {
            let Branch { sequence, prefix, length } = *branch;
            let Some(trunk) = self.lengths.get(sequence) else {
                return fail(
                    format!("branch {number} is of sequence {sequence}"),
                    format!("one of {}", self.lengths.len()),
                );
            };
            if sequence < last {
                return fail(
                    format!("branch {number} of sequence {sequence} behind one of {last}"),
                    "branches in the order of their sequences".to_owned(),
                );
            }
            last = sequence;
            if prefix == 0 || prefix > *trunk {
                return fail(
                    format!("branch {number} goes on from token {prefix} of sequence {sequence}"),
                    format!("1 to {trunk}, its length"),
                );
            }
            if length == 0 || length > context - prefix {
                return fail(
                    format!("branch {number} has {length} tokens behind {prefix}"),
                    format!("1 to {}, what is left of the context", context - prefix),
                );
            }
        }
        Ok(())
    }
}
