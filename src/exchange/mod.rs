//! Foreign formats in and out.
//!
//! [`open`] reads one file and yields its records in batches, in the order of the file, in memory
//! that does not grow with it. Compression and format are recognised from the content; the rows of
//! a Parquet file are records like lines of JSON (`parquet.rs`). A record that cannot be read is a
//! [`BadRecord`] with its place and field among the good ones.
//!
//! - `chat`: a line with `messages[{role, content, tool_calls, ...}]`, a bare list of messages, or
//!   `prompt` and `completion`; labels by message index as in the next.
//! - `agentprocess`: the same with `step_labels` and `final_label`, and judges' files of such
//!   labels.
//! - `taubench`: an array (or lines) of `task_id`, `trial`, `reward`, `info`, `traj`.
//! - `r1searcher`: `question`, `answer` (the one looked for), `pred_ans` and a transcript in one
//!   text with the tags of R1-Searcher, Search-R1 or ReSearch.
//! - `verifiers`: `prompt`, `completion`, `reward` and the rubric's numbers; the model from
//!   `metadata.json` beside it. Rollouts of one example are numbered as they come; the numbers
//!   reached, one an example, are the only thing here whose memory grows with a file.
//! - `steps`: a row a step, with `trajectory_id` and `action`, `tool`, `observation` and others
//!   (`steps.rs` has their names); rows of one trajectory follow each other.
//! - `swirl`: what [`NativeWriter`] writes, without loss.
//!
//! Topics, judgements and runs of retrieval experiments are no trajectories: [`trec`]. Nor are the
//! questions of evaluations: [`Questions`].
//!
//! # How a chat record becomes a trajectory
//!
//! Every assistant message behind the prompt is a step; the prompt is what stands before the
//! first, or the explicit `prompt` list. Content is kept verbatim (`<think>` included); of a list
//! of parts the text is joined by newlines and the list kept beside it. Arguments of calls are
//! text: a string's content, or an object as it was written. Fields that the model has no place
//! for go into `meta`, those of messages under `message_fields` by index.
//!
//! # How a tagged text becomes a trajectory
//!
//! Every query is a step: what was written up to the end of its tag, and a call of `search`. The
//! documents behind it are its observation, what remains behind the last ones is the last step.
//! The contents of all these messages, joined, are the text. A malformed text is read all the
//! same: `meta.malformed` lists what is wrong, and `status` is `answered` only where an answer was
//! closed (or the source says `finished` and has one), `limit` where a limit ended the episode or
//! the text breaks off within a tag, `error` where there is no answer or two differ.
//!
//! # Adding a format
//!
//! 1. Write a module with a type that implements [`Parser`]: the text of one line or array
//!    element in, [`Record`]s or a [`Fault`] out. Where records hold chat messages, `line.rs`
//!    takes them apart and `fields.rs` takes the other fields by name.
//! 2. Add a variant to [`Format`], with its word, and the fields that give it away to
//!    `format.rs`; name its parser in `parser.rs`.
//! 3. Add files with its traps to `fixtures/` and goldens to `tests/exchange.rs`.
//!
//! Reading, decompression, threads, limits and places of errors come with it.

mod agentprocess;
mod blocks;
mod chat;
mod chat_writer;
mod corpus;
mod dataset;
mod documents;
mod entries;
mod error;
mod fields;
mod format;
mod input;
mod json;
mod labels;
mod line;
mod lines;
mod message;
mod native;
mod output;
mod parquet;
mod parser;
mod questions;
mod r1searcher;
mod reader;
mod record;
mod scan;
mod scores;
mod steps;
mod tagged;
mod taubench;
mod timestamp;
pub mod trec;
mod verifiers;

pub use chat_writer::ChatWriter;
pub use corpus::{CorpusFile, CorpusManifest};
pub use dataset::{DatasetManifest, DatasetRows, PinnedTrajectory, WrittenRow};
pub use documents::{
    BadDocument, Document, DocumentBatch, DocumentFormat, DocumentOptions, DocumentPlace,
    Documents, PlacedDocument, derived_id, parse_document, write_document,
};
pub use error::{BadRecord, ExchangeError, Fault, Place};
pub use format::Format;
pub use input::Progress;
pub use lines::{Line, Lines};
pub use native::{NATIVE_VERSION, NativeWriter, content_hash};
pub use output::{OutputFile, create};
pub use parser::{Names, Parser};
pub use questions::{Question, Questions};
pub use reader::{Batch, ReadOptions, Reader, open};
pub use record::{Imported, LabelPlace, LabelRecord, PlacedLabel, Record};
pub use steps::step_column;
