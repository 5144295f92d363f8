//! A perfect process judge: a program that knows the question's way, and no answer.
//!
//! It sees the question, the state and one action, and judges by rule what the action asks or says
//! next to what the question and the results so far call for. What documents say counts, be it
//! true or not: an answer that an old almanac carries is good. It reads the question's plan (which
//! relation of what, by which tool, which calculation) and never the answer.

use std::collections::BTreeMap;

use super::action::{Proposal, message};
use super::calculation::{Expression, parse_number};
use super::facts::CALCULATOR;
use super::library::words;
use super::question::StudyQuestion;
use super::reading::Reading;
use crate::model::Message;

/// What the judge says of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the action is reasonable given its state.
    pub good: bool,
    /// Why, in a sentence.
    pub rationale: String,
}

/// How often the judge says the opposite of what the rules say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JudgeNoise {
    /// The part of all (question, state, action) whose verdict is flipped, 0 to 1: the same one for
    /// the same three, for ever.
    pub flipped: f64,
    /// The seed that chooses them.
    pub seed: u64,
}

/// A question that the world does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "question '{question}' is none of this world's {known}: give its id or its text, and the \
     options that the world was made with"
)]
pub struct UnknownQuestion {
    /// What was asked for.
    pub question: String,
    /// How many there are.
    pub known: usize,
}

/// Judges actions at states of a world's questions.
pub struct WorldJudge<'a> {
    questions: BTreeMap<&'a str, &'a StudyQuestion>,
    known: usize,
    noise: JudgeNoise,
}

impl<'a> WorldJudge<'a> {
    /// Returns the judge of these questions.
    pub fn new(questions: &'a [StudyQuestion], noise: JudgeNoise) -> WorldJudge<'a> {
        let names = |question: &'a StudyQuestion| {
            [(question.id.as_str(), question), (question.question.as_str(), question)]
        };
        let by_name = questions.iter().flat_map(names).collect();
        WorldJudge { questions: by_name, known: questions.len(), noise }
    }

    /// Judges an action, a message of the policy with tags in its text or with a call, given the
    /// messages before it. The question is named by its identifier or its text.
    ///
    /// # Errors
    /// [`UnknownQuestion`].
    pub fn judge(
        &self,
        question: &str,
        state: &[&Message],
        action: &Message,
    ) -> Result<Verdict, UnknownQuestion> {
        let Some(known) = self.questions.get(question.trim()) else {
            return Err(UnknownQuestion { question: question.to_owned(), known: self.known });
        };
        let (good, rationale) = verdict(known, state, action);
        if self.flips(known, state, action) {
            let rationale = if good {
                "It does not help to answer the question."
            } else {
                "It is a reasonable step towards the answer."
            };
            return Ok(Verdict { good: !good, rationale: rationale.to_owned() });
        }
        Ok(Verdict { good, rationale })
    }

    /// Judges an action given as text, as [`WorldJudge::judge`].
    ///
    /// # Errors
    /// [`UnknownQuestion`].
    pub fn judge_text(
        &self,
        question: &str,
        state: &[&Message],
        action: &str,
    ) -> Result<Verdict, UnknownQuestion> {
        self.judge(question, state, &message(action))
    }

    fn flips(&self, question: &StudyQuestion, state: &[&Message], action: &Message) -> bool {
        if self.noise.flipped <= 0.0 {
            return false;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.noise.seed.to_le_bytes());
        // Lengths stand before texts, so that no two states are the same bytes.
        let mut put = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        put(&question.id);
        for message in state.iter().copied().chain([action]) {
            put(&message.role);
            put(message.text());
            for call in message.calls_apart() {
                put(&call.name);
                put(&call.arguments);
            }
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        // 53 bits, so that the share is exact.
        let share = (u64::from_le_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64;
        share < self.noise.flipped
    }
}

/// Returns what the rules say.
pub(super) fn verdict(
    question: &StudyQuestion,
    state: &[&Message],
    action: &Message,
) -> (bool, String) {
    let reading = Reading::new(question, state);
    match Proposal::of(action) {
        Proposal::Nothing(reason) => (false, format!("Nothing can be done with it: {reason}.")),
        Proposal::Answer(answer) => of_answer(&reading, &answer),
        Proposal::Call { tool, argument } if tool == CALCULATOR => {
            of_calculation(&reading, &argument)
        }
        Proposal::Call { tool, argument } => of_query(&reading, &tool, &argument),
    }
}

fn of_query(reading: &Reading<'_>, tool: &str, query: &str) -> (bool, String) {
    if reading.was_asked(tool, query) {
        return (false, format!("It repeats a query of {tool} that was made before."));
    }
    match reading.need_of(tool, query) {
        None => (false, format!("Neither the question nor a result calls for '{query}' now.")),
        Some((need, true)) => {
            let (subject, relation) = (need.subject, need.relation);
            (true, format!("The {relation} of {subject} is needed, and {tool} is where to ask."))
        }
        Some((need, false)) => {
            let (subject, relation) = (need.subject, need.relation);
            (false, format!("The {relation} of {subject} is needed, but {tool} does not tell it."))
        }
    }
}

fn of_calculation(reading: &Reading<'_>, text: &str) -> (bool, String) {
    let Some(expression) = Expression::parse(text) else {
        return (false, format!("'{text}' is no calculation with numbers."));
    };
    if reading.was_asked(CALCULATOR, text) {
        return (false, "It repeats a calculation that was made before.".to_owned());
    }
    if reading.calls_for(&expression) {
        (true, "It calculates what the question asks with numbers that were found.".to_owned())
    } else {
        (false, format!("The question and the numbers found do not call for {text}."))
    }
}

fn of_answer(reading: &Reading<'_>, answer: &str) -> (bool, String) {
    let same = |found: &String| match (parse_number(found), parse_number(answer)) {
        (Some(found), Some(answer)) => found == answer,
        _ => !answer.is_empty() && words(found) == words(answer),
    };
    let follows = reading.answers();
    if follows.iter().any(same) {
        return (true, format!("{answer} follows from the results."));
    }
    if follows.is_empty() && reading.is_stuck() {
        let is_open = words(answer) == [UNKNOWN];
        let rationale = if is_open {
            "What was asked for is not told, and the answer says so."
        } else {
            "What was asked for is not told; no answer follows from the results."
        };
        return (is_open, rationale.to_owned());
    }
    if follows.is_empty() {
        return (false, format!("{answer} is a guess: the results do not carry any answer yet."));
    }
    (false, format!("{answer} does not follow from the results."))
}

/// The answer where the documents do not tell what is asked for.
pub(super) const UNKNOWN: &str = "unknown";
