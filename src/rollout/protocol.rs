//! How a policy and tools take turns, and what happens where an action is not as it should be.

use serde::{Deserialize, Serialize};

/// The instructions of the default protocol; `{max_queries}` is its limit.
const INSTRUCTIONS: &str = "\
Answer the question in a few words. You may call one tool at a time, up to {max_queries} times; do \
not make the same call twice. When the results are enough, give the answer as \
<answer>...</answer>. A turn holds either a call or an answer, never both.";

/// What is said to a policy whose action was neither one call nor one answer.
pub(super) const REMINDER: &str = "\
That turn was not used: it has to hold one tool call, or the answer as <answer>...</answer>, and \
not both.";

/// What is said to a policy that has made all its calls.
pub(super) const LAST_TURN: &str =
    "No calls are left. Give the answer now as <answer>...</answer>, from what you have found.";

/// What is said instead of a result where a call was made before.
pub(super) const REPEATED: &str = "This call was made before, and its result stands above.";

/// How episodes go. Every rule is applied as written here and counted in [`super::Counts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Protocol {
    /// What the policy is told before the question; `{max_queries}` stands for the limit. Empty
    /// for nothing.
    pub instructions: String,
    /// Whether the instructions are a turn of their own, or stand before the question.
    pub instructions_in: InstructionsIn,
    /// The most calls of tools in one episode.
    pub max_queries: u32,
    /// What an answer is.
    pub answer: AnswerForm,
    /// An action that holds neither a call nor an answer.
    pub on_no_action: OnMalformed,
    /// An action that holds a call and an answer.
    pub on_both: OnBoth,
    /// An action whose tags or calls cannot be read, or that was cut by the limit of tokens.
    pub on_unreadable: OnMalformed,
    /// How often an episode goes on after an action that was not used.
    pub max_reminders: u32,
    /// A tool that says there is no result.
    pub on_tool_error: OnToolError,
    /// A call that was made before in the episode.
    pub on_repeated: OnRepeated,
    /// An action that calls a tool when no calls are left.
    pub on_limit: OnLimit,
}

impl Default for Protocol {
    fn default() -> Protocol {
        Protocol {
            instructions: INSTRUCTIONS.to_owned(),
            instructions_in: InstructionsIn::System,
            max_queries: 5,
            answer: AnswerForm::Tags,
            on_no_action: OnMalformed::Remind,
            on_both: OnBoth::Remind,
            on_unreadable: OnMalformed::Remind,
            max_reminders: 2,
            on_tool_error: OnToolError::Show,
            on_repeated: OnRepeated::Call,
            on_limit: OnLimit::Stop,
        }
    }
}

impl Protocol {
    /// Returns the instructions with the limit put in.
    pub(super) fn instructions(&self) -> String {
        self.instructions.replace("{max_queries}", &self.max_queries.to_string())
    }
}

/// Where the instructions stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstructionsIn {
    /// In a system turn.
    #[default]
    System,
    /// Before the question, in the user's turn.
    User,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerForm {
    /// What stands in `<answer>` and `</answer>`.
    #[default]
    Tags,
    /// The same where the tags are there, else the whole text of an action without a call.
    Text,
}

/// What follows an action that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMalformed {
    /// The policy is told what is expected, and acts again.
    #[default]
    Remind,
    /// The episode ends with an error.
    Stop,
}

/// What follows an action with a call and an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBoth {
    /// The policy is told what is expected, and acts again.
    #[default]
    Remind,
    /// The episode ends with an error.
    Stop,
    /// The call is made.
    Call,
    /// The answer counts.
    Answer,
}

/// What follows a tool's error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnToolError {
    /// The policy reads it.
    #[default]
    Show,
    /// The episode ends with an error.
    Stop,
}

/// What follows a call that was made before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRepeated {
    /// It is made again.
    #[default]
    Call,
    /// The policy is told that it was made before.
    Remind,
    /// The episode ends with an error.
    Stop,
}

/// What follows a call when none is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// The episode ends there.
    #[default]
    Stop,
    /// The policy is asked for its answer, once.
    Answer,
}
