//! The aggregates that are asked for most, counted straight from the groups of codes.
//!
//! Their states are those of DataFusion's own accumulators, whose second step puts them together.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, UInt64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};

/// An aggregate over all groups.
pub(super) enum Tally {
    /// `count(*)`: the rows of each group.
    Rows(Vec<i64>),
    /// `avg` of a column of floating-point numbers.
    Mean {
        /// The column's place.
        column: usize,
        /// The sum of each group's values.
        sums: Vec<f64>,
        /// How many they are.
        counts: Vec<u64>,
    },
}

impl Tally {
    /// Returns what counts an aggregate; `None` where DataFusion's accumulator has to.
    pub fn of(aggregate: &AggregateFunctionExpr) -> Option<Tally> {
        if aggregate.is_distinct() {
            return None;
        }
        let arguments = aggregate.expressions();
        let [argument] = arguments.as_slice() else { return None };
        match aggregate.fun().name() {
            "count" => {
                let literal = argument.downcast_ref::<Literal>()?;
                (!literal.value().is_null()).then(|| Tally::Rows(Vec::new()))
            }
            "avg" if *aggregate.field().data_type() == DataType::Float64 => {
                let column = argument.downcast_ref::<Column>()?.index();
                Some(Tally::Mean { column, sums: Vec::new(), counts: Vec::new() })
            }
            _ => None,
        }
    }

    /// Adds rows, each to its group of `groups`; `of_row` gives the group of each.
    pub fn add(&mut self, batch: &RecordBatch, of_row: &[u32], groups: usize) {
        match self {
            Tally::Rows(counts) => {
                counts.resize(groups, 0);
                of_row.iter().for_each(|group| counts[*group as usize] += 1);
            }
            Tally::Mean { column, sums, counts } => {
                sums.resize(groups, 0.0);
                counts.resize(groups, 0);
                let values = batch.column(*column).as_primitive::<Float64Type>();
                let rows = of_row.iter().zip(values.values());
                let mut add = |(group, value): (&u32, &f64)| {
                    sums[*group as usize] += value;
                    counts[*group as usize] += 1;
                };
                match values.nulls() {
                    None => rows.for_each(add),
                    Some(valid) => {
                        rows.zip(valid).filter(|(_, v)| *v).for_each(|(row, _)| add(row))
                    }
                }
            }
        }
    }

    /// Returns the state of every group, and forgets it.
    pub fn state(&mut self) -> Vec<ArrayRef> {
        match self {
            Tally::Rows(counts) => vec![Arc::new(Int64Array::from(std::mem::take(counts)))],
            Tally::Mean { sums, counts, .. } => {
                let (sums, counts) = (std::mem::take(sums), std::mem::take(counts));
                let valid: NullBuffer = counts.iter().map(|count| *count > 0).collect();
                let valid = (valid.null_count() > 0).then_some(valid);
                vec![
                    Arc::new(UInt64Array::new(counts.into(), valid.clone())),
                    Arc::new(Float64Array::new(sums.into(), valid)),
                ]
            }
        }
    }
}
