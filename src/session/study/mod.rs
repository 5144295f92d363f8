//! A study: the same questions asked of many ways of training, from one file.
//!
//! ```text
//!   swirl study DB --config study.toml
//!
//!   1  config      the file: a world or sets of questions, a model, judges, what is varied
//!   2  cells       what is trained, in which way, on what (`pools`)
//!      plan        every statement in its order, with the name of what it makes
//!   3  run         statements are carried out; what is there and finished is passed over
//!   4  measured    stored labels of the evaluation runs, by policy and test
//!   5  tables      figures with intervals, pooled over seeds by question, and compared
//!   6  document    the tables as a report, in Markdown and HTML
//! ```
//! All that a study makes are ordinary runs, datasets, labels and metrics under names that begin
//! with its own. What it remembers beside them is one run record: which judging has been done. A
//! study that was killed goes on when it is started again, and its report can be made at any time.

mod ask;
mod cells;
mod config;
mod document;
mod measured;
mod plan;
mod pools;
mod run;
mod statements;
mod tables;

pub use run::{Doing, Perform, Study, Work};
