//! Planning and running queries: SQL with pipes over the tables of a view.
//!
//! `syntax` turns a text into statements over the SQL parser's tree; `names` finds the tables,
//! columns and labels in it; `engine` plans it with DataFusion over `table`, which reads the store,
//! and runs it; `pattern` finds patterns over rows, `recognize` makes a relation of that; `windows`
//! computes windows over trajectories; `error` puts what went wrong into the user's words.

mod arrows;
mod engine;
mod error;
mod finder;
mod functions;
mod json_text;
mod memory;
mod names;
pub mod parameters;
pub mod pattern;
mod quantified;
mod recognize;
pub mod syntax;
pub mod table;
mod windows;

pub use engine::{
    Cancel, DATASET_SCHEMA, Engine, Prepared, Scope, StatementCatalog, column_names, row_count,
    table_names, table_values,
};
pub use error::{QueryError, TextPlace};
pub use functions::ELSEWHERE;
pub use names::quoted;
pub use windows::WindowsByBatch;
