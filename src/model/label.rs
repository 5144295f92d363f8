//! Labels and the judges who give them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::message::Json;

/// A `process` or `outcome` value above this is GOOD.
pub const GOOD_ABOVE: f64 = 0.5;

/// The name of the labels of trajectories whose `raw` is a JSON object that lies over the
/// trajectory's `meta`.
pub const META: &str = "meta";

/// The name of a label: `[a-z_][a-z0-9_]*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelName(String);

impl LabelName {
    /// Returns the name.
    ///
    /// # Errors
    /// A sentence that says what is wrong, when `name` does not match `[a-z_][a-z0-9_]*`.
    pub fn new(name: &str) -> Result<LabelName, String> {
        let mut letters = name.chars();
        let first = letters.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
        let rest = letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if first && rest {
            return Ok(LabelName(name.to_owned()));
        }
        Err(format!("'{name}' is no label name: expected small letters, digits and _"))
    }

    /// The label of a single step: is it reasonable given its state.
    pub fn process() -> LabelName {
        LabelName("process".to_owned())
    }

    /// The label of an answer: does it match the gold answer.
    pub fn outcome() -> LabelName {
        LabelName("outcome".to_owned())
    }

    /// An episode's reward as its source gave it.
    pub fn reward() -> LabelName {
        LabelName("reward".to_owned())
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether values of this name lie in [0, 1] with GOOD above one half.
    pub fn is_verdict(&self) -> bool {
        self.0 == "process" || self.0 == "outcome"
    }
}

impl TryFrom<String> for LabelName {
    type Error = String;
    fn try_from(name: String) -> Result<LabelName, String> {
        LabelName::new(&name)
    }
}

impl From<LabelName> for String {
    fn from(name: LabelName) -> String {
        name.0
    }
}

impl fmt::Display for LabelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a label speaks of, within one trajectory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The whole trajectory.
    Trajectory,
    /// One step, from 1.
    Step(u32),
    /// An action proposed at the state of a step and not executed.
    Sample {
        /// The step whose state it was proposed at, from 1.
        step: u32,
        /// The run that proposed it.
        run_id: String,
        /// Its index among the samples of that run and state, from 0.
        sample: u32,
    },
}

/// A value given to a trajectory, step or sample by a judge. Labels are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label<T = Target> {
    /// What it speaks of.
    pub target: T,
    /// Which property it values.
    pub name: LabelName,
    /// Who gave it: the name of a [`Judge`].
    pub judge: String,
    /// The value; in [0, 1] for `process` and `outcome`.
    pub value: f64,
    /// The source's own value, where it was mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// The verdict in the judge's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rationale: Option<String>,
    /// The run that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

/// What kind of judge it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JudgeKind {
    /// A person.
    Human,
    /// A model with a prompt.
    Model,
    /// A program.
    Program,
    /// The source of the data: its own rewards.
    Source,
}

impl JudgeKind {
    /// Returns the word used in columns and files.
    pub fn as_str(self) -> &'static str {
        match self {
            JudgeKind::Human => "human",
            JudgeKind::Model => "model",
            JudgeKind::Program => "program",
            JudgeKind::Source => "source",
        }
    }
}

/// Who gives labels. Immutable: a changed judge is a new one (`name:2`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// The name that labels carry.
    pub name: String,
    /// What it is.
    pub kind: JudgeKind,
    /// Everything that makes it this judge: model and revision, prompt, parser, sampling, scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Json>,
    /// Whether it was shown gold answers; `None` if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sees_gold: Option<bool>,
}

impl Judge {
    /// Returns whether it judges with hindsight: it is shown gold answers, or what was done after
    /// the step. `None` if that is unknown, as of labels that were imported.
    pub fn has_hindsight(&self) -> Option<bool> {
        let definition = self.definition.as_ref().map(Json::to_value).unwrap_or_default();
        let sees = |what: &str| definition["sees"][what].as_bool();
        let parts = [self.sees_gold, sees("gold"), sees("later_steps")];
        if parts.contains(&Some(true)) { Some(true) } else { self.sees_gold.or(sees("gold")) }
    }
}
