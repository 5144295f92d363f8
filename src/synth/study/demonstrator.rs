//! A policy that goes the right way and now and then does not.

use super::super::draw::Draw;
use super::action::{Proposal, key_of};
use super::facts::{ATLAS, CALCULATOR, RECORDS, RELATIONS, SEARCH};
use super::judge::UNKNOWN;
use super::question::{Operation, StudyQuestion};
use super::reading::Reading;
use super::world::{ActionForm, StudyWorld};
use crate::model::{Message, ToolCall, role};

/// One trajectory as it comes to be.
pub(super) struct Episode {
    /// The prompt, then actions and results in turn.
    pub(super) messages: Vec<Message>,
    /// For each action the index of its message, and whether it was meant well.
    pub(super) steps: Vec<(usize, bool)>,
    /// What it ends with; `None` where it reached its limit.
    pub(super) answer: Option<String>,
}

/// How a trajectory is made.
pub(super) struct Demonstrator<'a> {
    pub(super) world: &'a StudyWorld,
    pub(super) form: ActionForm,
    /// The chance of 1,000 that a step is bad.
    pub(super) noise: usize,
    /// The most actions.
    pub(super) steps: usize,
}

impl Demonstrator<'_> {
    /// Returns a trajectory of a question.
    pub(super) fn run(&self, question: &StudyQuestion, draw: &mut Draw) -> Episode {
        let messages = self.world.prompt(question);
        let mut episode = Episode { messages, steps: Vec::new(), answer: None };
        while episode.steps.len() < self.steps {
            let bad = (draw.below(1_000) < self.noise)
                .then(|| self.bad(question, &episode.messages, draw))
                .flatten();
            let good = bad.is_none();
            let action = bad.unwrap_or_else(|| self.good(question, &episode.messages));
            episode.steps.push((episode.messages.len(), good));
            episode.messages.push(self.message(&action, episode.steps.len()));
            match action {
                Proposal::Call { tool, argument } => {
                    let text = self.world.observe(question.split.edition(), &tool, &argument);
                    episode.messages.push(self.result(text, episode.steps.len()));
                }
                Proposal::Answer(answer) => {
                    episode.answer = Some(answer);
                    break;
                }
                Proposal::Nothing(_) => break,
            }
        }
        episode
    }

    /// Returns an action as a message.
    fn message(&self, action: &Proposal, number: usize) -> Message {
        let Proposal::Call { tool, argument } = action else {
            return Message::new(role::ASSISTANT, action.print());
        };
        let arguments = serde_json::json!({ key_of(tool): argument }).to_string();
        let is_tagged = self.form == ActionForm::Tags;
        let id = (!is_tagged).then(|| format!("call_{number}"));
        Message {
            role: role::ASSISTANT.to_owned(),
            content: is_tagged.then(|| action.print()),
            tool_calls: vec![ToolCall { id, name: tool.clone(), arguments }],
            calls_in_content: is_tagged,
            ..Message::default()
        }
    }

    /// Returns the message that a result comes back in.
    fn result(&self, text: String, number: usize) -> Message {
        match self.form {
            ActionForm::Tags => Message { error: Some(false), ..Message::new(role::USER, text) },
            ActionForm::Calls => {
                let tool_call_id = Some(format!("call_{number}"));
                Message { tool_call_id, ..Message::new(role::TOOL, text) }
            }
        }
    }

    /// Returns what the question and the results call for.
    fn good(&self, question: &StudyQuestion, messages: &[Message]) -> Proposal {
        let reading = Reading::new(question, &messages.iter().collect::<Vec<_>>());
        if let Some(argument) = reading.next_calculation() {
            return Proposal::Call { tool: CALCULATOR.to_owned(), argument };
        }
        if let Some(answer) = reading.answers().into_iter().next() {
            return Proposal::Answer(answer);
        }
        match reading.needs().into_iter().next() {
            Some(need) => Proposal::Call { tool: need.tool.to_owned(), argument: need.query() },
            None => Proposal::Answer(UNKNOWN.to_owned()),
        }
    }

    /// Returns an action that is not called for, or `None` where the one that was drawn is.
    fn bad(
        &self,
        question: &StudyQuestion,
        messages: &[Message],
        draw: &mut Draw,
    ) -> Option<Proposal> {
        let reading = Reading::new(question, &messages.iter().collect::<Vec<_>>());
        let good = self.good(question, messages);
        let call = |tool: &str, argument: String| {
            let asked_for = reading.need_of(tool, &argument).is_some_and(|(_, right)| right);
            let argument_of_call = argument.clone();
            let call = Proposal::Call { tool: tool.to_owned(), argument: argument_of_call };
            (!asked_for).then_some(call)
        };
        match (draw.below(100), &good) {
            (0..=42, _) => self.guess(question, &reading, draw).map(Proposal::Answer),
            (43..=57, _) => messages.iter().rev().find_map(|message| {
                let repeated = Proposal::of(message);
                let is_call = matches!(repeated, Proposal::Call { .. });
                (message.role == role::ASSISTANT && is_call).then_some(repeated)
            }),
            (58..=77, Proposal::Call { tool, argument }) if tool != CALCULATOR => {
                let others = [SEARCH, RECORDS, ATLAS];
                let offered = self.world.tools(question.split);
                let mut others = others.into_iter().filter(|t| *t != tool && offered.contains(t));
                call(others.next()?, argument.clone())
            }
            (58..=77, Proposal::Call { argument, .. }) => {
                let wrong = match question.operation {
                    Some(Operation::Sum) => argument.replace('+', "*"),
                    Some(Operation::Difference) => argument.replace('-', "+"),
                    _ => argument.replace('*', "+"),
                };
                Some(Proposal::Call { tool: CALCULATOR.to_owned(), argument: wrong })
            }
            (78..=89, Proposal::Call { argument, .. }) => {
                let (subject, _) = argument.rsplit_once(' ')?;
                let relation = draw.pick(&RELATIONS);
                call(relation.tool(question.split.things()), format!("{subject} {}", relation.word))
            }
            _ => {
                let relation = draw.pick(&RELATIONS);
                let subject = self.world.name(question.split, draw);
                call(relation.tool(question.split.things()), format!("{subject} {}", relation.word))
            }
        }
    }

    /// Returns an answer that the results do not carry: from memory the right one, by guess a
    /// wrong one.
    fn guess(
        &self,
        question: &StudyQuestion,
        reading: &Reading<'_>,
        draw: &mut Draw,
    ) -> Option<String> {
        let lucky = draw.percent(34);
        let answer = if lucky {
            question.answer.clone()
        } else if question.operation.is_some() {
            draw.within(30, 3_000).to_string()
        } else {
            self.world.name(question.split, draw)
        };
        (!reading.answers().contains(&answer)).then_some(answer)
    }
}
