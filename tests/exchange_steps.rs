//! Tables of steps: rows become trajectories, whatever the columns are called.

use std::fmt::Write as _;

use swirldb::exchange::{Format, ReadOptions, content_hash, step_column};
use swirldb::model::{Target, Trajectory};

use super::exchange::Read;

fn table(text: &str, columns: &[&str], threads: usize) -> Read {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, text).unwrap();
    let columns = columns.iter().map(|given| step_column(given).unwrap()).collect();
    let format = Some(Format::Steps);
    Read::of(&path, &ReadOptions { format, columns, threads, ..ReadOptions::default() })
}

/// Two trajectories; a line here is a piece of a row.
fn rows() -> String {
    let pieces = [
        r#"{"trajectory_id":"a","step":1,"question":"How tall?","gold":"7","action":"look it up","#,
        r#""tool":"search","arguments":"{\"query\": \"x\"}","observation":"a page","#,
        r#""observation_error":false,"process":1,"reward":0.5,"model":"m","shard":3}"#,
        "\n",
        r#"{"trajectory_id":"a","step":2,"question":"How tall?","action":"it is 7","answer":"7","#,
        r#""status":"answered","process":0,"reward":1,"shard":3,"other":null}"#,
        "\n",
        r#"{"trajectory_id":"b","step":1,"action":null,"tool":"python","#,
        r#""arguments":{"code": "1+1"},"observation":"Traceback","observation_error":true}"#,
    ];
    pieces.concat()
}

#[test]
fn rows_become_trajectories() {
    let read = table(&rows(), &[], 1);
    assert!(read.bad.is_empty() && read.error.is_none(), "{read:?}");
    assert_eq!(read.ids(), ["a", "b"]);
    let [a, b] = read.trajectories()[..] else { panic!("{read:?}") };
    let Trajectory { source, steps, prompt, answer, model, meta, gold, .. } = &a.trajectory;
    assert_eq!((source.as_str(), steps.len(), prompt[0].text()), ("rows", 2, "How tall?"));
    assert_eq!(
        (answer.as_deref(), model.as_deref(), gold.as_slice()),
        (Some("7"), Some("m"), &["7".to_owned()][..])
    );
    assert_eq!(meta.as_ref().unwrap().as_str(), r#"{"step_fields":[{"shard":3},{"shard":3}]}"#);
    assert_eq!(steps[0].action.tool_calls[0].arguments, "{\"query\": \"x\"}");
    assert_eq!(
        (steps[0].observation[0].role.as_str(), steps[0].observation[0].error),
        ("tool", Some(false))
    );
    assert!(steps[1].observation.is_empty() && steps[1].action.tool_calls.is_empty());
    let labels: Vec<_> =
        a.labels.iter().map(|l| (l.name.as_str(), l.target.clone(), l.value)).collect();
    let expected = [
        ("process", Target::Step(1), 1.0),
        ("reward", Target::Trajectory, 1.0),
        ("process", Target::Step(2), 0.0),
    ];
    assert_eq!(labels.len(), 3, "{labels:?}");
    assert!(expected.iter().all(|label| labels.contains(label)), "{labels:?}");
    assert_eq!(a.content_hash, content_hash(&a.trajectory));
    let call = &b.trajectory.steps[0].action.tool_calls[0];
    assert_eq!((call.name.as_str(), call.arguments.as_str()), ("python", "{\"code\": \"1+1\"}"));
    assert_eq!(b.trajectory.steps[0].observation[0].error, Some(true));
}

#[test]
fn such_a_table_is_recognised_and_columns_have_other_names_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, rows()).unwrap();
    let read = Read::of(&path, &ReadOptions::default());
    assert_eq!(read.ids(), ["a", "b"]);
    let known = rows().replace("trajectory_id", "traj_id").replace("\"step\"", "\"idx\"");
    let known = known.replace("\"action\"", "\"thought\"").replace("\"arguments\"", "\"args\"");
    let named = rows().replace("trajectory_id", "episode").replace("\"action\"", "\"said\"");
    for (text, columns) in [(known, &[][..]), (named, &["trajectory_id=episode", "action=said"])] {
        let other = table(&text, columns, 1);
        assert_eq!(other.records, read.records, "{columns:?}");
    }
    // A column that is told takes the place of one that has the name.
    let both = rows().replace("\"shard\":3", "\"said\":\"hello\"");
    let both = table(&both, &["action=said"], 1);
    let a = &both.trajectories()[0].trajectory;
    assert_eq!(a.steps[0].action.text(), "hello");
    assert!(
        a.meta.as_ref().unwrap().as_str().contains(r#"{"action_":"look it up"}"#),
        "{:?}",
        a.meta
    );
    let error = step_column("acton=x").unwrap_err();
    assert!(error.contains("did you mean 'action'"), "{error}");
    assert!(step_column("action").unwrap_err().contains("expected NAME=COLUMN"));
}

#[test]
fn what_cannot_be_joined_is_left_out_whole_and_named() {
    let row = |id: &str, step: i64, action: &str| {
        format!("{{\"trajectory_id\":\"{id}\",\"step\":{step},\"action\":{action}}}\n")
    };
    let said = "\"x\"";
    let backwards = row("a", 2, said) + &row("a", 1, said) + &row("b", 1, said);
    let read = table(&backwards, &[], 1);
    assert_eq!(read.ids(), ["b"]);
    let told = read.bad[0].to_string();
    assert!(told.contains("'a' is left out: step 1") && told.contains("behind step 2"), "{told}");
    // Nobody knows whose row the unreadable one was.
    let unreadable = row("a", 1, said)
        + &row("a", 2, said)
        + "{\"trajectory_id\":\"b\",\n"
        + &row("b", 2, said)
        + &row("c", 1, said);
    let read = table(&unreadable, &[], 1);
    assert_eq!(read.ids(), ["c"]);
    assert_eq!(read.bad.len(), 3, "{:?}", read.bad);
    for (text, told) in [
        ("{\"step\":1,\"action\":\"x\"}\n", "trajectory_id"),
        ("{\"trajectory_id\":\"a\",\"step\":1}\n", "as is 'tool'"),
        ("{\"trajectory_id\":\"a\",\"step\":\"first\",\"action\":\"x\"}\n", "a whole number"),
        ("{\"trajectory_id\":\"a\",\"step\":1.5,\"action\":\"x\"}\n", "a whole number"),
    ] {
        let read = table(text, &[], 1);
        assert!(
            read.records.is_empty() && read.bad[0].to_string().contains(told),
            "{:?}",
            read.bad
        );
    }
}

#[test]
fn joining_does_not_depend_on_blocks_or_threads() {
    let mut text = String::new();
    for trajectory in 0..700 {
        for step in 1..=trajectory % 9 + 1 {
            let long = format!("{trajectory} {step} ").repeat(700);
            writeln!(
                text,
                "{{\"trajectory_id\":\"t{trajectory}\",\"step\":{step},\"action\":\"{long}\"}}"
            )
            .unwrap();
        }
    }
    assert!(text.len() > 8 << 20, "more than two blocks");
    let one = table(&text, &[], 1);
    assert_eq!(one.records.len(), 700);
    for (at, found) in one.trajectories().iter().enumerate() {
        assert_eq!(found.trajectory.steps.len(), at % 9 + 1);
    }
    assert_eq!(table(&text, &[], 4).records, one.records);
}

/// Rows that are written as tables have them.
#[test]
fn what_tables_have_in_their_columns_is_taken_or_kept() {
    let row = |rest: &str| format!("{{\"trajectory_id\":\"a\",{rest}}}\n");
    let text = row(
        r#""step":1.0,"action":"x","observation":"y","error":"TimeoutError","source":"s""#,
    ) + &row(
        r#""step":2.0,"action":"x","observation":"y","error":"False","gold":"7","model":"m""#,
    ) + &row(r#""step":3.0,"action":"x","arguments":"{}","score":"good","reward":true"#);
    let read = table(&text, &[], 1);
    assert!(read.bad.is_empty(), "{:?}", read.bad);
    let [a] = read.trajectories()[..] else { panic!("{read:?}") };
    let Trajectory { source, gold, model, steps, meta, .. } = &a.trajectory;
    assert_eq!((source.as_str(), gold.len(), model.as_deref()), ("s", 1, Some("m")));
    let errors: Vec<_> =
        steps.iter().map(|s| s.observation.first().and_then(|o| o.error)).collect();
    assert_eq!(errors, [Some(true), Some(false), None]);
    let meta = meta.as_ref().unwrap().as_str();
    assert!(meta.contains("TimeoutError") && meta.contains(r#""score":"good""#), "{meta}");
    assert!(meta.contains("arguments"), "{meta}");
    assert_eq!((a.labels.len(), a.labels[0].value), (1, 1.0));
}

#[test]
fn rows_that_stand_apart_are_told() {
    let row = |id: &str, step: i64| {
        format!("{{\"trajectory_id\":\"{id}\",\"step\":{step},\"action\":\"x\"}}\n")
    };
    let read = table(&(row("a", 1) + &row("b", 1) + &row("a", 2)), &[], 1);
    assert_eq!(read.ids(), ["a", "b"]);
    let told = read.bad[0].to_string();
    assert!(told.contains("do not follow each other") && told.contains("sort"), "{told}");
}

#[test]
fn a_told_column_comes_before_other_names_and_has_to_be_there() {
    let text = rows().replace("\"action\"", "\"thought\"");
    let read = table(&text, &["reasoning=thought"], 1);
    let action = &read.trajectories()[0].trajectory.steps[0].action;
    assert_eq!(
        (action.reasoning.as_deref(), action.content.as_deref()),
        (Some("look it up"), None)
    );
    let read = table(&rows(), &["observation=obs_txt"], 1);
    let told = read.error.unwrap().to_string();
    assert!(told.contains("no row at its beginning has a column \"obs_txt\""), "{told}");
}
