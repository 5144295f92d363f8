//! Judges that are programs: no model, the same verdict for ever.
//!
//! Each says what it is shown, and is shown no more: the functions below take exactly that.

use serde_json::json;

use super::prompted::OutcomeInput;
use super::spec::Sees;
use super::verdict::{Unreadable, UnreadableReason, Verdict};
use crate::model::{Json, Judge, JudgeKind, Message, ToolCall};
use crate::score::{self, NUMERIC_TOLERANCE};
use crate::tools::canonical_json;

/// Judges answers against gold answers; the best of several gold answers counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgramJudge {
    /// The same text once normalised ([`score::exact_match`]).
    ExactMatch,
    /// The harmonic mean of precision and recall over words ([`score::f1`]).
    F1,
    /// The same number, however it is written ([`score::numeric_equal`]).
    NumericEqual,
}

/// Judges steps that were executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepProgram {
    /// Whether a gold answer occurs in what came back.
    AnswerInObservation,
    /// Whether no result is marked as an error.
    NoToolError,
    /// Whether the title of a supporting document occurs in what came back.
    GoldRetrieved,
    /// Whether none of the calls was made before with equal arguments.
    NotRepeated,
}

/// A step that was executed.
#[derive(Clone, Copy, Debug)]
pub struct ExecutedStep<'a> {
    /// The transcript before the action.
    pub state: &'a [Message],
    /// The action.
    pub action: &'a Message,
    /// What came back.
    pub observation: &'a [Message],
}

/// What is known to be right.
#[derive(Clone, Copy, Debug, Default)]
pub struct GoldFacts<'a> {
    /// The answers accepted as right.
    pub answers: &'a [String],
    /// The titles of documents that hold what is needed.
    pub supporting_titles: &'a [String],
}

impl ProgramJudge {
    /// Every one.
    pub const ALL: [ProgramJudge; 3] =
        [ProgramJudge::ExactMatch, ProgramJudge::F1, ProgramJudge::NumericEqual];

    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            ProgramJudge::ExactMatch => "exact_match",
            ProgramJudge::F1 => "f1",
            ProgramJudge::NumericEqual => "numeric_equal",
        }
    }

    /// Returns the one that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<ProgramJudge> {
        ProgramJudge::ALL.into_iter().find(|judge| judge.as_str() == word)
    }

    /// Returns what it is shown.
    pub fn sees(self) -> Sees {
        Sees { action: true, gold: true, ..Sees::default() }
    }

    /// Returns the judge as labels know it.
    pub fn to_judge(self) -> Judge {
        program(self.as_str(), self.sees())
    }

    /// Judges an answer.
    ///
    /// # Errors
    /// There is no gold answer, or none that is a number where numbers are compared.
    pub fn judge(self, input: &OutcomeInput<'_>) -> Result<Verdict, Unreadable> {
        let gold = input.gold.iter();
        let best = match self {
            ProgramJudge::ExactMatch => {
                gold.map(|gold| of_bool(score::exact_match(input.answer, gold))).reduce(f64::max)
            }
            ProgramJudge::F1 => gold.map(|gold| score::f1(input.answer, gold)).reduce(f64::max),
            ProgramJudge::NumericEqual => gold
                .filter(|gold| score::parse_number(gold).is_some())
                .map(|gold| of_bool(score::numeric_equal(input.answer, gold, NUMERIC_TOLERANCE)))
                .reduce(f64::max),
        };
        best.map(Verdict::of).ok_or_else(|| no_ground("no gold answer to compare with"))
    }
}

impl StepProgram {
    /// Every one.
    pub const ALL: [StepProgram; 4] = [
        StepProgram::AnswerInObservation,
        StepProgram::NoToolError,
        StepProgram::GoldRetrieved,
        StepProgram::NotRepeated,
    ];

    /// Returns its name.
    pub fn as_str(self) -> &'static str {
        match self {
            StepProgram::AnswerInObservation => "answer_in_observation",
            StepProgram::NoToolError => "no_tool_error",
            StepProgram::GoldRetrieved => "gold_retrieved",
            StepProgram::NotRepeated => "not_repeated",
        }
    }

    /// Returns the one that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<StepProgram> {
        StepProgram::ALL.into_iter().find(|judge| judge.as_str() == word)
    }

    /// Returns what it is shown.
    pub fn sees(self) -> Sees {
        let nothing = Sees::default();
        match self {
            StepProgram::AnswerInObservation | StepProgram::GoldRetrieved => {
                Sees { observation: true, gold: true, ..nothing }
            }
            StepProgram::NoToolError => Sees { observation: true, ..nothing },
            StepProgram::NotRepeated => Sees { state: true, action: true, ..nothing },
        }
    }

    /// Returns the judge as labels know it.
    pub fn to_judge(self) -> Judge {
        program(self.as_str(), self.sees())
    }

    /// Judges a step.
    ///
    /// # Errors
    /// There is nothing to judge it by: no gold, no observation, no call, no mark of error or
    /// success.
    pub fn judge(
        self,
        step: &ExecutedStep<'_>,
        gold: GoldFacts<'_>,
    ) -> Result<Verdict, Unreadable> {
        match self {
            StepProgram::AnswerInObservation => occurs(step.observation, gold.answers),
            StepProgram::GoldRetrieved => occurs(step.observation, gold.supporting_titles),
            StepProgram::NoToolError => no_tool_error(step.observation),
            StepProgram::NotRepeated => not_repeated(step.state, step.action),
        }
    }
}

/// Whether one of these texts occurs as whole words in what came back.
fn occurs(observation: &[Message], texts: &[String]) -> Result<Verdict, Unreadable> {
    if observation.is_empty() {
        return Err(no_ground("no observation"));
    }
    if texts.is_empty() {
        return Err(no_ground("no gold to look for"));
    }
    let found = texts
        .iter()
        .find(|text| observation.iter().any(|message| score::contains(message.text(), text)));
    let rationale = found.map(|text| format!("found '{text}'"));
    Ok(Verdict { rationale, ..Verdict::of(of_bool(found.is_some())) })
}

/// Whether no result is marked as an error. Where no result says whether it is one, nobody knows.
fn no_tool_error(observation: &[Message]) -> Result<Verdict, Unreadable> {
    let marks: Vec<bool> = observation.iter().filter_map(|message| message.error).collect();
    match marks.is_empty() {
        true => Err(no_ground("no result that says whether it is an error")),
        false => Ok(Verdict::of(of_bool(!marks.contains(&true)))),
    }
}

/// Whether none of the calls was made before, in the state or in the same action.
fn not_repeated(state: &[Message], action: &Message) -> Result<Verdict, Unreadable> {
    if action.tool_calls.is_empty() {
        return Err(no_ground("no call"));
    }
    let key = |call: &ToolCall| {
        let arguments = canonical_json(&call.arguments);
        (call.name.clone(), arguments.unwrap_or_else(|_| call.arguments.trim().to_owned()))
    };
    let mut seen: Vec<(String, String)> =
        state.iter().flat_map(|message| message.tool_calls.iter().map(key)).collect();
    for call in &action.tool_calls {
        let call = key(call);
        if seen.contains(&call) {
            let rationale = Some(format!("'{}' was called before with {}", call.0, call.1));
            return Ok(Verdict { rationale, ..Verdict::of(0.0) });
        }
        seen.push(call);
    }
    Ok(Verdict::of(1.0))
}

fn program(name: &str, sees: Sees) -> Judge {
    let definition = json!({ "program": name, "version": 1, "sees": sees.to_value() });
    Judge {
        name: name.to_owned(),
        kind: JudgeKind::Program,
        definition: Some(Json::of(&definition)),
        sees_gold: Some(sees.gold),
    }
}

fn no_ground(text: &str) -> Unreadable {
    Unreadable { reason: UnreadableReason::NoGround, text: text.to_owned() }
}

fn of_bool(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}
