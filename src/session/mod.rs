//! One statement in, one outcome out.
//!
//! A session holds the database, the query engine and what the user has chosen (output, judges).
//! Rows, progress and training events go to a [`Sink`]; nothing here prints. The clock and random
//! numbers enter the program here.

mod completion;
mod create_model;
mod datasets;
mod describe;
mod error;
mod export;
mod host;
mod imports;
mod labelling;
mod listing;
mod select;
mod sitting;
mod statement;
mod summary;
mod training;
mod verification;

pub use completion::Completions;
pub use create_model::{NewModel, create_model};
pub use datasets::export_dataset;
pub use describe::train_plan;
pub use error::SessionError;
pub use export::{ExportFormat, export};
pub use host::{now_micros, random_identity};
pub use sitting::{Counts, Sitting, SittingOptions};
pub use statement::{Outcome, Session, SessionOptions, Sink};
pub use training::TrainSummary;
pub use verification::{Rerun, Verified, counts};
