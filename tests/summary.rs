//! Rows described by numbers: SUMMARIZE, EXPLAIN FUNNEL, and MATCH in the standard's words.

use crate::queries::golden;
use crate::session::{mistake, number, table, table_of_plan, world};

#[test]
fn a_funnel_counts_what_each_clause_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let funnel = "EXPLAIN FUNNEL FROM steps
        |> WHERE tool = 'search' AND step BETWEEN 1 AND 2
            AND matches(observation, 'founded')
        |> EXTEND step * 2 AS twice
        |> LIMIT 5
        |> AGGREGATE count(*) AS n
        |> SAVE AS nothing";
    golden("summary/funnel.txt", &format!("{}\n", table(&session, funnel)));
    let rows = number(&session, "FROM steps |> WHERE tool = 'search' |> AGGREGATE count(*) AS n");
    assert!(table(&session, funnel).contains(&format!(" {rows} ")));
    for (text, told) in [
        ("EXPLAIN FUNNEL", "expected a query"),
        ("EXPLAIN FUNNEL SELECT * FROM steps", "this one has none"),
        ("EXPLAIN FUNNEL FROM steps |> WHERE tol = 'x'", "unknown column 'tol'"),
    ] {
        let found = mistake(&session, text);
        assert!(found.contains(told) && found.contains('^'), "{text}\n{found}");
    }
}

#[test]
fn columns_are_summarized() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let text = "FROM steps |> SELECT step, is_final, tool, action, latency_ms, gold, created_at
        |> SUMMARIZE";
    golden("summary/summarize.txt", &format!("{}\n", table(&session, text)));
    let whole = table(&session, "SUMMARIZE trajectories");
    assert_eq!(whole, table(&session, "SUMMARIZE FROM trajectories"));
    assert_eq!(whole, table(&session, "SUMMARIZE SELECT * FROM trajectories"));
    let none = table(&session, "FROM steps |> WHERE false |> SELECT step |> SUMMARIZE");
    assert!(none.contains("step"), "{none}");
    for (text, told) in [
        ("SUMMARIZE", "expected a table or a query"),
        ("SUMMARIZE stps", "did you mean 'steps'?"),
        ("SUMMARIZE FROM steps |> SAVE AS x", "does something else with them"),
        ("FROM steps |> SUMMARIZE step", "found 'step'"),
        ("FROM steps |> SUMMARIZE |> LIMIT 3", "SUMMARIZE is the last stage"),
    ] {
        let found = mistake(&session, text);
        assert!(found.contains(told) && found.contains('^'), "{text}\n{found}");
    }
}

#[test]
fn a_match_is_explained_in_the_words_of_the_standard() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    let text = "FROM steps |> WHERE n_calls < 2
        |> MATCH s:{tool = 'search' AND n_steps > 2} .*? (r:{is_final} | s{2,3}) $ WITHIN 8 STEPS
        |> SELECT s.step, match_length";
    let plan = table_of_plan(&session, text);
    let form = plan.split("\n\n").next().unwrap_or_default();
    golden("summary/standard_form.txt", &format!("{form}\n"));
    assert!(plan.contains("note: the pattern sees the rows that WHERE left"), "{plan}");
}
