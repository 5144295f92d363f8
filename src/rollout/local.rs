//! A policy in this process: actions sampled from a decoder.
//!
//! What is sampled depends on weights, tokens, settings and seed alone: not on what else is alive,
//! on slots or threads. The tokens of a conversation stay in the cache until its next turn, as far
//! as there is room; the beginning that all conversations share is read once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::json;

use super::policy::{
    ActRequest, OnProposed, Policy, PolicyError, PolicyIdentity, PolicyKind, Proposed,
};
use crate::chat::Usage;
use crate::lm::{
    Counts, Decoder, Distribution, LmError, Prefix, Prompt, Request, Sample, Sampler,
    SamplerOptions, Tokenizer,
};
use crate::model::{Json, Message, role};
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
    /// Where the random numbers of a request without a seed come from.
    pub seed: u64,
}

impl LocalOptions {
    /// Returns what is stored of them with what was sampled.
    fn to_json(&self, renderer: &str) -> Json {
        let Distribution { temperature, top_k, top_p, min_p } = self.distribution;
        Json::of(&json!({
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
            "renderer": renderer,
        }))
    }
}

/// A decoder as a policy.
pub struct LocalPolicy {
    identity: PolicyIdentity,
    sampler: Sampler,
    tokenizer: Arc<Tokenizer>,
    renderer: Renderer,
    options: LocalOptions,
    context: usize,
    end_of_turn: u32,
    /// What all conversations began with.
    shared: Option<Prefix>,
    /// What several actions were sampled behind last.
    last: Option<Prefix>,
    /// The tokens of each conversation up to its last action.
    kept: BTreeMap<u64, Prefix>,
    counts: Counts,
}

impl LocalPolicy {
    /// Returns the policy of a model called `name`, whose weights and rendering have the
    /// fingerprint `version`. Its cache holds a context for each slot, or `cache_tokens` where that
    /// is less, and one context at least.
    ///
    /// # Errors
    /// A decoder that is not on the CPU, no memory for the cache; a renderer whose end of turn is
    /// no token.
    pub fn new(
        (name, version): (&str, &str),
        decoder: &Decoder,
        tokenizer: Arc<Tokenizer>,
        renderer: Renderer,
        options: LocalOptions,
        cache_tokens: usize,
    ) -> Result<LocalPolicy, PolicyError> {
        let end = renderer.end_of_turn();
        let end_of_turn = tokenizer
            .token_id(end)
            .ok_or_else(|| PolicyError::Local(format!("'{end}' is no token of the model")))?;
        let context = decoder.config().context_length;
        let all = options.slots.saturating_mul(context + SPARE_TOKENS);
        let sampler = SamplerOptions {
            slots: options.slots,
            cache_tokens: all.min(cache_tokens).max(context + SPARE_TOKENS),
            ..SamplerOptions::default()
        };
        let identity = PolicyIdentity {
            name: name.to_owned(),
            version: version.to_owned(),
            kind: PolicyKind::Local,
            sampling: options.to_json(renderer.name()),
        };
        Ok(LocalPolicy {
            identity,
            sampler: Sampler::new(decoder, sampler).map_err(failed)?,
            tokenizer,
            renderer,
            options,
            context,
            end_of_turn,
            shared: None,
            last: None,
            kept: BTreeMap::new(),
            counts: Counts::default(),
        })
    }

    /// Returns the policy with another word for how it is sampled: a judge is known by the sampling
    /// that it asks for.
    #[must_use]
    pub fn sampled_as(mut self, sampling: Json) -> LocalPolicy {
        self.identity.sampling = sampling;
        self
    }

    /// Lets go of all that the cache holds, after the weights of the decoder have moved, and
    /// samples from another distribution from now on. Its identity stays that of the beginning.
    pub fn renew(&mut self, distribution: Distribution) {
        self.options.distribution = distribution;
        (self.shared, self.last) = (None, None);
        self.kept.clear();
    }

    /// Returns what went through the model.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the renderer.
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Samples the states at `part`, which all find a slot.
    fn sampled(
        &mut self,
        requests: &[ActRequest],
        tokens: &[Vec<u32>],
        part: &[usize],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Proposed>, PolicyError> {
        self.make_room(tokens, part);
        let mut asked = Vec::with_capacity(part.len());
        for at in part {
            let ActRequest { conversation, seed, .. } = &requests[*at];
            let is_alone = part.iter().all(|other| other == at || tokens[*other] != tokens[*at]);
            let prompt = match is_alone {
                true => self.continued(*conversation, &tokens[*at]),
                false => self.read_once(&tokens[*at], cancelled),
            };
            asked.push(Request {
                prompt: prompt.map_err(failed)?,
                max_new_tokens: self.options.max_new_tokens,
                distribution: self.options.distribution,
                stop: Vec::new(),
                stop_tokens: vec![self.end_of_turn],
                seed: seed.unwrap_or(self.options.seed),
                keep: conversation.is_some(),
            });
        }
        let mut look = |_: &crate::lm::Progress| go_on(cancelled);
        let samples = self.sampler.run(&asked, Some(&self.tokenizer), &mut look);
        let samples = samples.map_err(failed)?;
        if cancelled() {
            return Err(PolicyError::Cancelled);
        }
        let Counts { steps, prompt_tokens, cached_tokens, new_tokens } = samples.counts;
        self.counts.steps += steps;
        self.counts.prompt_tokens += prompt_tokens;
        self.counts.cached_tokens += cached_tokens;
        self.counts.new_tokens += new_tokens;
        let mut proposed = Vec::with_capacity(part.len());
        for (at, mut sample) in part.iter().zip(samples.samples) {
            let conversation = requests[*at].conversation;
            if let (Some(prefix), Some(conversation)) = (sample.prefix.take(), conversation) {
                self.kept.insert(conversation, prefix);
            }
            proposed.push(self.read(sample, &tokens[*at]));
        }
        Ok(proposed)
    }

    /// Returns the prompt of `tokens` that begins with as much as is in the cache.
    fn continued(&mut self, conversation: Option<u64>, tokens: &[u32]) -> Result<Prompt, LmError> {
        let kept = conversation.and_then(|conversation| self.kept.remove(&conversation));
        let known = [kept.as_ref(), self.last.as_ref(), self.shared.as_ref()];
        let best = known.into_iter().flatten().max_by_key(|p| common(p.tokens(), tokens));
        let length = best.map_or(0, |prefix| common(prefix.tokens(), tokens));
        match best.filter(|_| length > 0) {
            None => Ok(Prompt::new(tokens.to_vec())),
            Some(prefix) => {
                let prefix = Some(prefix.head(length)?);
                Ok(Prompt { prefix, tokens: tokens[length..].to_vec() })
            }
        }
    }

    /// Returns the prompt of `tokens`, all of them in the cache: several actions are sampled there.
    fn read_once(
        &mut self,
        tokens: &[u32],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Prompt, LmError> {
        if self.last.as_ref().is_none_or(|last| last.tokens() != tokens) {
            let prompt = self.continued(None, tokens)?;
            self.counts.prompt_tokens += prompt.tokens.len() as u64;
            self.last = Some(self.sampler.prefill(&prompt, &mut |_| go_on(cancelled))?);
        }
        Ok(Prompt { prefix: self.last.clone(), tokens: Vec::new() })
    }

    /// Lets go of conversations until those at `part` fit in the cache.
    fn make_room(&mut self, tokens: &[Vec<u32>], part: &[usize]) {
        let longest = |at: &usize| tokens[*at].len() + self.options.max_new_tokens + SPARE_TOKENS;
        let needed: usize = part.iter().map(longest).sum();
        while self.sampler.free_cache_tokens() < needed && self.kept.pop_last().is_some() {}
        if self.sampler.free_cache_tokens() < needed {
            self.last = None;
        }
    }

    /// Reads what all states begin with into the cache, once.
    fn share(
        &mut self,
        tokens: &[Vec<u32>],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), PolicyError> {
        let Some(first) = tokens.first().filter(|_| self.shared.is_none()) else { return Ok(()) };
        let length = tokens.iter().map(|other| common(first, other)).min().unwrap_or(0);
        if tokens.len() > 1 && (SHARED_TOKENS..self.context).contains(&length) {
            let prompt = Prompt::new(first[..length].to_vec());
            let shared = self.sampler.prefill(&prompt, &mut |_| go_on(cancelled));
            self.shared = Some(shared.map_err(failed)?);
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
    fn read(&self, sample: Sample, state: &[u32]) -> Proposed {
        let finish_reason = sample.end.as_str();
        let text = sample.text.unwrap_or_default();
        let read = match finish_reason {
            "stop" => self.renderer.parse_action(&text),
            limit => Err(format!("it was cut by the limit of the {limit}")),
        };
        let (message, unread) = match read {
            Ok(action) => (action.into_message(), None),
            Err(reason) => (Message::new(role::ASSISTANT, text.clone()), Some(reason)),
        };
        let usage = Usage {
            prompt_tokens: Some(state.len() as u64),
            completion_tokens: Some(sample.tokens.len() as u64),
        };
        Proposed {
            message,
            text,
            unread,
            state_ids: Some(state.to_vec()),
            token_ids: Some(sample.tokens),
            log_probs: Some(sample.log_probs),
            finish_reason: Some(finish_reason.to_owned()),
            usage: Some(usage),
            ..Proposed::default()
        }
    }
}

impl Policy for LocalPolicy {
    fn identity(&self) -> &PolicyIdentity {
        &self.identity
    }

    fn act(
        &mut self,
        requests: &[ActRequest],
        cancelled: &dyn Fn() -> bool,
        on_done: &mut OnProposed<'_>,
    ) -> Result<(), PolicyError> {
        let mut tokens = Vec::with_capacity(requests.len());
        for request in requests {
            let messages: Vec<&Message> = request.messages.iter().collect();
            let tools = request.tools.as_ref().map(Json::of);
            let rendered = self.renderer.state(&messages, tools.as_ref());
            let rendered = rendered.map_err(|error| PolicyError::Local(error.to_string()))?;
            tokens.push(self.encoded(&rendered));
        }
        self.share(&tokens, cancelled)?;
        let (open, long): (Vec<usize>, Vec<usize>) =
            (0..requests.len()).partition(|at| tokens[*at].len() < self.context);
        for at in long {
            if on_done(at, Ok(full(tokens[at].len(), self.context))).is_break() {
                return Ok(());
            }
        }
        for part in open.chunks(self.options.slots.max(1)) {
            let proposed = self.sampled(requests, &tokens, part, cancelled)?;
            for (at, proposed) in part.iter().zip(proposed) {
                if on_done(*at, Ok(proposed)).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn forget(&mut self, conversation: u64) {
        self.kept.remove(&conversation);
    }
}

fn failed(error: LmError) -> PolicyError {
    PolicyError::Local(error.to_string())
}

fn go_on(cancelled: &dyn Fn() -> bool) -> ControlFlow<()> {
    if cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Returns with how many equal tokens both begin.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Returns what comes of a state that fills the context.
fn full(tokens: usize, context: usize) -> Proposed {
    Proposed {
        message: Message::new(role::ASSISTANT, ""),
        unread: Some(format!("its state has {tokens} tokens, and the context {context}")),
        finish_reason: Some("context".to_owned()),
        ..Proposed::default()
    }
}
