//! What training is handed: trajectories and which of their steps count how much.

use std::fmt;
use std::sync::Arc;

use crate::model::Trajectory;

/// A trajectory with its chosen steps.
#[derive(Clone, Debug)]
pub struct Example {
    /// A number that names the trajectory for whoever made the example.
    pub key: u64,
    /// The trajectory.
    pub trajectory: Arc<Trajectory>,
    /// The chosen steps, each at most once.
    pub steps: Vec<ChosenStep>,
}

/// A step that is trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChosenStep {
    /// The step, from 1.
    pub step: u32,
    /// The reward of its action, or 1.
    pub weight: f64,
}

/// A sub-trajectory as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
