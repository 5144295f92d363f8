//! Samples of a model at stored states: actions that are proposed and not executed.
//!
//! The states of a trajectory are read once: the cache of the longest is the cache of all whose
//! tokens begin it. What a sample is depends on model, state, settings, and a seed made of the
//! statement's seed, the state and the sample's number: not on what else is sampled with it.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::examples::examples;
use super::model::{identity, load_frozen};
use crate::lm::{
    Counts, Distribution, LmError, LoadedModel, Prompt, Request, Sample, Sampler, SamplerOptions,
    Tokenizer,
};
use crate::query::Scope;
use crate::render::{RenderError, Renderer, RendererChoice};
use crate::session::error::SessionError;
use crate::session::select::{only_query, select};
use crate::session::statement::Session;
use crate::store::View;
use crate::train::{Example, policy_fingerprint, vocabulary_of};

/// Trajectories that are fetched together.
const TOGETHER: usize = 256;

/// How states are sampled.
#[derive(Clone, Debug)]
pub struct SampleOptions {
    /// A model's file or folder, or an adapter's folder.
    pub model: PathBuf,
    /// Samples of each state.
    pub n: usize,
    /// What tokens are drawn from.
    pub distribution: Distribution,
    /// A sample ends with this many tokens at the latest.
    pub max_new_tokens: usize,
    /// Texts that end a sample.
    pub stop: Vec<String>,
    /// Where random numbers come from.
    pub seed: u64,
    /// How many samples are drawn at a time.
    pub slots: usize,
    /// How messages become text.
    pub renderer: RendererChoice,
}

/// What was sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleReport {
    /// States.
    pub states: u64,
    /// Samples.
    pub samples: u64,
    /// States without room for a token.
    pub too_long: u64,
    /// What went through the model.
    pub counts: Counts,
}

/// A state as tokens.
struct State<'a> {
    example: &'a Example,
    step: u32,
    tokens: Vec<u32>,
}

/// Samples actions at the states of the rows that `query` selects, and hands each to `write` as a
/// JSON object, in the order of trajectories, steps and samples.
///
/// # Errors
/// The query's; a model that cannot be loaded or a state that it cannot read; memory that the
/// session does not have.
pub fn sample(
    session: &Session,
    query: &str,
    options: &SampleOptions,
    write: &mut dyn FnMut(Value) -> Result<(), SessionError>,
) -> Result<SampleReport, SessionError> {
    let statements = session.parse(query)?;
    let selected = only_query(&statements, "sample")?;
    let model = load_frozen(session, &options.model, None)?;
    let Some(tokenizer) = &model.tokenizer else {
        return Err(SessionError::mistake("model", "the model has no tokenizer"));
    };
    let view = session.database().view();
    let (database, cancel, parameters) =
        (session.database(), session.cancel(), &session.parameters());
    let scope = Scope { database, view: &view, cancel, text: query, parameters };
    let mut rows = select(session, &scope, selected, None)?.rows;
    rows.sort_by_key(|row| (row.trajectory, row.step));
    rows.dedup();
    let examples = examples(&view, &rows)?;
    let template = model.chat_template.as_deref();
    let (renderer, states) = states(&view, &examples, options.renderer, template, tokenizer)?;
    let policy = policy_fingerprint(&identity(&model), tokenizer, &renderer, template);
    let mut report = SampleReport { states: states.len() as u64, ..SampleReport::default() };
    let context = model.decoder.config().context_length;
    let (states, long): (Vec<_>, Vec<_>) =
        states.into_iter().partition(|state| state.tokens.len() < context);
    report.too_long = long.len() as u64;
    let Some(longest) = states.iter().map(|state| state.tokens.len()).max() else {
        return Ok(report);
    };
    let task = Task { session, options, tokenizer, end: renderer.end_of_turn(), policy };
    let mut sampler = task.sampler(&model, longest)?;
    session.progress().begin("sampling actions", (states.len() * options.n) as u64);
    let mut rest = states.as_slice();
    while !rest.is_empty() {
        let count = task.fitting(rest, sampler.cache_tokens());
        let (part, after) = rest.split_at(count);
        rest = after;
        for line in task.sample(&mut sampler, part, &mut report)? {
            write(line)?;
        }
    }
    Ok(report)
}

/// Returns the renderer and the states of all chosen steps as tokens.
fn states<'a>(
    view: &View,
    examples: &'a [Example],
    choice: RendererChoice,
    template: Option<&str>,
    tokenizer: &Tokenizer,
) -> Result<(Renderer, Vec<State<'a>>), SessionError> {
    let vocabulary = vocabulary_of(tokenizer);
    let failed = |error: RenderError| SessionError::mistake("sample", error.to_string());
    let render = |renderer: Renderer| -> Result<Result<_, RenderError>, SessionError> {
        let states = rendered(view, examples, &renderer, tokenizer)?;
        Ok(states.map(|states| (renderer, states)))
    };
    if choice != RendererChoice::Tags {
        let found = match Renderer::of_template(template, &vocabulary) {
            Ok(renderer) => render(renderer)?,
            Err(error) => Err(error),
        };
        match (found, choice) {
            (Err(_), RendererChoice::Auto) => {}
            (found, _) => return found.map_err(failed),
        }
    }
    render(Renderer::of_tags(&vocabulary).map_err(failed)?)?.map_err(failed)
}

/// Returns the states of all chosen steps, or which of them cannot be rendered and why.
fn rendered<'a>(
    view: &View,
    examples: &'a [Example],
    renderer: &Renderer,
    tokenizer: &Tokenizer,
) -> Result<Result<Vec<State<'a>>, RenderError>, SessionError> {
    let mut states = Vec::new();
    for part in examples.chunks(TOGETHER) {
        let keys: Vec<u64> = part.iter().map(|example| example.key).collect();
        for (example, of) in part.iter().zip(view.trajectories(&keys)?) {
            for chosen in &example.steps {
                let rendered = renderer.state(&of.state(chosen.step), of.tools.as_ref());
                let sequence = match rendered {
                    Ok(sequence) => sequence,
                    Err(error) => return Ok(Err(error)),
                };
                let mut tokens = Vec::new();
                for piece in &sequence.segments {
                    tokens.extend(match piece.control {
                        true => tokenizer.encode_with_special(&piece.text),
                        false => tokenizer.encode(&piece.text),
                    });
                }
                states.push(State { example, step: chosen.step, tokens });
            }
        }
    }
    Ok(Ok(states))
}

/// What all samples of a run share.
struct Task<'a> {
    session: &'a Session,
    options: &'a SampleOptions,
    tokenizer: &'a Tokenizer,
    /// The control token that ends a turn.
    end: &'a str,
    policy: String,
}

impl Task<'_> {
    /// Returns a sampler whose cache holds the longest state and the samples of all slots.
    fn sampler(&self, model: &LoadedModel, longest: usize) -> Result<Sampler, SessionError> {
        let defaults = SamplerOptions::default();
        let drawn = self.options.slots * (self.options.max_new_tokens + 32);
        let cache_tokens = (longest + 32 + drawn).max(defaults.cache_tokens);
        let options = SamplerOptions { slots: self.options.slots, cache_tokens, ..defaults };
        let needed = options.memory_bytes(model.decoder.config());
        let limit = self.session.options().memory_bytes as u64;
        if needed > limit {
            let (needed, limit) = (needed >> 20, limit >> 20);
            let message = format!(
                "sampling takes {needed} MB beside the weights, and the limit is {limit} MB: raise \
                 --memory-limit, or lower --slots or --max-new-tokens"
            );
            return Err(SessionError::mistake("sample", message));
        }
        Ok(Sampler::new(&model.decoder, options)?)
    }

    /// Returns how many of the first states are sampled together: whole trajectories whose longest
    /// states fit in the cache beside what is drawn, at least one.
    fn fitting(&self, states: &[State<'_>], cache_tokens: usize) -> usize {
        let drawn = self.options.slots * (self.options.max_new_tokens + 32);
        let room = cache_tokens.saturating_sub(drawn);
        let (mut used, mut count) = (0, 0);
        for part in states.chunk_by(|a, b| a.example.key == b.example.key) {
            let longest = part.iter().map(|state| state.tokens.len() + 32).max().unwrap_or(0);
            if count > 0 && used + longest > room {
                break;
            }
            used += longest;
            count += part.len();
        }
        count
    }

    /// Samples some states and returns a line for each sample.
    fn sample(
        &self,
        sampler: &mut Sampler,
        states: &[State<'_>],
        report: &mut SampleReport,
    ) -> Result<Vec<Value>, SessionError> {
        let mut requests = Vec::new();
        let mut prefixes: Vec<crate::lm::Prefix> = Vec::new();
        for of_one in states.chunk_by(|a, b| a.example.key == b.example.key) {
            let longest = of_one.iter().max_by_key(|state| state.tokens.len());
            let prefix = match longest {
                Some(longest) => self.prefill(sampler, &longest.tokens)?,
                None => continue,
            };
            report.counts.prompt_tokens += prefix.tokens().len() as u64;
            for state in of_one {
                let prompt = match prefix.tokens().starts_with(&state.tokens) {
                    true => {
                        Prompt { prefix: Some(prefix.head(state.tokens.len())?), tokens: vec![] }
                    }
                    false => Prompt::new(state.tokens.clone()),
                };
                requests.extend((0..self.options.n).map(|n| self.request(state, n, &prompt)));
            }
            prefixes.push(prefix);
        }
        let mut ended = 0;
        let (progress, cancel) = (self.session.progress(), self.session.cancel());
        let mut watch = |now: &crate::lm::Progress| {
            progress.advance((now.ended - ended) as u64);
            ended = now.ended;
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let samples = sampler.run(&requests, Some(self.tokenizer), &mut watch)?;
        if cancel.is_cancelled() {
            return Err(SessionError::Cancelled);
        }
        report.samples += samples.samples.len() as u64;
        report.counts.steps += samples.counts.steps;
        report.counts.prompt_tokens += samples.counts.prompt_tokens;
        report.counts.cached_tokens += samples.counts.cached_tokens;
        report.counts.new_tokens += samples.counts.new_tokens;
        let numbered = samples.samples.iter().zip(&requests).enumerate();
        let lines = numbered.map(|(at, (sample, request))| {
            let state = &states[at / self.options.n];
            self.line(state, at % self.options.n, request.seed, sample)
        });
        Ok(lines.collect())
    }

    fn prefill(&self, sampler: &mut Sampler, tokens: &[u32]) -> Result<crate::lm::Prefix, LmError> {
        let cancel = self.session.cancel();
        sampler.prefill(&Prompt::new(tokens.to_vec()), &mut |_| match cancel.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }

    fn request(&self, state: &State<'_>, number: usize, prompt: &Prompt) -> Request {
        let of = &state.example.trajectory;
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"swirldb sample 1").update(&self.options.seed.to_le_bytes());
        for text in [&of.source, &of.id] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        hasher.update(&state.step.to_le_bytes()).update(&(number as u64).to_le_bytes());
        let mut seed = [0; 8];
        hasher.finalize_xof().fill(&mut seed);
        Request {
            prompt: prompt.clone(),
            max_new_tokens: self.options.max_new_tokens,
            distribution: self.options.distribution,
            stop: self.options.stop.clone(),
            stop_tokens: self.tokenizer.token_id(self.end).into_iter().collect(),
            seed: u64::from_le_bytes(seed),
            keep: false,
        }
    }

    fn line(&self, state: &State<'_>, number: usize, seed: u64, sample: &Sample) -> Value {
        let of = &state.example.trajectory;
        json!({
            "source": of.source,
            "trajectory_id": of.id,
            "step": state.step,
            "sample": number,
            "text": sample.text,
            "finish_reason": sample.end.as_str(),
            "token_ids": sample.tokens,
            "logprobs": sample.log_probs,
            "seed": seed,
            "policy": self.policy,
        })
    }
}
