//! A world to study step-wise training in: questions, tools, a demonstrator and a perfect judge.
//!
//! Everything a study of process and outcome takes runs here in one process, for a model of a few
//! million parameters that learns from nothing:
//!
//! - Things have names of one word and facts of one form, "The mayor of Brastel is Kour.". Each
//!   relation is told by one search tool: `search` (an encyclopaedia) or `records` (a register).
//!   The calculator is the third tool.
//! - Questions are chains ("Name the mayor of the birthplace of Kour.") or calculations with
//!   numbers that are looked up. Every part has things of its own, so that nothing asked in an
//!   evaluation was ever told in training ([`Split`] lists the parts).
//! - Some facts are missing, told wrongly by an old almanac, or told twice: the right way may then
//!   lead to a wrong answer, and a guess to the right one.
//! - [`StudyWorld::call`] answers calls, [`WorldJudge`] judges actions given their state, and the
//!   demonstrator writes trajectories in which some steps are bad.

mod action;
mod calculation;
mod copying;
mod demonstrator;
mod facts;
mod judge;
mod library;
mod question;
mod reading;
mod world;
mod writer;

pub use judge::{JudgeNoise, UnknownQuestion, Verdict, WorldJudge};
pub use library::{Edition, StudyDocument};
pub use question::{Operation, Split, StudyHop, StudyKind, StudyQuestion};
pub use world::{ActionForm, StudyOptions, StudyWorld};
