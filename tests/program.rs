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

/// A file of 400 trajectories with long texts.
fn long_file(folder: &Path) {
    let record = |number: usize| {
        let text: String =
            (0..900).map(|word| format!("{} ", word * 7_919 * (number + 1))).collect();
        format!(
            "{{\"id\":\"t{number}\",\"source\":\"s\",\"messages\":[\
             {{\"role\":\"user\",\"content\":\"q\"}},\
             {{\"role\":\"assistant\",\"content\":\"{text}\"}}]}}\n"
        )
    };
    std::fs::write(folder.join("long.jsonl"), (0..400).map(record).collect::<String>()).unwrap();
}

/// No file may be longer than so many kilobytes: to the program that is a full disk.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_at_any_point_ends_an_import_and_loses_nothing() {
    let folder = imported();
    long_file(folder.path());
    let mut refused = 0;
    for kilobytes in [1, 4, 16, 48, 64, 100, 200, 400, 800] {
        let database = folder.path().join(format!("db-{kilobytes}"));
        assert!(
            swirl(folder.path(), &["import", &database.display().to_string(), "in.jsonl"])
                .status
                .success()
        );
        let limited = format!(
            "ulimit -f {kilobytes}; trap '' XFSZ; exec {} import {} long.jsonl",
            env!("CARGO_BIN_EXE_swirl"),
            database.display(),
        );
        let mut command = Command::new("bash");
        command.current_dir(folder.path()).args(["-c", &limited]).stdin(Stdio::null());
        let output = command.output().unwrap();
        let told = err(&output);
        if output.status.code() != Some(0) {
            refused += 1;
            assert_eq!(output.status.code(), Some(4), "{kilobytes}: {told}");
            assert!(told.contains("File too large"), "{kilobytes}: {told}");
        }
        // What was there is there, and the import can be done again.
        let verified = swirl(folder.path(), &["verify", &database.display().to_string()]);
        assert_eq!(verified.status.code(), Some(0), "{kilobytes}: {}", err(&verified));
        let again =
            swirl(folder.path(), &["import", &database.display().to_string(), "long.jsonl"]);
        assert_eq!(again.status.code(), Some(0), "{kilobytes}: {}", err(&again));
        let query = "FROM trajectories |> AGGREGATE count(*)";
        let counted = ["--format", "csv", "-c", query];
        let arguments = [&[database.to_str().unwrap()][..], &counted].concat();
        assert!(out(&swirl(folder.path(), &arguments)).ends_with("402\n"));
    }
    assert!(refused > 4, "{refused}");
}

#[test]
fn slow_statements_are_written_down_with_what_they_did() {
    let folder = imported();
    let run = |more: &[&str]| {
        let asked = ["db", "--slow-log", "slow.jsonl", "-c", QUERY];
        let output = swirl(folder.path(), &[&asked, more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        std::fs::read_to_string(folder.path().join("slow.jsonl")).unwrap()
    };
    assert_eq!(run(&["--slow-ms", "3600000"]), "", "nothing takes an hour");
    let text = run(&["--slow-ms", "0"]);
    let entry: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(entry["statement"], QUERY);
    assert_eq!(entry["outcome"], "2 rows");
    assert!(entry["seconds"].as_f64().unwrap() > 0.0);
    let plan = entry["plans"][0].to_string();
    assert!(plan.contains("Scan: steps") && plan.contains("metrics="), "{plan}");
    let failed =
        ["db", "--slow-log", "slow.jsonl", "--slow-ms", "0", "-c", "FROM steps |> WHERE x"];
    assert_eq!(swirl(folder.path(), &failed).status.code(), Some(1));
    let nowhere = ["db", "--slow-log", "no/such/folder", "-c", QUERY];
    let output = swirl(folder.path(), &nowhere);
    assert_eq!(output.status.code(), Some(4));
    assert!(err(&output).contains("no/such/folder"), "{}", err(&output));
}
