//! The shape of a decoder: one set of fields for every family, read from `config.json` or given by
//! hand.
//!
//! The forward pass knows these fields and no families. A family is a way to write some of them
//! down: [`Family`] says which file a shape is written to, and which fields its file can say.

mod family;
mod rope;
mod settings;
mod shape;

pub use family::Family;
pub use rope::{RopeScaling, Yarn};
pub use shape::DecoderConfig;

pub use super::ops::Activation;
