//! Models of this process as policies.

use serde_json::{Value, json};

use super::request::RolloutOptions;
use crate::lm::{Distribution, LoadedModel, Tokenizer};
use crate::model::{Json, Message, Step, ToolCall, Trajectory, role};
use crate::render::{Renderer, RendererChoice};
use crate::rollout::{Act, Actor, Episode, LocalOptions, LocalPolicy, RolloutError, State};
use crate::session::error::SessionError;
use crate::session::statement::Session;
use crate::train::vocabulary_of;

/// The part of the session's memory that the cache of a sampler may take: one in so many.
const CACHE_SHARE: usize = 2;

/// Returns the policy of a model that the options ask for.
pub(super) fn local<'a>(
    session: &Session,
    model: &LoadedModel,
    tokenizer: &'a Tokenizer,
    options: &RolloutOptions,
    tools: Option<&Json>,
) -> Result<LocalPolicy<'a>, SessionError> {
    let renderer = renderer(model, tokenizer, options.renderer, tools)?;
    let local = LocalOptions {
        distribution: Distribution {
            temperature: options.temperature,
            top_k: options.top_k,
            top_p: options.top_p,
            min_p: options.min_p,
        },
        max_new_tokens: options.max_new_tokens,
        slots: options.slots.max(1),
    };
    let bytes_a_token = crate::lm::SamplerOptions {
        slots: 1,
        cache_tokens: 1 << 10,
        ..crate::lm::SamplerOptions::default()
    }
    .memory_bytes(model.decoder.config())
        / (1 << 10);
    let room = session.options().memory_bytes / CACHE_SHARE;
    let cache_tokens = room / (bytes_a_token as usize).max(1);
    Ok(LocalPolicy::new(&model.decoder, tokenizer, renderer, local, cache_tokens)?)
}

/// Returns the renderer that is asked for; left to choose, the model's template where it loses
/// nothing of calls, results and answers.
fn renderer(
    model: &LoadedModel,
    tokenizer: &Tokenizer,
    choice: RendererChoice,
    tools: Option<&Json>,
) -> Result<Renderer, SessionError> {
    let vocabulary = vocabulary_of(tokenizer);
    let failed = |e: crate::render::RenderError| SessionError::mistake("renderer", e.to_string());
    if choice != RendererChoice::Tags {
        let template = model.chat_template.as_deref();
        let tried = Renderer::of_template(template, &vocabulary);
        let tried = tried.and_then(|r| r.trajectory(&probe(tools), &[1, 2]).map(|_| r));
        match tried {
            Ok(renderer) => return Ok(renderer),
            Err(error) if choice == RendererChoice::Template => return Err(failed(error)),
            Err(_) => {}
        }
    }
    Renderer::of_tags(&vocabulary).map_err(failed)
}

/// Returns a trajectory with everything that a rollout writes.
fn probe(tools: Option<&Json>) -> Trajectory {
    let call = ToolCall {
        id: None,
        name: "search".to_owned(),
        arguments: "{\"query\": \"the words\"}".to_owned(),
    };
    let acts = Message { tool_calls: vec![call], ..Message::new(role::ASSISTANT, "First this.") };
    let result =
        Message { name: Some("search".to_owned()), ..Message::new(role::TOOL, "what was found") };
    let answers = Message::new(role::ASSISTANT, "So it is. <answer>this</answer>");
    Trajectory {
        tools: tools.cloned(),
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

/// Plays episodes with a model of this process.
pub(super) struct LocalActor<'a, 'b> {
    pub(super) session: &'a Session,
    pub(super) policy: LocalPolicy<'b>,
    pub(super) seed: u64,
}

impl Actor for LocalActor<'_, '_> {
    fn act(
        &mut self,
        episodes: &[&Episode],
        tools: Option<&Json>,
    ) -> Result<Vec<Act>, RolloutError> {
        let states: Vec<State<'_>> = episodes
            .iter()
            .map(|episode| State {
                conversation: drawn(self.seed, episode, 0),
                messages: episode.state(),
                tools,
                seed: drawn(self.seed, episode, episode.next_step()),
            })
            .collect();
        let cancel = self.session.cancel();
        self.policy.act(&states, &mut |_| match cancel.is_cancelled() {
            true => std::ops::ControlFlow::Break(()),
            false => std::ops::ControlFlow::Continue(()),
        })
    }

    fn ended(&mut self, episode: &Episode) {
        self.policy.forget(drawn(self.seed, episode, 0));
    }
}

/// Returns the seed of a step of an episode; of step 0 it is a name of the episode.
fn drawn(seed: u64, episode: &Episode, step: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    let id = episode.question().id.as_bytes();
    hasher.update(b"swirldb rollout 1").update(&seed.to_le_bytes());
    hasher.update(&(id.len() as u64).to_le_bytes()).update(id);
    hasher.update(&episode.sample().to_le_bytes()).update(&step.to_le_bytes());
    let mut out = [0; 8];
    hasher.finalize_xof().fill(&mut out);
    u64::from_le_bytes(out)
}

/// Returns how a policy is sampled, for what is stored with its trajectories.
pub(super) fn sampler_json(options: &RolloutOptions, renderer: &str, policy: &str) -> Value {
    json!({
        "temperature": options.temperature,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "min_p": options.min_p,
        "max_new_tokens": options.max_new_tokens,
        "seed": options.seed,
        "renderer": renderer,
        "policy": policy,
    })
}
