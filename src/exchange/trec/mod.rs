//! Files of retrieval experiments: topics, judgements (qrels) and runs, compressed or not.
//!
//! - Topics ([`read_topics`]), recognised by how the file begins: `id<TAB>query`; JSON lines with
//!   `_id` and `text` as BEIR has them; TREC's `<top>` with `<num>`, `<title>`, `<desc>`, `<narr>`,
//!   with or without closing tags, and `<topic number="..">`; `<DOC>` with `<DOCNO>` as the CACM
//!   collection has its topics; SMART's `.I` and `.W`, as Cranfield has them.
//! - Judgements ([`read_judgements`]): TREC's four columns `topic 0 document relevance`, or BEIR's
//!   three, parted by tabs, with or without their header.
//! - Runs ([`read_run`], [`RunWriter`]): `topic Q0 document rank score tag`.
//!
//! What measures a run must not pass over a line that it could not read: the first such line ends
//! the reading, with its number, its column or field and what was expected. Blank lines, a byte
//! order mark and carriage returns at the ends of lines are passed over.

mod columns;
mod error;
mod lines;
mod topics;
mod writer;

pub use columns::{Judgement, Ranked, read_judgements, read_run};
pub use error::TrecError;
pub use topics::{Topic, read_topics};
pub use writer::RunWriter;
