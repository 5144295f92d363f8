//! The language: statements against the SQL they become, the rows an engine returns for that SQL,
//! and the messages for everything that is not a statement.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{Result as EngineResult, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use swirldb::diag::Diagnostic;
use swirldb::query::syntax::{
    Catalog, Limits, Literal, NameKind, Open, PART_OF, QueryStatement, SAMPLE_KEY, STEP, ShowWhat,
    StatementKind, TRAJECTORY, Then, TokenClass, complete, highlight, parse, parse_within, split,
    unresolved_name,
};

/// `every(p)`: true if p is true of all rows, null if none is false and one is null.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Every(Signature);

#[derive(Debug, Default)]
struct EveryState {
    has_false: bool,
    has_null: bool,
}

impl AggregateUDFImpl for Every {
    fn name(&self) -> &str {
        "every"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn return_type(&self, _: &[DataType]) -> EngineResult<DataType> {
        Ok(DataType::Boolean)
    }
    fn accumulator(&self, _: AccumulatorArgs<'_>) -> EngineResult<Box<dyn Accumulator>> {
        Ok(Box::<EveryState>::default())
    }
    fn state_fields(
        &self,
        _: datafusion::logical_expr::function::StateFieldsArgs<'_>,
    ) -> EngineResult<Vec<Arc<Field>>> {
        let field = |name| Arc::new(Field::new(name, DataType::Boolean, true));
        Ok(vec![field("has_false"), field("has_null")])
    }
}

impl Accumulator for EveryState {
    fn update_batch(&mut self, values: &[ArrayRef]) -> EngineResult<()> {
        let values = values[0].as_any().downcast_ref::<BooleanArray>().expect("booleans");
        self.has_null |= values.null_count() > 0;
        self.has_false |= values.iter().flatten().any(|value| !value);
        Ok(())
    }
    fn evaluate(&mut self) -> EngineResult<ScalarValue> {
        Ok(ScalarValue::Boolean(match (self.has_false, self.has_null) {
            (true, _) => Some(false),
            (false, true) => None,
            (false, false) => Some(true),
        }))
    }
    fn size(&self) -> usize {
        size_of::<EveryState>()
    }
    fn state(&mut self) -> EngineResult<Vec<ScalarValue>> {
        Ok(vec![self.has_false.into(), self.has_null.into()])
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> EngineResult<()> {
        let any = |array: &ArrayRef| {
            let array = array.as_any().downcast_ref::<BooleanArray>().expect("booleans");
            array.iter().flatten().any(|value| value)
        };
        self.has_false |= any(&states[0]);
        self.has_null |= any(&states[1]);
        Ok(())
    }
}

/// The hexadecimal BLAKE3 of the arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
struct HashOf(&'static str, Signature);

impl ScalarUDFImpl for HashOf {
    fn name(&self) -> &str {
        self.0
    }
    fn signature(&self) -> &Signature {
        &self.1
    }
    fn return_type(&self, _: &[DataType]) -> EngineResult<DataType> {
        Ok(DataType::Utf8)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> EngineResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let keys = (0..args.number_rows).map(|row| {
            let parts = arrays.iter().map(|array| array_value_to_string(array, row));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            Ok(Some(blake3::hash(parts.join("/").as_bytes()).to_hex().to_string()))
        });
        let keys = keys.collect::<EngineResult<Vec<_>>>()?;
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(keys))))
    }
}

/// An engine with a few small tables, cut into partitions so that order must be asked for.
struct Engine {
    context: SessionContext,
    runtime: tokio::runtime::Runtime,
}

impl Engine {
    fn new() -> Engine {
        let config = SessionConfig::new()
            .with_target_partitions(4)
            .with_batch_size(2)
            .set_bool("datafusion.sql_parser.enable_subquery_sort_elimination", false)
            .set_bool("datafusion.sql_parser.collect_spans", true);
        let context = SessionContext::new_with_config(config);
        let any = || Signature::variadic_any(Volatility::Immutable);
        for name in [SAMPLE_KEY, PART_OF] {
            context.register_udf(ScalarUDF::new_from_impl(HashOf(name, any())));
        }
        let boolean = Signature::exact(vec![DataType::Boolean], Volatility::Immutable);
        context.register_udaf(AggregateUDF::new_from_impl(Every(boolean)));
        for (name, batch) in [("steps", steps()), ("trajectories", trajectories())] {
            context.register_table(name, partitioned(&batch)).expect("a new table");
        }
        context.register_table("notes", partitioned(&notes())).expect("a new table");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Engine { context, runtime }
    }

    fn catalog(&self) -> EngineCatalog {
        let state = self.context.state();
        EngineCatalog {
            aggregates: state.aggregate_functions().keys().cloned().collect(),
            scalars: state.scalar_functions().keys().cloned().collect(),
        }
    }

    fn query(&self, text: &str) -> QueryStatement {
        match self.parse(text) {
            Ok(query) => query,
            Err(error) => panic!("{}", error.render(text)),
        }
    }

    fn parse(&self, text: &str) -> Result<QueryStatement, Diagnostic> {
        let mut statements = parse(text, &self.catalog())?;
        assert_eq!(statements.len(), 1, "one statement: {text}");
        match statements.remove(0).kind {
            StatementKind::Query(query) => Ok(query),
            other => panic!("a query: {other:?}"),
        }
    }

    /// Returns the names of the columns and the rows as text, hidden columns left out.
    fn rows(&self, query: &QueryStatement) -> Result<Vec<String>, String> {
        let statement = SqlStatement::Query(query.query.clone());
        let statement = EngineStatement::Statement(Box::new(statement));
        let batches = self.runtime.block_on(async {
            let plan = self.context.state().statement_to_plan(statement).await?;
            let frame = self.context.execute_logical_plan(plan).await?;
            let schema = Arc::new(frame.schema().as_arrow().clone());
            Ok::<_, datafusion::error::DataFusionError>((schema, frame.collect().await?))
        });
        let (schema, batches) = batches.map_err(|error| error.strip_backtrace())?;
        let hidden = |name: &str| name == TRAJECTORY || name == STEP;
        let hidden_columns = schema.fields().iter().filter(|f| hidden(f.name())).count();
        assert_eq!(hidden_columns, if query.identity { 2 } else { 0 }, "{}", query.query);
        let extra = schema.fields().iter().find(|f| f.name().starts_with("_order"));
        assert!(extra.is_none(), "{}", query.query);
        let shown = |name: &String| !hidden(name);
        let names = schema.fields().iter().map(|f| f.name().clone()).filter(shown);
        let mut rows = vec![names.collect::<Vec<_>>().join(" | ")];
        for batch in &batches {
            rows.extend((0..batch.num_rows()).map(|row| cells(&schema, batch, row)));
        }
        if !query.ordered && !query.identity {
            rows[1..].sort();
        }
        Ok(rows)
    }
}

fn cells(schema: &SchemaRef, batch: &RecordBatch, row: usize) -> String {
    let columns = schema.fields().iter().zip(batch.columns());
    let shown = columns.filter(|(field, _)| field.name() != TRAJECTORY && field.name() != STEP);
    let values = shown.map(|(_, array)| match array.is_null(row) {
        true => "-".into(),
        false => array_value_to_string(array, row).expect("a value that prints"),
    });
    values.collect::<Vec<_>>().join(" | ")
}

struct EngineCatalog {
    aggregates: Vec<String>,
    scalars: Vec<String>,
}

impl Catalog for EngineCatalog {
    fn is_aggregate(&self, name: &str) -> bool {
        self.aggregates.iter().any(|known| known == name)
    }
    fn is_scalar(&self, name: &str) -> bool {
        self.scalars.iter().any(|known| known == name)
    }
    fn has_identity(&self, table: &str) -> bool {
        ["steps", "trajectories"].contains(&table)
    }
    fn columns(&self, table: &str) -> Option<Vec<String>> {
        let steps = ["trajectory_id", "step", "tool", "process", "reward"];
        (table == "steps").then(|| steps.map(String::from).to_vec())
    }
}

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(schema), arrays).expect("columns of one length")
}

/// Three partitions with rows dealt out in turn, so that no partition holds neighbours.
fn partitioned(batch: &RecordBatch) -> Arc<MemTable> {
    let rows = 0..batch.num_rows();
    let part = |start: usize| {
        let dealt: Vec<RecordBatch> =
            rows.clone().rev().filter(|r| r % 3 == start).map(|row| batch.slice(row, 1)).collect();
        dealt
    };
    Arc::new(MemTable::try_new(batch.schema(), vec![part(2), part(0), part(1)]).expect("a table"))
}

fn text(values: Vec<&str>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

/// Trajectory 10 is `c`, 11 is `a`, 12 is `b`: the order of ids is not that of ordinals.
fn steps() -> RecordBatch {
    table(vec![
        (TRAJECTORY, Arc::new(UInt64Array::from(vec![10, 10, 10, 11, 11, 12, 12, 12]))),
        (STEP, Arc::new(Int64Array::from(vec![1, 2, 3, 1, 2, 1, 2, 3]))),
        ("trajectory_id", text(vec!["c", "c", "c", "a", "a", "b", "b", "b"])),
        ("step", Arc::new(Int64Array::from(vec![1, 2, 3, 1, 2, 1, 2, 3]))),
        (
            "tool",
            Arc::new(StringArray::from(vec![
                Some("search"),
                Some("search"),
                None,
                Some("search"),
                None,
                Some("calc"),
                Some("search"),
                None,
            ])),
        ),
        (
            "process",
            Arc::new(Float64Array::from(vec![
                Some(1.0),
                Some(0.0),
                Some(1.0),
                Some(1.0),
                Some(1.0),
                Some(1.0),
                None,
                Some(1.0),
            ])),
        ),
        ("reward", Arc::new(Float64Array::from(vec![0.5, 0.1, 0.9, 0.5, 0.7, 0.2, 0.3, 0.5]))),
    ])
}

fn trajectories() -> RecordBatch {
    table(vec![
        (TRAJECTORY, Arc::new(UInt64Array::from(vec![10, 11, 12]))),
        (STEP, Arc::new(Int64Array::from(vec![0, 0, 0]))),
        ("trajectory_id", text(vec!["c", "a", "b"])),
        ("source", text(vec!["hotpotqa", "gsm8k", "hotpotqa"])),
        ("n_steps", Arc::new(Int64Array::from(vec![3, 2, 3]))),
    ])
}

fn notes() -> RecordBatch {
    table(vec![("tool", text(vec!["search", "calc"])), ("note", text(vec!["looks up", "adds up"]))])
}

/// Runs every statement of a file of goldens. A statement stands before a line of `---`, what is
/// expected behind it, up to an empty line. `GOLDENS=write` writes what comes out instead.
pub fn goldens(name: &str, mut run: impl FnMut(&str) -> String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/syntax").join(name);
    let file = std::fs::read_to_string(&path).expect("a file of goldens");
    let mut written = String::new();
    let mut wrong = String::new();
    for block in file.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let block = block.trim_matches('\n');
        let (statement, expected) = block.split_once("\n---").unwrap_or((block, ""));
        if statement.lines().all(|line| line.starts_with('#')) {
            let _ = write!(written, "{block}\n\n");
            continue;
        }
        let title: String = statement
            .lines()
            .take_while(|l| l.starts_with('#'))
            .map(|l| format!("{l}\n"))
            .collect();
        let text = statement[title.len()..].trim_end();
        let found = run(text);
        let found = found.trim_end();
        let _ = write!(written, "{title}{text}\n---\n{found}\n\n");
        if found != expected.trim_matches('\n').trim_end() {
            let _ = write!(wrong, "{text}\n--- expected{expected}\n--- found\n{found}\n\n");
        }
    }
    if std::env::var("GOLDENS").is_ok_and(|value| value == "write") {
        std::fs::write(&path, written.trim_end().to_string() + "\n").expect("the file is written");
    } else {
        assert!(wrong.is_empty(), "{name}:\n{wrong}");
    }
}

/// Returns what a statement becomes and the rows it finds, or the message.
fn show(engine: &Engine, text: &str) -> String {
    let query = match engine.parse(text) {
        Ok(query) => query,
        Err(error) => return format!("[{}] {}", error.code, error.render(text)),
    };
    let mut out = format!("{}\n", query.query);
    let marks = [(query.ordered, "ordered"), (query.identity, "identity")];
    let marks: Vec<&str> = marks.into_iter().filter(|mark| mark.0).map(|mark| mark.1).collect();
    let _ = writeln!(out, "({})", marks.join(", "));
    match engine.rows(&query) {
        Ok(rows) => out + &rows.join("\n"),
        Err(error) => format!("{out}engine: {error}"),
    }
}

#[test]
fn stages_become_sql_and_rows() {
    let engine = Engine::new();
    goldens("stages.txt", |text| show(&engine, text));
}

#[test]
fn identity_and_order_are_carried() {
    let engine = Engine::new();
    goldens("identity.txt", |text| show(&engine, text));
}

#[test]
fn mistakes_are_named_at_their_place() {
    let engine = Engine::new();
    goldens("mistakes.txt", |text| match parse(text, &engine.catalog()) {
        Ok(statements) => format!("read as {} statements", statements.len()),
        Err(error) => format!("[{}] {}", error.code, error.render(text)),
    });
}

#[test]
fn the_same_rows_whatever_the_engine_does_with_sorts_inside() {
    let plain = Engine::new();
    let other = Engine::new();
    let state = other.context.state_ref();
    state.write().config_mut().options_mut().sql_parser.enable_subquery_sort_elimination = true;
    for text in [
        "FROM steps |> ORDER BY reward DESC |> WHERE step < 3 |> SELECT trajectory_id, step",
        "FROM steps |> ORDER BY reward DESC |> SELECT trajectory_id |> LIMIT 3",
        "FROM steps |> ORDER BY reward |> EXTEND step + 1 AS next |> DROP reward |> OFFSET 2",
    ] {
        let query = plain.query(text);
        assert_eq!(plain.rows(&query), other.rows(&query), "{text}");
    }
}

#[test]
fn texts_are_cut_into_statements() {
    let piece = |text: &str| {
        let cut = split(text);
        let statements = cut.statements.iter().map(|s| text[s.start..s.end].to_string());
        let rest = cut.rest.map(|(span, open)| (text[span.start..span.end].to_string(), open));
        (statements.collect::<Vec<_>>(), rest)
    };
    let some = |text: &str, open| Some((text.to_string(), open));
    assert_eq!(piece(""), (vec![], None));
    assert_eq!(piece("-- nothing\n"), (vec![], None));
    assert_eq!(piece("SELECT 1;"), (vec!["SELECT 1".into()], None));
    assert_eq!(
        piece("SELECT ';' -- ;\n ; /* ; */ FROM \"a;b\" ;;"),
        (vec!["SELECT ';'".into(), "FROM \"a;b\"".into()], None)
    );
    assert_eq!(piece("a; b\n|> c"), (vec!["a".into()], some("b\n|> c", Open::Statement)));
    assert_eq!(piece("SELECT (1"), (vec![], some("SELECT (1", Open::Bracket)));
    assert_eq!(piece("SELECT 'it''s; "), (vec![], some("SELECT 'it''s; ", Open::Text)));
    assert_eq!(piece("SELECT \"x; "), (vec![], some("SELECT \"x; ", Open::Name)));
    assert_eq!(piece("SELECT 1; /* x; "), (vec!["SELECT 1".into()], some("/* x; ", Open::Comment)));
    assert_eq!(piece("SELECT $$a;b"), (vec![], some("SELECT $$a;b", Open::Text)));
    assert!(split("SELECT 1;").is_complete());
    assert!(!split("SELECT 1").is_complete());
}

#[test]
fn statements_know_their_place_and_kind() {
    let engine = Engine::new();
    let text = "-- first\nSELECT 1; FROM steps |> LIMIT 2 ;; SHOW COLUMNS FROM Steps;\n\
                DESCRIBE \"Steps\"; EXPLAIN ANALYZE FROM steps; SHOW DATASET Good; SHOW TABLES";
    let statements = parse(text, &engine.catalog()).expect("six statements");
    let texts: Vec<&str> = statements.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "SELECT 1",
            "FROM steps |> LIMIT 2",
            "SHOW COLUMNS FROM Steps",
            "DESCRIBE \"Steps\"",
            "EXPLAIN ANALYZE FROM steps",
            "SHOW DATASET Good",
            "SHOW TABLES"
        ]
    );
    for statement in &statements {
        assert_eq!(statement.text, text[statement.span.start..statement.span.end]);
    }
    let StatementKind::Query(query) = &statements[1].kind else { panic!("a query") };
    let stages: Vec<_> = query.stages.iter().map(|s| (s.name.as_str(), s.span)).collect();
    assert_eq!(stages.len(), 1);
    assert_eq!((stages[0].0, &text[stages[0].1.start..stages[0].1.end]), ("LIMIT", "LIMIT 2"));
    assert!(matches!(&statements[2].kind,
        StatementKind::Show(ShowWhat::Columns { table, .. }) if table.text == "steps"));
    assert!(matches!(&statements[3].kind,
        StatementKind::Describe { table, .. } if table.text == "Steps"));
    assert!(matches!(&statements[4].kind, StatementKind::Explain { analyze: true, .. }));
    assert!(matches!(&statements[5].kind,
        StatementKind::Show(ShowWhat::Dataset { name }) if name.text == "good"));
    assert!(matches!(&statements[6].kind, StatementKind::Show(ShowWhat::Tables)));
}

#[test]
fn rows_are_saved_and_trained_on() {
    let engine = Engine::new();
    let text = "FROM steps |> WHERE reward > .4 |> SAMPLE 5 STEPS SEED 7 |> SAVE AS \"Good\" \
                WITH DUPLICATES";
    let query = engine.query(text);
    let Some(Then::Save { name, with_duplicates: true }) = &query.then else {
        panic!("a save: {:?}", query.then)
    };
    assert_eq!((name.text.as_str(), &text[name.span.start..name.span.end]), ("Good", "\"Good\""));
    assert_eq!(query.seeds, [7]);
    let selection = &text[query.selection.start..query.selection.end];
    assert_eq!(selection, "FROM steps |> WHERE reward > .4 |> SAMPLE 5 STEPS SEED 7");
    assert_eq!(query.query, engine.query(selection).query);

    let text = "SELECT * FROM steps |> TRAIN WITH (objective = 'sft', lr = -1e-4, lora.rank = 8, \
                packed = TRUE,) AS first_run";
    let query = engine.query(text);
    let Some(Then::Train { options, name: Some(name) }) = &query.then else { panic!("a training") };
    assert_eq!(name.text, "first_run");
    let options: Vec<_> = options.iter().map(|o| (o.name.text.as_str(), &o.value)).collect();
    assert_eq!(
        options,
        [
            ("objective", &Literal::Text("sft".into())),
            ("lr", &Literal::Number(-1e-4)),
            ("lora.rank", &Literal::Number(8.0)),
            ("packed", &Literal::Bool(true)),
        ]
    );
    let selection = &text[query.selection.start..query.selection.end];
    assert_eq!(selection, "SELECT * FROM steps");
}

#[test]
fn a_name_in_double_quotes_that_was_meant_as_text_is_advised_on() {
    let text = "FROM steps |> WHERE tool = \"it's\"";
    let at = text.find('"').expect("a quote");
    let span = swirldb::diag::Span::new(at, text.len());
    let advice = unresolved_name(text, span).expect("advice");
    assert!(advice.ends_with("'it''s'"), "{advice}");
    assert_eq!(unresolved_name(text, swirldb::diag::Span::new(0, 4)), None);
}

#[test]
fn limits_are_held() {
    let engine = Engine::new();
    let code = |text: &str, limits: &Limits| {
        parse_within(text, &engine.catalog(), limits).map(|s| s.len()).map_err(|e| e.code)
    };
    let limits = Limits::default();
    let repeat = |part: &str, count| part.repeat(count);
    let many = 100_000;
    let deep = [
        format!("SELECT {}1{}", repeat("(", many), repeat(")", many)),
        format!("SELECT {}1{}", repeat("[", many), repeat("]", many)),
        format!("SELECT {}1{}", repeat("abs(", many), repeat(")", many)),
        format!("{}SELECT 1{}", repeat("(", many), repeat(")", many)),
        format!("SELECT * FROM {}steps{}", repeat("(", many), repeat(")", many)),
        format!("SELECT * FROM {}steps{}", repeat("(FROM ", many), repeat(" |> LIMIT 1)", many)),
        format!("SELECT {}1", repeat("- ", many)),
        format!("SELECT {}true", repeat("NOT ", many)),
        format!("SELECT {}'1'", repeat("INTERVAL ", many)),
        format!("SELECT {}1", repeat("1 + ", many)),
        format!("SELECT {}1", repeat("1 OR 2 = ", many)),
        format!("SELECT 1{}", repeat("::int", many)),
        format!("SELECT 1{}", repeat(" IS NULL", many)),
        format!("SELECT {}1{}", repeat("CASE WHEN ", many), repeat(" THEN 1 END", many)),
        format!("SELECT CAST(1 AS {}int{})", repeat("array<", many), repeat(">", many)),
        format!("SELECT 1{}", repeat(" UNION SELECT 1", many)),
        format!("FROM steps{}", repeat(" |> LIMIT 1", many)),
    ];
    for text in &deep {
        assert_eq!(
            code(text, &Limits { length_max: 1 << 24, ..limits }),
            Err("too-deep"),
            "{}",
            &text[..40]
        );
    }
    assert_eq!(code(&" ".repeat(2 << 20), &limits), Err("too-long"));
    let fine = [
        format!("SELECT {}1{}", repeat("(", 60), repeat(")", 60)),
        format!("SELECT * FROM steps WHERE {}false", repeat("step = 1 OR ", 400)),
        format!("SELECT * FROM steps WHERE step IN (1{})", repeat(", -1", 20_000)),
        format!("FROM steps{}", repeat(" |> WHERE step > -1", 64)),
        format!("SELECT * FROM {}steps{}", repeat("(FROM ", 30), repeat(" |> LIMIT 1)", 30)),
        format!("SELECT {}", vec!["CASE WHEN 1 = -1 THEN 1 END"; 200].join(", ")),
        format!("SELECT {}1{}", repeat("abs(", 60), repeat(")", 60)),
        format!("SELECT {}1{}", repeat("[", 60), repeat("]", 60)),
        format!("SELECT * FROM {}steps{}", repeat("(", 60), repeat(")", 60)),
        format!("SELECT {}1{}", repeat("CASE WHEN ", 60), repeat(" THEN 1 END", 60)),
        format!("SELECT CAST(1 AS {}int{})", repeat("array<", 20), repeat(">", 20)),
        format!("{}SELECT 1{}", repeat("SELECT 1 IN (", 30), repeat(")", 30)),
    ];
    for text in &fine {
        assert_eq!(code(text, &limits), Ok(1), "{}", &text[..40]);
    }
    // The engine needs its own stack for these.
    let query = engine.query(&fine[3]);
    std::thread::scope(|scope| {
        let planner = std::thread::Builder::new().stack_size(limits.stages_max << 16);
        let plan = || engine.rows(&query).map(|rows| rows.len());
        let rows = planner.spawn_scoped(scope, plan).expect("a thread").join();
        assert_eq!(rows.expect("no panic"), Ok(9));
    });
}

#[test]
fn words_are_coloured_by_what_they_are() {
    let paint = |text: &str| {
        let letter = |class| match class {
            TokenClass::Keyword => 'k',
            TokenClass::Stage => 's',
            TokenClass::Name => 'n',
            TokenClass::Function => 'f',
            TokenClass::Text => 't',
            TokenClass::Number => '1',
            TokenClass::Parameter => 'p',
            TokenClass::Comment => 'c',
            TokenClass::Operator => 'o',
        };
        let mut painted = vec![' '; text.chars().count()];
        for (class, span) in highlight(text) {
            let at = |byte: usize| text[..byte].chars().count();
            painted[at(span.start)..at(span.end)].fill(letter(class));
        }
        painted.into_iter().collect::<String>()
    };
    for (text, expected) in [
        ("FROM steps |> WHERE step > .5 -- c", "kkkk nnnnn ss sssss nnnn o 11 cccc"),
        ("|> SAMPLE 5 STEPS SEED 7 /* é */;", "ss ssssss 1 kkkkk kkkk 1 ccccccco"),
        ("SELECT s.\"from\", lower('é') FROM", "kkkkkk nonnnnnno fffffottto kkkk"),
        ("WHERE x = $n AND tool = 'ope", "kkkkk n o pp kkk nnnn o tttt"),
        ("SELECT 1 /* open", "kkkkkk 1 ccccccc"),
        ("DIFF DATASET a b", "kkkk kkkkkkk n n"),
        ("|> SPLIT train 1 BY x SEED 7", "ss sssss kkkkk 1 kk n kkkk 1"),
    ] {
        assert_eq!(paint(text), expected, "{text}");
    }
}

#[test]
fn the_cursor_knows_what_it_waits_for() {
    let at = |text: &str| {
        let expected = complete(text, text.len());
        let word = text[expected.word.start..expected.word.end].to_string();
        (word, expected.keywords.first().copied().unwrap_or(""), expected.name)
    };
    let column = || Some(NameKind::Column);
    for (text, word, keyword, name) in [
        ("", "", "FROM", None),
        ("FR", "FR", "FROM", None),
        ("FROM ", "", "", Some(NameKind::Table)),
        ("FROM st", "st", "", Some(NameKind::Table)),
        ("FROM steps ", "", "|>", None),
        ("FROM steps |> ", "", "WHERE", None),
        ("FROM steps |> WH", "WH", "WHERE", None),
        ("FROM steps |> WHERE ", "", "", column()),
        ("FROM steps |> WHERE re", "re", "", column()),
        ("FROM steps |> WHERE reward ", "", "AND", None),
        ("FROM steps |> WHERE reward > .5 AND ", "", "", column()),
        ("FROM steps |> WHERE tool = 'se", "se", "", Some(NameKind::Value("tool".into()))),
        ("FROM steps |> WHERE tool IN ('a', 'b", "b", "", Some(NameKind::Value("tool".into()))),
        ("FROM steps AS s |> SELECT s.", "", "", Some(NameKind::ColumnOf("s".into()))),
        ("FROM steps |> AGGREGATE count(*) ", "", "AS", None),
        ("FROM steps |> AGGREGATE count(*) GROUP BY ", "", "", column()),
        ("FROM steps |> ORDER ", "", "BY", None),
        ("FROM steps |> JOIN ", "", "", Some(NameKind::Table)),
        ("FROM steps |> SAMPLE 5 ", "", "STEPS", None),
        ("FROM steps |> SAMPLE 5 STEPS ", "", "SEED", None),
        ("FROM steps |> TRAIN WITH (", "", "", Some(NameKind::OptionOf("TRAIN"))),
        ("SELECT tool ", "", "AS", None),
        ("SELECT tool FROM steps ", "", "WHERE", None),
        ("SHOW ", "", "TABLES", None),
        ("SHOW DATASET ", "", "", Some(NameKind::Dataset)),
        ("DIFF DATASET ", "", "", Some(NameKind::Dataset)),
        ("DIFF DATASET a ", "", "", Some(NameKind::Dataset)),
        ("DIFF DATASET a b", "b", "", Some(NameKind::Dataset)),
        ("EXPORT DATASET a ", "", "TO '", None),
        ("FROM steps |> SPLIT train 0.9, dev 0.1 ", "", "BY", None),
        ("FROM steps |> SPLIT train 0.9, dev 0.1 BY ", "", "", column()),
        ("SELECT 1; DES", "DES", "FROM", None),
        ("SELECT 1 -- FROM ", "", "", None),
    ] {
        assert_eq!(at(text), (word.to_string(), keyword, name), "{text}");
    }
    let joined = complete("FROM steps AS s JOIN trajectories t USING (x) |> WHERE ", 99);
    let pair = |name: &str, alias: &str| (name.to_string(), Some(alias.to_string()));
    assert_eq!(joined.relations, [pair("steps", "s"), pair("trajectories", "t")]);
    assert_eq!(complete("FROM steps |> WHERE é", 21).word.start, 20);
}

/// The texts of the goldens, without what is expected of them.
fn golden_statements() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/syntax");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("goldens");
    let files = ["stages.txt", "identity.txt", "mistakes.txt"].map(read).join("\n\n");
    let statement = |block: &str| {
        let block = block.split("\n---").next().unwrap_or_default();
        block.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    };
    files.split("\n\n").map(statement).collect()
}

#[test]
fn half_a_statement_is_a_message_at_a_place_within_it() {
    let engine = Engine::new();
    let catalog = engine.catalog();
    for text in golden_statements() {
        for end in (0..=text.len()).step_by(3).filter(|end| text.is_char_boundary(*end)) {
            let half = &text[..end];
            if let Err(error) = parse(half, &catalog) {
                let span = error.span.expect("a place");
                assert!(span.start <= span.end && span.end <= half.len(), "{half}: {error:?}");
                assert!(half.get(span.start..span.end).is_some(), "{half}: {error:?}");
            }
            for (_, span) in highlight(half) {
                assert!(half.get(span.start..span.end).is_some(), "{half}: {span:?}");
            }
            let word = complete(half, end).word;
            assert!(half.get(word.start..word.end).is_some(), "{half}: {word:?}");
            let cut = split(half);
            let pieces = cut.statements.iter().copied().chain(cut.rest.map(|rest| rest.0));
            assert!(pieces.into_iter().all(|s| half.get(s.start..s.end).is_some()), "{half}");
        }
    }
}
