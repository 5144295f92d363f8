//! The command `.plot`: what it takes, what it writes, and what it says of mistakes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::session::world;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    drop(world(folder.path()));
    folder
}

/// Runs the program on lines as they would be typed.
fn typed(folder: &Path, lines: &str) -> (String, String, Option<i32>) {
    std::fs::write(folder.join("typed"), lines).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_swirl"));
    command.current_dir(folder).args(["db", "-f", "typed"]).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap(), status.code())
}

const TOOLS: &str = "FROM steps |> WHERE tool IS NOT NULL \
    |> AGGREGATE count(*) AS n GROUP BY tool |> ORDER BY n DESC";

#[test]
fn columns_say_which_picture() {
    let folder = folder();
    let drawn = |line: &str| typed(folder.path(), line);
    let (out, err, code) = drawn(&format!(".plot {TOOLS}\n"));
    assert_eq!((err.as_str(), code), ("", Some(0)), "{out}");
    assert!(out.starts_with("n by tool\nsearch") && out.contains("│██"), "{out}");
    let (out, ..) = drawn(".plot FROM steps |> SELECT observation_chars\n");
    assert!(out.starts_with("observation_chars\n") && out.contains(" values · min 0"), "{out}");
    let (out, ..) =
        drawn(".plot FROM steps |> AGGREGATE avg(action_chars) AS mean GROUP BY step;\n");
    assert!(out.starts_with("mean by step\n") && out.contains('┬'), "{out}");
    let transitions = "FROM steps |> EXTEND lead(tool) OVER (PARTITION BY trajectory_id \
        ORDER BY step) AS next |> AGGREGATE count(*) AS n GROUP BY tool, next";
    let (out, ..) = drawn(&format!(".plot {transitions}\n"));
    assert!(out.starts_with("n: tool → next\n"), "{out}");
    assert!(out.contains(" left out: next is null\n"), "{out}");
    let (out, ..) = drawn(".plot FROM steps |> SELECT is_final\n");
    assert!(out.contains("false │") && out.contains("true │"), "{out}");
    // A number can be a name where that is asked for.
    let (out, ..) =
        drawn(".plot BAR SELECT step, count(*) AS n FROM steps GROUP BY step ORDER BY step\n");
    assert!(out.starts_with("n by step\n1 │"), "{out}");
}

#[test]
fn without_a_query_the_last_one_is_drawn() {
    let folder = folder();
    let lines = format!("{TOOLS};\nSHOW TABLES;\nFROM steps |> SAVE AS all_steps;\n.plot\n");
    let (out, err, code) = typed(folder.path(), &lines);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\nn by tool\nsearch"), "{out}");
    let (out, err, _) = typed(folder.path(), &format!(".plot {TOOLS}\n.plot TO last.svg\n"));
    assert_eq!(err, "wrote last.svg (bar)\n", "{out}");
    let (_, err, code) = typed(folder.path(), ".plot\n");
    assert_eq!(code, Some(1));
    assert!(err.starts_with("error: there is no query to draw yet\n  help: .plot ["), "{err}");
}

#[test]
fn pictures_go_to_files() {
    let folder = folder();
    let lines = format!(".plot TO 'my tools.SVG' {TOOLS}\n.plot bar TO tools.png {TOOLS}\n");
    let (out, err, code) = typed(folder.path(), &lines);
    assert_eq!((out.as_str(), code), ("", Some(0)));
    assert_eq!(err, "wrote my tools.SVG (bar)\nwrote tools.png (bar)\n");
    let svg = std::fs::read_to_string(folder.path().join("my tools.SVG")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains(">search</text>"), "{svg}");
    let png = std::fs::read(folder.path().join("tools.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n"));
    let (_, err, code) = typed(folder.path(), &format!(".plot TO none/tools.png {TOOLS}\n"));
    assert_eq!(code, Some(4));
    assert!(err.contains("none/tools.png: "), "{err}");
    // Rows that go to a file take their pictures with them.
    let (out, ..) = typed(folder.path(), &format!(".output rows\n.plot {TOOLS}\n"));
    assert_eq!(out, "");
    let rows = std::fs::read_to_string(folder.path().join("rows")).unwrap();
    assert!(rows.starts_with("n by tool\n"), "{rows}");
}

#[test]
fn mistakes_say_what_was_found_and_what_would_do() {
    let folder = folder();
    let mistake = |line: &str| {
        let (out, err, code) = typed(folder.path(), &format!("{line}\n"));
        assert_eq!((out.as_str(), code), ("", Some(1)), "{line}: {err}");
        err
    };
    assert_eq!(
        mistake(".plot FROM steps |> SELECT tool, tools"),
        "error: no picture fits the columns 'tool' (text), 'tools' (List(Utf8View))\n  \
         help: hist takes a number: .plot FROM steps |> SELECT observation_chars\n  \
         help: line takes two numbers, x and y, and a name if there are several lines: \
         .plot FROM steps |> AGGREGATE avg(reward) AS mean GROUP BY step\n  \
         help: bar takes a name and a number: \
         .plot FROM steps |> AGGREGATE count(*) AS n GROUP BY tool |> ORDER BY n DESC\n  \
         help: matrix takes two names, for row and column, and a number: \
         .plot FROM tool_calls |> AGGREGATE count(*) AS n GROUP BY tool, error\n"
    );
    let err = mistake(&format!(".plot hist {TOOLS}"));
    assert!(
        err.starts_with("error: '.plot hist' does not fit the columns 'tool' (text), 'n' (number)"),
        "{err}"
    );
    let err = mistake(".plot histogram FROM steps |> SELECT step");
    assert!(err.contains("'histogram' is no kind of picture\n  help: did you mean hist?"), "{err}");
    let err = mistake(".plot lien FROM steps |> SELECT step");
    assert!(err.contains("did you mean line?"), "{err}");
    let err = mistake(&format!(".plot TO tools.pdf {TOOLS}"));
    assert!(err.contains("'tools.pdf' is neither .svg nor .png"), "{err}");
    assert!(mistake(".plot bar TO").contains("TO lacks the name of a file"));
    let err = mistake(".plot FROM steps |> SELECT stepp");
    assert!(err.contains("1 | FROM steps |> SELECT stepp") && err.contains("^^^^^"), "{err}");
    let err = mistake(".plot FROM steps; FROM steps");
    assert!(err.contains(".plot takes one query, found another one"), "{err}");
    let err = mistake(".plot FROM steps |> SAVE AS x");
    assert!(err.contains("gives rows and does nothing else with them"), "{err}");
    let err = mistake(".plot SHOW TABLES");
    assert!(err.contains("gives rows and does nothing else with them"), "{err}");
    let err = mistake(".plot FROM steps |> WHERE step < 0 |> SELECT step");
    assert!(err.contains("nothing to draw") && err.contains("the query gave 0 rows"), "{err}");
    let err = mistake(".plot FROM steps |> SELECT CAST(NULL AS DOUBLE) AS x |> LIMIT 3");
    assert!(err.contains("the query gave 3 rows\n  help: 3 rows left out: x is null"), "{err}");
    let err = mistake(".plot SELECT NULL AS x");
    assert!(err.contains("1 row left out: x is null"), "{err}");
    let err = mistake(".plot SELECT tool, tool AS again, 1 AS n FROM steps");
    assert!(err.contains("two rows are for the same cell: tool '"), "{err}");
    assert!(err.contains("  help: a matrix takes one row for each cell: "), "{err}");
    assert!(err.contains("GROUP BY tool, again"), "{err}");
}

#[test]
fn help_lists_the_command() {
    let folder = folder();
    let (_, err, _) = typed(folder.path(), ".help\n");
    assert!(err.contains("\n  .plot  "), "{err}");
    let (_, err, _) = typed(folder.path(), ".help plot\n");
    assert!(err.starts_with(".plot [KIND] [TO FILE] [QUERY]\n"), "{err}");
    assert!(err.contains("\n  .plot TO tools.png"), "{err}");
}
