//! Documents in: the files that corpora are made of.
//!
//! [`Documents`] reads one file or folder in batches, in its order, in memory that does not grow
//! with it. Compression (gzip, zstd) and format are recognised from the content; the rows of a
//! Parquet file are records like lines of JSON. A record that cannot be read is a [`BadDocument`]
//! with its place and field among the good ones.
//!
//! - `documents`: JSON lines, or one array, of `id` (or `_id`, `docid`, ..), `title` and `text`, as
//!   BEIR has them; of `id` and `contents`, as Search-R1 and Pyserini have them: where the first
//!   line of `contents` stands in quotes, it is the title. `text` may be a list of paragraphs, as
//!   KILT's. Other fields become the metadata; `metadata` alone is that itself.
//! - `passages`: the same without any id.
//! - `tsv`: `id`, `text` and perhaps `title`, parted by tabs, as MS MARCO's. A first line of column
//!   names, as DPR's, says which is which; only then are fields in quotes taken out of them.
//! - `hotpotqa`: questions with `context`, lists of a title and sentences (2WikiMultihopQA's too).
//! - `musique`: questions with `paragraphs`.
//! - `text`: a text or Markdown file is one document; a folder is all of them below it.
//!
//! # What documents are called that have no id
//!
//! Passages and paragraphs of questions are named `Title#0123456789abcdef`: the title with `_` for
//! blanks (an id within TREC's files must not have any) and the first 16 digits of BLAKE3 over
//! title and text. So the same paragraph of two questions is the same document, and two paragraphs
//! of one article are two.
//!
//! Files of a folder are named by their path below it, with `/` on every system.
//!
//! # Ids that come twice
//!
//! Nothing here remembers ids: that memory would grow. Whoever collects documents compares
//! [`Document::content_hash`]: an id with the same hash is the same document once more, with
//! another one it is a conflict, and both have their [`DocumentPlace`].

mod document;
mod folder;
mod json_lines;
mod questions;
mod reader;
mod recognise;
mod tabular;

pub use document::{
    BadDocument, Document, DocumentPlace, PlacedDocument, derived_id, parse_document,
    write_document,
};
pub use reader::{DocumentBatch, DocumentOptions, Documents};
pub use recognise::DocumentFormat;
