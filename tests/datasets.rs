//! Saved datasets: parted, compared, verified as of their time, carried to another machine.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat;
use arrow::datatypes::Int64Type;
use swirldb::codec::{DatasetRecord, DatasetRow, Record, STEP_COLUMNS, TableId};
use swirldb::db::{Change, DatasetDraft, Difference, NewRow, difference, import};
use swirldb::exchange::{ReadOptions, content_hash, open};
use swirldb::model::{Label, LabelName, Message, Step, Target, Trajectory, role};
use swirldb::query::parameters::{given, values_behind, with_values};
use swirldb::query::syntax::Literal;
use swirldb::session::{Outcome, Rerun, Session, Verified};
use swirldb::store::{ColumnRef, Durability, Fact, Incoming, View};

use super::session::{Kept, OPTIONS, fixture, load, mistake, number, run, table, try_run, world};

/// A database of one-step trajectories `first..end`, each of a question of its own but for every
/// seventh, which has none.
fn questions(folder: &Path, first: u64, end: u64) -> Session {
    let session = Session::open(folder, OPTIONS, true).unwrap();
    add_questions(&session, first, end);
    session
}

fn add_questions(session: &Session, first: u64, end: u64) {
    let incoming = |n: u64| {
        let step =
            |text: String| Step { action: Message::new(role::ASSISTANT, text), ..Step::default() };
        let trajectory = Trajectory {
            source: "made".to_owned(),
            id: format!("t{n}"),
            split: Some("none".to_owned()),
            question_id: (!n.is_multiple_of(7)).then(|| format!("q{}", n / 3)),
            steps: vec![step(format!("first of {n}")), step(format!("second of {n}"))],
            ..Trajectory::default()
        };
        let content_hash = content_hash(&trajectory);
        Incoming { trajectory, content_hash, labels: Vec::new() }
    };
    let batch: Vec<Incoming> = (first..end).map(incoming).collect();
    session.database().store().append(&batch, &[], Durability::Later).unwrap();
}

/// Two columns of a query's rows, as texts.
fn pairs(session: &Session, text: &str) -> Vec<(String, Option<String>)> {
    let (_, kept) = run(session, text);
    let mut found = Vec::new();
    for batch in &kept.batches {
        let cast = |at: usize| {
            arrow::compute::cast(batch.column(at), &arrow::datatypes::DataType::Utf8View).unwrap()
        };
        let (one, other) = (cast(0), cast(1));
        let other = other.as_string_view().iter().map(|t| t.map(str::to_owned));
        let one = one.as_string_view().iter().map(|t| t.unwrap_or_default().to_owned());
        found.extend(one.zip(other));
    }
    found
}

const SPLIT: &str = "FROM trajectories |> SPLIT train 0.8, dev 0.1, test 0.1 BY question_id SEED 7 \
                     |> SELECT trajectory_id, split";

#[test]
fn a_key_is_in_the_same_part_whatever_other_rows_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let some = questions(&folder.path().join("some"), 0, 600);
    let before: HashMap<String, Option<String>> = pairs(&some, SPLIT).into_iter().collect();
    add_questions(&some, 600, 6_000);
    // The same trajectories behind others.
    let other = questions(&folder.path().join("other"), 300, 2_000);
    add_questions(&other, 0, 300);
    let all: HashMap<String, Option<String>> = pairs(&some, SPLIT).into_iter().collect();
    let others: HashMap<String, Option<String>> = pairs(&other, SPLIT).into_iter().collect();
    assert_eq!((before.len(), all.len(), others.len()), (600, 6_000, 2_000));
    for (id, part) in before.iter().chain(&others) {
        assert_eq!(all.get(id), Some(part), "{id}");
    }
    let share = |part: &str| all.values().flatten().filter(|p| *p == part).count() as f64;
    let keyed = all.values().flatten().count() as f64;
    assert!((share("train") / keyed - 0.8).abs() < 0.03, "{}", share("train") / keyed);
    assert!((share("dev") / keyed - 0.1).abs() < 0.03, "{}", share("dev") / keyed);
    assert!((share("test") / keyed - 0.1).abs() < 0.03, "{}", share("test") / keyed);
}

#[test]
fn rows_of_one_key_are_in_one_part_and_rows_without_in_none() {
    let folder = tempfile::tempdir().unwrap();
    let session = questions(&folder.path().join("db"), 0, 1_000);
    let mixed = "FROM steps |> SPLIT train 0.5, dev 0.5 BY question_id SEED 3 \
                 |> AGGREGATE count(DISTINCT split) AS parts GROUP BY question_id \
                 |> WHERE question_id IS NOT NULL |> AGGREGATE max(parts), min(parts)";
    let (_, kept) = run(&session, mixed);
    let parts = |at: usize| kept.batches[0].column(at).as_primitive::<Int64Type>().value(0);
    assert_eq!((parts(0), parts(1)), (1, 1));
    let without = |condition: &str| {
        let text = format!(
            "FROM trajectories |> SPLIT train 0.5, dev 0.5 BY question_id SEED 3 \
             |> WHERE {condition} |> AGGREGATE count(*)"
        );
        number(&session, &text)
    };
    assert_eq!(without("split IS NULL"), 143.0);
    assert_eq!(without("split IS NULL AND question_id IS NOT NULL"), 0.0);
    assert_eq!(without("split = 'train' OR split = 'dev'"), 857.0);
    // Without BY a trajectory is the key: its steps stay together, and none is left out.
    let whole = "FROM steps |> SPLIT a 1, b 1 SEED 3 |> AGGREGATE count(DISTINCT split) AS parts, \
                 count(split) AS n GROUP BY trajectory_id |> AGGREGATE max(parts), sum(n)";
    let (_, kept) = run(&session, whole);
    let value = |at: usize| kept.batches[0].column(at).as_primitive::<Int64Type>().value(0);
    assert_eq!((value(0), value(1)), (1, 2_000));
}

#[test]
fn shares_may_be_written_as_parts_and_the_column_takes_the_place_of_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let session = questions(&folder.path().join("db"), 0, 300);
    let by_parts = SPLIT.replace("0.8, dev 0.1, test 0.1", "8, dev 1, test 1");
    assert_eq!(table(&session, SPLIT), table(&session, &by_parts));
    let other_seed = SPLIT.replace("SEED 7", "SEED 8");
    assert_ne!(table(&session, SPLIT), table(&session, &other_seed));
    let columns = "FROM trajectories |> SPLIT a 1 BY trajectory_id SEED 1 |> LIMIT 1";
    let (_, kept) = run(&session, columns);
    let schema = kept.batches[0].schema();
    let splits = schema.fields().iter().filter(|f| f.name() == "split").count();
    assert_eq!(splits, 1, "{schema:?}");
    for text in [
        "FROM steps |> SELECT trajectory_id, lower(action) |> SPLIT a 1 BY trajectory_id SEED 1",
        "FROM steps |> EXTEND lower(action) |> SPLIT a 1 BY trajectory_id SEED 1",
        "SELECT * FROM steps |> AS s |> SPLIT a 1 BY s.trajectory_id, s.step SEED 1",
        "FROM steps |> SPLIT a 1 BY step, n_calls > 0, cost, created_at SEED 1",
        "FROM trajectories |> SPLIT a 1 SEED 1 |> SPLIT a 2, b 3 BY split SEED 1",
        "FROM steps AS s |> JOIN trajectories AS t ON s.trajectory_id = t.trajectory_id \
         |> SELECT s.trajectory_id, s.step |> SPLIT a 1 BY trajectory_id SEED 1",
    ] {
        let split = format!("{text} |> AGGREGATE count(*) AS n |> WHERE n > 0");
        assert!(number(&session, &split) >= 300.0, "{text}");
    }
    give(&session, 0, 1, "one", 1.0);
    let one_side = "FROM steps AS s |> JOIN labels AS l ON s.step = l.step \
                    |> SPLIT a 1 BY s.trajectory_id SEED 1 |> WHERE split = 'a' \
                    |> AGGREGATE count(*)";
    assert_eq!(number(&session, one_side), 300.0);
    let joined = "FROM steps AS s |> JOIN trajectories AS t ON s.trajectory_id = t.trajectory_id \
                  |> WHERE s.step = 1 |> SPLIT a 1 BY s.step SEED 1";
    let told = mistake(&session, joined);
    assert!(told.contains("several of the joined tables") && told.contains("^^^^^"), "{told}");
    let list = mistake(&session, "FROM steps |> SPLIT a 1 BY tools SEED 1");
    assert!(list.contains("SPLIT parts by texts, numbers"), "{list}");
}

/// What is pinned here never changes: whoever has saved a split must find it again.
#[test]
fn parts_are_the_same_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let session = questions(&folder.path().join("db"), 0, 1);
    let part = |keys: &str| {
        let text = format!(
            "SELECT 1 AS one |> SPLIT a 1, b 1, c 1, d 1, e 1, f 1, g 1, h 1 BY {keys} SEED 7 \
             |> SELECT one, split"
        );
        pairs(&session, &text)[0].1.clone().unwrap_or_default()
    };
    let texts: String = (0..16).map(|n| part(&format!("'q{n}'"))).collect();
    let numbers: String = (0..16).map(|n| part(&format!("{n}"))).collect();
    let floats: String = (0..16).map(|n| part(&format!("{n}.5"))).collect();
    let several: String = (0..16).map(|n| part(&format!("'q', {n}, {n} > 3"))).collect();
    let moment: String = (1..9).map(|n| part(&format!("timestamp '2026-01-0{n}'"))).collect();
    assert_eq!([&*texts, &*numbers, &*floats, &*several, &*moment], PINNED);
    assert_eq!(part("-0.0"), part("0.0"));
}

const PINNED: [&str; 5] =
    ["gahfbgfgcgbfghgh", "cedfdaegdeahghee", "efcbaahfffaeahgd", "eggfedcceagfbhhh", "bbhfheea"];

#[test]
fn a_split_is_saved_with_its_seed_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let split = "FROM steps |> SPLIT train 0.7, dev 0.3 BY question_id SEED 11";
    for part in ["train", "dev"] {
        let text = format!("{split} |> WHERE split = '{part}' |> SAVE AS {part}");
        let Outcome::Saved(saved) = run(&session, &text).0 else { panic!("{text}") };
        assert_eq!(saved.seeds, [11]);
    }
    let shared = "SELECT count(*) FROM dataset.train AS t JOIN dataset.dev AS d \
                  ON t.question_id = d.question_id";
    assert_eq!(number(&session, shared), 0.0);
    let whole = number(&session, "SELECT count(*) FROM steps");
    let both = "SELECT (SELECT count(*) FROM dataset.train) + (SELECT count(*) FROM dataset.dev)";
    assert_eq!(number(&session, both), whole);
    let (outcome, _) = run(&session, "VERIFY DATASET");
    let Outcome::Verified(all) = outcome else { panic!("{outcome:?}") };
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|v| v.rerun == Rerun::Same && !v.differs()), "{all:?}");
}

/// All values of a column as a view sees them.
fn values(view: &View, table: TableId, column: ColumnRef) -> Option<ArrayRef> {
    let parts: Vec<ArrayRef> =
        view.segments(table).iter().map(|s| view.column(s, column).unwrap()).collect();
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    (!parts.is_empty()).then(|| concat(&parts).unwrap())
}

fn assert_same_view(one: &View, other: &View) {
    assert_eq!(one.sequence(), other.sequence());
    assert_eq!(one.catalogue(), other.catalogue());
    for table in TableId::ALL {
        assert_eq!(one.rows(table), other.rows(table));
        for column in STEP_COLUMNS.iter().map(|c| c.name).chain(["trajectory_id", "split"]) {
            let Some(column) = one.stored(table, column) else { continue };
            assert_eq!(values(one, table, column), values(other, table, column), "{column:?}");
        }
    }
    for (at, label) in one.labels().iter().enumerate() {
        let table = if label.on_steps { TableId::Steps } else { TableId::Trajectories };
        let column = ColumnRef::Label(at as u16);
        assert_eq!(values(one, table, column), values(other, table, column), "{label:?}");
    }
}

fn give(session: &Session, trajectory: u64, step: u32, judge: &str, value: f64) {
    let label = Label {
        target: if step == 0 { Target::Trajectory } else { Target::Step(step) },
        name: LabelName::new("process").unwrap(),
        judge: judge.to_owned(),
        value,
        raw: None,
        verdict: None,
        rationale: None,
        run_id: None,
    };
    let fact = Fact { trajectory, label };
    session.database().store().label(&[fact], &[], Durability::Now).unwrap();
}

#[test]
fn a_view_of_the_past_sees_what_a_view_of_then_saw() {
    let folder = tempfile::tempdir().unwrap();
    let session = questions(&folder.path().join("db"), 0, 50);
    let mut held = Vec::new();
    let mut draw = 1u64;
    let mut next = move |below: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % below
    };
    let mut end = 50;
    for round in 0..60 {
        match next(8) {
            0 => {
                add_questions(&session, end, end + 40);
                end += 40;
            }
            1 if round > 10 => session.database().store().fold().unwrap(),
            2 => {
                let judge = ["one", "two"][next(2) as usize];
                let _ = session.database().store().set_default_judge("process", judge);
            }
            _ => {
                let judge = ["one", "two", "three"][next(if round < 30 { 2 } else { 3 }) as usize];
                let (of, step) = (next(end), next(3) as u32);
                give(&session, of, step, judge, next(5) as f64 / 4.0);
            }
        }
        let view = session.database().view();
        held.push((view.sequence(), view.horizon(), view));
    }
    let now = session.database().view();
    for (sequence, horizon, then) in &held {
        assert_same_view(then, &now.as_of(*sequence, horizon).unwrap());
    }
    let (_, mut horizon, _) = held.pop().unwrap();
    horizon.rows[0] += 1;
    let error = now.as_of(now.sequence(), &horizon).unwrap_err();
    assert!(error.to_string().contains("there were"), "{error}");
}

#[test]
fn a_statement_is_run_again_as_of_its_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    session.set_parameter("least", Some(given("0.5")));
    session.set_parameter("words", Some(Literal::Text("was\nfounded".to_owned())));
    for text in [
        "FROM steps |> WHERE every(process > $least) |> SAVE AS good",
        "FROM steps |> WHERE matches(observation, $words) |> SAMPLE 9 STEPS SEED 1 |> SAVE AS nine",
        "FROM steps |> ORDER BY process, step DESC |> LIMIT 20 |> SAVE AS ordered",
        "FROM dataset.good |> SAMPLE 2 PER question_id SEED 4 |> SAVE AS some",
        "SELECT t.trajectory_id, t.source FROM trajectories AS t JOIN labels AS l \
         ON l.trajectory_id = t.trajectory_id WHERE l.\"current\" AND l.value > .5 \
         GROUP BY t.trajectory_id, t.source ORDER BY 1 |> SAVE AS joined",
    ] {
        run(&session, text);
    }
    session.set_parameter("least", None);
    session.set_parameter("words", None);
    // Everything that could change what they give: labels, a judge, trajectories, folding.
    let all = session.database().view().rows(TableId::Trajectories);
    for trajectory in 0..all {
        give(&session, trajectory, 1, "program", 0.25);
        give(&session, trajectory, 1, "late", 1.0);
    }
    load(&session, &fixture("agentprocess/trajectories.jsonl"), None);
    load(&session, &fixture("world/trajectories.jsonl"), Some("again"));
    session.database().store().set_default_judge("process", "late").unwrap();
    session.database().store().fold().unwrap();
    let (outcome, kept) = run(&session, "VERIFY DATASET");
    let Outcome::Verified(found) = outcome else { panic!("{outcome:?}") };
    let shown = arrow::util::pretty::pretty_format_batches(&kept.batches).unwrap();
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|v| v.rerun == Rerun::Same && !v.differs()), "{shown}");
    // What cannot be the same again is said with its rows.
    run(
        &session,
        "FROM steps |> WHERE run_id IS NULL AND (SELECT count(*) FROM datasets) > 4 \
                   |> LIMIT 9 |> SAVE AS counted",
    );
    run(&session, "DROP DATASET ordered");
    run(&session, "DROP DATASET some");
    let (outcome, kept) = run(&session, "VERIFY DATASET counted");
    let Outcome::Verified(found) = outcome else { panic!("{outcome:?}") };
    let shown = arrow::util::pretty::pretty_format_batches(&kept.batches).unwrap().to_string();
    assert_eq!(found[0].rerun, Rerun::Differs, "{shown}");
    assert!(found[0].content_is_same && found[0].hash_is_same, "{shown}");
    assert!(shown.contains("9 removed, 0 the same; datasets are read as they are now"), "{shown}");
    assert!(shown.contains("step 1 removed"), "{shown}");
    run(&session, "FROM dataset.nine |> SAVE AS ten");
    run(&session, "DROP DATASET nine");
    let (outcome, kept) = run(&session, "VERIFY DATASET ten");
    let Outcome::Verified(found) = outcome else { panic!("{outcome:?}") };
    let shown = arrow::util::pretty::pretty_format_batches(&kept.batches).unwrap().to_string();
    assert!(matches!(&found[0].rerun, Rerun::NotCompared(_)) && !found[0].differs(), "{shown}");
    assert!(shown.contains("unknown table 'dataset.nine'"), "{shown}");
}

#[test]
fn values_of_parameters_are_read_back() {
    let text = "FROM steps |> WHERE step = $n AND tool = $tool AND action <> $odd";
    let values = [("n", "-1.5"), ("tool", "true"), ("odd", "it's 'x'")];
    let mut given: BTreeMap<String, Literal> =
        values.map(|(name, value)| (name.to_owned(), given(value))).into();
    given.insert("tool".to_owned(), Literal::Text("a\n-- $n = 7 \"\u{1F600}\r".to_owned()));
    let written = with_values(text, &given);
    assert_eq!(values_behind(&written[text.len()..]), given, "{written}");
}

fn draft<'a>(name: &'a str, statement: &'a str) -> DatasetDraft<'a> {
    DatasetDraft {
        name,
        statement,
        seeds: vec![],
        judges: vec![],
        undecided: 0,
        with_duplicates: true,
        created_at: 1_700_000_000_000_000,
        program: "0.0.1",
    }
}

fn row(trajectory: u64, step: u32, reward: Option<f64>) -> NewRow {
    NewRow { trajectory, step: Some(step), reward, pair: None }
}

#[test]
fn two_datasets_differ_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let session = questions(&folder.path().join("db"), 0, 10);
    let database = session.database();
    let view = database.view();
    let save = |name: &str, rows: &[NewRow]| {
        database.save_dataset(&view, draft(name, "FROM steps"), rows).unwrap()
    };
    save("a", &[row(3, 1, Some(1.0)), row(1, 2, None), row(0, 1, Some(0.5)), row(2, 1, Some(1.0))]);
    save("b", &[row(0, 1, Some(0.5)), row(3, 1, Some(0.0)), row(9, 2, None), row(2, 1, None)]);
    let (outcome, kept) = run(&session, "DIFF DATASET a b");
    let Outcome::Compared { difference, .. } = outcome else { panic!("{outcome:?}") };
    let expected = Difference { added: 1, removed: 1, relabelled: 2, changed: 0, same: 1 };
    assert_eq!(difference, expected);
    let shown = arrow::util::pretty::pretty_format_batches(&kept.batches).unwrap().to_string();
    assert_eq!(
        shown,
        "\
+------------+---------------+--------+------+----------+----------+
| change     | trajectory_id | source | step | reward_a | reward_b |
+------------+---------------+--------+------+----------+----------+
| removed    | t1            | made   | 2    |          |          |
| relabelled | t2            | made   | 1    | 1.0      |          |
| relabelled | t3            | made   | 1    | 1.0      | 0.0      |
| added      | t9            | made   | 2    |          |          |
+------------+---------------+--------+------+----------+----------+"
    );
    let (outcome, kept) = run(&session, "DIFF DATASET dataset.a, a");
    let Outcome::Compared { difference, .. } = outcome else { panic!("{outcome:?}") };
    assert!(difference.is_none() && difference.same == 4 && kept.batches.is_empty());
    let unknown = mistake(&session, "DIFF DATASET a bb");
    assert!(unknown.contains("did you mean 'b'?") && unknown.contains("^^"), "{unknown}");
}

/// The same by another road: how often each (row, reward) is in one and not in the other.
#[test]
fn differences_are_those_of_counting() {
    let mut draw = 7u64;
    let mut next = move |below: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % below
    };
    for size in [0, 1, 5, 40, 300] {
        let mut make = || -> Vec<DatasetRow> {
            let row = |_| DatasetRow {
                trajectory: next(size / 2 + 1),
                step: 1 + next(2) as u32,
                content_hash: [u8::from(next(20) == 0); 32],
                reward: (next(3) > 0).then(|| next(2) as f64),
                pair: None,
            };
            (0..size).map(row).collect()
        };
        let (mut first, mut second) = (make(), make());
        let mut listed = Vec::new();
        let whole = first.clone();
        let found = difference(&mut first, &mut second, |row| {
            listed.push(row);
            Ok(())
        });
        let found = found.unwrap();
        let count = |rows: &[DatasetRow], by_reward: bool| {
            let mut counts = HashMap::new();
            for row in rows {
                let reward = row.reward.map_or(u64::MAX, f64::to_bits);
                let rest = by_reward.then_some((reward, row.content_hash[0]));
                *counts.entry((row.trajectory, row.step, rest)).or_insert(0u64) += 1;
            }
            counts
        };
        let common = |by_reward: bool| {
            let (one, other) = (count(&first, by_reward), count(&second, by_reward));
            one.iter().map(|(key, n)| *n.min(other.get(key).unwrap_or(&0))).sum::<u64>()
        };
        assert_eq!(found.same, common(true));
        assert_eq!(found.same + found.relabelled + found.changed, common(false));
        assert_eq!(found.removed, size - common(false));
        assert_eq!(found.added, size - common(false));
        let of = |change| listed.iter().filter(|row| row.change == change).count() as u64;
        let counted = [Change::Added, Change::Removed, Change::Relabelled, Change::Changed].map(of);
        let told = [found.added, found.removed, found.relabelled, found.changed];
        assert_eq!(counted, told);
        assert_eq!(whole.len(), first.len());
        assert!(listed.is_sorted_by_key(|row| (row.trajectory, row.step)));
    }
}

#[test]
fn what_is_not_what_was_saved_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let session = questions(&folder.path().join("db"), 0, 10);
    let database = session.database();
    let saved = database
        .save_dataset(&database.view(), draft("good", "FROM steps"), &[row(1, 1, Some(2.0))])
        .unwrap();
    // Another content of trajectory 4, a step too far, a trajectory that is gone, another reward.
    let good = database.store().dataset_rows("good").unwrap().remove(0);
    let forged = |name: &str, row: DatasetRow| {
        let record = DatasetRecord { name: name.to_owned(), ..saved.clone() };
        database.store().save_dataset(&record, &[row]).unwrap();
    };
    forged("content", DatasetRow { content_hash: [7; 32], ..good.clone() });
    forged("step", DatasetRow { step: 9, ..good.clone() });
    forged("gone", DatasetRow { trajectory: 99, ..good.clone() });
    forged("reward", DatasetRow { reward: Some(1.0), ..good.clone() });
    for (name, expected, status) in [
        ("content", "made/t1: it is stored with other content than the dataset pins", "broken: 1"),
        ("step", "made/t1: step 9 is gone: there are 2", "complete"),
        ("gone", "trajectory 99 is gone: there are 10", "broken: 1"),
        ("reward", "saved with", "complete"),
    ] {
        let (outcome, kept) = run(&session, &format!("VERIFY DATASET {name}"));
        let Outcome::Verified(found) = outcome else { panic!("{outcome:?}") };
        let shown = arrow::util::pretty::pretty_format_batches(&kept.batches).unwrap().to_string();
        assert!(found[0].differs() && !found[0].hash_is_same, "{shown}");
        assert_eq!(found[0].content_is_same, name == "reward", "{shown}");
        assert!(shown.contains(expected), "{shown}");
        let shown = table(&session, &format!("SHOW DATASET {name}"));
        assert!(shown.contains(status), "{shown}");
    }
    let report = database.verify(&mut |_, _| true).unwrap();
    let places: Vec<&str> = report.findings.iter().map(|f| f.place.as_str()).collect();
    for name in ["content", "step", "gone", "reward"] {
        assert!(places.contains(&format!("dataset '{name}'").as_str()), "{places:?}");
    }
    assert!(!places.contains(&"dataset 'good'"), "{places:?}");
}

#[test]
fn a_dataset_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let session = questions(&folder.path().join("db"), 0, 10);
    let database = session.database();
    let rows = [row(1, 1, Some(1.0)), row(1, 2, Some(-0.5)), row(2, 1, None)];
    let saved =
        database.save_dataset(&database.view(), draft("good", "FROM steps"), &rows).unwrap();
    let shown = pairs(&session, "SHOW DATASET good");
    let of = |key: &str| {
        let found = shown.iter().find(|(name, _)| name == key);
        found.and_then(|(_, value)| value.clone()).unwrap_or_else(|| panic!("no {key}"))
    };
    assert_eq!(of("status"), "complete");
    assert_eq!(of("rewards"), "2, from -0.5 to 1, mean 0.2500; 1 above 0, 1 below, 1 without");
    assert_eq!(of("created_at"), "2023-11-14T22:13:20Z");
    assert_eq!(of("program"), "0.0.1");
    assert_eq!(of("saved in"), "this database");
    assert_eq!(of("sequence"), saved.sequence.to_string());
    assert_eq!(of("hash").len(), 64);
}

/// Writes a dataset to a file and reads it into another database.
fn carried(from: &Session, name: &str, file: &Path, to: &Session) -> u64 {
    let text = format!("EXPORT DATASET {name} TO '{}'", file.display());
    let (outcome, _) = run(from, &text);
    assert!(matches!(outcome, Outcome::DatasetExported { .. }), "{outcome:?}");
    load(to, file, None).datasets
}

fn verified(session: &Session, name: &str) -> Verified {
    let (outcome, _) = run(session, &format!("VERIFY DATASET {name}"));
    let Outcome::Verified(mut found) = outcome else { panic!("{outcome:?}") };
    found.remove(0)
}

#[test]
fn a_dataset_is_carried_to_another_machine_with_the_same_hash() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let select = "FROM steps |> WHERE every(process > .5) AND outcome > .5 \
                  |> SAMPLE 2 PER question_id SEED 5 |> ORDER BY step DESC";
    let Outcome::Saved(saved) = run(&session, &format!("{select} |> SAVE AS good")).0 else {
        panic!("not saved")
    };
    // A label given later is not what it was selected by.
    give(&session, 0, 1, "late", 0.0);
    let file = folder.path().join("good.swirl.zst");
    let empty = Session::open(&folder.path().join("empty"), OPTIONS, true).unwrap();
    let half = Session::open(&folder.path().join("half"), OPTIONS, true).unwrap();
    let lines = std::fs::read_to_string(fixture("world/trajectories.jsonl")).unwrap();
    let some: String = lines.lines().step_by(2).map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.path().join("half.jsonl"), some).unwrap();
    load(&half, &folder.path().join("half.jsonl"), Some("world"));
    for other in [&empty, &half] {
        assert_eq!(carried(&session, "good", &file, other), 1);
        let record = other.database().store().dataset("good").unwrap().unwrap();
        assert_eq!((record.hash, record.rows), (saved.hash, saved.rows));
        assert_eq!(record.statement, saved.statement);
        let found = verified(other, "good");
        assert!(!found.differs(), "{found:?}");
        assert!(matches!(&found.rerun, Rerun::NotCompared(why) if why.contains("another")));
        // Once more changes nothing.
        let again = load(other, &file, None);
        assert_eq!((again.datasets, again.trajectories, again.labels), (0, 0, 0));
    }
    // Of the dataset's own trajectories the statement takes the same rows.
    let Outcome::Saved(again) = run(&empty, &format!("{select} |> SAVE AS again")).0 else {
        panic!("not saved")
    };
    assert_eq!(again.hash, saved.hash);
    assert_eq!(number(&empty, "SELECT count(*) FROM trajectories"), saved.trajectories as f64);
    // And from there back to a database that dropped it.
    run(&session, "DROP DATASET good");
    let back = folder.path().join("back.jsonl");
    assert_eq!(carried(&empty, "good", &back, &session), 1);
    assert!(!verified(&session, "good").differs());
    let first = zstd::decode_all(std::fs::read(&file).unwrap().as_slice()).unwrap();
    assert_eq!(String::from_utf8(first).unwrap(), std::fs::read_to_string(&back).unwrap());
}

/// Imports a file and returns what is wrong with it.
fn refused(session: &Session, file: &Path) -> String {
    let reader = open(file, &ReadOptions::default()).unwrap();
    let report = import(session.database(), reader, false, &mut |_| ControlFlow::Continue(()));
    report.unwrap_err().to_string()
}

#[test]
fn a_file_that_is_not_the_dataset_leaves_no_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let session = questions(&folder.path().join("db"), 0, 20);
    run(&session, "FROM steps |> SAVE AS good");
    let file = folder.path().join("good.jsonl");
    run(&session, &format!("EXPORT DATASET good TO '{}'", file.display()));
    let text = std::fs::read_to_string(&file).unwrap();
    let altered = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let into = Session::open(&folder.path().join(format!("{name}.db")), OPTIONS, true).unwrap();
        let why = refused(&into, &path);
        assert!(into.database().store().datasets().unwrap().is_empty(), "{name}");
        (why, into)
    };
    let last = text.trim_end().rfind('\n').unwrap();
    let (why, _) = altered("cut", text[..last].to_owned());
    assert!(why.contains("the file has 0 of its 40 rows"), "{why}");
    let (why, _) = altered("rewarded", text.replace("[3,1,null]", "[3,1,0.5]"));
    assert!(why.contains("the hash over its rows is not the one in the file"), "{why}");
    let (why, _) = altered("step", text.replace("[3,1,null]", "[3,7,null]"));
    assert!(why.contains("'t3' has no step 7"), "{why}");
    let (why, into) = altered("content", text.replace("second of 5", "other of 5"));
    assert!(why.contains("'t5' of source 'made' is stored with other content"), "{why}");
    assert_eq!(number(&into, "SELECT count(*) FROM trajectories"), 20.0);
    let without: String =
        text.lines().filter(|l| !l.contains("second of 5\"")).map(|l| format!("{l}\n")).collect();
    let (why, _) = altered("without", without);
    assert!(why.contains("'t5' of source 'made' is neither in the file"), "{why}");
    let rows = text[last..].trim().to_owned();
    let (why, _) = altered("rows", format!("{rows}\n{text}"));
    assert!(why.contains("stand before the line that describes it"), "{why}");
    // Another dataset of that name.
    let other = questions(&folder.path().join("other"), 0, 20);
    run(&other, "FROM steps |> LIMIT 3 |> SAVE AS good");
    let why = refused(&other, &file);
    assert!(why.contains("another dataset of that name is there, with hash"), "{why}");
    assert_eq!(number(&other, "SELECT count(*) FROM dataset.good"), 3.0);
    // Under another source it would be another dataset: it is skipped, and said.
    let renamed = Session::open(&folder.path().join("renamed"), OPTIONS, true).unwrap();
    let report = load(&renamed, &file, Some("elsewhere"));
    assert_eq!((report.datasets, report.skipped, report.trajectories), (0, 2, 20));
    // Twice in one file is once.
    let joined = folder.path().join("joined.jsonl");
    std::fs::write(&joined, text.repeat(2)).unwrap();
    let twice = Session::open(&folder.path().join("twice"), OPTIONS, true).unwrap();
    assert_eq!(load(&twice, &joined, None).datasets, 1);
}

#[test]
fn a_dataset_is_dropped_unless_a_run_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    run(&session, "FROM steps |> WHERE step = 1 |> SAVE AS ones");
    run(&session, "FROM steps |> WHERE step = 2 |> SAVE AS twos");
    let count = number(&session, "SELECT count(*) FROM trajectories");
    assert!(matches!(run(&session, "DROP DATASET ones").0, Outcome::Dropped(_)));
    assert!(mistake(&session, "FROM dataset.ones").contains("unknown table"));
    assert!(mistake(&session, "DROP DATASET one").contains("unknown dataset 'one'"));
    assert_eq!(number(&session, "SELECT count(*) FROM trajectories"), count);
    run(&session, "FROM steps |> WHERE step = 3 |> SAVE AS ones");
    let run_of = |id: &str, dataset: Option<&str>, config: &str| swirldb::codec::RunRecord {
        id: id.to_owned(),
        kind: "train".to_owned(),
        status: swirldb::codec::RunStatus::Finished,
        statement: String::new(),
        config: config.to_owned(),
        seed: None,
        dataset: dataset.map(str::to_owned),
        output: None,
        error: None,
        started_at: 0,
        ended_at: None,
    };
    let store = session.database().store();
    store.put_run(&run_of("first", Some("ones"), "{}")).unwrap();
    store.put_run(&run_of("second", None, "{\"eval_dataset\":[\"twos\"]}")).unwrap();
    let told = mistake(&session, "DROP DATASET ones");
    assert!(told.contains("run 'first' uses dataset 'ones'") && told.contains("^^^^"), "{told}");
    assert!(mistake(&session, "DROP DATASET twos").contains("run 'second' uses dataset 'twos'"));
}

#[test]
fn datasets_of_the_first_version_are_read() {
    let record = DatasetRecord {
        name: "old".to_owned(),
        statement: "FROM steps".to_owned(),
        sequence: 300,
        seeds: vec![7],
        judges: vec!["process@human".to_owned()],
        saw_gold: Some(false),
        rows: 2,
        trajectories: 1,
        undecided: 0,
        hash: [9; 32],
        created_at: -1,
        horizon: None,
        program: None,
        origin: None,
    };
    let newer = Record::encode(&record);
    assert_eq!(newer[0], 2);
    // What the second version added stands at the end: three times nothing.
    let mut older = newer[..newer.len() - 3].to_vec();
    older[0] = 1;
    assert_eq!(<DatasetRecord as Record>::decode(&newer).unwrap(), record);
    assert_eq!(<DatasetRecord as Record>::decode(&older).unwrap(), record);
    older[0] = 3;
    let error = <DatasetRecord as Record>::decode(&older).unwrap_err().to_string();
    assert!(error.contains('3'), "{error}");
}

#[test]
fn what_has_no_past_is_not_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    run(&session, "FROM steps |> WHERE process > .5 |> SAVE AS good");
    let store = session.database().store();
    let (record, rows) =
        (store.dataset("good").unwrap().unwrap(), store.dataset_rows("good").unwrap());
    let named = |name: &str| DatasetRecord { name: name.to_owned(), ..record.clone() };
    let listing = DatasetRecord { statement: "SHOW TABLES".to_owned(), ..named("listing") };
    store.save_dataset(&listing, &rows).unwrap();
    let shown = table(&session, "VERIFY DATASET listing");
    assert!(shown.contains("it cannot be run: its statement is no query"), "{shown}");
    store.save_dataset(&DatasetRecord { horizon: None, ..named("old") }, &rows).unwrap();
    let shown = table(&session, "VERIFY DATASET old");
    assert!(
        shown.contains(
            "did not note how far this went; on the database as it is now it gives \
                            the same hash"
        ),
        "{shown}"
    );
    give(&session, 0, 1, "program", 0.0);
    let mut kept = Kept::default();
    let outcome = try_run(&session, "VERIFY DATASET old", &mut kept).unwrap();
    let Outcome::Verified(found) = outcome else { panic!("{outcome:?}") };
    assert!(!found[0].differs() && matches!(found[0].rerun, Rerun::NotCompared(_)));
    let values = kept.batches[0].column(2).as_string_view();
    assert_eq!(values.iter().flatten().collect::<Vec<_>>(), ["same", "same", "not compared"]);
}
