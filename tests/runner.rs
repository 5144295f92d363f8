//! The one test binary; each module holds the tests of one capability.

mod lm;
mod render;
mod train;
