//! Predicates over one text column, asked of its texts and not of its rows.
//!
//! ```text
//!   tool = 'search'         texts of the chunk    asked once each     rows by their codes
//!                           0 search              true                0 1 0 0  ──►  t f t t
//!                           1 answer              false
//! ```
//! Where the texts of a chunk are few, the scan keeps them as codes, and a row costs one look-up.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray, UInt32Array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::UInt32Type;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::fmt_sql;

use super::columns::{Origin, TableColumn, schema_of};
use super::comparisons::bits;
use super::reading::external;
use crate::codec::ColumnType;
use crate::store::{Segment, View};

/// A predicate over one text column.
#[derive(Debug, Clone)]
pub(super) struct TextPredicate {
    /// The column, at place 0 of what the predicate is asked of.
    column: TableColumn,
    expr: Arc<dyn PhysicalExpr>,
}

impl TextPredicate {
    /// Returns for each row of a segment whether the predicate holds; `None` where its texts are
    /// not few.
    pub fn over_codes(&self, view: &View, segment: &Segment) -> Result<Option<OverCodes>> {
        let codes = match self.column.origin {
            Origin::Own(column) => view.few_codes(segment, column),
            Origin::Widened(column) => view.few_widened_codes(segment, column),
            _ => Ok(None),
        };
        let Some(codes) = codes.map_err(external)? else { return Ok(None) };
        let texts = codes.as_dictionary::<UInt32Type>().values().as_string_view();
        // Null is a text of its own here: the last.
        let asked: StringViewArray = texts.iter().chain([None]).collect();
        let of_text = self.of(Arc::new(asked))?;
        Ok(Some(OverCodes { codes, of_text }))
    }

    /// Returns the column that is asked.
    pub fn origin(&self) -> Origin {
        self.column.origin
    }

    /// Returns for each text whether the predicate holds.
    pub fn of(&self, texts: ArrayRef) -> Result<BooleanArray> {
        let rows = texts.len();
        let schema = schema_of(std::slice::from_ref(&self.column));
        let batch = RecordBatch::try_new(schema, vec![texts])?;
        let holds = self.expr.evaluate(&batch)?.into_array(rows)?;
        let not_boolean = || DataFusionError::Internal(format!("{} is no predicate", self.expr));
        holds.as_boolean_opt().cloned().ok_or_else(not_boolean)
    }
}

/// What a predicate says of the texts of a segment, and the code of each row.
pub(super) struct OverCodes {
    codes: ArrayRef,
    of_text: BooleanArray,
}

impl OverCodes {
    /// Returns what it says of `count` rows from `first` on.
    ///
    /// # Errors
    /// Arrow's, for arrays that are not what they are here.
    pub fn rows(&self, first: usize, count: usize) -> Result<BooleanArray> {
        let codes = self.codes.as_dictionary::<UInt32Type>().keys();
        if let Some(rows) = self.compared(&codes.slice(first, count)) {
            return Ok(rows);
        }
        let null = self.of_text.len() - 1;
        let code = |row: usize| match codes.is_valid(first + row) {
            true => codes.value(first + row) as usize,
            false => null,
        };
        let of_code: Vec<bool> = self.of_text.values().iter().collect();
        let holds = match codes.null_count() {
            0 => {
                let codes = &codes.values()[first..first + count];
                BooleanBuffer::collect_bool(count, |row| of_code[codes[row] as usize])
            }
            _ => BooleanBuffer::collect_bool(count, |row| of_code[code(row)]),
        };
        let valid = self.of_text.nulls().map(|of_text| {
            NullBuffer::new(BooleanBuffer::collect_bool(count, |row| of_text.is_valid(code(row))))
        });
        Ok(BooleanArray::new(holds, valid.filter(|valid| valid.null_count() > 0)))
    }

    /// Returns what it says of rows by comparing their codes with one: where the predicate holds
    /// for a single text, or for all but one, and is null of null.
    fn compared(&self, codes: &UInt32Array) -> Option<BooleanArray> {
        let null = self.of_text.len() - 1;
        let of_texts = self.of_text.slice(0, null);
        let follows_null = codes.null_count() == 0 || self.of_text.is_null(null);
        if of_texts.null_count() > 0 || !follows_null {
            return None;
        }
        let only = |holds: bool| {
            let mut found = (0..null).filter(|text| of_texts.value(*text) == holds);
            found.next().filter(|_| found.next().is_none()).map(|code| code as u32)
        };
        let holds = match only(true) {
            Some(one) => bits(codes.values(), |code| code == one),
            None => only(false).map(|one| bits(codes.values(), |code| code != one))?,
        };
        Some(BooleanArray::new(holds, codes.nulls().cloned()))
    }
}

/// Returns the expression with each largest predicate over one text column in it replaced by a new
/// column, which `columns` and `predicates` get.
pub(super) fn asked_of_texts(
    expr: &Arc<dyn PhysicalExpr>,
    columns: &mut Vec<TableColumn>,
    predicates: &mut Vec<TextPredicate>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let asked = |expr: Arc<dyn PhysicalExpr>| {
        let Some(of) = one_text(&expr, columns) else { return Ok(Transformed::no(expr)) };
        let first = |expr: Arc<dyn PhysicalExpr>| {
            Ok(match expr.downcast_ref::<Column>() {
                Some(column) => {
                    let first: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), 0));
                    Transformed::yes(first)
                }
                None => Transformed::no(expr),
            })
        };
        let name = fmt_sql(expr.as_ref()).to_string();
        let predicate =
            TextPredicate { column: columns[of].clone(), expr: expr.transform_up(first).data()? };
        let column = Arc::new(Column::new(&name, columns.len()));
        columns.push(TableColumn {
            name,
            kind: ColumnType::Boolean,
            about: String::new(),
            hidden: false,
            origin: Origin::Holds(predicates.len()),
        });
        predicates.push(predicate);
        let column: Arc<dyn PhysicalExpr> = column;
        Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
    };
    expr.clone().transform_down(asked).data()
}

/// Returns the text column that a predicate reads, if it reads one and nothing else, and may be
/// asked of a text that no row would have asked it of.
fn one_text(expr: &Arc<dyn PhysicalExpr>, columns: &[TableColumn]) -> Option<usize> {
    let is_leaf = expr.is::<Column>() || expr.is::<Literal>();
    let used = collect_columns(expr);
    let mut used = used.iter().map(Column::index);
    let (Some(at), None) = (used.next(), used.next()) else { return None };
    let is_text = columns.get(at)?.coded().is_some();
    (!is_leaf && is_text && never_fails(expr)).then_some(at)
}

/// Whether a predicate is made of comparisons alone: those have an answer for every text.
pub(super) fn never_fails(expr: &Arc<dyn PhysicalExpr>) -> bool {
    use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
    let compares = expr.downcast_ref::<BinaryExpr>().is_some_and(|binary| {
        let known = [Eq, NotEq, Lt, LtEq, Gt, GtEq, And, Or, IsDistinctFrom, IsNotDistinctFrom];
        known.contains(binary.op())
    });
    let asks = compares
        || expr.is::<InListExpr>()
        || expr.is::<IsNullExpr>()
        || expr.is::<IsNotNullExpr>()
        || expr.is::<LikeExpr>()
        || expr.is::<NotExpr>();
    let is_leaf = expr.is::<Column>() || expr.is::<Literal>();
    is_leaf || (asks && expr.children().into_iter().all(never_fails))
}

/// Returns the places of the columns that expressions read, ascending, and makes the expressions
/// read from those alone.
pub(super) fn only_used(exprs: &mut [&mut Arc<dyn PhysicalExpr>]) -> Result<Vec<usize>> {
    let mut used: Vec<usize> =
        exprs.iter().flat_map(|e| collect_columns(e)).map(|column| column.index()).collect();
    used.sort_unstable();
    used.dedup();
    for expr in exprs {
        let moved = |expr: Arc<dyn PhysicalExpr>| match expr.downcast_ref::<Column>() {
            Some(column) => {
                let at = used.partition_point(|old| *old < column.index());
                let moved: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), at));
                Ok(Transformed::yes(moved))
            }
            None => Ok(Transformed::no(expr)),
        };
        **expr = expr.clone().transform_up(moved).data()?;
    }
    Ok(used)
}
