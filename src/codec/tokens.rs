//! Tokens of a trajectory, as one tokenizer and one rendering give them.

use bincode::{Decode, Encode};

use super::record::Record;

/// The sequences of a trajectory with some of its steps chosen. What gave them is in their key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct TokensRecord {
    /// The sequences.
    pub sequences: Vec<TokenSequence>,
    /// Chosen actions whose state lost turns to fit.
    pub truncated: u32,
    /// Chosen actions that are too long.
    pub dropped: u32,
    /// Chosen actions whose state has characters that the tokenizer cannot spell.
    pub respelled: u32,
}

/// One sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct TokenSequence {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The chosen actions in it, in order.
    pub actions: Vec<TokenSpan>,
}

/// Where an action stands in a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TokenSpan {
    /// The step, from 1.
    pub step: u32,
    /// Its first token.
    pub start: u32,
    /// One past its last token.
    pub end: u32,
    /// Whether the tokens are those that the source stored.
    pub stored: bool,
}

impl Record for TokensRecord {
    const WHAT: &'static str = "tokens record";
}
