//! Data made from a seed: a small closed world to learn in, one to study training in (`study`), and
//! bulk data to measure with.
//!
//! Everything is a function of the options alone: the same bytes on every machine and in every
//! later version of this format of the data. No name here is meant to be anyone's.

mod bench;
mod documents;
mod draw;
mod episodes;
mod names;
mod options;
mod questions;
mod study;
mod world;

pub use bench::bench;
pub use documents::Document;
pub use options::{Shape, SynthOptions, write};
pub use questions::{Hop, Kind, Question, Rumour};
pub use study::{
    ActionForm, Edition, JudgeNoise, Operation, Split, StudyDocument, StudyHop, StudyKind,
    StudyOptions, StudyQuestion, StudyWorld, UnknownQuestion, Verdict, WorldJudge,
};
pub use world::World;
