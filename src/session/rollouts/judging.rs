//! JUDGE: a judge looks at steps or answers, and its verdicts become labels.
//!
//! A step that has the judge's label already is not judged again, so that a statement that was
//! stopped goes on where it was. A verdict that cannot be read is counted and is no label.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::judges::{JudgeOptions, Judging, Shown, judging};
use crate::diag::Diagnostic;
use crate::model::{Judge, Label, LabelName, Message, Target, Trajectory};
use crate::query::Scope;
use crate::query::syntax::{Name, QueryStatement, WithOption};
use crate::rollout::judge::{Judged, Tally};
use crate::session::error::SessionError;
use crate::session::options;
use crate::session::select::select;
use crate::session::statement::{Session, mistake};
use crate::store::{Durability, Fact};

/// Trajectories whose steps are judged together.
const TOGETHER: usize = 32;

/// Verdicts that are committed together at most.
const COMMIT_VERDICTS: usize = 256;

/// How long verdicts wait for others to be committed with: what a kill can lose of a slow judge.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

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
    let mut appointed = Appointed::open(session, label, &options)?;
    let rows = select(session, scope, query, None)?.rows;
    let mut wanted: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    for row in &rows {
        wanted.entry(row.trajectory).or_default().extend(row.step);
    }
    appointed.label_all(session, wanted, None)
}

/// A judge, and the name of the labels that it is to give.
pub(super) struct Appointed {
    label: LabelName,
    judge: Judge,
    judging: Judging,
}

impl Appointed {
    /// Returns the judge that options ask for, ready to judge.
    ///
    /// # Errors
    /// Options, a model or a prompt that cannot be used; a judge of that name that is another one.
    pub(super) fn open(
        session: &Session,
        label: LabelName,
        options: &JudgeOptions,
    ) -> Result<Appointed, SessionError> {
        let (judging, judge) = judging(session, options, label.is_verdict())?;
        check_known(session, &judge)?;
        Ok(Appointed { label, judge, judging })
    }

    /// Returns the column of its labels: `process@world`.
    pub(super) fn column(&self) -> String {
        format!("{}@{}", self.label, self.judge.name)
    }

    /// Returns what tells the judge from others whose labels are called the same.
    pub(super) fn fingerprint(&self) -> String {
        let definition = self.judge.definition.as_ref().map_or("", |d| d.as_str());
        blake3::hash(definition.as_bytes()).to_hex()[..16].to_owned()
    }

    /// Returns the judge as labels know it.
    pub(super) fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Whether steps are judged, or whole trajectories.
    pub(super) fn is_of_steps(&self) -> bool {
        self.judging.is_of_steps()
    }

    /// Judges trajectories, or steps of them (all, where none is named), and stores the verdicts as
    /// labels of `run`.
    ///
    /// # Errors
    /// What fails for all; `Cancelled`. Labels committed before stay.
    pub(super) fn label_all(
        &mut self,
        session: &Session,
        wanted: BTreeMap<u64, BTreeSet<u32>>,
        run: Option<&str>,
    ) -> Result<JudgeSummary, SessionError> {
        let Appointed { label, judge, judging } = self;
        let mut summary = JudgeSummary {
            judge: judge.name.clone(),
            added: 0,
            earlier: 0,
            tally: Tally::default(),
        };
        let progress = session.progress();
        progress.begin("judging", wanted.len() as u64);
        let task = Task { session, label, judge, run };
        let all: Vec<(u64, BTreeSet<u32>)> = wanted.into_iter().collect();
        for part in all.chunks(TOGETHER) {
            task.judge(judging, part, &mut summary)?;
            progress.advance(part.len() as u64);
        }
        Ok(summary)
    }
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
    label: &'a LabelName,
    judge: &'a Judge,
    /// The run that labels are of.
    run: Option<&'a str>,
}

/// A step or answer that waits for its verdict.
struct Open {
    ordinal: u64,
    target: Target,
    /// Which of the fetched trajectories.
    at: usize,
}

impl Task<'_> {
    /// Judges some trajectories, or steps of them, and stores the verdicts as they come.
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
                    l.target == target && l.name == *self.label && l.judge == self.judge.name
                };
                match known.iter().any(is_own) {
                    true => summary.earlier += 1,
                    false => open.push(Open { ordinal: *ordinal, target, at }),
                }
            }
        }
        let shown: Vec<Shown<'_>> =
            open.iter().map(|one| stored(&trajectories[one.at], &one.target)).collect();
        let mut kept = Kept { task: self, facts: Vec::new(), since: Instant::now(), added: 0 };
        let mut failed = None;
        let cancelled = || self.session.cancel().is_cancelled();
        let tally = judging.judge(&shown, &cancelled, &mut |number, judged| {
            if let Judged::Verdict(verdict) = judged {
                let Open { ordinal, target, .. } = &open[number];
                let name = self.label.clone();
                let label = verdict.into_label(target.clone(), name, &self.judge.name, self.run);
                failed = kept.keep(Fact { trajectory: *ordinal, label }).err();
            }
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // What was judged before an end stays.
        let committed = match failed {
            None => kept.commit(),
            Some(error) => Err(error),
        };
        summary.added += kept.added;
        summary.tally.merge(tally?);
        committed
    }
}

/// Verdicts on their way into the store.
struct Kept<'a> {
    task: &'a Task<'a>,
    facts: Vec<Fact>,
    /// When they were last committed.
    since: Instant,
    /// Labels that were new.
    added: u64,
}

impl Kept<'_> {
    fn keep(&mut self, fact: Fact) -> Result<(), SessionError> {
        self.facts.push(fact);
        let is_due = self.facts.len() >= COMMIT_VERDICTS || self.since.elapsed() >= COMMIT_EVERY;
        if is_due { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), SessionError> {
        self.since = Instant::now();
        if self.facts.is_empty() {
            return Ok(());
        }
        let judges = std::slice::from_ref(self.task.judge);
        let store = self.task.session.database().store();
        self.added += store.label(&self.facts, judges, Durability::Now)?.added;
        self.facts.clear();
        Ok(())
    }
}

/// Returns what a judge is shown of a stored step, or of a trajectory's answer.
fn stored<'a>(of: &'a Trajectory, target: &Target) -> Shown<'a> {
    let step = match target {
        Target::Step(step) => of.steps.get(*step as usize - 1).map(|found| (*step, found)),
        _ => None,
    };
    let (state, action, observation) = match step {
        Some((number, step)) => {
            let state = of.state(number).into_iter().cloned().collect();
            (state, step.action.clone(), Some(step.observation.as_slice()))
        }
        None => (Vec::new(), Message::default(), None),
    };
    let answer = of.answer.clone().unwrap_or_default();
    let number = step.map_or(0, |(number, _)| number);
    Shown { of, step: number, state, action, observation, answer }
}
