//! Log-probabilities of given continuations of one state.

use candle_core::Tensor;

use super::arena::Blocks;
use super::choose::normalizer;
use super::forward::{Part, Sequence};
use super::request::{Counts, Progress, Prompt, Watch};
use super::sampler::Sampler;
use crate::lm::LmError;

/// Logits that exist at a time.
const CHUNK_LOGITS: usize = 1 << 22;

/// A continuation that is being read.
struct Scored {
    number: usize,
    sequence: Sequence,
    log_probs: Vec<f32>,
}

impl Sampler {
    /// Returns the log-probability of every token of each continuation behind `prompt`, which is
    /// read once for all: nothing cut, temperature 1. They equal those of the training pass up to
    /// rounding, and those that [`Sampler::run`] gives bit for bit. None if `watch` ended it.
    ///
    /// # Errors
    /// `Request` with the number of a continuation that does not fit in the context or the
    /// vocabulary, and for the prompt as [`Sampler::prefill`]; `Cache` if one does not fit beside
    /// the prefixes that are held; `NoProbabilities` if logits are not numbers.
    pub fn score(
        &mut self,
        prompt: &Prompt,
        continuations: &[Vec<u32>],
        watch: Watch<'_>,
    ) -> Result<Option<Vec<Vec<f32>>>, LmError> {
        let stamp = self.stamp()?;
        let config = self.model.config();
        prompt.check(0, config, &self.arena, &stamp)?;
        let room = config.context_length - prompt.len();
        for (number, continuation) in continuations.iter().enumerate() {
            self.check_continuation(number, continuation)?;
            if continuation.len() > room {
                return Err(LmError::Request {
                    number,
                    what: format!("its continuation has {} tokens", continuation.len()),
                    expected: format!("at most {room}, what the prompt leaves of the context"),
                });
            }
        }
        let mut scoring = Scoring {
            continuations,
            next: 0,
            open: Vec::new(),
            log_probs: continuations.iter().map(|_| Vec::new()).collect(),
            counts: Counts::default(),
        };
        let Some(base) = self.read_all_but_one(prompt, &mut scoring.counts, watch)? else {
            return Ok(None);
        };
        loop {
            self.open(&mut scoring, &base)?;
            if scoring.open.is_empty() {
                return Ok(Some(scoring.log_probs));
            }
            self.read(&mut scoring, base.tokens.len())?;
            if watch(&scoring.progress()).is_break() {
                return Ok(None);
            }
        }
    }

    /// Returns the sequence of a prompt of which the last token alone is not in the cache; none if
    /// `watch` ended it.
    fn read_all_but_one(
        &mut self,
        prompt: &Prompt,
        counts: &mut Counts,
        watch: Watch<'_>,
    ) -> Result<Option<Sequence>, LmError> {
        let mut base = prompt.sequence();
        counts.cached_tokens = base.cached as u64;
        let needed = Blocks::needed(base.cached, base.tokens.len() - 1);
        if needed > self.arena.free_blocks() {
            return Err(self.arena.full(needed));
        }
        while base.pending() > 1 {
            let count = (base.pending() - 1).min(self.options.prefill_tokens);
            self.model.feed(&mut self.arena, &mut [Part { sequence: &mut base, count }])?;
            counts.steps += 1;
            counts.prompt_tokens += count as u64;
            let progress = Progress { live: 1, counts: *counts, ..Progress::default() };
            if watch(&progress).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(base))
    }

    /// Opens continuations until a step is full.
    fn open(&self, scoring: &mut Scoring<'_>, base: &Sequence) -> Result<(), LmError> {
        let pending =
            |open: &[Scored]| -> usize { open.iter().map(|s| s.sequence.pending()).sum() };
        while pending(&scoring.open) < self.options.prefill_tokens {
            let Some(continuation) = scoring.continuations.get(scoring.next) else { break };
            let Some((_, read)) = continuation.split_last() else {
                scoring.next += 1;
                continue;
            };
            let needed = Blocks::needed(base.cached, base.tokens.len() + read.len());
            let promised: usize = scoring
                .open
                .iter()
                .map(|s| Blocks::needed(s.sequence.cached, s.sequence.tokens.len()))
                .sum();
            if promised + needed > self.arena.free_blocks() {
                if scoring.open.is_empty() {
                    return Err(self.arena.full(needed));
                }
                break;
            }
            let mut sequence = base.clone();
            sequence.tokens.extend_from_slice(read);
            let number = scoring.next;
            scoring.open.push(Scored { number, sequence, log_probs: Vec::new() });
            scoring.next += 1;
        }
        Ok(())
    }

    /// Runs one step, and puts down the continuations that have been read.
    fn read(&mut self, scoring: &mut Scoring<'_>, prompt: usize) -> Result<(), LmError> {
        let mut budget = self.options.prefill_tokens;
        let (mut parts, mut wanted) = (Vec::new(), Vec::new());
        for (at, Scored { number, sequence, .. }) in scoring.open.iter_mut().enumerate() {
            let count = sequence.pending().min(budget);
            budget -= count;
            for position in sequence.cached + 1..=sequence.cached + count {
                let token = scoring.continuations[*number][position - prompt];
                wanted.push(Wanted { at, number: *number, position, token });
            }
            if count > 0 {
                parts.push(Part { sequence, count });
            }
        }
        let states = self.model.feed(&mut self.arena, &mut parts)?;
        scoring.counts.steps += 1;
        scoring.counts.prompt_tokens += wanted.len() as u64;
        let log_probs = self.log_probs(&states, &wanted)?;
        for (Wanted { at, .. }, log_prob) in wanted.iter().zip(log_probs) {
            scoring.open[*at].log_probs.push(log_prob);
        }
        for scored in std::mem::take(&mut scoring.open) {
            match scored.sequence.pending() {
                0 => scoring.log_probs[scored.number] = scored.log_probs,
                _ => scoring.open.push(scored),
            }
        }
        Ok(())
    }

    /// Returns the log-probability of the token that is wanted of each row.
    fn log_probs(&self, states: &Tensor, wanted: &[Wanted]) -> Result<Vec<f32>, LmError> {
        let vocabulary = self.model.config().vocab_size;
        let size = (CHUNK_LOGITS / vocabulary).max(1);
        let mut log_probs = Vec::with_capacity(wanted.len());
        for (chunk, wanted) in wanted.chunks(size).enumerate() {
            let first = (chunk * size) as u32;
            let rows: Vec<u32> = (first..first + wanted.len() as u32).collect();
            let logits = self.model.logits(states, &rows)?;
            for (row, logits) in wanted.iter().zip(logits.chunks_exact(vocabulary)) {
                let Wanted { number, position, token, .. } = *row;
                let normalizer = normalizer(logits).map_err(|what| LmError::NoProbabilities {
                    number,
                    position,
                    what,
                })?;
                log_probs.push(logits[token as usize] - normalizer);
            }
        }
        Ok(log_probs)
    }
}

/// A token whose log-probability is wanted.
struct Wanted {
    /// Its place among those that are open.
    at: usize,
    number: usize,
    position: usize,
    token: u32,
}

/// The continuations of one state.
struct Scoring<'a> {
    continuations: &'a [Vec<u32>],
    next: usize,
    open: Vec<Scored>,
    log_probs: Vec<Vec<f32>>,
    counts: Counts,
}

impl Scoring<'_> {
    fn progress(&self) -> Progress {
        let (waiting, live) = (self.continuations.len() - self.next, self.open.len());
        Progress { waiting, live, ended: self.next - live, counts: self.counts }
    }
}
