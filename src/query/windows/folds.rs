//! Aggregates over frames that start where their partition does: each group of rows that share a
//! frame adds to what the groups before it left.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, NullBufferBuilder,
    PrimitiveArray, UInt64Array, downcast_primitive_array,
};
use arrow::compute::{sum, take};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, UInt64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::frames::Frames;

/// How an aggregate is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// Rows where the argument is not null.
    Count,
    /// A sum of integers, which wraps.
    Sum,
    /// A sum of floats.
    FloatSum,
    /// A mean of floats.
    Mean,
    /// The least value.
    Least,
    /// The greatest value.
    Greatest,
    /// By the function's own accumulator, one for each partition.
    Accumulated,
}

impl Fold {
    /// Returns how `aggregate` is computed over rows of `schema`.
    pub fn of(aggregate: &AggregateFunctionExpr, schema: &Schema) -> Fold {
        let arguments = aggregate.expressions();
        let kind = match arguments.as_slice() {
            [argument] if !aggregate.is_distinct() && aggregate.order_bys().is_empty() => {
                argument.data_type(schema)
            }
            _ => return Fold::Accumulated,
        };
        let (Ok(kind), field) = (kind, aggregate.field()) else { return Fold::Accumulated };
        match (aggregate.fun().name(), &kind, field.data_type()) {
            ("count", kind, DataType::Int64) if has_own_nulls(kind) => Fold::Count,
            ("sum", DataType::Int64, DataType::Int64) => Fold::Sum,
            ("sum", DataType::UInt64, DataType::UInt64) => Fold::Sum,
            ("sum", DataType::Float64, DataType::Float64) => Fold::FloatSum,
            ("avg", DataType::Float64, DataType::Float64) => Fold::Mean,
            ("min", kind, given) if kind == given && is_ordered(kind) => Fold::Least,
            ("max", kind, given) if kind == given && is_ordered(kind) => Fold::Greatest,
            _ => Fold::Accumulated,
        }
    }
}

/// Whether the nulls of an array are in the array itself and not behind codes.
fn has_own_nulls(kind: &DataType) -> bool {
    use DataType::{Dictionary, Null, RunEndEncoded, Union};
    !matches!(kind, Dictionary(..) | RunEndEncoded(..) | Union(..) | Null)
}

/// Whether the values are numbers in the order of `ArrowNativeTypeOp`; intervals have none.
fn is_ordered(kind: &DataType) -> bool {
    kind.is_primitive() && !matches!(kind, DataType::Interval(_))
}

/// Returns the aggregate of each row's frame.
///
/// # Errors
/// What the function's own accumulator says.
pub(super) fn fold(
    how: Fold,
    aggregate: &AggregateFunctionExpr,
    arguments: &[ArrayRef],
    frames: &Frames<'_>,
) -> Result<ArrayRef> {
    let values = match arguments {
        [values] => values,
        _ => return accumulated(aggregate, arguments, frames),
    };
    Ok(match (how, values.data_type()) {
        (Fold::Count, _) => counts(values, frames),
        (Fold::Sum, DataType::Int64) => sums::<Int64Type>(values, frames),
        (Fold::Sum, DataType::UInt64) => sums::<UInt64Type>(values, frames),
        (Fold::FloatSum, DataType::Float64) => float_sums(values, frames),
        (Fold::Mean, DataType::Float64) => means(values, frames),
        (Fold::Least, _) => extremes(values, true, frames)?,
        (Fold::Greatest, _) => extremes(values, false, frames)?,
        _ => accumulated(aggregate, arguments, frames)?,
    })
}

/// Returns `result` of the state of each row's frame: `first` at the start of a partition, then
/// what `add` makes of it with the rows of each group.
#[inline]
fn running<S: Copy, T: ArrowPrimitiveType>(
    frames: &Frames<'_>,
    first: S,
    add: impl Fn(S, Range<usize>) -> S,
    result: impl Fn(S) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    let mut values = Vec::with_capacity(frames.rows());
    let mut valid = NullBufferBuilder::new(frames.rows());
    let mut state = first;
    frames.visit(|start, group| {
        let count = group.len();
        let before = if group.start == start { first } else { state };
        state = add(before, group);
        let found = result(state);
        match found {
            Some(_) => valid.append_n_non_nulls(count),
            None => valid.append_n_nulls(count),
        }
        values.extend(std::iter::repeat_n(found.unwrap_or_default(), count));
    });
    PrimitiveArray::new(values.into(), valid.finish())
}

fn counts(values: &ArrayRef, frames: &Frames<'_>) -> ArrayRef {
    let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0);
    let add = |count: i64, group: Range<usize>| match nulls {
        None => count + group.len() as i64,
        Some(nulls) => count + group.map(|row| i64::from(nulls.is_valid(row))).sum::<i64>(),
    };
    Arc::new(running::<i64, Int64Type>(frames, 0, add, Some))
}

/// Returns the values of a group that are not null.
#[inline]
fn present<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    group: Range<usize>,
) -> impl Iterator<Item = T::Native> {
    let valid = move |row: &usize| values.nulls().is_none_or(|nulls| nulls.is_valid(*row));
    group.filter(valid).map(|row| values.values()[row])
}

fn sums<T: ArrowPrimitiveType>(values: &ArrayRef, frames: &Frames<'_>) -> ArrayRef {
    let values = values.as_primitive::<T>();
    let add = |state: Option<T::Native>, group: Range<usize>| {
        let plus = |sum: Option<T::Native>, value: T::Native| {
            Some(sum.map_or(value, |sum| sum.add_wrapping(value)))
        };
        present(values, group).fold(state, plus)
    };
    Arc::new(running::<_, T>(frames, None, add, |state| state))
}

/// Returns the sum of the floats of a group and how many there are. Several are added by the
/// kernel, whose order of additions is not that of the rows.
#[inline]
fn float_sum(values: &PrimitiveArray<Float64Type>, group: Range<usize>) -> (Option<f64>, u64) {
    if group.len() == 1 {
        let value = present(values, group).next();
        return (value, u64::from(value.is_some()));
    }
    let values = values.slice(group.start, group.len());
    (sum(&values), (values.len() - values.null_count()) as u64)
}

fn float_sums(values: &ArrayRef, frames: &Frames<'_>) -> ArrayRef {
    let values = values.as_primitive::<Float64Type>();
    let add = |state: Option<f64>, group: Range<usize>| match float_sum(values, group).0 {
        Some(value) => Some(state.unwrap_or(0.0) + value),
        None => state,
    };
    Arc::new(running::<_, Float64Type>(frames, None, add, |state| state))
}

fn means(values: &ArrayRef, frames: &Frames<'_>) -> ArrayRef {
    let values = values.as_primitive::<Float64Type>();
    let add = |(total, count): (f64, u64), group: Range<usize>| {
        let (value, more) = float_sum(values, group);
        (value.map_or(total, |value| total + value), count + more)
    };
    let mean = |(total, count): (f64, u64)| (count > 0).then(|| total / count as f64);
    Arc::new(running::<_, Float64Type>(frames, (0.0, 0), add, mean))
}

fn extremes(values: &ArrayRef, least: bool, frames: &Frames<'_>) -> Result<ArrayRef> {
    downcast_primitive_array!(
        values => Ok(extremes_of(values, least, frames)),
        kind => internal_err!("the extremes of {kind}")
    )
}

fn extremes_of<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    least: bool,
    frames: &Frames<'_>,
) -> ArrayRef {
    let choose = |one: T::Native, other: T::Native| {
        let other_wins = if least { other.is_lt(one) } else { other.is_gt(one) };
        if other_wins { other } else { one }
    };
    let add = |state: Option<T::Native>, group: Range<usize>| {
        let chosen = |state: Option<T::Native>, value| {
            Some(state.map_or(value, |state| choose(state, value)))
        };
        present(values, group).fold(state, chosen)
    };
    let found = running::<_, T>(frames, None, add, |state| state);
    Arc::new(found.with_data_type(values.data_type().clone()))
}

fn accumulated(
    aggregate: &AggregateFunctionExpr,
    arguments: &[ArrayRef],
    frames: &Frames<'_>,
) -> Result<ArrayRef> {
    let mut accumulator = aggregate.create_accumulator()?;
    let mut results: Vec<ScalarValue> = Vec::new();
    let mut add = |start: usize, group: Range<usize>| -> Result<()> {
        if group.start == start && start > 0 {
            accumulator = aggregate.create_accumulator()?;
        }
        let rows = |values: &ArrayRef| values.slice(group.start, group.len());
        accumulator.update_batch(&arguments.iter().map(rows).collect::<Vec<_>>())?;
        results.push(accumulator.evaluate()?);
        Ok(())
    };
    let mut outcome: Result<()> = Ok(());
    frames.visit(|start, group| {
        if outcome.is_ok() {
            outcome = add(start, group);
        }
    });
    outcome?;
    let results = ScalarValue::iter_to_array(results)?;
    match frames.group_of_rows() {
        None => Ok(results),
        Some(groups) => Ok(take(&results, &UInt64Array::from(groups), None)?),
    }
}
