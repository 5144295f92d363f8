//! A rollout as a run: begun, gone on with, ended.
//!
//! A run that was stopped or killed goes on when the same statement is given again: what its source
//! holds already is not played again, and what is played is the same as it would have been.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::document::document;
use super::evaluate::{appointed, evaluate, meta_of};
use super::judging::{Appointed, JudgeSummary};
use super::policies::{Opened, drawn, policy};
use super::questions::questions;
use super::request::RolloutOptions;
use super::summary::EvaluationSummary;
use super::toolset::Toolset;
use crate::codec::{RunRecord, RunStatus};
use crate::exchange::content_hash;
use crate::model::{Json, Trajectory};
use crate::query::Scope;
use crate::query::syntax::{QueryStatement, Rollout, RolloutVerb, Statement};
use crate::rollout::{
    Counts, Episode, Policy, Question, RolloutError, Setting, play, trajectory_id,
};
use crate::session::error::SessionError;
use crate::session::host::now_micros;
use crate::session::report_files;
use crate::session::statement::Session;
use crate::session::training::free_name;
use crate::store::{Appended, Durability, Incoming};

/// What a rollout did.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutSummary {
    /// The run, which is also the source of its trajectories.
    pub run: String,
    /// What it did.
    pub verb: RolloutVerb,
    /// Questions asked.
    pub questions: u64,
    /// Episodes that an earlier call of the statement had played.
    pub earlier: u64,
    /// What happened in all episodes of the run.
    pub counts: Counts,
    /// What was measured, where that was asked for.
    pub evaluation: Option<EvaluationSummary>,
    /// What judges found, where they were asked.
    pub judged: Vec<JudgeSummary>,
    /// The files of the report, Markdown and HTML, where one was asked for.
    pub report: Option<[PathBuf; 2]>,
}

impl RolloutSummary {
    /// Returns how episodes ended, with their numbers.
    pub fn endings(&self) -> [(u64, &'static str); 3] {
        let Counts { answered, limit, error, .. } = self.counts;
        [(answered, "answered"), (limit, "reached the limit"), (error, "ended with an error")]
    }

    /// Returns what happened in episodes, with how often.
    pub fn happenings(&self) -> [(u64, &'static str); 11] {
        let counts = &self.counts;
        [
            (counts.actions, "actions"),
            (counts.calls, "calls"),
            (counts.tool_errors, "errors of tools"),
            (counts.nothing_found, "found nothing"),
            (counts.repeated, "repeated calls"),
            (counts.no_action, "neither call nor answer"),
            (counts.both, "call and answer"),
            (counts.several, "several calls or answers"),
            (counts.unreadable, "unreadable"),
            (counts.cut, "cut off"),
            (counts.restored, "closing tags put back"),
        ]
    }
}

/// Plays the episodes that a statement asks for.
///
/// # Errors
/// Options, questions, tools or a model that cannot be used; another run of that name; the policy
/// fails. What was played before is stored.
pub(in crate::session) fn rollout(
    session: &Session,
    scope: &Scope<'_>,
    statement: &Statement,
    query: Option<&QueryStatement>,
    asked: &Rollout,
) -> Result<RolloutSummary, SessionError> {
    let mut options = RolloutOptions::read(asked, scope.text)?;
    if !options.report.is_empty() {
        report_files::check(&options.report)?;
    }
    options.check()?;
    let recorder = options.policy.recorder(session)?;
    let tools = Toolset::open(session, &options.tools(), recorder)?;
    options.protocol.tags = tools.tags.clone();
    options.protocol.complete();
    let questions = questions(session, scope, query, &options, tools.world.as_ref())?;
    let recorder = tools.recorder.as_ref();
    let writing = options.writing(tools.offered.as_ref());
    let opened = policy(session, &options.policy, recorder, &writing)?;
    let Opened { mut policy, weights } = opened;
    let mut judges = appointed(session, &options)?;
    let identity = policy.identity().clone();
    let mut config = json!({
        "options": options.kept(),
        "pinned": {
            "weights": weights,
            "policy": identity.version,
            "tools": tools.described(),
            "questions": hash_of(&questions),
            "program": env!("CARGO_PKG_VERSION"),
        },
    });
    for judge in &judges {
        config["pinned"][judge.column()] = judge.fingerprint().into();
    }
    let record = begin(session, asked, statement, &config, options.policy.seed)?;
    let task = Task {
        session,
        options: &options,
        run: &record.id,
        sampler: identity.sampling,
        tools: tools.offered.as_ref(),
    };
    let played = task.play(&questions, &tools, policy.as_mut());
    let done = played.and_then(|earlier| {
        let ordinals = task.ordinals(&questions)?;
        let mut summary = RolloutSummary {
            run: record.id.clone(),
            verb: asked.verb,
            questions: questions.len() as u64,
            earlier,
            counts: task.counts(&ordinals)?,
            evaluation: None,
            judged: Vec::new(),
            report: None,
        };
        if asked.verb == RolloutVerb::Evaluate {
            task.evaluate(&ordinals, &mut judges, &record, &mut summary)?;
        }
        Ok(summary)
    });
    let output = done.as_ref().ok().map(|summary| json!(summary.counts));
    end(session, record, output, done)
}

/// Returns the record of a run that begins, or goes on.
///
/// # Errors
/// There is a run of that name already that is another, or has finished.
pub(super) fn begin(
    session: &Session,
    asked: &Rollout,
    statement: &Statement,
    config: &Value,
    seed: u64,
) -> Result<RunRecord, SessionError> {
    let store = session.database().store();
    let kind = asked.verb.as_str().to_lowercase();
    let name = match &asked.name {
        Some(name) => name.text.clone(),
        None => free_name(session, (1u64..).map(|number| format!("{kind}_{number}")))?,
    };
    let text = config.to_string();
    if let Some(known) = store.run(&name)? {
        let fail = |message: String| Err(SessionError::mistake("run", message));
        if known.kind != kind || known.config != text {
            return fail(format!(
                "run '{name}' is there already and is another one: choose another name{}",
                differing(&known.config, config)
            ));
        }
        if known.status == RunStatus::Finished {
            return fail(format!("run '{name}' has finished already: choose another name"));
        }
        let record = RunRecord { status: RunStatus::Running, error: None, ended_at: None, ..known };
        store.put_run(&record)?;
        return Ok(record);
    }
    let record = RunRecord {
        id: name,
        kind,
        status: RunStatus::Running,
        statement: statement.text.clone(),
        config: text,
        seed: Some(seed),
        dataset: None,
        output: None,
        error: None,
        started_at: now_micros(),
        ended_at: None,
    };
    store.put_run(&record)?;
    Ok(record)
}

/// Returns which fields of a run's config differ, as the rest of a sentence.
fn differing(known: &str, config: &Value) -> String {
    let known: Value = serde_json::from_str(known).unwrap_or_default();
    let mut names = Vec::new();
    for part in ["options", "pinned"] {
        for (name, value) in config[part].as_object().into_iter().flatten() {
            if known[part][name] != *value {
                names.push(name.as_str());
            }
        }
    }
    match names.is_empty() {
        true => String::new(),
        false => format!(" (they differ in {})", names.join(", ")),
    }
}

/// Stores how a run ended, and what it made.
pub(super) fn end<T>(
    session: &Session,
    mut record: RunRecord,
    output: Option<Value>,
    done: Result<T, SessionError>,
) -> Result<T, SessionError> {
    record.ended_at = Some(now_micros());
    match &done {
        Ok(_) => {
            record.status = RunStatus::Finished;
            record.output = output.map(|output| output.to_string());
        }
        Err(SessionError::Cancelled) => record.status = RunStatus::Stopped,
        Err(error) => {
            record.status = RunStatus::Failed;
            record.error = Some(error.to_string());
        }
    }
    let stored = session.database().store().put_run(&record);
    if done.is_ok() {
        stored?;
    }
    done
}

/// Returns a hash over questions: what they ask, and what is accepted as right.
pub(super) fn hash_of(questions: &[Question]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    };
    for question in questions {
        add(&question.id);
        add(&question.text);
        question.gold.iter().for_each(|gold| add(gold));
    }
    hasher.finalize().to_hex().to_string()
}

/// What all episodes of a run share.
struct Task<'a> {
    session: &'a Session,
    options: &'a RolloutOptions,
    run: &'a str,
    sampler: Json,
    /// The tools as the policy is offered them.
    tools: Option<&'a Json>,
}

impl Task<'_> {
    /// Plays what is not stored yet; returns how many episodes were stored before.
    fn play(
        &self,
        questions: &[Question],
        tools: &Toolset,
        policy: &mut dyn Policy,
    ) -> Result<u64, SessionError> {
        let view = self.session.database().view();
        let protocol = &self.options.protocol;
        let mut open = Vec::new();
        for (at, question) in questions.iter().enumerate() {
            for sample in 0..self.options.n {
                let id = trajectory_id(&question.id, sample);
                if view.find(self.run, &id)?.is_none() {
                    open.push((at, sample));
                }
            }
        }
        let all = questions.len() as u64 * u64::from(self.options.n);
        let earlier = all - open.len() as u64;
        let (progress, cancel) = (self.session.progress(), self.session.cancel());
        progress.begin("playing episodes", all);
        progress.advance(earlier);
        let mut episodes = open
            .into_iter()
            .map(|(at, sample)| Episode::new(questions[at].clone(), sample, protocol));
        let cancelled = || cancel.is_cancelled();
        let offered = tools.offered.as_ref().map(Json::to_value);
        let mut setting = Setting {
            protocol,
            tools: offered.as_ref(),
            call: &mut |question, name, arguments| match cancelled() {
                true => Err(RolloutError::Cancelled),
                false => tools.call(question, name, arguments, &cancelled),
            },
            seed: &|episode, step| drawn(self.options.policy.seed, episode, step),
            source: self.run,
            width: self.options.policy.slots,
        };
        play(&mut episodes, policy, &mut setting, &cancelled, &mut |ended| self.store(ended))?;
        progress.end();
        Ok(earlier)
    }

    /// Stores episodes that have ended, durably.
    fn store(&self, ended: Vec<(Trajectory, Counts)>) -> Result<(), SessionError> {
        let incoming: Vec<Incoming> = ended
            .into_iter()
            .map(|(trajectory, counts)| {
                let trajectory = self.completed(trajectory, &counts);
                let content_hash = content_hash(&trajectory);
                Incoming { trajectory, content_hash, labels: Vec::new() }
            })
            .collect();
        let store = self.session.database().store();
        let (appended, _) = store.append(&incoming, &[], Durability::Now)?;
        let conflict = appended.iter().position(|a| matches!(a, Appended::Conflict(_)));
        if let Some(at) = conflict {
            let id = &incoming[at].trajectory.id;
            let message =
                format!("trajectory '{id}' of '{}' is there with other content", self.run);
            return Err(SessionError::mistake("run", message));
        }
        self.session.progress().advance(incoming.len() as u64);
        Ok(())
    }

    /// Returns a trajectory with what the run knows of it.
    fn completed(&self, trajectory: Trajectory, counts: &Counts) -> Trajectory {
        let mut meta = match trajectory.meta.as_ref().map(Json::to_value) {
            Some(Value::Object(meta)) => meta,
            _ => serde_json::Map::new(),
        };
        meta.insert("rollout".to_owned(), json!(counts));
        Trajectory {
            model: Some(self.options.policy.model.clone()),
            sampler: Some(self.sampler.clone()),
            tools: self.tools.cloned(),
            run_id: Some(self.run.to_owned()),
            round: Some(self.options.round),
            meta: Some(Json::of(&Value::Object(meta))),
            ..trajectory
        }
    }

    /// Measures the trajectories of the run, has them judged, and writes the report.
    fn evaluate(
        &self,
        ordinals: &[u64],
        judges: &mut [Appointed],
        record: &RunRecord,
        summary: &mut RolloutSummary,
    ) -> Result<(), SessionError> {
        let metric = self.options.metric;
        let (evaluation, judged) = evaluate(self.session, self.run, ordinals, metric, judges)?;
        summary.evaluation = Some(evaluation);
        summary.judged = judged;
        if !self.options.report.is_empty() {
            let config: Value = serde_json::from_str(&record.config).unwrap_or_default();
            let report = document(summary, &record.statement, &config)?;
            summary.report = Some(report_files::write(&report, &self.options.report)?);
        }
        Ok(())
    }

    /// Returns the ordinals of all trajectories of the run, by questions and samples.
    fn ordinals(&self, questions: &[Question]) -> Result<Vec<u64>, SessionError> {
        let view = self.session.database().view();
        let mut ordinals = Vec::with_capacity(questions.len() * self.options.n as usize);
        for question in questions {
            for sample in 0..self.options.n {
                let found = view.find(self.run, &trajectory_id(&question.id, sample))?;
                ordinals.extend(found.map(|(ordinal, _)| ordinal));
            }
        }
        Ok(ordinals)
    }

    /// Adds up what happened in trajectories.
    fn counts(&self, ordinals: &[u64]) -> Result<Counts, SessionError> {
        let view = self.session.database().view();
        let mut counts = Counts::default();
        for part in ordinals.chunks(1024) {
            for header in view.headers(part)? {
                let of = serde_json::from_value(meta_of(&header)["rollout"].take());
                let of: Result<Counts, _> = of;
                counts.add(&of.unwrap_or_default());
            }
        }
        Ok(counts)
    }
}
