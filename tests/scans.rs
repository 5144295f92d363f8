//! What a scan does by a shorter way gives what the long way gives.

use std::fmt::Write as _;

use swirldb::session::Session;

use crate::session::{OPTIONS, load, number, table};

/// Steps whose numbers are null, of both signs, and zeros of both signs; tools that are null too.
fn session(folder: &std::path::Path) -> Session {
    let latencies = ["null", "-1.5", "-0.0", "0.0", "2.5", "1e300", "0.5"];
    let tools = ["\"search\"", "\"python\"", "null", "\"\"", "\"shell\""];
    let mut text = String::new();
    for row in 0..4_000usize {
        let tokens = row as i64 % 11 - 5;
        let tokens = if row % 5 == 3 { "null".to_owned() } else { tokens.to_string() };
        let (trajectory, step) = (row / 4, row % 4 + 1);
        let (tool, latency) = (tools[row % tools.len()], latencies[row % latencies.len()]);
        let process = if row % 3 == 0 { "null" } else { "0.5" };
        write!(
            text,
            r#"{{"trajectory_id":"t{trajectory}","step":{step},"action":"x","tool":{tool},"#
        )
        .unwrap();
        writeln!(text, r#""latency_ms":{latency},"action_tokens":{tokens},"process":{process}}}"#)
            .unwrap();
    }
    let path = folder.join("rows.jsonl");
    std::fs::write(&path, text).unwrap();
    let session = Session::open(&folder.join("db"), OPTIONS, true).unwrap();
    let report = load(&session, &path, None);
    assert_eq!((report.steps, report.skipped), (4_000, 0), "{report:?}");
    session
}

#[test]
fn conditions_hold_for_the_rows_that_cases_hold_for() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(folder.path());
    let mut conditions = Vec::new();
    for operator in ["=", "<>", "<", "<=", ">", ">="] {
        for (column, values) in [
            ("latency_ms", &["0.0", "-0.0", "0.5", "1e300", "CAST('NaN' AS DOUBLE)"][..]),
            ("action_tokens", &["0", "-3", "100"][..]),
            ("process", &["0.5", "0.1"][..]),
            ("step", &["2"][..]),
        ] {
            conditions.extend(values.iter().map(|value| format!("{column} {operator} {value}")));
        }
    }
    for other in [
        "tool = 'search'",
        "tool <> 'search'",
        "tool IS NULL",
        "is_final",
        "NOT is_final",
        "latency_ms IS NULL",
        "(latency_ms > 0 OR action_tokens < 2)",
        "latency_ms < action_tokens",
        // One that may fail, and does not here.
        "10 / (action_tokens + 100) < 1",
    ] {
        conditions.push(other.to_owned());
    }
    let mut asked = 0;
    for (at, one) in conditions.iter().enumerate() {
        for other in [7, 19, 31].map(|far| &conditions[(at * far + far) % conditions.len()]) {
            let both = format!("{one} AND {other}");
            let kept = format!("FROM steps |> WHERE {both} |> AGGREGATE count(*)");
            let cases = format!("FROM steps |> AGGREGATE sum(CASE WHEN {both} THEN 1 ELSE 0 END)");
            assert_eq!(number(&session, &kept), number(&session, &cases), "{both}");
            asked += 1;
        }
    }
    assert!(asked > 200, "{asked}");
}

#[test]
fn groups_by_codes_are_the_groups_by_texts() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(folder.path());
    for aggregates in [
        "count(*) AS n",
        "avg(latency_ms) AS m",
        "count(*) AS n, avg(process) AS m, sum(action_tokens) AS s, max(step) AS l",
        "count(process) AS n, count(DISTINCT step) AS d, avg(action_tokens) AS m",
        "count(*) FILTER (WHERE step > 2) AS n, avg(process) FILTER (WHERE step > 9) AS m",
    ] {
        for condition in ["", "|> WHERE step > 1 ", "|> WHERE tool IS NULL ", "|> WHERE step > 9 "]
        {
            let grouped = |by: &str| {
                table(
                    &session,
                    &format!(
                        "FROM steps {condition}|> AGGREGATE {aggregates} GROUP BY {by} AS tool \
                         |> ORDER BY tool"
                    ),
                )
            };
            assert_eq!(grouped("tool"), grouped("tool || ''"), "{aggregates} {condition}");
        }
    }
}
