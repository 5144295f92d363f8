//! The database: store and text index in step, and what is built on both.
//!
//! Nothing above this floor sees the store's bytes or the index; nothing below it knows that both
//! exist. The text index may lag behind the store (it catches up when a statement needs it) and
//! never runs ahead of it: an index that knows a later commit than the store means that
//! acknowledged data was lost, and that is an error with a name.

mod corpus;
mod database;
mod dataset;
mod dense;
mod difference;
mod error;
mod import;
mod pins;
mod restoring;
mod sealing;

/// How texts become terms, how documents are cut, how an index is built and explains itself: what
/// belongs to a corpus, from the floor below.
pub use crate::text::analysis::{Analyzer, Chunking};
pub use crate::text::ranking::{BuildOptions, Explanation};
pub use corpus::{CORPUS_FIELDS, Corpus, CorpusDraft, CorpusProgress, Found};
pub use database::{Database, Scored, TextProgress};
pub use dataset::{DatasetDraft, NewRow, dataset_hash, pin};
pub use dense::{Embedding, Retrieval};
pub use difference::{Change, ChangedRow, Difference, difference};
pub use error::DbError;
pub use import::{ImportEvent, ImportObserver, ImportReport, Incident, import};
pub use pins::{BrokenPin, PinReport};
