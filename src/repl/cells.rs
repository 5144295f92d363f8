//! Values as text and as JSON.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Number, Value};

/// A failure to print a value.
pub type CellError = arrow::error::ArrowError;

/// Returns every value of a column as text, null as `None`.
pub fn texts(array: &ArrayRef) -> Result<Vec<Option<String>>, CellError> {
    let options = FormatOptions::default();
    let plain = ArrayFormatter::try_new(array.as_ref(), &options)?;
    (0..array.len())
        .map(|row| {
            if array.is_null(row) {
                return Ok(None);
            }
            Ok(Some(match array.data_type() {
                DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
                DataType::List(_) => json(array, row)?.to_string(),
                _ => plain.value(row).try_to_string()?,
            }))
        })
        .collect()
}

/// Returns a number as short as it reads: at most six digits behind the point, without zeros at
/// the end; very large and very small ones in powers of ten.
fn float(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    if !(1e-4..1e15).contains(&value.abs()) {
        return format!("{value:e}");
    }
    let fixed = format!("{value:.6}");
    fixed.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns one value as JSON, whole: numbers keep every digit, NaN and infinity become null.
pub fn json(array: &ArrayRef, row: usize) -> Result<Value, CellError> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let options = FormatOptions::default();
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Float64 | DataType::Float32 | DataType::Float16 => {
            let wide = arrow::compute::cast(&array.slice(row, 1), &DataType::Float64)?;
            let value = wide.as_primitive::<Float64Type>().value(0);
            Number::from_f64(value).map_or(Value::Null, Value::Number)
        }
        kind if kind.is_integer() => {
            let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
            let text = formatter.value(row).try_to_string()?;
            let signed = text.parse::<i64>().map(Value::from);
            signed.or_else(|_| text.parse::<u64>().map(Value::from)).unwrap_or(Value::String(text))
        }
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            let items: Result<Vec<Value>, CellError> =
                (0..values.len()).map(|item| json(&values, item)).collect();
            Value::Array(items?)
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            let mut object = serde_json::Map::new();
            for (field, column) in fields.iter().zip(columns.columns()) {
                object.insert(field.name().clone(), json(column, row)?);
            }
            Value::Object(object)
        }
        _ => {
            let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
            Value::String(formatter.value(row).try_to_string()?)
        }
    })
}

/// Returns whether values of a type stand at the right of their column.
pub fn is_number(kind: &DataType) -> bool {
    kind.is_numeric()
}
