//! The sampler: requests in, samples out, over a fixed number of slots.

use std::collections::VecDeque;

use candle_core::Tensor;
use rayon::prelude::*;

use super::arena::{Arena, Blocks};
use super::choose::{Choice, choose};
use super::forward::{Model, Part, Sequence};
use super::random::unit;
use super::request::{
    Counts, End, Prefix, Progress, Prompt, Request, Sample, Samples, Watch, check_tokens,
};
use super::text::Text;
use crate::lm::{Decoder, DecoderConfig, LmError, Tokenizer};

/// How much a sampler does at a time, and how much it keeps. None of it shows in what it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplerOptions {
    /// How many requests are worked off at a time.
    pub slots: usize,
    /// How many tokens fit in the cache: those of prefixes, and those of the requests in slots up
    /// to their longest.
    pub cache_tokens: usize,
    /// How many tokens of prompts go through the model in one step.
    pub prefill_tokens: usize,
}

impl Default for SamplerOptions {
    fn default() -> SamplerOptions {
        SamplerOptions { slots: 8, cache_tokens: 16_384, prefill_tokens: 256 }
    }
}

impl SamplerOptions {
    /// Returns about how many bytes a sampler takes beside the weights: the cache, which is taken
    /// when it is made, and the numbers of one step.
    pub fn memory_bytes(&self, config: &DecoderConfig) -> u64 {
        let DecoderConfig { hidden_size, intermediate_size, vocab_size, .. } = *config;
        let row = 6 * hidden_size
            + 3 * intermediate_size
            + 3 * config.query_size()
            + 3 * config.key_value_size();
        let rows = (self.slots as u64).saturating_add(self.prefill_tokens as u64);
        // Logits, scores and weights of a row, and a copy to sort.
        let logits = (self.slots as u64).saturating_mul(4 * vocab_size as u64);
        Arena::bytes(config, self.cache_tokens)
            .saturating_add(rows.saturating_mul(row as u64).saturating_add(logits) * 4)
    }

    fn check(&self) -> Result<(), LmError> {
        for (name, size) in [
            ("slots", self.slots),
            ("cache_tokens", self.cache_tokens),
            ("prefill_tokens", self.prefill_tokens),
        ] {
            if size == 0 || size > 1 << 40 {
                return Err(LmError::Config {
                    what: format!("{name} is {size}"),
                    expected: "at least 1, and what the memory holds".to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// Draws samples from a decoder on the CPU and scores texts with it.
///
/// It shares the weights of the decoder: after an update it samples from the new ones, and refuses
/// prefixes that the old ones computed.
pub struct Sampler {
    pub(super) model: Model,
    pub(super) arena: Arena,
    pub(super) options: SamplerOptions,
}

impl Sampler {
    /// Returns a sampler of `decoder`, with all memory for its cache.
    ///
    /// # Errors
    /// `Config` if the decoder is not on the CPU or an option is 0, `Cache` if there is no memory.
    pub fn new(decoder: &Decoder, options: SamplerOptions) -> Result<Sampler, LmError> {
        options.check()?;
        let model = Model::new(decoder)?;
        let arena = Arena::new(decoder.config(), options.cache_tokens)?;
        Ok(Sampler { model, arena, options })
    }

    /// Returns how many tokens fit in the cache.
    pub fn cache_tokens(&self) -> usize {
        self.arena.tokens()
    }

    /// Returns how many tokens fit in the part of the cache that no prefix holds.
    pub fn free_cache_tokens(&self) -> usize {
        self.arena.free_tokens()
    }

    /// Reads a prompt into the cache. One prefill of a trajectory is the cache of all its states:
    /// see [`Prefix::head`]. If `watch` ends it early, the rest is read when the prefix is used.
    ///
    /// # Errors
    /// `Request` (number 0) if the prompt is empty, longer than the context, not in the vocabulary
    /// or begins with a prefix of another sampler or of other weights; `Cache` if it does not fit.
    pub fn prefill(&mut self, prompt: &Prompt, watch: Watch<'_>) -> Result<Prefix, LmError> {
        let stamp = self.stamp()?;
        prompt.check(0, self.model.config(), &self.arena, &stamp)?;
        let mut sequence = match &prompt.prefix {
            Some(prefix) => prefix.sequence.clone(),
            None => Sequence::default(),
        };
        let mut counts = Counts { cached_tokens: sequence.cached as u64, ..Counts::default() };
        sequence.tokens.extend_from_slice(&prompt.tokens);
        let needed = Blocks::needed(sequence.cached, sequence.tokens.len());
        if needed > self.arena.free_blocks() {
            return Err(self.arena.full(needed));
        }
        while sequence.pending() > 0 {
            let count = sequence.pending().min(self.options.prefill_tokens);
            let part = Part { sequence: &mut sequence, count };
            self.model.feed(&mut self.arena, &mut [part])?;
            counts.steps += 1;
            counts.prompt_tokens += count as u64;
            let progress = Progress { live: 1, counts, ..Progress::default() };
            if watch(&progress).is_break() {
                break;
            }
        }
        Ok(Prefix { sequence, stamp })
    }

    /// Draws one sample for each request. Stop strings and texts need the `tokenizer`.
    ///
    /// # Errors
    /// `Request` with the number of the first request that makes no sense, before anything is
    /// computed; `Cache` if a request does not fit beside the prefixes that are held;
    /// `NoProbabilities` if the logits of one are not numbers.
    pub fn run(
        &mut self,
        requests: &[Request],
        tokenizer: Option<&Tokenizer>,
        watch: Watch<'_>,
    ) -> Result<Samples, LmError> {
        let stamp = self.stamp()?;
        for (number, request) in requests.iter().enumerate() {
            request.prompt.check(number, self.model.config(), &self.arena, &stamp)?;
            request.check(number, self.model.config(), tokenizer.is_some())?;
        }
        let mut work = Work {
            requests,
            tokenizer,
            stamp,
            waiting: (0..requests.len()).collect(),
            live: Vec::new(),
            samples: requests.iter().map(|_| None).collect(),
            counts: Counts::default(),
        };
        loop {
            self.admit(&mut work)?;
            if work.live.is_empty() {
                break;
            }
            self.step(&mut work)?;
            if watch(&work.progress()).is_break() {
                work.cancel();
            }
        }
        let samples = work.samples.into_iter().flatten().collect();
        Ok(Samples { samples, counts: work.counts })
    }

    /// Gives free slots to requests that wait, as far as the cache holds them at their longest.
    fn admit(&self, work: &mut Work<'_>) -> Result<(), LmError> {
        let config = self.model.config();
        while work.live.len() < self.options.slots {
            let Some(number) = work.waiting.front().copied() else { break };
            let request = &work.requests[number];
            let sequence = request.prompt.sequence();
            // The last token is drawn and not run.
            let end = request.longest(config) - 1;
            let needed = Blocks::needed(sequence.cached, end);
            let promised: usize =
                work.live.iter().map(|live| Blocks::needed(live.sequence.cached, live.end)).sum();
            if promised + needed > self.arena.free_blocks() {
                if work.live.is_empty() {
                    return Err(self.arena.full(needed));
                }
                break;
            }
            work.waiting.pop_front();
            work.counts.cached_tokens += sequence.cached as u64;
            work.live.push(Live::new(number, request, sequence, end));
        }
        Ok(())
    }

    /// Runs the next tokens of all slots through the model, and draws one for each that has read
    /// everything.
    fn step(&mut self, work: &mut Work<'_>) -> Result<(), LmError> {
        let mut budget = self.options.prefill_tokens;
        let (mut parts, mut drawing, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let mut row = 0;
        for (slot, live) in work.live.iter_mut().enumerate() {
            let pending = live.sequence.pending();
            let count = if pending == 1 { 1 } else { pending.min(budget) };
            if pending > 1 {
                budget -= count;
            }
            if count == 0 {
                continue;
            }
            row += count;
            if count == pending {
                drawing.push(slot);
                rows.push(row as u32 - 1);
            }
            let drawn = live.sequence.cached >= live.prompt;
            work.counts.prompt_tokens += if drawn { 0 } else { count as u64 };
            parts.push(Part { sequence: &mut live.sequence, count });
        }
        let states = self.model.feed(&mut self.arena, &mut parts)?;
        work.counts.steps += 1;
        if !rows.is_empty() {
            self.draw(work, &states, &drawing, &rows)?;
        }
        Ok(())
    }

    /// Draws a token for each slot of `drawing` from the state in its row.
    fn draw(
        &self,
        work: &mut Work<'_>,
        states: &Tensor,
        drawing: &[usize],
        rows: &[u32],
    ) -> Result<(), LmError> {
        let config = self.model.config();
        let logits = self.model.logits(states, rows)?;
        let draw = |(slot, logits): (&usize, &[f32])| -> Result<Choice, LmError> {
            let live = &work.live[*slot];
            let (number, position) = (live.number, live.sequence.tokens.len());
            let request = &work.requests[number];
            choose(logits, &request.distribution, unit(request.seed, position))
                .map_err(|what| LmError::NoProbabilities { number, position, what })
        };
        let choices: Vec<Result<Choice, LmError>> =
            drawing.par_iter().zip(logits.par_chunks_exact(config.vocab_size)).map(draw).collect();
        work.counts.new_tokens += choices.len() as u64;
        // From the last slot to the first, so that slots keep their numbers.
        for (slot, choice) in drawing.iter().zip(choices).rev() {
            let live = &mut work.live[*slot];
            let request = &work.requests[live.number];
            if let Some(end) = live.take(choice?, request, work.tokenizer, config) {
                let live = work.live.remove(*slot);
                work.end(live, end);
            }
        }
        Ok(())
    }

    /// Returns a hash of some numbers of every weight: another one after an update.
    pub(super) fn stamp(&self) -> Result<[u8; 32], LmError> {
        const NUMBERS: usize = 16;
        let mut hasher = blake3::Hasher::new();
        let weights = self.model.weights();
        for (_, weight) in weights.base().into_iter().chain(weights.adapters()) {
            crate::lm::ops::with_values(weight.tensor(), |values| {
                let step = values.len().div_ceil(NUMBERS).max(1);
                for value in values.iter().step_by(step) {
                    hasher.update(&value.to_bits().to_le_bytes());
                }
                Ok(())
            })?;
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Checks that tokens are in the vocabulary.
    pub(super) fn check_continuation(&self, number: usize, tokens: &[u32]) -> Result<(), LmError> {
        check_tokens(number, "its continuation", tokens, self.model.config())
    }
}

/// The requests of a run.
struct Work<'a> {
    requests: &'a [Request],
    tokenizer: Option<&'a Tokenizer>,
    stamp: [u8; 32],
    waiting: VecDeque<usize>,
    live: Vec<Live>,
    samples: Vec<Option<Sample>>,
    counts: Counts,
}

impl Work<'_> {
    fn progress(&self) -> Progress {
        let (waiting, live) = (self.waiting.len(), self.live.len());
        Progress { waiting, live, ended: self.requests.len() - waiting - live, counts: self.counts }
    }

    /// Puts down the sample of a slot that ended.
    fn end(&mut self, live: Live, end: End) {
        let Live { number, sequence, prompt, text, log_probs, drawn_log_probs, .. } = live;
        let keep = self.requests[number].keep;
        self.samples[number] = Some(Sample {
            tokens: sequence.tokens[prompt..].to_vec(),
            text: self.tokenizer.map(|_| text.into_string()),
            end,
            log_probs,
            drawn_log_probs,
            prefix: keep.then_some(Prefix { sequence, stamp: self.stamp }),
        });
    }

    /// Ends everything that has not ended.
    fn cancel(&mut self) {
        for live in std::mem::take(&mut self.live) {
            self.end(live, End::Cancelled);
        }
        for number in std::mem::take(&mut self.waiting) {
            let request = &self.requests[number];
            self.end(Live::new(number, request, request.prompt.sequence(), 0), End::Cancelled);
        }
    }
}

/// A request in a slot.
struct Live {
    number: usize,
    sequence: Sequence,
    /// Tokens of the prompt.
    prompt: usize,
    /// How many tokens will be in the cache at most.
    end: usize,
    text: Text,
    log_probs: Vec<f32>,
    drawn_log_probs: Vec<f32>,
}

impl Live {
    fn new(number: usize, request: &Request, sequence: Sequence, end: usize) -> Live {
        Live {
            number,
            sequence,
            prompt: request.prompt.len(),
            end,
            text: Text::default(),
            log_probs: Vec::new(),
            drawn_log_probs: Vec::new(),
        }
    }

    /// Adds a token and returns how the sample ends with it, if it does.
    fn take(
        &mut self,
        choice: Choice,
        request: &Request,
        tokenizer: Option<&Tokenizer>,
        config: &DecoderConfig,
    ) -> Option<End> {
        let Choice { token, log_prob, drawn_log_prob } = choice;
        self.sequence.tokens.push(token);
        self.log_probs.push(log_prob);
        self.drawn_log_probs.push(drawn_log_prob);
        if request.stop_tokens.contains(&token) {
            return Some(End::StopToken(token));
        }
        if let Some(tokenizer) = tokenizer {
            // Embeddings behind the last token of the vocabulary have no text.
            let bytes = tokenizer.token_bytes(token).unwrap_or_default();
            if let Some(found) = self.text.push(&bytes, &request.stop) {
                let behind = self.text.cut(found.end);
                let start = self.text.place(found.start);
                return Some(End::StopString { number: found.number, start, behind });
            }
        }
        if self.log_probs.len() == request.max_new_tokens {
            return Some(End::Length);
        }
        (self.sequence.tokens.len() == config.context_length).then_some(End::Context)
    }
}
