//! `arguments -> 'key'` and `json_get(...)` as they are shown: JSON as text.
//!
//! Inside a statement they give a union of JSON's types, so that other functions can go on with
//! it. What leaves a statement is text, and null where there is nothing.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringViewBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use datafusion_functions_json::{JSON_UNION_DATA_TYPE, JsonUnionEncoder, JsonUnionValue};

/// Returns a schema with text in place of JSON's union.
pub(super) fn shown_schema(schema: &Schema) -> Schema {
    let shown = |field: &Arc<Field>| match is_union(field.data_type()) {
        true => Arc::new(Field::new(field.name(), DataType::Utf8View, true)),
        false => field.clone(),
    };
    Schema::new(schema.fields().iter().map(shown).collect::<Vec<_>>())
}

/// Returns a batch with text in place of JSON's union.
///
/// # Errors
/// None that the batch's own schema does not rule out.
pub(super) fn shown(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    if !batch.schema().fields().iter().any(|field| is_union(field.data_type())) {
        return Ok(batch);
    }
    let schema = Arc::new(shown_schema(&batch.schema()));
    let columns = batch.columns().iter().map(text).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

fn is_union(kind: &DataType) -> bool {
    *kind == *JSON_UNION_DATA_TYPE
}

fn text(column: &ArrayRef) -> ArrayRef {
    let union = is_union(column.data_type()).then(|| column.as_union().clone());
    let Some(values) = union.and_then(JsonUnionEncoder::from_union) else { return column.clone() };
    let mut texts = StringViewBuilder::with_capacity(values.len());
    for at in 0..values.len() {
        match values.get_value(at) {
            JsonUnionValue::JsonNull => texts.append_null(),
            JsonUnionValue::Bool(value) => texts.append_value(value.to_string()),
            JsonUnionValue::Int(value) => texts.append_value(value.to_string()),
            JsonUnionValue::Float(value) => {
                texts.append_value(serde_json::Value::from(value).to_string());
            }
            JsonUnionValue::Str(value) => {
                texts.append_value(serde_json::Value::from(value).to_string());
            }
            JsonUnionValue::Array(value) | JsonUnionValue::Object(value) => {
                texts.append_value(value);
            }
        }
    }
    Arc::new(texts.finish())
}
