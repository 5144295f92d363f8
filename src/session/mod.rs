//! One statement in, one outcome out.
//!
//! A session holds the database, the query engine and what the user has chosen (output, judges).
//! Rows, progress and training events go to a [`Sink`]; nothing here prints. The clock and random
//! numbers enter the program here.

mod comparing;
mod completion;
mod config_file;
mod corpora;
mod create_model;
mod datasets;
mod deleting;
mod describe;
mod error;
mod evaluation;
mod export;
mod host;
mod idle;
mod imports;
mod keeping;
mod labelling;
mod listing;
mod options;
mod recordings;
mod report_files;
mod rollouts;
mod select;
mod sitting;
mod slow;
mod statement;
mod study;
mod summary;
mod tools;
mod training;
mod verification;

pub use completion::Completions;
pub use config_file::{ConfigVerb, config_statement};
pub use corpora::{CorpusReport, corpus_draft, corpus_fields, passages};
pub use create_model::{NewModel, create_model};
pub use datasets::export_dataset;
pub use describe::train_plan;
pub use error::SessionError;
pub use evaluation::{TopicRun, TopicSearch, measured, qrels, run};
pub use export::{ExportFormat, export};
pub use host::{now_micros, random_identity};
pub use keeping::{Stats, repair, restore_backup};
pub use rollouts::{EvaluationSummary, JudgeSummary, Measurement, ResampleSummary, RolloutSummary};
pub use sitting::{Counts, Sitting, SittingOptions};
pub use slow::SlowLog;
pub use statement::{Outcome, Session, SessionOptions, Sink};
pub use study::{Doing, Perform, Study, Work};
pub use tools::{tool_names, toolbox};
pub use training::{
    Rerun as RunAgain, SampleOptions, SampleReport, TrainSummary, bundle, export_batches, merge,
    rerun, sample,
};
pub use verification::{Rerun, Verified, counts};
