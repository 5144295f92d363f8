//! How a policy and tools take turns, and what happens where an action is not as it should be.

use serde::{Deserialize, Serialize};

use super::policy::Proposed;
use super::tag_form::TagForm;
use crate::model::Step;

/// The instructions where tools are called natively; `{max_queries}` is the limit.
const INSTRUCTIONS: &str = "\
Answer the question in a few words. You may call one tool at a time, up to {max_queries} times; do \
not make the same call twice. When the results are enough, give the answer as \
<answer>...</answer>. A turn holds either a call or an answer, never both.";

/// The instructions where tools are called by tags; `{tools}` is a line for each.
const TAG_INSTRUCTIONS: &str = "\
Answer the question in a few words. You may send one query at a time to a tool, up to \
{max_queries} times, written between the tags of that tool:
{tools}
Its result comes back as QUERY -> RESULT. Do not send the same query twice. When the results are \
enough, give the answer as <answer>...</answer>. A turn may begin with your reasoning, and holds \
either one query or the answer, never both.";

/// The instructions where there is no tool to call by a tag.
const ANSWER_INSTRUCTIONS: &str =
    "Answer the question in a few words. Give the answer as <answer>...</answer>.";

/// What is said to a policy whose action was neither one call nor one answer.
const REMINDER: &str = "\
That turn was not used: it has to hold one tool call, or the answer as <answer>...</answer>, and \
not both.";

/// The same where tools are called by tags.
const TAG_REMINDER: &str = "\
That turn was not used: it has to hold one query between the opening and the closing tag of its \
tool, or the answer as <answer>...</answer>, and not both.";

/// What is said to a policy that has made all its calls.
pub(super) const LAST_TURN: &str =
    "No calls are left. Give the answer now as <answer>...</answer>, from what you have found.";

/// What is said instead of a result where a call was made before.
pub(super) const REPEATED: &str = "This call was made before, and its result stands above.";

/// How episodes go. Every rule is applied as written here and counted in [`super::Counts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Protocol {
    /// How an action calls a tool.
    pub action_form: CallForm,
    /// The tools that are called by tags.
    #[serde(skip)]
    pub tags: TagForm,
    /// What the policy is told before the question; `{max_queries}` stands for the limit, `{tools}`
    /// for the tools that are called by tags. `None` for words of our own that fit the form, empty
    /// for nothing.
    pub instructions: Option<String>,
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
    /// An action whose tags or calls cannot be read, one in tags with more than one call or answer,
    /// or one that was cut by the limit of tokens.
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
            action_form: CallForm::Calls,
            tags: TagForm::default(),
            instructions: None,
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
    /// Puts in the words that the form has where no instructions are given, so that whoever keeps
    /// the protocol keeps them too.
    pub fn complete(&mut self) {
        let words = match self.action_form {
            CallForm::Calls => INSTRUCTIONS,
            CallForm::Tags if self.tags.is_empty() => ANSWER_INSTRUCTIONS,
            CallForm::Tags => TAG_INSTRUCTIONS,
        };
        self.instructions.get_or_insert_with(|| words.to_owned());
    }

    /// Returns the instructions with the tools and the limit put in.
    pub(super) fn instructions(&self) -> String {
        let mut whole = self.clone();
        whole.complete();
        let text = whole.instructions.unwrap_or_default();
        text.replace("{max_queries}", &self.max_queries.to_string())
            .replace("{tools}", &self.tags.described())
    }

    /// Returns what is said to a policy whose action was not used.
    pub(super) fn reminder(&self) -> &'static str {
        match self.action_form {
            CallForm::Calls => REMINDER,
            CallForm::Tags => TAG_REMINDER,
        }
    }

    /// Reads what a policy proposes in the form of the protocol: where tools are called by tags,
    /// the calls of its text are put beside it. What cannot be read says so.
    pub fn read(&self, proposed: &mut Proposed) {
        if self.action_form == CallForm::Tags && proposed.unread.is_none() {
            proposed.unread = self.tags.put_calls(&mut proposed.message).err();
        }
    }
}

/// How an action calls a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallForm {
    /// By the model's own form of calls; results are turns of the tool.
    #[default]
    Calls,
    /// By tags in its text, `<search_query>..</search_query>`; results are turns of the user.
    Tags,
}

impl CallForm {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            CallForm::Calls => "calls",
            CallForm::Tags => "tags",
        }
    }

    /// Returns the form of a stored action that called a tool; `None` where no call was answered,
    /// or one by tags of another kind.
    pub fn of(step: &Step) -> Option<CallForm> {
        let action = &step.action;
        if step.call_results().iter().all(|(_, result)| result.is_none()) {
            return None;
        }
        if !action.calls_apart().is_empty() {
            return Some(CallForm::Calls);
        }
        let tagged = TagForm::default().read(action.text()).ok()?;
        (action.calls_in_content && !tagged.calls.is_empty()).then_some(CallForm::Tags)
    }
}

/// What a server in the form of tags is asked to do at a closing tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopTags {
    /// To end there. It keeps the tag to itself, and the tag is put back.
    #[default]
    Restored,
    /// To end behind it and return it: vLLM's `include_stop_str_in_output`.
    Included,
    /// Nothing: the model ends its turn itself.
    None,
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
