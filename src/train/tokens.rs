//! Tokens of examples, kept from run to run.
//!
//! What an example's tokens are depends on its trajectory, the chosen steps, tokenizer, rendering
//! and the options about length: the key is a hash over all of them. So a second epoch, and a
//! second run over the same rows, renders and tokenises nothing.

use crate::codec::{TokenSequence, TokenSpan, TokensRecord};
use crate::model::Trajectory;

use super::config::{BatchBy, Truncation};
use super::example::{Example, Row};
use super::sequence::{ActionSpan, Encoding, Sequence};

/// Goes up with every change of what a rendering looks like: tokens kept by an earlier program are
/// not taken for those of this one.
const RENDERING: u32 = 1;

/// Names tokens.
pub type TokenKey = [u8; 32];

/// Where trajectories are, and their tokens from run to run. Examples may hold the heads of
/// trajectories only: they are asked for whole, some at a time, when they have to be tokenised.
pub trait Source: Sync {
    /// Returns the hash over the content of each key's trajectory; `None`: examples are whole.
    ///
    /// # Errors
    /// A sentence about what failed.
    fn content(&self, keys: &[u64]) -> Result<Option<Vec<[u8; 32]>>, String>;

    /// Returns each key's trajectory; asked only where [`Source::content`] gave hashes.
    ///
    /// # Errors
    /// A sentence about what failed.
    fn trajectories(&self, keys: &[u64]) -> Result<Vec<Trajectory>, String>;

    /// Returns the tokens kept under each key, in their order.
    ///
    /// # Errors
    /// A sentence about what failed.
    fn tokens(&self, keys: &[TokenKey]) -> Result<Vec<Option<TokensRecord>>, String>;

    /// Keeps tokens.
    ///
    /// # Errors
    /// A sentence about what failed.
    fn keep(&self, entries: &[(TokenKey, TokensRecord)]) -> Result<(), String>;
}

/// Examples are whole, and nothing is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whole;

impl Source for Whole {
    fn content(&self, _: &[u64]) -> Result<Option<Vec<[u8; 32]>>, String> {
        Ok(None)
    }

    fn trajectories(&self, _: &[u64]) -> Result<Vec<Trajectory>, String> {
        Ok(Vec::new())
    }

    fn tokens(&self, keys: &[TokenKey]) -> Result<Vec<Option<TokensRecord>>, String> {
        Ok(vec![None; keys.len()])
    }

    fn keep(&self, _: &[(TokenKey, TokensRecord)]) -> Result<(), String> {
        Ok(())
    }
}

/// What tokens depend on beside their example.
pub(super) struct TokenRule {
    hasher: blake3::Hasher,
}

impl TokenRule {
    /// Returns the rule of a tokenizer, a rendering and the options about length.
    pub fn new(
        tokenizer: [u8; 32],
        rendering: &[&str],
        max_length: usize,
        truncation: Truncation,
        batch_by: BatchBy,
    ) -> TokenRule {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"swirldb tokens");
        hasher.update(&RENDERING.to_le_bytes());
        hasher.update(&tokenizer);
        for part in rendering {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&(max_length as u64).to_le_bytes());
        hasher.update(&[truncation as u8, batch_by as u8]);
        TokenRule { hasher }
    }

    /// Returns the rule of states at which actions of at most `completion` tokens are sampled.
    #[must_use]
    pub fn of_states(mut self, completion: usize) -> TokenRule {
        self.hasher.update(b"states").update(&(completion as u64).to_le_bytes());
        self
    }

    /// Returns the key of an example's tokens, whose trajectory has this content.
    pub fn key(&self, example: &Example, content: &[u8; 32]) -> TokenKey {
        let mut hasher = self.hasher.clone();
        hasher.update(content);
        for chosen in &example.steps {
            hasher.update(&chosen.step.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Returns an example's sequences as they are kept.
pub(super) fn kept(sequences: &[Sequence], encoding: Encoding) -> TokensRecord {
    let span = |action: &ActionSpan| TokenSpan {
        step: action.row.step,
        start: action.start as u32,
        end: action.end as u32,
        stored: action.stored,
    };
    let sequence = |sequence: &Sequence| TokenSequence {
        tokens: sequence.tokens.clone(),
        actions: sequence.actions.iter().map(span).collect(),
    };
    TokensRecord {
        sequences: sequences.iter().map(sequence).collect(),
        truncated: encoding.truncated as u32,
        dropped: encoding.dropped as u32,
        respelled: encoding.respelled as u32,
    }
}

/// Returns the sequences of an example that were kept, and what became of its rows.
pub(super) fn found(example: &Example, kept: TokensRecord) -> (Vec<Sequence>, Encoding) {
    let span = |span: &TokenSpan| ActionSpan {
        row: Row::of(example, span.step),
        start: span.start as usize,
        end: span.end as usize,
        stored: span.stored,
    };
    let sequence = |kept: TokenSequence| Sequence {
        key: example.key,
        actions: kept.actions.iter().map(span).collect(),
        tokens: kept.tokens,
        pair: None,
    };
    let encoding = Encoding {
        truncated: kept.truncated as usize,
        dropped: kept.dropped as usize,
        respelled: kept.respelled as usize,
        cached: 1,
        ..Encoding::default()
    };
    (kept.sequences.into_iter().map(sequence).collect(), encoding)
}
