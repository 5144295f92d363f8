//! The language: from text to statements over the SQL parser's tree.
//!
//! The life of a statement, as far as it goes here:
//!
//! 1. [`tokens`]: the text is cut into tokens with byte ranges, and at semicolons into statements.
//! 2. [`limits`]: brackets are matched; what is too long or too deep stops here.
//! 3. [`teach`]: spellings from elsewhere (`==`, `&&`, a `|` for `|>`) are named with ours.
//! 4. [`reader`]: the query before the first pipe goes to the SQL parser; queries in parentheses
//!    that have pipes of their own are read first.
//! 5. [`stages`], [`ours`], [`search`], [`split`](mod@split), [`matching`]: every pipe stage
//!    becomes one SELECT over the query before it.
//! 6. [`refuse`]: what the engine would pass over in silence is refused.
//! 7. [`identity`], [`order`]: the hidden columns and the order of rows are carried through.
//!
//! For a prompt there are besides [`tokens`]' [`split`], [`highlight`] and [`complete`].
//!
//! What comes out is SQL without pipes, in the SQL parser's tree with the places of the text as
//! typed, for the engine to plan.
//!
//! Invariants. Nothing here knows a table's columns. Nothing is ignored: a part of a statement
//! either has its meaning in the tree or is an error. No input ends in a panic or an overflow.

mod across;
mod aggregate;
mod build;
mod catalog;
mod columns;
mod complete;
mod deletion;
mod errors;
mod functions;
mod funnel;
mod hidden;
mod highlight;
mod identity;
mod limits;
mod matching;
mod order;
mod ours;
mod reader;
mod refuse;
mod saved;
mod search;
mod split;
mod stages;
mod standard;
mod statement;
mod teach;
mod tokens;

pub use build::{STEP, TRAJECTORY};
pub use catalog::Catalog;
pub use complete::{Expected, NameKind, complete};
pub use highlight::{TokenClass, highlight};
pub use limits::Limits;
pub use matching::{ANY, WITHIN};
pub use ours::SAMPLE_KEY;
pub use saved::{CorpusStatement, SavedStatement};
pub use search::SEARCH_SCORE;
pub use split::PART_OF;
pub use standard::standard_form;
pub use statement::{
    FunnelCut, Literal, Name, QueryStatement, Rollout, RolloutVerb, ShowWhat, StageSpan, Statement,
    StatementKind, Then, WithOption, parse, parse_within,
};
pub use teach::unresolved_name;
pub use tokens::{Open, Places, Split, split};
