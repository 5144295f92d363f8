//! The floors and the source rules, held over every file of the repository.
//!
//! Each rule is a function from files to violations; `snippets` shows for each one a bad piece that
//! it finds and a good one that it lets pass.

mod floors;
mod paths;
mod rules;
mod snippets;
mod source;

use std::fs;
use std::path::Path;

use source::{Source, Violation};

/// What is read of the repository; data (`fixtures/`) is not.
const ROOTS: &[&str] = &[
    "src",
    "tests",
    "benches",
    "scripts",
    "queries",
    "schema",
    "docs",
    ".ci",
    "Makefile",
    "Cargo.toml",
    "deny.toml",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE",
];

fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    for name in ROOTS {
        read_below(root, &root.join(name), &mut out);
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

/// Adds the text files at or below `path`.
fn read_below(root: &Path, path: &Path, out: &mut Vec<Source>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder of the repository can be read") {
            read_below(root, &entry.expect("an entry can be read").path(), out);
        }
    } else if let Some(text) = fs::read(path).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
        let below = path.strip_prefix(root).expect("the path lies below the root");
        out.push(Source { path: below.to_string_lossy().replace('\\', "/"), text });
    }
}

fn assert_none(mut violations: Vec<Violation>) {
    violations.sort();
    let lines: Vec<String> = violations.iter().map(Violation::to_string).collect();
    assert!(lines.is_empty(), "{} violations\n{}", lines.len(), lines.join("\n"));
}

fn assert_all(check: fn(&Source) -> Vec<Violation>) {
    assert_none(repository().iter().flat_map(check).collect());
}

fn assert_all_rust(check: fn(&Source) -> Vec<Violation>) {
    assert_none(repository().iter().filter(|source| source.is_rust()).flat_map(check).collect());
}

#[test]
fn modules_name_lower_floors_only() {
    assert_all_rust(floors::check_floors);
    assert_all_rust(floors::check_index);
}

#[test]
fn the_drawing_of_the_floors_is_the_one_held() {
    let sources = repository();
    let library = sources.iter().find(|source| source.path == "src/lib.rs");
    assert_none(floors::check_drawing(library.expect("src/lib.rs exists")));
}

#[test]
fn crates_are_named_in_their_module_only() {
    assert_all_rust(floors::check_crates);
}

#[test]
fn clock_randomness_and_environment_are_handed_in_below_session() {
    assert_all_rust(floors::check_ambient);
}

#[test]
fn lines_are_short_and_end_clean() {
    assert_all(rules::check_lines);
}

#[test]
fn files_are_short() {
    for source in repository().iter().filter(|source| source.is_rust()) {
        let lines = source.text.lines().count();
        if lines > rules::FILE_LINES_TARGET {
            eprintln!("{}: {lines} lines, more than about 500", source.path);
        }
    }
    assert_all(rules::check_file_length);
}

#[test]
fn functions_are_short() {
    assert_all_rust(rules::check_function_length);
}

#[test]
fn code_is_finished_and_does_not_print_or_panic() {
    assert_all_rust(rules::check_code);
}

#[test]
fn every_file_says_what_it_is() {
    assert_all_rust(rules::check_module_doc);
}

#[test]
fn doors_are_short() {
    assert_all_rust(rules::check_doors);
}

#[test]
fn names_say_something() {
    assert_all(rules::check_names);
}

#[test]
fn there_are_no_pictures() {
    assert_all(rules::check_pictures);
}

#[test]
fn nothing_names_a_path_of_one_machine() {
    assert_all(rules::check_machine_paths);
}

#[test]
fn every_file_is_compiled() {
    assert_none(rules::check_listed(&repository()));
}
