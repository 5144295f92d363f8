//! JUDGE: a judge looks at steps or answers, and its verdicts become labels.
//!
//! A step that has the judge's label already is not judged again, so that a statement that was
//! stopped goes on where it was. A verdict that cannot be read is counted and is no label.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::evaluate::titles_of;
use super::policies::{PolicyOptions, judging_policy};
use super::world::{World, verdict};
use crate::diag::Diagnostic;
use crate::model::{Json, Judge, JudgeKind, Label, LabelName, Message, Target, Trajectory};
use crate::query::Scope;
use crate::query::syntax::{Name, QueryStatement, WithOption};
use crate::rollout::answer_of;
use crate::rollout::judge::{
    BuiltIn, Ending, ExecutedStep, GoldFacts, JudgeError, JudgeParts, JudgeSpec, JudgeTarget,
    Judged, OutcomeInput, OutcomeJudge, ProcessInput, ProcessJudge, ProgramJudge, StepProgram,
    Tally, Unreadable, Verdict,
};
use crate::session::error::SessionError;
use crate::session::options;
use crate::session::select::select;
use crate::session::statement::{Session, mistake};
use crate::store::{Durability, Fact};
use crate::synth::JudgeNoise;

/// Trajectories whose steps are judged and committed together.
const TOGETHER: usize = 32;

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

/// What a judge found.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeSummary {
    /// The judge's name.
    pub judge: String,
    /// Labels that are new.
    pub added: u64,
    /// Steps or answers that had the judge's label before.
    pub earlier: u64,
    /// What came of judging.
    pub tally: Tally,
}

/// Who judges.
pub(in crate::session) enum Judging {
    Answers(ProgramJudge),
    Steps(StepProgram),
    World(Box<World>, JudgeNoise),
    /// By a hash over question, state and action: a reward that means nothing, to compare with.
    Random(u64),
    Process(Box<ProcessJudge>),
    Outcome(Box<OutcomeJudge>),
}

impl Judging {
    /// Whether steps are judged, or whole trajectories.
    fn is_of_steps(&self) -> bool {
        !matches!(self, Judging::Answers(_) | Judging::Outcome(_))
    }
}

/// Judges the rows of a query.
///
/// # Errors
/// The query's; options, a model or a prompt that cannot be used; a judge of that name that is
/// another one. Labels committed before an error stay.
pub(in crate::session) fn judge(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    name: &Name,
    asked: &[WithOption],
) -> Result<JudgeSummary, SessionError> {
    let fail = |message: String| {
        mistake(Diagnostic::new("label-value", message).at(name.span), scope.text)
    };
    let label = LabelName::new(&name.text).map_err(fail)?;
    let options: JudgeOptions = options::read(&JudgeOptions::default(), asked, scope.text)?;
    let (mut judging, judge) = judging(session, &options)?;
    check_known(session, &judge)?;
    let rows = select(session, scope, query, None)?.rows;
    let mut wanted: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    for row in &rows {
        wanted.entry(row.trajectory).or_default().extend(row.step);
    }
    let mut summary =
        JudgeSummary { judge: judge.name.clone(), added: 0, earlier: 0, tally: Tally::default() };
    let progress = session.progress();
    progress.begin("judging", wanted.len() as u64);
    let task = Task { session, label, judge };
    let all: Vec<(u64, BTreeSet<u32>)> = wanted.into_iter().collect();
    for part in all.chunks(TOGETHER) {
        task.judge(&mut judging, part, &mut summary)?;
        progress.advance(part.len() as u64);
    }
    Ok(summary)
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
            "judge = '{word}' is none; programs on answers: {}; programs on steps: {}, world, random; \
             prompts for a model: process, choice, calculation, outcome",
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

/// Checks that no other judge has the name.
fn check_known(session: &Session, judge: &Judge) -> Result<(), SessionError> {
    let view = session.database().view();
    let known = view.catalogue().judges.iter().filter_map(|record| record.judge().ok());
    match known.into_iter().find(|known| known.name == judge.name) {
        Some(known) if known != *judge => {
            let name = &judge.name;
            let message = format!(
                "'{name}' is a judge already, and another one: a judge never changes; name = \
                 '{name}:2' tells them apart"
            );
            Err(SessionError::mistake("label-judge", message))
        }
        _ => Ok(()),
    }
}

/// What all verdicts of a statement share.
struct Task<'a> {
    session: &'a Session,
    label: LabelName,
    judge: Judge,
}

/// A step or answer that waits for its verdict.
struct Open {
    ordinal: u64,
    target: Target,
    /// Which of the fetched trajectories.
    at: usize,
}

impl Task<'_> {
    /// Judges some trajectories, or steps of them, and stores the verdicts in one commit.
    fn judge(
        &self,
        judging: &mut Judging,
        part: &[(u64, BTreeSet<u32>)],
        summary: &mut JudgeSummary,
    ) -> Result<(), SessionError> {
        if self.session.cancel().is_cancelled() {
            return Err(SessionError::Cancelled);
        }
        let view = self.session.database().view();
        let ordinals: Vec<u64> = part.iter().map(|(ordinal, _)| *ordinal).collect();
        let trajectories = view.trajectories(&ordinals)?;
        let mut open = Vec::new();
        for (at, (ordinal, steps)) in part.iter().enumerate() {
            let targets: Vec<Target> = match judging.is_of_steps() {
                false => vec![Target::Trajectory],
                true if steps.is_empty() => {
                    (1..=trajectories[at].steps.len() as u32).map(Target::Step).collect()
                }
                true => steps.iter().copied().map(Target::Step).collect(),
            };
            let known: Vec<Label> = view.current_labels(*ordinal)?;
            for target in targets {
                let is_own = |l: &Label| {
                    l.target == target && l.name == self.label && l.judge == self.judge.name
                };
                match known.iter().any(is_own) {
                    true => summary.earlier += 1,
                    false => open.push(Open { ordinal: *ordinal, target, at }),
                }
            }
        }
        let (judged, tally) = self.verdicts(judging, &open, &trajectories)?;
        summary.tally.merge(tally);
        let facts: Vec<Fact> = judged
            .into_iter()
            .map(|(number, verdict)| {
                let Open { ordinal, target, .. } = &open[number];
                let name = self.label.clone();
                let label = verdict.into_label(target.clone(), name, &self.judge.name, None);
                Fact { trajectory: *ordinal, label }
            })
            .collect();
        let judges = std::slice::from_ref(&self.judge);
        let store = self.session.database().store();
        summary.added += store.label(&facts, judges, Durability::Now)?.added;
        Ok(())
    }

    /// Returns the verdicts that could be read, by the number of what they speak of.
    fn verdicts(
        &self,
        judging: &mut Judging,
        open: &[Open],
        trajectories: &[Trajectory],
    ) -> Result<(Vec<(usize, Verdict)>, Tally), SessionError> {
        let mut verdicts = Vec::new();
        let mut take = |number: usize, judged: Judged| {
            if let Judged::Verdict(verdict) = judged {
                verdicts.push((number, verdict));
            }
            ControlFlow::Continue(())
        };
        let cancelled = || self.session.cancel().is_cancelled();
        let failed = |e: JudgeError| match cancelled() {
            true => SessionError::Cancelled,
            false => SessionError::mistake("judge", e.to_string()),
        };
        let tally = match judging {
            Judging::Answers(program) => {
                by_program(open, &mut take, |one| program.judge(&answered(&trajectories[one.at])))
            }
            Judging::Steps(program) => by_program(open, &mut take, |one| {
                let of = &trajectories[one.at];
                let (state, step) = placed(of, &one.target);
                let (action, observation) = (&of.steps[step].action, &of.steps[step].observation);
                let titles = titles_of(of.meta.as_ref());
                let gold = GoldFacts { answers: &of.gold, supporting_titles: &titles };
                program.judge(&ExecutedStep { state: &state, action, observation }, gold)
            }),
            Judging::Random(seed) => by_program(open, &mut take, |one| {
                let of = &trajectories[one.at];
                let (state, step) = placed(of, &one.target);
                Ok(at_random(*seed, of, state.len(), &of.steps[step].action))
            }),
            Judging::World(world, noise) => {
                let judge = world.judging(*noise);
                let mut tally = Tally::default();
                for (number, one) in open.iter().enumerate() {
                    let of = &trajectories[one.at];
                    let (state, step) = placed(of, &one.target);
                    let asked = of.question_id.as_deref().unwrap_or_default();
                    let found = verdict(&judge, asked, &state, &of.steps[step].action)?;
                    let judged = Judged::Verdict(found);
                    tally.add(&judged);
                    let _ = take(number, judged);
                }
                tally
            }
            Judging::Outcome(judge) => {
                let inputs: Vec<OutcomeInput<'_>> =
                    open.iter().map(|one| answered(&trajectories[one.at])).collect();
                judge.judge(&inputs, &cancelled, &mut take).map_err(failed)?
            }
            Judging::Process(judge) => {
                let placed: Vec<(Vec<Message>, usize)> =
                    open.iter().map(|one| placed(&trajectories[one.at], &one.target)).collect();
                let tools: Vec<_> =
                    trajectories.iter().map(|of| of.tools.as_ref().map(Json::to_value)).collect();
                let inputs: Vec<ProcessInput<'_>> = open
                    .iter()
                    .zip(&placed)
                    .map(|(one, (state, step))| ProcessInput {
                        question: trajectories[one.at].question.as_deref(),
                        state,
                        action: &trajectories[one.at].steps[*step].action,
                        tools: tools[one.at].as_ref(),
                    })
                    .collect();
                judge.judge(&inputs, &cancelled, &mut take).map_err(failed)?
            }
        };
        if cancelled() {
            return Err(SessionError::Cancelled);
        }
        Ok((verdicts, tally))
    }
}

/// An action that was sampled at a stored state and not executed.
pub(in crate::session) struct SampledAction<'a> {
    /// The trajectory whose state it was sampled at.
    pub(in crate::session) of: &'a Trajectory,
    /// The messages before it.
    pub(in crate::session) state: Vec<Message>,
    /// The action.
    pub(in crate::session) action: Message,
}

impl Judging {
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

    /// Judges sampled actions, in their order.
    ///
    /// # Errors
    /// A judge that needs what came back; what fails for all.
    pub(in crate::session) fn judge_sampled(
        &mut self,
        sampled: &[SampledAction<'_>],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Judged>, SessionError> {
        let failed = |e: JudgeError| SessionError::mistake("judge", e.to_string());
        let mut judged: Vec<Judged> =
            vec![Judged::Failed("it said nothing".to_owned()); sampled.len()];
        let mut take = |number: usize, one: Judged| {
            judged[number] = one;
            ControlFlow::Continue(())
        };
        let answer = |one: &SampledAction<'_>| match one.action.tool_calls.is_empty() {
            true => answer_of(&one.action).unwrap_or_default(),
            false => String::new(),
        };
        match self {
            Judging::Steps(_) => self.check_sampled()?,
            Judging::Random(seed) => {
                for (number, SampledAction { of, state, action }) in sampled.iter().enumerate() {
                    let found = at_random(*seed, of, state.len(), action);
                    let _ = take(number, Judged::Verdict(found));
                }
            }
            Judging::World(world, noise) => {
                let judge = world.judging(*noise);
                for (number, SampledAction { of, state, action }) in sampled.iter().enumerate() {
                    let asked = of.question_id.as_deref().unwrap_or_default();
                    let found = verdict(&judge, asked, state, action)?;
                    let _ = take(number, Judged::Verdict(found));
                }
            }
            Judging::Answers(program) => {
                for (number, one) in sampled.iter().enumerate() {
                    let answer = answer(one);
                    let found = program.judge(&OutcomeInput {
                        question: one.of.question.as_deref(),
                        gold: &one.of.gold,
                        answer: &answer,
                    });
                    let _ = take(number, found.map_or_else(Judged::Unreadable, Judged::Verdict));
                }
            }
            Judging::Outcome(judge) => {
                let answers: Vec<String> = sampled.iter().map(answer).collect();
                let inputs: Vec<OutcomeInput<'_>> = sampled
                    .iter()
                    .zip(&answers)
                    .map(|(one, answer)| OutcomeInput {
                        question: one.of.question.as_deref(),
                        gold: &one.of.gold,
                        answer,
                    })
                    .collect();
                judge.judge(&inputs, cancelled, &mut take).map_err(failed)?;
            }
            Judging::Process(judge) => {
                let tools: Vec<_> =
                    sampled.iter().map(|one| one.of.tools.as_ref().map(Json::to_value)).collect();
                let inputs: Vec<ProcessInput<'_>> = sampled
                    .iter()
                    .zip(&tools)
                    .map(|(one, tools)| ProcessInput {
                        question: one.of.question.as_deref(),
                        state: &one.state,
                        action: &one.action,
                        tools: tools.as_ref(),
                    })
                    .collect();
                judge.judge(&inputs, cancelled, &mut take).map_err(failed)?;
            }
        }
        Ok(judged)
    }
}

/// Returns a verdict that is 0 or 1 by a hash.
fn at_random(seed: u64, of: &Trajectory, messages: usize, action: &Message) -> Verdict {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(&(messages as u64).to_le_bytes());
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

/// Judges by a program.
fn by_program(
    open: &[Open],
    take: &mut dyn FnMut(usize, Judged) -> ControlFlow<()>,
    judge: impl Fn(&Open) -> Result<Verdict, Unreadable>,
) -> Tally {
    let mut tally = Tally::default();
    for (number, one) in open.iter().enumerate() {
        let judged = judge(one).map_or_else(Judged::Unreadable, Judged::Verdict);
        tally.add(&judged);
        let _ = take(number, judged);
    }
    tally
}

/// Returns the answer of a trajectory, `""` where it has none.
fn answered(of: &Trajectory) -> OutcomeInput<'_> {
    OutcomeInput {
        question: of.question.as_deref(),
        gold: &of.gold,
        answer: of.answer.as_deref().unwrap_or_default(),
    }
}

/// Returns the state of a step, and which of the steps it is, from 0.
fn placed(of: &Trajectory, target: &Target) -> (Vec<Message>, usize) {
    let step = match target {
        Target::Step(step) => *step,
        _ => 1,
    };
    let step = step.clamp(1, of.steps.len().max(1) as u32);
    (of.state(step).into_iter().cloned().collect(), step as usize - 1)
}
