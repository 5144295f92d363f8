//! Everything that makes a prompted judge this judge.

use serde_json::{Value, json};

use super::error::JudgeError;
use super::prompt::{BuiltIn, Ending};
use super::template::Template;
use crate::chat::Sampling;
use crate::model::{Json, Judge, JudgeKind};
use crate::tools::canonical_json;

/// Changes whenever the same answer of a model may be read as another verdict, or the same
/// conversation be shown otherwise.
const READER_VERSION: u32 = 1;

/// What a judge judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JudgeTarget {
    /// A step given its state.
    Process,
    /// An answer given the key.
    Outcome,
}

impl JudgeTarget {
    /// Returns the word for it, which is also the name of its labels.
    pub fn as_str(self) -> &'static str {
        match self {
            JudgeTarget::Process => "process",
            JudgeTarget::Outcome => "outcome",
        }
    }
}

/// What a verdict can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scale {
    /// One of two words: 1 and 0.
    Words {
        /// The word for 1.
        good: String,
        /// The word for 0.
        bad: String,
    },
    /// A grade from 1 to 5: 0, .25, .5, .75 and 1.
    Grades,
}

impl Scale {
    /// Returns the scale of two words.
    pub fn words(good: &str, bad: &str) -> Scale {
        Scale::Words { good: good.to_owned(), bad: bad.to_owned() }
    }

    /// Returns what a verdict on it can be written as.
    pub fn written(&self) -> Vec<String> {
        self.points().into_iter().map(|(word, _)| word).collect()
    }

    /// Returns the words of its points with their values.
    pub(super) fn points(&self) -> Vec<(String, f64)> {
        match self {
            Scale::Words { good, bad } => vec![(good.clone(), 1.0), (bad.clone(), 0.0)],
            Scale::Grades => {
                (1..=5).map(|grade| (grade.to_string(), f64::from(grade - 1) / 4.0)).collect()
            }
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Scale::Words { good, bad } => json!({ "good": good, "bad": bad }),
            Scale::Grades => json!({ "from": 1, "to": 5 }),
        }
    }
}

/// How a verdict is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// From the text: the last line that holds a verdict on its own.
    Text,
    /// From the probabilities of the likeliest tokens where the verdict stands: p(good) / (p(good)
    /// + p(bad)), or the mean grade.
    Probability,
    /// From the probabilities of the whole words behind the prompt: p(good) / (p(good) + p(bad)),
    /// or the mean grade. Nothing is sampled; of models in this process only.
    Scored,
}

impl Reading {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reading::Text => "text",
            Reading::Probability => "probability",
            Reading::Scored => "scored",
        }
    }

    /// Returns the reading that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Reading> {
        let all = [Reading::Text, Reading::Probability, Reading::Scored];
        all.into_iter().find(|reading| reading.as_str() == word)
    }
}

/// What a judge is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sees {
    /// The transcript before the action.
    pub state: bool,
    /// The action.
    pub action: bool,
    /// What came back.
    pub observation: bool,
    /// What the policy did afterwards.
    pub later_steps: bool,
    /// Gold answers or supporting documents.
    pub gold: bool,
}

impl Sees {
    /// Returns it as it stands in a judge's definition.
    pub fn to_value(self) -> Value {
        json!({
            "state": self.state,
            "action": self.action,
            "observation": self.observation,
            "later_steps": self.later_steps,
            "gold": self.gold,
        })
    }
}

/// What a judge is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeParts {
    /// What it judges.
    pub target: JudgeTarget,
    /// The name of its model.
    pub model: String,
    /// The revision of its model.
    pub revision: String,
    /// Its prompt, with places: `{question}`, `{conversation}`, `{last_message}` and `{tools}` for
    /// a step, `{question}`, `{gold}` and `{answer}` for an answer.
    pub prompt: String,
    /// What its verdicts can be.
    pub scale: Scale,
    /// How they are read.
    pub reading: Reading,
    /// How its model is sampled.
    pub sampling: Sampling,
    /// The most characters of a conversation that it is shown; the oldest turns are left out of a
    /// longer one. `None`: all of it.
    pub max_state_characters: Option<usize>,
}

impl JudgeParts {
    /// Returns a judge with a prompt of the program, read as its ending needs it, greedily sampled:
    /// one word by its probability, anything else from the text of at most 1,024 tokens.
    pub fn built_in(prompt: BuiltIn, ending: Ending, model: &str, revision: &str) -> JudgeParts {
        let is_word = ending == Ending::OneWord;
        JudgeParts {
            target: prompt.target(),
            model: model.to_owned(),
            revision: revision.to_owned(),
            prompt: prompt.text(ending),
            scale: prompt.scale(ending),
            reading: if is_word { Reading::Probability } else { Reading::Text },
            sampling: Sampling {
                temperature: Some(0.0),
                max_tokens: Some(if is_word { 8 } else { 1_024 }),
                logprobs: is_word,
                top_logprobs: is_word.then_some(20),
                ..Sampling::default()
            },
            max_state_characters: None,
        }
    }
}

/// A prompted judge: immutable, so that its labels stay those of one judge.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeSpec {
    parts: JudgeParts,
    template: Template,
    definition: Json,
    fingerprint: String,
}

impl JudgeSpec {
    /// Checks the parts of a judge.
    ///
    /// # Errors
    /// A prompt that names what the judge does not see, gold of a step above all, or leaves out
    /// what it judges; words that are equal or no words; probabilities that are not asked for.
    pub fn new(parts: JudgeParts) -> Result<JudgeSpec, JudgeError> {
        let (known, needed): (&[&str], &[&str]) = match parts.target {
            JudgeTarget::Process => (
                &["question", "conversation", "last_message", "tools"],
                &["conversation", "last_message"],
            ),
            JudgeTarget::Outcome => (&["question", "gold", "answer"], &["gold", "answer"]),
        };
        let template = Template::parse(&parts.prompt, known, needed)?;
        check_scale(&parts.scale)?;
        let asks = parts.sampling.logprobs && parts.sampling.top_logprobs.is_some_and(|n| n > 0);
        if parts.reading == Reading::Probability && !asks {
            let problem = "is 'probability' without probabilities";
            let expected = "sampling with logprobs = true and top_logprobs of 1 or more";
            return Err(JudgeError::setting("the reading", problem, expected));
        }
        if parts.max_state_characters.is_some() && parts.target != JudgeTarget::Process {
            let problem = "is a bound on conversations";
            let expected = "none for a judge of answers, which is shown no conversation";
            return Err(JudgeError::setting("max_state_characters", problem, expected));
        }
        let mut definition = json!({
            "target": parts.target.as_str(),
            "model": parts.model,
            "revision": parts.revision,
            "prompt": parts.prompt,
            "scale": parts.scale.to_value(),
            "reading": parts.reading.as_str(),
            "reader_version": READER_VERSION,
            "sampling": parts.sampling,
            "sees": sees(parts.target).to_value(),
        });
        if let Some(characters) = parts.max_state_characters {
            definition["max_state_characters"] = characters.into();
        }
        let text = canonical_json(&definition.to_string())
            .map_err(|fault| JudgeError::setting("sampling", fault.to_string(), "plain JSON"))?;
        let fingerprint = blake3::hash(text.as_bytes()).to_hex().to_string();
        Ok(JudgeSpec { parts, template, definition: Json::of(&definition), fingerprint })
    }

    /// Returns what it is made of.
    pub fn parts(&self) -> &JudgeParts {
        &self.parts
    }

    /// Returns what it is shown.
    pub fn sees(&self) -> Sees {
        sees(self.parts.target)
    }

    /// Returns BLAKE3 over the canonical JSON of its definition, in hexadecimal digits: judges with
    /// one fingerprint are one judge.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns the judge as labels know it.
    pub fn to_judge(&self, name: &str) -> Judge {
        Judge {
            name: name.to_owned(),
            kind: JudgeKind::Model,
            definition: Some(self.definition.clone()),
            sees_gold: Some(self.sees().gold),
        }
    }

    pub(super) fn template(&self) -> &Template {
        &self.template
    }
}

/// Returns what a prompted judge is shown. A process judge sees no observation of the action: it
/// judges before the tool is called, as it does in training, where it never is.
fn sees(target: JudgeTarget) -> Sees {
    match target {
        JudgeTarget::Process => Sees { state: true, action: true, ..Sees::default() },
        JudgeTarget::Outcome => Sees { action: true, gold: true, ..Sees::default() },
    }
}

fn check_scale(scale: &Scale) -> Result<(), JudgeError> {
    let Scale::Words { good, bad } = scale else { return Ok(()) };
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_alphabetic() && !c.is_lowercase())
    };
    let expected = "two different words in capital letters, neither the beginning of the other";
    let are_told_apart = !good.starts_with(bad.as_str()) && !bad.starts_with(good.as_str());
    match is_word(good) && is_word(bad) && are_told_apart {
        true => Ok(()),
        false => Err(JudgeError::setting(
            "the scale",
            format!("has the words '{good}' and '{bad}'"),
            expected,
        )),
    }
}
