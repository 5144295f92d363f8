//! Windows computed batch by batch, against DataFusion's own operators and by hand.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, UInt64Type};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::{displayable, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext, col};
use futures::TryStreamExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use swirldb::exchange::content_hash;
use swirldb::model::{Message, Step, ToolCall, Trajectory, role};
use swirldb::query::WindowsByBatch;
use swirldb::session::{Outcome, Session, SessionOptions};
use swirldb::store::{Durability, Incoming};
use tokio::runtime::Runtime;

use crate::session::Kept;

/// A row: its partition (null is one too), its place in the order (rows may share one), values.
#[derive(Clone, Debug)]
struct Row {
    step: Option<i64>,
    integer: Option<i64>,
    float: Option<f64>,
    text: Option<String>,
    truth: Option<bool>,
}

/// Partitions with their rows, the sizes of batches, the table's parts and the engine's.
#[derive(Clone, Debug)]
struct World {
    partitions: Vec<Vec<Row>>,
    batches: Vec<usize>,
    parts: usize,
    threads: usize,
}

fn row() -> impl Strategy<Value = Row> {
    let integer = prop_oneof![
        4 => (-9..9i64).prop_map(Some),
        1 => Just(Some(i64::MAX)),
        1 => Just(Some(i64::MIN)),
        2 => Just(None),
    ];
    let float = prop_oneof![
        6 => (-1e3..1e3f64).prop_map(Some),
        1 => prop::sample::select(vec![0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, 1e300])
            .prop_map(Some),
        2 => Just(None),
    ];
    let text = prop::option::of(prop::sample::select(vec![
        "search",
        "",
        "a text that does not fit into a view of sixteen bytes",
        "réponse",
    ]));
    let step = prop::option::weighted(0.9, 0..6i64);
    (step, integer, float, text, prop::option::of(any::<bool>())).prop_map(
        |(step, integer, float, text, truth)| {
            let text = text.map(str::to_owned);
            Row { step, integer, float, text, truth }
        },
    )
}

fn world() -> impl Strategy<Value = World> {
    let size = prop_oneof![6 => 1..7usize, 1 => 20..60usize];
    let rows = size.prop_flat_map(|size| prop::collection::vec(row(), size));
    let partitions = prop::collection::vec(rows, 0..14);
    (partitions, prop::collection::vec(1..9usize, 1..5), 1..4usize, 1..4usize).prop_map(
        |(mut partitions, batches, parts, threads)| {
            for rows in &mut partitions {
                rows.sort_by_key(|row| (row.step.is_none(), row.step));
            }
            World { partitions, batches, parts, threads }
        },
    )
}

/// Returns the rows of partitions, each with its number; the last partition's number is null.
fn batch(partitions: &[(usize, &Vec<Row>)], last: usize, first_row: &mut i64) -> RecordBatch {
    let number = |at: usize| (at != last).then_some(at as i64);
    let keys = partitions.iter().flat_map(|(at, rows)| rows.iter().map(|_| number(*at)));
    let rows: Vec<&Row> = partitions.iter().flat_map(|(_, rows)| rows.iter()).collect();
    let numbers = *first_row..*first_row + rows.len() as i64;
    *first_row = numbers.end;
    let truths: BooleanArray = rows.iter().map(|row| row.truth).collect();
    let texts: StringViewArray = rows.iter().map(|row| row.text.as_deref()).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter(keys)),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.step))),
        Arc::new(Int64Array::from_iter_values(numbers)),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.integer))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.float))),
        Arc::new(texts),
        Arc::new(truths),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn schema() -> Arc<Schema> {
    let field = |(name, kind): (&str, DataType)| Field::new(name, kind, name != "n");
    let fields = [
        ("trajectory_id", DataType::Int64),
        ("step", DataType::Int64),
        ("n", DataType::Int64),
        ("i", DataType::Int64),
        ("f", DataType::Float64),
        ("t", DataType::Utf8View),
        ("b", DataType::Boolean),
    ];
    Arc::new(Schema::new(fields.into_iter().map(field).collect::<Vec<_>>()))
}

impl World {
    /// Returns a context whose table holds the rows, sorted in each of its parts.
    fn context(&self, with_rule: bool) -> SessionContext {
        let last = self.partitions.len().saturating_sub(1);
        let mut first_row = 0;
        let mut sizes = self.batches.iter().copied().cycle();
        let part = |part: usize| {
            let of_part = |(at, _): &(usize, &Vec<Row>)| at % self.parts == part;
            let own: Vec<_> = self.partitions.iter().enumerate().filter(of_part).collect();
            let whole = batch(&own, last, &mut first_row);
            let (mut cut, mut from) = (Vec::new(), 0);
            while from < whole.num_rows() {
                let size = sizes.next().unwrap_or(1).min(whole.num_rows() - from);
                cut.push(whole.slice(from, size));
                from += size;
            }
            cut
        };
        let parts: Vec<_> = (0..self.parts).map(part).collect();
        let order = ["trajectory_id", "step", "n"].map(|name| col(name).sort(true, false));
        let table = MemTable::try_new(schema(), parts).unwrap();
        let table = table.with_sort_order(vec![order.to_vec()]);
        let mut config = SessionConfig::new().with_target_partitions(self.threads);
        // Rows that are equal in the order keep theirs.
        config.options_mut().optimizer.prefer_existing_sort = true;
        let mut state = SessionStateBuilder::new().with_config(config).with_default_features();
        if with_rule {
            state = state.with_physical_optimizer_rule(Arc::new(WindowsByBatch));
        }
        let context = SessionContext::new_with_state(state.build());
        context.register_table("steps", Arc::new(table)).unwrap();
        context
    }
}

/// What a statement gives, as one batch, and its plan.
type Answer = (RecordBatch, String);

fn try_answer(runtime: &Runtime, context: &SessionContext, text: &str) -> Result<Answer, String> {
    let answer = async {
        let plan = context.sql(text).await?.create_physical_plan().await?;
        let shown = displayable(plan.as_ref()).indent(false).to_string();
        let schema = plan.schema();
        let batches: Vec<_> = execute_stream(plan, context.task_ctx())?.try_collect().await?;
        Ok((concat_batches(&schema, &batches)?, shown))
    };
    let answer: datafusion::common::Result<_> = runtime.block_on(answer);
    answer.map_err(|error| error.to_string())
}

fn answer(runtime: &Runtime, context: &SessionContext, text: &str) -> Answer {
    let answer = try_answer(runtime, context, text);
    answer.unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// Functions with the windows below, all of which are computed batch by batch.
const FUNCTIONS: [&str; 43] = [
    "lead(i)",
    "lead(t)",
    "lead(b, 2)",
    "lead(t, 1, 'none')",
    "lead(i, -1)",
    "lead(i, 9223372036854775806)",
    "lead(NULL, 1, 7)",
    "lag(i)",
    "lag(f, 3, 0.5)",
    "lag(t, 0)",
    "lag(n + 1, 2, 5)",
    "lag(make_array(i, n))",
    "row_number()",
    "rank()",
    "dense_rank()",
    "first_value(i)",
    "first_value(t)",
    "last_value(i)",
    "last_value(t)",
    "nth_value(i, 2)",
    "nth_value(t, 3)",
    "nth_value(i, -2)",
    "count(*)",
    "count(t)",
    "count(i, f)",
    "count(DISTINCT t)",
    "sum(i)",
    "sum(f)",
    "sum(arrow_cast(n, 'UInt64'))",
    "sum(arrow_cast(n, 'Decimal128(20, 2)'))",
    "avg(i)",
    "avg(f)",
    "min(i)",
    "min(f)",
    "min(t)",
    "min(b)",
    "max(i)",
    "max(f)",
    "max(arrow_cast(n, 'Timestamp(Microsecond, None)'))",
    "bool_and(b)",
    "stddev(n)",
    "string_agg(t, ',')",
    "array_agg(i)",
];

const WINDOWS: [&str; 6] = [
    "PARTITION BY trajectory_id ORDER BY step",
    "PARTITION BY trajectory_id ORDER BY step, n",
    "PARTITION BY trajectory_id ORDER BY step ROWS UNBOUNDED PRECEDING",
    "PARTITION BY trajectory_id ORDER BY step, n ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED \
     FOLLOWING",
    "PARTITION BY trajectory_id",
    "PARTITION BY trajectory_id, step ORDER BY n",
];

/// Windows that only some functions are computed over batch by batch: against the order of rows,
/// functions and frames are turned around instead, where they can be.
const OTHER_WINDOWS: [&str; 3] = [
    "PARTITION BY trajectory_id ORDER BY step DESC, n DESC",
    "PARTITION BY trajectory_id ORDER BY step, n ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING",
    "PARTITION BY step ORDER BY n",
];

/// Returns a batch with the same NaN everywhere: the sign of one that was computed is left open.
fn with_one_nan(batch: &RecordBatch) -> RecordBatch {
    let column = |column: &ArrayRef| match column.as_primitive_opt::<Float64Type>() {
        Some(floats) => {
            let one_nan = |value: f64| if value.is_nan() { f64::NAN } else { value };
            Arc::new(floats.unary::<_, Float64Type>(one_nan)) as ArrayRef
        }
        None => column.clone(),
    };
    RecordBatch::try_new(batch.schema(), batch.columns().iter().map(column).collect()).unwrap()
}

#[test]
fn values_are_those_of_the_other_operator() {
    let runtime = Runtime::new().unwrap();
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let windows = WINDOWS.len() + OTHER_WINDOWS.len();
    let columns = prop::collection::vec((0..FUNCTIONS.len(), 0..windows), 1..5);
    let outcome = runner.run(&(world(), columns), |(world, columns)| {
        let mut text = "SELECT n, trajectory_id, t".to_owned();
        for (at, (function, window)) in columns.iter().enumerate() {
            let window = WINDOWS.iter().chain(&OTHER_WINDOWS).nth(*window).unwrap();
            let function = FUNCTIONS[*function];
            write!(text, ", {function} OVER ({window}) AS c{at}").unwrap();
        }
        text.push_str(" FROM steps ORDER BY n");
        let all_covered = columns.iter().all(|(_, window)| *window < WINDOWS.len());
        let expected = try_answer(&runtime, &world.context(false), &text);
        let found = try_answer(&runtime, &world.context(true), &text);
        let (expected, found) = match (expected, found) {
            (Ok((expected, _)), Ok((found, plan))) => {
                let replaced = plan.contains("WindowsByBatch");
                prop_assert!(replaced || !all_covered, "{}\n{}", text, plan);
                (expected, found)
            }
            // Not every aggregate can be turned around.
            (Err(expected), Err(found)) if !all_covered => {
                prop_assert_eq!(found, expected, "{}", text);
                return Ok(());
            }
            (expected, found) => {
                prop_assert!(false, "{}\n{:?}\n{:?}", text, expected.err(), found.err());
                return Ok(());
            }
        };
        prop_assert_eq!(with_one_nan(&found), with_one_nan(&expected), "{}", text);
        Ok(())
    });
    outcome.unwrap();
}

/// A few partitions, enough for a plan.
fn small_world() -> World {
    let row = Row { step: Some(1), integer: Some(1), float: None, text: None, truth: None };
    World { partitions: vec![vec![row; 3]; 4], batches: vec![5], parts: 2, threads: 2 }
}

#[test]
fn each_function_is_covered_and_the_rest_is_left_alone() {
    let runtime = Runtime::new().unwrap();
    let context = small_world().context(true);
    let plan = |column: &str| {
        let text = format!("SELECT n, {column} AS c FROM steps");
        answer(&runtime, &context, &text).1
    };
    for (function, window) in FUNCTIONS.iter().flat_map(|f| WINDOWS.map(|w| (f, w))) {
        let column = format!("{function} OVER ({window})");
        let plan = plan(&column);
        assert!(plan.contains("WindowsByBatch") && !plan.contains("WindowAgg"), "{column}\n{plan}");
    }
    let others = [
        "count(*) FILTER (WHERE b) OVER (PARTITION BY trajectory_id ORDER BY step)",
        "lead(i) IGNORE NULLS OVER (PARTITION BY trajectory_id ORDER BY step)",
        "lag(i, 2) IGNORE NULLS OVER (PARTITION BY trajectory_id ORDER BY step)",
        "first_value(i) IGNORE NULLS OVER (PARTITION BY trajectory_id ORDER BY step)",
        "last_value(i) IGNORE NULLS OVER (PARTITION BY trajectory_id ORDER BY step)",
        "nth_value(i, 2) IGNORE NULLS OVER (PARTITION BY trajectory_id ORDER BY step)",
        "nth_value(i, 600) OVER (PARTITION BY trajectory_id ORDER BY step)",
        "sum(i) OVER (PARTITION BY trajectory_id ORDER BY step ROWS 2 PRECEDING)",
        "sum(i) OVER (PARTITION BY trajectory_id ORDER BY step ROWS BETWEEN CURRENT ROW AND \
         UNBOUNDED FOLLOWING)",
        "percent_rank() OVER (PARTITION BY trajectory_id ORDER BY step)",
        "ntile(2) OVER (PARTITION BY trajectory_id ORDER BY step)",
        "sum(i) OVER (ORDER BY trajectory_id, step)",
        // A partition of unknown size is not held for what DataFusion holds a few rows for.
        "sum(i) OVER (PARTITION BY t ORDER BY step)",
    ];
    for column in others {
        let plan = plan(column);
        assert!(!plan.contains("WindowsByBatch") && plan.contains("WindowAgg"), "{column}\n{plan}");
    }
}

#[test]
fn no_rows_have_no_windows() {
    let runtime = Runtime::new().unwrap();
    let world = World { partitions: Vec::new(), ..small_world() };
    let text = "SELECT n, sum(i) OVER (PARTITION BY trajectory_id ORDER BY step) AS s, \
                lead(t) OVER (PARTITION BY trajectory_id ORDER BY step) AS l FROM steps";
    let (expected, _) = answer(&runtime, &world.context(false), text);
    let (found, plan) = answer(&runtime, &world.context(true), text);
    assert!(plan.contains("WindowsByBatch"), "{plan}");
    assert_eq!((found.num_rows(), &found), (0, &expected));
    // A table of rows, of which a filter leaves none.
    let text = text.replace("FROM steps", "FROM (SELECT * FROM steps WHERE i > 100)");
    let (found, _) = answer(&runtime, &small_world().context(true), &text);
    assert_eq!((found.num_rows(), found.schema()), (0, expected.schema()));
}

/// Returns a session over trajectories of so many steps each, of one source.
fn session(folder: &std::path::Path, sizes: &[usize]) -> Session {
    let options = SessionOptions { memory_bytes: 128 << 20, threads: 2, read_only: false };
    let session = Session::open(&folder.join("db"), options, true).unwrap();
    let step = |number: usize| {
        let name = ["search", "python", "shell"][number % 3].to_owned();
        let tool_calls = vec![ToolCall { id: None, name, arguments: "{}".to_owned() }];
        let role = role::ASSISTANT.to_owned();
        let action = Message { role, tool_calls, ..Message::default() };
        let observation = vec![Message::new(role::TOOL, "x".repeat(number))];
        Step { action, observation, ..Step::default() }
    };
    let incoming = |(number, size): (usize, &usize)| {
        let trajectory = Trajectory {
            source: "made".to_owned(),
            id: format!("{number}"),
            steps: (0..*size).map(step).collect(),
            ..Trajectory::default()
        };
        let content_hash = content_hash(&trajectory);
        Incoming { trajectory, content_hash, labels: Vec::new() }
    };
    let batch: Vec<Incoming> = sizes.iter().enumerate().map(incoming).collect();
    session.database().store().append(&batch, &[], Durability::Later).unwrap();
    session
}

fn run(session: &Session, text: &str) -> (Vec<RecordBatch>, Outcome) {
    let mut kept = Kept::default();
    let statements = session.parse(text).unwrap_or_else(|e| panic!("{text}\n{}", e.render()));
    let ran = session.run(&statements[0], text, &mut kept);
    let outcome = ran.unwrap_or_else(|e| panic!("{text}\n{}", e.render()));
    (kept.batches, outcome)
}

/// Steps enough for two threads, several batches and trajectories that lie in two of them.
#[test]
fn trajectories_lie_across_batches() {
    let folder = tempfile::tempdir().unwrap();
    let sizes: Vec<usize> = (0..900).map(|number| 1 + number * 7 % 97).collect();
    let session = session(folder.path(), &sizes);
    let text = "SELECT step, n_steps,
            lead(step) OVER t AS next,
            lag(step, 2, 0) OVER t AS earlier,
            sum(observation_chars) OVER (PARTITION BY trajectory_id ORDER BY step
                ROWS UNBOUNDED PRECEDING) AS prefix,
            count(*) OVER (PARTITION BY trajectory_id) AS steps,
            row_number() OVER t AS number
        FROM steps WINDOW t AS (PARTITION BY trajectory_id ORDER BY step)";
    let plan = format!("{:?}", run(&session, &format!("EXPLAIN {text}")).1);
    assert!(plan.contains("WindowsByBatch"), "{plan}");
    assert!(!plan.contains("WindowAggExec") && !plan.contains("SortExec"), "{plan}");
    let (batches, _) = run(&session, text);
    assert!(batches.len() > 2, "{} batches", batches.len());
    let mut seen = sizes.iter().flat_map(|size| (1..=*size as i64).map(move |s| (s, *size as i64)));
    for batch in &batches {
        let column = |at: usize| batch.column(at).as_primitive::<Int64Type>();
        let numbers = batch.column(6).as_primitive::<UInt64Type>();
        for row in 0..batch.num_rows() {
            let (step, size) = seen.next().unwrap();
            assert_eq!((column(0).value(row), column(1).value(row)), (step, size));
            let next = column(2).is_valid(row).then(|| column(2).value(row));
            assert_eq!(next, (step < size).then_some(step + 1));
            assert_eq!(column(3).value(row), (step - 2).max(0));
            assert_eq!(column(4).value(row), step * (step - 1) / 2);
            assert_eq!((column(5).value(row), numbers.value(row)), (size, step as u64));
        }
    }
    assert!(seen.next().is_none());
}

#[test]
fn undecided_trajectories_are_all_counted_before_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(folder.path(), &[3; 12_000]);
    let text = "SELECT trajectory_id FROM steps WHERE every(step % 3 > 0 OR NULL) LIMIT 1";
    let outcome = run(&session, text).1;
    assert!(matches!(outcome, Outcome::Rows { rows: 0, undecided: 12_000 }), "{outcome:?}");
    let text = "SELECT trajectory_id FROM steps
        WHERE every(trajectory_id::BIGINT % 2 = 0 OR NULL) LIMIT 1";
    let outcome = run(&session, text).1;
    assert!(matches!(outcome, Outcome::Rows { rows: 1, undecided: 6_000 }), "{outcome:?}");
}

#[test]
fn source_and_id_are_the_trajectory_where_ids_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let session = crate::session::world(folder.path());
    let others = crate::session::fixture("agentprocess/trajectories.jsonl");
    crate::session::load(&session, &others, None);
    let longest = |keys: &str| {
        format!(
            "SELECT max(n) AS n FROM (SELECT count(*) OVER (PARTITION BY {keys} ORDER BY step) \
             AS n FROM steps)"
        )
    };
    let sorts =
        |keys: &str| crate::session::table_of_plan(&session, &longest(keys)).contains("SortExec");
    assert!(sorts("trajectory_id"), "an id of two sources is one partition");
    for keys in ["source, trajectory_id", "trajectory_id, source"] {
        assert!(!sorts(keys), "{keys}");
        let n_steps = crate::session::number(&session, "SELECT max(n_steps) FROM trajectories");
        assert_eq!(crate::session::number(&session, &longest(keys)), n_steps);
    }
    assert!(sorts("source, trajectory_id, tool"));
}
