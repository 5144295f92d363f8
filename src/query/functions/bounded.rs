//! Functions whose result can be far larger than their arguments, held to a size.
//!
//! Batches are small and operators count their memory, so a statement stays within its limit; a few
//! functions make gigabytes of one row before anyone counts.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

/// The most that a function may make of the rows of one batch, in bytes.
const BYTES_MAX: u128 = 256 << 20;

const DAY_NANOSECONDS: i128 = 86_400_000_000_000;

/// How the size of a result follows from arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Growth {
    /// The first argument so many times as the second says.
    Repeated,
    /// So many characters, or elements of a list, as the second says.
    Filled,
    /// From the first to the second in steps of the third, or from 0 to the only one.
    Counted,
}

const BOUNDED: [(&str, Growth); 7] = [
    ("repeat", Growth::Repeated),
    ("array_repeat", Growth::Repeated),
    ("lpad", Growth::Filled),
    ("rpad", Growth::Filled),
    ("array_resize", Growth::Filled),
    ("range", Growth::Counted),
    ("generate_series", Growth::Counted),
];

/// Returns those of `known` that need a bound, with it, under their own names.
pub(in crate::query) fn bounded(known: impl Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    let bound = |(name, growth): (&str, Growth)| {
        let function = known(name)?;
        Some(ScalarUDF::from(Bounded { function: function.as_ref().clone(), growth }))
    };
    BOUNDED.into_iter().filter_map(bound).collect()
}

/// A function that refuses to make too much.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    function: ScalarUDF,
    growth: Growth,
}

impl Bounded {
    /// Returns the bytes that the result has at most, about; 0 where arguments are of other types
    /// than the function takes, which it says itself.
    fn result_bytes(&self, arguments: &[ArrayRef]) -> Result<u128> {
        let whole = |at: usize| -> Result<Option<Int64Array>> {
            let Some(array) = arguments.get(at) else { return Ok(None) };
            Ok(cast(array, &DataType::Int64).ok().map(|a| a.as_primitive::<Int64Type>().clone()))
        };
        let count = |counts: &Int64Array, row: usize| {
            if counts.is_null(row) {
                0
            } else {
                u128::from(counts.value(row).max(0).cast_unsigned())
            }
        };
        let Some(first) = arguments.first() else { return Ok(0) };
        let rows = first.len();
        match self.growth {
            Growth::Repeated => {
                let Some(counts) = whole(1)? else { return Ok(0) };
                let bytes =
                    (0..rows).map(|row| (element_bytes(first, row) + 8) * count(&counts, row));
                Ok(bytes.sum())
            }
            Growth::Filled => {
                let Some(counts) = whole(1)? else { return Ok(0) };
                Ok((0..rows).map(|row| 8 * count(&counts, row)).sum())
            }
            Growth::Counted => {
                if let (1, Some(ends)) = (arguments.len(), whole(0)?) {
                    return Ok((0..rows).map(|row| 8 * count(&ends, row)).sum());
                }
                let (Some(starts), Some(ends)) = (whole(0)?, whole(1)?) else { return Ok(0) };
                let unit = unit_nanoseconds(first.data_type());
                let step = |row: usize| match arguments.get(2) {
                    Some(steps) => step_size(steps, row),
                    None => 1,
                };
                let elements = (0..rows).filter(|row| !starts.is_null(*row) && !ends.is_null(*row));
                let elements = elements.map(|row| {
                    let span = i128::from(ends.value(row)) - i128::from(starts.value(row));
                    span.unsigned_abs() * unit / step(row).max(1)
                });
                Ok(elements.map(|elements| 8 * elements).sum())
            }
        }
    }
}

/// Returns the bytes of one element of an array, about.
fn element_bytes(array: &ArrayRef, row: usize) -> u128 {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_length(row) as u128,
        DataType::LargeUtf8 => array.as_string::<i64>().value_length(row) as u128,
        DataType::Utf8View => array.as_string_view().value(row).len() as u128,
        kind if kind.is_nested() => array.slice(row, 1).get_array_memory_size() as u128,
        _ => 8,
    }
}

/// Returns the nanoseconds of what a column of times counts; 1 for numbers.
fn unit_nanoseconds(kind: &DataType) -> u128 {
    use arrow::datatypes::TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    match kind {
        DataType::Date32 => DAY_NANOSECONDS.unsigned_abs(),
        DataType::Date64 | DataType::Timestamp(Millisecond, _) => 1_000_000,
        DataType::Timestamp(Second, _) => 1_000_000_000,
        DataType::Timestamp(Microsecond, _) => 1_000,
        DataType::Timestamp(Nanosecond, _) => 1,
        _ => 1,
    }
}

/// Returns the size of a step, in nanoseconds where it is an interval.
fn step_size(steps: &ArrayRef, row: usize) -> u128 {
    if steps.is_null(row) {
        return 1;
    }
    if let DataType::Interval(IntervalUnit::MonthDayNano) = steps.data_type() {
        let step = steps.as_primitive::<IntervalMonthDayNanoType>().value(row);
        let days = i128::from(step.months) * 28 + i128::from(step.days);
        return (days * DAY_NANOSECONDS + i128::from(step.nanoseconds)).unsigned_abs();
    }
    let whole = cast(steps, &DataType::Int64).ok();
    whole.map_or(1, |a| u128::from(a.as_primitive::<Int64Type>().value(row).unsigned_abs()))
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.function.return_type(types)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.function.return_field_from_args(arguments)
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        about: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        self.function.simplify(arguments, about)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = self.result_bytes(&ColumnarValue::values_to_arrays(&arguments.args)?)?;
        // Without a column there is one value, for however many rows.
        if bytes > BYTES_MAX {
            return exec_err!(
                "{} would make about {} MiB of these rows; expected at most {} MiB",
                self.name(),
                bytes >> 20,
                BYTES_MAX >> 20
            );
        }
        self.function.invoke_with_args(arguments)
    }
}
