//! Full text: which step rows hold these words, from an index or from the text itself.
//!
//! The index is derived data: one tantivy index in a directory of the database, which can be
//! deleted and rebuilt from the store at any time. `words` is the analysis that both ways of
//! answering share, `query` the predicate and its evaluation on one text, `index` the same
//! predicate over all rows, `pieces` what the index can say of LIKE. `ranking` is another index, of
//! documents that never change, which says which of them are best for some words. Nothing outside
//! this module names tantivy.

pub mod analysis;
mod error;
mod fields;
mod guard;
mod index;
pub mod minhash;
mod pieces;
mod query;
pub mod ranking;
mod read_only;
mod words;

pub use error::TextError;
pub use fields::COLUMNS;
pub use index::{CHECKED_BYTES_MAX, Position, TextIndex};
pub use pieces::{runs_of_pattern, runs_of_pieces};
pub use query::TextQuery;
pub use words::{ANALYSIS_VERSION, WORD_BYTES_MAX, Words};
