//! Bytes on disk: families, keys, records and columns of format version 1.
//!
//! Nothing here reads or writes; [`crate::store`] does. Every record begins with a version byte,
//! every key sorts bytewise in the order its reader wants, and `schema/` describes both in words.

mod column;
mod key;
mod record;
mod rows;
mod table;

pub use column::{ChunkStats, Scalar, decode_batch, decode_column, encode_batch, encode_column};
pub use key::{Family, Key, TableId};
pub use record::{
    BodyPlacer, Catalogue, ChunkEntry, ColumnEntry, DatasetRecord, DatasetRow, Delta, HeaderRecord,
    INLINE_BYTES_MAX, IdRecord, JudgeRecord, LabelCell, LabelColumn, LabelRecord, Manifest,
    MessageRecord, MetricRecord, Record, RunRecord, RunStatus, StepRecord, Text, body_texts,
};
pub use rows::{StepRows, TrajectoryRows, call_error};
pub use table::{
    CHUNK_ROWS, Column, ColumnPlace, ColumnType, STEP_COLUMNS, TRAJECTORY_COLUMNS, stored_columns,
};

/// The version of everything on disk that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes that are not what they should be: damage, or a newer program's work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A record ends early, or holds what no writer writes.
    #[error("damaged {what}: {why}")]
    Damaged {
        /// Which kind of record or key.
        what: &'static str,
        /// What was found.
        why: String,
    },
    /// A record of a version that this program does not know.
    #[error("{what} has version {found}, this program reads up to {known}: use a newer swirl")]
    Newer {
        /// Which kind of record.
        what: &'static str,
        /// The version found.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
}

impl CodecError {
    /// Returns the error for bytes that no writer of this format makes.
    pub fn damaged(what: &'static str, why: impl Into<String>) -> CodecError {
        CodecError::Damaged { what, why: why.into() }
    }
}
