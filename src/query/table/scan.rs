//! The scan as DataFusion sees it: a table provider, and the plan it makes.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::SortOptions;
use arrow::datatypes::{Int64Type, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, SplitPoint};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType,
};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr,
    RangePartitioning,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::projection::ProjectionExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};

use super::columns::{Origin, ScanTable, TableColumn, schema_of, table_columns};
use super::comparisons::Conjunction;
use super::likes;
use super::prune;
use super::reading::{Finding, Predicate, Reading, ScanPlan, external};
use super::text_predicates::{TextPredicate, asked_of_texts, only_used};
use crate::codec::{ColumnType, TableId};
use crate::diag::Progress;
use crate::query::syntax::SEARCH_SCORE;
use crate::store::{Segment, View};

/// Finds the rows of steps that a full-text predicate keeps.
pub trait RowFinder: Send + Sync {
    /// Returns the counters that rows read move on.
    fn progress(&self) -> Progress;

    /// Whether the end of what runs was asked for.
    fn is_cancelled(&self) -> bool;

    /// Returns the rows, ascending, whose `column` holds `words`; `None` where the index cannot
    /// say and each row must be looked at.
    ///
    /// # Errors
    /// What the words or the index have wrong.
    fn rows(&self, column: &str, words: &str) -> Result<Option<Arc<Vec<u64>>>>;

    /// Returns rows, ascending, among which are all whose `column` holds every one of `runs` of
    /// letters and digits, in capitals or not; `None` where the index cannot say.
    ///
    /// # Errors
    /// What the index has wrong.
    fn candidates(&self, column: &str, runs: &[String]) -> Result<Option<Arc<Vec<u64>>>>;

    /// Returns what a search finds in `columns`, names with `, ` between; `None` where the index
    /// cannot say.
    ///
    /// # Errors
    /// What the words or the index have wrong.
    fn scores(&self, columns: &str, words: &str) -> Result<Option<Arc<Scores>>>;
}

/// What a search found.
pub struct Scores {
    /// The rows of steps, ascending.
    pub rows: Arc<Vec<u64>>,
    /// The score of each, by trajectory and step.
    pub by_step: HashMap<(i64, i64), f64>,
}

/// A table read through the scan.
pub struct ScanProvider {
    view: View,
    table: ScanTable,
    columns: Vec<TableColumn>,
    finder: Arc<dyn RowFinder>,
    /// The rows there are, ascending; `None`: all.
    restriction: Option<Arc<Vec<u64>>>,
}

impl ScanProvider {
    /// Returns the table over a view; `named` as in [`table_columns`].
    pub fn new(
        view: &View,
        table: ScanTable,
        named: &[String],
        finder: Arc<dyn RowFinder>,
    ) -> ScanProvider {
        let columns = table_columns(view, table, named);
        let restriction = None;
        ScanProvider { view: view.clone(), table, columns, finder, restriction }
    }

    /// Returns the table with only some of its rows, which ascend.
    #[must_use]
    pub fn restricted(mut self, rows: Arc<Vec<u64>>) -> ScanProvider {
        self.restriction = Some(rows);
        self
    }

    /// Returns the columns that a predicate reads.
    fn columns_of(&self, predicate: &Expr) -> Vec<TableColumn> {
        let used = predicate.column_refs();
        let of = |c: &&TableColumn| used.iter().any(|u| u.name == c.name);
        self.columns.iter().filter(of).cloned().collect()
    }

    /// Makes a physical predicate over exactly `columns`.
    fn physical(&self, state: &dyn Session, filters: Vec<Expr>) -> Result<Option<Predicate>> {
        let Some(predicate) = conjunction(filters) else { return Ok(None) };
        let columns = self.columns_of(&predicate);
        let schema = DFSchema::try_from(schema_of(&columns).as_ref().clone())?;
        let physical = state.create_physical_expr(unqualified(predicate)?, &schema)?;
        Ok(Some((columns, physical)))
    }

    /// Finds the rows of a predicate `matches(column, 'words')`, or of a search, where the index
    /// can.
    fn found(&self, predicate: &Expr) -> Result<Option<Arc<Vec<u64>>>> {
        if self.table.rows_of() != TableId::Steps {
            return Ok(None);
        }
        let text = |value: &ScalarValue| value.try_as_str().flatten().map(str::to_owned);
        match predicate {
            Expr::ScalarFunction(call) if call.func.name() == "matches" => {
                match call.args.as_slice() {
                    [Expr::Column(column), Expr::Literal(words, _)] => match text(words) {
                        Some(words) => self.finder.rows(&column.name, &words),
                        None => Ok(None),
                    },
                    _ => Ok(None),
                }
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Gt, right }) => {
                let (Expr::ScalarFunction(call), Expr::Literal(least, _)) =
                    (left.as_ref(), right.as_ref())
                else {
                    return Ok(None);
                };
                // What is not found has the score 0, and nothing that is found has.
                let from_zero = *least == ScalarValue::Float64(Some(0.0));
                match call.args.as_slice() {
                    [Expr::Literal(words, _), Expr::Literal(columns, _), _, _]
                        if from_zero && call.func.name() == SEARCH_SCORE =>
                    {
                        let (Some(words), Some(columns)) = (text(words), text(columns)) else {
                            return Ok(None);
                        };
                        let scores = self.finder.scores(&columns, &words)?;
                        Ok(scores.map(|scores| scores.rows.clone()))
                    }
                    _ => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<ScanPlan> {
        let output = match projection {
            Some(at) => at.iter().map(|i| self.columns[*i].clone()).collect(),
            None => self.columns.clone(),
        };
        let (mut scalars, mut records) = (Vec::new(), Vec::new());
        let mut row_sets: Vec<Arc<Vec<u64>>> = self.restriction.iter().cloned().collect();
        for predicate in filters {
            if let Some(rows) = self.found(predicate)? {
                row_sets.push(rows);
            } else if self.columns_of(predicate).iter().all(|c| c.origin.is_scalar()) {
                scalars.push(predicate.clone());
            } else {
                if let Some((column, runs)) = likes::sought(predicate)
                    && self.table.rows_of() == TableId::Steps
                {
                    row_sets.extend(self.finder.candidates(column, &runs)?);
                }
                records.push(predicate.clone());
            }
        }
        let scalar_filter = self.physical(state, scalars)?;
        let mut text_predicates = Vec::new();
        let by_codes = scalar_filter.as_ref().map(|p| by_codes(p, &mut text_predicates));
        let by_codes = by_codes.transpose()?.map(Conjunction::of).transpose()?;
        let record_filter = self.physical(state, records)?;
        let mut segments = self.view.segments(self.table.rows_of());
        if let Some((columns, predicate)) = &scalar_filter {
            let kept = prune::kept(&self.view, columns, &segments, predicate)?;
            let mut kept = kept.into_iter();
            segments.retain(|_| kept.next().unwrap_or(true));
        }
        for set in &row_sets {
            segments.retain(|s| holds_any(set, s));
        }
        let (view, table) = (self.view.clone(), self.table);
        Ok(ScanPlan {
            view,
            table,
            output,
            scalar_filter,
            by_codes,
            record_filter,
            row_sets,
            found: Vec::new(),
            text_predicates,
            finder: Finding(self.finder.clone()),
            segments,
            limit,
        })
    }
}

/// Returns a predicate over scalar columns with its parts over one text asked of codes.
fn by_codes(
    (columns, predicate): &Predicate,
    text_predicates: &mut Vec<TextPredicate>,
) -> Result<Predicate> {
    let mut columns = columns.clone();
    let mut predicate = asked_of_texts(predicate, &mut columns, text_predicates)?;
    let used = only_used(&mut [&mut predicate])?;
    Ok((used.into_iter().map(|at| columns[at].clone()).collect(), predicate))
}

fn holds_any(set: &[u64], segment: &Segment) -> bool {
    let first = set.partition_point(|r| *r < segment.first_row);
    set.get(first).is_some_and(|r| *r < segment.first_row + segment.rows)
}

/// Returns the expression with plain column names: predicates come qualified by their table.
fn unqualified(predicate: Expr) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let plain = |e: Expr| match e {
        Expr::Column(c) => Ok(Transformed::yes(Expr::Column(Column::from_name(c.name)))),
        other => Ok(Transformed::no(other)),
    };
    Ok(predicate.transform(plain)?.data)
}

impl fmt::Debug for ScanProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScanProvider({})", self.table.name())
    }
}

#[async_trait]
impl TableProvider for ScanProvider {
    fn schema(&self) -> SchemaRef {
        schema_of(&self.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Every predicate over one row is evaluated by the scan itself, exactly.
        let exact = |f: &&Expr| match f.is_volatile() {
            true => TableProviderFilterPushDown::Unsupported,
            false => TableProviderFilterPushDown::Exact,
        };
        Ok(filters.iter().map(exact).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.plan(state, projection, filters, limit)?;
        let partitions = partitions(&plan, state.config_options().execution.target_partitions)?;
        Ok(Arc::new(ScanExec::new(plan, partitions)))
    }
}

/// Rows that are read by one thread. They begin where a trajectory does.
#[derive(Clone, Debug)]
struct Part {
    rows: Range<u64>,
    /// The ordinal of their first trajectory.
    first: u64,
}

/// Splits the rows of a scan into parts of about equal size.
fn partitions(plan: &ScanPlan, wanted: usize) -> Result<Vec<Part>> {
    let rows: u64 = plan.segments.iter().map(|s| s.rows).sum();
    let whole = 0..plan.view.rows(plan.table.rows_of());
    // A small scan is over before a second thread has begun.
    const PARTITION_ROWS_MIN: u64 = 16_384;
    let wanted = (wanted as u64).min(rows / PARTITION_ROWS_MIN).max(1);
    let mut starts = vec![(whole.start, 0)];
    let (mut seen, mut next) = (0, 1);
    for segment in &plan.segments {
        while next < wanted && rows * next / wanted < seen + segment.rows {
            let row = segment.first_row + (rows * next / wanted - seen);
            let start = trajectory_start(plan, segment, row)?;
            if starts.last().is_some_and(|last| *last < start) {
                starts.push(start);
            }
            next += 1;
        }
        seen += segment.rows;
    }
    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([whole.end]);
    let ends = ends.collect::<Vec<_>>();
    let parts = starts.into_iter().zip(ends);
    Ok(parts.map(|((start, first), end)| Part { rows: start..end, first }).collect())
}

/// Returns the first row of the trajectory that `row` belongs to, and its ordinal.
fn trajectory_start(plan: &ScanPlan, segment: &Segment, row: u64) -> Result<(u64, u64)> {
    let value = |name: &str| -> Result<u64> {
        let Some(column) = plan.view.stored(TableId::Steps, name) else { return Ok(0) };
        let values = plan.view.column(segment, column).map_err(external)?;
        Ok(values.as_primitive::<Int64Type>().value((row - segment.first_row) as usize) as u64)
    };
    match plan.table {
        ScanTable::Trajectories => Ok((row, row)),
        _ => Ok(((row + 1).saturating_sub(value("step")?), value("_trajectory")?)),
    }
}

/// Returns the child of an operator that has one, when its children are replaced.
///
/// # Errors
/// A bug: it is given none, or several.
pub(in crate::query) fn only_child(
    operator: &str,
    mut children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    match (children.pop(), children.is_empty()) {
        (Some(child), true) => Ok(child),
        _ => Err(DataFusionError::Internal(format!("{operator} has one child"))),
    }
}

/// Visits the expressions of an operator until `visit` stops.
///
/// # Errors
/// What `visit` returns.
pub(in crate::query) fn each_expression<E: Borrow<Arc<dyn PhysicalExpr>>>(
    exprs: impl IntoIterator<Item = E>,
    visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
) -> Result<TreeNodeRecursion> {
    for expr in exprs {
        if visit(expr.borrow())? == TreeNodeRecursion::Stop {
            return Ok(TreeNodeRecursion::Stop);
        }
    }
    Ok(TreeNodeRecursion::Continue)
}

/// The scan as a physical plan.
#[derive(Clone)]
pub struct ScanExec {
    plan: Arc<ScanPlan>,
    partitions: Vec<Part>,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    fn new(plan: ScanPlan, partitions: Vec<Part>) -> ScanExec {
        let schema = schema_of(&plan.output);
        let ordered = ["_trajectory", "_step"].into_iter().map_while(|name| {
            let at = schema.index_of(name).ok()?;
            let column = Arc::new(PhysicalColumn::new(name, at));
            let options = SortOptions { descending: false, nulls_first: false };
            Some(PhysicalSortExpr { expr: column, options })
        });
        let ordered: Vec<PhysicalSortExpr> = ordered.collect();
        // Partitions begin where trajectories do: what works on one after the other needs no
        // others.
        let by_trajectory: Vec<PhysicalSortExpr> = ordered.first().cloned().into_iter().collect();
        let equivalence = match ordered.is_empty() {
            true => EquivalenceProperties::new(schema),
            false => EquivalenceProperties::new_with_orderings(schema, [ordered]),
        };
        let partitioning = match LexOrdering::new(by_trajectory) {
            Some(key) => {
                let ordinal = |part: &Part| ScalarValue::Int64(Some(part.first as i64));
                let splits = partitions.iter().skip(1).map(|p| SplitPoint::new(vec![ordinal(p)]));
                Partitioning::Range(RangePartitioning::new(key, splits.collect()))
            }
            None => Partitioning::UnknownPartitioning(partitions.len()),
        };
        let (emission, bounded) = (EmissionType::Incremental, Boundedness::Bounded);
        let properties = PlanProperties::new(equivalence, partitioning, emission, bounded);
        ScanExec { plan: Arc::new(plan), partitions, properties: Arc::new(properties) }
    }

    /// Returns the number of rows that are looked at, those that filters drop included.
    pub fn rows_scanned(&self) -> u64 {
        self.plan.segments.iter().map(|segment| segment.rows).sum()
    }

    /// Returns the scan with one more column behind the others, and its place: for which rows the
    /// text column `at` of its output matches words. `None` where the index cannot say.
    pub(super) fn with_found(&self, at: usize, words: &str) -> Result<Option<(ScanExec, usize)>> {
        // These are never null: the predicate is true or false of them, as the index says.
        let column = match self.plan.output.get(at).map(|column| column.origin) {
            Some(Origin::Step(name @ ("action" | "observation"))) => name,
            _ => return Ok(None),
        };
        let Some(rows) = self.plan.finder.0.rows(column, words)? else { return Ok(None) };
        let mut plan = self.plan.as_ref().clone();
        let origin = Origin::Found(plan.found.len());
        let name = format!("matches({column}, '{words}')");
        plan.found.push(rows);
        let about = String::new();
        plan.output.push(TableColumn {
            name,
            kind: ColumnType::Boolean,
            about,
            hidden: true,
            origin,
        });
        let at = plan.output.len() - 1;
        Ok(Some((ScanExec::new(plan, self.partitions.clone()), at)))
    }

    /// Returns the scan with a column behind the others for each predicate over one text in
    /// `exprs`, which read those then; `None` where there is no such predicate.
    pub(super) fn asked_of_texts(&self, exprs: &mut [ProjectionExpr]) -> Result<Option<ScanExec>> {
        let mut plan = self.plan.as_ref().clone();
        let before = plan.text_predicates.len();
        for ProjectionExpr { expr, .. } in exprs {
            *expr = asked_of_texts(expr, &mut plan.output, &mut plan.text_predicates)?;
        }
        let is_new = plan.text_predicates.len() > before;
        Ok(is_new.then(|| ScanExec::new(plan, self.partitions.clone())))
    }

    /// Returns the scan with some of its columns, which ascend.
    pub(super) fn only(&self, columns: &[usize]) -> ScanExec {
        let mut plan = self.plan.as_ref().clone();
        plan.output = columns.iter().map(|at| self.plan.output[*at].clone()).collect();
        ScanExec::new(plan, self.partitions.clone())
    }

    /// Returns the same scan with the text column `at` of its output as codes.
    pub(super) fn coded(&self, at: usize) -> Option<ScanExec> {
        let mut plan = self.plan.as_ref().clone();
        plan.output[at] = plan.output.get(at)?.coded()?;
        Some(ScanExec::new(plan, self.partitions.clone()))
    }
}

impl fmt::Debug for ScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScanExec({})", self.plan.table.name())
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        let of = |scalar: bool| {
            let columns = plan.output.iter().filter(|c| c.origin.is_scalar() == scalar);
            columns.map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        write!(f, "Scan: {} columns=[{}]", plan.table.name(), of(true))?;
        if plan.output.iter().any(|c| !c.origin.is_scalar()) {
            write!(f, " records=[{}]", of(false))?;
        }
        if let Some((_, predicate)) = &plan.scalar_filter {
            write!(f, " filter={predicate}")?;
        }
        for rows in &plan.row_sets {
            write!(f, " full_text={} rows", rows.len())?;
        }
        if let Some((_, predicate)) = &plan.record_filter {
            write!(f, " record_filter={predicate}")?;
        }
        let all = plan.view.segments(plan.table.rows_of()).len();
        if plan.segments.len() < all {
            write!(f, " segments={}/{all}", plan.segments.len())?;
        }
        if let Some(limit) = plan.limit {
            write!(f, " limit={limit}")?;
        }
        write!(f, " partitions={}", self.partitions.len())
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let predicates = self.plan.scalar_filter.iter().chain(&self.plan.record_filter);
        each_expression(predicates.map(|(_, predicate)| predicate), f)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn fetch(&self) -> Option<usize> {
        self.plan.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let plan = ScanPlan { limit, ..self.plan.as_ref().clone() };
        Some(Arc::new(ScanExec::new(plan, self.partitions.clone())))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.partitions.get(partition).map_or(0..0, |part| part.rows.clone());
        let reading = Reading::new(self.plan.clone(), rows, self.plan.finder.0.progress());
        let stream = futures::stream::iter(reading);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}
