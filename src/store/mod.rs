//! The store: RocksDB is the only truth, columns included.
//!
//! ```text
//!   commit n      records, ids, bodies ─┐
//!                 delta n (scalars) ────┼─ one synced batch, sequence := n
//!                 labels ───────────────┘
//!                                            rows of a table
//!   fold          deltas ──► columns         ├── chunk 0 ──┼── chunk 1 ──┼─ tail (deltas) ─┤
//!                                             65,536 rows    the last one    in memory, as
//!                                             as one Arrow   may be short    Arrow batches
//!                                             array a column
//! ```
//! - A **view** is the state at one sequence: the live version of every chunk and the batches of
//!   the tail. Statements hold a view; commits and folds make a new one and never change an old
//!   one.
//! - A chunk is immutable. Folding writes new versions; the old ones are deleted when no view holds
//!   the state that names them, or when the database is opened next.
//! - Labels are facts in the `label` family and, the newest of each judge, values of a column.
//!   Values given since the last fold lie over the column as cells.
//! - Rows, names and labels are only ever added, so a view of an earlier sequence can be made again
//!   ([`View::as_of`]). What is deleted is gone from those too: its rows are passed over, and keep
//!   their numbers.

mod append;
mod backup;
mod bulk;
mod cache;
mod catalogue;
mod corpus;
mod delete;
mod engine;
mod error;
mod example;
mod fold;
mod group;
mod label;
mod open;
mod past;
mod read;
mod recording;
mod repair;
mod sample;
mod state;
mod stats;
mod tables;
mod texts;
mod tokens;
mod verify;
mod view;

pub use append::{Appended, Incoming};
pub use backup::{Backup, folder_bytes, restore};
pub use corpus::Added;
pub use delete::{Deletion, Pinning, Swept};
pub use engine::{CrashPoints, Mode};
pub use error::StoreError;
pub use label::{Fact, LabelReport};
pub use open::{Durability, Limits, Store};
pub use read::runs_of;
pub use repair::RepairReport;
pub use sample::SampleOf;
pub use state::Segment;
pub use stats::{FamilyStats, StoreStats, TextStats};
pub use verify::{Finding, VerifyReport};
pub use view::{ColumnRef, View};
