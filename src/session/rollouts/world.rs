//! The small world of a study as questions, tools and judge, without a file in between.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::diag::did_you_mean;
use crate::model::{Json, Judge, JudgeKind, Message, role};
use crate::rollout::judge::Verdict;
use crate::rollout::{CallForm, Question};
use crate::session::error::SessionError;
use crate::synth::{JudgeNoise, Split, StudyOptions, StudyQuestion, StudyWorld, WorldJudge};
use crate::tools::ToolOutput;

/// A world, and what it was asked for with.
pub(in crate::session) struct World {
    study: StudyWorld,
    /// The options as given.
    text: String,
    /// Whether policies are offered its tools.
    has_tools: bool,
}

impl World {
    /// Returns the world that a text asks for, as [`study_options`] reads it.
    ///
    /// # Errors
    /// As [`study_options`].
    pub(super) fn of(text: &str) -> Result<Option<World>, SessionError> {
        let options = study_options(text)?;
        Ok(options.map(|options| World {
            study: StudyWorld::new(&options),
            text: text.to_owned(),
            has_tools: true,
        }))
    }

    /// Returns the same world with no tool to call.
    pub(super) fn without_tools(self) -> World {
        World { has_tools: false, ..self }
    }

    /// Returns the questions of a part.
    ///
    /// # Errors
    /// There is no such part.
    pub(super) fn questions(&self, split: &str) -> Result<Vec<Question>, SessionError> {
        let Some(split) = Split::parse(split) else {
            let known = Split::ALL.map(Split::as_str).join(", ");
            let message = format!("split = '{split}' is no part of the world; there are: {known}");
            return Err(SessionError::mistake("world", message));
        };
        let of_split = self.study.questions().iter().filter(|question| question.split == split);
        Ok(of_split.map(|question| self.asked(question)).collect())
    }

    /// Returns the world's questions of these identifiers, in their order; `Err`: the first that it
    /// does not have.
    pub(super) fn known<'q>(&self, ids: &[&'q str]) -> Result<Vec<Question>, &'q str> {
        let all = self.study.questions().iter().map(|question| (question.id.as_str(), question));
        let all: HashMap<&str, &StudyQuestion> = all.collect();
        ids.iter().map(|id| Ok(self.asked(all.get(id).ok_or(*id)?))).collect()
    }

    fn asked(&self, question: &StudyQuestion) -> Question {
        Question {
            id: question.id.clone(),
            text: question.question.clone(),
            gold: vec![question.answer.clone()],
            split: Some(question.split.as_str().to_owned()),
            meta: Some(Json::of(&json!({
                "hops": question.hops(),
                "type": question.kind.as_str(),
            }))),
            prompt: match self.has_tools {
                true => self.study.prompt(question),
                // The world's own prompt is a list of tools and the question.
                false => vec![Message::new(role::USER, question.question.clone())],
            },
        }
    }

    /// Returns the names of all tools.
    pub(super) fn tools(&self) -> Vec<&'static str> {
        self.offered(Split::TestTool)
    }

    /// Returns the names of the tools of a part.
    fn offered(&self, split: Split) -> Vec<&'static str> {
        if self.has_tools { self.study.tools(split) } else { Vec::new() }
    }

    /// Answers a call as the world's tools do; the question says which edition of the documents.
    /// Results are `QUERY -> RESULT`; of a call by a tag the episode puts the query before it.
    pub(super) fn call(
        &self,
        question: &Question,
        tool: &str,
        arguments: &str,
        form: CallForm,
    ) -> ToolOutput {
        let split = question.split.as_deref().and_then(Split::parse).unwrap_or(Split::Train);
        let known = self.offered(split);
        if !known.contains(&tool) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return ToolOutput::error(format!("there is no tool '{tool}'; the tools are: {known}"));
        }
        let value: Value = serde_json::from_str(arguments).unwrap_or_default();
        let argument = ["query", "expression"].into_iter().find_map(|name| value[name].as_str());
        let edition = split.edition();
        match argument {
            Some(argument) => ToolOutput::text(match form {
                CallForm::Calls => self.study.observe(edition, tool, argument),
                CallForm::Tags => self.study.call(edition, tool, argument),
            }),
            None => ToolOutput::error(format!("'{tool}' takes a query, or an expression, as text")),
        }
    }

    /// Returns what the world's tools say about themselves, for the record of a run.
    pub(super) fn described(&self) -> Value {
        match self.has_tools {
            true => json!({"world": self.text}),
            false => json!({"world": self.text, "tools": []}),
        }
    }

    /// Returns the world's judge as labels know it.
    pub(super) fn judge(&self, noise: JudgeNoise) -> Judge {
        let name = match noise.flipped > 0.0 {
            true => format!("world:{}", noise.flipped),
            false => "world".to_owned(),
        };
        let definition = json!({
            "program": "world",
            "version": 1,
            "world": self.text,
            "flipped": noise.flipped,
            "seed": noise.seed,
            "sees": {"state": true, "action": true},
        });
        Judge {
            name,
            kind: JudgeKind::Program,
            definition: Some(Json::of(&definition)),
            sees_gold: Some(false),
        }
    }

    /// Returns who judges with this noise.
    pub(super) fn judging(&self, noise: JudgeNoise) -> WorldJudge<'_> {
        WorldJudge::new(self.study.questions(), noise)
    }
}

/// Returns the options of the world that a text asks for: `default`, or options joined by commas,
/// such as `seed=7, questions=4000`; `None` for an empty text.
///
/// # Errors
/// An option that there is not, or a value that is no whole number.
pub(in crate::session) fn study_options(text: &str) -> Result<Option<StudyOptions>, SessionError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |message: String| SessionError::mistake("world", message);
    let mut options = StudyOptions::default();
    for part in text.split(',').map(str::trim).filter(|part| *part != "default") {
        let given = part.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        let Some((name, value)) = given else {
            let near =
                did_you_mean(part, ["default"]).map(|near| format!("; did you mean '{near}'?"));
            let near = near.unwrap_or_default();
            return Err(wrong(format!("world = '{part}': expected default or name=value{near}")));
        };
        let Ok(number) = value.parse::<u64>() else {
            return Err(wrong(format!("world: {name} is '{value}'; expected a whole number")));
        };
        let count = usize::try_from(number).unwrap_or(usize::MAX);
        match name {
            "seed" => options.seed = number,
            "questions" => options.questions = count,
            "held_out" => options.held_out = count,
            "arithmetic_percent" => options.arithmetic_percent = count,
            "trouble_permille" => options.trouble_permille = count,
            _ => {
                return Err(wrong(format!(
                    "world: there is no option '{name}'; there are seed, questions, held_out, \
                     arithmetic_percent, trouble_permille"
                )));
            }
        }
    }
    Ok(Some(options))
}

/// Returns the world's verdict on an action.
///
/// # Errors
/// The world has no such question.
pub(super) fn verdict(
    judge: &WorldJudge<'_>,
    question: &str,
    state: &[Message],
    action: &Message,
) -> Result<Verdict, SessionError> {
    let state: Vec<&Message> = state.iter().collect();
    let found = judge.judge(question, &state, action);
    let found = found.map_err(|e| SessionError::mistake("world", e.to_string()))?;
    let value = f64::from(u8::from(found.good));
    Ok(Verdict { rationale: Some(found.rationale), ..Verdict::of(value) })
}
