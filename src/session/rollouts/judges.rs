//! Judges of all kinds, asked in one way: programs, the small world, models with a prompt.

use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::evaluate::titles_of;
use super::implicit::ImplicitJudge;
use super::policies::{OF_SERVER, PolicyOptions, judging_policy};
use super::world::{World, verdict};
use crate::model::{Json, Judge, JudgeKind, Message, Trajectory};
use crate::query::syntax::{Name, WithOption};
use crate::rollout::judge::{
    BuiltIn, Ending, ExecutedStep, GoldFacts, JudgeError, JudgeParts, JudgeSpec, JudgeTarget,
    Judged, OnJudged, OutcomeInput, OutcomeJudge, ProcessInput, ProcessJudge, ProgramJudge,
    Reading, StepProgram, Tally, Unreadable, Verdict,
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
    /// The most characters of a conversation that a prompted judge is shown; 0 for all.
    max_state_characters: usize,
    /// Judge 'implicit': the model that its log-probabilities are held against.
    pub(super) reference: String,
    /// Judge 'implicit': where both models are computed; the CPU, if empty.
    pub(super) device: String,
    /// Judge 'implicit': what the log-ratio is multiplied by.
    pub(super) beta: f64,
    /// Judge 'implicit': `sum` or `mean` over the tokens of an action.
    pub(super) normalize: String,
    /// Judge 'implicit': what becomes of the product: `real`, `sigmoid`, `sign`; if empty,
    /// `sigmoid` for labels from 0 to 1 and `real` for others.
    pub(super) scale: String,
    /// The small world of judge 'world': `default`, or its options.
    world: String,
    /// The share of verdicts of judge 'world' that say the opposite.
    flipped: f64,
    /// Which verdicts those are.
    flip_seed: u64,
    #[serde(flatten)]
    pub(super) policy: PolicyOptions,
}

impl Default for JudgeOptions {
    fn default() -> JudgeOptions {
        JudgeOptions {
            judge: String::new(),
            name: String::new(),
            ending: "explained".to_owned(),
            prompt: String::new(),
            max_state_characters: 0,
            reference: String::new(),
            device: String::new(),
            beta: 0.05,
            normalize: "sum".to_owned(),
            scale: String::new(),
            world: String::new(),
            flipped: 0.0,
            flip_seed: 0,
            // An answer is as long as its ending needs.
            policy: PolicyOptions {
                temperature: 0.0,
                max_new_tokens: 0,
                ..PolicyOptions::default()
            },
        }
    }
}

impl JudgeOptions {
    /// Returns the options of a judge that is known by one word.
    pub(in crate::session) fn of(judge: &str) -> JudgeOptions {
        JudgeOptions { judge: judge.to_owned(), ..JudgeOptions::default() }
    }

    /// Returns what the options of a statement say of the judge that `part` names, as JUDGE has
    /// them: `judge = 'world', judge.world = 'default'`; `None` where they say nothing of it, and
    /// `defaults` where they leave something out.
    ///
    /// # Errors
    /// An option that JUDGE does not have; a value that it does not take.
    pub(in crate::session) fn of_part(
        options: &[WithOption],
        part: &str,
        defaults: &JudgeOptions,
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
            false => options::read(defaults, &given, text).map(Some),
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

    /// Refuses options that mean nothing to a judge.
    fn check_used(&self, used: &[&str]) -> Result<(), SessionError> {
        let given = options::given(self, &JudgeOptions::default())?;
        let is_unused = |name: &&String| !used.contains(&name.as_str());
        let Some(name) = given.iter().find(is_unused) else { return Ok(()) };
        let used: Vec<&str> =
            used.iter().copied().filter(|name| !["judge", "name"].contains(name)).collect();
        let takes = match used.is_empty() {
            true => "it takes no options but name".to_owned(),
            false => format!("it takes name, {}", used.join(", ")),
        };
        let message =
            format!("option '{name}' has no effect on judge '{}': drop it; {takes}", self.judge);
        Err(SessionError::mistake("judge", message))
    }
}

/// Whether an option speaks of the judge that `part` names.
pub(in crate::session) fn is_of_judge(option: &str, part: &str) -> bool {
    let rest = option.strip_prefix(part);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Options that every judge takes.
const OF_ALL: [&str; 2] = ["judge", "name"];

/// Those of judge 'implicit'.
const OF_IMPLICIT: [&str; 7] =
    ["model", "reference", "device", "beta", "normalize", "scale", "renderer"];

/// Those of models with a prompt.
const OF_PROMPTED: [&str; 4] = ["model", "base_url", "ending", "prompt"];

/// Those of models that write their verdict.
const OF_SAMPLING: [&str; 6] = ["max_new_tokens", "temperature", "top_k", "top_p", "min_p", "seed"];

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
    /// A model against the one that it was trained from, on steps.
    Implicit(Box<ImplicitJudge>),
}

/// What is judged: an action at a state of a trajectory, or an answer. Which judge looks at which
/// part is in [`Judging::judge`].
pub(in crate::session) struct Shown<'a> {
    /// The trajectory whose state it is.
    pub(in crate::session) of: &'a Trajectory,
    /// The number of the step whose state it is, from 1; 0 for an answer.
    pub(in crate::session) step: u32,
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

    /// Checks that answers are judged.
    ///
    /// # Errors
    /// A judge of steps.
    pub(super) fn check_answers(&self, name: &str) -> Result<(), SessionError> {
        if !self.is_of_steps() {
            return Ok(());
        }
        let programs = ProgramJudge::ALL.map(ProgramJudge::as_str).join(", ");
        let message = format!(
            "'{name}' judges steps, and the reward of a trajectory is that of its answer: judge = \
             {programs}, or outcome with judge.model"
        );
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
            Judging::Implicit(judge) => judge.judge(shown, cancelled, take),
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
    for call in action.calls_apart() {
        add(&call.name);
        add(&call.arguments);
    }
    Verdict::of(f64::from(hasher.finalize().as_bytes()[0] & 1))
}

/// Returns who judges, and the judge as labels know it. `is_verdict`: its values are to be from 0
/// to 1.
///
/// # Errors
/// A judge that there is not, options that it does not take, a model that cannot be used.
pub(in crate::session) fn judging(
    session: &Session,
    options: &JudgeOptions,
    is_verdict: bool,
) -> Result<(Judging, Judge), SessionError> {
    let word = options.judge.as_str();
    let (judging, judge) = if let Some(program) = ProgramJudge::parse(word) {
        options.check_used(&OF_ALL)?;
        (Judging::Answers(program), program.to_judge())
    } else if let Some(program) = StepProgram::parse(word) {
        options.check_used(&OF_ALL)?;
        (Judging::Steps(program), program.to_judge())
    } else if word == "random" {
        random(options)?
    } else if word == "world" {
        of_world(options)?
    } else if word == "implicit" {
        options.check_used(&[&OF_ALL[..], &OF_IMPLICIT].concat())?;
        let (judge, known) = ImplicitJudge::of(session, options, is_verdict)?;
        (Judging::Implicit(Box::new(judge)), known)
    } else if let Some(built_in) = BuiltIn::parse(word) {
        prompted(session, options, built_in)?
    } else {
        let programs = ProgramJudge::ALL.map(ProgramJudge::as_str);
        let of_steps = StepProgram::ALL.map(StepProgram::as_str);
        return Err(wrong(format!(
            "judge = '{word}' is none; programs on answers: {}; programs on steps: {}, world, \
             random; a model against the one it was trained from: implicit; prompts for a model: \
             process, choice, calculation, outcome",
            programs.join(", "),
            of_steps.join(", ")
        )));
    };
    let judge = match options.name.as_str() {
        "" => judge,
        name => Judge { name: name.to_owned(), ..judge },
    };
    Ok((judging, judge))
}

fn wrong(message: String) -> SessionError {
    SessionError::mistake("judge", message)
}

fn random(options: &JudgeOptions) -> Result<(Judging, Judge), SessionError> {
    options.check_used(&[&OF_ALL[..], &["seed"]].concat())?;
    let seed = options.policy.seed;
    let definition = Json::of(&json!({"program": "random", "version": 1, "seed": seed}));
    let judge = Judge {
        name: "random".to_owned(),
        kind: JudgeKind::Program,
        definition: Some(definition),
        sees_gold: Some(false),
    };
    Ok((Judging::Random(seed), judge))
}

fn of_world(options: &JudgeOptions) -> Result<(Judging, Judge), SessionError> {
    options.check_used(&[&OF_ALL[..], &["world", "flipped", "flip_seed"]].concat())?;
    let noise = JudgeNoise { flipped: options.flipped, seed: options.flip_seed };
    if !(0.0..=1.0).contains(&noise.flipped) {
        return Err(wrong(format!("flipped = {}: expected 0 to 1", noise.flipped)));
    }
    let world = World::of(&options.world)?
        .ok_or_else(|| wrong("which world? world = 'default', or its options".to_owned()))?;
    let judge = world.judge(noise);
    Ok((Judging::World(Box::new(world), noise), judge))
}

/// Returns a judge that is a model with a prompt.
fn prompted(
    session: &Session,
    options: &JudgeOptions,
    built_in: BuiltIn,
) -> Result<(Judging, Judge), SessionError> {
    let Some(ending) = Ending::parse(&options.ending) else {
        let expected = "explained, graded or one_word";
        return Err(wrong(format!("ending = '{}': expected {expected}", options.ending)));
    };
    let mut parts = JudgeParts::built_in(built_in, ending, "", "");
    let is_local = options.policy.base_url.is_empty();
    let mut used = [&OF_ALL[..], &OF_PROMPTED].concat();
    if parts.target == JudgeTarget::Process {
        used.push("max_state_characters");
    }
    match (is_local, parts.reading) {
        (true, Reading::Text) => used.extend(OF_SAMPLING.into_iter().chain(["slots", "renderer"])),
        (true, _) => used.push("renderer"),
        (false, _) => {
            used.extend(OF_SAMPLING.into_iter().chain(OF_SERVER).chain(["cassette", "record"]));
        }
    }
    options.check_used(&used)?;
    if !options.prompt.is_empty() {
        let text = std::fs::read_to_string(Path::new(&options.prompt));
        parts.prompt = text.map_err(|e| wrong(format!("{}: {e}", options.prompt)))?;
    }
    parts.max_state_characters = Some(options.max_state_characters).filter(|max| *max > 0);
    let policy = judging_policy(session, &options.policy, &mut parts)?;
    let spec = JudgeSpec::new(parts).map_err(|e| wrong(e.to_string()))?;
    let short = spec.parts().model.rsplit('/').next().unwrap_or_default().to_owned();
    let word = built_in.as_str();
    let judge = spec.to_judge(&format!("{word}:{short}:{}", &spec.fingerprint()[..8]));
    let judging = match spec.parts().target {
        JudgeTarget::Process => ProcessJudge::new(spec, policy).map(|j| Judging::Process(j.into())),
        JudgeTarget::Outcome => OutcomeJudge::new(spec, policy).map(|j| Judging::Outcome(j.into())),
    };
    Ok((judging.map_err(|e| wrong(e.to_string()))?, judge))
}
