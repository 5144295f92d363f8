//! From a parsed query to rows: names resolved, planned, run, cancelled.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, Session, TableProvider};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{Column, DataFusionError};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as PlannedStatement;
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc::error::TryRecvError;

use super::arrows;
use super::error::{QueryError, planning_error};
use super::finder::Finder;
use super::functions;
use super::json_text;
use super::memory::QueryMemory;
use super::names::{self, Names};
use super::parameters::{self, Parameters};
use super::quantified;
use super::recognize::{MatchRecognize, RecognitionPlanner};
use super::syntax::{Catalog, QueryStatement, STEP, TRAJECTORY};
use super::table::{
    Calling, GroupByCodes, LabelNames, PredicatesInScan, RowFinder, ScanExec, ScanProvider,
    ScanTable, StreamedTable, TableFunction, document_columns, documents_table, streamed_provider,
    table_columns,
};
use super::windows::WindowsByBatch;
use crate::codec::TableId;
use crate::db::{Database, DbError};
use crate::diag::{Progress, did_you_mean, list_some};
use crate::store::View;

/// How often a running query looks whether it was cancelled.
const CANCEL_EVERY: Duration = Duration::from_millis(20);

/// How long the end of an engine waits for work that was cancelled.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(1);

/// The stack of the threads that plan and run: a query of many stages is a deep tree, and planning
/// walks it by calling itself. Only what is touched takes memory.
const STACK_BYTES: usize = 32 << 20;

/// The schema whose tables are the saved datasets: `FROM dataset.name`.
pub const DATASET_SCHEMA: &str = "dataset";

/// The schema whose tables are the documents of corpora: `FROM corpus.name`.
pub const CORPUS_SCHEMA: &str = "corpus";

/// Plans and runs queries.
pub struct Engine {
    base: SessionState,
    handle: Handle,
    /// There until the engine is dropped.
    runtime: Option<Runtime>,
    progress: Progress,
    /// The plans that were run; `None` unless somebody asks for them.
    plans: Option<Mutex<Vec<Arc<dyn ExecutionPlan>>>>,
}

/// Tells a running query to stop. Shared by whoever may cancel and whoever runs.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks for the end of what runs.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Forgets an earlier request.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a query reads from, and what it may use.
pub struct Scope<'a> {
    /// The database.
    pub database: &'a Arc<Database>,
    /// The state it reads.
    pub view: &'a View,
    /// Cancels it.
    pub cancel: &'a Cancel,
    /// The whole text that the statement is part of: places in messages refer to it.
    pub text: &'a str,
    /// The values of parameters.
    pub parameters: &'a Parameters,
}

/// A planned query.
pub struct Prepared {
    logical: LogicalPlan,
    physical: Arc<dyn ExecutionPlan>,
    context: SessionContext,
    shown: Vec<usize>,
    schema: SchemaRef,
    undecided: Arc<AtomicU64>,
    /// Set when its rows are not wanted any more, for the threads that read them.
    ended: Arc<AtomicBool>,
    /// The label columns the statement names, as `name@judge`.
    pub labels: Vec<String>,
    /// Columns, and texts that they are compared with.
    compared: Vec<(String, String)>,
    /// The tables of trajectories and steps that it reads.
    scanned: Vec<ScanTable>,
    /// The tables it reads that are read as they are now, whatever the view.
    pub present: Vec<&'static str>,
}

impl Engine {
    /// Makes an engine that uses at most `memory_bytes` for sorting, grouping and joining (beyond
    /// that it spills to temporary files) and `threads` threads.
    ///
    /// # Errors
    /// The operating system refuses threads or a temporary folder.
    pub fn new(memory_bytes: usize, threads: usize) -> Result<Engine, QueryError> {
        let environment = |e: &dyn std::fmt::Display| QueryError::Environment(e.to_string());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_time()
            .build()
            .map_err(|e| environment(&e))?;
        let pool = Arc::new(QueryMemory::new(memory_bytes));
        let runtime_env = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .build_arc()
            .map_err(|e| environment(&e))?;
        let mut config = SessionConfig::new()
            .with_target_partitions(threads.max(1))
            .with_default_catalog_and_schema("swirl", "public")
            .with_information_schema(false);
        let options = config.options_mut();
        options.sql_parser.collect_spans = true;
        // An ORDER BY inside a pipe keeps its meaning.
        options.sql_parser.enable_subquery_sort_elimination = false;
        // The scan splits what is worth splitting; dealing out the rows of a small one costs more
        // than it brings, and would part trajectories.
        options.optimizer.enable_round_robin_repartition = false;
        // Rows come out of the store in order: merging partitions is cheaper than sorting again.
        options.optimizer.prefer_existing_sort = true;
        let mut base = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime_env)
            .with_default_features()
            .with_physical_optimizer_rule(Arc::new(GroupByCodes))
            .with_physical_optimizer_rule(Arc::new(PredicatesInScan))
            .with_physical_optimizer_rule(Arc::new(WindowsByBatch))
            .with_relation_planners(vec![Arc::new(MatchRecognize)])
            .with_query_planner(Arc::new(Planner))
            .build();
        let internal = |e: DataFusionError| QueryError::Bug(e.to_string());
        let scalars = functions::scalars().into_iter().chain(functions::texts());
        for function in scalars.chain([functions::matches(), functions::tokens()]) {
            base.register_udf(Arc::new(function)).map_err(internal)?;
        }
        let known = |name: &str| base.scalar_functions().get(name).cloned();
        for function in functions::bounded(known) {
            base.register_udf(Arc::new(function)).map_err(internal)?;
        }
        for function in functions::aggregates() {
            base.register_udaf(Arc::new(function)).map_err(internal)?;
        }
        // `->`, `->>` and `json_get(...)` into arguments and meta.
        datafusion_functions_json::register_all(&mut base).map_err(internal)?;
        let (handle, runtime) = (runtime.handle().clone(), Some(runtime));
        Ok(Engine { base, handle, runtime, progress: Progress::default(), plans: None })
    }

    /// Returns what the parser asks about the names in `text`, whose statements read `view`.
    pub fn catalog(&self, view: &View, text: &str) -> StatementCatalog<'_> {
        StatementCatalog { state: &self.base, view: view.clone(), named: names::label_names(text) }
    }

    /// Returns how far what runs is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Returns the names of all functions.
    pub fn function_names(&self) -> Vec<String> {
        let scalar = self.base.scalar_functions().keys();
        let aggregate = self.base.aggregate_functions().keys();
        let window = self.base.window_functions().keys();
        let mut names: Vec<String> = scalar.chain(aggregate).chain(window).cloned().collect();
        names.push(functions::EVERY.to_owned());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Plans a query.
    ///
    /// # Errors
    /// What is wrong with it, with its place where that can be said; damage in the store.
    pub fn prepare(
        &self,
        scope: &Scope<'_>,
        query: &QueryStatement,
    ) -> Result<Prepared, QueryError> {
        self.prepare_query(scope, query.query.as_ref().clone(), None)
    }

    /// Plans a query for the steps that its rows are: of its columns only those come out that say
    /// it, so that no other is read; and one more column, if an `expression` of the query's
    /// columns is given, called `name`.
    ///
    /// # Errors
    /// As [`Engine::prepare`]; places refer to the expression where the mistake is in it.
    pub fn prepare_places(
        &self,
        scope: &Scope<'_>,
        query: &QueryStatement,
        expression: Option<&str>,
        name: &'static str,
    ) -> Result<Prepared, QueryError> {
        let query = query.query.as_ref().clone();
        let query = match expression {
            Some(expression) => names::extended(query, expression, name)?,
            None => query,
        };
        self.prepare_query(scope, query, Some(name))
    }

    /// Plans `SELECT items FROM (query)`.
    ///
    /// # Errors
    /// As [`Engine::prepare`]; `items` that are no SQL are a bug.
    pub fn prepare_over(
        &self,
        scope: &Scope<'_>,
        query: &QueryStatement,
        items: &str,
    ) -> Result<Prepared, QueryError> {
        let over = names::over(query.query.as_ref().clone(), items);
        self.prepare_query(scope, over.map_err(QueryError::Bug)?, None)
    }

    fn prepare_query(
        &self,
        scope: &Scope<'_>,
        mut query: ast::Query,
        places_and: Option<&'static str>,
    ) -> Result<Prepared, QueryError> {
        arrows::bind(&mut query);
        quantified::part(&mut query);
        names::give_gold(&mut query);
        parameters::fill(&mut query, scope.parameters)?;
        let names = Names::of(&query);
        let known = |table: &str| known_table(scope, table);
        names.check_tables(&|| all_table_names(scope), &known)?;
        names.check_calls(scope.view)?;
        let undecided = Arc::new(AtomicU64::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let context = self.context(scope, &names, &undecided, &ended)?;
        let statement =
            PlannedStatement::Statement(Box::new(ast::Statement::Query(Box::new(query))));
        let state = context.state();
        let refused = |e: DataFusionError| planning_error(e, scope, &names, self);
        // A thread of the runtime has the stack for it.
        let planning = self.handle.spawn(async move {
            let mut logical = state.statement_to_plan(statement).await?;
            if let Some(name) = places_and {
                logical = places_only(logical, name)?;
            }
            let physical = state.create_physical_plan(&logical).await?;
            Ok((logical, physical))
        });
        let planned =
            self.handle.block_on(planning).unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(DataFusionError::External(Box::new(error))),
            });
        let (logical, physical) = planned.map_err(refused)?;
        let schema = physical.schema();
        let hidden = |name: &str| name == TRAJECTORY || name == STEP;
        let shown: Vec<usize> =
            (0..schema.fields().len()).filter(|at| !hidden(schema.field(*at).name())).collect();
        let labels = names.labels(&LabelNames::new(scope.view.catalogue()));
        let present = [StreamedTable::Datasets, StreamedTable::Runs, StreamedTable::Metrics];
        let present = present.map(StreamedTable::name).into_iter().filter(|t| names.reads(t));
        let present = present.collect();
        let scanned = ScanTable::ALL.into_iter().filter(|t| names.reads(t.name())).collect();
        let compared = names.compared;
        Ok(Prepared {
            logical,
            physical,
            context,
            shown,
            schema,
            undecided,
            ended,
            labels,
            compared,
            scanned,
            present,
        })
    }

    fn context(
        &self,
        scope: &Scope<'_>,
        names: &Names,
        undecided: &Arc<AtomicU64>,
        ended: &Arc<AtomicBool>,
    ) -> Result<SessionContext, QueryError> {
        let internal = |e: DataFusionError| QueryError::Bug(e.to_string());
        let context = SessionContext::new_with_state(self.base.clone());
        context.register_udf(functions::sample_key(scope.view));
        context.register_udf(functions::part_of());
        context.register_udaf(functions::every(undecided.clone()));
        let (progress, ended) = (self.progress.clone(), ended.clone());
        let finder = Finder::new(scope.database, scope.view, scope.cancel, progress, ended);
        let finder: Arc<dyn RowFinder> = Arc::new(finder);
        context.register_udf(functions::search_score(finder.clone()));
        // Tokenizers are kept for a statement.
        context.register_udf(functions::tokens());
        let public = Arc::new(MemorySchemaProvider::new());
        for table in ScanTable::ALL.into_iter().filter(|t| names.reads(t.name())) {
            let provider = ScanProvider::new(scope.view, table, &names.columns, finder.clone());
            public.register_table(table.name().to_owned(), Arc::new(provider)).map_err(internal)?;
        }
        for table in StreamedTable::ALL.into_iter().filter(|t| names.reads(t.name())) {
            let provider = streamed_provider(scope.view, table).map_err(internal)?;
            public.register_table(table.name().to_owned(), provider).map_err(internal)?;
        }
        for function in TableFunction::ALL.into_iter().filter(|f| names.calls(f.name())) {
            let calling = Arc::new(Calling::new(function, scope.view));
            context.register_udtf(function.name(), calling);
        }
        let catalog = context.catalog("swirl").ok_or_else(|| QueryError::Bug("catalog".into()))?;
        catalog.register_schema("public", public).map_err(internal)?;
        let datasets = Arc::new(MemorySchemaProvider::new());
        for name in &names.datasets {
            if let Some(provider) = dataset_table(scope, name, names, finder.clone())? {
                datasets.register_table(name.clone(), provider).map_err(internal)?;
            }
        }
        catalog.register_schema(DATASET_SCHEMA, datasets).map_err(internal)?;
        let corpora = Arc::new(MemorySchemaProvider::new());
        for name in &names.corpora {
            let provider = documents_table(scope.view, name).map_err(internal)?;
            corpora.register_table(name.clone(), provider).map_err(internal)?;
        }
        catalog.register_schema(CORPUS_SCHEMA, corpora).map_err(internal)?;
        Ok(context)
    }

    /// Runs a query and hands its batches to `visit`, hidden columns included, until `visit`
    /// breaks. Returns the number of rows handed over.
    ///
    /// # Errors
    /// [`QueryError::Cancelled`]; what fails while rows are made.
    pub fn run(
        &self,
        prepared: &Prepared,
        cancel: &Cancel,
        visit: &mut dyn FnMut(&RecordBatch) -> Result<ControlFlow<()>, QueryError>,
    ) -> Result<u64, QueryError> {
        self.progress.begin("reading rows", scanned_rows(prepared.physical.as_ref()));
        if let Some(plans) = &self.plans {
            let mut plans = plans.lock().unwrap_or_else(PoisonError::into_inner);
            plans.push(prepared.physical.clone());
        }
        let task = prepared.context.task_ctx();
        let _inside = self.handle.enter();
        let mut stream = execute_stream(prepared.physical.clone(), task)?;
        // The rows are made by the runtime's threads. This one only waits, and by the clock of the
        // system: an operator that does not pause for long keeps theirs from going on.
        let (sender, mut batches) = tokio::sync::mpsc::channel(1);
        let waiting = std::thread::current();
        let making = SpawnedTask::spawn(async move {
            while let Some(batch) = stream.next().await {
                if sender.send(batch).await.is_err() {
                    return;
                }
                waiting.unpark();
            }
            drop(sender);
            waiting.unpark();
        });
        let mut rows = 0;
        loop {
            if cancel.is_cancelled() {
                prepared.ended.store(true, Ordering::Relaxed);
                return Err(QueryError::Cancelled);
            }
            let batch = match batches.try_recv() {
                Ok(batch) => batch.map_err(QueryError::from)?,
                Err(TryRecvError::Empty) => {
                    std::thread::park_timeout(CANCEL_EVERY);
                    continue;
                }
                Err(TryRecvError::Disconnected) => {
                    // No more rows, or no one left to make them.
                    let ended = self.handle.block_on(making.join_unwind());
                    return ended.map(|()| rows).map_err(|e| QueryError::Bug(e.to_string()));
                }
            };
            rows += batch.num_rows() as u64;
            if visit(&batch)?.is_break() {
                prepared.ended.store(true, Ordering::Relaxed);
                return Ok(rows);
            }
        }
    }

    /// Returns the plan of a query as text. `analyze`: after it ran, with what each part did.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn explain(
        &self,
        prepared: &Prepared,
        analyze: bool,
        cancel: &Cancel,
    ) -> Result<String, QueryError> {
        if !analyze {
            let logical = prepared.context.state().optimize(&prepared.logical)?;
            let physical = displayable(prepared.physical.as_ref()).indent(false);
            return Ok(format!("{}\n\n{physical}", logical.display_indent()));
        }
        let rows = self.run(prepared, cancel, &mut |_| Ok(ControlFlow::Continue(())))?;
        Ok(format!("{}rows: {rows}\n", measured(prepared.physical.as_ref())))
    }

    /// Keeps the plans that are run from now on.
    pub fn keep_plans(&mut self) {
        self.plans = Some(Mutex::default());
    }

    /// Returns the plans that were run since this was asked last, with what each operator did.
    pub fn take_plans(&self) -> Vec<String> {
        let Some(plans) = &self.plans else { return Vec::new() };
        let plans = std::mem::take(&mut *plans.lock().unwrap_or_else(PoisonError::into_inner));
        plans.iter().map(|plan| measured(plan.as_ref())).collect()
    }
}

/// Returns a plan that was run, with what each operator did.
fn measured(plan: &dyn ExecutionPlan) -> String {
    DisplayableExecutionPlan::with_metrics(plan).indent(false).to_string()
}

impl Drop for Engine {
    /// Leaves behind what was cancelled and does not pause; what does is waited for.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(LEFT_BEHIND_AFTER);
        }
    }
}

impl Prepared {
    /// Returns the columns that are shown.
    pub fn schema(&self) -> Schema {
        let fields = self.shown.iter().map(|at| self.schema.field(*at).clone());
        json_text::shown_schema(&Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Returns all columns, hidden ones included.
    pub fn full_schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Returns a batch with the columns that are shown.
    ///
    /// # Errors
    /// A bug: the batch is not of this query.
    pub fn shown(&self, batch: &RecordBatch) -> Result<RecordBatch, QueryError> {
        let shown = batch.project(&self.shown).and_then(json_text::shown);
        shown.map_err(|e| QueryError::Bug(e.to_string()))
    }

    /// Returns how many trajectories `every` left out, in the rows made so far, because a step
    /// had no label.
    pub fn undecided(&self) -> u64 {
        self.undecided.load(Ordering::Relaxed)
    }
}

impl Prepared {
    /// Returns what the query compares columns with that no row has: a sentence for each value,
    /// with the nearest one there is. Of columns with few different values only.
    pub fn unknown_values(&self, view: &View) -> Vec<String> {
        const VALUES_MAX: usize = 200;
        let mut told = Vec::new();
        for (column, value) in &self.compared {
            let known = self.scanned.iter().find_map(|table| {
                Some((table.name(), super::table::text_values(view, *table, column, VALUES_MAX)?))
            });
            let Some((table, known)) = known else { continue };
            if known.is_empty() || known.contains(value) {
                continue;
            }
            let names = || known.iter().map(String::as_str);
            let instead = match did_you_mean(value, names()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("there are {}", list_some(names())),
            };
            let sentence = format!("no row of {table} has {column} '{value}': {instead}");
            if !told.contains(&sentence) {
                told.push(sentence);
            }
        }
        told
    }
}

/// Makes physical plans of ours and of the engine's own parts.
#[derive(Debug)]
struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let planner =
            DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(RecognitionPlanner)]);
        planner.create_physical_plan(plan, session).await
    }
}

/// Returns a plan with only those columns that say which steps the rows are, and the one called
/// `name`. A plan without any is left as it is.
fn places_only(plan: LogicalPlan, name: &str) -> datafusion::common::Result<LogicalPlan> {
    let schema = plan.schema();
    let has = |name: &str| schema.fields().iter().any(|field| field.name() == name);
    let kept: &[&str] = match (has(TRAJECTORY), has(STEP)) {
        (true, true) => &[TRAJECTORY, STEP],
        (true, false) => &[TRAJECTORY, "step"],
        (false, _) => &["trajectory_id", "source", "step", "chosen_id", "rejected_id"],
    };
    let columns = schema.iter().filter(|(_, field)| {
        let known = field.name().as_str();
        kept.contains(&known) || known == name
    });
    let columns: Vec<Expr> = columns.map(|column| Expr::Column(Column::from(column))).collect();
    if columns.is_empty() || columns.len() == schema.fields().len() {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// Returns how many rows the scans of a plan look at.
fn scanned_rows(plan: &dyn ExecutionPlan) -> u64 {
    let own = plan.downcast_ref::<ScanExec>().map_or(0, ScanExec::rows_scanned);
    own + plan.children().into_iter().map(|child| scanned_rows(child.as_ref())).sum::<u64>()
}

/// What the parser asks about names, answered by the functions and tables there are.
pub struct StatementCatalog<'a> {
    state: &'a SessionState,
    view: View,
    named: Vec<String>,
}

impl Catalog for StatementCatalog<'_> {
    fn is_aggregate(&self, name: &str) -> bool {
        name == functions::EVERY || self.state.aggregate_functions().contains_key(name)
    }

    fn is_scalar(&self, name: &str) -> bool {
        self.state.scalar_functions().contains_key(name)
    }

    fn has_identity(&self, table: &str) -> bool {
        let scanned = ScanTable::ALL.iter().any(|t| t.name() == table);
        let called = TableFunction::ALL.iter().find(|f| f.name() == table);
        scanned
            || called.is_some_and(|function| function.has_identity())
            || table == StreamedTable::ToolCalls.name()
            || table.starts_with(&format!("{DATASET_SCHEMA}."))
    }

    fn ids_are_unique(&self) -> bool {
        self.view.catalogue().sources.len() <= 1
    }

    fn columns(&self, table: &str) -> Option<Vec<String>> {
        let table = match table.split_once('.') {
            Some((DATASET_SCHEMA, _)) => ScanTable::Subtrajectories.name(),
            Some((CORPUS_SCHEMA, _)) => {
                return Some(document_columns().map(|(name, _)| name.to_owned()).collect());
            }
            _ => table,
        };
        match ScanTable::ALL.into_iter().find(|t| t.name() == table) {
            Some(scanned) => {
                let columns = table_columns(&self.view, scanned, &self.named).into_iter();
                Some(columns.filter(|c| !c.hidden).map(|c| c.name).collect())
            }
            None => Some(column_names(&self.view, table)).filter(|names| !names.is_empty()),
        }
    }
}

/// Returns the names of the tables that every database has.
pub fn table_names() -> Vec<String> {
    let scanned = ScanTable::ALL.iter().map(|t| t.name().to_owned());
    let streamed = StreamedTable::ALL.iter().map(|t| t.name().to_owned());
    scanned.chain(streamed).collect()
}

/// Returns the different values of a text column, sorted, unless they are more than `max`, or the
/// column is not read without fetching records.
pub fn table_values(view: &View, table: &str, column: &str, max: usize) -> Option<Vec<String>> {
    let table = ScanTable::ALL.into_iter().find(|t| t.name() == table)?;
    super::table::text_values(view, table, column, max)
}

fn all_table_names(scope: &Scope<'_>) -> Vec<String> {
    let datasets = scope.database.store().datasets().unwrap_or_default();
    let datasets = datasets.into_iter().map(|d| format!("{DATASET_SCHEMA}.{}", d.name));
    let corpora = scope.database.store().corpora().unwrap_or_default();
    let corpora = corpora.into_iter().map(|c| format!("{CORPUS_SCHEMA}.{}", c.name));
    table_names().into_iter().chain(datasets).chain(corpora).collect()
}

fn known_table(scope: &Scope<'_>, table: &str) -> Result<bool, QueryError> {
    let store = scope.database.store();
    let failed = |e| QueryError::Database(Box::new(DbError::Store(e)));
    match table.split_once('.') {
        Some((DATASET_SCHEMA, name)) => {
            store.dataset(name).map(|dataset| dataset.is_some()).map_err(failed)
        }
        Some((CORPUS_SCHEMA, name)) => {
            store.corpus(name).map(|corpus| corpus.is_some()).map_err(failed)
        }
        _ => {
            let scanned = ScanTable::ALL.iter().any(|t| t.name() == table);
            Ok(scanned || StreamedTable::ALL.iter().any(|t| t.name() == table))
        }
    }
}

/// Returns the saved rows as a table with the columns of subtrajectories, or `None` where there
/// is no such dataset.
fn dataset_table(
    scope: &Scope<'_>,
    name: &str,
    names: &Names,
    finder: Arc<dyn RowFinder>,
) -> Result<Option<Arc<dyn TableProvider>>, QueryError> {
    let store = scope.database.store();
    let failed = |e| QueryError::Database(Box::new(DbError::Store(e)));
    if store.dataset(name).map_err(failed)?.is_none() {
        return Ok(None);
    }
    let saved = store.dataset_rows(name).map_err(failed)?;
    let mut ordinals: Vec<u64> = saved.iter().map(|r| r.trajectory).collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    let headers = scope.view.headers(&ordinals).map_err(failed)?;
    let first: HashMap<u64, u64> =
        ordinals.into_iter().zip(headers.iter().map(|h| h.first_row)).collect();
    let row = |r: &crate::codec::DatasetRow| {
        first.get(&r.trajectory).map(|first| first + u64::from(r.step) - 1)
    };
    let mut rows: Vec<u64> = saved.iter().filter_map(row).collect();
    rows.sort_unstable();
    rows.dedup();
    let table = ScanTable::Subtrajectories;
    let provider = ScanProvider::new(scope.view, table, &names.columns, finder);
    Ok(Some(Arc::new(provider.restricted(Arc::new(rows)))))
}

/// Returns every name that may stand for a column of `table`, for "did you mean" and completion.
pub fn column_names(view: &View, table: &str) -> Vec<String> {
    let Some(table) = ScanTable::ALL.into_iter().find(|t| t.name() == table) else {
        let streamed = StreamedTable::ALL.into_iter().find(|t| t.name() == table);
        let called = || TableFunction::ALL.into_iter().find(|f| f.name() == table);
        let columns = match streamed {
            Some(streamed) => streamed.columns(),
            None => called().map(TableFunction::columns).unwrap_or_default(),
        };
        let shown = columns.iter().map(|(name, _, _)| (*name).to_owned());
        return shown.filter(|name| !name.starts_with('_')).collect();
    };
    let columns = table_columns(view, table, &[]);
    columns.into_iter().filter(|c| !c.hidden).map(|c| c.name).collect()
}

/// Returns the number of rows of a table that the store knows without reading.
pub fn row_count(view: &View, table: &str) -> Option<u64> {
    match table {
        "trajectories" => Some(view.count(TableId::Trajectories)),
        "steps" | "subtrajectories" => Some(view.count(TableId::Steps)),
        _ => None,
    }
}
