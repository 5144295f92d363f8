//! Bytes on disk: families, keys, records and columns of format version 1.
//!
//! Nothing here reads or writes; [`crate::store`] does. Every record begins with a version byte,
//! every key sorts bytewise in the order its reader wants, and `schema/` describes both in words.

mod column;
mod corpus;
mod dataset;
mod error;
mod key;
mod marks;
mod record;
mod recording;
mod rows;
mod table;
mod tokens;

pub use column::{ChunkStats, Scalar, decode_batch, decode_column, encode_batch, encode_column};
pub use corpus::{CorpusField, CorpusRecord, DocumentRecord};
pub use dataset::{DatasetRecord, DatasetRow, Horizon};
pub use error::{CodecError, FORMAT_VERSION};
pub use key::{Family, Key, TableId};
pub use record::{
    BodyPlacer, Catalogue, ChunkEntry, ColumnEntry, DeletedTrajectory, Delta, ExampleRecord,
    HeaderRecord, INLINE_BYTES_MAX, IdRecord, JudgeRecord, LabelCell, LabelColumn, LabelRecord,
    Manifest, MessageRecord, MetricRecord, Record, RunRecord, RunStatus, SampleRecord, StepRecord,
    Text, TombstoneRecord, body_texts,
};
pub use recording::RecordingRecord;
pub use rows::{StepRows, TrajectoryRows, call_error};
pub use table::{
    CHUNK_ROWS, Column, ColumnPlace, ColumnType, KEPT_OF_DELETED, STEP_COLUMNS, TRAJECTORY_COLUMNS,
    stored_columns,
};
pub use tokens::{TokenSequence, TokenSpan, TokensRecord};
