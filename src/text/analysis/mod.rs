//! From a text to the terms that a corpus is ranked by.
//!
//! ```text
//!   "The café's 3.5-inch disks were re-mounted."      the text
//!   The · café's · 3.5 · inch · disks · were · re · mounted     words (`tokenizer`)
//!   café · 3.5 · inch · disk · were · re · mount      English: terms
//!   the · café's · 3.5 · inch · disks · were · re · mounted     neutral: terms
//! ```
//!
//! [`Analyzer::English`] gives the terms of Lucene's `EnglishAnalyzer`, so that published figures
//! can be met: words by the rules of Lucene's `StandardTokenizer`, no possessive ending, lower
//! case, Lucene's stop words left out, Porter's stemmer. [`Analyzer::Neutral`] knows no language:
//! one spelling of each character (NFKC, case folded), the same words, and overlapping pairs of
//! characters where a script writes no blanks.
//!
//! The analysis of full text inside patterns (`super::words`) is another one: it answers whether
//! words occur, and keeps every part of an identifier findable; this one is made for ranking.
//!
//! Terms are part of what a sealed corpus promises. Any change of them, and any update of the
//! Unicode tables beneath that changes a character's class, needs a new [`Analyzer::version`].

mod analyzer;
mod character;
mod english;
mod neutral;
mod passages;
mod porter;
mod tokenizer;

pub use analyzer::{Analysis, Analyzer, TermNumbers};
pub use english::STOP_WORDS;
pub use passages::{Chunking, ChunkingError};
pub use porter::stem;
pub use tokenizer::{Kind, TOKEN_UNITS_MAX, Token, Tokenizer};
