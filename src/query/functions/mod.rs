//! The functions that SQL lacks.

mod bounded;
mod elsewhere;
mod parts;
mod predicates;
mod scores;
mod search;
mod texts;

pub(super) use bounded::bounded;
pub use elsewhere::ELSEWHERE;
pub(super) use elsewhere::ours;
pub(super) use parts::part_of;
pub(super) use predicates::{EVERY, every, matches, sample_key, words_error};
pub(super) use scores::{GOLD_IN, aggregates, scalars};
pub(super) use search::search_score;
pub(super) use texts::{texts, tokens};
