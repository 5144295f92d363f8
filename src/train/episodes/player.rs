//! Who plays, and what comes of it.

use crate::train::error::TrainError;
use crate::train::example::Row;

/// One episode to be played.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The row of the question, as it was handed in.
    pub row: &'a Row,
    /// The number of the episode among those of its question, from 0.
    pub number: usize,
    /// Where all its random numbers come from; `None`: the most probable tokens are taken.
    pub seed: Option<u64>,
}

/// An action, and the state that it was sampled at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// The tokens of the state, all of them.
    pub state: Vec<u32>,
    /// Those of the action, the end of turn included where it is there.
    pub action: Vec<u32>,
    /// The log-probability of each token of the action, as the sampler computed it.
    pub log_probs: Vec<f32>,
    /// Whether the action ended by itself.
    pub ended: bool,
}

/// What a trajectory is worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Worth {
    /// The judge's value of its answer, from 0 to 1.
    Value(f64),
    /// It has no answer: it gets `malformed_reward`, unjudged.
    Unanswered,
    /// The verdict could not be had or not be read, and why. It is not a 0: the trajectory is left
    /// out.
    Failed(String),
}

/// A trajectory that was played.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// Its actions, in order.
    pub turns: Vec<Turn>,
    /// What it is worth.
    pub worth: Worth,
    /// What happened in it, by name, such as `episodes/calls`; the same names for every one.
    pub counts: Vec<(&'static str, f64)>,
}

/// Plays episodes with the policy that is trained, whose updates it sees, and has them judged.
pub trait EpisodePlayer {
    /// Returns what names the judge: a run goes on under the same one only.
    fn judge(&self) -> String;

    /// Returns what names everything else that episodes depend on, beside weights, options and
    /// prompts: tools, rules, gold answers.
    fn setting(&self) -> String;

    /// Plays each episode to its end; returns them in the order asked.
    ///
    /// # Errors
    /// Tools, policy or judge cannot work at all. `Cancelled`, where an episode has a seed: the run
    /// stops where it stood before.
    fn play(&mut self, asked: &[Asked<'_>]) -> Result<Vec<Played>, TrainError>;
}
