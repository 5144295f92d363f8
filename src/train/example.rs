//! What training is handed: trajectories and which of their steps count how much.

use std::fmt;
use std::sync::Arc;

use crate::model::Trajectory;

/// A trajectory with its chosen steps.
#[derive(Clone, Debug)]
pub struct Example {
    /// A number that names the trajectory for whoever made the example.
    pub key: u64,
    /// The trajectory; or its head alone (source, id, question), where a [`super::Source`] has it
    /// whole.
    pub trajectory: Arc<Trajectory>,
    /// The chosen steps, each at most once.
    pub steps: Vec<ChosenStep>,
}

/// A step that is trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenStep {
    /// The step, from 1.
    pub step: u32,
    /// The reward of its action, or 1; for `kto` its label, 1 or 0; for `dpo` not looked at.
    pub weight: f64,
    /// For `dpo`: the pair that the action belongs to.
    pub pair: Option<Pair>,
    /// The policy that gave the action with its stored tokens and log-probabilities, where that is
    /// known: if it is the start policy, they are not computed again.
    pub policy: Option<SamplingPolicy>,
}

/// An action's place in a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// A number that the two actions of a pair share, and no other.
    pub id: u64,
    /// Whether it is the one that is preferred.
    pub chosen: bool,
}

/// What stored log-probabilities are of.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingPolicy {
    /// What [`super::policy_fingerprint`] returned for the policy that sampled.
    pub fingerprint: String,
    /// The temperature: log-probabilities of others than 1 are of another policy.
    pub temperature: f64,
}

impl ChosenStep {
    /// Returns a step with a weight, which is in no pair and whose policy is unknown.
    pub fn new(step: u32, weight: f64) -> ChosenStep {
        ChosenStep { step, weight, pair: None, policy: None }
    }

    /// Returns a step that is one side of a pair.
    pub fn of_pair(step: u32, pair: Pair) -> ChosenStep {
        ChosenStep { pair: Some(pair), ..ChosenStep::new(step, 1.0) }
    }
}

/// A sub-trajectory as messages name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The example's key.
    pub key: u64,
    /// The collection the trajectory came from.
    pub source: Arc<str>,
    /// The trajectory's id within it.
    pub id: Arc<str>,
    /// The step, from 1.
    pub step: u32,
}

impl Row {
    /// Returns the name of a step of an example.
    pub fn of(example: &Example, step: u32) -> Row {
        let of = &example.trajectory;
        Row { key: example.key, source: of.source.as_str().into(), id: of.id.as_str().into(), step }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} of trajectory {}", self.step, self.id)?;
        if self.source.is_empty() { Ok(()) } else { write!(f, " of {}", self.source) }
    }
}
