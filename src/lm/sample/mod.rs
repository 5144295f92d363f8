//! Samples and scores of a decoder, with a cache of what was read already.
//!
//! ```text
//! requests --> waiting --> slots --> one step: the next tokens of all slots through the model
//!                            ^            |      (a slot that reads its prompt takes many, one
//!                            |            v       that writes takes one)
//!                            +---- choose a token for each slot that has read everything;
//!                                  a slot that ends takes the next request
//! ```
//!
//! **What a request gives depends on the weights, its tokens, its settings and its seed alone**:
//! not on what else is in the batch, the number of slots, how prompts are cut, what is cached or
//! the number of threads. So every row is computed in an order of sums that its position decides:
//! the products ([`product`]) and attention ([`attention`]) are written for that, the other
//! operations are those of the training pass and work row by row. Random numbers are counted by
//! seed and position ([`random`]), so that a resumed or branched sample draws what it would have
//! drawn.
//!
//! Keys and values lie in one bounded arena ([`arena`]); a [`Prefix`] owns some of it. The prefill
//! of a trajectory is the cache of all its states: each is the head of the same prefix.

mod arena;
mod attention;
mod choose;
mod forward;
mod product;
mod random;
mod request;
mod sampler;
mod score;
mod text;

pub use request::{
    Counts, Distribution, End, Prefix, Progress, Prompt, Request, Sample, Samples, Watch,
};
pub use sampler::{Sampler, SamplerOptions};
