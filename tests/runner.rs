//! The one test binary; each module holds the tests of one capability.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test may stop and may speak")]

mod text;
mod tidy;

mod syntax;

mod lm;
mod render;
mod train;
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod exchange;
mod exchange_damage;
mod exchange_native;
mod synth;
