//! Batches in, batches with a column for each window out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{concat, partition};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;

use super::folds::{Fold, fold};
use super::frames::{Frames, Reach};
use super::picks::{Place, dense_ranks, nth, ranks, row_numbers, shifted};
use crate::query::table::{each_expression, only_child};

/// Windows over rows that come partition by partition and, within each, in the order they ask for.
#[derive(Debug, Clone)]
pub(super) struct WindowsByBatchExec {
    input: Arc<dyn ExecutionPlan>,
    plan: Arc<Plan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What is computed.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The partition of a row.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// What windows read of a row.
    pub inputs: Vec<Arc<dyn PhysicalExpr>>,
    /// The ends of their frames, which start where the partition does.
    pub reaches: Vec<Reach>,
    /// The windows, in the order of their columns.
    pub windows: Vec<Window>,
    /// Their names.
    pub names: Vec<String>,
    /// Whether nothing comes out before everything is read.
    pub is_held_back: bool,
}

/// One window.
#[derive(Debug)]
pub(super) struct Window {
    pub function: Function,
    /// The inputs that are its arguments.
    pub arguments: Vec<usize>,
    /// The end of its frames, one of the plan's.
    pub reach: usize,
}

/// What a window computes.
#[derive(Debug)]
pub(super) enum Function {
    /// The value of the row `by` before, behind it where `by` is negative.
    Shift { by: i64, default: ScalarValue },
    /// The value at a place of the frame.
    Nth(Place),
    /// The number of the row.
    RowNumber,
    /// The number of the first row that is equal in the order.
    Rank,
    /// The number of different rows up to it.
    DenseRank,
    /// An aggregate of the frame.
    Aggregate(Fold, Arc<AggregateFunctionExpr>),
}

impl WindowsByBatchExec {
    /// Returns the operator; `properties` are those of the one it stands for.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        plan: Plan,
        properties: Arc<PlanProperties>,
    ) -> WindowsByBatchExec {
        let metrics = ExecutionPlanMetricsSet::new();
        WindowsByBatchExec { input, plan: Arc::new(plan), properties, metrics }
    }
}

impl DisplayAs for WindowsByBatchExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowsByBatch: [{}]", self.plan.names.join(", "))
    }
}

impl ExecutionPlan for WindowsByBatchExec {
    fn name(&self) -> &str {
        "WindowsByBatchExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        each_expression(self.plan.keys.iter().chain(&self.plan.inputs), f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = only_child(self.name(), children)?;
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Arc::new(WindowsByBatchExec { input, metrics, ..self.as_ref().clone() }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let collecting = Collecting::new(self.plan.clone(), self.schema());
        let state = (input, collecting, metrics);
        let batches = futures::stream::try_unfold(state, |(mut input, mut rows, metrics)| async {
            loop {
                if let Some(batch) = rows.next() {
                    let batch = batch.record_output(&metrics);
                    return Ok(Some((batch, (input, rows, metrics))));
                }
                if rows.ended {
                    return Ok(None);
                }
                let batch = input.next().await.transpose()?;
                let _timer = metrics.elapsed_compute().timer();
                match batch {
                    Some(batch) => rows.add(batch)?,
                    None => rows.end()?,
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// Batches of which some rows' partition may not be whole yet. Of those before the last, and of
/// the last from some row on, it is the same one.
struct Collecting {
    plan: Arc<Plan>,
    schema: SchemaRef,
    waiting: VecDeque<Waiting>,
    /// The keys of the last row.
    last: Vec<ArrayRef>,
    ready: VecDeque<RecordBatch>,
    ended: bool,
}

/// A batch whose windows are computed up to some row.
struct Waiting {
    batch: RecordBatch,
    inputs: Vec<ArrayRef>,
    /// The parts of each window's column.
    columns: Vec<Vec<ArrayRef>>,
    computed: usize,
}

impl Collecting {
    fn new(plan: Arc<Plan>, schema: SchemaRef) -> Collecting {
        let (waiting, ready) = (VecDeque::new(), VecDeque::new());
        Collecting { plan, schema, waiting, last: Vec::new(), ready, ended: false }
    }

    /// Returns a batch that is complete.
    fn next(&mut self) -> Option<RecordBatch> {
        if self.plan.is_held_back && !self.ended { None } else { self.ready.pop_front() }
    }

    /// Takes the next batch, and computes the partitions that are whole with it.
    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let keys = evaluated(&self.plan.keys, &batch)?;
        let inputs = evaluated(&self.plan.inputs, &batch)?;
        let mut starts: Vec<usize> =
            partition(&keys)?.ranges().into_iter().map(|range| range.start).collect();
        // The partition that waits ends where one starts in this batch.
        let goes_on = self.goes_on(&keys)?;
        let end = starts.get(usize::from(goes_on)).copied();
        self.last = keys.iter().map(|key| key.slice(rows - 1, 1)).collect();
        let columns = vec![Vec::new(); self.plan.windows.len()];
        self.waiting.push_back(Waiting { batch, inputs, columns, computed: 0 });
        let Some(end) = end else { return Ok(()) };
        self.compute_waiting(end)?;
        starts.retain(|start| *start >= end);
        if let Some(waiting) = self.waiting.back_mut() {
            waiting.compute(&self.plan, &starts)?;
        }
        self.release(1)
    }

    /// Computes what waits: there are no more rows.
    fn end(&mut self) -> Result<()> {
        self.ended = true;
        let Some(last) = self.waiting.back() else { return Ok(()) };
        self.compute_waiting(last.batch.num_rows())?;
        self.release(0)
    }

    /// Whether the first row of `keys` is of the partition that waits.
    fn goes_on(&self, keys: &[ArrayRef]) -> Result<bool> {
        if self.waiting.is_empty() {
            return Ok(false);
        }
        let pair = |(last, key): (&ArrayRef, &ArrayRef)| concat(&[last, &key.slice(0, 1)]);
        let pairs = self.last.iter().zip(keys).map(pair).collect::<Result<Vec<_>, _>>()?;
        Ok(partition(&pairs)?.len() == 1)
    }

    /// Computes the one partition that waits, which ends at row `end` of the last batch.
    fn compute_waiting(&mut self, end: usize) -> Result<()> {
        let newest = self.waiting.len().saturating_sub(1);
        let count = |(at, waiting): (usize, &Waiting)| {
            let to = if at == newest { end } else { waiting.batch.num_rows() };
            to - waiting.computed
        };
        let counts: Vec<usize> = self.waiting.iter().enumerate().map(count).collect();
        let rows = counts.iter().sum();
        if rows == 0 {
            return Ok(());
        }
        let input = |at: usize| {
            let parts = self.waiting.iter().zip(&counts).filter(|(_, count)| **count > 0);
            let parts = parts.map(|(w, count)| w.inputs[at].slice(w.computed, *count));
            joined(parts.collect())
        };
        let inputs = (0..self.plan.inputs.len()).map(input).collect::<Result<Vec<_>>>()?;
        let columns = self.plan.columns(&inputs, &[0, rows])?;
        let mut from = 0;
        for (waiting, count) in self.waiting.iter_mut().zip(counts) {
            waiting.push(columns.iter().map(|column| column.slice(from, count)).collect());
            waiting.computed += count;
            from += count;
        }
        Ok(())
    }

    /// Hands on all but the last `kept` batches, which are complete.
    fn release(&mut self, kept: usize) -> Result<()> {
        while self.waiting.len() > kept {
            let Some(waiting) = self.waiting.pop_front() else { break };
            let mut columns = waiting.batch.columns().to_vec();
            for parts in waiting.columns {
                columns.push(joined(parts)?);
            }
            self.ready.push_back(RecordBatch::try_new(self.schema.clone(), columns)?);
        }
        Ok(())
    }
}

impl Waiting {
    /// Computes the partitions that start at all of `starts` but the last.
    fn compute(&mut self, plan: &Plan, starts: &[usize]) -> Result<()> {
        let (Some(from), Some(to)) = (starts.first(), starts.last()) else { return Ok(()) };
        if from == to {
            return Ok(());
        }
        let inputs: Vec<ArrayRef> =
            self.inputs.iter().map(|input| input.slice(*from, to - from)).collect();
        let starts: Vec<usize> = starts.iter().map(|start| start - from).collect();
        self.push(plan.columns(&inputs, &starts)?);
        self.computed = *to;
        Ok(())
    }

    fn push(&mut self, columns: Vec<ArrayRef>) {
        for (parts, column) in self.columns.iter_mut().zip(columns) {
            if !column.is_empty() {
                parts.push(column);
            }
        }
    }
}

impl Plan {
    /// Returns the windows of rows whose partitions are whole and start at `starts`; the last of
    /// these is the number of rows.
    fn columns(&self, inputs: &[ArrayRef], starts: &[usize]) -> Result<Vec<ArrayRef>> {
        let frames = self.reaches.iter().map(|reach| Frames::new(reach, inputs, starts));
        let frames = frames.collect::<Result<Vec<_>>>()?;
        self.windows.iter().map(|window| window.column(inputs, &frames[window.reach])).collect()
    }
}

impl Window {
    /// Returns the values of all rows.
    fn column(&self, inputs: &[ArrayRef], frames: &Frames<'_>) -> Result<ArrayRef> {
        let argument = |at: usize| &inputs[self.arguments[at]];
        Ok(match &self.function {
            Function::Shift { by, default } => shifted(argument(0), *by, default, frames)?,
            Function::Nth(place) => nth(argument(0), *place, frames)?,
            Function::RowNumber => row_numbers(frames),
            Function::Rank => ranks(frames),
            Function::DenseRank => dense_ranks(frames),
            Function::Aggregate(how, aggregate) => {
                let arguments = self.arguments.iter().map(|at| inputs[*at].clone());
                fold(*how, aggregate, &arguments.collect::<Vec<_>>(), frames)?
            }
        })
    }
}

fn evaluated(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

fn joined(parts: Vec<ArrayRef>) -> Result<ArrayRef> {
    match parts.as_slice() {
        [only] => Ok(only.clone()),
        _ => Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
    }
}
