//! Messages to people: where in the text, what was found, what was expected, what to do next.

mod diagnostic;
mod suggest;

pub use diagnostic::{Diagnostic, Span};
pub use suggest::{did_you_mean, list_some};
