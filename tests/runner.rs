//! The one test binary; each module holds the tests of one capability.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test may stop and may speak")]

mod branching;
mod datasets;
mod exchange;
mod exchange_damage;
mod exchange_native;
mod exchange_rollouts;
mod functions;
mod lm;
mod matching;
mod mistakes;
mod pattern;
mod plot;
mod program;
mod prompt;
mod queries;
mod render;
mod schema;
mod score;
mod search;
mod session;
mod store;
mod summary;
mod syntax;
mod synth;
mod text;
mod tidy;
mod train;
mod windows;
