//! The queries that come with the program, over the small world of the fixtures.

use std::path::Path;

use swirldb::repl::SHIPPED;

use crate::session::{load, table, table_of_plan, world};

#[test]
fn every_query_that_comes_with_the_program_plans_and_answers_as_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let session = world(folder.path());
    // Rewards, and a second judge, as other sources have them.
    table(&session, "FROM trajectories |> LABEL AS reward BY 'answer' = em(answer, gold)");
    table(
        &session,
        "FROM steps |> LABEL AS process BY 'lenient' = CASE WHEN step = 1 THEN 1 ELSE process END",
    );
    session.database().store().set_default_judge("process", "human").unwrap();
    let again = load(&session, Path::new("fixtures/world/trajectories.jsonl"), Some("world"));
    assert_eq!((again.trajectories, again.labels), (0, 0));
    let (mut answers, mut plans) = (String::new(), String::new());
    for (name, text) in SHIPPED {
        let whole = table(&session, text);
        let count = whole.lines().count();
        let lines = whole.lines().map(|line| line.chars().take(150).collect::<String>());
        let shown: Vec<String> = lines.take(12).map(|line| line.trim_end().to_owned()).collect();
        let plan = table_of_plan(&session, text);
        let physical = plan.rsplit("\n\n").next().unwrap_or_default();
        plans.push_str(&format!("{name}:\n{}\n\n", physical.trim_end()));
        answers.push_str(&format!("{name}: a table of {count} lines\n{}\n\n", shown.join("\n")));
    }
    golden("queries.txt", &answers);
    golden("plans.txt", &plans);
}

/// Compares what was found with a file of goldens; `GOLDENS=write` writes it instead.
pub fn golden(name: &str, found: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    if std::env::var("GOLDENS").is_ok_and(|v| v == "write") {
        std::fs::write(&golden, found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&golden).unwrap(), "{name}");
}
