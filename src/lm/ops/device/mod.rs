//! The operations on a device with kernels of its own (CUDA), each forward and backward, without a
//! graph.
//!
//! ```text
//!   engine.rs      what a device does: memory, a kernel by name, a product of matrices
//!   cuda.rs        that of an NVIDIA card: NVRTC and cuBLAS                (feature `cuda`)
//!   operations.rs  norms, gates, products, sums, casts
//!   heads.rs       features moved between tokens and heads, and rotated
//!   attention.rs   causal attention in blocks of query rows, by products
//!   flash.rs       the same by one kernel, where bf16 and the heads' width allow
//!   log_prob.rs    log-probabilities of targets, in chunks of rows
//!   rows.rs        rows of a table by number
//!   step.rs        the optimiser's step and norms
//! ```
//!
//! Numbers are f32 or bf16 in memory and f32 where they are summed. Weights stay f32; products of
//! bf16 take a copy of them. The kernels are two files, `../kernels.cu` and `../flash.cu`, plain
//! enough to be compiled for the host too: the tests run everything here, but for `cuda.rs`, on the
//! CPU through an engine of their own and compare it with the hand-written code of the CPU.

mod attention;
#[cfg(feature = "cuda")]
mod cuda;
mod engine;
mod flash;
mod heads;
mod log_prob;
mod operations;
mod rows;
mod step;

pub use attention::Mixed;
#[cfg(feature = "cuda")]
pub use cuda::CudaEngine;
#[cfg(feature = "cuda")]
pub(in crate::lm) use cuda::open_card;
pub use engine::{Argument, Engine, Grid, Product, Side};
pub use operations::{Normed, Operations};
pub use step::AdamStep;

pub(in crate::lm) use heads::Angles;
