//! Predicates joined by AND, a column at a time.
//!
//! ```text
//!   reward > 0.5 AND step <= 4 AND tool = 'search'      1 1 0 1  reward, as numbers
//!                                                     & 1 0 1 1  step
//!                                                     & 1 1 1 0  tool, by its codes
//!                                                     = 1 0 0 0
//! ```
//! A comparison of a column of numbers with a number is a loop over the column; what else cannot
//! fail is evaluated by itself. Where a part may fail, the whole is left as it is: a part before it
//! may keep it from rows that it fails on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::split_conjunction;

use super::columns::{Origin, TableColumn, schema_of};
use super::reading::{Predicate, batch, evaluate};
use super::text_predicates::{never_fails, only_used};

/// Parts of a predicate that must all be true.
#[derive(Debug, Clone)]
pub(super) struct Conjunction {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    /// A column of truth values.
    Holds(Origin),
    /// A column of numbers beside a number.
    Compared(Origin, Comparison),
    /// Anything, over these columns.
    Other(Predicate),
}

/// A comparison with a number. Two that are not numbers are equal and greater than all others, and
/// zeros of both signs are equal, as everywhere in the language.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Whole(Operator, i64),
    Real(Operator, f64),
}

impl Conjunction {
    /// Takes a predicate apart.
    ///
    /// # Errors
    /// DataFusion's, for expressions that are not what they are here.
    pub fn of((columns, predicate): Predicate) -> Result<Conjunction> {
        let parts = split_conjunction(&predicate);
        if !parts.iter().all(|part| never_fails(part)) {
            return Ok(Conjunction { parts: vec![Part::Other((columns, predicate))] });
        }
        let parts = parts.into_iter().map(|part| Part::of(&columns, part));
        Ok(Conjunction { parts: parts.collect::<Result<_>>()? })
    }

    /// Returns for which of `count` rows all parts are true; `array` gives a column of those rows.
    ///
    /// # Errors
    /// What reading a column, or a part that may fail, says.
    pub fn holds(
        &self,
        count: usize,
        array: impl Fn(Origin) -> Result<ArrayRef>,
    ) -> Result<BooleanBuffer> {
        let mut held: Option<BooleanBuffer> = None;
        for part in &self.parts {
            let found = part.holds(count, &array)?;
            let both = match held {
                Some(held) => &held & &found,
                None => found,
            };
            if both.count_set_bits() == 0 {
                return Ok(both);
            }
            held = Some(both);
        }
        Ok(held.unwrap_or_else(|| BooleanBuffer::new_set(count)))
    }
}

impl Part {
    fn of(columns: &[TableColumn], part: &Arc<dyn PhysicalExpr>) -> Result<Part> {
        let origin = |column: &Column| columns.get(column.index()).map(|column| column.origin);
        if let Some(column) = part.downcast_ref::<Column>()
            && let Some(origin) = origin(column)
        {
            return Ok(Part::Holds(origin));
        }
        if let Some(binary) = part.downcast_ref::<BinaryExpr>()
            && let (Some(column), Some(number)) =
                (binary.left().downcast_ref::<Column>(), binary.right().downcast_ref::<Literal>())
            && let (Some(origin), Some(comparison)) =
                (origin(column), Comparison::of(*binary.op(), number.value()))
        {
            // Both sides have one type: what compares others begins with a cast.
            return Ok(Part::Compared(origin, comparison));
        }
        let mut part = part.clone();
        let used = only_used(&mut [&mut part])?;
        Ok(Part::Other((used.into_iter().map(|at| columns[at].clone()).collect(), part)))
    }

    fn holds(
        &self,
        count: usize,
        array: &impl Fn(Origin) -> Result<ArrayRef>,
    ) -> Result<BooleanBuffer> {
        match self {
            Part::Holds(origin) => Ok(true_of(array(*origin)?.as_boolean())),
            Part::Compared(origin, comparison) => Ok(comparison.over(&array(*origin)?)),
            Part::Other((columns, predicate)) => {
                let arrays = columns.iter().map(|column| array(column.origin));
                let arrays = arrays.collect::<Result<Vec<_>>>()?;
                let found = evaluate(predicate, &batch(&schema_of(columns), arrays, count)?)?;
                Ok(true_of(&found))
            }
        }
    }
}

/// Returns where a column is true; null is not.
fn true_of(array: &BooleanArray) -> BooleanBuffer {
    match array.nulls() {
        Some(valid) => array.values() & valid.inner(),
        None => array.values().clone(),
    }
}

impl Comparison {
    fn of(operator: Operator, value: &ScalarValue) -> Option<Comparison> {
        use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        if ![Eq, NotEq, Lt, LtEq, Gt, GtEq].contains(&operator) {
            return None;
        }
        match value {
            ScalarValue::Int64(Some(value)) => Some(Comparison::Whole(operator, *value)),
            ScalarValue::Float64(Some(value)) if !value.is_nan() => {
                Some(Comparison::Real(operator, *value))
            }
            _ => None,
        }
    }

    /// Returns for which values of a column it is true; null is not.
    fn over(self, array: &ArrayRef) -> BooleanBuffer {
        use Operator::{Eq, Gt, GtEq, Lt, LtEq};
        let found = match self {
            Comparison::Whole(operator, than) => {
                let values = array.as_primitive::<Int64Type>().values();
                match operator {
                    Eq => bits(values, |value| value == than),
                    Lt => bits(values, |value| value < than),
                    LtEq => bits(values, |value| value <= than),
                    Gt => bits(values, |value| value > than),
                    GtEq => bits(values, |value| value >= than),
                    _ => bits(values, |value| value != than),
                }
            }
            Comparison::Real(operator, than) => {
                let values = array.as_primitive::<Float64Type>().values();
                match operator {
                    Eq => bits(values, |value| value == than),
                    Lt => bits(values, |value| value < than),
                    LtEq => bits(values, |value| value <= than),
                    // What is no number is greater than all.
                    Gt => bits(values, |value| value > than || value.is_nan()),
                    GtEq => bits(values, |value| value >= than || value.is_nan()),
                    _ => bits(values, |value| value != than),
                }
            }
        };
        match array.nulls() {
            Some(valid) => &found & valid.inner(),
            None => found,
        }
    }
}

/// Returns a bit for each value.
pub(super) fn bits<T: Copy>(values: &[T], holds: impl Fn(T) -> bool) -> BooleanBuffer {
    // Bytes first: a loop over them is one of few instructions for many values.
    let word = |values: &[T]| {
        let mut lanes = [0u8; u64::BITS as usize];
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane = u8::from(holds(*value));
        }
        packed(&lanes)
    };
    let words: Vec<u64> = values.chunks(u64::BITS as usize).map(word).collect();
    BooleanBuffer::new(Buffer::from_vec(words), 0, values.len())
}

/// Returns bytes of 0 and 1 as bits, the first the lowest.
fn packed(lanes: &[u8; 64]) -> u64 {
    // The product's highest byte is the sum of byte i times 2^i: a one of each byte meets the place
    // of its number there, and what lies below never carries into it.
    const PLACES: u64 = 0x0102_0408_1020_4080;
    let (eights, _) = lanes.as_chunks::<8>();
    eights
        .iter()
        .rev()
        .fold(0, |word, eight| word << 8 | u64::from_le_bytes(*eight).wrapping_mul(PLACES) >> 56)
}
