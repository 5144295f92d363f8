//! The prompt's commands, as a script gives them: labels by hand, rows shown again, wide rows.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A database `db` of two trajectories, of two steps and one.
fn imported() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let long = "word ".repeat(400);
    let text = format!(
        "{{\"id\":\"one\",\"source\":\"s\",\"reward\":0.5,\"question\":\"who founded it?\",\
         \"gold\":[\"Ada\"],\"messages\":[\
         {{\"role\":\"user\",\"content\":\"who founded it?\"}},\
         {{\"role\":\"assistant\",\"content\":\"I search.\",\"tool_calls\":[{{\"id\":\"c\",\
         \"type\":\"function\",\"function\":{{\"name\":\"search\",\"arguments\":\"{{}}\"}}}}]}},\
         {{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"{long}\"}},\
         {{\"role\":\"assistant\",\"content\":\"Ada, it says. \\u001b[31mred\\u009b\"}}]}}\n\
         {{\"id\":\"two 2\",\"source\":\"s\",\"reward\":1,\"messages\":[\
         {{\"role\":\"user\",\"content\":\"q\"}},\
         {{\"role\":\"assistant\",\"content\":\"nothing\"}}]}}\n"
    );
    std::fs::write(folder.path().join("in.jsonl"), text).unwrap();
    let output = swirl(folder.path(), &["import", "db", "in.jsonl"], "");
    assert!(err(&output).contains("2 trajectories, 3 steps"), "{}", err(&output));
    folder
}

fn swirl(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swirl"));
    command.current_dir(folder).args(arguments).env("PAGER", "false");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever reads no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The labels of steps and trajectories, each in the order they are stored.
fn labels(folder: &Path) -> String {
    let query = "FROM labels |> WHERE judge <> 'source' \
                 |> SELECT trajectory_id, step, name, judge, value, rationale, current";
    out(&swirl(folder, &["db", "--format", "csv", "-c", query], ""))
}

#[test]
fn a_person_labels_the_rows_of_a_query() {
    let folder = imported();
    let script = ".label process FROM steps\nr it looks it up\ng\nwhat\n7\n0.25\nq\n.labels\n";
    let output = swirl(folder.path(), &["db"], script);
    let told = out(&output);
    assert!(told.contains("process: 1 of 3  g 1"), "{told}");
    assert!(told.contains("process: 3 of 3  g 1"), "{told}");
    assert!(told.contains("expected a value from 0 to 1, found 7"), "{told}");
    assert!(told.contains("found 'what'"), "{told}");
    // The statements behind the answers go on.
    assert!(told.contains("process │ human "), "{told}");
    assert_eq!(err(&output), "gave 2 labels 'process' by human, 0 skipped, 1 left\n");
    // Gold answers and rewards are not seen, and steps before are short.
    assert!(!told.contains("gold") && !told.contains("reward@source 0.5"), "{told}");
    assert!(told.contains("more characters; v shows all"), "{told}");
    assert_eq!(
        labels(folder.path()),
        "trajectory_id,step,name,judge,value,rationale,current\n\
         one,1,process,human,1,it looks it up,true\n\
         one,2,process,human,0.25,,true\n"
    );
    // The next sitting goes on; the last query is the one that is meant.
    let script = "FROM steps |> SELECT step;\n.label process\nb\n";
    let output = swirl(folder.path(), &["db"], script);
    assert_eq!(
        err(&output),
        "gave 1 label 'process' by human, 0 skipped, 0 left; 2 rows were labelled before: AGAIN \
         asks about them too\n"
    );
    assert!(labels(folder.path()).contains("two 2,1,process,human,0,,true\n"));
}

#[test]
fn the_last_label_given_can_be_taken_back() {
    let folder = imported();
    let script = ".label process by anna with labels FROM steps\nu\ns\nb\nu\ng\nn\n";
    let output = swirl(folder.path(), &["db"], script);
    let told = out(&output);
    assert!(told.contains("nothing was given in this sitting"), "{told}");
    assert!(told.contains("gold") && told.contains("reward@source 0.5"), "{told}");
    assert!(told.contains("you gave 0"), "{told}");
    assert_eq!(err(&output), "gave 2 labels 'process' by anna, 1 skipped, 0 left\n");
    assert_eq!(
        labels(folder.path()),
        "trajectory_id,step,name,judge,value,rationale,current\n\
         one,2,process,anna,0,,false\n\
         one,2,process,anna,1,,true\n\
         two 2,1,process,anna,0.5,,true\n"
    );
    // Rows of trajectories get labels of trajectories.
    let script = ".label outcome BY anna FROM trajectories\ng\nq\n";
    assert!(err(&swirl(folder.path(), &["db"], script)).starts_with("gave 1 label 'outcome'"));
    assert!(labels(folder.path()).contains("one,,outcome,anna,1,,true\n"));
    // Answers to a command of -c are lines of standard input.
    let again = ["db", "-c", ".label process BY anna AGAIN FROM steps |> WHERE step = 2"];
    let output = swirl(folder.path(), &again, "b\n");
    assert_eq!(err(&output), "gave 1 label 'process' by anna, 0 skipped, 0 left\n");
}

#[test]
fn what_cannot_be_labelled_is_refused() {
    let folder = imported();
    let refused = |line: &str| {
        let output = swirl(folder.path(), &["db", "-c", line], "g\n");
        assert_eq!(output.status.code(), Some(1), "{line}");
        err(&output)
    };
    assert!(refused(".label process").contains("there is no last query"));
    assert!(refused(".label").contains(".label takes the name of a label and a query"));
    assert!(refused(".label Good FROM steps").contains("'Good' is no label name"));
    assert!(refused(".label process BY source FROM steps").contains("a judge of kind source"));
    assert!(refused(".label process FROM stepz").contains("did you mean 'steps'"));
    assert!(refused(".label process FROM steps |> SAVE AS x").contains("without its last stage"));
    let grouped = ".label process FROM steps |> AGGREGATE count(*) GROUP BY tool";
    assert!(refused(grouped).contains("the rows do not say which steps they are"));
    let output =
        swirl(folder.path(), &["db", "--read-only", "-c", ".label process FROM steps"], "g\n");
    assert!(err(&output).contains("open for reading only"), "{}", err(&output));
    // Who labels without seeing gold answers is not the judge who sees them.
    swirl(folder.path(), &["db", "-c", ".label process FROM steps"], "g\nq\n");
    let seeing = refused(".label process WITH LABELS FROM steps");
    assert!(seeing.contains("BY 'human:2' WITH LABELS"), "{seeing}");
}

#[test]
fn rows_of_the_last_query_are_shown_again() {
    let folder = imported();
    let shown = |script: &str| swirl(folder.path(), &["db"], script);
    let output = shown("FROM steps |> WHERE step = 2 OR tool IS NULL |> SELECT tool;\n.show #1\n");
    let told = out(&output);
    let (_, conversation) = told.split_once("s/one · 2 steps").unwrap();
    assert!(conversation.contains("  reward@source 0.5\n"), "{conversation}");
    assert!(conversation.contains("question who founded it?\ngold Ada\n"), "{conversation}");
    assert!(conversation.contains("\nstep 1\n[assistant]\nI search.\n→ search({})\n[tool]\n"));
    assert!(conversation.contains("500 more characters; .show ID STEP has all"), "{conversation}");
    // What commands a terminal does not reach it.
    assert!(conversation.ends_with("\n▶ step 2\n[assistant]\nAda, it says. ·[31mred·\n"));
    // A group by trajectory is one.
    let grouped = "FROM steps |> AGGREGATE count(*) AS n GROUP BY trajectory_id \
                   |> ORDER BY n DESC;\n.show #2\n";
    assert!(out(&shown(grouped)).contains("s/two 2 · 1 step"));
    let refused = |script: &str| {
        let output = shown(script);
        assert_eq!(output.status.code(), Some(1));
        err(&output)
    };
    assert!(refused(".show #1\n").contains("there is no result yet"));
    let grouped = "FROM steps |> AGGREGATE count(*) GROUP BY tool;\n.show #1\n";
    assert!(refused(grouped).contains("keep the column 'trajectory_id'"));
    assert!(refused("FROM steps;\n.show #4\n").contains("rows 1 to 3, no row 4"));
    assert!(refused(".show #x\n").contains("found '#x'"));
    // An id may end like a step.
    assert!(out(&shown(".show two 2\n")).contains("s/two 2 · 1 step"));
    let whole = out(&shown(".show s/one 1\n"));
    assert!(whole.contains("step 1") && !whole.contains("step 2"), "{whole}");
    assert!(!whole.contains("more characters"), "{whole}");
    assert!(refused(".show one 3\n").contains("'one' has steps 1 to 2, no step 3"));
}

#[test]
fn rows_too_wide_for_the_screen_are_folded() {
    let folder = imported();
    let query = "FROM steps |> SELECT trajectory_id, step, tool AS first, tool AS second, \
                 action, tool AS third, reward, is_final;";
    let script = format!(".width 60\n{query}\n.width\n");
    let output = swirl(folder.path(), &["db"], &script);
    let folded = "\
trajectory_id │ step │ first  │ … │ reward │ is_final
──────────────┼──────┼────────┼───┼────────┼─────────
one           │    1 │ search │ … │    0.5 │ false
one           │    2 │ null   │ … │    0.5 │ true
two 2         │    1 │ null   │ … │      1 │ true
";
    assert_eq!(out(&output), folded);
    assert_eq!(err(&output), "3 rows, 8 columns, 5 shown; .mode line shows all\n");
    let lines = out(&swirl(folder.path(), &["db", "--format", "line"], query));
    let first = "\
── #1 ─────────
trajectory_id  one
step           1
first          search
second         search
action         I search.
third          search
reward         0.5
is_final       false
── #2 ─────────
";
    assert!(lines.starts_with(first), "{lines}");
    let refused = swirl(folder.path(), &["db", "-c", ".width 3"], "");
    assert!(err(&refused).contains("20 or more"), "{}", err(&refused));
}

#[test]
fn help_tells_what_there_is() {
    let folder = imported();
    let all = err(&swirl(folder.path(), &["db", "-c", ".help"], ""));
    assert!(all.lines().all(|line| line.chars().count() <= 100), "{all}");
    assert!(all.contains("\n  .mode FORMAT              table, line, json"), "{all}");
    let one = err(&swirl(folder.path(), &["db", "-c", ".help label"], ""));
    assert!(one.starts_with(".label NAME [BY JUDGE] [WITH LABELS] [AGAIN] [QUERY]\n"), "{one}");
    let near = err(&swirl(folder.path(), &["db", "-c", ".help shw"], ""));
    assert!(near.contains("unknown command .shw: did you mean .show?"), "{near}");
}
