//! Judges that are a policy with a prompt.

use std::ops::ControlFlow;

use serde_json::Value;

use super::super::policy::{ActRequest, Policy, PolicyError};
use super::super::remote::sampling_json;
use super::error::JudgeError;
use super::spec::{JudgeSpec, JudgeTarget};
use super::tally::{Judged, Tally};
use super::transcript::{indented, message_text, tools_text, transcript_text};
use super::verdict::read_verdict;
use crate::model::{Message, role};

/// How many prompts are held at once.
const WAVE: usize = 256;

/// What stands for a text that is not there. It is less far in than any text.
const NOTHING: &str = "  (nothing)";

/// A step before it is executed, and nothing else: what a process judge may see.
#[derive(Clone, Copy, Debug)]
pub struct ProcessInput<'a> {
    /// The question, where there is one beside the conversation.
    pub question: Option<&'a str>,
    /// The transcript before the action.
    pub state: &'a [Message],
    /// The action.
    pub action: &'a Message,
    /// The tools on offer, as a list of functions in OpenAI's form.
    pub tools: Option<&'a Value>,
}

/// An answer, and what it is held against.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeInput<'a> {
    /// The question, where it is known.
    pub question: Option<&'a str>,
    /// The answers accepted as right.
    pub gold: &'a [String],
    /// The answer.
    pub answer: &'a str,
}

/// Is told what came of each input, by its index, in any order, each once. `Break` ends the rest.
pub type OnJudged<'a> = dyn FnMut(usize, Judged) -> ControlFlow<()> + 'a;

/// Judges steps.
pub struct ProcessJudge(Prompted);

/// Judges answers.
pub struct OutcomeJudge(Prompted);

impl ProcessJudge {
    /// Returns the judge that asks `policy`.
    ///
    /// # Errors
    /// The judge is one of answers, or the policy is not the model that it is made of.
    pub fn new(spec: JudgeSpec, policy: Box<dyn Policy>) -> Result<ProcessJudge, JudgeError> {
        Prompted::new(spec, policy, JudgeTarget::Process).map(ProcessJudge)
    }

    /// Returns what it is.
    pub fn spec(&self) -> &JudgeSpec {
        &self.0.spec
    }

    /// Returns the prompt for a step.
    pub fn prompt(&self, input: &ProcessInput<'_>) -> String {
        process_prompt(&self.0.spec, input)
    }

    /// Judges steps and hands each outcome on as it comes. Returns the counts.
    ///
    /// # Errors
    /// What fails for all, a call that is not recorded in a mode that makes none, or a wish to end.
    pub fn judge(
        &mut self,
        inputs: &[ProcessInput<'_>],
        cancelled: &dyn Fn() -> bool,
        on_judged: &mut OnJudged<'_>,
    ) -> Result<Tally, JudgeError> {
        let spec = self.0.spec.clone();
        let prompt = |index: usize| process_prompt(&spec, &inputs[index]);
        self.0.ask(inputs.len(), &prompt, cancelled, on_judged)
    }
}

impl OutcomeJudge {
    /// Returns the judge that asks `policy`.
    ///
    /// # Errors
    /// The judge is one of steps, or the policy is not the model that it is made of.
    pub fn new(spec: JudgeSpec, policy: Box<dyn Policy>) -> Result<OutcomeJudge, JudgeError> {
        Prompted::new(spec, policy, JudgeTarget::Outcome).map(OutcomeJudge)
    }

    /// Returns what it is.
    pub fn spec(&self) -> &JudgeSpec {
        &self.0.spec
    }

    /// Returns the prompt for an answer.
    pub fn prompt(&self, input: &OutcomeInput<'_>) -> String {
        outcome_prompt(&self.0.spec, input)
    }

    /// Judges answers and hands each outcome on as it comes. Returns the counts.
    ///
    /// # Errors
    /// What fails for all, a call that is not recorded in a mode that makes none, or a wish to end.
    pub fn judge(
        &mut self,
        inputs: &[OutcomeInput<'_>],
        cancelled: &dyn Fn() -> bool,
        on_judged: &mut OnJudged<'_>,
    ) -> Result<Tally, JudgeError> {
        let spec = self.0.spec.clone();
        let prompt = |index: usize| outcome_prompt(&spec, &inputs[index]);
        self.0.ask(inputs.len(), &prompt, cancelled, on_judged)
    }
}

fn process_prompt(spec: &JudgeSpec, input: &ProcessInput<'_>) -> String {
    spec.template().fill(&|place| match place {
        "question" => input.question.map_or_else(|| NOTHING.to_owned(), indented),
        "conversation" => or_nothing(transcript_text(input.state)),
        "last_message" => or_nothing(message_text(input.action)),
        _ => or_nothing(input.tools.map(tools_text).unwrap_or_default()),
    })
}

fn outcome_prompt(spec: &JudgeSpec, input: &OutcomeInput<'_>) -> String {
    spec.template().fill(&|place| match place {
        "question" => input.question.map_or_else(|| NOTHING.to_owned(), indented),
        "gold" => or_nothing(input.gold.iter().map(|gold| indented(gold)).collect()),
        _ => or_nothing(match input.answer.is_empty() {
            true => String::new(),
            false => indented(input.answer),
        }),
    })
}

fn or_nothing(text: String) -> String {
    if text.is_empty() { NOTHING.to_owned() } else { text }
}

/// A policy that is asked for verdicts.
struct Prompted {
    spec: JudgeSpec,
    policy: Box<dyn Policy>,
}

impl Prompted {
    fn new(
        spec: JudgeSpec,
        policy: Box<dyn Policy>,
        target: JudgeTarget,
    ) -> Result<Prompted, JudgeError> {
        let parts = spec.parts();
        if parts.target != target {
            let problem = format!("judges {}", parts.target.as_str());
            let expected = format!("one of {}", target.as_str());
            return Err(JudgeError::setting("the judge", problem, expected));
        }
        let (identity, sampling) = (policy.identity(), sampling_json(&parts.sampling));
        for (what, found, expected) in [
            ("the name of the judge's model", identity.name.as_str(), parts.model.as_str()),
            ("the revision of the judge's model", &identity.version, &parts.revision),
            ("the sampling of the judge's model", identity.sampling.as_str(), sampling.as_str()),
        ] {
            if found != expected {
                return Err(JudgeError::setting(what, format!("is '{found}'"), expected));
            }
        }
        Ok(Prompted { spec, policy })
    }

    fn ask(
        &mut self,
        count: usize,
        prompt: &dyn Fn(usize) -> String,
        cancelled: &dyn Fn() -> bool,
        on_judged: &mut OnJudged<'_>,
    ) -> Result<Tally, JudgeError> {
        let mut tally = Tally::default();
        let parts = self.spec.parts();
        let mut start = 0;
        while start < count {
            let wave = start..count.min(start + WAVE);
            let requests: Vec<ActRequest> = wave
                .clone()
                .map(|index| ActRequest {
                    messages: vec![Message::new(role::USER, prompt(index))],
                    ..ActRequest::default()
                })
                .collect();
            let mut is_ended = false;
            self.policy.act(&requests, cancelled, &mut |place, outcome| {
                let judged = match outcome {
                    Ok(answer) => match read_verdict(&parts.scale, parts.reading, &answer) {
                        Ok(verdict) => Judged::Verdict(verdict),
                        Err(unreadable) => Judged::Unreadable(unreadable),
                    },
                    Err(PolicyError::Cancelled) => return ControlFlow::Break(()),
                    Err(error) => Judged::Failed(error.to_string()),
                };
                tally.add(&judged);
                let wish = on_judged(start + place, judged);
                is_ended = wish.is_break();
                wish
            })?;
            if is_ended {
                break;
            }
            start = wave.end;
        }
        Ok(tally)
    }
}
