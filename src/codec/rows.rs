//! From trajectories to the arrays of the stored columns.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, RecordBatch,
    StringViewBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::table::ColumnType;
use super::{CodecError, DeletedTrajectory, TableId, stored_columns};
use crate::model::{Message, Step, Trajectory, role};

impl ColumnType {
    /// Returns the Arrow type of the column.
    pub fn data_type(self) -> DataType {
        match self {
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Integer => DataType::Int64,
            ColumnType::Float => DataType::Float64,
            ColumnType::Text => DataType::Utf8View,
            ColumnType::TextList => {
                DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)))
            }
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

/// Returns whether a tool's result is an error: as its source marks it, else `None`.
pub fn call_error(message: &Message) -> Option<bool> {
    if message.role == role::TOOL { Some(message.error.unwrap_or(false)) } else { message.error }
}

fn schema(table: TableId) -> SchemaRef {
    static SCHEMAS: LazyLock<[SchemaRef; 2]> = LazyLock::new(|| {
        TableId::ALL.map(|table| {
            let columns = stored_columns(table);
            let field = |c: &super::Column| Field::new(c.name, c.kind.data_type(), true);
            Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
        })
    });
    SCHEMAS[table.code() as usize].clone()
}

/// One builder a type, so that a row is written without dispatch by name.
fn text_builder(rows: usize) -> StringViewBuilder {
    StringViewBuilder::with_capacity(rows).with_deduplicate_strings()
}

/// Builds the rows of `trajectories`.
pub struct TrajectoryRows {
    first_row: Int64Builder,
    texts: [StringViewBuilder; 7],
    integers: [Int64Builder; 4],
    created_at: TimestampMicrosecondBuilder,
}

impl TrajectoryRows {
    /// Begins with room for so many rows.
    pub fn with_capacity(rows: usize) -> TrajectoryRows {
        TrajectoryRows {
            first_row: Int64Builder::with_capacity(rows),
            texts: std::array::from_fn(|_| text_builder(rows)),
            integers: std::array::from_fn(|_| Int64Builder::with_capacity(rows)),
            created_at: TimestampMicrosecondBuilder::with_capacity(rows),
        }
    }

    /// Adds the row of `t`, whose steps begin at row `first_row`.
    pub fn push(&mut self, t: &Trajectory, first_row: u64) {
        self.first_row.append_value(first_row as i64);
        let texts = [
            Some(t.id.as_str()),
            Some(t.source.as_str()),
            t.split.as_deref(),
            t.question_id.as_deref(),
            t.status.map(|s| s.as_str()),
            t.model.as_deref(),
            t.run_id.as_deref(),
        ];
        for (builder, text) in self.texts.iter_mut().zip(texts) {
            builder.append_option(text);
        }
        let n_steps = Some(t.steps.len() as i64);
        let n_calls = Some(t.n_tool_calls() as i64);
        let integers = [t.sample_index, t.round, n_steps, n_calls];
        for (builder, integer) in self.integers.iter_mut().zip(integers) {
            builder.append_option(integer);
        }
        self.created_at.append_option(t.created_at);
    }

    /// Adds the blank row of a trajectory that was deleted.
    pub fn push_deleted(&mut self, deleted: &DeletedTrajectory) {
        self.first_row.append_value(deleted.first_row as i64);
        self.texts.iter_mut().for_each(StringViewBuilder::append_null);
        let integers = [None, None, Some(i64::from(deleted.n_steps)), None];
        for (builder, integer) in self.integers.iter_mut().zip(integers) {
            builder.append_option(integer);
        }
        self.created_at.append_null();
    }

    /// Returns the rows in the order of [`stored_columns`].
    ///
    /// # Errors
    /// Arrow's message, should builders and columns ever differ.
    pub fn finish(mut self) -> Result<RecordBatch, CodecError> {
        let [id, source, split, question, status, model, run] =
            self.texts.each_mut().map(|b| Arc::new(b.finish()) as ArrayRef);
        let [sample, round, steps, calls] =
            self.integers.each_mut().map(|b| Arc::new(b.finish()) as ArrayRef);
        let first_row = Arc::new(self.first_row.finish()) as ArrayRef;
        let created = Arc::new(self.created_at.finish()) as ArrayRef;
        let arrays = vec![
            first_row, id, source, split, question, status, model, sample, run, round, steps,
            calls, created,
        ];
        finish(TableId::Trajectories, arrays)
    }
}

fn finish(table: TableId, arrays: Vec<ArrayRef>) -> Result<RecordBatch, CodecError> {
    RecordBatch::try_new(schema(table), arrays)
        .map_err(|e| CodecError::damaged("rows", e.to_string()))
}

/// Builds the rows of `steps`.
pub struct StepRows {
    trajectory: Int64Builder,
    step: Int64Builder,
    is_final: BooleanBuilder,
    tool: StringViewBuilder,
    tools: ListBuilder<StringViewBuilder>,
    n_calls: Int64Builder,
    observation_error: BooleanBuilder,
    chars: [Int64Builder; 3],
    tokens: [Int64Builder; 2],
    latency_ms: Float64Builder,
    cost: Float64Builder,
    finish_reason: StringViewBuilder,
    state_is_prefix: BooleanBuilder,
}

impl StepRows {
    /// Begins with room for so many rows.
    pub fn with_capacity(rows: usize) -> StepRows {
        StepRows {
            trajectory: Int64Builder::with_capacity(rows),
            step: Int64Builder::with_capacity(rows),
            is_final: BooleanBuilder::with_capacity(rows),
            tool: text_builder(rows),
            tools: ListBuilder::with_capacity(text_builder(rows), rows),
            n_calls: Int64Builder::with_capacity(rows),
            observation_error: BooleanBuilder::with_capacity(rows),
            chars: std::array::from_fn(|_| Int64Builder::with_capacity(rows)),
            tokens: std::array::from_fn(|_| Int64Builder::with_capacity(rows)),
            latency_ms: Float64Builder::with_capacity(rows),
            cost: Float64Builder::with_capacity(rows),
            finish_reason: text_builder(rows),
            state_is_prefix: BooleanBuilder::with_capacity(rows),
        }
    }

    /// Adds the rows of all steps of `t`, whose ordinal is `ordinal`.
    pub fn push(&mut self, ordinal: u64, t: &Trajectory) {
        let last = t.steps.len() as i64;
        let mut state: i64 = t.prompt.iter().map(|m| m.chars() as i64).sum();
        for (step, number) in t.steps.iter().zip(1i64..) {
            let action = step.action.chars() as i64;
            let observed: i64 = step.observation.iter().map(|m| m.chars() as i64).sum();
            let before = match step.context {
                None => state,
                Some(_) => t.state(number as u32).iter().map(|m| m.chars() as i64).sum(),
            };
            self.trajectory.append_value(ordinal as i64);
            self.step.append_value(number);
            self.is_final.append_value(number == last);
            for (builder, chars) in self.chars.iter_mut().zip([action, observed, before]) {
                builder.append_value(chars);
            }
            self.push_step(step);
            state += action + observed;
        }
    }

    /// Adds the blank rows of a trajectory that was deleted.
    pub fn push_deleted(&mut self, deleted: &DeletedTrajectory) {
        for number in 1..=i64::from(deleted.n_steps) {
            self.trajectory.append_value(deleted.ordinal as i64);
            self.step.append_value(number);
            self.is_final.append_null();
            self.tool.append_null();
            self.tools.append(false);
            self.n_calls.append_null();
            self.observation_error.append_null();
            self.chars.iter_mut().for_each(Int64Builder::append_null);
            self.tokens.iter_mut().for_each(Int64Builder::append_null);
            self.latency_ms.append_null();
            self.cost.append_null();
            self.finish_reason.append_null();
            self.state_is_prefix.append_null();
        }
    }

    fn push_step(&mut self, step: &Step) {
        let calls = &step.action.tool_calls;
        self.tool.append_option(calls.first().map(|c| c.name.as_str()));
        for call in calls {
            self.tools.values().append_value(&call.name);
        }
        self.tools.append(true);
        self.n_calls.append_value(calls.len() as i64);
        let errors = step.observation.iter().filter_map(call_error);
        self.observation_error.append_option(errors.reduce(|a, b| a || b));
        let tokens = [step.action_tokens, step.observation_tokens];
        for (builder, tokens) in self.tokens.iter_mut().zip(tokens) {
            builder.append_option(tokens);
        }
        self.latency_ms.append_option(step.latency_ms);
        self.cost.append_option(step.cost);
        self.finish_reason.append_option(step.finish_reason.as_deref());
        self.state_is_prefix.append_value(step.context.is_none());
    }

    /// Returns the rows in the order of [`stored_columns`].
    ///
    /// # Errors
    /// Arrow's message, should builders and columns ever differ.
    pub fn finish(mut self) -> Result<RecordBatch, CodecError> {
        let [action, observation, state] =
            self.chars.each_mut().map(|b| Arc::new(b.finish()) as ArrayRef);
        let [action_tokens, observation_tokens] =
            self.tokens.each_mut().map(|b| Arc::new(b.finish()) as ArrayRef);
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(self.trajectory.finish()),
            Arc::new(self.step.finish()),
            Arc::new(self.is_final.finish()),
            Arc::new(self.tool.finish()),
            Arc::new(self.tools.finish()),
            Arc::new(self.n_calls.finish()),
            Arc::new(self.observation_error.finish()),
            action,
            observation,
            state,
            action_tokens,
            observation_tokens,
            Arc::new(self.latency_ms.finish()),
            Arc::new(self.cost.finish()),
            Arc::new(self.finish_reason.finish()),
            Arc::new(self.state_is_prefix.finish()),
        ];
        finish(TableId::Steps, arrays)
    }
}
