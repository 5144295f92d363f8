//! What the SQL parser reads and the engine would pass over in silence, or answer with a dump of
//! its tree: refused, each with its place and what to write instead.
//!
//! Every structure is taken apart field by field, so that a field the SQL parser gains does not
//! compile until someone has decided about it.

mod clauses;
mod expressions;
mod refuser;
mod relations;

pub(super) use refuser::{check, hint};
