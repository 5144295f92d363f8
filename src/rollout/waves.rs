//! Many episodes at once: all that are alive act together, and those that end make room.
//!
//! ```text
//! episodes that wait -> alive (at most `width`) -> one action each -> calls -> ... -> ended
//!                         ^                                                    |
//!                         '---------------- room for the next -----------------'
//! ```

use std::ops::ControlFlow;

use serde_json::Value;

use super::episode::{Counts, Episode, Question};
use super::error::RolloutError;
use super::policy::{ActRequest, Policy, PolicyError, Proposed};
use super::protocol::Protocol;
use crate::model::Trajectory;
use crate::tools::ToolOutput;

/// Makes a call of a tool: the question, the tool's name, the arguments.
pub type MakeCall<'a> = dyn FnMut(&Question, &str, &str) -> Result<ToolOutput, RolloutError> + 'a;

/// What all episodes of a run share.
pub struct Setting<'a> {
    /// How turns are taken.
    pub protocol: &'a Protocol,
    /// The tools offered: a list of functions in OpenAI's form.
    pub tools: Option<&'a Value>,
    /// Makes a call: the question; name and arguments as the policy wrote them.
    pub call: &'a mut MakeCall<'a>,
    /// Returns the seed of a step of an episode; of step 0 it is a name of the episode.
    pub seed: &'a dyn Fn(&Episode, u32) -> u64,
    /// The source that trajectories are stored under.
    pub source: &'a str,
    /// How many episodes are alive at a time.
    pub width: usize,
}

/// Plays episodes to their ends and hands on what is stored of them, those of a turn together.
/// Where a policy fails for one conversation its episode is lost, and the others go on.
///
/// # Errors
/// What fails for all; what a call or `store` says; `Lost` at the end. Episodes that have ended
/// were handed on before.
pub fn play<E: From<RolloutError>>(
    episodes: &mut dyn Iterator<Item = Episode>,
    policy: &mut dyn Policy,
    setting: &mut Setting<'_>,
    cancelled: &dyn Fn() -> bool,
    store: &mut dyn FnMut(Vec<(Trajectory, Counts)>) -> Result<(), E>,
) -> Result<(), E> {
    let mut alive: Vec<Episode> = Vec::new();
    let (mut lost, mut first) = (0, None);
    loop {
        let room = setting.width.max(1) - alive.len();
        alive.extend((0..room).map_while(|_| episodes.next()));
        if alive.is_empty() {
            break;
        }
        let turn = turn(&alive, policy, setting, cancelled)?;
        let mut others = Vec::with_capacity(alive.len());
        let mut ended = Vec::new();
        for (mut episode, proposed) in alive.into_iter().zip(turn) {
            match proposed {
                Ok(proposed) => episode.act(proposed, setting.protocol, setting.call)?,
                Err(error) => {
                    lost += 1;
                    first = first.or(Some(error.to_string()));
                    policy.forget((setting.seed)(&episode, 0));
                    continue;
                }
            }
            match episode.has_ended() {
                true => ended.push(episode),
                false => others.push(episode),
            }
        }
        alive = others;
        if !ended.is_empty() {
            let finished = ended.into_iter().map(|episode| {
                policy.forget((setting.seed)(&episode, 0));
                episode.finish(setting.source)
            });
            store(finished.collect())?;
        }
    }
    match first {
        None => Ok(()),
        Some(first) => Err(RolloutError::Lost { lost, first }.into()),
    }
}

/// Returns what the policy proposes for the next turn of each episode, in their order.
fn turn(
    alive: &[Episode],
    policy: &mut dyn Policy,
    setting: &Setting<'_>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Result<Proposed, PolicyError>>, RolloutError> {
    let request = |episode: &Episode| ActRequest {
        messages: episode.state().into_iter().cloned().collect(),
        tools: setting.tools.cloned(),
        seed: Some((setting.seed)(episode, episode.next_step())),
        conversation: Some((setting.seed)(episode, 0)),
    };
    let requests: Vec<ActRequest> = alive.iter().map(request).collect();
    all_proposed(policy, &requests, cancelled)
}

/// Returns what a policy proposes for each request, in their order.
///
/// # Errors
/// What fails for all; `Cancelled`.
pub fn all_proposed(
    policy: &mut dyn Policy,
    requests: &[ActRequest],
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Result<Proposed, PolicyError>>, RolloutError> {
    let mut outcomes: Vec<Option<Result<Proposed, PolicyError>>> = Vec::new();
    outcomes.resize_with(requests.len(), || None);
    policy.act(requests, cancelled, &mut |at, outcome| {
        outcomes[at] = Some(outcome);
        ControlFlow::Continue(())
    })?;
    if cancelled() {
        return Err(RolloutError::Cancelled);
    }
    let silent = || Err(PolicyError::Local("it proposed nothing".to_owned()));
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(silent)).collect())
}
