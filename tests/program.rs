//! The program as a person or a script meets it: output, messages, exit codes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn swirl(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swirl"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A database `db` of two trajectories, in a folder of its own.
pub fn imported() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let record = |id: &str, reward: &str, text: &str| {
        format!(
            "{{\"id\":\"{id}\",\"source\":\"s\",\"reward\":{reward},\"messages\":[\
             {{\"role\":\"user\",\"content\":\"q\"}},\
             {{\"role\":\"assistant\",\"content\":\"{text}\"}}]}}\n"
        )
    };
    let text = record("one", "0.5", "plain") + &record("two", "1", "with, \\\"all\\\" | of\\nit");
    std::fs::write(folder.path().join("in.jsonl"), text).unwrap();
    let output = swirl(folder.path(), &["import", "db", "in.jsonl"]);
    assert_eq!(err(&output), "in.jsonl: 2 trajectories, 2 steps, 0 tool calls, 2 labels\n");
    assert_eq!(output.status.code(), Some(0));
    folder
}

const QUERY: &str = "FROM steps |> SELECT trajectory_id, step, reward, action, tool, tools";

#[test]
fn rows_in_every_format() {
    let folder = imported();
    let shown = |format: &str| out(&swirl(folder.path(), &["db", "--format", format, "-c", QUERY]));
    let table = "\
trajectory_id │ step │ reward │ action           │ tool │ tools
──────────────┼──────┼────────┼──────────────────┼──────┼──────
one           │    1 │    0.5 │ plain            │ null │ []
two           │    1 │      1 │ with, \"all\" | of │ null │ []
              │      │        │ it               │      │
";
    assert_eq!(shown("table"), table);
    assert_eq!(
        shown("csv"),
        "trajectory_id,step,reward,action,tool,tools\n\
         one,1,0.5,plain,,[]\n\
         two,1,1,\"with, \"\"all\"\" | of\nit\",,[]\n"
    );
    assert_eq!(
        shown("jsonl"),
        "{\"trajectory_id\":\"one\",\"step\":1,\"reward\":0.5,\"action\":\"plain\",\"tool\":null,\
         \"tools\":[]}\n\
         {\"trajectory_id\":\"two\",\"step\":1,\"reward\":1.0,\"action\":\"with, \\\"all\\\" | \
         of\\nit\",\"tool\":null,\"tools\":[]}\n"
    );
    let json: serde_json::Value = serde_json::from_str(&shown("json")).unwrap();
    assert_eq!(json[1]["action"], "with, \"all\" | of\nit");
    assert_eq!(
        shown("markdown"),
        "| trajectory_id | step | reward | action | tool | tools |\n\
         | --- | ---: | ---: | --- | --- | --- |\n\
         | one | 1 | 0.5 | plain |  | [] |\n\
         | two | 1 | 1 | with, \"all\" \\| of<br>it |  | [] |\n"
    );
}

#[test]
fn statements_come_from_files_and_standard_input() {
    let folder = imported();
    let script = "-- a comment\n.mode csv\nSELECT count(*) AS n FROM steps;\n.timer on\nFROM runs;";
    std::fs::write(folder.path().join("script.sql"), script).unwrap();
    let output = swirl(folder.path(), &["db", "-f", "script.sql"]);
    assert!(out(&output).starts_with("n\n2\nrun,kind,status"), "{}", out(&output));
    assert!(err(&output).starts_with("time: "), "{}", err(&output));
    let mut child = Command::new(env!("CARGO_BIN_EXE_swirl"))
        .current_dir(folder.path())
        .args(["db", "--format", "csv", "--read-only"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT max(reward) AS best FROM steps").unwrap();
    assert_eq!(out(&child.wait_with_output().unwrap()), "best\n1\n");
}

#[test]
fn exit_codes_tell_what_kind_of_failure_it_was() {
    let folder = imported();
    let code = |arguments: &[&str]| swirl(folder.path(), arguments).status.code();
    assert_eq!(code(&["db", "-c", "FROM nothing"]), Some(1));
    assert_eq!(code(&["missing", "-c", "FROM steps"]), Some(1));
    assert_eq!(code(&["--no-such-option"]), Some(2));
    assert_eq!(code(&["db", "--format", "xml"]), Some(2));
    assert_eq!(code(&["verify", "db"]), Some(0));
    std::fs::write(folder.path().join("db/SWIRLDB"), "swirldb format 2\n").unwrap();
    assert_eq!(code(&["db", "-c", "FROM steps"]), Some(3));
}

#[test]
fn bad_records_are_named_and_the_others_stored() {
    let folder = tempfile::tempdir().unwrap();
    let text = "{\"id\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":7}]}\n\
                {\"id\":\"b\",\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}\n{\"id\":";
    std::fs::write(folder.path().join("in.jsonl"), text).unwrap();
    let output = swirl(folder.path(), &["import", "db", "in.jsonl"]);
    let told = err(&output);
    assert!(
        told.contains("in.jsonl: skipped line 1, messages[0].content: found integer"),
        "{told}"
    );
    assert!(told.contains("in.jsonl: skipped line 3"), "{told}");
    assert!(told.contains("1 trajectory, 1 step, 0 tool calls, 0 labels, 2 skipped"), "{told}");
    assert_eq!(output.status.code(), Some(0));
    let strict = swirl(folder.path(), &["import", "strict", "in.jsonl", "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(err(&strict).contains("stopped at the first bad record"), "{}", err(&strict));
}
