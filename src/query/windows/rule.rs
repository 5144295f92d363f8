//! Which windows are computed batch by batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, new_empty_array};
use arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::window::{
    PlainAggregateWindowExpr, StandardWindowExpr, StandardWindowFunctionExpr, WindowExpr,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};

use super::exec::{Function, Plan, Window, WindowsByBatchExec};
use super::folds::Fold;
use super::frames::Reach;
use super::picks::Place;
use crate::query::functions;
use crate::query::syntax::TRAJECTORY;

/// Puts [`WindowsByBatchExec`] where all windows of an operator can be computed that way.
#[derive(Debug)]
pub struct WindowsByBatch;

impl PhysicalOptimizerRule for WindowsByBatch {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let by_batch = |node: Arc<dyn ExecutionPlan>| {
            Ok(match replacement(node.as_ref()) {
                Some(found) => Transformed::yes(Arc::new(found) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        };
        plan.transform_up(by_batch).data()
    }

    fn name(&self) -> &str {
        "windows_by_batch"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Returns what does the work of a window operator whose rows come partition by partition.
fn replacement(node: &dyn ExecutionPlan) -> Option<WindowsByBatchExec> {
    let (input, windows) = if let Some(bounded) = node.downcast_ref::<BoundedWindowAggExec>() {
        // It holds a few rows at a time, this one a partition: that must be a small one.
        let by_trajectory = |window: &Arc<dyn WindowExpr>| {
            let keys = window.partition_by().iter();
            let mut names = keys.filter_map(|key| Some(key.downcast_ref::<Column>()?.name()));
            names.any(|name| name == TRAJECTORY || name == "trajectory_id")
        };
        let windows = bounded.window_expr();
        let sorted = matches!(bounded.input_order_mode, InputOrderMode::Sorted);
        let fits = sorted && windows.iter().all(by_trajectory);
        fits.then(|| (bounded.input(), windows))?
    } else {
        let whole = node.downcast_ref::<WindowAggExec>()?;
        (whole.input(), whole.window_expr())
    };
    let plan = plan(windows, &input.schema())?;
    Some(WindowsByBatchExec::new(input.clone(), plan, node.properties().clone()))
}

/// Returns how windows over rows of `schema` are computed, if each of them can be.
fn plan(windows: &[Arc<dyn WindowExpr>], schema: &Schema) -> Option<Plan> {
    let keys = windows.first()?.partition_by().to_vec();
    if keys.is_empty() || windows.iter().any(|window| window.partition_by() != keys) {
        return None;
    }
    let mut plan = Plan { keys, ..Plan::default() };
    for window in windows {
        let (function, arguments, reach) = planned(window, schema, &mut plan.inputs)?;
        let reach = place_of(reach, &mut plan.reaches);
        plan.names.push(window.name().to_owned());
        plan.windows.push(Window { function, arguments, reach });
    }
    // DataFusion counts undecided trajectories before the first row comes out, so that a LIMIT
    // makes no difference to the count.
    plan.is_held_back = plan.windows.iter().any(|window| match &window.function {
        Function::Aggregate(_, aggregate) => aggregate.fun().name() == functions::EVERY,
        _ => false,
    });
    Some(plan)
}

/// Returns the place of a value among others, to which it is added if it is not one of them.
fn place_of<T: PartialEq>(value: T, known: &mut Vec<T>) -> usize {
    known.iter().position(|one| one.eq(&value)).unwrap_or_else(|| {
        known.push(value);
        known.len() - 1
    })
}

/// Returns what a window computes, of which inputs, and how far its frames reach. What it reads is
/// added to `inputs`.
fn planned(
    window: &Arc<dyn WindowExpr>,
    schema: &Schema,
    inputs: &mut Vec<Arc<dyn PhysicalExpr>>,
) -> Option<(Function, Vec<usize>, Reach)> {
    let mut input = |expr: Arc<dyn PhysicalExpr>| place_of(expr, inputs);
    let arguments: Vec<usize> = window.expressions().into_iter().map(&mut input).collect();
    let order: Vec<usize> = window.order_by().iter().map(|key| input(key.expr.clone())).collect();
    let framed = reach(window.get_window_frame(), &order);
    if let Some(aggregate) = window.as_any().downcast_ref::<PlainAggregateWindowExpr>() {
        // A FILTER is not to be had from outside; where there is one, it is the last to be shown.
        let has_filter = !format!("{aggregate:?}").ends_with(", filter: None }");
        let reach = framed.filter(|_| !has_filter && !arguments.is_empty())?;
        let aggregate = aggregate.get_aggregate_expr().clone();
        let function = Function::Aggregate(Fold::of(&aggregate, schema), Arc::new(aggregate));
        return Some((function, arguments, reach));
    }
    let standard = window.as_any().downcast_ref::<StandardWindowExpr>()?;
    let function = standard.get_standard_func_expr();
    let name = function.as_any().downcast_ref::<WindowUDFExpr>()?.fun().name();
    let (function, reach) = match (name, window.expressions().as_slice()) {
        ("row_number", _) => (Function::RowNumber, Reach::Row),
        ("rank", _) => (Function::Rank, Reach::Peers(order)),
        ("dense_rank", _) => (Function::DenseRank, Reach::Peers(order)),
        ("lead" | "lag", [argument]) if is_type_of(window, argument, schema) => {
            (shift(function, argument, schema)?, Reach::Row)
        }
        ("first_value" | "last_value" | "nth_value", [argument, ..])
            if is_type_of(window, argument, schema) =>
        {
            (Function::Nth(place(function)?), framed?)
        }
        _ => return None,
    };
    Some((function, arguments, reach))
}

/// Whether a window has the type of its argument.
fn is_type_of(
    window: &Arc<dyn WindowExpr>,
    argument: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> bool {
    match (window.field(), argument.data_type(schema)) {
        (Ok(field), Ok(kind)) => *field.data_type() == kind,
        _ => false,
    }
}

/// Returns how far a frame reaches, if it starts where its partition does.
fn reach(frame: &WindowFrame, order: &[usize]) -> Option<Reach> {
    let is_unbounded_preceding =
        |bound: &WindowFrameBound| matches!(bound, WindowFrameBound::Preceding(n) if n.is_null());
    if !is_unbounded_preceding(&frame.start_bound) {
        return None;
    }
    match (frame.units, &frame.end_bound) {
        (_, WindowFrameBound::Following(n)) if n.is_null() => Some(Reach::Partition),
        (WindowFrameUnits::Rows, WindowFrameBound::CurrentRow) => Some(Reach::Row),
        (WindowFrameUnits::Range, WindowFrameBound::CurrentRow) => {
            Some(Reach::Peers(order.to_vec()))
        }
        _ => None,
    }
}

/// Returns by how many rows `lead` or `lag` shifts, and what it gives where there is no row.
///
/// The evaluator is asked and not the arguments read: it knows the defaults, the direction in which
/// the rows come, and whether nulls are left out, which is not covered.
fn shift(
    function: &Arc<dyn StandardWindowFunctionExpr>,
    argument: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Option<Function> {
    let mut evaluator = function.create_evaluator().ok()?;
    let row = usize::MAX / 2;
    // The rows that it must see for one far from both ends of its partition.
    let range = evaluator.get_range(row, usize::MAX).ok()?;
    let by = match (range.start, range.end) {
        (0, _) | (_, usize::MAX) => return None,
        (start, end) if start < row && end == row + 1 => i64::try_from(row - start).ok()?,
        // The next row, or itself: of the rows 0 and 1, the value at 0 says which.
        (start, end) if start == row && end == row + 1 => {
            let rows: ArrayRef = Arc::new(Int64Array::from_iter_values([0, 1]));
            match evaluator.evaluate(&[rows], &(0..1)).ok()? {
                ScalarValue::Int64(Some(ahead)) => -ahead,
                _ => return None,
            }
        }
        (start, end) if start == row => -i64::try_from(end - row).ok()?,
        _ => return None,
    };
    // Of no rows at all it can only give the default.
    let none: ArrayRef = new_empty_array(&argument.data_type(schema).ok()?);
    let default = evaluator.evaluate(&[none], &(0..1)).ok()?;
    Some(Function::Shift { by, default })
}

/// Returns the row of its frame that `first_value`, `last_value` or `nth_value` gives.
///
/// It is found by asking, as in [`shift`]: of the numbers 0, 1, .. it gives the place itself.
fn place(function: &Arc<dyn StandardWindowFunctionExpr>) -> Option<Place> {
    let ask = |numbers: Int64Array| {
        let frame = 0..numbers.len();
        let given =
            function.create_evaluator().ok()?.evaluate(&[Arc::new(numbers)], &frame).ok()?;
        match given {
            ScalarValue::Int64(given) => Some(given),
            _ => None,
        }
    };
    const SHORT: i64 = 512;
    const LONG: i64 = 1_024;
    let in_short = ask(Int64Array::from_iter_values(0..SHORT))??;
    let in_long = ask(Int64Array::from_iter_values(0..LONG))??;
    let with_null = Int64Array::from_iter((0..LONG).map(|at| (at != in_long).then_some(at)));
    if ask(with_null)?.is_some() {
        return None;
    }
    match in_long - in_short {
        0 => Some(Place::FromStart(usize::try_from(in_long).ok()?)),
        _ if SHORT - in_short == LONG - in_long => {
            Some(Place::FromEnd(usize::try_from(LONG - 1 - in_long).ok()?))
        }
        _ => None,
    }
}
