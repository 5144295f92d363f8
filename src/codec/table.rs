//! The columns of the two tables that have columns on disk.
//!
//! ```text
//!   stored      one Arrow array a chunk of 65,536 rows        reward, tool, sizes
//!   record      in the trajectory's or step's record          text: fetched for rows that survive
//! ```
//! A step has every trajectory column too: stored once, widened on reading by `_trajectory`.

use std::sync::LazyLock;

use super::TableId;

/// Rows in a full chunk of a column.
pub const CHUNK_ROWS: u64 = 65_536;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `true` or `false`.
    Boolean,
    /// 64-bit whole number.
    Integer,
    /// 64-bit floating point.
    Float,
    /// Text, as Arrow's Utf8View.
    Text,
    /// A list of texts.
    TextList,
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp,
}

/// Where a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnPlace {
    /// In the `column` family.
    Stored,
    /// In the record of the row.
    Record,
}

/// One column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name in statements.
    pub name: &'static str,
    /// The type.
    pub kind: ColumnType,
    /// Where its values are.
    pub place: ColumnPlace,
    /// What it says, for `DESCRIBE` and `schema/`.
    pub about: &'static str,
}

const fn stored(name: &'static str, kind: ColumnType, about: &'static str) -> Column {
    Column { name, kind, place: ColumnPlace::Stored, about }
}

const fn record(name: &'static str, kind: ColumnType, about: &'static str) -> Column {
    Column { name, kind, place: ColumnPlace::Record, about }
}

use ColumnType::{Boolean, Float, Integer, Text, TextList, Timestamp};

/// The columns of `trajectories`, in the order shown.
pub const TRAJECTORY_COLUMNS: &[Column] = &[
    stored("trajectory_id", Text, "identifier within its source"),
    stored("source", Text, "the collection it came from"),
    stored("split", Text, "train, dev, test or what the source calls its parts"),
    stored("question_id", Text, "the question; several trajectories may answer the same one"),
    record("question", Text, "the question's text"),
    record("gold", TextList, "answers accepted as right"),
    record("answer", Text, "the final answer"),
    stored("status", Text, "answered, limit, error; null if unknown"),
    stored("model", Text, "the policy"),
    stored("sample_index", Integer, "which of several samples for one question, from 0"),
    stored("run_id", Text, "the run that generated it"),
    stored("round", Integer, "round of self-improvement, from 0"),
    stored("n_steps", Integer, "number of steps K"),
    stored("n_tool_calls", Integer, "tool calls in all steps"),
    stored("created_at", Timestamp, "when it was made"),
    record("meta", Text, "whatever else the source says, as a JSON object"),
];

/// The columns of `steps` that trajectories do not have, in the order shown. `_first_row` and
/// `_trajectory` are hidden.
pub const STEP_COLUMNS: &[Column] = &[
    stored("step", Integer, "number of the step, 1..K"),
    stored("is_final", Boolean, "whether it is the last step"),
    stored("tool", Text, "the tool of the first call; null without a call"),
    stored("tools", TextList, "the tools of all calls, in order"),
    record("arguments", Text, "arguments of the first call, as the policy wrote them"),
    stored("n_calls", Integer, "tool calls of this step"),
    record("reasoning", Text, "reasoning before the action, where kept apart"),
    record("action", Text, "content of the action, verbatim; '' if the source says null"),
    record("observation", Text, "what came back, contents joined by a newline"),
    stored("observation_error", Boolean, "whether a result is an error; null without a result"),
    stored("action_chars", Integer, "Unicode scalars of reasoning, content and calls"),
    stored("observation_chars", Integer, "Unicode scalars of the observation"),
    stored("state_chars", Integer, "Unicode scalars of the state before the action"),
    stored("action_tokens", Integer, "the policy's tokens of the action, where known"),
    stored("observation_tokens", Integer, "the policy's tokens of the observation, where known"),
    stored("latency_ms", Float, "time to generate the action"),
    stored("cost", Float, "price of the action in the source's currency"),
    stored("finish_reason", Text, "why generation ended"),
    stored("state_is_prefix", Boolean, "false where the source rewrote its history"),
];

/// The columns that keep their values where a trajectory was deleted: they say which rows it had.
pub const KEPT_OF_DELETED: [&str; 4] = ["_first_row", "n_steps", "_trajectory", "step"];

/// The hidden columns: the ordinal of a row's trajectory and, for trajectories, the row of its
/// first step in `steps`.
const HIDDEN_ORDINAL: Column = stored("_trajectory", Integer, "ordinal of the trajectory");
const HIDDEN_FIRST_ROW: Column = stored("_first_row", Integer, "row of the first step");

/// Returns the columns of `table` that are stored as arrays, hidden ones first. The position in
/// this list is the column's number in keys; labels are numbered after it.
pub fn stored_columns(table: TableId) -> &'static [Column] {
    static TRAJECTORIES: LazyLock<Vec<Column>> =
        LazyLock::new(|| with_hidden(HIDDEN_FIRST_ROW, TRAJECTORY_COLUMNS));
    static STEPS: LazyLock<Vec<Column>> =
        LazyLock::new(|| with_hidden(HIDDEN_ORDINAL, STEP_COLUMNS));
    match table {
        TableId::Trajectories => &TRAJECTORIES,
        TableId::Steps => &STEPS,
    }
}

fn with_hidden(hidden: Column, columns: &[Column]) -> Vec<Column> {
    let stored = columns.iter().copied().filter(|c| c.place == ColumnPlace::Stored);
    std::iter::once(hidden).chain(stored).collect()
}
