//! Judges that are a policy with a prompt.

use std::ops::ControlFlow;

use serde_json::Value;

use super::super::policy::{ActRequest, Policy, PolicyError};
use super::super::remote::sampling_json;
use super::error::JudgeError;
use super::spec::{JudgeParts, JudgeSpec, JudgeTarget, Reading};
use super::tally::{Judged, Tally};
use super::transcript::{
    indented, message_text, shortened_transcript_text, tools_text, transcript_text,
};
use super::verdict::{Unreadable, UnreadableReason, Verdict, read_verdict, scored_verdict};
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
    ///
    /// # Errors
    /// `TooLong` if the conversation is longer than may be shown, even without its older turns.
    pub fn prompt(&self, input: &ProcessInput<'_>) -> Result<String, Unreadable> {
        process_prompt(&self.0.spec, input).map(|asked| asked.prompt)
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
        outcome_prompt(&self.0.spec, input).prompt
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
        let prompt = |index: usize| Ok(outcome_prompt(&spec, &inputs[index]));
        self.0.ask(inputs.len(), &prompt, cancelled, on_judged)
    }
}

/// What a judge is asked.
struct Asked {
    prompt: String,
    /// Whether the oldest turns of the conversation are left out.
    is_shortened: bool,
}

fn process_prompt(spec: &JudgeSpec, input: &ProcessInput<'_>) -> Result<Asked, Unreadable> {
    let (conversation, left_out) = match spec.parts().max_state_characters {
        None => (transcript_text(input.state), 0),
        Some(max) => shortened_transcript_text(input.state, max).map_err(|shortest| {
            let text = format!(
                "the conversation takes {shortest} characters even without its older turns, and \
                 max_state_characters is {max}"
            );
            Unreadable { reason: UnreadableReason::TooLong, text }
        })?,
    };
    let prompt = spec.template().fill(&|place| match place {
        "question" => input.question.map_or_else(|| NOTHING.to_owned(), indented),
        "conversation" => or_nothing(conversation.clone()),
        "last_message" => or_nothing(message_text(input.action)),
        _ => or_nothing(input.tools.map(tools_text).unwrap_or_default()),
    });
    Ok(Asked { prompt, is_shortened: left_out > 0 })
}

fn outcome_prompt(spec: &JudgeSpec, input: &OutcomeInput<'_>) -> Asked {
    let prompt = spec.template().fill(&|place| match place {
        "question" => input.question.map_or_else(|| NOTHING.to_owned(), indented),
        "gold" => or_nothing(input.gold.iter().map(|gold| indented(gold)).collect()),
        _ => or_nothing(match input.answer.is_empty() {
            true => String::new(),
            false => indented(input.answer),
        }),
    });
    Asked { prompt, is_shortened: false }
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
        prompt: &dyn Fn(usize) -> Result<Asked, Unreadable>,
        cancelled: &dyn Fn() -> bool,
        on_judged: &mut OnJudged<'_>,
    ) -> Result<Tally, JudgeError> {
        let mut tally = Tally::default();
        let indexes: Vec<usize> = (0..count).collect();
        for wave in indexes.chunks(WAVE) {
            let (mut places, mut requests) = (Vec::new(), Vec::new());
            for index in wave {
                match prompt(*index) {
                    Ok(asked) => {
                        tally.shortened += u64::from(asked.is_shortened);
                        let messages = vec![Message::new(role::USER, asked.prompt)];
                        requests.push(ActRequest { messages, ..ActRequest::default() });
                        places.push(*index);
                    }
                    Err(unreadable) => {
                        let judged = Judged::Unreadable(unreadable);
                        tally.add(&judged);
                        if on_judged(*index, judged).is_break() {
                            return Ok(tally);
                        }
                    }
                }
            }
            let mut is_ended = false;
            self.verdicts(&requests, cancelled, &mut |place, judged| {
                tally.add(&judged);
                let wish = on_judged(places[place], judged);
                is_ended = wish.is_break();
                wish
            })?;
            if is_ended {
                break;
            }
        }
        Ok(tally)
    }

    /// Asks for one verdict for each request.
    fn verdicts(
        &mut self,
        requests: &[ActRequest],
        cancelled: &dyn Fn() -> bool,
        on_judged: &mut OnJudged<'_>,
    ) -> Result<(), PolicyError> {
        let JudgeParts { scale, reading, .. } = self.spec.parts();
        if *reading == Reading::Scored {
            return self.policy.score(
                requests,
                &scale.written(),
                cancelled,
                &mut |place, outcome| {
                    let judged = match outcome {
                        Ok(log_probs) => of_result(scored_verdict(scale, &log_probs)),
                        Err(PolicyError::Cancelled) => return ControlFlow::Break(()),
                        Err(error @ PolicyError::TooLong { .. }) => {
                            Judged::Unreadable(Unreadable {
                                reason: UnreadableReason::TooLong,
                                text: format!("{error}: max_state_characters shows less"),
                            })
                        }
                        Err(error) => Judged::Failed(error.to_string()),
                    };
                    on_judged(place, judged)
                },
            );
        }
        self.policy.act(requests, cancelled, &mut |place, outcome| {
            let judged = match outcome {
                Ok(answer) => of_result(read_verdict(scale, *reading, &answer)),
                Err(PolicyError::Cancelled) => return ControlFlow::Break(()),
                Err(error) => Judged::Failed(error.to_string()),
            };
            on_judged(place, judged)
        })
    }
}

fn of_result(verdict: Result<Verdict, Unreadable>) -> Judged {
    verdict.map_or_else(Judged::Unreadable, Judged::Verdict)
}
