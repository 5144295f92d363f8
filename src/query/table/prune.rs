//! Skipping segments by what is known of their values.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use super::columns::{Origin, TableColumn, data_type, schema_of};
use crate::codec::{ChunkStats, ColumnType, Scalar};
use crate::store::{Segment, View};

/// Returns whether each segment can hold a row that `predicate` keeps.
pub(super) fn kept(
    view: &View,
    columns: &[TableColumn],
    segments: &[Segment],
    predicate: &Arc<dyn PhysicalExpr>,
) -> Result<Vec<bool>> {
    let builder = PruningPredicateBuilder::new().with_file_schema(schema_of(columns));
    let pruning = builder.try_build(predicate.clone())?;
    pruning.prune(&Known { view, columns, segments })
}

struct Known<'a> {
    view: &'a View,
    columns: &'a [TableColumn],
    segments: &'a [Segment],
}

impl Known<'_> {
    fn column(&self, column: &Column) -> Option<&TableColumn> {
        self.columns.iter().find(|c| c.name == column.name)
    }

    fn stats(&self, column: &TableColumn) -> Vec<Option<&ChunkStats>> {
        let Origin::Own(reference) = column.origin else {
            return vec![None; self.segments.len()];
        };
        self.segments.iter().map(|s| self.view.stats(s, reference)).collect()
    }

    fn bounds(
        &self,
        column: &Column,
        pick: impl Fn(&ChunkStats) -> Option<Scalar>,
    ) -> Option<ArrayRef> {
        let column = self.column(column)?;
        let null = ScalarValue::try_from(data_type(column)).ok()?;
        let value = |known: Option<&ChunkStats>| {
            known.and_then(&pick).and_then(|s| scalar(column.kind, s)).unwrap_or(null.clone())
        };
        ScalarValue::iter_to_array(self.stats(column).into_iter().map(value)).ok()
    }
}

fn scalar(kind: ColumnType, value: Scalar) -> Option<ScalarValue> {
    Some(match (kind, value) {
        (ColumnType::Boolean, Scalar::Boolean(v)) => ScalarValue::Boolean(Some(v)),
        (ColumnType::Integer, Scalar::Integer(v)) => ScalarValue::Int64(Some(v)),
        (ColumnType::Timestamp, Scalar::Integer(v)) => {
            ScalarValue::TimestampMicrosecond(Some(v), None)
        }
        (ColumnType::Float, Scalar::Float(v)) => ScalarValue::Float64(Some(v)),
        (ColumnType::Text, Scalar::Text(v)) => ScalarValue::Utf8View(Some(v)),
        _ => return None,
    })
}

impl PruningStatistics for Known<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |s| s.min.clone())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |s| s.max.clone())
    }

    fn num_containers(&self) -> usize {
        self.segments.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let column = self.column(column)?;
        let stats = self.stats(column);
        let counts = stats.into_iter().map(|s| s.map(|s| u64::from(s.nulls)));
        Some(Arc::new(UInt64Array::from_iter(counts)))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.segments.iter().map(|s| s.rows);
        Some(Arc::new(UInt64Array::from_iter_values(rows)))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
