//! The one test binary; each module holds the tests of one capability.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod exchange;
mod exchange_damage;
mod exchange_native;
mod synth;
