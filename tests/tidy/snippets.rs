//! For each rule: a bad piece that it finds, at the right line, and a good one that it lets pass.

use super::floors::{check_ambient, check_crates, check_drawing, check_floors, check_index};
use super::rules::{
    check_code, check_doors, check_file_length, check_function_length, check_lines, check_listed,
    check_machine_paths, check_module_doc, check_names, check_pictures,
};
use super::source::{Source, Violation, mask};

type Check = fn(&Source) -> Vec<Violation>;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

/// Asserts that `check` finds exactly one violation of `rule` in the file, at `line`.
fn assert_found(check: Check, path: &str, text: &str, rule: &str, line: usize) {
    let found = check(&source(path, text));
    let places: Vec<(&str, usize)> = found.iter().map(|found| (found.rule, found.line)).collect();
    assert_eq!(places, [(rule, line)], "{path}:\n{text}\n{found:?}");
}

fn assert_passes(check: Check, path: &str, text: &str) {
    assert_eq!(check(&source(path, text)), [], "{path}:\n{text}");
}

#[test]
fn comments_and_literals_are_blanked() {
    let code = "a // b\n/* c /* d */ e */ f \"g\\\"h\" r#\"i\"j\"# b'k' '\\'' 'l' &'m n \
        '\\u{41}' br\"o\" p";
    let words: Vec<String> = mask(code).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "f", "&'m", "n", "p"]);
    assert_eq!(mask(code).lines().count(), 2);
    assert_eq!(mask("r#type var\"x\""), "r#type var   ");
}

#[test]
fn floors_are_seen_in_every_form_of_path() {
    let higher = [
        "\nuse crate::query::Plan;",
        "\nuse crate::{model, query};",
        "\nuse crate::{model::{Step, Label}, query::{self, Plan}};",
        "\npub(crate) use crate::query as q;",
        "\nfn f() { let x = crate::query::plan(); }",
        "\nfn f() -> Vec<crate::query::Plan> { Vec::new() }",
        "\nuse super::super::query;",
        "\nmod inner { use super::super::super::query::Plan; }",
        "\nuse crate::train::Example;",
    ];
    for text in higher {
        assert_found(check_floors, "src/db/write.rs", text, "floors", 2);
    }
    assert_found(check_floors, "src/db/mod.rs", "use super::session::S;", "floors", 1);
    assert_found(check_floors, "src/unknown/mod.rs", "", "floors", 1);
    assert_found(check_floors, "src/train/mod.rs", "use crate::store::Store;", "floors", 1);
    let lower = "use crate::{store::Store, text, model::*};
        // use crate::query::Plan;
        const A: &str = \"crate::query\"; /* crate::session::x */
        use super::write::W; use self::query::Local; mod query;
        fn f(x: impl Fn() + use<'_>) { crate::db::query::f(); super::super::model::g(); }";
    assert_passes(check_floors, "src/db/read.rs", lower);
    assert_passes(check_floors, "src/main.rs", "use swirldb::repl;");
    assert_passes(check_floors, "src/lib.rs", "pub mod db; pub use crate::query::Plan;");
}

#[test]
fn only_db_knows_the_index() {
    let text = "use crate::text::TextQuery;\nuse crate::text::{COLUMNS, TextIndex};";
    assert_found(check_index, "src/query/scan.rs", text, "index", 2);
    assert_passes(check_index, "src/query/scan.rs", "use crate::text::TextQuery;");
    assert_passes(check_index, "src/db/mod.rs", "use crate::text::TextIndex;");
}

#[test]
fn crates_belong_to_modules() {
    for (path, text) in [
        ("src/db/mod.rs", "use rocksdb::DB;"),
        ("src/db/mod.rs", "use std::{fs}; extern crate rocksdb;"),
        ("src/store/mod.rs", "fn f() { ::tantivy::x(); }"),
        ("src/train/mod.rs", "use {std::fs, datafusion::x};"),
        ("src/query/mod.rs", "fn f(x: &candle_core::Tensor) {}"),
        ("src/session/mod.rs", "use rustyline;"),
        ("src/repl/mod.rs", "#[derive(clap::Parser)]\nstruct A;"),
        ("src/db/mod.rs", "use indicatif::ProgressBar;"),
    ] {
        assert_found(check_crates, path, text, "crates", 1);
    }
    let text =
        "use rocksdb::{DB, Options}; fn f() { rocksdb::x(); let tantivy = 1; self::clap::x(); }";
    assert_passes(check_crates, "src/store/mod.rs", text);
    assert_passes(check_crates, "src/train/mod.rs", "use candle_nn::ops; use candle_core as c;");
    assert_passes(check_crates, "tests/store.rs", "use rocksdb::DB;");
}

#[test]
fn the_surroundings_are_handed_in() {
    for text in [
        "let t = std::time::Instant::now();",
        "use std::time::{Duration, SystemTime};",
        "use std::{env, fs};",
        "let v = std::env::var(\"X\");",
        "let v = env::var(\"X\");",
        "let r = rand::rng();",
        "use rand::{rng, Rng};",
        "let r = StdRng::from_os_rng();",
        "getrandom::fill(&mut x);",
    ] {
        assert_found(check_ambient, "src/rollout/mod.rs", text, "ambient", 1);
    }
    let text = "fn f(now: Instant, rng: &mut impl rand::Rng) { env!(\"CARGO_PKG_VERSION\"); }";
    assert_passes(check_ambient, "src/rollout/mod.rs", text);
    assert_passes(check_ambient, "src/session/mod.rs", "let t = Instant::now();");
}

#[test]
fn the_drawing_is_compared() {
    let good =
        "//! 2  store  text  lm  report  vectors      RocksDB and the rest\n//! 1 of 2 things";
    assert_passes(check_drawing, "src/lib.rs", good);
    let bad = "//! Floors\n//! 2  store  text\n";
    assert_found(check_drawing, "src/lib.rs", bad, "drawing", 2);
}

#[test]
fn lengths_are_counted() {
    let line = "x".repeat(100) + "\n";
    assert_passes(check_lines, "src/a.rs", &line);
    assert_found(check_lines, "src/a.rs", &format!("\n{}\n", "ä".repeat(101)), "columns", 2);
    assert_found(check_lines, "README.md", "a \nb\n", "blanks", 1);
    assert_found(check_lines, "README.md", "a\nb", "blanks", 2);
    assert_passes(check_file_length, "tests/a.rs", &"\n".repeat(800));
    assert_found(check_file_length, "tests/a.rs", &"\n".repeat(801), "file-length", 801);
    assert_found(check_file_length, "README.md", &"\n".repeat(200), "file-length", 200);
    let function = |lines: usize| {
        let body = "    g(|x| { x });\n".repeat(lines - 2);
        format!("trait T {{ fn t(x: [u8; 3]) -> u8; }}\nfn f(x: fn(u8)) {{\n{body}}}\n")
    };
    assert_passes(check_function_length, "src/a.rs", &function(70));
    assert_found(check_function_length, "src/a.rs", &function(71), "function-length", 2);
}

#[test]
fn code_is_finished() {
    for (text, rule) in [
        ("fn f() { todo!() }", "unfinished"),
        ("fn f() { unimplemented!(\"x\") }", "unfinished"),
        ("fn f() { println!(\"x\") }", "printing"),
        ("fn f() { std::eprint!(\"x\") }", "printing"),
        ("fn f() { g().unwrap() }", "unwrap"),
        ("#[allow(dead_code)] fn f() {}", "allow"),
        ("#![allow(dead_code)]", "allow"),
        ("#[cfg(test)] mod tests {}", "tests-in-src"),
        ("#[test] fn f() {}", "tests-in-src"),
    ] {
        assert_found(check_code, "src/store/a.rs", text, rule, 1);
    }
    let text =
        "// todo!()\n/// x.unwrap()\nfn unwrap(print: u8) -> &str { if todo != x { x.unwrap_or(1) }
        write!(f, \"println!\"); #[expect(lint, reason = \"r\")] test(); }";
    assert_passes(check_code, "src/store/a.rs", text);
    assert_passes(check_code, "src/repl/a.rs", "fn f() { println!(\"x\") }");
    assert_passes(check_code, "tests/a.rs", "#[test] fn f() { g().unwrap() }");
}

#[test]
fn files_have_a_doc_and_doors_are_short() {
    assert_passes(check_module_doc, "src/a.rs", "//! What it is.\n");
    assert_found(check_module_doc, "src/a.rs", "// What it is.\n", "module-doc", 1);
    assert_found(check_module_doc, "src/a.rs", "\n//! What it is.\n", "module-doc", 1);
    let door = "//! Doc: fn.\nmod a;\npub use a::{B, C};\n#[cfg(unix)]\npub mod d;\n";
    assert_passes(check_doors, "src/store/mod.rs", door);
    let hall = format!("{door}pub fn f() {{}}\nfn g() {{}}\n");
    assert_found(check_doors, "src/store/mod.rs", &hall, "doors", 6);
    assert_passes(check_doors, "src/store/keys.rs", &hall);
}

#[test]
fn names_pictures_and_paths_are_seen() {
    assert_found(check_names, "src/store/utils.rs", "", "names", 1);
    assert_found(check_names, "src/helpers/mod.rs", "", "names", 1);
    assert_passes(check_names, "src/store/utilisation.rs", "");
    assert_found(check_pictures, "README.md", "a\nb \u{1F680}\n", "pictures", 2);
    assert_passes(check_pictures, "tests/text.rs", "\u{1F680}");
    assert_passes(check_pictures, "README.md", "▁▂▃ → é 漢字 עברית\n");
    let path = ["see /ro", "ot/x"].concat();
    assert_found(check_machine_paths, "README.md", &path, "machine-paths", 1);
    assert_passes(
        check_machine_paths,
        "README.md",
        "the framework/network/root, ~/home/x, a/work/b",
    );
}

#[test]
fn files_nobody_declares_are_seen() {
    let all = |listed: &str| {
        [
            source("src/lib.rs", "pub mod store;"),
            source("src/store/mod.rs", "mod keys;"),
            source("src/store/keys.rs", ""),
            source("tests/runner.rs", listed),
            source("tests/tidy.rs", "mod rules;"),
            source("tests/tidy/rules.rs", ""),
        ]
    };
    assert_eq!(check_listed(&all("mod tidy;")), []);
    let found = check_listed(&all("// mod tidy;"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].path.as_str(), found[0].rule), ("tests/tidy.rs", "listed"));
}
