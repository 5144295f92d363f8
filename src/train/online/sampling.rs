//! Actions from the policy of now, at the states of sequences.

use std::ops::ControlFlow;

use crate::lm::{Decoder, Distribution, End, Prompt, Request, Sampler, SamplerOptions, Tokenizer};
use crate::render::Renderer;
use crate::train::config::TrainConfig;
use crate::train::error::TrainError;
use crate::train::example::Row;
use crate::train::sequence::Sequence;

/// Tokens of a cache beyond those of a sample: a block that is copied, and one that is begun.
const BLOCKS: usize = 48;

/// Tokens of trunks that are held in the cache together, if none is longer.
const TRUNK_TOKENS: usize = 2_048;

/// An action as it was drawn.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    /// Its sequence.
    pub(super) sequence: usize,
    /// The number of its state in it.
    pub(super) state: usize,
    /// The number of the sample at its state.
    pub(super) number: usize,
    /// The tokens, the end of turn included where it is there.
    pub(super) tokens: Vec<u32>,
    /// Their log-probabilities as the sampler computed them.
    pub(super) log_probs: Vec<f32>,
    /// The text without the end of turn.
    pub(super) text: String,
    /// Whether it ended by itself.
    pub(super) ended: bool,
}

/// How actions are drawn.
pub(super) enum Draw {
    /// For training: so many at each state, in an epoch.
    Samples { epoch: u64 },
    /// The most probable tokens, one action at each state.
    Greedy,
}

/// Draws actions.
pub(in crate::train) struct Sampling {
    sampler: Sampler,
    end_of_turn: u32,
    trunk_tokens: usize,
}

impl Sampling {
    /// Returns what draws from `decoder`, whose updates show in it, at states of these sequences.
    ///
    /// # Errors
    /// A decoder that is not on the CPU, no memory for the cache, an end of turn that is no token.
    pub(in crate::train) fn new<'a>(
        decoder: &Decoder,
        tokenizer: &Tokenizer,
        renderer: &Renderer,
        config: &TrainConfig,
        slots: usize,
        sequences: impl Iterator<Item = &'a Sequence>,
    ) -> Result<Sampling, TrainError> {
        let token = renderer.end_of_turn();
        let end_of_turn = tokenizer
            .token_id(token)
            .ok_or_else(|| TrainError::EndOfTurn { token: token.to_owned() })?;
        let rounded: Vec<usize> = sequences.map(held).collect();
        let longest = rounded.iter().copied().max().unwrap_or(0);
        let all: usize = rounded.iter().sum();
        let trunk_tokens = longest.max(TRUNK_TOKENS.min(all));
        let sample = config.completion_length() + BLOCKS;
        let options = SamplerOptions {
            slots,
            cache_tokens: trunk_tokens + slots.saturating_mul(sample),
            ..SamplerOptions::default()
        };
        Ok(Sampling { sampler: Sampler::new(decoder, options)?, end_of_turn, trunk_tokens })
    }

    /// Returns the actions drawn at all states of the sequences at `indexes`: sequence by sequence,
    /// state by state, sample by sample.
    ///
    /// # Errors
    /// A model whose logits are no numbers.
    pub(super) fn draw(
        &mut self,
        sequences: &[Sequence],
        indexes: &[usize],
        draw: &Draw,
        config: &TrainConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<Drawn>, TrainError> {
        let mut all = Vec::new();
        let mut rest = indexes;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |index: &&usize| {
                tokens += held(&sequences[**index]);
                tokens <= self.trunk_tokens
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (together, after) = rest.split_at(count);
            self.draw_together(sequences, together, draw, config, tokenizer, &mut all)?;
            rest = after;
        }
        Ok(all)
    }

    fn draw_together(
        &mut self,
        sequences: &[Sequence],
        indexes: &[usize],
        draw: &Draw,
        config: &TrainConfig,
        tokenizer: &Tokenizer,
        all: &mut Vec<Drawn>,
    ) -> Result<(), TrainError> {
        let mut watch = |_: &_| ControlFlow::Continue(());
        let (count, distribution) = match draw {
            Draw::Samples { .. } => (config.generations(), config.distribution()),
            Draw::Greedy => (1, Distribution::greedy()),
        };
        let (mut requests, mut places) = (Vec::new(), Vec::new());
        for index in indexes {
            let sequence = &sequences[*index];
            let prompt = Prompt::new(sequence.tokens.clone());
            let trunk = self.sampler.prefill(&prompt, &mut watch)?;
            for (state, span) in sequence.actions.iter().enumerate() {
                let prefix = trunk.head(span.start)?;
                for number in 0..count {
                    let seed = match draw {
                        Draw::Samples { epoch } => {
                            sample_seed(config.seed, &span.row, *epoch, number)
                        }
                        Draw::Greedy => 0,
                    };
                    let prefix = Some(prefix.clone());
                    requests.push(Request {
                        prompt: Prompt { prefix, tokens: Vec::new() },
                        max_new_tokens: config.completion_length(),
                        distribution,
                        stop_tokens: vec![self.end_of_turn],
                        seed,
                        ..Request::default()
                    });
                    places.push((*index, state, number));
                }
            }
        }
        let samples = self.sampler.run(&requests, Some(tokenizer), &mut watch)?.samples;
        all.extend(places.into_iter().zip(samples).map(|((sequence, state, number), sample)| {
            let ended = matches!(sample.end, End::StopToken(_));
            Drawn {
                sequence,
                state,
                number,
                text: sample.text.unwrap_or_default(),
                log_probs: sample.log_probs,
                ended,
                tokens: sample.tokens,
            }
        }));
        Ok(())
    }
}

/// Returns how many tokens of the cache a sequence holds.
fn held(sequence: &Sequence) -> usize {
    sequence.tokens.len().next_multiple_of(16)
}

/// Returns the seed of a sample: neither the batch nor its threads are in it, nor the database.
fn sample_seed(seed: u64, row: &Row, epoch: u64, number: usize) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"swirldb swirl sample 1");
    hasher.update(&seed.to_le_bytes());
    for text in [&row.source, &row.id] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    hasher.update(&row.step.to_le_bytes());
    hasher.update(&epoch.to_le_bytes()).update(&(number as u64).to_le_bytes());
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(low)
}
