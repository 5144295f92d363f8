//! Ranking: the best documents of a sealed set for some words, the same on every machine.
//!
//! A **ranked index** is derived from documents that lie elsewhere and never change; it is built
//! once, sealed, and only read afterwards. Its files are ours: a search engine's postings and
//! lengths are made for one choice of parameters, are lossy, or depend on how an index is cut.
//!
//! ```text
//!   builder    documents 0, 1, 2, .. in batches of ~1 MiB
//!                 |         |            a worker takes the next batch, whichever it is
//!              worker 0  worker 1        analysis -> numbers of terms -> a log in bounded memory
//!                 |         |            (`inverter`)
//!              segments/0000  /0001 ..   full memory ends a segment; inside one, numbers ascend
//!                words-f, terms-f        the terms of field f and where their postings lie
//!                postings-f              documents and frequencies, in blocks of 128
//!                blocks-f, bounds-f      for frequent terms: (frequency, length) that bound each
//!                                        block (`postings`, `bounds`)
//!                numbers                 u32 a document: its number in the whole
//!                lengths-f               a number a document: tokens of field f
//!              manifest      key, counts, every file with its length and hash; written last
//! ```
//!
//! **Why the same answer.** The score of a document is a sum over the terms of the query of
//!
//! ```text
//!   weight(field) * idf * times in the query / (1 + k1 * (1 - b + b * length / average) / tf)
//!   idf = ln(1 + (N - df + .5) / (df + .5))
//! ```
//!
//! in 64-bit floating point (BM25 as Lucene has it since version 8, with exact lengths). N, df and
//! the average are counted over all segments as integers; the logarithm is not the system's, which
//! differs from one machine to the next. What a term contributes is rounded to a multiple of a
//! power of two, one for the whole query and so small that it is the rounding of the sum's own last
//! digits; sums of such numbers are exact, and the same in whatever order they are taken. So how
//! the documents are cut into segments, how many threads did it, how many results are asked for and
//! which terms were looked at first cannot change a bit. Of equal scores the lower number comes
//! first.
//!
//! **Why leaving out is safe.** A block of postings is left out when no document in it can be among
//! the best k. What a term contributes at most there is the formula itself for the block's best
//! (frequency, length) pairs: every operation of it is monotone in both, and so is its rounding.
//! Sums of these bounds are exact as well, so the comparison with the worst of the best k errs in
//! neither direction. Bounds hold pairs and not scores; they serve any k1, b and weights.

mod accumulate;
mod analysis;
mod batches;
mod bounds;
mod builder;
mod cursor;
mod error;
mod files;
mod formula;
mod index;
mod inverter;
mod lengths;
mod manifest;
mod names;
mod postings;
mod query;
mod segment;
mod segment_writer;
mod top;
mod variable;
mod windows;

pub use analysis::{AnalysisFactory, TOKEN_BYTES_MAX, TermSource};
pub use builder::{BuildOptions, RankedIndexBuilder, remove_index};
pub use error::RankingError;
pub use formula::Bm25;
pub use index::{Checking, Explanation, Part, RankedIndex};
pub use query::RankedQuery;
