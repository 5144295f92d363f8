//! Messages to people: where in the text, what was found, what was expected, what to do next; and
//! how far long work is, and what memory it keeps.

mod diagnostic;
mod digits;
mod memory;
mod progress;
mod suggest;

pub use diagnostic::{Diagnostic, Span};
pub use digits::hexadecimal;
pub use memory::KeptMemory;
pub use progress::{Progress, Reached};
pub use suggest::{did_you_mean, list_some, nearest};
