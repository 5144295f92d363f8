//! What a policy is: a state and tools in, an action out.

use std::ops::ControlFlow;

use serde_json::Value;

use crate::chat::{ChatError, ScoredToken, Usage};
use crate::model::{Json, Message};
use crate::tools::RecordError;

/// Where a policy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Behind an address.
    Remote,
    /// In this process.
    Local,
}

impl PolicyKind {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyKind::Remote => "remote",
            PolicyKind::Local => "local",
        }
    }
}

/// Who a policy is: everything that its actions may depend on but the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyIdentity {
    /// Its name.
    pub name: String,
    /// Its revision or the fingerprint of its weights: other weights, another version.
    pub version: String,
    /// Where it runs.
    pub kind: PolicyKind,
    /// How it is sampled: a JSON object.
    pub sampling: Json,
}

/// One conversation that waits for its next action.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActRequest {
    /// The state: the prompt, then all actions and observations so far.
    pub messages: Vec<Message>,
    /// The tools on offer, as a list of functions in OpenAI's form.
    pub tools: Option<Value>,
    /// The seed of this action; `None`: that of the policy's sampling, if it has one.
    pub seed: Option<u64>,
    /// What tells the conversation from all others that are alive: a policy in this process keeps
    /// its tokens until the next turn.
    pub conversation: Option<u64>,
}

/// An action that was proposed. It is not executed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proposed {
    /// The action.
    pub message: Message,
    /// The text that the policy wrote; of a remote one, what the server shows as content.
    pub text: String,
    /// Why the text is no action, where it is none; the message holds the text as it is then.
    pub unread: Option<String>,
    /// The state in the policy's tokens, of a policy in this process.
    pub state_ids: Option<Vec<u32>>,
    /// The action in the policy's tokens, where they are known.
    pub token_ids: Option<Vec<u32>>,
    /// The natural logarithm of each token's probability, where it is known. A server may count
    /// other tokens here than in `token_ids`: who trains on both compares their lengths.
    pub log_probs: Option<Vec<f32>>,
    /// The tokens as texts, with the likeliest ones of each place, where they were asked for.
    pub tokens: Option<Vec<ScoredToken>>,
    /// Why it ended (`stop`, `length`, `tool_calls`).
    pub finish_reason: Option<String>,
    /// Whether its last tag, at which the server was asked to stop and which it kept to itself, was
    /// put back. The policy wrote it: its tokens may be among `token_ids`.
    pub restored: bool,
    /// How many tokens it took.
    pub usage: Option<Usage>,
    /// Whether it was replayed from a recording.
    pub is_replayed: bool,
}

/// Is told what came of each request, by its index, in any order, each once. `Break` ends the rest.
pub type OnProposed<'a> = dyn FnMut(usize, Result<Proposed, PolicyError>) -> ControlFlow<()> + 'a;

/// Is told the log-probabilities of the texts behind each request, by its index, in any order, each
/// once. `Break` ends the rest.
pub type OnScored<'a> = dyn FnMut(usize, Result<Vec<f64>, PolicyError>) -> ControlFlow<()> + 'a;

/// Proposes actions.
pub trait Policy: Send {
    /// Returns who it is. It does not change while the policy lives.
    fn identity(&self) -> &PolicyIdentity;

    /// Proposes the next action of every conversation, all of a wave at once, and hands each on as
    /// soon as it is there. `cancelled` is asked at least ten times a second.
    ///
    /// What fails for one conversation is its outcome; the others go on.
    ///
    /// # Errors
    /// What fails for all, a call that is not recorded in a mode that makes none, or
    /// [`PolicyError::Cancelled`]. Then some requests have no outcome.
    fn act(
        &mut self,
        requests: &[ActRequest],
        cancelled: &dyn Fn() -> bool,
        on_done: &mut OnProposed<'_>,
    ) -> Result<(), PolicyError>;

    /// Returns for every conversation how probable it is that the next action begins with each of
    /// `texts`: the natural logarithm of the probability of all tokens of the text, handed on as
    /// soon as it is there. Nothing is sampled.
    ///
    /// # Errors
    /// A policy whose probabilities are not to be had, which is the default; a text that its
    /// tokenizer does not spell; else as [`Policy::act`].
    fn score(
        &mut self,
        _requests: &[ActRequest],
        _texts: &[String],
        _cancelled: &dyn Fn() -> bool,
        _on_scored: &mut OnScored<'_>,
    ) -> Result<(), PolicyError> {
        Err(PolicyError::Setting {
            setting: format!("the policy '{}'", self.identity().name),
            problem: "does not give the probabilities of texts".to_owned(),
            expected: "a model in this process",
        })
    }

    /// A conversation has ended.
    fn forget(&mut self, _conversation: u64) {}
}

/// Why there is no action.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The server gave none.
    #[error(transparent)]
    Chat(ChatError),
    /// The call is not recorded, or recordings cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The recorded call failed.
    #[error("when it was recorded: {message}")]
    Recorded {
        /// What was told then.
        message: String,
    },
    /// A recording cannot be read as an action.
    #[error("the recording {key} of '{name}' is no action: {problem}; record the call again")]
    Recording {
        /// The recording.
        key: String,
        /// The policy.
        name: String,
        /// What was found.
        problem: String,
    },
    /// An option of the policy cannot be used.
    #[error("{setting} {problem}; expected {expected}")]
    Setting {
        /// Which one.
        setting: String,
        /// What is wrong with it.
        problem: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The state and what is to be behind it do not fit in the context.
    #[error("it takes {tokens} tokens, and the context of the model is {context}")]
    TooLong {
        /// Tokens of both.
        tokens: usize,
        /// The context.
        context: usize,
    },
    /// A policy in this process failed.
    #[error("{0}")]
    Local(String),
    /// The caller wished to end.
    #[error("the actions were cancelled")]
    Cancelled,
}

impl From<ChatError> for PolicyError {
    fn from(error: ChatError) -> PolicyError {
        match error {
            ChatError::Cancelled => PolicyError::Cancelled,
            other => PolicyError::Chat(other),
        }
    }
}
