//! Evaluations and studies as documents: Markdown for a repository, one HTML page for readers.
//!
//! ```text
//! Report ─ Section ─┬─ Text      plain and code, a run each
//!                   ├─ Table     columns of a kind say how their cells read
//!                   ├─ Figure    a chart of `plot`: intervals by group, lines over steps
//!                   └─ Fact      seeds, hashes, commands
//!    │
//!    ├──▶ markdown()   tables of pipes, figures as text in fences
//!    └──▶ html()       one file: style sheet and SVG inside, no script, nothing from elsewhere
//! ```
//!
//! A document is a function of its content: the same report has the same bytes, nothing is read,
//! printed or written, and no clock is asked. Whatever comes from data is text and never markup:
//! it passes `escape.rs`, the one place that knows the two languages' special characters.

mod document;
mod escape;
mod figure;
mod html;
mod markdown;
mod numbers;
mod style;
mod table;

pub use document::{Block, Fact, Report, Run, Section, Text};
pub use figure::{Figure, Measured};
pub use html::html;
pub use markdown::markdown;
pub use numbers::{print_estimate, print_p_value, print_share, print_signed};
pub use table::{Align, Cell, Column, Kind, ReportError, Table};
