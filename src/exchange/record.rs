//! What a reader yields.

use serde::{Deserialize, Serialize};

use super::dataset::{DatasetManifest, DatasetRows};
use super::error::Place;
use super::native::content_hash_of;
use crate::model::{Judge, Label, Target, Trajectory};

/// One record of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A trajectory with the labels that stand beside it.
    Trajectory(Box<Imported>),
    /// Labels of a trajectory that stands elsewhere.
    Labels(Box<LabelRecord>),
    /// A judge, named by labels before or after it.
    Judge(Judge),
    /// What a dataset says of itself; its trajectories and rows come behind it.
    Dataset(Box<DatasetManifest>),
    /// Rows of a dataset; their trajectories came before them.
    DatasetRows(Box<DatasetRows>),
}

/// A trajectory with the labels and judges of its record.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Where it stood.
    pub place: Place,
    /// The trajectory. Its `id` is empty where the source has none.
    pub trajectory: Trajectory,
    /// Its [`content_hash`](super::content_hash).
    pub content_hash: [u8; 32],
    /// Its labels.
    pub labels: Vec<Label>,
    /// The judges of those labels, as far as the record tells.
    pub judges: Vec<Judge>,
    /// Of a row of a table of steps that is not joined with others yet: the step's number, as the
    /// table says it. `None` of everything a reader yields.
    pub row: Option<i64>,
}

/// What becomes an [`Imported`] once nothing of the trajectory changes any more.
pub(super) struct Draft {
    pub(super) place: Place,
    pub(super) trajectory: Trajectory,
    pub(super) labels: Vec<Label>,
    pub(super) judges: Vec<Judge>,
}

impl Draft {
    /// Returns the record, hashed here so that the threads that parse share that work.
    pub(super) fn finish(self) -> Record {
        let Draft { place, mut trajectory, labels, judges } = self;
        let content_hash = content_hash_of(&mut trajectory);
        let row = None;
        let imported = Imported { place, trajectory, content_hash, labels, judges, row };
        Record::Trajectory(Box::new(imported))
    }

    /// Returns a row that is to be joined with others, and hashed then.
    pub(super) fn row(self, row: Option<i64>) -> Record {
        let Draft { place, trajectory, labels, judges } = self;
        let content_hash = [0; 32];
        let imported = Imported { place, trajectory, content_hash, labels, judges, row };
        Record::Trajectory(Box::new(imported))
    }
}

/// Labels of a trajectory that stands elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRecord {
    /// Where it stood.
    pub place: Place,
    /// The source of the trajectory, as far as the record tells.
    pub source: Option<String>,
    /// The trajectory's identifier within its source.
    pub id: String,
    /// The labels.
    pub labels: Vec<PlacedLabel>,
    /// The judges of those labels.
    pub judges: Vec<Judge>,
}

/// What a label of a trajectory elsewhere speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelPlace {
    /// The whole trajectory.
    Trajectory,
    /// One step, from 1.
    Step(u32),
    /// The step whose action is this message of the transcript, from 0.
    Message(usize),
}

/// A label of a trajectory elsewhere, whose target may be a message.
pub type PlacedLabel = Label<LabelPlace>;

impl PlacedLabel {
    /// Returns the label of `trajectory` that this is.
    ///
    /// # Errors
    /// A sentence, where the trajectory has no such step or the message is no action.
    pub fn resolve(self, trajectory: &Trajectory) -> Result<Label, String> {
        let target = match self.target {
            LabelPlace::Trajectory => Target::Trajectory,
            LabelPlace::Step(step) => {
                let steps = trajectory.steps.len();
                if step == 0 || step as usize > steps {
                    return Err(format!("found a label of step {step}; expected 1 to {steps}"));
                }
                Target::Step(step)
            }
            LabelPlace::Message(index) => Target::Step(action_at(trajectory, index)?),
        };
        let Label { target: _, name, judge, value, raw, verdict, rationale, run_id } = self;
        Ok(Label { target, name, judge, value, raw, verdict, rationale, run_id })
    }
}

/// Returns the step whose action is message `index`, or a sentence that says what is there.
fn action_at(trajectory: &Trajectory, index: usize) -> Result<u32, String> {
    trajectory.step_of_message(index).ok_or_else(|| match trajectory.transcript().nth(index) {
        Some(message) => format!(
            "message {index} is no action but a {} message; expected the index of a generated \
             assistant message, counted from 0",
            message.role
        ),
        None => format!(
            "there is no message {index}: the transcript has {}, counted from 0",
            trajectory.transcript().count()
        ),
    })
}
