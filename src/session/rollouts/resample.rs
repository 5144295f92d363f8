//! RESAMPLE: actions proposed at stored states, kept as samples.
//!
//! A state that has its samples already is passed over, so that a statement that was stopped goes
//! on where it was.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::policies::{Opened, PolicyOptions, Writing, policy};
use super::request::words;
use super::run::{begin, end};
use crate::codec::SampleRecord;
use crate::db::NewRow;
use crate::model::{Json, Message, Trajectory};
use crate::query::Scope;
use crate::query::syntax::{QueryStatement, Rollout, Statement};
use crate::rollout::{
    ActRequest, CallForm, Policy, Proposed, Protocol, RolloutError, StopTags, TagForm, all_proposed,
};
use crate::session::error::SessionError;
use crate::session::options;
use crate::session::select::select;
use crate::session::statement::Session;
use crate::store::{Durability, SampleOf};

/// Trajectories whose states are sampled and committed together.
const TOGETHER: usize = 16;

/// The options of RESAMPLE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::session) struct ResampleOptions {
    /// Samples of each state.
    n: u32,
    /// How an action calls a tool.
    action_form: CallForm,
    /// The tools at whose closing tags a server stops, joined by commas.
    tools: String,
    /// What a server is asked to do at a tag that ends an action.
    stop_tags: StopTags,
    #[serde(flatten)]
    policy: PolicyOptions,
}

impl Default for ResampleOptions {
    fn default() -> ResampleOptions {
        ResampleOptions {
            n: 4,
            action_form: CallForm::default(),
            tools: String::new(),
            stop_tags: StopTags::default(),
            policy: PolicyOptions::default(),
        }
    }
}

impl ResampleOptions {
    /// Returns how actions are written.
    ///
    /// # Errors
    /// Tools are named where they say nothing, or are not named where a server stops at their tags.
    fn protocol(&self) -> Result<Protocol, SessionError> {
        let names = words(&self.tools);
        let stops = self.action_form == CallForm::Tags
            && !self.policy.base_url.is_empty()
            && self.stop_tags != StopTags::None;
        let why = match (stops, names.is_empty()) {
            (true, true) => {
                "which tools? tools = 'search,calculator' names those at whose closing tags the \
                 server stops; or stop_tags = 'none'"
            }
            (false, false) => {
                "tools names closing tags at which a server stops, and there is none that does: \
                 drop it"
            }
            _ => {
                let tags = TagForm::named(names.iter().map(String::as_str));
                return Ok(Protocol { action_form: self.action_form, tags, ..Protocol::default() });
            }
        };
        Err(SessionError::mistake("tools", why))
    }
}

/// What RESAMPLE did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResampleSummary {
    /// The run.
    pub run: String,
    /// States.
    pub states: u64,
    /// States that had their samples before.
    pub earlier: u64,
    /// Samples that are new.
    pub samples: u64,
    /// Samples among them that are no actions.
    pub malformed: u64,
}

/// Samples actions at the states of the rows of a query.
///
/// # Errors
/// The query's; options or a model that cannot be used; another run of that name; the policy fails.
/// What was stored before stays.
pub(in crate::session) fn resample(
    session: &Session,
    scope: &Scope<'_>,
    statement: &Statement,
    query: &QueryStatement,
    asked: &Rollout,
) -> Result<ResampleSummary, SessionError> {
    let options: ResampleOptions =
        options::read(&ResampleOptions::default(), &asked.options, scope.text)?;
    options.policy.check(false)?;
    let recorder = options.policy.recorder(session)?;
    let protocol = options.protocol()?;
    let writing = Writing { protocol: &protocol, offered: None, stop_tags: options.stop_tags };
    let opened = policy(session, &options.policy, recorder.as_ref(), &writing)?;
    let Opened { mut policy, weights } = opened;
    let rows = select(session, scope, query, None)?.rows;
    let mut wanted: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    for NewRow { trajectory, step, .. } in &rows {
        wanted.entry(*trajectory).or_default().extend(step);
    }
    let config = json!({
        "options": options,
        "pinned": {"weights": weights, "policy": policy.identity().version},
    });
    let record = begin(session, asked, statement, &config, options.policy.seed)?;
    let task = Task { session, options: &options, protocol: &protocol, run: record.id.clone() };
    let done = task.run(&wanted, policy.as_mut());
    let output = done.as_ref().ok().map(|done| {
        let earlier = done.earlier * u64::from(options.n);
        json!({"states": done.states, "samples": done.samples + earlier})
    });
    end(session, record, output, done)
}

struct Task<'a> {
    session: &'a Session,
    options: &'a ResampleOptions,
    protocol: &'a Protocol,
    run: String,
}

impl Task<'_> {
    fn run(
        &self,
        wanted: &BTreeMap<u64, BTreeSet<u32>>,
        policy: &mut dyn Policy,
    ) -> Result<ResampleSummary, SessionError> {
        let mut summary = ResampleSummary { run: self.run.clone(), ..ResampleSummary::default() };
        let view = self.session.database().view();
        let progress = self.session.progress();
        progress.begin("sampling actions", wanted.len() as u64);
        let all: Vec<(&u64, &BTreeSet<u32>)> = wanted.iter().collect();
        for part in all.chunks(TOGETHER) {
            let ordinals: Vec<u64> = part.iter().map(|(ordinal, _)| **ordinal).collect();
            let trajectories = view.trajectories(&ordinals)?;
            for of in &trajectories {
                check_written(of, self.options.action_form)?;
            }
            let mut states = Vec::new();
            for ((ordinal, steps), of) in part.iter().zip(&trajectories) {
                let known = view.store().samples_of(&self.run, **ordinal)?;
                let all_steps: BTreeSet<u32> = match steps.is_empty() {
                    true => (1..=of.steps.len() as u32).collect(),
                    false => (*steps).clone(),
                };
                for step in all_steps {
                    summary.states += 1;
                    let stored = known.iter().filter(|(at, _)| *at == step).count();
                    match stored >= self.options.n as usize {
                        true => summary.earlier += 1,
                        false => states.push((**ordinal, step, of)),
                    }
                }
            }
            self.sample(&states, policy, &mut summary)?;
            progress.advance(part.len() as u64);
        }
        Ok(summary)
    }

    /// Samples states and stores what came of them in one commit.
    fn sample(
        &self,
        states: &[(u64, u32, &Trajectory)],
        policy: &mut dyn Policy,
        summary: &mut ResampleSummary,
    ) -> Result<(), SessionError> {
        let mut requests = Vec::new();
        for (_, step, of) in states {
            let messages: Vec<Message> = of.state(*step).into_iter().cloned().collect();
            for number in 0..self.options.n {
                requests.push(ActRequest {
                    messages: messages.clone(),
                    tools: of.tools.as_ref().map(Json::to_value),
                    seed: Some(self.seed(of, *step, number)),
                    conversation: None,
                });
            }
        }
        let cancelled = || self.session.cancel().is_cancelled();
        let proposed = all_proposed(policy, &requests, &cancelled)?;
        let n = self.options.n as usize;
        let mut samples: Vec<(SampleOf, SampleRecord)> = Vec::new();
        for (at, (outcome, request)) in proposed.into_iter().zip(&requests).enumerate() {
            let (ordinal, step, _) = states[at / n];
            let mut one = outcome.map_err(RolloutError::from)?;
            self.protocol.read(&mut one);
            summary.malformed += u64::from(one.unread.is_some());
            samples.push(((ordinal, step, (at % n) as u32), record(one, request.seed)));
        }
        let store = self.session.database().store();
        store.put_samples(&self.run, &samples, Durability::Now)?;
        summary.samples += samples.len() as u64;
        Ok(())
    }

    fn seed(&self, of: &Trajectory, step: u32, number: u32) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"swirldb resample 1").update(&self.options.policy.seed.to_le_bytes());
        for text in [&of.source, &of.id] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        hasher.update(&step.to_le_bytes()).update(&number.to_le_bytes());
        let mut out = [0; 8];
        hasher.finalize_xof().fill(&mut out);
        u64::from_le_bytes(out)
    }
}

/// Checks that a trajectory's actions call tools as is asked for: what is sampled behind them would
/// else be read in a form that it is not written in.
pub(in crate::session) fn check_written(
    of: &Trajectory,
    form: CallForm,
) -> Result<(), SessionError> {
    let mut found = of.steps.iter().zip(1..).map(|(step, at)| (CallForm::of(step), at));
    let Some((Some(other), step)) = found.find(|(found, _)| found.is_some_and(|f| f != form))
    else {
        return Ok(());
    };
    let (written, asked) = (other.as_str(), form.as_str());
    Err(SessionError::mistake(
        "action-form",
        format!(
            "step {step} of trajectory '{}' of '{}' is written with action_form = '{written}', and \
             '{asked}' is asked for: action_form = '{written}', or a selection of others",
            of.id, of.source
        ),
    ))
}

fn record(one: Proposed, seed: Option<u64>) -> SampleRecord {
    SampleRecord {
        tool: one.message.tool_calls.first().map(|call| call.name.clone()),
        text: one.text,
        finish_reason: one.finish_reason.unwrap_or_default(),
        malformed: one.unread,
        token_ids: one.token_ids.unwrap_or_default(),
        log_probs: one.log_probs.unwrap_or_default(),
        seed: seed.unwrap_or_default(),
        ..SampleRecord::default()
    }
}
