//! Many episodes at once: all that are alive act together, and those that end make room.
//!
//! ```text
//! episodes that wait -> alive (at most `width`) -> one action each -> calls -> ... -> ended
//!                         ^                                                    |
//!                         '---------------- room for the next -----------------'
//! ```

use super::episode::{Act, Counts, Episode};
use super::error::RolloutError;
use super::protocol::Protocol;
use crate::model::{Json, Trajectory};
use crate::tools::ToolOutput;

/// Who acts: all states that are given, in their order.
pub trait Actor {
    /// Returns an action for the next turn of each episode, in their order.
    ///
    /// # Errors
    /// It cannot act; then no episode has taken a turn.
    fn act(
        &mut self,
        episodes: &[&Episode],
        tools: Option<&Json>,
    ) -> Result<Vec<Act>, RolloutError>;

    /// An episode has ended.
    fn ended(&mut self, episode: &Episode);
}

/// What all episodes of a run share.
pub struct Setting<'a> {
    /// How turns are taken.
    pub protocol: &'a Protocol,
    /// The tools offered: a JSON array in OpenAI's form.
    pub tools: Option<&'a Json>,
    /// Makes a call: name and arguments as the policy wrote them.
    pub call: &'a mut dyn FnMut(&str, &str) -> Result<ToolOutput, RolloutError>,
    /// The source that trajectories are stored under.
    pub source: &'a str,
    /// How many episodes are alive at a time.
    pub width: usize,
}

/// Plays episodes to their ends and hands on what is stored of them, those of a turn together.
///
/// # Errors
/// What the actor, a call, or `store` says; episodes that have ended were handed on before.
pub fn play<E: From<RolloutError>>(
    episodes: &mut dyn Iterator<Item = Episode>,
    actor: &mut dyn Actor,
    setting: &mut Setting<'_>,
    store: &mut dyn FnMut(Vec<(Trajectory, Counts)>) -> Result<(), E>,
) -> Result<(), E> {
    let mut alive: Vec<Episode> = Vec::new();
    loop {
        let room = setting.width.max(1) - alive.len();
        alive.extend((0..room).map_while(|_| episodes.next()));
        if alive.is_empty() {
            return Ok(());
        }
        let acting: Vec<&Episode> = alive.iter().collect();
        let acts = actor.act(&acting, setting.tools)?;
        for (episode, act) in alive.iter_mut().zip(acts) {
            episode.act(act, setting.protocol, setting.call)?;
        }
        let (ended, others): (Vec<Episode>, Vec<Episode>) =
            alive.into_iter().partition(Episode::has_ended);
        alive = others;
        if !ended.is_empty() {
            let finished = ended.into_iter().map(|episode| {
                actor.ended(&episode);
                episode.finish(setting.source)
            });
            store(finished.collect())?;
        }
    }
}
