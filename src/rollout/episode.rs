//! One episode: a policy and tools take turns until there is an answer, or a limit.
//!
//! ```text
//!   state -> policy -> action -- calls ---> tools -> observation -> state ..
//!                        |------ answer --> answered
//!                        '------ neither, both, unreadable -> what the protocol says
//! ```

use std::collections::HashSet;

use super::policy::Proposed;
use super::protocol::{
    AnswerForm, CallForm, InstructionsIn, LAST_TURN, OnBoth, OnLimit, OnMalformed, OnRepeated,
    OnToolError, Protocol, REPEATED,
};
use super::tag_form::{Tagged, query_of};
use crate::model::{Json, Message, Status, Step, ToolCall, Trajectory, role};
use crate::tools::{ToolOutput, canonical_json};

/// What an episode is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// Its identifier.
    pub id: String,
    /// Its text.
    pub text: String,
    /// The answers accepted as right; the policy never sees them.
    pub gold: Vec<String>,
    /// Its split.
    pub split: Option<String>,
    /// Whatever else is known of it: a JSON object.
    pub meta: Option<Json>,
    /// The messages before the first action; empty where the protocol makes them.
    pub prompt: Vec<Message>,
}

/// What happened in episodes; counts add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Episodes that ended.
    pub episodes: u64,
    /// Those with an answer.
    pub answered: u64,
    /// Those that reached the limit of calls.
    pub limit: u64,
    /// Those that ended with an error.
    pub error: u64,
    /// Actions.
    pub actions: u64,
    /// Calls that were made.
    pub calls: u64,
    /// Actions with neither a call nor an answer.
    pub no_action: u64,
    /// Actions with a call and an answer.
    pub both: u64,
    /// Actions in tags with more than one call or more than one answer.
    pub several: u64,
    /// Actions that could not be read.
    pub unreadable: u64,
    /// Actions cut by the limit of tokens.
    pub cut: u64,
    /// Calls that a tool answered with an error.
    pub tool_errors: u64,
    /// Searches that found nothing.
    pub nothing_found: u64,
    /// Calls that were made before in the same episode.
    pub repeated: u64,
    /// Actions whose closing tag was put back, which their server keeps to itself.
    pub restored: u64,
}

impl Counts {
    /// Adds the counts of other episodes.
    pub fn add(&mut self, other: &Counts) {
        for (mine, of_other) in self.fields().into_iter().zip(other.clone().fields()) {
            *mine += *of_other;
        }
    }

    /// Returns the counts with their names behind `episodes/`, as metrics have them.
    pub fn named(&self) -> [(&'static str, u64); 15] {
        const NAMES: [&str; 15] = [
            "episodes/count",
            "episodes/answered",
            "episodes/limit",
            "episodes/error",
            "episodes/actions",
            "episodes/calls",
            "episodes/no_action",
            "episodes/both",
            "episodes/several",
            "episodes/unreadable",
            "episodes/cut",
            "episodes/tool_errors",
            "episodes/nothing_found",
            "episodes/repeated",
            "episodes/restored",
        ];
        let mut own = *self;
        let mut values = own.fields().map(|count| *count).into_iter();
        NAMES.map(|name| (name, values.next().unwrap_or_default()))
    }

    fn fields(&mut self) -> [&mut u64; 15] {
        let Counts { episodes, answered, limit, error, actions, calls, .. } = self;
        let Counts { no_action, both, several, unreadable, cut, .. } = self;
        let Counts { tool_errors, nothing_found, repeated, restored, .. } = self;
        [
            episodes,
            answered,
            limit,
            error,
            actions,
            calls,
            no_action,
            both,
            several,
            unreadable,
            cut,
            tool_errors,
            nothing_found,
            repeated,
            restored,
        ]
    }
}

/// What an action asks for.
enum Wanted {
    Calls,
    Answer(String),
    /// It cannot be used; whether the policy may act again.
    Unused(OnMalformed),
}

/// An episode that goes on, or has ended.
pub struct Episode {
    question: Question,
    sample: u32,
    prompt: Vec<Message>,
    steps: Vec<Step>,
    made: HashSet<(String, String)>,
    reminders: u32,
    is_last_turn: bool,
    counts: Counts,
    end: Option<(Status, Option<String>)>,
}

impl Episode {
    /// Returns the episode before the first action.
    pub fn new(question: Question, sample: u32, protocol: &Protocol) -> Episode {
        let instructions = protocol.instructions();
        let prompt = match protocol.instructions_in {
            _ if !question.prompt.is_empty() => question.prompt.clone(),
            _ if instructions.is_empty() => vec![Message::new(role::USER, &question.text)],
            InstructionsIn::System => vec![
                Message::new(role::SYSTEM, instructions),
                Message::new(role::USER, &question.text),
            ],
            InstructionsIn::User => {
                vec![Message::new(role::USER, format!("{instructions}\n\n{}", question.text))]
            }
        };
        Episode {
            question,
            sample,
            prompt,
            steps: Vec::new(),
            made: HashSet::new(),
            reminders: 0,
            is_last_turn: false,
            counts: Counts::default(),
            end: None,
        }
    }

    /// Returns the question.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// Returns which sample of the question it is, from 0.
    pub fn sample(&self) -> u32 {
        self.sample
    }

    /// Returns the number of the step that comes next, from 1.
    pub fn next_step(&self) -> u32 {
        self.steps.len() as u32 + 1
    }

    /// Whether no further action is wanted.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Returns everything said so far.
    pub fn state(&self) -> Vec<&Message> {
        let acted = self.steps.iter();
        let acted = acted.flat_map(|s| std::iter::once(&s.action).chain(s.observation.iter()));
        self.prompt.iter().chain(acted).collect()
    }

    /// Takes the next action, makes its calls with `call` (the question; name and arguments as the
    /// policy wrote them), and ends the episode where the protocol says so.
    ///
    /// # Errors
    /// What `call` returns: something outside failed, and the action is not taken.
    pub fn act<E>(
        &mut self,
        mut proposed: Proposed,
        protocol: &Protocol,
        call: &mut dyn FnMut(&Question, &str, &str) -> Result<ToolOutput, E>,
    ) -> Result<(), E> {
        let restored = u64::from(proposed.restored);
        let mut counts = Counts { actions: 1, restored, ..Counts::default() };
        protocol.read(&mut proposed);
        let wanted = wanted(&proposed, protocol, &mut counts);
        let tokens = proposed.token_ids.as_ref().map(|ids| ids.len() as i64);
        let counted = proposed.usage.and_then(|usage| usage.completion_tokens);
        let mut step = Step {
            action: proposed.message,
            finish_reason: proposed.finish_reason,
            action_tokens: tokens.or(counted.map(|tokens| tokens as i64)),
            token_ids: proposed.token_ids,
            logprobs: proposed.log_probs,
            ..Step::default()
        };
        let mut end = None;
        match wanted {
            Wanted::Answer(answer) => end = Some((Status::Answered, Some(answer))),
            Wanted::Unused(OnMalformed::Stop) => end = Some((Status::Error, None)),
            Wanted::Unused(OnMalformed::Remind) => {
                self.reminders += 1;
                match self.reminders > protocol.max_reminders || self.is_last_turn {
                    true => end = Some((Status::Error, None)),
                    false => step.observation.push(Message::new(role::USER, protocol.reminder())),
                }
            }
            Wanted::Calls => end = self.observe(&mut step, protocol, &mut counts, call)?,
        }
        self.steps.push(step);
        self.counts.add(&counts);
        self.end = end;
        Ok(())
    }

    /// Makes the calls of an action; returns the end, where they bring it.
    fn observe<E>(
        &mut self,
        step: &mut Step,
        protocol: &Protocol,
        counts: &mut Counts,
        call: &mut dyn FnMut(&Question, &str, &str) -> Result<ToolOutput, E>,
    ) -> Result<Option<(Status, Option<String>)>, E> {
        let calls = step.action.tool_calls.clone();
        let left = u64::from(protocol.max_queries).saturating_sub(self.counts.calls);
        if calls.len() as u64 > left {
            if protocol.on_limit == OnLimit::Stop || self.is_last_turn {
                return Ok(Some((Status::Limit, None)));
            }
            self.is_last_turn = true;
            step.observation.push(Message::new(role::USER, LAST_TURN));
            return Ok(None);
        }
        let mut made = Vec::new();
        let mut end = None;
        for wanted in &calls {
            let key = (wanted.name.clone(), canonical(&wanted.arguments));
            let is_repeated = self.made.contains(&key) || made.contains(&key);
            counts.repeated += u64::from(is_repeated);
            let output = match protocol.on_repeated {
                OnRepeated::Remind if is_repeated => ToolOutput::text(REPEATED),
                OnRepeated::Stop if is_repeated => {
                    end = Some((Status::Error, None));
                    break;
                }
                _ => {
                    counts.calls += 1;
                    call(&self.question, &wanted.name, &wanted.arguments)?
                }
            };
            made.push(key);
            counts.tool_errors += u64::from(output.is_error);
            counts.nothing_found += u64::from(found_nothing(&output));
            if output.is_error && protocol.on_tool_error == OnToolError::Stop {
                end = Some((Status::Error, None));
            }
            step.observation.push(observation(wanted, output, protocol.action_form));
        }
        self.made.extend(made);
        Ok(end)
    }

    /// Returns what is stored of the episode, and what happened in it. One that has not ended
    /// counts as one that reached a limit.
    pub fn finish(self, source: &str) -> (Trajectory, Counts) {
        let (status, answer) = self.end.unwrap_or((Status::Limit, None));
        let mut counts = self.counts;
        counts.episodes = 1;
        match status {
            Status::Answered => counts.answered = 1,
            Status::Limit => counts.limit = 1,
            Status::Error => counts.error = 1,
        }
        let trajectory = Trajectory {
            source: source.to_owned(),
            id: trajectory_id(&self.question.id, self.sample),
            split: self.question.split,
            question_id: Some(self.question.id),
            question: Some(self.question.text),
            gold: self.question.gold,
            sample_index: Some(i64::from(self.sample)),
            status: Some(status),
            answer,
            meta: self.question.meta,
            prompt: self.prompt,
            steps: self.steps,
            ..Trajectory::default()
        };
        (trajectory, counts)
    }
}

/// Returns the identifier of a question's sample within its source.
pub fn trajectory_id(question: &str, sample: u32) -> String {
    format!("{question}:{sample}")
}

/// Returns what an action asks for, and counts what is wrong with it.
fn wanted(proposed: &Proposed, protocol: &Protocol, counts: &mut Counts) -> Wanted {
    let message = &proposed.message;
    let is_cut = matches!(proposed.finish_reason.as_deref(), Some("length" | "context"));
    if proposed.unread.is_some() {
        match is_cut {
            true => counts.cut += 1,
            false => counts.unreadable += 1,
        }
        return Wanted::Unused(protocol.on_unreadable);
    }
    match content(message, protocol) {
        Content::Calls(_) => Wanted::Calls,
        Content::Both(answer) => {
            counts.both += 1;
            match protocol.on_both {
                OnBoth::Call => Wanted::Calls,
                OnBoth::Answer => Wanted::Answer(answer),
                OnBoth::Stop => Wanted::Unused(OnMalformed::Stop),
                OnBoth::Remind => Wanted::Unused(OnMalformed::Remind),
            }
        }
        Content::Answer(answer) => Wanted::Answer(answer),
        Content::Several => {
            counts.several += 1;
            Wanted::Unused(protocol.on_unreadable)
        }
        Content::Unreadable => {
            counts.unreadable += 1;
            Wanted::Unused(protocol.on_unreadable)
        }
        Content::Nothing if is_cut => {
            counts.cut += 1;
            Wanted::Unused(protocol.on_unreadable)
        }
        Content::Nothing => {
            let text = message.text().trim();
            if protocol.answer == AnswerForm::Text && !text.is_empty() {
                return Wanted::Answer(text.to_owned());
            }
            counts.no_action += 1;
            Wanted::Unused(protocol.on_no_action)
        }
    }
}

/// What an action holds.
enum Content {
    Nothing,
    /// So many calls.
    Calls(usize),
    Answer(String),
    /// Calls, and an answer.
    Both(String),
    /// More than one call or more than one answer, in tags.
    Several,
    Unreadable,
}

/// Returns what an action holds in the form of the protocol.
fn content(message: &Message, protocol: &Protocol) -> Content {
    if protocol.action_form == CallForm::Calls {
        return match (message.tool_calls.len(), answers(message.text())) {
            (_, Answers::Several) => Content::Unreadable,
            (0, Answers::None) => Content::Nothing,
            (0, Answers::One(answer)) => Content::Answer(answer),
            (calls, Answers::None) => Content::Calls(calls),
            (_, Answers::One(answer)) => Content::Both(answer),
        };
    }
    let Ok(Tagged { calls, mut answers }) = protocol.tags.read_message(message) else {
        return Content::Unreadable;
    };
    match (calls.len(), answers.len(), answers.pop()) {
        (0, 0, _) => Content::Nothing,
        (1, 0, _) => Content::Calls(1),
        (0, 1, Some(answer)) => Content::Answer(answer),
        (1, 1, Some(answer)) => Content::Both(answer),
        _ => Content::Several,
    }
}

/// The answers in tags that a text holds.
enum Answers {
    None,
    One(String),
    /// Several, or a tag that is not closed or opened.
    Several,
}

/// Returns the answers in `<answer>` and `</answer>`.
fn answers(text: &str) -> Answers {
    let (open, close) = ("<answer>", "</answer>");
    match (text.matches(open).count(), text.matches(close).count()) {
        (0, 0) => Answers::None,
        (1, 1) => match text.split_once(open).and_then(|(_, rest)| rest.split_once(close)) {
            Some((answer, _)) => Answers::One(answer.trim().to_owned()),
            None => Answers::Several,
        },
        _ => Answers::Several,
    }
}

/// Returns what an action has to be for a protocol, as [`Episode::act`] takes it, or why it is not:
/// one call, or one answer. A message of the policy is taken as it stands: where tools are called
/// by tags these are read from its text.
///
/// # Errors
/// The name of the fault: `no_action`, `both`, `several_calls`, `unreadable`.
pub fn check_form(message: &Message, protocol: &Protocol) -> Result<(), &'static str> {
    let is_text = protocol.answer == AnswerForm::Text && !message.text().trim().is_empty();
    match content(message, protocol) {
        Content::Calls(1) | Content::Answer(_) => Ok(()),
        Content::Nothing if is_text => Ok(()),
        Content::Nothing => Err("no_action"),
        Content::Both(_) => Err("both"),
        Content::Calls(_) | Content::Several => Err("several_calls"),
        Content::Unreadable => Err("unreadable"),
    }
}

/// Returns the answer in the tags of a message, where it holds one.
pub fn answer_of(message: &Message) -> Option<String> {
    match answers(message.text()) {
        Answers::One(answer) => Some(answer),
        Answers::None | Answers::Several => None,
    }
}

fn canonical(arguments: &str) -> String {
    canonical_json(arguments).unwrap_or_else(|_| arguments.to_owned())
}

/// Whether a search has an empty list of hits.
fn found_nothing(output: &ToolOutput) -> bool {
    let hits = output.structured.as_ref().and_then(|value| value["hits"].as_array());
    hits.is_some_and(Vec::is_empty)
}

/// Returns a result as the policy reads it: of a call by a tag `QUERY -> RESULT`, from the user.
fn observation(call: &ToolCall, output: ToolOutput, form: CallForm) -> Message {
    if form == CallForm::Tags {
        let text = format!("{} -> {}", query_of(call), output.text);
        return Message { error: Some(output.is_error), ..Message::new(role::USER, text) };
    }
    Message {
        role: role::TOOL.to_owned(),
        content: Some(output.text),
        tool_call_id: call.id.clone(),
        name: Some(call.name.clone()),
        error: output.is_error.then_some(true),
        ..Message::default()
    }
}
