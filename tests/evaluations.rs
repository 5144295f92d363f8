//! Evaluations: judged, reported, and compared by question.

use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use serde_json::json;
use swirldb::exchange::content_hash;
use swirldb::model::{Json, Message, Status, Step, ToolCall, Trajectory, role};
use swirldb::rollout::{Counts, trajectory_id};
use swirldb::session::{Outcome, RolloutSummary, Session};
use swirldb::store::{Durability, Incoming};

use crate::rollouts::{WORLD, demonstrated, rolled, small_model};
use crate::session::{OPTIONS, mistake, number, run, table};

/// A question: identifier, gold answer, hops, type.
type Asked = (&'static str, &'static str, u32, &'static str);

const PARIS: Asked = ("q1", "Paris", 1, "bridge");
const OSLO: Asked = ("q2", "Oslo", 1, "bridge");
const ROME: Asked = ("q3", "Rome", 2, "comparison");
const LIMA: Asked = ("q4", "Lima", 2, "comparison");

/// What an episode did: the answer, and the tools it called before.
type Played<'a> = (Asked, u32, &'a str, &'a [&'a str]);

/// Returns an episode as a rollout would have stored it.
fn episode(source: &str, (asked, sample, answer, tools): Played<'_>) -> Trajectory {
    let (id, gold, hops, kind) = asked;
    let step = |tool: &&str| {
        let call = ToolCall {
            id: None,
            name: (*tool).to_owned(),
            arguments: format!("{{\"query\": \"{id}\"}}"),
        };
        let action = Message { tool_calls: vec![call], ..Message::new(role::ASSISTANT, "") };
        let observation = vec![Message::new(role::TOOL, "what was found")];
        Step { action, observation, ..Step::default() }
    };
    let told = Message::new(role::ASSISTANT, format!("<answer>{answer}</answer>"));
    let last = Step { action: told, ..Step::default() };
    let calls = tools.len() as u64;
    let counts =
        Counts { episodes: 1, answered: 1, calls, actions: calls + 1, ..Counts::default() };
    let meta = json!({"hops": hops, "type": kind, "rollout": counts});
    Trajectory {
        source: source.to_owned(),
        id: trajectory_id(id, sample),
        question_id: Some(id.to_owned()),
        question: Some(format!("Which is {id}?")),
        gold: vec![gold.to_owned()],
        sample_index: Some(i64::from(sample)),
        run_id: Some(source.to_owned()),
        status: Some(Status::Answered),
        answer: Some(answer.to_owned()),
        meta: Some(Json::of(&meta)),
        prompt: vec![Message::new(role::USER, format!("Which is {id}?"))],
        steps: tools.iter().map(step).chain([last]).collect(),
        ..Trajectory::default()
    }
}

/// Stores episodes as those of an evaluation, and returns the statement that finds them played.
fn played(
    session: &Session,
    model: &Path,
    name: &str,
    all: &[Played<'_>],
    options: &str,
) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut incoming = Vec::new();
    for one in all {
        let (id, gold, hops, kind) = one.0;
        let line = json!({
            "id": id,
            "question": format!("Which is {id}?"),
            "answer": gold,
            "hops": hops,
            "type": kind,
        });
        if one.1 == 0 {
            lines.push(line.to_string());
        }
        let trajectory = episode(name, *one);
        let content_hash = content_hash(&trajectory);
        incoming.push(Incoming { trajectory, content_hash, labels: Vec::new() });
    }
    session.database().store().append(&incoming, &[], Durability::Now).unwrap();
    let path = model.with_file_name(format!("{name}.jsonl"));
    std::fs::write(&path, lines.join("\n")).unwrap();
    let n = all.iter().map(|one| one.1 + 1).max().unwrap();
    format!(
        "EVALUATE WITH (model = '{}', questions = '{}', n = {n}{options}) AS {name}",
        model.display(),
        path.display()
    )
}

/// Two samples of each question.
fn first(session: &Session, model: &Path, options: &str) -> String {
    let search: &[&str] = &["search"];
    let all: &[Played<'_>] = &[
        (PARIS, 0, "Paris", search),
        (PARIS, 1, "paris.", search),
        (OSLO, 0, "Oslo", search),
        (OSLO, 1, "Bergen", &["search", "calculator"]),
        (ROME, 0, "Milan", &[]),
        (ROME, 1, "Turin", &[]),
        (LIMA, 0, "Cusco", search),
        (LIMA, 1, "Quito", search),
        (("q5", "Bonn", 2, "bridge"), 0, "Bonn", search),
        (("q5", "Bonn", 2, "bridge"), 1, "Bonn", search),
        (("q7", "Graz", 2, "bridge"), 0, "Graz", search),
        (("q7", "Graz", 2, "bridge"), 1, "Graz", search),
    ];
    played(session, model, "a", all, options)
}

/// One sample of each; of one identifier another answer is right.
fn second(session: &Session, model: &Path, options: &str) -> String {
    let search: &[&str] = &["search"];
    let all: &[Played<'_>] = &[
        (PARIS, 0, "Nice", search),
        (OSLO, 0, "Oslo", search),
        (ROME, 0, "Rome", search),
        (LIMA, 0, "Cusco", search),
        (("q6", "Kyiv", 2, "bridge"), 0, "Kyiv", search),
        (("q7", "Linz", 2, "bridge"), 0, "Linz", search),
    ];
    played(session, model, "b", all, options)
}

struct World {
    _folder: tempfile::TempDir,
    session: Session,
    model: PathBuf,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let session = demonstrated(folder.path());
    let model = small_model(&session, folder.path());
    World { _folder: folder, session, model }
}

fn compared() -> World {
    let world = world();
    let World { session, model, .. } = &world;
    assert_eq!(rolled(session, &first(session, model, "")).earlier, 12);
    assert_eq!(rolled(session, &second(session, model, ", max_queries = 4")).earlier, 6);
    world
}

/// Rows of a comparison, found by what they speak of.
struct Rows(RecordBatch);

impl Rows {
    fn of(session: &Session, text: &str) -> Rows {
        let (_, kept) = run(session, text);
        let [batch] = &kept.batches[..] else { panic!("{} batches", kept.batches.len()) };
        Rows(batch.clone())
    }

    fn text(&self, column: &str, row: usize) -> String {
        self.0.column_by_name(column).unwrap().as_string_view().value(row).to_owned()
    }

    fn number(&self, column: &str, row: usize) -> Option<f64> {
        let column = self.0.column_by_name(column).unwrap();
        let values = column.as_primitive::<Float64Type>();
        values.is_valid(row).then(|| values.value(row))
    }

    fn counts(&self, row: usize) -> [i64; 2] {
        ["n_a", "n_b"].map(|column| {
            let column = self.0.column_by_name(column).unwrap();
            column.as_primitive::<Int64Type>().value(row)
        })
    }

    fn values(&self, row: usize) -> [Option<f64>; 2] {
        ["value_a", "value_b"].map(|column| self.number(column, row))
    }

    fn find(&self, what: &str, name: &str, group: &str) -> usize {
        let is_it = |row: &usize| {
            [("what", what), ("name", name), ("group", group)]
                .iter()
                .all(|(column, text)| self.text(column, *row) == *text)
        };
        let found: Vec<usize> = (0..self.0.num_rows()).filter(is_it).collect();
        assert_eq!(found.len(), 1, "{what} {name} {group}");
        found[0]
    }
}

fn close(found: Option<f64>, expected: f64, within: f64) {
    let found = found.unwrap();
    assert!((found - expected).abs() <= within, "{found} is not {expected}");
}

/// Every way of drawing the differences again: the means, ascending.
fn all_means(differences: &[f64]) -> Vec<f64> {
    let n = differences.len();
    let mut means: Vec<f64> = (0..n.pow(n as u32))
        .map(|way| {
            let drawn = (0..n as u32).map(|place| differences[way / n.pow(place) % n]);
            drawn.sum::<f64>() / n as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    means
}

#[test]
fn two_evaluations_are_compared_on_the_same_questions() {
    let World { session, .. } = &compared();
    let rows = Rows::of(session, "DIFF RUNS a b");
    // By hand: Paris 1 and 0, Oslo .5 and 1, Rome 0 and 1, Lima 0 and 0.
    let differences = [-1.0, 0.5, 1.0, 0.0];
    let row = rows.find("metric", "exact_match", "all");
    assert_eq!(rows.values(row), [Some(0.375), Some(0.5)]);
    assert_eq!(rows.counts(row), [4, 4]);
    close(rows.number("difference", row), 0.125, 1e-12);
    let means = all_means(&differences);
    let far = means.iter().filter(|mean| (**mean - 0.125).abs() > 0.125 - 1e-9).count();
    close(rows.number("p", row), far as f64 / means.len() as f64, 0.015);
    // A percentile of the drawn means is one of those near that of all.
    let (low, high) = (rows.number("low", row).unwrap(), rows.number("high", row).unwrap());
    assert!(means[2] <= low && low <= means[11], "{low}");
    assert!(means[244] <= high && high <= means[253], "{high}");
    // Where every question differs by the same, so does every resample.
    let row = rows.find("metric", "calls", "hops 2");
    assert_eq!(rows.values(row), [Some(0.5), Some(1.0)]);
    let row = rows.find("metric", "answered", "all");
    assert_eq!((rows.number("difference", row), rows.number("p", row)), (Some(0.0), Some(1.0)));
    for (group, values) in [("hops 1", [0.75, 0.5]), ("type comparison", [0.0, 0.5])] {
        let row = rows.find("metric", "exact_match", group);
        assert_eq!(rows.values(row), values.map(Some), "{group}");
        close(rows.number("difference", row), values[1] - values[0], 1e-12);
        assert_eq!(rows.counts(row), [2, 2]);
    }
    let row = rows.find("questions", "asked in both", "all");
    assert_eq!(rows.values(row), [Some(4.0); 2]);
    let row = rows.find("questions", "asked in one only", "all");
    assert_eq!(
        (rows.values(row), rows.text("note", row)),
        ([Some(1.0); 2], "a: q5; b: q6".to_owned())
    );
    let row = rows.find("questions", "one identifier, two questions", "all");
    assert!(rows.text("note", row).ends_with(": q7"), "{}", rows.text("note", row));
    let row = rows.find("option", "max_queries", "");
    assert_eq!([rows.text("a", row), rows.text("b", row)], ["5", "4"]);
    let row = rows.find("method", "paired bootstrap", "");
    assert!(rows.text("note", row).contains("seed 0"));
    let row = rows.find("count", "calls", "all");
    assert_eq!(rows.values(row), [Some(11.0), Some(6.0)]);
    // Nothing in it is drawn anew.
    assert_eq!(table(session, "DIFF RUNS a b"), table(session, "DIFF RUNS a, b"));
    let same = Rows::of(session, "DIFF RUNS a a");
    let row = same.find("metric", "f1", "all");
    assert_eq!((same.number("difference", row), same.number("p", row)), (Some(0.0), Some(1.0)));
}

#[test]
fn flips_are_counted_by_hops_and_tools() {
    let World { session, .. } = &compared();
    let rows = Rows::of(session, "DIFF RUNS a b");
    let flipped = |group: &str| {
        let row = rows.find("flipped", "exact_match", group);
        (rows.values(row).map(|count| count.unwrap() as u64), rows.number("p", row).unwrap())
    };
    // Of Oslo half the samples are right in the first: not most.
    let (counts, p) = flipped("all");
    assert_eq!(counts, [1, 2]);
    // Of three flips one or none on either side, in 8 ways of 8.
    close(Some(p), 1.0, 1e-12);
    assert_eq!(flipped("hops 1").0, [1, 1]);
    assert_eq!(flipped("hops 2"), ([0, 1], 1.0));
    assert_eq!(flipped("a calls search").0, [1, 0]);
    assert_eq!(flipped("a calls calculator, search").0, [0, 1]);
    assert_eq!(flipped("a calls none").0, [0, 1]);
    assert_eq!(flipped("b calls search").0, [1, 2]);
    let row = rows.find("flipped", "exact_match", "all");
    let note = "right in both 0, in neither 1; right in a only: q1; right in b only: q2, q3";
    assert_eq!(rows.text("note", row), note);
}

#[test]
fn what_one_side_lacks_is_said() {
    let World { session, model, .. } = &compared();
    let label = |sources: &str, judge: &str, value: &str| {
        let text = format!(
            "FROM steps |> WHERE source IN ({sources}) |> LABEL AS process BY '{judge}' = {value}"
        );
        run(session, &text);
    };
    label("'a'", "one", "1");
    let first_good = "CASE WHEN step = 1 THEN 1 ELSE 0 END";
    label("'a', 'b'", "both", first_good);
    let rows = Rows::of(session, "DIFF RUNS a b");
    let row = rows.find("metric", "process@one", "all");
    assert_eq!((rows.values(row), rows.counts(row)), ([Some(1.0), None], [4, 0]));
    let note = "not compared: b has no label 'process' of judge 'one'";
    assert_eq!((rows.text("note", row).as_str(), rows.text("b", row)), (note, "none".to_owned()));
    // Paris 1/2; Oslo 1/2 and 1/3; Rome, without a call, 1; Lima 1/2: and 1/2 each.
    let row = rows.find("metric", "process@both", "all");
    let mean = (0.5 + 5.0 / 12.0 + 1.0 + 0.5) / 4.0;
    close(rows.values(row)[0], mean, 1e-12);
    close(rows.number("difference", row), 0.5 - mean, 1e-12);
    let row = rows.find("by step", "process@both", "step 1");
    assert_eq!((rows.values(row), rows.counts(row)), ([Some(1.0); 2], [8, 4]));
    let row = rows.find("by step", "process@both", "step 2");
    assert_eq!((rows.values(row), rows.counts(row)), ([Some(0.0); 2], [6, 4]));
    let row = rows.find("by step", "process@both", "step 3");
    assert_eq!((rows.values(row), rows.counts(row)), ([Some(0.0), None], [1, 0]));
    assert_eq!(rows.text("note", row), "no label of this step in b");
    // Other scripts are other figures, and no common question is no comparison.
    let alone: &[Played<'_>] =
        &[(PARIS, 0, "Paris", &[]), (("q8", "Bern", 3, "bridge"), 0, "Bern", &[])];
    rolled(session, &played(session, model, "c", alone, ", metric = 'musique'"));
    let rows = Rows::of(session, "DIFF RUNS a c");
    let row = rows.find("metric", "exact_match@musique", "all");
    assert_eq!(rows.values(row), [None, Some(1.0)]);
    assert_eq!(rows.text("note", row), "not compared: a was measured by 'hotpotqa'");
    let row = rows.find("metric", "calls", "all");
    assert_eq!(rows.number("difference", row), Some(-1.0));
    assert!(rows.text("note", row).contains("an interval takes two"));
    let row = rows.find("flipped", "exact_match", "");
    assert!(rows.text("note", row).contains("by 'hotpotqa' in a, and by 'musique' in b"));
}

#[test]
fn runs_of_two_kinds_are_not_compared() {
    let World { session, model, .. } = &compared();
    let model = model.display();
    run(
        session,
        &format!(
            "FROM subtrajectories |> SAMPLE 2 TRAJECTORIES SEED 1 |> TRAIN WITH \
             (model = '{model}', full = true, max_steps = 1, tokens_per_step = 400) AS t"
        ),
    );
    run(
        session,
        &format!(
            "GENERATE WITH (model = '{model}', world = '{WORLD}', limit = 1, max_new_tokens = 2) \
             AS g"
        ),
    );
    let error = mistake(session, "DIFF RUNS a t");
    assert!(error.contains("'a' is an evaluation, 't' is a training run"), "{error}");
    let error = mistake(session, "DIFF RUNS a g");
    assert!(error.contains("run 'g' is of kind 'generate'") && error.contains('^'), "{error}");
    let error = mistake(session, "DIFF RUNS a zz");
    assert!(error.contains("no training run or evaluation 'zz'"), "{error}");
    let stopped = format!("EVALUATE WITH (model = '{model}', world = '{WORLD}', limit = 1) AS s");
    session.cancel().cancel();
    assert!(!mistake(session, &stopped).is_empty());
    session.cancel().clear();
    let error = mistake(session, "DIFF RUNS a s");
    assert!(error.contains("'s' is stopped and has not finished"), "{error}");
}

#[test]
fn numbers_are_compared_as_one_figure() {
    let World { session, model, .. } = &world();
    let all: &[Played<'_>] = &[(("n1", "#### 12", 1, "sum"), 0, "it is 12.0", &["calculator"])];
    let summary = rolled(session, &played(session, model, "n", all, ", metric = 'gsm8k'"));
    let evaluation = summary.evaluation.unwrap();
    let names: Vec<&str> = evaluation.measurements.iter().map(|one| one.metric.as_str()).collect();
    assert_eq!(names[..3], ["numeric_equality", "answered", "calls"]);
    assert_eq!(evaluation.measurements[0].estimate.value, 1.0);
    let rows = Rows::of(session, "DIFF RUNS n n");
    let row = rows.find("flipped", "numeric_equality", "all");
    assert_eq!(rows.values(row), [Some(0.0); 2]);
    let labels = "FROM trajectories |> WHERE source = 'n' |> SELECT \"f1@gsm8k\"";
    assert_eq!(number(session, labels), 1.0);
}

/// Judged by programs: calls that were not made before are good, answers are as gold has them.
fn judged(session: &Session, model: &Path, more: &str) -> RolloutSummary {
    let options =
        format!(", judge = 'not_repeated', judge.name = 'fresh', outcome_judge = 'f1'{more}");
    rolled(session, &first(session, model, &options))
}

#[test]
fn judges_label_an_evaluation() {
    let World { session, model, .. } = &world();
    let summary = judged(session, model, "");
    let evaluation = summary.evaluation.unwrap();
    let found = |group: &str, metric: &str| {
        let mut all = evaluation.measurements.iter();
        all.find(|one| one.group == group && one.metric == metric).unwrap()
    };
    // Answers make no call and are not judged; no call was made twice but by name and arguments.
    assert_eq!(
        evaluation.unlabelled,
        [("outcome@f1".to_owned(), 0), ("process@fresh".to_owned(), 12)]
    );
    assert_eq!(summary.judged.len(), 2);
    let process = found("all", "process@fresh");
    assert_eq!((process.questions, process.values, process.estimate.value), (5, 10, 1.0));
    let step = found("step 2", "process@fresh");
    assert_eq!((step.questions, step.values, step.interval), (1, 1, "wilson"));
    let outcome = found("all", "outcome@f1");
    assert_eq!(outcome.estimate, found("all", "f1").estimate);
    let metric =
        "FROM metrics |> WHERE run = 'a' AND name = 'step 1/process@fresh' |> SELECT value";
    assert_eq!(number(session, metric), 1.0);
    let labels = "FROM labels |> WHERE run_id = 'a' AND judge = 'fresh' |> AGGREGATE count(*)";
    assert_eq!(number(session, labels), 11.0);
    let pinned = "FROM runs |> WHERE run = 'a' AND config LIKE '%\"process@fresh\"%' |> \
                  AGGREGATE count(*)";
    assert_eq!(number(session, pinned), 1.0);
    let model = model.display();
    let wrong = |options: &str| {
        let text = format!("EVALUATE WITH (model = '{model}', world = '{WORLD}', {options}) AS w");
        mistake(session, &text)
    };
    let error = wrong("judge = 'exact_match'");
    assert!(
        error.contains("judges answers") && error.contains("outcome_judge = 'exact"),
        "{error}"
    );
    let error = wrong("outcome_judge = 'world', outcome_judge.world = 'default'");
    assert!(error.contains("judges steps"), "{error}");
    let error = wrong("judge = 'world', judge.wold = 'default'");
    assert!(error.contains("did you mean 'world'"), "{error}");
    let error = wrong("outcome_judge = 'f1', outcome_judge.name = 'hotpotqa'");
    assert!(error.contains("'hotpotqa' is a judge already"), "{error}");
    let error = wrong("judge = 'random', judge.name = 'fresh'");
    assert!(error.contains("a judge never changes"), "{error}");
    let generate =
        format!("GENERATE WITH (model = '{model}', world = '{WORLD}', judge = 'random') AS w");
    let error = mistake(session, &generate);
    assert!(error.contains("'judge' has no effect on GENERATE") && error.contains('^'), "{error}");
}

#[test]
fn the_judge_of_training_is_refused() {
    let World { session, model, .. } = &world();
    let judge = format!("judge = 'world', judge.world = '{WORLD}'");
    let text = format!(
        "FROM steps |> SAMPLE 2 TRAJECTORIES SEED 2 |> TRAIN WITH (model = '{}', \
         objective = 'swirl', {judge}, full = true, num_generations = 2, \
         max_completion_length = 4, max_steps = 1, tokens_per_step = 400) AS w",
        model.display()
    );
    assert!(matches!(run(session, &text).0, Outcome::Trained(_)));
    let evaluate = |more: &str, name: &str| {
        format!(
            "EVALUATE WITH (model = 'run:w', world = '{WORLD}', limit = 2, max_new_tokens = 4, \
             {judge}{more}) AS {name}"
        )
    };
    let error = mistake(session, &evaluate(", judge.name = 'other'", "e"));
    assert!(error.contains("run 'w' was trained with") && error.contains("same_judge"), "{error}");
    let summary = rolled(session, &evaluate(", same_judge = true", "e"));
    let named = summary.evaluation.unwrap().unlabelled;
    assert_eq!(named, [("process@world".to_owned(), 0)]);
    rolled(session, &evaluate(", judge.flipped = 0.1", "f"));
}

#[test]
fn an_evaluation_is_reported() {
    let World { session, model, .. } = &world();
    let path = model.with_file_name("report");
    std::fs::write(path.with_extension("md"), "an earlier one").unwrap();
    let options = format!(", report = '{}'", path.display());
    let summary = judged(session, model, &options);
    let [markdown, html] = summary.report.unwrap();
    let text = std::fs::read_to_string(markdown).unwrap();
    let (figures, made) = text.split_once("## How it was made").unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/report/evaluation.md");
    if std::env::var("GOLDENS").is_ok_and(|v| v == "write") {
        std::fs::write(&golden, figures).unwrap();
    }
    assert_eq!(figures, std::fs::read_to_string(golden).unwrap());
    for part in ["seed 0", "judge.judge", "not_repeated", "max_queries", "EVALUATE WITH"] {
        assert!(made.contains(part), "{part}: {made}");
    }
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("<svg") && page.contains("process@fresh by step"), "{page}");
    // Where it goes is no part of the run.
    let config =
        "FROM runs |> WHERE run = 'a' AND config LIKE '%\"report\"%' |> AGGREGATE count(*)";
    assert_eq!(number(session, config), 0.0);
}

#[test]
fn every_option_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::open(&folder.path().join("db"), OPTIONS, true).unwrap();
    let offered = |text: &str| session.completions(text, text.len()).candidates;
    let options = offered("EVALUATE WITH (");
    assert!(options.iter().any(|name| name == "outcome_judge"), "{options:?}");
    let described: String = ["evaluation.md", "rollouts.md"]
        .map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(name))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .concat();
    for name in options {
        assert!(described.contains(&format!("`{name}`")), "{name}");
    }
    assert!(!offered("GENERATE WITH (").iter().any(|name| name == "report" || name == "metric"));
}

#[test]
fn a_report_that_cannot_be_written_stops_nothing_else() {
    let World { session, model, .. } = &world();
    let folder = model.with_file_name("nowhere");
    let text = first(session, model, &format!(", report = '{}/r'", folder.display()));
    let error = mistake(session, &text);
    assert!(error.contains("there is no folder") && error.contains("nowhere"), "{error}");
    let runs = "FROM runs |> WHERE run = 'a' |> AGGREGATE count(*)";
    assert_eq!(number(session, runs), 0.0);
    let ending = text.replace("/r'", ".md'");
    let error = mistake(session, &ending);
    assert!(error.contains("has an ending"), "{error}");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(rolled(session, &text).earlier, 12);
    assert!(folder.join("r.html").is_file());
}
