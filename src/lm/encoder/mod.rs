//! Vectors of texts, by a BERT encoder as sentence-transformers ships them.
//!
//! A text becomes the same vector, to the last bit, whatever it is encoded with, on any number of
//! threads and with any vector instructions. Libraries of matrix products do not promise that: they
//! choose blocks, and with them the order of sums, by the number of rows. Here
//!
//! - every element of a product is one chain of fused multiply-adds over the inner dimension in
//!   order, see [`product`]: it depends on its row and its column alone;
//! - sums along a row run in the fixed lanes of the decoder's loops;
//! - a text's tokens see its own tokens only, so that texts are packed one after another without
//!   padding, and the pack is the unit of work of a thread.
//!
//! ```text
//! texts --tokenize--> ids, cut to the model's limit --pack by length--> [tokens, hidden]
//!   embed: norm(word + type + position)
//!   layer: x = norm(x + attention(x)); x = norm(x + down(gelu(up(x))))
//!   pool:  mean of a text's rows, or its first row; divided by its length
//! ```
//!
//! Absent: dropout, gradients, masks, the pooler of BERT, other devices than the CPU.

mod activation;
mod config;
mod forward;
mod product;
mod sentence;
mod weights;

pub use sentence::SentenceEncoder;
