//! A policy in this process: actions sampled from a decoder.
//!
//! What is sampled depends on weights, tokens, settings and seed alone: not on what else is alive,
//! on slots or threads. The tokens of a conversation stay in the cache until its next turn, as far
//! as there is room; the beginning that all conversations share is read once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::episode::{Act, Unread};
use super::error::RolloutError;
use crate::lm::{
    Counts, Decoder, Distribution, End, Prefix, Prompt, Request, Sample, Sampler, SamplerOptions,
    Tokenizer,
};
use crate::model::{Json, Message};
use crate::render::{RenderedSequence, Renderer};

/// A beginning is shared from this many tokens on.
const SHARED_TOKENS: usize = 16;

/// Room in the cache for a turn beside its tokens: blocks are not always full.
const SPARE_TOKENS: usize = 32;

/// How actions are sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalOptions {
    /// What tokens are drawn from.
    pub distribution: Distribution,
    /// An action ends with this many tokens at the latest.
    pub max_new_tokens: usize,
    /// How many actions are sampled at a time; it shows in none of them.
    pub slots: usize,
}

/// A state at which a policy is to act.
#[derive(Clone, Debug)]
pub struct State<'a> {
    /// What tells the conversation from all others that are alive.
    pub conversation: u64,
    /// Everything said so far.
    pub messages: Vec<&'a Message>,
    /// The tools offered: a JSON array in OpenAI's form.
    pub tools: Option<&'a Json>,
    /// Where the random numbers of this turn come from.
    pub seed: u64,
}

/// A decoder as a policy.
pub struct LocalPolicy<'a> {
    sampler: Sampler,
    tokenizer: &'a Tokenizer,
    renderer: Renderer,
    options: LocalOptions,
    context: usize,
    end_of_turn: u32,
    /// What all conversations began with.
    shared: Option<Prefix>,
    /// The tokens of each conversation up to its last action.
    kept: BTreeMap<u64, Prefix>,
    counts: Counts,
}

impl<'a> LocalPolicy<'a> {
    /// Returns the policy. Its cache holds `options.slots` whole contexts, or the `cache_tokens`
    /// where that is less.
    ///
    /// # Errors
    /// A decoder that is not on the CPU, no memory for the cache; a renderer whose end of turn is no
    /// token.
    pub fn new(
        decoder: &Decoder,
        tokenizer: &'a Tokenizer,
        renderer: Renderer,
        options: LocalOptions,
        cache_tokens: usize,
    ) -> Result<LocalPolicy<'a>, RolloutError> {
        let end = renderer.end_of_turn();
        let end_of_turn = tokenizer
            .token_id(end)
            .ok_or_else(|| RolloutError::Policy(format!("'{end}' is no token of the model")))?;
        let context = decoder.config().context_length;
        let defaults = SamplerOptions::default();
        let all = options.slots.saturating_mul(context + SPARE_TOKENS);
        let sampler = SamplerOptions {
            slots: options.slots,
            cache_tokens: all.min(cache_tokens).max(context + SPARE_TOKENS),
            ..defaults
        };
        let sampler = Sampler::new(decoder, sampler)?;
        Ok(LocalPolicy {
            sampler,
            tokenizer,
            renderer,
            options,
            context,
            end_of_turn,
            shared: None,
            kept: BTreeMap::new(),
            counts: Counts::default(),
        })
    }

    /// Returns what went through the model.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the renderer.
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Forgets a conversation that has ended.
    pub fn forget(&mut self, conversation: u64) {
        self.kept.remove(&conversation);
    }

    /// Samples an action at each state, in their order. `watch` is asked after every token whether
    /// to go on, with the number of actions that are done.
    ///
    /// # Errors
    /// A state that the renderer cannot write; `Cancelled`; what the model says.
    pub fn act(
        &mut self,
        states: &[State<'_>],
        watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Act>, RolloutError> {
        let mut tokens = Vec::with_capacity(states.len());
        for state in states {
            let rendered = self.renderer.state(&state.messages, state.tools);
            let rendered = rendered.map_err(|error| RolloutError::Policy(error.to_string()))?;
            tokens.push(self.encoded(&rendered));
        }
        self.share(&tokens, watch)?;
        let mut acts: Vec<Option<Act>> = vec![None; states.len()];
        let fits = |at: &usize| tokens[*at].len() < self.context;
        let open: Vec<usize> = (0..states.len()).filter(fits).collect();
        for at in 0..states.len() {
            if !fits(&at) {
                acts[at] = Some(full(tokens[at].len(), self.context));
            }
        }
        let mut done = states.len() - open.len();
        let mut rest = open.as_slice();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(self.options.slots));
            rest = after;
            let sampled = self.sampled(states, &tokens, part, done, watch)?;
            done += part.len();
            for (at, act) in part.iter().zip(sampled) {
                acts[*at] = Some(act);
            }
        }
        Ok(acts.into_iter().flatten().collect())
    }

    /// Samples the states at `part`, which all find a slot.
    fn sampled(
        &mut self,
        states: &[State<'_>],
        tokens: &[Vec<u32>],
        part: &[usize],
        done: usize,
        watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Act>, RolloutError> {
        let mut requests = Vec::with_capacity(part.len());
        for at in part {
            let prefix = self.kept.remove(&states[*at].conversation);
            let prompt = continued(prefix.as_ref().or(self.shared.as_ref()), &tokens[*at])?;
            requests.push(Request {
                prompt,
                max_new_tokens: self.options.max_new_tokens,
                distribution: self.options.distribution,
                stop: Vec::new(),
                stop_tokens: vec![self.end_of_turn],
                seed: states[*at].seed,
                keep: true,
            });
        }
        self.make_room(tokens, part);
        let mut stopped = false;
        let mut look = |now: &crate::lm::Progress| {
            let go_on = watch(done + now.ended);
            stopped |= go_on.is_break();
            go_on
        };
        let samples = self.sampler.run(&requests, Some(self.tokenizer), &mut look)?;
        if stopped {
            return Err(RolloutError::Cancelled);
        }
        let Counts { steps, prompt_tokens, cached_tokens, new_tokens } = samples.counts;
        self.counts.steps += steps;
        self.counts.prompt_tokens += prompt_tokens;
        self.counts.cached_tokens += cached_tokens;
        self.counts.new_tokens += new_tokens;
        let mut acts = Vec::with_capacity(part.len());
        for (at, mut sample) in part.iter().zip(samples.samples) {
            if let Some(prefix) = sample.prefix.take() {
                self.kept.insert(states[*at].conversation, prefix);
            }
            acts.push(self.read(sample));
        }
        Ok(acts)
    }

    /// Lets go of conversations until those at `part` fit in the cache.
    fn make_room(&mut self, tokens: &[Vec<u32>], part: &[usize]) {
        let longest = |at: &usize| tokens[*at].len() + self.options.max_new_tokens + SPARE_TOKENS;
        let needed: usize = part.iter().map(longest).sum();
        while self.sampler.free_cache_tokens() < needed && self.kept.pop_last().is_some() {}
    }

    /// Reads what all states begin with into the cache, once.
    fn share(
        &mut self,
        tokens: &[Vec<u32>],
        watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<(), RolloutError> {
        let Some(first) = tokens.first().filter(|_| self.shared.is_none()) else { return Ok(()) };
        let length = tokens.iter().map(|other| common(first, other)).min().unwrap_or(0);
        if tokens.len() > 1 && (SHARED_TOKENS..self.context).contains(&length) {
            let prompt = Prompt::new(first[..length].to_vec());
            self.shared = Some(self.sampler.prefill(&prompt, &mut |_| watch(0))?);
            self.counts.prompt_tokens += length as u64;
        }
        Ok(())
    }

    fn encoded(&self, rendered: &RenderedSequence) -> Vec<u32> {
        let encode = |piece: &crate::render::Segment| match piece.control {
            true => self.tokenizer.encode_with_special(&piece.text),
            false => self.tokenizer.encode(&piece.text),
        };
        rendered.segments.iter().flat_map(encode).collect()
    }

    /// Returns what a sample says.
    fn read(&self, sample: Sample) -> Act {
        let finish_reason = match sample.end {
            End::StopToken(_) | End::StopString { .. } => "stop",
            End::Length => "length",
            End::Context => "context",
            End::Cancelled => "cancelled",
        };
        let text = sample.text.unwrap_or_default();
        let action = match (finish_reason, self.renderer.parse_action(&text)) {
            ("stop", Ok(action)) => Ok(action.into_message()),
            ("stop", Err(reason)) => Err(Unread { text, reason }),
            (reason, _) => {
                Err(Unread { text, reason: format!("it was cut by the limit of the {reason}") })
            }
        };
        let (token_ids, log_probs) = (Some(sample.tokens), Some(sample.log_probs));
        Act { token_ids, log_probs, ..Act::new(action, finish_reason) }
    }
}

/// Returns the prompt of `tokens` that begins with as much of a prefix as it can.
fn continued(prefix: Option<&Prefix>, tokens: &[u32]) -> Result<Prompt, RolloutError> {
    let Some(prefix) = prefix else { return Ok(Prompt::new(tokens.to_vec())) };
    let length = common(prefix.tokens(), tokens);
    if length == 0 {
        return Ok(Prompt::new(tokens.to_vec()));
    }
    Ok(Prompt { prefix: Some(prefix.head(length)?), tokens: tokens[length..].to_vec() })
}

/// Returns with how many equal tokens both begin.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Returns what comes of a state that fills the context.
fn full(tokens: usize, context: usize) -> Act {
    let reason = format!("its state has {tokens} tokens, and the context {context}");
    Act::new(Err(Unread { text: String::new(), reason }), "context")
}
