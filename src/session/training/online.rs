//! Judges of actions that are sampled while a model is trained.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::request::RunConfig;
use crate::model::{Message, Trajectory};
use crate::render::{Action, Renderer};
use crate::rollout::judge::Judged;
use crate::rollout::{Protocol, answer_of, check_form};
use crate::session::error::SessionError;
use crate::session::rollouts::{Judging, Shown, check_written, judging};
use crate::session::statement::Session;
use crate::store::View;
use crate::train::{
    ActionForm, ActionJudge, Example, Malformed, Objective, Proposal, TrainError, Verdict,
};

/// Trajectories that are fetched together.
const TOGETHER: usize = 256;

/// How many samples are decoded together.
pub(super) const SLOTS: usize = 16;

/// A judge that finds the states of actions in the store.
pub(super) struct StoredStates<'a> {
    session: &'a Session,
    judging: Judging,
    name: String,
}

impl<'a> StoredStates<'a> {
    /// Returns the judge that a run asks for, if it asks for one.
    pub(super) fn of(
        session: &'a Session,
        config: &RunConfig,
    ) -> Result<Option<StoredStates<'a>>, SessionError> {
        let Some(options) = &config.judge else { return Ok(None) };
        let (judging, judge) = judging(session, options, true)?;
        judging.check_sampled()?;
        let definition = judge.definition.as_ref().map_or("", |d| d.as_str());
        let hash = blake3::hash(definition.as_bytes()).to_hex();
        let name = format!("{} {}", judge.name, &hash[..16]);
        Ok(Some(StoredStates { session, judging, name }))
    }
}

impl ActionJudge for StoredStates<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn judge(&mut self, proposals: &[Proposal<'_>]) -> Result<Vec<Verdict>, TrainError> {
        let view = self.session.database().view();
        let mut keys: Vec<u64> = proposals.iter().map(|proposal| proposal.row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let fetched = view.trajectories(&keys).map_err(|e| TrainError::Source(e.to_string()))?;
        let by_key: HashMap<u64, Trajectory> = keys.into_iter().zip(fetched).collect();
        let mut sampled = Vec::with_capacity(proposals.len());
        for proposal in proposals {
            let Some(of) = by_key.get(&proposal.row.key) else {
                return Err(TrainError::Judge(format!("{} is not stored", proposal.row)));
            };
            let state: Vec<Message> = of.state(proposal.row.step).into_iter().cloned().collect();
            let action = proposal.action.clone().into_message();
            let answer = answer_of(&action).filter(|_| action.tool_calls.is_empty());
            let answer = answer.unwrap_or_default();
            sampled.push(Shown {
                of,
                step: proposal.row.step,
                state,
                action,
                observation: None,
                answer,
            });
        }
        let silent = Verdict::Failed("it said nothing".to_owned());
        let mut verdicts = vec![silent; sampled.len()];
        let cancelled = || self.session.cancel().is_cancelled();
        let judged = self.judging.judge(&sampled, &cancelled, &mut |number, judged| {
            verdicts[number] = match judged {
                Judged::Verdict(verdict) => Verdict::Value(verdict.value),
                Judged::Unreadable(unreadable) => Verdict::Failed(unreadable.reason.to_string()),
                Judged::Failed(why) => Verdict::Failed(why),
            };
            ControlFlow::Continue(())
        });
        judged.map_err(|error| TrainError::Judge(error.to_string()))?;
        Ok(verdicts)
    }
}

/// Checks that the actions of the examples call tools as the sampled ones are read.
///
/// # Errors
/// One that does not, or what the disk says.
pub(super) fn check_form_of(
    view: &View,
    config: &RunConfig,
    examples: &[Example],
) -> Result<(), SessionError> {
    if config.options.objective != Objective::Swirl {
        return Ok(());
    }
    let form = config.action_form.unwrap_or_default();
    for part in examples.chunks(TOGETHER) {
        let keys: Vec<u64> = part.iter().map(|example| example.key).collect();
        for of in view.trajectories(&keys)? {
            check_written(&of, form)?;
        }
    }
    Ok(())
}

/// The form of rollouts: one call, or one answer in its tags.
pub(super) struct RolloutForm<'a> {
    pub(super) renderer: &'a Renderer,
    pub(super) protocol: Protocol,
}

impl ActionForm for RolloutForm<'_> {
    fn read(&self, text: &str) -> Result<Action, Malformed> {
        let action = self.renderer.parse_action(text).map_err(Malformed::Unreadable)?;
        match check_form(&action.clone().into_message(), &self.protocol) {
            Ok(()) => Ok(action),
            Err("no_action") => Err(Malformed::Nothing),
            Err("several_calls" | "both") => Err(Malformed::Several),
            Err(other) => Err(Malformed::Unreadable(other.to_owned())),
        }
    }
}
