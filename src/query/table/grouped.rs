//! Grouping by one text column over codes.
//!
//! ```text
//!   tool     codes   texts of the chunk        group of each text, looked up once a chunk
//!   search   0       0 search                  0 ──► 0
//!   answer   1  ──►  1 answer             ──►  1 ──► 2
//!   search   0
//! ```
//! The texts that rows are grouped by are few beside the rows. The scan hands them over as numbers
//! into the texts of their chunk, which the store keeps; a text is then looked up once for each
//! chunk and not once for each row. This is the first of the two steps of an aggregation, whose
//! results the second puts together as it would have anyway.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray, StringViewBuilder};
use arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;

use super::reading::evaluate;
use super::scan::{ScanExec, each_expression, only_child};
use super::tallies::Tally;

/// Groups held before they are handed on: what is grouped by nearly unique texts needs no more
/// memory than this.
const GROUPS_MAX: usize = 65_536;

/// Puts [`GroupByCodesExec`] where an aggregation's first step reads the scan by one text column.
#[derive(Debug)]
pub struct GroupByCodes;

impl PhysicalOptimizerRule for GroupByCodes {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let over_codes = |node: Arc<dyn ExecutionPlan>| {
            let aggregate = node.downcast_ref::<AggregateExec>();
            Ok(match aggregate.and_then(GroupByCodesExec::of) {
                Some(coded) => Transformed::yes(Arc::new(coded) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        };
        plan.transform_up(over_codes).data()
    }

    fn name(&self) -> &str {
        "group_by_codes"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The first step of an aggregation by one text column.
#[derive(Debug, Clone)]
struct GroupByCodesExec {
    scan: Arc<dyn ExecutionPlan>,
    /// The column grouped by, in the scan's output.
    key: Column,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// The condition of each aggregate's FILTER.
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    properties: Arc<PlanProperties>,
}

impl GroupByCodesExec {
    /// Returns what does the work of `aggregate`, where it groups a scan by one text column and
    /// looks at that column for nothing else.
    fn of(aggregate: &AggregateExec) -> Option<GroupByCodesExec> {
        let scan = aggregate.input().downcast_ref::<ScanExec>()?;
        let groups = aggregate.group_expr();
        let [(key, _)] = groups.expr() else { return None };
        let key = key.downcast_ref::<Column>()?.clone();
        let aggregates = aggregate.aggr_expr().to_vec();
        let filters = aggregate.filter_expr().to_vec();
        let free = |expr: &Arc<dyn PhysicalExpr>| {
            collect_columns(expr).iter().all(|column| column.index() != key.index())
        };
        let simple = *aggregate.mode() == AggregateMode::Partial
            && groups.is_single()
            && aggregate.limit_options().is_none()
            && *aggregate.input_order_mode() == InputOrderMode::Linear
            && filters.iter().flatten().all(free)
            && aggregates.iter().all(|a| {
                a.groups_accumulator_supported()
                    && a.order_bys().is_empty()
                    && a.expressions().iter().all(free)
            });
        let scan = scan.coded(key.index()).filter(|_| simple)?;
        let properties = aggregate.properties().clone();
        Some(GroupByCodesExec { scan: Arc::new(scan), key, aggregates, filters, properties })
    }
}

impl DisplayAs for GroupByCodesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.aggregates.iter().map(|a| a.name()).collect();
        write!(f, "GroupByCodes: gby=[{}] aggr=[{}]", self.key, names.join(", "))
    }
}

impl ExecutionPlan for GroupByCodesExec {
    fn name(&self) -> &str {
        "GroupByCodesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let arguments = self.aggregates.iter().flat_map(|a| a.expressions());
        each_expression(arguments.chain(self.filters.iter().flatten().cloned()), f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = only_child(self.name(), children)?;
        Ok(Arc::new(GroupByCodesExec { scan, ..self.as_ref().clone() }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.scan.execute(partition, context)?;
        let groups = Groups::new(self)?;
        let grouped =
            futures::stream::try_unfold((input, groups), |(mut input, mut groups)| async {
                while let Some(batch) = input.next().await {
                    groups.add(&batch?)?;
                    if groups.count >= GROUPS_MAX {
                        break;
                    }
                }
                Ok(groups.emit()?.map(|batch| (batch, (input, groups))))
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), grouped)))
    }
}

/// No group yet.
const NONE: u32 = u32::MAX;

/// The groups of one partition and what was aggregated for each.
struct Groups {
    key: usize,
    schema: SchemaRef,
    aggregates: Vec<Aggregate>,
    /// The group of each text, and that of null.
    numbers: HashMap<Box<str>, usize>,
    null: Option<usize>,
    keys: StringViewBuilder,
    count: usize,
    /// The texts that `of_code` is for.
    texts: Option<ArrayRef>,
    /// The group of each of the texts and, last, of null; [`NONE`] where no row had it.
    of_code: Vec<u32>,
    /// The group of each row of the batch at hand.
    of_row: Vec<u32>,
    /// The same, for DataFusion's accumulators.
    wide: Vec<usize>,
}

/// One aggregate over all groups.
enum Aggregate {
    /// One of those asked for most.
    Tallied(Tally),
    /// Any other.
    Accumulated(Accumulated),
}

/// An aggregate by DataFusion's accumulator.
struct Accumulated {
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    accumulator: Box<dyn GroupsAccumulator>,
}

impl Groups {
    fn new(plan: &GroupByCodesExec) -> Result<Groups> {
        let aggregate = |(expr, filter): (&Arc<AggregateFunctionExpr>, &Option<_>)| {
            if let Some(tally) = Tally::of(expr).filter(|_| filter.is_none()) {
                return Ok(Aggregate::Tallied(tally));
            }
            let accumulator = expr.create_groups_accumulator()?;
            let (arguments, filter) = (expr.expressions(), filter.clone());
            Ok(Aggregate::Accumulated(Accumulated { arguments, filter, accumulator }))
        };
        let aggregates = plan.aggregates.iter().zip(&plan.filters).map(aggregate);
        Ok(Groups {
            key: plan.key.index(),
            schema: plan.schema(),
            aggregates: aggregates.collect::<Result<_>>()?,
            numbers: HashMap::new(),
            null: None,
            keys: StringViewBuilder::new(),
            count: 0,
            texts: None,
            of_code: Vec::new(),
            of_row: Vec::new(),
            wide: Vec::new(),
        })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = batch.column(self.key).as_dictionary::<UInt32Type>();
        let texts = keys.values();
        if !self.texts.as_ref().is_some_and(|before| Arc::ptr_eq(before, texts)) {
            self.texts = Some(texts.clone());
            self.of_code = vec![NONE; texts.len() + 1];
        }
        let (texts, null) = (texts.as_string_view(), texts.len());
        let codes = keys.keys();
        let mut of_row = std::mem::take(&mut self.of_row);
        of_row.clear();
        let of_code = self.of_code.as_slice();
        of_row.extend(codes.values().iter().map(|code| of_code[*code as usize]));
        if let Some(valid) = codes.nulls() {
            // The code of a row without a text is any.
            for row in (!valid.inner()).set_indices() {
                of_row[row] = of_code[null];
            }
        }
        if of_row.contains(&NONE) {
            for (row, group) in of_row.iter_mut().enumerate().filter(|(_, group)| **group == NONE) {
                let code = if codes.is_null(row) { null } else { codes.value(row) as usize };
                // An earlier row of the batch may have brought it.
                *group = match self.of_code[code] {
                    NONE => self.look_up(code, texts),
                    known => known,
                };
            }
        }
        let all_tallied = self.aggregates.iter().all(|a| matches!(a, Aggregate::Tallied(_)));
        self.wide.clear();
        if !all_tallied {
            self.wide.extend(of_row.iter().map(|group| *group as usize));
        }
        for aggregate in &mut self.aggregates {
            match aggregate {
                Aggregate::Tallied(tally) => tally.add(batch, &of_row, self.count),
                Aggregate::Accumulated(other) => other.add(batch, &self.wide, self.count)?,
            }
        }
        self.of_row = of_row;
        Ok(())
    }

    /// Returns the group of a code that is seen in these texts for the first time; the code behind
    /// the last is that of null.
    fn look_up(&mut self, code: usize, texts: &StringViewArray) -> u32 {
        let text = (code < texts.len()).then(|| texts.value(code));
        let known = match text {
            Some(text) => self.numbers.get(text).copied(),
            None => self.null,
        };
        let group = known.unwrap_or(self.count);
        if known.is_none() {
            match text {
                Some(text) => drop(self.numbers.insert(text.into(), group)),
                None => self.null = Some(group),
            }
            self.keys.append_option(text);
            self.count += 1;
        }
        // Groups are handed on long before there are so many.
        self.of_code[code] = group as u32;
        group as u32
    }

    /// Returns the groups with what was aggregated for each, and forgets them.
    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        if self.count == 0 {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish())];
        for aggregate in &mut self.aggregates {
            columns.extend(match aggregate {
                Aggregate::Tallied(tally) => tally.state(),
                Aggregate::Accumulated(other) => other.accumulator.state(EmitTo::All)?,
            });
        }
        self.numbers.clear();
        self.count = 0;
        self.texts = None;
        self.null = None;
        Ok(Some(RecordBatch::try_new(self.schema.clone(), columns)?))
    }
}

impl Accumulated {
    /// Adds the rows of a batch, each to its group of `count`.
    fn add(&mut self, batch: &RecordBatch, of_row: &[usize], count: usize) -> Result<()> {
        let array =
            |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(batch.num_rows());
        let arguments = self.arguments.iter().map(array).collect::<Result<Vec<_>>>()?;
        let kept = self.filter.as_ref().map(|filter| evaluate(filter, batch)).transpose()?;
        self.accumulator.update_batch(&arguments, of_row, kept.as_ref(), count)
    }
}
