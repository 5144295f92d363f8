//! Transcripts as tokens, with the chosen actions marked.

use crate::lm::Tokenizer;
use crate::render::Vocabulary;

use super::example::Row;

/// A transcript's tokens up to the end of its last chosen action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The key of the example it came from.
    pub key: u64,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The chosen actions, in order.
    pub actions: Vec<ActionSpan>,
    /// The pair that its one action belongs to: the two stay together in steps and batches.
    pub pair: Option<u64>,
}

/// Where a chosen action stands in a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionSpan {
    /// Which sub-trajectory it is.
    pub row: Row,
    /// Its first token.
    pub start: usize,
    /// One past its last token, which ends its turn.
    pub end: usize,
    /// Whether the tokens are those that the source stored.
    pub stored: bool,
}

/// What became of the rows on the way into sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Actions whose state lost turns.
    pub truncated: usize,
    /// Actions left out because they end behind `max_length`.
    pub dropped: usize,
    /// Sequences beside the first of their trajectory.
    pub apart: usize,
    /// Actions whose stored tokens were used.
    pub stored: usize,
    /// Actions whose state has characters that the tokenizer has no tokens for, or writes in
    /// another way: the model reads the state without them.
    pub respelled: usize,
    /// Examples whose tokens were kept from an earlier run.
    pub cached: usize,
}

impl Encoding {
    /// Adds what became of other rows.
    pub(super) fn add(&mut self, other: Encoding) {
        self.truncated += other.truncated;
        self.dropped += other.dropped;
        self.apart += other.apart;
        self.stored += other.stored;
        self.respelled += other.respelled;
        self.cached += other.cached;
    }
}

/// Returns what renderers have to know of a tokenizer: its control tokens, and which of them begin
/// and end a text.
pub fn vocabulary_of(tokenizer: &Tokenizer) -> Vocabulary {
    const BEGINNINGS: [&str; 3] = ["<|begin_of_text|>", "<bos>", "<s>"];
    let control_tokens = tokenizer.control_tokens().to_vec();
    let begins = BEGINNINGS.iter().find(|b| control_tokens.iter().any(|t| t == *b));
    Vocabulary {
        bos: begins.map(|token| (*token).to_owned()),
        eos: tokenizer.eos_token(),
        control_tokens,
    }
}
