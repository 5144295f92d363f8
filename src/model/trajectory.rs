//! Trajectories and their steps.

use serde::{Deserialize, Serialize};

use super::message::{Json, Message, ToolCall};

/// How an episode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The policy gave an answer.
    Answered,
    /// A limit on steps, tokens or time was reached.
    Limit,
    /// The policy, a tool or the environment failed.
    Error,
}

impl Status {
    /// Returns the word used in columns and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Answered => "answered",
            Status::Limit => "limit",
            Status::Error => "error",
        }
    }

    /// Returns the status that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Status> {
        [Status::Answered, Status::Limit, Status::Error].into_iter().find(|s| s.as_str() == word)
    }
}

/// One episode: prompt messages, then steps 1..K, then how it ended.
///
/// A trajectory is immutable once stored. The state before step k is never stored: it is the
/// prompt followed by the actions and observations of steps 1..k-1 (see [`Trajectory::state`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trajectory {
    /// The collection it came from; with `id` it is unique in a database.
    pub source: String,
    /// The identifier within its source.
    pub id: String,
    /// `train`, `dev`, `test` or whatever the source calls its parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The question or task; several trajectories may answer the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question_id: Option<String>,
    /// The question's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The answers accepted as right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gold: Vec<String>,
    /// The tools offered to the policy: a JSON array in OpenAI's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Json>,
    /// The policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How the policy was sampled: a JSON object (temperature, top_p, seed, ...).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler: Option<Json>,
    /// Which of several samples for one question this is, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_index: Option<i64>,
    /// The run that generated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The round of self-improvement, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<i64>,
    /// How it ended; `None` if the source does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The final answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// When it was made, in microseconds since 1970-01-01T00:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    /// Whatever else the source says: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Json>,
    /// The messages before the first action, few-shot turns included.
    #[serde(default)]
    pub prompt: Vec<Message>,
    /// Steps 1..K.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// One generated message (the action) and everything that came back before the next one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What the policy produced: reasoning, text, tool calls.
    pub action: Message,
    /// What came back: tool results, user turns. Empty where the next action follows at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observation: Vec<Message>,
    /// Why generation ended (`stop`, `length`, `tool_calls`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Length of the action in the policy's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_tokens: Option<i64>,
    /// Length of the observation in the policy's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation_tokens: Option<i64>,
    /// Time to generate the action, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Price of the action, in the source's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// The action's token ids in the policy's vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
    /// The action's log-probabilities under the policy, one a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<f32>>,
    /// The state before this action, where the source rewrote its history; `None`: a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Vec<ContextItem>>,
}

/// A piece of a state that is not a prefix of its trajectory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ContextItem {
    /// Messages `from..to` of the transcript, counted from 0 with the prompt.
    Kept {
        /// The first message.
        from: u32,
        /// One past the last message.
        to: u32,
    },
    /// A message that stands in the transcript in another form or not at all.
    Replaced(Message),
}

impl Step {
    /// Returns the contents of the observation joined by a newline.
    pub fn observation_text(&self) -> String {
        let texts: Vec<&str> = self.observation.iter().map(Message::text).collect();
        texts.join("\n")
    }

    /// Returns each call of the action with the result that answers it: by call id where both
    /// sides have one, else by position among the results. Results are the tool messages; of calls
    /// in the content also other messages that say whether they are an error.
    pub fn call_results(&self) -> Vec<(&ToolCall, Option<&Message>)> {
        let in_content = self.action.calls_in_content;
        let is_result =
            |m: &&Message| m.role == super::role::TOOL || in_content && m.error.is_some();
        let results: Vec<&Message> = self.observation.iter().filter(is_result).collect();
        let answer_to = |index: usize, call: &ToolCall| {
            let id = call.id.as_deref();
            let named = results.iter().find(|m| id.is_some() && m.tool_call_id.as_deref() == id);
            let placed = results.get(index).filter(|m| id.is_none() || m.tool_call_id.is_none());
            named.or(placed).copied()
        };
        let calls = self.action.tool_calls.iter().enumerate();
        calls.map(|(index, call)| (call, answer_to(index, call))).collect()
    }
}

impl Trajectory {
    /// Returns the whole transcript in order: prompt, then each action and its observation.
    pub fn transcript(&self) -> impl Iterator<Item = &Message> {
        let steps = self.steps.iter();
        let acted = steps.flat_map(|s| std::iter::once(&s.action).chain(s.observation.iter()));
        self.prompt.iter().chain(acted)
    }

    /// Returns the state before step `step` (1..K): everything the policy saw.
    pub fn state(&self, step: u32) -> Vec<&Message> {
        let before = step.saturating_sub(1) as usize;
        let context = self.steps.get(before).and_then(|s| s.context.as_ref());
        match context {
            None => {
                let seen: usize =
                    self.steps.iter().take(before).map(|s| 1 + s.observation.len()).sum();
                self.transcript().take(self.prompt.len() + seen).collect()
            }
            Some(items) => {
                let all: Vec<&Message> = self.transcript().collect();
                let mut state = Vec::new();
                for item in items {
                    match item {
                        ContextItem::Kept { from, to } => {
                            let to = (*to as usize).min(all.len());
                            state.extend_from_slice(&all[(*from as usize).min(to)..to]);
                        }
                        ContextItem::Replaced(message) => state.push(message),
                    }
                }
                state
            }
        }
    }

    /// Returns the step whose action is message `index` of the transcript, counted from 0 with
    /// the prompt; `None` where that message is not an action.
    pub fn step_of_message(&self, index: usize) -> Option<u32> {
        let mut at = self.prompt.len();
        for (step, number) in self.steps.iter().zip(1..) {
            if at == index {
                return Some(number);
            }
            at += 1 + step.observation.len();
        }
        None
    }

    /// Returns the number of tool calls in all steps.
    pub fn n_tool_calls(&self) -> u64 {
        self.steps.iter().map(|s| s.action.tool_calls.len() as u64).sum()
    }
}
