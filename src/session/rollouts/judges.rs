//! Judges of all kinds, asked in one way: programs, the small world, models with a prompt.

use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::evaluate::titles_of;
use super::policies::{PolicyOptions, judging_policy};
use super::world::{World, verdict};
use crate::model::{Json, Judge, JudgeKind, Message, Trajectory};
use crate::query::syntax::{Name, WithOption};
use crate::rollout::judge::{
    BuiltIn, Ending, ExecutedStep, GoldFacts, JudgeError, JudgeParts, JudgeSpec, JudgeTarget,
    Judged, OnJudged, OutcomeInput, OutcomeJudge, ProcessInput, ProcessJudge, ProgramJudge,
    StepProgram, Tally, Unreadable, Verdict,
};
use crate::session::error::SessionError;
use crate::session::options;
use crate::session::statement::Session;
use crate::synth::JudgeNoise;

/// The options of JUDGE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::session) struct JudgeOptions {
    /// Which: a program, or a prompt for a model.
    judge: String,
    /// The name that labels carry; made of the judge and its model, if empty.
    name: String,
    /// How a prompted judge is asked for its verdict: `explained`, `graded`, `one_word`.
    ending: String,
    /// A file with another prompt than the program's own.
    prompt: String,
    /// The small world of judge 'world': `default`, or its options.
    world: String,
    /// The share of verdicts of judge 'world' that say the opposite.
    flipped: f64,
    /// Which verdicts those are.
    flip_seed: u64,
    #[serde(flatten)]
    policy: PolicyOptions,
}

impl Default for JudgeOptions {
    fn default() -> JudgeOptions {
        JudgeOptions {
            judge: String::new(),
            name: String::new(),
            ending: "explained".to_owned(),
            prompt: String::new(),
            world: String::new(),
            flipped: 0.0,
            flip_seed: 0,
            policy: PolicyOptions { temperature: 0.0, ..PolicyOptions::default() },
        }
    }
}

impl JudgeOptions {
    /// Returns what the options of a statement say of the judge that `part` names, as JUDGE has
    /// them: `judge = 'world', judge.world = 'default'`; `None` where they say nothing of it.
    ///
    /// # Errors
    /// An option that JUDGE does not have; a value that it does not take.
    pub(in crate::session) fn of_part(
        options: &[WithOption],
        part: &str,
        text: &str,
    ) -> Result<Option<JudgeOptions>, SessionError> {
        let of_judge = |option: &WithOption| {
            let name = &option.name;
            let own = match name.text.strip_prefix(part)? {
                "" => "judge",
                rest => rest.strip_prefix('.')?,
            };
            let name = Name { text: own.to_owned(), ..name.clone() };
            Some(WithOption { name, ..option.clone() })
        };
        let given: Vec<WithOption> = options.iter().filter_map(of_judge).collect();
        match given.is_empty() {
            true => Ok(None),
            false => options::read(&JudgeOptions::default(), &given, text).map(Some),
        }
    }

    /// Returns which judge: the word that names it.
    pub(super) fn word(&self) -> &str {
        &self.judge
    }

    /// Whether it is the same judge, whatever its labels are called.
    pub(super) fn is_like(&self, other: &JudgeOptions) -> bool {
        let unnamed = |of: &JudgeOptions| JudgeOptions { name: String::new(), ..of.clone() };
        unnamed(self) == unnamed(other)
    }
}

/// Whether an option speaks of the judge that `part` names.
pub(in crate::session) fn is_of_judge(option: &str, part: &str) -> bool {
    let rest = option.strip_prefix(part);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Who judges.
pub(in crate::session) enum Judging {
    /// A program on answers.
    Answers(ProgramJudge),
    /// A program on steps that were executed.
    Steps(StepProgram),
    /// The rules of the small world.
    World(Box<World>, JudgeNoise),
    /// By a hash over question, state and action: a reward that means nothing, to compare with.
    Random(u64),
    /// A model with a prompt, on steps.
    Process(Box<ProcessJudge>),
    /// A model with a prompt, on answers.
    Outcome(Box<OutcomeJudge>),
}

/// What is judged: an action at a state of a trajectory, or an answer. Which judge looks at which
/// part is in [`Judging::judge`].
pub(in crate::session) struct Shown<'a> {
    /// The trajectory whose state it is.
    pub(in crate::session) of: &'a Trajectory,
    /// The messages before the action.
    pub(in crate::session) state: Vec<Message>,
    /// The action.
    pub(in crate::session) action: Message,
    /// What came back; `None` where it was not executed.
    pub(in crate::session) observation: Option<&'a [Message]>,
    /// The answer, `""` where there is none.
    pub(in crate::session) answer: String,
}

impl Judging {
    /// Whether steps are judged, or whole trajectories.
    pub(super) fn is_of_steps(&self) -> bool {
        !matches!(self, Judging::Answers(_) | Judging::Outcome(_))
    }

    /// Checks that actions can be judged that are not executed.
    ///
    /// # Errors
    /// A judge that needs what came back.
    pub(in crate::session) fn check_sampled(&self) -> Result<(), SessionError> {
        let Judging::Steps(program) = self else { return Ok(()) };
        let name = program.as_str();
        let message =
            format!("'{name}' looks at what came back, and sampled actions are not executed");
        Err(SessionError::mistake("judge", message))
    }

    /// Judges and hands on what came of each, by its number. Returns the counts.
    ///
    /// # Errors
    /// A question that the small world does not have; what fails for all; `Cancelled`.
    pub(in crate::session) fn judge(
        &mut self,
        shown: &[Shown<'_>],
        cancelled: &dyn Fn() -> bool,
        take: &mut OnJudged<'_>,
    ) -> Result<Tally, SessionError> {
        let tally = match self {
            Judging::Answers(program) => each(shown, take, |one| Ok(program.judge(&answered(one)))),
            Judging::Steps(program) => each(shown, take, |one| Ok(executed(*program, one))),
            Judging::Random(seed) => each(shown, take, |one| Ok(Ok(at_random(*seed, one)))),
            Judging::World(world, noise) => {
                let judge = world.judging(*noise);
                each(shown, take, |one| {
                    let asked = one.of.question_id.as_deref().unwrap_or_default();
                    verdict(&judge, asked, &one.state, &one.action).map(Ok)
                })
            }
            Judging::Outcome(judge) => {
                let inputs: Vec<OutcomeInput<'_>> = shown.iter().map(answered).collect();
                judge.judge(&inputs, cancelled, take).map_err(failed)
            }
            Judging::Process(judge) => {
                let tools = shown.iter().map(|one| one.of.tools.as_ref().map(Json::to_value));
                let tools: Vec<_> = tools.collect();
                let inputs: Vec<ProcessInput<'_>> = shown
                    .iter()
                    .zip(&tools)
                    .map(|(one, tools)| ProcessInput {
                        question: one.of.question.as_deref(),
                        state: &one.state,
                        action: &one.action,
                        tools: tools.as_ref(),
                    })
                    .collect();
                judge.judge(&inputs, cancelled, take).map_err(failed)
            }
        };
        if cancelled() { Err(SessionError::Cancelled) } else { tally }
    }
}

fn failed(error: JudgeError) -> SessionError {
    SessionError::mistake("judge", error.to_string())
}

/// Judges one after the other.
fn each(
    shown: &[Shown<'_>],
    take: &mut OnJudged<'_>,
    judge: impl Fn(&Shown<'_>) -> Result<Result<Verdict, Unreadable>, SessionError>,
) -> Result<Tally, SessionError> {
    let mut tally = Tally::default();
    for (number, one) in shown.iter().enumerate() {
        let judged = judge(one)?.map_or_else(Judged::Unreadable, Judged::Verdict);
        tally.add(&judged);
        if let ControlFlow::Break(()) = take(number, judged) {
            break;
        }
    }
    Ok(tally)
}

fn answered<'a>(one: &'a Shown<'_>) -> OutcomeInput<'a> {
    OutcomeInput { question: one.of.question.as_deref(), gold: &one.of.gold, answer: &one.answer }
}

fn executed(program: StepProgram, one: &Shown<'_>) -> Result<Verdict, Unreadable> {
    let titles = titles_of(one.of.meta.as_ref());
    let gold = GoldFacts { answers: &one.of.gold, supporting_titles: &titles };
    let observation = one.observation.unwrap_or_default();
    program.judge(&ExecutedStep { state: &one.state, action: &one.action, observation }, gold)
}

/// Returns a verdict that is 0 or 1 by a hash.
fn at_random(seed: u64, one: &Shown<'_>) -> Verdict {
    let Shown { of, state, action, .. } = one;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(&(state.len() as u64).to_le_bytes());
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    };
    add(&of.source);
    add(&of.id);
    add(action.text());
    for call in &action.tool_calls {
        add(&call.name);
        add(&call.arguments);
    }
    Verdict::of(f64::from(hasher.finalize().as_bytes()[0] & 1))
}

/// Returns who judges, and the judge as labels know it.
pub(in crate::session) fn judging(
    session: &Session,
    options: &JudgeOptions,
) -> Result<(Judging, Judge), SessionError> {
    let word = options.judge.as_str();
    let named = |judge: Judge| match options.name.as_str() {
        "" => judge,
        name => Judge { name: name.to_owned(), ..judge },
    };
    if let Some(program) = ProgramJudge::parse(word) {
        return Ok((Judging::Answers(program), named(program.to_judge())));
    }
    if let Some(program) = StepProgram::parse(word) {
        return Ok((Judging::Steps(program), named(program.to_judge())));
    }
    let wrong = |message: String| SessionError::mistake("judge", message);
    if word == "random" {
        let seed = options.policy.seed;
        let definition = Json::of(&json!({"program": "random", "version": 1, "seed": seed}));
        let judge = Judge {
            name: "random".to_owned(),
            kind: JudgeKind::Program,
            definition: Some(definition),
            sees_gold: Some(false),
        };
        return Ok((Judging::Random(seed), named(judge)));
    }
    if word == "world" {
        let noise = JudgeNoise { flipped: options.flipped, seed: options.flip_seed };
        if !(0.0..=1.0).contains(&noise.flipped) {
            return Err(wrong(format!("flipped = {}: expected 0 to 1", noise.flipped)));
        }
        let world = World::of(&options.world)?
            .ok_or_else(|| wrong("which world? world = 'default', or its options".to_owned()))?;
        let judge = named(world.judge(noise));
        return Ok((Judging::World(Box::new(world), noise), judge));
    }
    let Some(built_in) = BuiltIn::parse(word) else {
        let programs = ProgramJudge::ALL.map(ProgramJudge::as_str);
        let of_steps = StepProgram::ALL.map(StepProgram::as_str);
        return Err(wrong(format!(
            "judge = '{word}' is none; programs on answers: {}; programs on steps: {}, world, \
             random; prompts for a model: process, choice, calculation, outcome",
            programs.join(", "),
            of_steps.join(", ")
        )));
    };
    let Some(ending) = Ending::parse(&options.ending) else {
        let expected = "explained, graded or one_word";
        return Err(wrong(format!("ending = '{}': expected {expected}", options.ending)));
    };
    let mut parts = JudgeParts::built_in(built_in, ending, "", "");
    if !options.prompt.is_empty() {
        let text = std::fs::read_to_string(Path::new(&options.prompt));
        parts.prompt = text.map_err(|e| wrong(format!("{}: {e}", options.prompt)))?;
    }
    let policy = judging_policy(session, &options.policy, &mut parts)?;
    let spec = JudgeSpec::new(parts).map_err(|e| wrong(e.to_string()))?;
    let short = spec.parts().model.rsplit('/').next().unwrap_or_default().to_owned();
    let judge = named(spec.to_judge(&format!("{word}:{short}:{}", &spec.fingerprint()[..8])));
    let judging = match spec.parts().target {
        JudgeTarget::Process => ProcessJudge::new(spec, policy).map(|j| Judging::Process(j.into())),
        JudgeTarget::Outcome => OutcomeJudge::new(spec, policy).map(|j| Judging::Outcome(j.into())),
    };
    Ok((judging.map_err(|e| wrong(e.to_string()))?, judge))
}
