//! Windows over many small partitions, a batch at a time.
//!
//! ```text
//!   partition of
//!   each row
//!    7 7 7     the rest of what waited: computed with it, as one partition of its own
//!    8 8       ┐
//!    9 9 9 9   ┘ whole in this batch: computed where they lie, all at once
//!    10 10     may go on in the next batch: waits
//! ```
//! A trajectory is a partition of a handful of rows. DataFusion evaluates a window partition by
//! partition and row by row, and spends its time on arrays of six values. Here the places where
//! partitions start are found once a batch, and each window function is one loop over the batch:
//! `lead` and `lag` take rows at a distance, frames that start where their partition does are
//! running folds. A batch goes on as it came, with a column for each window, when its last
//! partition is whole.
//!
//! - [`rule`](self::rule): which windows are computed this way. All others stay DataFusion's.
//! - [`exec`](self::exec): batches in, batches out.
//! - [`frames`](self::frames), [`picks`](self::picks), [`folds`](self::folds): the columns, over
//!   rows whose partitions are whole.
//!
//! Values are DataFusion's: sums wrap, and floats are added in the same order.

mod exec;
mod folds;
mod frames;
mod picks;
mod rule;

pub use rule::WindowsByBatch;
