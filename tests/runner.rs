//! The one test binary; each module holds the tests of one capability.

mod exchange;
mod exchange_damage;
mod exchange_native;
mod synth;
