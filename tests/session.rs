//! Statements from text to outcome, over the fixtures.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use arrow::util::pretty::pretty_format_batches;
use swirldb::codec::{Family, TableId};
use swirldb::db::{ImportReport, import};
use swirldb::diag::{Progress, Reached};
use swirldb::exchange::{ReadOptions, content_hash, open};
use swirldb::model::{Message, Step, ToolCall, Trajectory, role};
use swirldb::query::parameters::given;
use swirldb::session::{
    ExportFormat, Outcome, Session, SessionError, SessionOptions, Sink, export,
};
use swirldb::store::{Durability, Incoming};
use swirldb::train::Event;

/// Keeps what a statement brings forth.
#[derive(Default)]
pub struct Kept {
    pub batches: Vec<RecordBatch>,
    pub losses: Vec<f64>,
    pub stop_at: Option<u64>,
    pub notes: Vec<String>,
}

impl Sink for Kept {
    fn begin(&mut self, _: &Schema) -> std::io::Result<()> {
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch) -> std::io::Result<()> {
        self.batches.push(batch.clone());
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    fn train(&mut self, event: &Event) -> ControlFlow<()> {
        if let Event::Step(step) = event {
            self.losses.push(step.nll);
            if self.stop_at == Some(step.step) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

pub const OPTIONS: SessionOptions =
    SessionOptions { memory_bytes: 128 << 20, threads: 2, read_only: false };

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

pub fn load(session: &Session, path: &Path, source: Option<&str>) -> ImportReport {
    let options = ReadOptions { source: source.map(str::to_owned), ..ReadOptions::default() };
    let reader = open(path, &options).unwrap();
    import(session.database(), reader, false, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// A database with the small world of the fixtures.
pub fn world(folder: &Path) -> Session {
    let session = Session::open(&folder.join("db"), OPTIONS, true).unwrap();
    let report = load(&session, &fixture("world/trajectories.jsonl"), Some("world"));
    assert!(report.trajectories > 100 && report.skipped == 0, "{report:?}");
    session
}

pub fn run(session: &Session, text: &str) -> (Outcome, Kept) {
    let mut kept = Kept::default();
    let outcome = try_run(session, text, &mut kept);
    (outcome.unwrap_or_else(|e| panic!("{text}\n{}", e.render())), kept)
}

pub fn try_run(session: &Session, text: &str, kept: &mut Kept) -> Result<Outcome, SessionError> {
    let mut last = Outcome::Text(String::new());
    for statement in session.parse(text)? {
        last = session.run(&statement, text, kept)?;
    }
    Ok(last)
}

pub fn table(session: &Session, text: &str) -> String {
    let (_, kept) = run(session, text);
    pretty_format_batches(&kept.batches).unwrap().to_string()
}

/// The one number that a query gives.
pub fn number(session: &Session, text: &str) -> f64 {
    let (_, kept) = run(session, text);
    let column = kept.batches.iter().find(|b| b.num_rows() > 0).unwrap().column(0);
    let wide = arrow::compute::cast(column, &DataType::Float64).unwrap();
    wide.as_primitive::<Float64Type>().value(0)
}

pub fn mistake(session: &Session, text: &str) -> String {
    match try_run(session, text, &mut Kept::default()) {
        Ok(_) => panic!("no mistake in {text}"),
        Err(error) => error.render(),
    }
}

/// Looks at how far a query is when its first rows come.
struct Watching {
    progress: Progress,
    reached: Option<Reached>,
}

impl Sink for Watching {
    fn begin(&mut self, _: &Schema) -> std::io::Result<()> {
        Ok(())
    }

    fn batch(&mut self, _: &RecordBatch) -> std::io::Result<()> {
        self.reached = self.progress.reached();
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn train(&mut self, _: &Event) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

#[test]
fn a_query_tells_how_far_it_is_and_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let steps = session.database().view().rows(TableId::Steps);
    let text = "FROM steps |> WHERE observation LIKE '%a%' |> AGGREGATE count(*)";
    let statement = &session.parse(text).unwrap()[0];
    let mut watching = Watching { progress: session.progress().clone(), reached: None };
    session.run(statement, text, &mut watching).unwrap();
    let all = Reached { work: "reading rows", done: steps, total: steps };
    assert_eq!(watching.reached, Some(all));
    assert_eq!(session.progress().reached(), None);
    session.cancel().cancel();
    let stopped = session.run(statement, text, &mut watching);
    assert!(matches!(stopped, Err(SessionError::Cancelled)), "{stopped:?}");
    session.cancel().clear();
    session.run(statement, text, &mut watching).unwrap();
}

#[test]
fn importing_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let again = load(&session, &fixture("world/trajectories.jsonl"), Some("world"));
    let count = number(&session, "FROM trajectories |> AGGREGATE count(*)") as u64;
    assert_eq!((again.trajectories, again.labels), (0, 0));
    assert_eq!((again.unchanged, again.conflicts), (count, 0));
}

#[test]
fn a_query_on_scalars_reads_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let store = session.database().store();
    let read = || [Family::Step, Family::Body, Family::Trajectory].map(|f| store.reads(f));
    let before = read();
    run(
        &session,
        "FROM steps |> WHERE process > .5 AND tool = 'search' AND observation_chars > 10 \
         |> AGGREGATE count(*), avg(outcome) GROUP BY model",
    );
    assert_eq!(read(), before);
    // With a body, exactly the rows that the scalar predicate leaves are fetched.
    let (outcome, _) =
        run(&session, "FROM steps |> WHERE process < .5 |> SELECT step, observation");
    let Outcome::Rows { rows, .. } = outcome else { panic!("no rows") };
    assert!(rows > 0);
    assert_eq!(read()[0] - before[0], rows);
    let (outcome, _) = run(&session, "FROM steps |> SELECT observation |> LIMIT 3");
    let Outcome::Rows { rows: 3, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(read()[0] - before[0], rows + 3, "a limit is not fetched beyond");
}

#[test]
fn rows_come_in_the_order_of_trajectories_and_steps() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    session.database().store().fold().unwrap();
    let view = session.database().view();
    let all = view.rows(TableId::Trajectories);
    let mut expected = Vec::new();
    for t in view.trajectories(&(0..all).collect::<Vec<u64>>()).unwrap() {
        for (step, number) in t.steps.iter().zip(1i64..) {
            if step.action.tool_calls.len() == 1 {
                expected.push((t.id.clone(), number));
            }
        }
    }
    let (_, kept) = run(&session, "SELECT trajectory_id, step FROM steps WHERE n_calls = 1");
    let mut found = Vec::new();
    for batch in &kept.batches {
        let ids = batch.column(0).as_string_view();
        let steps = batch.column(1).as_primitive::<Int64Type>();
        assert_eq!(batch.num_columns(), 2, "hidden columns are not shown");
        found.extend(ids.iter().zip(steps).map(|(i, s)| (i.unwrap().to_owned(), s.unwrap())));
    }
    assert_eq!(found, expected);
}

/// A database of 4 x `trajectories` short steps; the last of each has no tool, and no two runs of
/// the same tool have the same length.
fn short_steps(folder: &Path, trajectories: u64) -> Session {
    let session = Session::open(&folder.join("db"), OPTIONS, true).unwrap();
    let step = |n: u64| Step {
        action: Message {
            role: role::ASSISTANT.to_owned(),
            tool_calls: (n % 4 < 3)
                .then(|| ToolCall {
                    id: None,
                    name: format!("tool {}", (n * n / 7) % 11),
                    arguments: "{}".to_owned(),
                })
                .into_iter()
                .collect(),
            ..Message::default()
        },
        cost: Some((n % 13) as f64),
        ..Step::default()
    };
    let incoming = |n: u64| {
        let trajectory = Trajectory {
            source: "short".to_owned(),
            id: format!("t{n}"),
            model: (!n.is_multiple_of(3)).then(|| format!("model {}", n % 3)),
            steps: (0..4).map(|at| step(4 * n + at)).collect(),
            ..Trajectory::default()
        };
        let content_hash = content_hash(&trajectory);
        Incoming { trajectory, content_hash, labels: Vec::new() }
    };
    let batch: Vec<Incoming> = (0..trajectories).map(incoming).collect();
    for part in batch.chunks(trajectories as usize / 3) {
        session.database().store().append(part, &[], Durability::Later).unwrap();
    }
    session
}

#[test]
fn grouping_by_codes_gives_what_grouping_by_texts_gives() {
    let folder = tempfile::tempdir().unwrap();
    let session = short_steps(folder.path(), 18_000);
    let values = "count(*) AS n, sum(cost) FILTER (WHERE step > 2) AS late, \
                  avg(cost) AS cost, min(trajectory_id) AS first, max(step) AS step";
    // The first two are read as codes, of chunks and of what is not yet in chunks.
    let (as_text, nearly_unique) = ("nullif(model || '', '')", "trajectory_id || ''");
    for (key, same) in
        [("tool", "tool || ''"), ("model", as_text), ("trajectory_id", nearly_unique)]
    {
        for filter in ["step > 0", "tool <> 'tool 1' AND cost > 3", "step > 9"] {
            let values = if key == "trajectory_id" { "count(*) AS n" } else { values };
            let by = |key: &str| {
                format!(
                    "SELECT * FROM (SELECT {key} AS key, {values} \
                     FROM steps WHERE {filter} GROUP BY {key}) ORDER BY key LIMIT 100"
                )
            };
            let coded = |key| table_of_plan(&session, &by(key)).contains("GroupByCodes");
            assert_eq!((coded(key), coded(same)), (true, false), "{key} {filter}");
            assert_eq!(table(&session, &by(key)), table(&session, &by(same)), "{key} {filter}");
        }
    }
    let groups = "FROM steps |> AGGREGATE count(*) GROUP BY trajectory_id |> AGGREGATE count(*)";
    assert_eq!(number(&session, groups), 18_000.0);
    let of_key = "FROM steps |> AGGREGATE max(tool) AS last GROUP BY tool |> WHERE last <> tool \
                  |> AGGREGATE count(*)";
    assert_eq!(number(&session, of_key), 0.0);
}

#[test]
fn predicates_asked_of_texts_hold_for_the_rows_that_have_them() {
    let folder = tempfile::tempdir().unwrap();
    let session = short_steps(folder.path(), 18_000);
    let predicates = [
        "$ = 'tool 3'",
        "$ <> 'tool 3'",
        "$ IN ('tool 1', 'model 2', 't17')",
        "$ NOT IN ('tool 1', 'model 2', 't17')",
        "$ LIKE '%1' OR $ IS NULL",
        "NOT ($ >= 'model 2' AND $ < 't2')",
        "$ IS DISTINCT FROM 'model 1'",
        "$ IS NOT NULL",
    ];
    for predicate in predicates {
        for column in ["tool", "model", "trajectory_id"] {
            // What is computed from a text is asked once a row.
            let computed = format!("concat_ws('', nullif({column}, ''), CAST(NULL AS VARCHAR))");
            let computed = format!("CASE WHEN {column} IS NOT NULL THEN {computed} END");
            let answers = [column, &computed].map(|of| {
                let holds = format!("({})", predicate.replace('$', of));
                let counted = format!(
                    "SELECT (SELECT count(*) FROM steps WHERE {holds} AND step > 1) AS filtered, \
                     (SELECT sum(step * cost) FROM steps WHERE cost > 3 AND {holds}) AS sum, \
                     count(*) FILTER (WHERE holds) AS yes, count(holds) AS known \
                     FROM (SELECT {holds} AS holds FROM steps)"
                );
                table(&session, &counted)
            });
            assert_eq!(answers[0], answers[1], "{column}: {predicate}");
        }
    }
    let plan =
        table_of_plan(&session, "FROM steps |> SELECT tool = 'tool 3' AND step > 1 AS third");
    assert!(plan.contains("step, tool = tool 3]"), "{plan}");
}

#[test]
fn arguments_are_read_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let with = "FROM steps |> WHERE (arguments ->> 'query') LIKE '% region' \
                |> AGGREGATE count(*)";
    let without = "FROM steps |> WHERE arguments LIKE '{\"query\":\"% region\"}' \
                   |> AGGREGATE count(*)";
    assert!(number(&session, without) > 0.0);
    assert_eq!(number(&session, with), number(&session, without));
    let region = "arguments ->> 'query' LIKE '% region'";
    for (written, meant) in [
        (region, "(arguments ->> 'query') LIKE '% region'"),
        ("NOT arguments ->> 'query' IS NULL", "NOT ((arguments ->> 'query') IS NULL)"),
        (
            "tool = 'search' AND 'x' <> arguments ->> 'query'",
            "tool = 'search' \
          AND 'x' <> (arguments ->> 'query')",
        ),
        ("'{\"a\": {\"b\": 7}}' -> 'a' ->> 'b' = '7'", "true"),
        ("length(arguments ->> 'query') + 1 > 20", "length((arguments ->> 'query')) > 19"),
        ("arguments ->> 'query' || '!' = 'x!'", "((arguments ->> 'query') || '!') = 'x!'"),
    ] {
        let of = |predicate: &str| format!("FROM steps |> WHERE {predicate} |> AGGREGATE count(*)");
        let counts = (number(&session, &of(written)), number(&session, &of(meant)));
        assert_eq!(counts.0, counts.1, "{written}");
    }
    let typed = "SELECT json_get_int('{\"a\": {\"b\": [1, 7]}}', 'a', 'b', 1)";
    assert_eq!(number(&session, typed), 7.0);
    let shown = "SELECT j -> 'a' AS a, j -> 'b' AS b, j -> 'c' AS c, j -> 'd' AS d, j -> 'e' AS e
        FROM (SELECT '{\"a\": \"x\\ny\", \"b\": [1, {}], \"c\": 1.5, \"d\": null}' AS j)";
    let expected = "\
+--------+---------+-----+---+---+
| a      | b       | c   | d | e |
+--------+---------+-----+---+---+
| \"x\\ny\" | [1, {}] | 1.5 |   |   |
+--------+---------+-----+---+---+";
    assert_eq!(table(&session, shown), expected);
}

#[test]
fn parameters_stand_for_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    session.set_parameter("n", Some(given("3")));
    session.set_parameter("tool", Some(given("search")));
    session.set_parameter("odd", Some(given("it's 'quoted'")));
    let text = "FROM steps |> WHERE step < $n AND tool = $tool |> AGGREGATE count(*)";
    let plain = "FROM steps |> WHERE step < 3 AND tool = 'search' |> AGGREGATE count(*)";
    assert_eq!(number(&session, text), number(&session, plain));
    let pattern = "FROM steps |> MATCH a:{tool = $tool} b:{step > a.step AND step < $n} \
                   |> LIMIT $n |> AGGREGATE count(*)";
    assert_eq!(number(&session, pattern), 3.0);
    let odd = "SELECT CASE WHEN $odd = 'it''s ''quoted''' THEN 1 END";
    assert_eq!(number(&session, odd), 1.0);
    run(&session, "FROM steps |> WHERE step = $n |> SAVE AS thirds");
    let saved = table(&session, "FROM datasets |> SELECT statement");
    assert!(saved.contains("-- $n = 3") && !saved.contains("$tool"), "{saved}");
    let told = mistake(&session, "FROM steps |> WHERE tool = $tol");
    assert!(told.contains("did you mean '$tool'?") && told.contains("^^^^"), "{told}");
}

#[test]
fn a_statement_labels_what_it_selects() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let text = "FROM steps |> WHERE step < 3 |> LABEL AS process BY 'early' = \
                CASE WHEN tool = 'search' THEN 1 WHEN tool IS NOT NULL THEN .25 END";
    let Outcome::Labelled { added, same: 0, without_value } = run(&session, text).0 else {
        panic!("no labels")
    };
    let searches =
        number(&session, "FROM steps |> WHERE step < 3 AND tool = 'search' |> AGGREGATE count(*)");
    let labelled = "FROM steps |> WHERE \"process@early\" = 1 |> AGGREGATE count(*)";
    assert_eq!(number(&session, labelled), searches);
    let all = number(&session, "FROM steps |> WHERE step < 3 |> AGGREGATE count(*)");
    assert_eq!((added + without_value) as f64, all);
    let again = run(&session, text).0;
    assert!(
        matches!(again, Outcome::Labelled { added: 0, same, .. } if same == added),
        "{again:?}"
    );
    for (text, expected) in [
        ("FROM steps |> LABEL AS process BY 'early' = 1", "gave labels by another statement"),
        ("FROM steps |> LABEL AS process BY 'two' = 2", "expected 0 to 1"),
        ("FROM steps |> LABEL AS process BY 'x' = colour", "unknown column 'colour'"),
        ("FROM steps |> LABEL AS \"a b\" BY 'x' = 1", "a b"),
        ("FROM steps |> LABEL AS process = 1", "expected BY"),
        ("FROM steps |> AGGREGATE count(*) AS n |> LABEL AS process BY 'x' = n", "which steps"),
    ] {
        let told = mistake(&session, text);
        assert!(told.contains(expected) && told.contains("help") || told.contains('^'), "{told}");
        assert!(told.contains(expected), "{text}\n{told}");
    }
}

#[test]
fn meta_is_laid_over_and_its_history_kept() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let meta = "FROM trajectories |> WHERE trajectory_id = 'q0018:0' |> SELECT meta";
    let came = table(&session, meta);
    let lay = |judge: &str, value: &str| {
        let text = format!(
            "FROM trajectories |> WHERE trajectory_id LIKE 'q0018%' |> LABEL AS meta \
             BY '{judge}' = {value}"
        );
        run(&session, &text).0
    };
    let done = lay("topics", "'{\"topic\": \"rivers\", \"by\": {\"who\": 1, \"n\": 1e400}}'");
    assert!(matches!(done, Outcome::Labelled { added: 2.., same: 0, .. }), "{done:?}");
    lay("reviewed", "'{\"by\": {\"who\": null}, \"id\": \"' || trajectory_id || '\"}'");
    let asked = "FROM trajectories |> WHERE meta ->> 'topic' = 'rivers' |> ORDER BY trajectory_id
        |> SELECT trajectory_id, meta ->> 'id' AS id, meta -> 'by' AS by |> LIMIT 1";
    let expected = "\
+---------------+---------+--------------+
| trajectory_id | id      | by           |
+---------------+---------+--------------+
| q0018:0       | q0018:0 | {\"n\": 1e400} |
+---------------+---------+--------------+";
    assert_eq!(table(&session, asked), expected);
    let others = "FROM trajectories |> WHERE meta ->> 'topic' IS NULL |> AGGREGATE count(*) AS n";
    assert!(number(&session, others) > 10.0);
    let of_labels = "SELECT count(*) FROM labels WHERE name = 'meta' AND current";
    assert!(number(&session, of_labels) >= 4.0);
    // The project's own format keeps what came and what lies over it apart; chat has one place.
    for format in ["swirl", "chat"] {
        let file = folder.path().join(format!("{format}.jsonl"));
        let text = format!(
            "FROM trajectories |> WHERE trajectory_id = 'q0018:0' |> EXPORT TO '{}' AS {format}",
            file.display()
        );
        run(&session, &text);
        let copy = Session::open(&folder.path().join(format), OPTIONS, true).unwrap();
        load(&copy, &file, None);
        assert_eq!(
            number(&copy, "SELECT count(*) FROM trajectories WHERE meta ->> 'topic' = 'rivers'"),
            1.0
        );
    }
    for (text, expected) in [
        ("FROM trajectories |> LABEL AS meta BY 'x' = 'text'", "expected a JSON object"),
        ("FROM trajectories |> LABEL AS meta BY 'x' = '[1]'", "expected a JSON object"),
        ("FROM steps |> LABEL AS meta BY 'x' = '{}'", "meta belongs to trajectories"),
        ("UPDATE trajectories SET meta = '{}'", "AS meta lays a JSON object"),
    ] {
        let told = mistake(&session, text);
        assert!(told.contains(expected), "{text}\n{told}");
    }
    assert!(came != table(&session, meta));
}

#[test]
fn a_selection_is_exported_and_drawn_per_question() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let file = folder.path().join("right.jsonl.zst");
    let text = format!("FROM trajectories |> WHERE outcome > .5 |> EXPORT TO '{}'", file.display());
    let Outcome::Exported { trajectories, .. } = run(&session, &text).0 else { panic!("nothing") };
    let copy = Session::open(&folder.path().join("copy"), OPTIONS, true).unwrap();
    assert_eq!(load(&copy, &file, None).trajectories, trajectories);
    let wrong = mistake(&session, "FROM trajectories |> EXPORT TO 'x' AS parquet");
    assert!(wrong.contains("expected one of swirl, chat"), "{wrong}");
    let drawn = "FROM trajectories |> SAMPLE 2 PER question_id SEED 7";
    let per =
        format!("{drawn} |> AGGREGATE count(*) AS n GROUP BY question_id |> AGGREGATE max(n)");
    assert_eq!(number(&session, &per), 2.0);
    assert_eq!(table(&session, drawn), table(&session, drawn));
    let whole = "FROM steps |> SAMPLE 1 TRAJECTORIES PER model SEED 3 \
                 |> AGGREGATE count(DISTINCT trajectory_id)";
    assert_eq!(number(&session, whole), 2.0);
}

#[test]
fn full_text_by_index_and_by_row_give_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    for words in ["founded", "\"was founded\"", "search 1", "nothing"] {
        let by_index = format!(
            "FROM steps |> WHERE matches(observation, '{words}') |> SELECT trajectory_id, step"
        );
        let by_row = format!(
            "FROM steps |> WHERE matches(observation || '', '{words}') \
             |> SELECT trajectory_id, step"
        );
        assert_eq!(table(&session, &by_index), table(&session, &by_row), "{words}");
        let plan = table_of_plan(&session, &by_index);
        assert!(plan.contains("full_text="), "{plan}");
    }
}

pub fn table_of_plan(session: &Session, text: &str) -> String {
    match run(session, &format!("EXPLAIN {text}")).0 {
        Outcome::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_filters_of_the_paper_keep_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let kept = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.trim().trim_end_matches(';');
        number(&session, &format!("{text}\n|> AGGREGATE count(DISTINCT trajectory_id)"))
    };
    // The same by another road: the worst label of each trajectory.
    let counted = |condition: &str| {
        number(
            &session,
            &format!(
                "SELECT count(*) FROM (SELECT min(process) AS p, min(outcome) AS o FROM steps \
                 GROUP BY trajectory_id) AS t WHERE {condition}"
            ),
        )
    };
    assert_eq!(kept("filter_none.sql"), counted("true"));
    assert_eq!(kept("filter_process.sql"), counted("p > .5"));
    assert_eq!(kept("filter_outcome.sql"), counted("o > .5"));
    assert_eq!(kept("filter_process_and_outcome.sql"), counted("p > .5 AND o > .5"));
}

#[test]
fn a_step_without_a_label_makes_its_trajectory_undecided() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    let file = folder.path().join("some.jsonl");
    let record = |id: u32, labels: &str| {
        format!(
            "{{\"data_source\":\"s\",\"query_index\":{id},\"sample_index\":0,\"question\":\"q\",\
             \"messages\":[{{\"role\":\"user\",\"content\":\"q\"}},\
             {{\"role\":\"assistant\",\"content\":\"a\"}},{{\"role\":\"user\",\"content\":\"r\"}},\
             {{\"role\":\"assistant\",\"content\":\"b\"}}],\"step_labels\":{{{labels}}}}}\n"
        )
    };
    let text =
        record(0, "\"1\":1,\"3\":1") + &record(1, "\"1\":1") + &record(2, "\"1\":1,\"3\":-1");
    std::fs::write(&file, text).unwrap();
    load(&session, &file, None);
    let query = "FROM steps |> WHERE every(process > .5) |> SELECT trajectory_id, step";
    let (outcome, kept) = run(&session, query);
    let Outcome::Rows { rows, undecided } = outcome else { panic!("{outcome:?}") };
    assert_eq!((rows, undecided), (2, 1));
    let rows = pretty_format_batches(&kept.batches).unwrap().to_string();
    assert!(rows.contains("s:0:0"), "{rows}");
    let (outcome, _) = run(
        &session,
        "FROM steps |> AGGREGATE every(process > .5) AS kept GROUP BY trajectory_id |> WHERE kept",
    );
    assert!(matches!(outcome, Outcome::Rows { rows: 1, undecided: 1 }), "{outcome:?}");
}

#[test]
fn judges_are_never_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    let report = load(&session, &fixture("agentprocess/trajectories.jsonl"), None);
    assert!(report.labels > 0);
    let labelled = number(&session, "SELECT count(process) FROM steps");
    let judged = load(&session, &fixture("agentprocess/judge.jsonl"), None);
    assert!(judged.labels > 0, "{judged:?}");
    let both = mistake(&session, "FROM steps |> WHERE process > .5");
    assert!(both.contains("label 'process' has several judges: human, "), "{both}");
    assert!(both.contains("name one: \"process@human\" or \"process@"), "{both}");
    assert!(both.contains("^^^^^^^"), "{both}");
    assert_eq!(number(&session, "SELECT count(\"process@human\") FROM steps"), labelled);
    session.database().store().set_default_judge("process", "human").unwrap();
    assert_eq!(number(&session, "SELECT count(process) FROM steps"), labelled);
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let cases = [
        ("FROM step", "unknown table 'step'", "did you mean 'steps'?"),
        ("FROM steps |> WHERE proces > .5", "unknown column 'proces'", "did you mean 'process'?"),
        ("SELECT sources FROM steps", "unknown column 'sources'", "did you mean 'source'?"),
        ("SELECT coutn(*) FROM steps", "unknown function 'coutn'", "did you mean 'count'?"),
        ("DESCRIBE trajectory", "unknown table 'trajectory'", "trajectories"),
        ("SHOW DATASET nothing", "unknown dataset 'nothing'", "SAVE AS name"),
        ("FROM dataset.nothing", "unknown table 'dataset.nothing'", "help:"),
        ("FROM steps |> WHERE matches(action, '\"open')", "quote", ""),
    ];
    for (text, message, help) in cases {
        let shown = mistake(&session, text);
        assert!(shown.contains(message), "{text}\n{shown}");
        assert!(shown.contains(help), "{text}\n{shown}");
    }
    let shown = mistake(&session, "FROM steps\n|> WHERE proces > .5");
    assert!(shown.contains("2 | |> WHERE proces > .5\n    |          ^^^^^^\n"), "{shown}");
}

#[test]
fn a_value_that_no_row_has_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let notes = |text: &str| run(&session, text).1.notes;
    assert_eq!(
        notes("FROM steps |> WHERE tool = 'serach' AND step > 1"),
        ["no row of steps has tool 'serach': did you mean 'search'?"]
    );
    assert_eq!(
        notes("SELECT count(*) FROM steps AS s WHERE s.tool IN ('browser', 'search') AND false"),
        ["no row of steps has tool 'browser': there are calculator, search"]
    );
    assert!(notes("FROM steps |> WHERE tool = 'search' AND step > 100").is_empty());
    assert!(notes("FROM steps |> WHERE 'search' = tool").is_empty());
    assert!(notes("FROM steps |> WHERE action = 'nothing'").is_empty());
}

#[test]
fn samples_and_datasets_are_the_same_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let sample = "FROM steps |> SAMPLE 7 TRAJECTORIES SEED 7";
    let ids = |session: &Session| {
        table(
            session,
            &format!("{sample} |> AGGREGATE count(*) GROUP BY trajectory_id |> ORDER BY 1"),
        )
    };
    let first = ids(&session);
    assert_eq!(first.lines().count(), 7 + 4, "{first}");
    assert_eq!(number(&session, "FROM steps |> SAMPLE 9 STEPS SEED 7 |> AGGREGATE count(*)"), 9.0);
    let (outcome, _) = run(&session, &format!("{sample} |> SAVE AS seven"));
    let Outcome::Saved(saved) = outcome else { panic!("{outcome:?}") };
    assert_eq!((saved.trajectories, saved.seeds.as_slice()), (7, &[7][..]));
    let again = mistake(&session, &format!("{sample} |> SAVE AS seven"));
    assert!(again.contains("datasets never change"), "{again}");
    assert_eq!(number(&session, "SELECT count(*) FROM dataset.seven"), saved.rows as f64);
    // Another database with other ordinals draws the same trajectories, with the same hash.
    let other = tempfile::tempdir().unwrap();
    let second = Session::open(&other.path().join("db"), OPTIONS, true).unwrap();
    load(&second, &fixture("chat/traps.jsonl"), Some("other"));
    let before = number(&second, "SELECT count(*) FROM trajectories");
    load(&second, &fixture("world/trajectories.jsonl"), Some("world"));
    assert!(before > 0.0);
    let only = "FROM steps |> WHERE source = 'world' |> SAMPLE 7 TRAJECTORIES SEED 7";
    let (outcome, _) = run(&second, &format!("{only} |> SAVE AS seven"));
    let Outcome::Saved(same) = outcome else { panic!("{outcome:?}") };
    assert_eq!(same.hash, saved.hash);
    let empty = mistake(&session, "FROM steps |> WHERE step > 1000 |> SAVE AS nothing");
    assert!(empty.contains("the selection is empty"), "{empty}");
    let twice = "SELECT s.trajectory_id, s.source, s.step FROM steps s JOIN steps t \
                 ON s.trajectory_id = t.trajectory_id |> SAVE AS twice";
    assert!(mistake(&session, twice).contains("comes more than once"));
}

#[test]
fn export_and_import_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let first = folder.path().join("first.jsonl");
    let written = export(&session, "FROM trajectories", ExportFormat::Swirl, &first).unwrap();
    assert_eq!(written as f64, number(&session, "SELECT count(*) FROM trajectories"));
    let copy = Session::open(&folder.path().join("copy"), OPTIONS, true).unwrap();
    let report = load(&copy, &first, None);
    assert_eq!(report.trajectories, written);
    let second = folder.path().join("second.jsonl.zst");
    export(&copy, "FROM trajectories", ExportFormat::Swirl, &second).unwrap();
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    let unpacked = zstd::decode_all(bytes(&second).as_slice()).unwrap();
    assert_eq!(unpacked, bytes(&first), "export(import(export)) is export");
}

#[test]
fn quantified_queries_have_columns_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let count = |condition: &str| {
        number(&session, &format!("SELECT count(*) FROM steps WHERE {condition}"))
    };
    let longest = count("step = (SELECT max(step) FROM steps)");
    assert!(longest > 0.0 && longest < 616.0);
    assert_eq!(count("step >= ALL (SELECT step FROM steps)"), longest);
    assert_eq!(count("step = ANY (SELECT step FROM steps WHERE step = 7)"), count("step = 7"));
    assert_eq!(count("step <> ALL (SELECT step FROM steps WHERE step < 7)"), count("step >= 7"));
}
