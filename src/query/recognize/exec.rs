//! Finding matches, partition by partition.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray,
    UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{SortOptions, cast, concat_batches, partition, take};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, OrderingRequirements, PhysicalExpr,
    PhysicalSortRequirement,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::StreamExt;

use super::navigation::{Rows, Slot};
use super::node::{Condition, Question, Skip, argument_name, order_name, partition_name};
use super::rows::{Answers, Found, Seen, slot_batch};
use crate::query::pattern::{Failure, Matcher, Program};
use crate::query::table::{each_expression, evaluate, only_child};

/// Instructions of a pattern at most: `a{1,1000}` makes a thousand.
const INSTRUCTIONS_MAX: usize = 10_000;

/// Conditions that look at what was matched before are asked so often for one partition at most.
const TESTS_MAX: u64 = 1_000_000;

/// A pattern looked for in the rows of the input, sorted by partition and order.
#[derive(Debug, Clone)]
pub(super) struct RecognizeExec {
    input: Arc<dyn ExecutionPlan>,
    plan: Arc<Plan>,
    ordering: Vec<PhysicalSortRequirement>,
    properties: Arc<PlanProperties>,
}

/// What is the same for all partitions.
#[derive(Debug)]
struct Plan {
    question: Arc<Question>,
    program: Program,
    /// How each variable's condition is asked.
    tests: Vec<Test>,
    measures: Vec<Arc<dyn PhysicalExpr>>,
    n_partitions: usize,
    n_order: usize,
    n_arguments: usize,
    slot_schema: SchemaRef,
    schema: SchemaRef,
}

/// How the condition of a variable is asked.
#[derive(Debug)]
enum Test {
    /// It holds always.
    Always,
    /// An argument says it.
    Argument(usize),
    /// From rows at fixed distances, for all rows at once.
    Shifted(Arc<dyn PhysicalExpr>),
    /// From what was matched before, on the way.
    OnTheWay(Arc<dyn PhysicalExpr>),
}

/// The conditions over slots, by variable; `None` for those of one row.
type Conditions = Vec<Option<Arc<dyn PhysicalExpr>>>;

impl RecognizeExec {
    /// Returns the operator. `conditions` are those over slots; `shape` is the number of keys of
    /// partitions, the directions of the order and the number of arguments; `schemas` are those of
    /// slots and of what comes out.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        question: Arc<Question>,
        (conditions, measures): (Conditions, Vec<Arc<dyn PhysicalExpr>>),
        (n_partitions, order, n_arguments): (usize, Vec<(bool, bool)>, usize),
        (slot_schema, schema): (SchemaRef, SchemaRef),
    ) -> Result<RecognizeExec> {
        let program = match Program::compile(&question.pattern, INSTRUCTIONS_MAX) {
            Ok(program) => program,
            Err(error) => return plan_err!("the pattern is too large: {error}"),
        };
        let test = |(condition, physical): (&Condition, Option<Arc<dyn PhysicalExpr>>)| match (
            condition, physical,
        ) {
            (Condition::Argument(at), _) => Test::Argument(*at),
            (_, Some(expr)) if reads_shifted_rows(&expr, &question.slots) => Test::Shifted(expr),
            (_, Some(expr)) => Test::OnTheWay(expr),
            (_, None) => Test::Always,
        };
        let tests = question.conditions.iter().zip(conditions).map(test).collect();
        let key = |name: String, options: Option<SortOptions>| {
            let column = Column::new_with_schema(&name, &input.schema())?;
            Ok(PhysicalSortRequirement::new(Arc::new(column), options))
        };
        let ascending = Some(SortOptions { descending: false, nulls_first: false });
        let partitions = (0..n_partitions).map(|at| key(partition_name(at), ascending));
        let n_order = order.len();
        let directions = order.into_iter().enumerate().map(|(at, (descending, nulls_first))| {
            key(order_name(at), Some(SortOptions { descending, nulls_first }))
        });
        let ordering = partitions.chain(directions).collect::<Result<Vec<_>>>()?;
        let partitioning = partitioning(&input, n_partitions);
        let equivalence = EquivalenceProperties::new(schema.clone());
        let (emission, bounded) = (EmissionType::Incremental, Boundedness::Bounded);
        let properties = PlanProperties::new(equivalence, partitioning, emission, bounded);
        let plan = Plan {
            question,
            program,
            tests,
            measures,
            n_partitions,
            n_order,
            n_arguments,
            slot_schema,
            schema,
        };
        let (plan, properties) = (Arc::new(plan), Arc::new(properties));
        Ok(RecognizeExec { input, plan, ordering, properties })
    }
}

/// Returns how what comes out is parted: as the input, or all together where it has no keys.
fn partitioning(input: &Arc<dyn ExecutionPlan>, n_keys: usize) -> Partitioning {
    Partitioning::UnknownPartitioning(match n_keys {
        0 => 1,
        _ => input.output_partitioning().partition_count(),
    })
}

/// Whether an expression over slots reads rows at fixed distances from the one at hand, and
/// nothing else.
fn reads_shifted_rows(expr: &Arc<dyn PhysicalExpr>, slots: &[Slot]) -> bool {
    collect_columns(expr).iter().all(|column| {
        matches!(&slots[column.index()], Slot::Value { place, .. } if place.rows == Rows::Current)
    })
}

impl DisplayAs for RecognizeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let question = &self.plan.question;
        let how = |test: &Test| match test {
            Test::Always | Test::Argument(_) => "by row",
            Test::Shifted(_) => "by neighbouring rows",
            Test::OnTheWay(_) => "by what was matched",
        };
        let variables = question.variables.iter().zip(&self.plan.tests);
        let variables: Vec<String> = variables.map(|(v, t)| format!("{v} {}", how(t))).collect();
        let measures: Vec<&str> = question.measures.iter().map(|(_, n)| n.as_str()).collect();
        write!(f, "Recognize: variables=[{}]", variables.join(", "))?;
        write!(f, " measures=[{}]", measures.join(", "))?;
        match question.within {
            Some(steps) => write!(f, " within={steps}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for RecognizeExec {
    fn name(&self) -> &str {
        "RecognizeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let keys = &self.ordering[..self.plan.n_partitions];
        let keys: Vec<Arc<dyn PhysicalExpr>> = keys.iter().map(|key| key.expr.clone()).collect();
        InputDistributionRequirements::new(vec![match keys.is_empty() {
            true => Distribution::SinglePartition,
            false => Distribution::KeyPartitioned(keys),
        }])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let lexical = datafusion::physical_expr::LexRequirement::new(self.ordering.clone());
        vec![lexical.map(OrderingRequirements::new)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        each_expression(self.ordering.iter().map(|key| &key.expr), f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = only_child(self.name(), children)?;
        let partitioning = partitioning(&input, self.plan.n_partitions);
        let properties = self.properties.as_ref().clone().with_partitioning(partitioning);
        let properties = Arc::new(properties);
        let key = |key: &PhysicalSortRequirement| {
            let name = key.expr.downcast_ref::<Column>().map_or("", |column| column.name());
            let column = Column::new_with_schema(name, &input.schema())?;
            Ok(PhysicalSortRequirement::new(Arc::new(column), key.options))
        };
        let ordering = self.ordering.iter().map(key).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(RecognizeExec { input, plan: self.plan.clone(), ordering, properties }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let collecting = Collecting { plan: self.plan.clone(), waiting: Vec::new(), ended: false };
        let state = (input, collecting);
        let found = futures::stream::try_unfold(state, |(mut input, mut collecting)| async {
            while !collecting.ended {
                let whole = match input.next().await {
                    Some(batch) => collecting.add(batch?)?,
                    None => collecting.end()?,
                };
                let Some(whole) = whole else { continue };
                if let Some(rows) = collecting.plan.recognize(&whole)? {
                    return Ok(Some((rows, (input, collecting))));
                }
            }
            Ok(None)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.plan.schema.clone(), found)))
    }
}

/// Rows that wait until their partition is whole.
struct Collecting {
    plan: Arc<Plan>,
    waiting: Vec<RecordBatch>,
    ended: bool,
}

impl Collecting {
    /// Takes a batch and returns the partitions that are whole with it.
    fn add(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let keys = self.plan.keys(&batch);
        let last = match keys.is_empty() {
            true => 0,
            false => partition(&keys)?.ranges().last().map_or(0, |range| range.start),
        };
        if last == 0 && self.continues(&batch)? {
            self.waiting.push(batch);
            return Ok(None);
        }
        let (whole, rest) = (batch.slice(0, last), batch.slice(last, batch.num_rows() - last));
        let mut parts = std::mem::replace(&mut self.waiting, vec![rest]);
        parts.push(whole);
        self.whole(parts)
    }

    /// Whether a batch begins in the partition that waits, or nothing waits.
    fn continues(&self, batch: &RecordBatch) -> Result<bool> {
        let Some(before) = self.waiting.last() else { return Ok(true) };
        let pair = [before.slice(before.num_rows() - 1, 1), batch.slice(0, 1)];
        let keys = self.plan.keys(&concat_batches(&batch.schema(), &pair)?);
        Ok(keys.is_empty() || partition(&keys)?.len() == 1)
    }

    fn end(&mut self) -> Result<Option<RecordBatch>> {
        self.ended = true;
        let parts = std::mem::take(&mut self.waiting);
        self.whole(parts)
    }

    fn whole(&self, parts: Vec<RecordBatch>) -> Result<Option<RecordBatch>> {
        let parts: Vec<RecordBatch> = parts.into_iter().filter(|p| p.num_rows() > 0).collect();
        Ok(match parts.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            [first, ..] => Some(concat_batches(&first.schema(), &parts)?),
        })
    }
}

/// For which rows a variable's condition holds.
enum Holds<'a> {
    Always,
    Rows(BooleanBuffer),
    /// The condition, and which slots it reads.
    OnTheWay(&'a Arc<dyn PhysicalExpr>, HashSet<usize>),
}

impl Plan {
    fn keys(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        named(batch, self.n_partitions, partition_name)
    }

    /// Returns what the matches in whole partitions give, if there are any.
    fn recognize(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let keys = self.keys(batch);
        let partitions = match keys.is_empty() {
            true => std::iter::once(0..batch.num_rows()).collect(),
            false => partition(&keys)?.ranges(),
        };
        let arguments = named(batch, self.n_arguments, argument_name);
        let holds = self.holds(&arguments, &partitions, batch.num_rows())?;
        let found = self.search(batch, &arguments, &partitions, &holds)?;
        if found.is_empty() {
            return Ok(None);
        }
        let answers = Answers::new(&self.question, &arguments, &self.slot_schema, &found);
        let rows = answers.rows();
        let slots = answers.slots()?;
        let carried: Vec<ArrayRef> = match self.question.all_rows {
            true => {
                let own = |name: &str| !name.starts_with('#');
                let schema = batch.schema();
                let columns = schema.fields().iter().zip(batch.columns());
                columns.filter(|(f, _)| own(f.name())).map(|(_, c)| c.clone()).collect()
            }
            false => keys,
        };
        let carried = carried.iter().map(|column| Ok(take(column, &rows, None)?));
        let measures = self.measures.iter().map(|m| m.evaluate(&slots)?.into_array(rows.len()));
        let columns = carried.chain(measures).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(Some(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?))
    }

    fn holds<'a>(
        &'a self,
        arguments: &[ArrayRef],
        partitions: &[Range<usize>],
        rows: usize,
    ) -> Result<Vec<Holds<'a>>> {
        let mut shifted = None;
        let test = |test: &'a Test| {
            Ok(match test {
                Test::Always => Holds::Always,
                Test::OnTheWay(expr) => {
                    let used = collect_columns(expr).iter().map(Column::index).collect();
                    Holds::OnTheWay(expr, used)
                }
                Test::Argument(at) => Holds::Rows(truths(&arguments[*at])?),
                Test::Shifted(expr) => {
                    if shifted.is_none() {
                        shifted = Some(self.shifted(arguments, partitions, rows)?);
                    }
                    match &shifted {
                        Some(slots) => Holds::Rows(evaluate(expr, slots)?.values().clone()),
                        None => Holds::Always,
                    }
                }
            })
        };
        self.tests.iter().map(test).collect()
    }

    /// Returns for every row the slots at fixed distances from it; other slots are null.
    fn shifted(
        &self,
        arguments: &[ArrayRef],
        partitions: &[Range<usize>],
        rows: usize,
    ) -> Result<RecordBatch> {
        let slot = |(slot, field): (&Slot, &Arc<arrow::datatypes::Field>)| match slot {
            Slot::Value { argument, place } if place.rows == Rows::Current => {
                if place.shift == 0 {
                    return Ok(arguments[*argument].clone());
                }
                let mut at = Vec::with_capacity(rows);
                for partition in partitions {
                    at.extend(partition.clone().map(|row| {
                        let row = row.checked_add_signed(place.shift as isize)?;
                        partition.contains(&row).then_some(row as u32)
                    }));
                }
                Ok(take(&arguments[*argument], &UInt32Array::from(at), None)?)
            }
            _ => Ok(arrow::array::new_null_array(field.data_type(), rows)),
        };
        let slots = self.question.slots.iter().zip(self.slot_schema.fields());
        slot_batch(&self.slot_schema, slots.map(slot).collect::<Result<Vec<_>>>()?, rows)
    }

    fn search(
        &self,
        batch: &RecordBatch,
        arguments: &[ArrayRef],
        partitions: &[Range<usize>],
        holds: &[Holds<'_>],
    ) -> Result<Vec<Found>> {
        let steps = self.steps(batch)?;
        let looks_back = holds.iter().any(|h| matches!(h, Holds::OnTheWay(..)));
        let by_row = |symbol: u32, row: usize| match &holds[symbol as usize] {
            Holds::Rows(rows) => rows.value(row),
            Holds::Always | Holds::OnTheWay(..) => true,
        };
        let mut matcher = Matcher::new(&self.program);
        let mut all = Vec::new();
        for partition in partitions {
            if !matcher.may_match(partition.clone(), by_row) {
                continue;
            }
            let mut budget = TESTS_MAX;
            let (mut start, mut number) = (partition.start, 1);
            while start < partition.end {
                let stop = match &steps {
                    Some((order, within)) => end_within(order, start..partition.end, *within),
                    None => partition.end,
                };
                let found = if looks_back {
                    let asking = Asking { plan: self, arguments, partition, start, number, holds };
                    let test = |symbol, row, before: &[u32]| asking.holds(symbol, row, before);
                    let found =
                        matcher.find_with(partition.clone(), start, stop, test, &mut budget);
                    let found = found.map_err(|failure| match failure {
                        Failure::Test(error) => error,
                        Failure::Budget => DataFusionError::Execution(too_long()),
                    });
                    found?.map(|symbols| (start, symbols))
                } else if steps.is_some() {
                    let found = matcher.find_at(partition.clone(), start, stop, by_row);
                    found.map(|symbols| (start, symbols))
                } else {
                    // From all starts at once: what failed from one is not tried from the next.
                    let found = matcher.find_from(partition.clone(), start, stop, by_row);
                    if found.is_none() {
                        break;
                    }
                    found
                };
                let Some((at, symbols)) = found else {
                    start += 1;
                    continue;
                };
                if symbols.is_empty() && !self.question.with_empty {
                    start = at + 1;
                    continue;
                }
                let symbols = symbols.to_vec();
                start = self.next_start(at, &symbols)?;
                all.push(Found { start: at, partition: partition.clone(), number, symbols });
                number += 1;
            }
        }
        Ok(all)
    }

    /// Returns the first key of the order and how far it may grow within a match, if that is
    /// bounded.
    fn steps(&self, batch: &RecordBatch) -> Result<Option<(ArrayRef, f64)>> {
        let Some(within) = self.question.within else { return Ok(None) };
        let order = named(batch, self.n_order.min(1), order_name);
        let Some(order) = order.first() else { return exec_err!("WITHIN needs an order") };
        Ok(Some((cast(order, &DataType::Float64)?, within as f64)))
    }

    fn next_start(&self, start: usize, symbols: &[u32]) -> Result<usize> {
        let (at, name) = match self.question.skip {
            Skip::PastLastRow => return Ok(start + symbols.len().max(1)),
            Skip::ToNextRow => return Ok(start + 1),
            Skip::ToFirst(variable) => (symbols.iter().position(|s| *s == variable), variable),
            Skip::ToLast(variable) => (symbols.iter().rposition(|s| *s == variable), variable),
        };
        let name = &self.question.variables[name as usize];
        match at {
            Some(0) => exec_err!(
                "AFTER MATCH SKIP TO '{name}' goes back to the first row of the match and would \
                 find it again for ever"
            ),
            Some(at) => Ok(start + at),
            None => exec_err!("AFTER MATCH SKIP TO '{name}': a match has no row of '{name}'"),
        }
    }
}

fn too_long() -> String {
    format!(
        "the pattern asked its conditions {TESTS_MAX} times in one partition: use fewer ways to \
         match the same rows, or conditions that read only their own row"
    )
}

/// Asks conditions that look at what was matched before.
struct Asking<'a> {
    plan: &'a Plan,
    arguments: &'a [ArrayRef],
    partition: &'a Range<usize>,
    start: usize,
    /// The number that a match found now would have.
    number: i64,
    holds: &'a [Holds<'a>],
}

impl Asking<'_> {
    fn holds(&self, symbol: u32, row: usize, before: &[u32]) -> Result<bool> {
        let (expr, used) = match &self.holds[symbol as usize] {
            Holds::Always => return Ok(true),
            Holds::Rows(rows) => return Ok(rows.value(row)),
            Holds::OnTheWay(expr, used) => (*expr, used),
        };
        let symbols: Vec<u32> = before.iter().copied().chain([symbol]).collect();
        let seen = Seen { start: self.start, partition: self.partition, symbols: &symbols };
        let slots = self.plan.question.slots.iter().zip(self.plan.slot_schema.fields());
        let value = |(at, (slot, field)): (usize, (&Slot, &Arc<arrow::datatypes::Field>))| {
            let is_used = used.contains(&at);
            let array = match slot {
                _ if !is_used => None,
                Slot::Value { argument, place } => {
                    seen.row(*place).map(|row| self.arguments[*argument].slice(row, 1))
                }
                Slot::Classifier { place } => seen
                    .variable(*place, &self.plan.question)
                    .map(|name| Arc::new(StringViewArray::from_iter_values([name])) as ArrayRef),
                Slot::MatchNumber => Some(Arc::new(Int64Array::from_value(self.number, 1)) as _),
                Slot::Count { .. } | Slot::Aggregate { .. } => None,
            };
            array.unwrap_or_else(|| arrow::array::new_null_array(field.data_type(), 1))
        };
        let arrays = slots.enumerate().map(value).collect();
        Ok(evaluate(expr, &slot_batch(&self.plan.slot_schema, arrays, 1)?)?.value(0))
    }
}

fn named(batch: &RecordBatch, count: usize, name: fn(usize) -> String) -> Vec<ArrayRef> {
    (0..count).filter_map(|at| batch.column_by_name(&name(at)).cloned()).collect()
}

/// Returns for which rows a condition is true; null is not.
fn truths(condition: &ArrayRef) -> Result<BooleanBuffer> {
    let Some(condition) = condition.as_boolean_opt() else {
        return exec_err!("a condition of type {}, expected BOOLEAN", condition.data_type());
    };
    Ok(match condition.nulls() {
        Some(valid) => condition.values() & valid.inner(),
        None => condition.values().clone(),
    })
}

/// Returns the end of the rows whose key of order is less than `within` beyond the first.
fn end_within(order: &ArrayRef, rows: Range<usize>, within: f64) -> usize {
    let order = order.as_primitive::<Float64Type>();
    let first = order.value(rows.start);
    let beyond = rows.clone().find(|row| (order.value(*row) - first).abs() >= within);
    beyond.unwrap_or(rows.end)
}
