//! Who says what a sampled action is worth.

use crate::render::Action;
use crate::train::error::TrainError;
use crate::train::example::Row;

use super::form::ActionForm;

/// An action to be judged. What came of the stored action at the state, and what is known to be
/// right, is not in it.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// The sub-trajectory whose state it was sampled at.
    pub row: &'a Row,
    /// The number of the sample among those of its state, from 0.
    pub number: usize,
    /// The action.
    pub action: &'a Action,
    /// The text that it was read from, without its end of turn.
    pub text: &'a str,
}

/// What a judge says of a proposal.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Its value, from 0 to 1.
    Value(f64),
    /// A verdict that could not be had or not be read, and why. It is not a 0: the sample is left
    /// out.
    Failed(String),
}

/// Judges actions by their states.
pub trait ActionJudge {
    /// Returns what names the judge: a run goes on under the same one only.
    fn name(&self) -> String;

    /// Returns a verdict for each proposal, in their order.
    ///
    /// # Errors
    /// A judge that cannot work at all; the run stops, and its last checkpoint stays.
    fn judge(&mut self, proposals: &[Proposal<'_>]) -> Result<Vec<Verdict>, TrainError>;
}

/// What a run needs beside its options to sample and judge while it trains.
pub struct Online<'a> {
    /// The judge.
    pub judge: &'a mut (dyn ActionJudge + Send),
    /// What an action is.
    pub form: &'a (dyn ActionForm + Sync),
    /// How many samples are decoded together. It does not show in what is sampled.
    pub slots: usize,
}
