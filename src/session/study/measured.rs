//! What was measured, read from stored labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ask::{ask, has_label};
use super::config::{Filter, StudyConfig};
use super::plan::{Plan, Policy, metric_of};
use super::pools::{Pool, evaluation_judge, name_of};
use super::statements::{named, text};
use crate::codec::RunStatus;
use crate::score::{
    Comparison, Estimate, Resampling, StatisticsError, bootstrap, paired_bootstrap,
};
use crate::session::error::SessionError;
use crate::session::statement::Session;

/// The generated trajectories by whether every step is good, and whether the answer is right;
/// `None` where labels do not decide it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Generated {
    counts: BTreeMap<(Option<bool>, Option<bool>), u64>,
}

impl Generated {
    /// Counts them.
    ///
    /// # Errors
    /// The query's.
    pub(super) fn of(session: &Session, pool: &Pool) -> Result<Generated, SessionError> {
        let judges = &pool.judges;
        let column = |name: &str, judge: &str, column: String| match has_label(session, name, judge)
        {
            true => column,
            false => "CAST(NULL AS DOUBLE)".to_owned(),
        };
        let process = column("process", &judges.process, judges.process_column());
        let outcome = column("outcome", &judges.outcome, judges.outcome_column());
        let source = text(&pool.run);
        let rows = ask(
            session,
            &format!(
                "FROM steps\n|> WHERE source = {source}\n\
                 |> AGGREGATE every({process} > .5) AS all_good, max({outcome}) AS found\n\
                 \x20  GROUP BY trajectory_id\n\
                 |> AGGREGATE count(*) AS n GROUP BY all_good, found > .5 AS is_right\n\
                 |> SELECT all_good, is_right, n"
            ),
        )?;
        let mut counts = BTreeMap::new();
        let is = |value: Option<f64>| value.map(|value| value > 0.5);
        let (good, right, n) = (rows.numbers(0)?, rows.numbers(1)?, rows.numbers(2)?);
        for ((good, right), n) in good.into_iter().zip(right).zip(n) {
            *counts.entry((is(good), is(right))).or_default() += n.unwrap_or_default() as u64;
        }
        Ok(Generated { counts })
    }

    /// Returns how many there are of this process and outcome.
    pub(super) fn count(&self, process: Option<bool>, outcome: Option<bool>) -> u64 {
        self.counts.get(&(process, outcome)).copied().unwrap_or_default()
    }

    /// Returns how many a filter keeps.
    pub(super) fn kept(&self, filter: Filter) -> u64 {
        self.passing(filter, Some(true))
    }

    /// Returns of how many labels do not say whether a filter keeps them.
    pub(super) fn undecided(&self, filter: Filter) -> u64 {
        self.passing(filter, None)
    }

    fn passing(&self, filter: Filter, wanted: Option<bool>) -> u64 {
        let passes = |good: Option<bool>, right: Option<bool>| {
            let good = if filter.has_process() { good } else { Some(true) };
            let right = if filter.has_outcome() { right } else { Some(true) };
            match (good, right) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            }
        };
        let of = self.counts.iter().filter(|((g, r), _)| passes(*g, *r) == wanted);
        of.map(|(_, n)| n).sum()
    }
}

/// A trajectory of an evaluation.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    question: String,
    exact_match: f64,
    f1: f64,
}

/// The steps of a trajectory of an evaluation.
#[derive(Clone, Debug, PartialEq)]
struct Steps {
    question: String,
    /// The mean of their labels; `None` where none has one.
    process: Option<f64>,
    /// How many have no label.
    unjudged: u64,
}

/// A figure over questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// Whether the answer is the gold one.
    ExactMatch,
    /// How much of the answer is the gold one's.
    F1,
    /// The mean label of steps.
    Process,
}

/// What all finished evaluations measured, by run.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    answers: HashMap<String, Vec<Answer>>,
    steps: HashMap<String, Vec<Steps>>,
}

impl Measured {
    /// Reads the labels of the evaluations that have finished; `judged` are the statements of
    /// judging that have.
    ///
    /// # Errors
    /// A query's; what the disk says.
    pub(super) fn of(
        session: &Session,
        config: &StudyConfig,
        plan: &Plan,
        judged: &BTreeSet<String>,
    ) -> Result<Measured, SessionError> {
        let mut measured = Measured::default();
        let store = session.database().store();
        for evaluation in plan.policies.iter().flat_map(|policy| &policy.evaluations) {
            let record = store.run(&evaluation.run)?;
            if record.is_some_and(|record| record.status == RunStatus::Finished) {
                measured.answers.insert(evaluation.run.clone(), Vec::new());
                if judged.contains(&evaluation.judging) {
                    measured.steps.insert(evaluation.run.clone(), Vec::new());
                }
            }
        }
        measured.read_answers(session, config)?;
        measured.read_steps(session, config)?;
        Ok(measured)
    }

    fn read_answers(
        &mut self,
        session: &Session,
        config: &StudyConfig,
    ) -> Result<(), SessionError> {
        let metrics: BTreeSet<String> =
            config.tests.iter().map(|test| metric_of(config, test)).collect();
        for metric in metrics.iter().filter(|metric| has_label(session, "outcome", metric)) {
            let of_metric = |name: &str| named(&format!("{name}@{metric}"));
            let rows = ask(
                session,
                &format!(
                    "FROM trajectories\n|> WHERE source LIKE {}\n\
                     |> SELECT source, coalesce(question_id, trajectory_id) AS question,\n\
                     \x20         {} AS exact_match, {} AS token_f1",
                    evaluations(config),
                    of_metric("outcome"),
                    of_metric("f1")
                ),
            )?;
            let (sources, questions) = (rows.texts(0)?, rows.texts(1)?);
            let (exact, f1) = (rows.numbers(2)?, rows.numbers(3)?);
            let names = sources.into_iter().zip(questions);
            for ((source, question), (exact, f1)) in names.zip(exact.into_iter().zip(f1)) {
                let of_run = self.answers.get_mut(&source.unwrap_or_default());
                if let (Some(of_run), Some(exact_match), Some(f1)) = (of_run, exact, f1) {
                    let question = question.unwrap_or_default();
                    of_run.push(Answer { question, exact_match, f1 });
                }
            }
        }
        Ok(())
    }

    fn read_steps(&mut self, session: &Session, config: &StudyConfig) -> Result<(), SessionError> {
        let judge = evaluation_judge(config);
        if !has_label(session, "process", &judge) {
            return Ok(());
        }
        let column = named(&format!("process@{judge}"));
        let rows = ask(
            session,
            &format!(
                "FROM steps\n|> WHERE source LIKE {}\n\
                 |> AGGREGATE avg({column}) AS mean, count(*) - count({column}) AS unjudged\n\
                 \x20  GROUP BY source, trajectory_id, question_id\n\
                 |> SELECT source, coalesce(question_id, trajectory_id) AS question,\n\
                 \x20         mean, unjudged",
                evaluations(config)
            ),
        )?;
        let (sources, questions) = (rows.texts(0)?, rows.texts(1)?);
        let (means, unjudged) = (rows.numbers(2)?, rows.numbers(3)?);
        let names = sources.into_iter().zip(questions);
        for ((source, question), (process, unjudged)) in names.zip(means.into_iter().zip(unjudged))
        {
            if let Some(of_run) = self.steps.get_mut(&source.unwrap_or_default()) {
                let unjudged = unjudged.unwrap_or_default() as u64;
                of_run.push(Steps { question: question.unwrap_or_default(), process, unjudged });
            }
        }
        Ok(())
    }

    /// Whether a run has been evaluated, and its steps judged.
    pub(super) fn has(&self, run: &str) -> (bool, bool) {
        (self.answers.contains_key(run), self.steps.contains_key(run))
    }

    /// Returns a figure of every trajectory of a policy on a test, of all seeds, with its question.
    pub(super) fn values(&self, policy: &Policy, test: &str, figure: Figure) -> Vec<(&str, f64)> {
        let runs = policy.evaluations.iter().filter(|e| e.test == test).map(|e| &e.run);
        let mut values = Vec::new();
        for run in runs {
            if figure == Figure::Process {
                let steps = self.steps.get(run).into_iter().flatten();
                values.extend(steps.filter_map(|s| Some((s.question.as_str(), s.process?))));
                continue;
            }
            let answers = self.answers.get(run).into_iter().flatten();
            values.extend(answers.map(|answer| match figure {
                Figure::F1 => (answer.question.as_str(), answer.f1),
                _ => (answer.question.as_str(), answer.exact_match),
            }));
        }
        values
    }

    /// Returns how many steps of a policy on a test the evaluating judge gave no label.
    pub(super) fn unjudged(&self, policy: &Policy, test: &str) -> u64 {
        let runs = policy.evaluations.iter().filter(|e| e.test == test);
        let steps = runs.filter_map(|e| self.steps.get(&e.run)).flatten();
        steps.map(|steps| steps.unjudged).sum()
    }

    /// Returns a figure with its interval, questions drawn with all that was measured of each;
    /// `None` where nothing was. Of a single question the interval has no width.
    ///
    /// # Errors
    /// None that is known: stored values are finite.
    pub(super) fn estimate(
        &self,
        policy: &Policy,
        test: &str,
        figure: Figure,
    ) -> Result<Option<Estimate>, SessionError> {
        let values = self.values(policy, test, figure);
        match bootstrap(values.iter().copied(), Resampling::default()) {
            Ok(estimate) => Ok(Some(estimate)),
            Err(StatisticsError::TooFew { found: 0 }) => Ok(None),
            Err(StatisticsError::TooFew { .. }) => {
                let value = values.iter().map(|(_, v)| v).sum::<f64>() / values.len() as f64;
                Ok(Some(Estimate { value, low: value, high: value }))
            }
            Err(error) => Err(SessionError::mistake("study", error.to_string())),
        }
    }

    /// Returns by how much the second policy is better than the first, on the questions of a test;
    /// `None` where one of them is not measured or there are fewer than two questions.
    ///
    /// # Errors
    /// The two were not asked the same questions.
    pub(super) fn compare(
        &self,
        (first, second): (&Policy, &Policy),
        test: &str,
        figure: Figure,
    ) -> Result<Option<Comparison>, SessionError> {
        let values = |policy| self.values(policy, test, figure);
        let (one, other) = (values(first), values(second));
        if one.is_empty() || other.is_empty() {
            return Ok(None);
        }
        match paired_bootstrap(one, other, Resampling::default()) {
            Ok(comparison) => Ok(Some(comparison)),
            Err(StatisticsError::TooFew { .. }) => Ok(None),
            Err(error) => {
                let message =
                    format!("'{}' and '{}' on {test}: {error}", first.label, second.label);
                Err(SessionError::mistake("study", message))
            }
        }
    }
}

/// Returns the pattern of the sources of evaluations; more may match that are not of the plan.
fn evaluations(config: &StudyConfig) -> String {
    text(&name_of(config, "%eval/%"))
}
