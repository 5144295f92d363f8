//! Unit vectors by document number, and the exact best of them for a query.
//!
//! # Whole numbers
//! A number x of a unit vector is stored as the whole number round(32767 x), and so is a query's. A
//! product of two rows is then a sum of whole numbers, and it never leaves 32 bits: with a, b the
//! stored vectors of x, y, whose length is checked to be at most 1.0005, rounding moves each of d
//! numbers by at most 1/2, so that
//!
//! ```text
//! |a| <= 32767 |x| + sqrt(d) / 2 <= 32784 + 128 = 32912      for d <= 65536
//! |any part of the sum| <= |a| |b| <= 32912^2 = 1083199744 < 2^31      (Cauchy-Schwarz)
//! ```
//!
//! The second line holds for every subset of the terms, and so for every partial sum in every
//! order: the product is the same for all vector instructions, threads and machines. The score is
//! that product divided by 32767^2. By the first line and the triangle inequality it is within
//! sqrt(d) / 32767 of the cosine (6e-4 for d = 384); rounding errors of either sign leave about
//! 1e-5 of that.
//!
//! # The file
//! ```text
//! 0     header     2048 bytes: BLAKE3 of the JSON, a line feed, the JSON, zeros
//! 2048  header     the same again, see below
//! 4096  row 0      dimensions times two bytes, the low one first
//!       row 1
//! ```
//!
//! While it is written it is called `NAME.partial`. A checkpoint brings the rows to the disk first
//! and then writes the one header that is not the newest: whatever a kill or a power cut leaves,
//! one header tells of rows that are there. What is behind them is cut off when it is gone on with.
//! The bytes of a finished file depend on the key and the vectors only.

mod error;
mod header;
mod index;
mod product;
mod top;
mod writer;

pub use error::VectorsError;
pub use index::{Checking, VectorIndex};
pub use writer::VectorsWriter;
