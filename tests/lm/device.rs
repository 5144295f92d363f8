//! The operations of a device: its kernels run on the host and are compared with the CPU's code.
//!
//! The kernels are compiled by this machine's C++ compiler; an engine of the tests gives them and
//! naive products to the operations. So all of the way to a card is tested but the card's own part
//! (`ops/device/cuda.rs`), which the tests of `card.rs` need a card for.

#[cfg(feature = "cuda")]
mod card;
mod decoder;
mod engine;
mod kernels;
mod names;
mod training;

pub use engine::operations;
