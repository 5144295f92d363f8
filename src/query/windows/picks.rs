//! Window functions whose value is that of another row, or a number of the row.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, NullBufferBuilder, UInt64Array};
use arrow::compute::{interleave, take};
use datafusion::common::{Result, ScalarValue};

use super::frames::Frames;

/// A row of a frame, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// From the first row on.
    FromStart(usize),
    /// From the last row back.
    FromEnd(usize),
}

/// Rows to take values from, or none.
struct Picks {
    rows: Vec<u64>,
    valid: NullBufferBuilder,
}

impl Picks {
    fn new(capacity: usize) -> Picks {
        Picks { rows: Vec::with_capacity(capacity), valid: NullBufferBuilder::new(capacity) }
    }

    /// Adds neighbouring rows.
    fn rows(&mut self, rows: Range<usize>) {
        self.valid.append_n_non_nulls(rows.len());
        self.rows.extend(rows.start as u64..rows.end as u64);
    }

    /// Adds one row, `count` times.
    fn row(&mut self, row: usize, count: usize) {
        self.valid.append_n_non_nulls(count);
        self.rows.extend(std::iter::repeat_n(row as u64, count));
    }

    /// Adds that there is no row, `count` times.
    fn none(&mut self, count: usize) {
        self.valid.append_n_nulls(count);
        self.rows.extend(std::iter::repeat_n(0, count));
    }

    /// Returns the values of the rows, and `default` where there is none.
    fn take(mut self, values: &ArrayRef, default: &ScalarValue) -> Result<ArrayRef> {
        let valid = self.valid.finish();
        match valid {
            Some(valid) if !default.is_null() => {
                let default = default.to_array_of_size(1)?;
                let place = |(row, valid): (u64, bool)| match valid {
                    true => (0, row as usize),
                    false => (1, 0),
                };
                let places: Vec<_> = self.rows.into_iter().zip(&valid).map(place).collect();
                Ok(interleave(&[values.as_ref(), default.as_ref()], &places)?)
            }
            valid => Ok(take(values, &UInt64Array::new(self.rows.into(), valid), None)?),
        }
    }
}

/// Returns the values of the rows `by` before each, behind it where `by` is negative, and
/// `default` where the partition has no such row.
pub(super) fn shifted(
    values: &ArrayRef,
    by: i64,
    default: &ScalarValue,
    frames: &Frames<'_>,
) -> Result<ArrayRef> {
    if by == 0 {
        return Ok(values.clone());
    }
    let distance = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX);
    let mut picks = Picks::new(frames.rows());
    for pair in frames.starts().windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let missing = distance.min(end - start);
        if by > 0 {
            picks.none(missing);
            picks.rows(start..end - missing);
        } else {
            picks.rows(start + missing..end);
            picks.none(missing);
        }
    }
    picks.take(values, default)
}

/// Returns the value at a place of each row's frame, null where the frame has no such row.
pub(super) fn nth(values: &ArrayRef, place: Place, frames: &Frames<'_>) -> Result<ArrayRef> {
    let mut picks = Picks::new(frames.rows());
    frames.visit(|start, group| {
        let row = match place {
            Place::FromStart(at) => start.checked_add(at).filter(|row| *row < group.end),
            Place::FromEnd(at) => (group.end - 1).checked_sub(at).filter(|row| *row >= start),
        };
        match row {
            Some(row) => picks.row(row, group.len()),
            None => picks.none(group.len()),
        }
    });
    let null = ScalarValue::try_new_null(values.data_type())?;
    picks.take(values, &null)
}

/// Returns the number of each row in its partition, from 1.
pub(super) fn row_numbers(frames: &Frames<'_>) -> ArrayRef {
    let mut numbers = Vec::with_capacity(frames.rows());
    for pair in frames.starts().windows(2) {
        numbers.extend(1..=(pair[1] - pair[0]) as u64);
    }
    Arc::new(UInt64Array::from(numbers))
}

/// Returns for each row the number of the first that is equal to it in the order.
pub(super) fn ranks(frames: &Frames<'_>) -> ArrayRef {
    let mut ranks = Vec::with_capacity(frames.rows());
    frames.visit(|start, group| {
        let rank = (group.start - start) as u64 + 1;
        ranks.extend(std::iter::repeat_n(rank, group.len()));
    });
    Arc::new(UInt64Array::from(ranks))
}

/// Returns for each row how many different rows there are up to it in the order.
pub(super) fn dense_ranks(frames: &Frames<'_>) -> ArrayRef {
    let (mut ranks, mut rank) = (Vec::with_capacity(frames.rows()), 0);
    frames.visit(|start, group| {
        rank = if group.start == start { 1 } else { rank + 1 };
        ranks.extend(std::iter::repeat_n(rank, group.len()));
    });
    Arc::new(UInt64Array::from(ranks))
}
