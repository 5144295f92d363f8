//! Columns: Arrow arrays as Arrow IPC streams, and what is known of a chunk without reading it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::{reader::StreamReader, writer::StreamWriter};
use bincode::{Decode, Encode};

use super::CodecError;

/// Texts longer than this give no minimum and maximum.
const STATS_TEXT_BYTES_MAX: usize = 64;

/// A value of a column, for statistics.
#[derive(Clone, Debug, PartialEq, PartialOrd, Encode, Decode)]
pub enum Scalar {
    /// Of a Boolean column.
    Boolean(bool),
    /// Of an Integer or Timestamp column.
    Integer(i64),
    /// Of a Float column; never NaN.
    Float(f64),
    /// Of a Text column.
    Text(String),
}

/// What is known of a chunk's values.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct ChunkStats {
    /// The number of rows.
    pub rows: u32,
    /// The number of nulls.
    pub nulls: u32,
    /// The smallest value; `None` where there is none or it is not known.
    pub min: Option<Scalar>,
    /// The largest value.
    pub max: Option<Scalar>,
}

impl ChunkStats {
    /// Returns what is known of `array`.
    pub fn of(array: &dyn Array) -> ChunkStats {
        let (min, max) = match array.data_type() {
            DataType::Boolean => bounds(downcast::<BooleanArray>(array), Scalar::Boolean),
            DataType::Int64 => bounds(downcast::<Int64Array>(array), Scalar::Integer),
            DataType::Timestamp(_, _) => {
                bounds(downcast::<TimestampMicrosecondArray>(array), Scalar::Integer)
            }
            DataType::Float64 => float_bounds(array),
            DataType::Utf8View => text_bounds(array),
            _ => (None, None),
        };
        ChunkStats { rows: array.len() as u32, nulls: array.null_count() as u32, min, max }
    }
}

fn downcast<A: 'static>(array: &dyn Array) -> Option<&A> {
    array.as_any().downcast_ref::<A>()
}

fn bounds<A, T: PartialOrd + Copy>(
    array: Option<A>,
    scalar: fn(T) -> Scalar,
) -> (Option<Scalar>, Option<Scalar>)
where
    A: IntoIterator<Item = Option<T>>,
{
    let Some(array) = array else { return (None, None) };
    let mut range: Option<(T, T)> = None;
    for value in array.into_iter().flatten() {
        range = Some(match range {
            None => (value, value),
            Some((low, high)) => {
                (if value < low { value } else { low }, if value > high { value } else { high })
            }
        });
    }
    (range.map(|r| scalar(r.0)), range.map(|r| scalar(r.1)))
}

/// NaN sorts above all in SQL and below none in Rust: a chunk that holds one has no bounds.
fn float_bounds(array: &dyn Array) -> (Option<Scalar>, Option<Scalar>) {
    let floats = downcast::<Float64Array>(array);
    let has_nan = floats.is_some_and(|f| f.iter().flatten().any(f64::is_nan));
    if has_nan { (None, None) } else { bounds(floats, Scalar::Float) }
}

fn text_bounds(array: &dyn Array) -> (Option<Scalar>, Option<Scalar>) {
    let Some(texts) = downcast::<StringViewArray>(array) else { return (None, None) };
    let short = |t: &str| (t.len() <= STATS_TEXT_BYTES_MAX).then(|| Scalar::Text(t.to_owned()));
    let min = texts.iter().flatten().min().and_then(short);
    let max = texts.iter().flatten().max().and_then(short);
    (min, max)
}

/// Returns the bytes of a batch: an Arrow IPC stream.
///
/// # Errors
/// Arrow's message, for types IPC cannot carry.
pub fn encode_batch(batch: &RecordBatch) -> Result<Vec<u8>, CodecError> {
    let failed = |e: arrow::error::ArrowError| CodecError::damaged("batch", e.to_string());
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).map_err(failed)?;
    writer.write(batch).map_err(failed)?;
    writer.into_inner().map_err(failed)
}

/// Returns the batch that `bytes` hold.
///
/// # Errors
/// [`CodecError::Damaged`] for anything but one batch.
pub fn decode_batch(bytes: &[u8]) -> Result<RecordBatch, CodecError> {
    let failed = |e: arrow::error::ArrowError| CodecError::damaged("batch", e.to_string());
    let mut reader = StreamReader::try_new(std::io::Cursor::new(bytes), None).map_err(failed)?;
    let batch = reader.next().ok_or_else(|| CodecError::damaged("batch", "no rows"))?;
    batch.map_err(failed)
}

/// Returns the bytes of one chunk of a column.
///
/// # Errors
/// As [`encode_batch`].
pub fn encode_column(array: &ArrayRef) -> Result<Vec<u8>, CodecError> {
    let field = Field::new("c", array.data_type().clone(), true);
    let own = compact(array);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![own])
        .map_err(|e| CodecError::damaged("column", e.to_string()))?;
    encode_batch(&batch)
}

/// Returns the array without the texts that only rows outside of it use.
fn compact(array: &ArrayRef) -> ArrayRef {
    if let Some(texts) = downcast::<StringViewArray>(array) {
        return Arc::new(texts.gc());
    }
    let Some(lists) = downcast::<ListArray>(array) else { return array.clone() };
    let (from, to) =
        (lists.value_offsets()[0] as usize, lists.value_offsets()[lists.len()] as usize);
    let values = compact(&lists.values().slice(from, to - from));
    let lengths = OffsetBuffer::from_lengths(lists.offsets().lengths());
    let DataType::List(field) = lists.data_type() else { return array.clone() };
    Arc::new(ListArray::new(field.clone(), lengths, values, lists.nulls().cloned()))
}

/// Returns the chunk of a column that `bytes` hold.
///
/// # Errors
/// [`CodecError::Damaged`] for anything but one column of type `expected` and `rows` rows.
pub fn decode_column(bytes: &[u8], expected: &DataType, rows: u64) -> Result<ArrayRef, CodecError> {
    let batch = decode_batch(bytes)?;
    let found = (batch.num_columns(), batch.num_rows() as u64);
    if found != (1, rows) {
        let why = format!("{} columns of {} rows, expected 1 of {rows}", found.0, found.1);
        return Err(CodecError::damaged("column", why));
    }
    let array = batch.column(0).clone();
    if array.data_type() != expected {
        let why = format!("type {}, expected {expected}", array.data_type());
        return Err(CodecError::damaged("column", why));
    }
    Ok(array)
}
