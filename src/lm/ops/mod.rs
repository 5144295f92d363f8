//! The operations of a decoder, each with a backward pass.
//!
//! candle's fused operations (`RmsNorm`, `softmax_last_dim`, `rope`, flash attention) have no
//! backward and do not say so: a model made of them trains its last layer only. Those that
//! differentiate pay a zeroed tensor and an addition for every edge of the graph, and a matrix
//! product computes the gradient of both sides even where one is frozen.
//!
//! So there are few, large operations here, with gradients written by hand for f32 on the CPU.
//! They read and write slices, run in parallel over independent rows or heads, and sum in an order
//! that the code fixes: the same input gives the same bits. A CUDA device has kernels of its own,
//! in [`device`]. Elsewhere they fall back to [`composed`], the same mathematics in candle's own
//! differentiable operations, which is also what the tests compare with.

mod attention;
mod bias;
pub mod composed;
pub mod device;
pub mod divergence;
mod gated;
mod kernels;
mod linear;
mod log_prob;
mod matrix;
mod node;
mod norm;
mod rope;
mod rows;
mod sink;
mod span;
mod storage;

pub use attention::{AttentionForm, Heads, attention, attention_of_spans};
pub use bias::add_bias;
pub use divergence::{Reference, log_probs_and_divergence};
pub use gated::{Activation, gated};
pub use linear::linear;
pub use log_prob::log_probs;
pub use norm::rms_norm;
pub use rope::{Frequencies, Rotation, rope};
pub use rows::gather_rows;
pub use sink::GradientSink;
pub use span::Span;

pub(super) use attention::attention_backward;
pub(super) use bias::column_sums;
pub(super) use gated::gated_backward;
pub(super) use kernels::{exp, max_of, soft_cap, softmax, sum_of};
pub(super) use linear::{input_gradient, weight_gradient};
pub(super) use node::{Backward, attach};
pub(super) use norm::rms_norm_backward;
pub(super) use rope::rope_backward;
pub(super) use storage::{on_cpu, slice, sum, with_values};
