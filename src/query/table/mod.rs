//! The tables that statements read, over a view of the store.
//!
//! `trajectories`, `steps` and `subtrajectories` are read through one scan that takes projection,
//! filters and limit into the store: scalars first, records only for rows that survive. The other
//! tables are small or derived and are streamed.

mod audits;
mod branches;
mod columns;
mod comparisons;
mod corpora;
mod examples;
mod found;
mod grouped;
mod likes;
mod prune;
mod questions;
mod reading;
mod samples;
mod saved_pairs;
mod scan;
mod streamed;
mod tallies;
mod text_predicates;

pub use columns::{LabelNames, LabelText, ScanTable, TableColumn, table_columns, text_values};
pub use corpora::{document_columns, documents_table};
pub use found::PredicatesInScan;
pub use grouped::GroupByCodes;
pub use questions::{Calling, TableFunction};
pub(super) use reading::evaluate;
pub use scan::{RowFinder, ScanExec, ScanProvider, Scores};
pub(super) use scan::{each_expression, only_child};
pub use streamed::{StreamedTable, provider as streamed_provider};
