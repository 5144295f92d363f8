//! Which control tokens a model's tokenizer has for turns, and what leads up to a step.

use crate::model::{Message, Trajectory, role};

use super::choice::Vocabulary;
use super::error::RenderError;

/// How turns are marked: `start role role_end gap text end after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnForm {
    /// The control token at the very beginning, if any.
    pub begin: Option<&'static str>,
    /// The control token that opens a turn.
    pub start: &'static str,
    /// The control token behind the role, if any.
    pub role_end: Option<&'static str>,
    /// Plain text between role and content.
    pub gap: &'static str,
    /// The control token that ends a turn.
    pub end: &'static str,
    /// Plain text between turns.
    pub after: &'static str,
    /// What the policy's own role is called.
    pub policy: &'static str,
}

/// The forms looked for, in this order: ChatML (SmolLM, Qwen), Llama 3, Gemma.
const FORMS: [TurnForm; 3] = [
    TurnForm {
        begin: None,
        start: "<|im_start|>",
        role_end: None,
        gap: "\n",
        end: "<|im_end|>",
        after: "\n",
        policy: "assistant",
    },
    TurnForm {
        begin: Some("<|begin_of_text|>"),
        start: "<|start_header_id|>",
        role_end: Some("<|end_header_id|>"),
        gap: "\n\n",
        end: "<|eot_id|>",
        after: "",
        policy: "assistant",
    },
    TurnForm {
        begin: Some("<bos>"),
        start: "<start_of_turn>",
        role_end: None,
        gap: "\n",
        end: "<end_of_turn>",
        after: "\n",
        policy: "model",
    },
];

impl TurnForm {
    /// Returns the first known form whose control tokens the vocabulary has.
    ///
    /// # Errors
    /// [`RenderError::NoTurnForm`] when it has none of them.
    pub fn find(vocabulary: &Vocabulary) -> Result<TurnForm, RenderError> {
        let has = |token: &str| vocabulary.control_tokens.iter().any(|t| t == token);
        let fits = |form: &&TurnForm| {
            has(form.start)
                && has(form.end)
                && form.role_end.is_none_or(has)
                && form.begin.is_none_or(has)
        };
        FORMS.iter().find(fits).copied().ok_or_else(|| {
            let pairs = FORMS.iter().map(|f| format!("{} {}", f.start, f.end));
            RenderError::NoTurnForm { known: pairs.collect::<Vec<_>>().join(", ") }
        })
    }

    /// Returns the control tokens that end a turn in any known form.
    pub(super) fn known_ends() -> impl Iterator<Item = &'static str> {
        FORMS.iter().map(|form| form.end)
    }
}

/// Whether the state of `step` is not simply the transcript so far.
pub(super) fn is_edited(trajectory: &Trajectory, step: u32) -> bool {
    let index = step.saturating_sub(1) as usize;
    let Some(of) = trajectory.steps.get(index) else { return false };
    if of.context.is_none() {
        return false;
    }
    let seen: usize = trajectory.steps[..index].iter().map(|s| 1 + s.observation.len()).sum();
    let natural = trajectory.transcript().take(trajectory.prompt.len() + seen);
    !trajectory.state(step).into_iter().eq(natural)
}

/// For each message: which call of the action before it a tool's result answers, from 1, where
/// that action made several.
pub(super) fn answered_calls(messages: &[&Message]) -> Vec<Option<usize>> {
    let mut ids: Vec<Option<&str>> = Vec::new();
    let mut results = 0;
    let mut answered = Vec::with_capacity(messages.len());
    for message in messages {
        if message.role == role::TOOL {
            results += 1;
            let id = message.tool_call_id.as_deref();
            let named = id.and_then(|id| ids.iter().position(|i| *i == Some(id)));
            answered.push((ids.len() > 1).then(|| named.map_or(results, |at| at + 1)));
            continue;
        }
        if !message.tool_calls.is_empty() {
            ids = message.tool_calls.iter().map(|call| call.id.as_deref()).collect();
            results = 0;
        }
        answered.push(None);
    }
    answered
}

/// How many messages at the head of a state stay whatever is cut: the instructions.
pub(super) fn fixed_head(state: &[&Message]) -> usize {
    let fixed = |m: &&&Message| m.role == role::SYSTEM || m.role == role::DEVELOPER;
    state.iter().take_while(fixed).count()
}

/// The numbers of turns that can be cut from the state of `step`, the oldest first and the
/// instructions spared: what is left begins with no tool's result and is not empty.
pub(super) fn possible_cuts(state: &[&Message]) -> Vec<usize> {
    let head = fixed_head(state);
    let turns = state.len() - head;
    (1..turns).filter(|cut| state[head + cut].role != role::TOOL).collect()
}

/// Returns the state without `cut` of its oldest turns, and for each message left its index in
/// the whole state.
pub(super) fn cut_state(length: usize, head: usize, cut: usize) -> Vec<usize> {
    (0..head).chain((head + cut).min(length)..length).collect()
}
