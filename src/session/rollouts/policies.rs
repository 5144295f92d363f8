//! Who acts: a model in this process, or one behind a chat server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::chat::{ApiKey, ChatClient, ChatOptions, Sampling};
use crate::lm::{Decoder, Distribution, SamplerOptions, Tokenizer};
use crate::model::{Json, Message, Step, ToolCall, Trajectory, role};
use crate::render::{Renderer, RendererChoice};
use crate::rollout::judge::{JudgeParts, Reading};
use crate::rollout::{
    CallForm, Episode, LocalOptions, LocalPolicy, Policy, Protocol, RemotePolicy, RolloutError,
    StopTags, sampling_json,
};
use crate::session::error::SessionError;
use crate::session::options;
use crate::session::recordings::SystemClock;
use crate::session::statement::Session;
use crate::session::training::{identity, load_frozen, weights_of};
use crate::tools::{CallKind, RecordMode, Recorder};
use crate::train::{policy_fingerprint, vocabulary_of};

/// The part of the session's memory that the cache of a sampler may take: one in so many.
const CACHE_SHARE: usize = 2;

/// Who acts, and how it is sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::session) struct PolicyOptions {
    /// A file, a folder, a repository of the hub, or `run:NAME`; at a server the name it has there.
    pub(super) model: String,
    /// The address of a chat server, such as `http://localhost:8000/v1`; empty for this process.
    pub(super) base_url: String,
    /// Which weights the server has.
    pub(super) revision: String,
    /// The environment variable with the server's key.
    pub(super) api_key_env: String,
    /// Requests under way at once.
    pub(super) concurrency: usize,
    /// Requests a minute; 0 for any number.
    pub(super) requests_per_minute: u32,
    /// How long an answer of the server may take, in seconds.
    pub(super) timeout: u64,
    pub(super) max_retries: u32,
    /// Where calls of tools and servers are recorded; empty for nowhere.
    pub(super) cassette: String,
    /// How they are recorded and replayed: `once`, `new_episodes`, `all`, `none`.
    pub(super) record: String,
    pub(super) temperature: f64,
    pub(super) top_k: usize,
    pub(super) top_p: f64,
    pub(super) min_p: f64,
    pub(super) max_new_tokens: usize,
    /// Where random numbers come from.
    pub(super) seed: u64,
    /// How many actions are sampled at a time; of a server it is how many episodes are alive.
    pub(super) slots: usize,
    pub(super) renderer: RendererChoice,
}

impl Default for PolicyOptions {
    fn default() -> PolicyOptions {
        PolicyOptions {
            model: String::new(),
            base_url: String::new(),
            revision: String::new(),
            api_key_env: String::new(),
            concurrency: 8,
            requests_per_minute: 0,
            timeout: 600,
            max_retries: 4,
            cassette: String::new(),
            record: "new_episodes".to_owned(),
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            max_new_tokens: 256,
            seed: 0,
            slots: 8,
            renderer: RendererChoice::Auto,
        }
    }
}

/// Options of models behind a chat server.
pub(super) const OF_SERVER: [&str; 6] =
    ["revision", "api_key_env", "concurrency", "requests_per_minute", "timeout", "max_retries"];

impl PolicyOptions {
    /// Checks that every option that is given has an effect; `records` says whether calls of tools
    /// are recorded.
    ///
    /// # Errors
    /// One that has none.
    pub(super) fn check(&self, records: bool) -> Result<(), SessionError> {
        // The verbs differ in their temperature, which every policy has.
        let defaults = PolicyOptions { temperature: self.temperature, ..PolicyOptions::default() };
        let is_server = !self.base_url.is_empty();
        for name in options::given(self, &defaults)? {
            let why = match name.as_str() {
                name if OF_SERVER.contains(&name) && !is_server => {
                    "it is for a chat server, and there is no base_url"
                }
                "renderer" if is_server => {
                    "it is for a model of this process: a server renders by itself"
                }
                "cassette" if !(is_server || records) => {
                    "calls of servers and of tools over corpora are recorded, and there are none; \
                     the seed gives the same actions again"
                }
                "record" if self.cassette.is_empty() => {
                    "it says how a cassette is used, and there is none"
                }
                _ => continue,
            };
            let message = format!("option '{name}' has no effect: {why}; drop it");
            return Err(SessionError::mistake("policy", message));
        }
        Ok(())
    }

    /// Returns what records calls, where that is asked for.
    ///
    /// # Errors
    /// A mode that is none.
    pub(super) fn recorder(
        &self,
        session: &Session,
    ) -> Result<Option<Arc<Recorder>>, SessionError> {
        if self.cassette.is_empty() {
            return Ok(None);
        }
        let mode = RecordMode::parse(&self.record).ok_or_else(|| {
            let message =
                format!("record = '{}': expected once, new_episodes, all or none", self.record);
            SessionError::mistake("recording", message)
        })?;
        Ok(Some(Arc::new(session.recorder(&self.cassette, mode)?)))
    }

    /// Returns the fields of a request to a server that OpenAI's do not have.
    fn extra(&self) -> Map<String, Value> {
        let mut extra = Map::new();
        if self.top_k > 0 {
            extra.insert("top_k".to_owned(), self.top_k.into());
        }
        if self.min_p > 0.0 {
            extra.insert("min_p".to_owned(), self.min_p.into());
        }
        extra
    }

    fn distribution(&self) -> Distribution {
        let PolicyOptions { temperature, top_k, top_p, min_p, .. } = *self;
        Distribution { temperature, top_k, top_p, min_p }
    }
}

/// How actions are written.
pub(super) struct Writing<'a> {
    pub(super) protocol: &'a Protocol,
    /// The tools as a policy is offered them, where it calls them natively.
    pub(super) offered: Option<&'a Json>,
    /// What a server is asked to do at a tag that ends an action.
    pub(super) stop_tags: StopTags,
}

impl Writing<'_> {
    /// Refuses an option that would say nothing.
    fn check(&self, options: &PolicyOptions) -> Result<(), SessionError> {
        let form = self.protocol.action_form;
        let why = match (self.stop_tags, form) {
            (StopTags::Restored, _) => return Ok(()),
            (_, CallForm::Calls) => "it is for action_form = 'tags'",
            (_, CallForm::Tags) if options.base_url.is_empty() => {
                "it is for a server (base_url): a model of this process ends its turn itself"
            }
            (_, CallForm::Tags) => return Ok(()),
        };
        Err(SessionError::mistake("policy", format!("stop_tags: {why}; drop it")))
    }
}

/// A policy, and what is pinned of its weights.
pub(super) struct Opened {
    pub(super) policy: Box<dyn Policy>,
    pub(super) weights: Value,
}

/// Returns the policy that the options ask for; where it is elsewhere its calls go through
/// `recorder`, and it stops at the tags that end an action.
pub(super) fn policy(
    session: &Session,
    options: &PolicyOptions,
    recorder: Option<&Arc<Recorder>>,
    writing: &Writing<'_>,
) -> Result<Opened, SessionError> {
    writing.check(options)?;
    if options.model.is_empty() {
        let message = "which model? model = 'path/to/model', 'run:NAME' of a training run, or the \
                       name that a server knows it by, with base_url";
        return Err(SessionError::mistake("model", message));
    }
    if options.base_url.is_empty() {
        let (policy, weights) =
            local(session, options, &probe(writing.protocol.action_form, writing.offered))?;
        return Ok(Opened { policy: Box::new(policy), weights });
    }
    let sampling = Sampling {
        temperature: Some(options.temperature),
        top_p: Some(options.top_p).filter(|p| *p < 1.0),
        max_tokens: Some(u32::try_from(options.max_new_tokens).unwrap_or(u32::MAX)),
        extra: options.extra(),
        ..Sampling::default()
    };
    let mut policy = remote(options, sampling, recorder, CallKind::Policy)?;
    if writing.protocol.action_form == CallForm::Tags {
        policy = policy.stopping_at(writing.protocol.tags.closing_tags(), writing.stop_tags);
    }
    Ok(Opened { policy: Box::new(policy), weights: Value::Null })
}

/// Returns the policy of a judge, and says in its parts which model it is and how it is sampled.
pub(super) fn judging_policy(
    session: &Session,
    options: &PolicyOptions,
    parts: &mut JudgeParts,
) -> Result<Box<dyn Policy>, SessionError> {
    let is_sampled = options.temperature > 0.0;
    parts.sampling.temperature = Some(options.temperature);
    parts.sampling.seed = Some(options.seed).filter(|_| is_sampled);
    parts.sampling.top_p = Some(options.top_p).filter(|p| is_sampled && *p < 1.0);
    if is_sampled {
        parts.sampling.extra = options.extra();
    }
    if options.max_new_tokens > 0 {
        let tokens = u32::try_from(options.max_new_tokens).unwrap_or(u32::MAX);
        parts.sampling.max_tokens = Some(tokens);
    }
    if options.base_url.is_empty() {
        if parts.reading == Reading::Probability {
            // All probabilities are known here: the words themselves are looked up.
            parts.reading = Reading::Scored;
            parts.sampling = Sampling::default();
        }
        let max_new_tokens = parts.sampling.max_tokens.unwrap_or(1) as usize;
        let options = PolicyOptions { max_new_tokens, ..options.clone() };
        if options.model.is_empty() {
            let message = "which model judges? model = 'path/to/model', or base_url";
            return Err(SessionError::mistake("model", message));
        }
        let (policy, _) = local(session, &options, &probe(CallForm::Calls, None))?;
        parts.model = policy.identity().name.clone();
        parts.revision = policy.identity().version.clone();
        return Ok(Box::new(policy.sampled_as(sampling_json(&parts.sampling))));
    }
    parts.model = options.model.clone();
    parts.revision = options.revision.clone();
    let recorder = options.recorder(session)?;
    let sampling = parts.sampling.clone();
    Ok(Box::new(remote(options, sampling, recorder.as_ref(), CallKind::Judge)?))
}

/// Returns the policy of a server.
fn remote(
    options: &PolicyOptions,
    sampling: Sampling,
    recorder: Option<&Arc<Recorder>>,
    kind: CallKind,
) -> Result<RemotePolicy, SessionError> {
    let wrong = |message: String| SessionError::mistake("policy", message);
    let mut chat = ChatOptions::new(&options.base_url, &options.model);
    chat.concurrency = options.concurrency.max(1);
    chat.requests_per_minute = Some(options.requests_per_minute).filter(|n| *n > 0);
    chat.timeout = Duration::from_secs(options.timeout.max(1));
    chat.max_retries = options.max_retries;
    if !options.api_key_env.is_empty() {
        let key = std::env::var(&options.api_key_env).map_err(|_| {
            wrong(format!(
                "the environment has no {}, which api_key_env names",
                options.api_key_env
            ))
        })?;
        chat.api_key = Some(ApiKey::new(&key));
        chat.api_key_env = Some(options.api_key_env.clone());
    }
    let clock = Arc::new(SystemClock::new());
    let client = ChatClient::new(chat, clock).map_err(|e| wrong(e.to_string()))?;
    let policy = RemotePolicy::new(Arc::new(client), &options.revision, sampling);
    let policy = policy.map_err(|e| wrong(e.to_string()))?;
    Ok(match recorder {
        Some(recorder) => policy.recorded(recorder.clone(), kind),
        None => policy,
    })
}

/// Returns the policy of a model in this process, whose renderer loses nothing of `probe`.
fn local(
    session: &Session,
    options: &PolicyOptions,
    probe: &Trajectory,
) -> Result<(LocalPolicy, Value), SessionError> {
    let mut model = load_frozen(session, Path::new(&options.model), None)?;
    let (weights, named) = (weights_of(&model), identity(&model));
    let Some(tokenizer) = model.tokenizer.take().map(Arc::new) else {
        return Err(SessionError::mistake("model", "the model has no tokenizer"));
    };
    let template = model.chat_template.as_deref();
    let renderer = renderer(template, &tokenizer, options.renderer, probe)?;
    let version = policy_fingerprint(&named, &tokenizer, &renderer, template);
    let slots = options.slots.max(1);
    let local = LocalOptions {
        distribution: options.distribution(),
        max_new_tokens: options.max_new_tokens,
        slots,
        seed: options.seed,
    };
    let cache_tokens = cache_tokens(session, &model.decoder);
    let name = (options.model.as_str(), version.as_str());
    let policy = LocalPolicy::new(name, &model.decoder, tokenizer, renderer, local, cache_tokens);
    Ok((policy.map_err(RolloutError::from)?, weights))
}

/// Returns how many tokens the cache of a sampler may hold.
pub(super) fn cache_tokens(session: &Session, decoder: &Decoder) -> usize {
    let of_cache = SamplerOptions { slots: 1, cache_tokens: 1 << 10, ..Default::default() };
    let bytes_a_token = of_cache.memory_bytes(decoder.config()) >> 10;
    let room = session.options().memory_bytes / CACHE_SHARE;
    room / (bytes_a_token as usize).max(1)
}

/// Returns the renderer that is asked for; left to choose, the model's template where it loses
/// nothing of the calls, results and answers of `probe`.
pub(super) fn renderer(
    template: Option<&str>,
    tokenizer: &Tokenizer,
    choice: RendererChoice,
    probe: &Trajectory,
) -> Result<Renderer, SessionError> {
    let vocabulary = vocabulary_of(tokenizer);
    let failed = |e: crate::render::RenderError| SessionError::mistake("renderer", e.to_string());
    if choice != RendererChoice::Tags {
        let tried = Renderer::of_template(template, &vocabulary);
        let tried = tried.and_then(|r| r.trajectory(probe, &[1, 2]).map(|_| r));
        match tried {
            Ok(renderer) => return Ok(renderer),
            Err(error) if choice == RendererChoice::Template => return Err(failed(error)),
            Err(_) => {}
        }
    }
    Renderer::of_tags(&vocabulary).map_err(failed)
}

/// Returns a trajectory with everything that a rollout writes.
pub(super) fn probe(form: CallForm, offered: Option<&Json>) -> Trajectory {
    let call = ToolCall {
        id: None,
        name: "search".to_owned(),
        arguments: "{\"query\": \"the words\"}".to_owned(),
    };
    let (acts, result) = match form {
        CallForm::Calls => {
            let name = Some("search".to_owned());
            (
                Message { tool_calls: vec![call], ..Message::new(role::ASSISTANT, "First this.") },
                Message { name, ..Message::new(role::TOOL, "what was found") },
            )
        }
        CallForm::Tags => (
            Message::new(role::ASSISTANT, "First. <search_query>the words</search_query>"),
            Message::new(role::USER, "the words -> what was found"),
        ),
    };
    let answers = Message::new(role::ASSISTANT, "So it is. <answer>this</answer>");
    Trajectory {
        tools: offered.cloned(),
        prompt: vec![
            Message::new(role::SYSTEM, "Instructions."),
            Message::new(role::USER, "A question?"),
        ],
        steps: vec![
            Step { action: acts, observation: vec![result], ..Step::default() },
            Step { action: answers, ..Step::default() },
        ],
        ..Trajectory::default()
    }
}

/// Returns the seed of a step of an episode; of step 0 it is a name of the episode.
pub(super) fn drawn(seed: u64, episode: &Episode, step: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    let id = episode.question().id.as_bytes();
    hasher.update(b"swirldb rollout 1").update(&seed.to_le_bytes());
    hasher.update(&(id.len() as u64).to_le_bytes()).update(id);
    hasher.update(&episode.sample().to_le_bytes()).update(&step.to_le_bytes());
    let mut out = [0; 8];
    hasher.finalize_xof().fill(&mut out);
    u64::from_le_bytes(out)
}
