//! The floors: which module may name which other one, and which crates.

use super::paths::{NamedPath, named_paths};
use super::source::{Source, Token, Violation, tokens};

/// Every module of the crate and its floor; a module names modules on lower floors only.
pub const FLOORS: &[(&str, u8)] = &[
    ("main", 8),
    ("repl", 7),
    ("serve", 7),
    ("session", 6),
    ("rollout", 5),
    ("query", 4),
    ("tools", 4),
    ("db", 3),
    ("train", 3),
    ("store", 2),
    ("text", 2),
    ("lm", 2),
    ("report", 2),
    ("vectors", 2),
    ("chat", 1),
    ("codec", 1),
    ("exchange", 1),
    ("hub", 1),
    ("plot", 1),
    ("render", 1),
    ("score", 1),
    ("synth", 1),
    ("model", 0),
    ("diag", 0),
    ("http", 0),
];

/// The floor from which on clock, randomness and environment may be read.
const SESSION: u8 = 6;

/// Crates that only some modules may name; a `*` at the end stands for any ending.
const CRATES: &[(&str, &[&str])] = &[
    ("rocksdb", &["store"]),
    ("librocksdb_sys", &["store"]),
    ("tantivy*", &["text"]),
    ("candle_*", &["lm", "train"]),
    ("tokenizers", &["lm"]),
    ("datafusion*", &["query"]),
    ("sqlparser", &["query"]),
    ("bincode", &["codec"]),
    ("rustyline", &["repl"]),
    ("notosans", &["plot"]),
    ("png", &["plot"]),
    ("tiny_skia", &["plot"]),
    ("ttf_parser", &["plot"]),
    ("memmap2", &["vectors"]),
    ("clap", &["main"]),
    ("indicatif", &["main", "repl"]),
    ("hyper*", &["serve"]),
    ("rmcp", &["serve"]),
    ("reqwest", &["chat", "http", "hub", "serve"]),
    ("sha2", &["hub"]),
    ("dashu_*", &["tools"]),
];

/// Modules that must not be named although their floor is lower, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[(
    "train",
    &["store", "text", "exchange"],
    "it is handed examples and never sees SQL, a row or a path of the store",
)];

/// The modules that may name the full-text index.
const INDEX_KNOWN_TO: &[&str] = &["text", "db"];

/// What reads the clock, randomness or the environment, by the last segments of a path.
const AMBIENT: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "rand::rng",
    "rand::random",
    "thread_rng",
    "ThreadRng",
    "OsRng",
    "from_os_rng",
    "from_entropy",
    "available_parallelism",
    "env::args",
    "env::args_os",
    "env::var",
    "env::var_os",
    "env::vars",
    "env::current_dir",
    "env::temp_dir",
];

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// Returns each use of a module on the same or a higher floor, of a forbidden pair, and each
/// module without a floor.
pub fn check_floors(source: &Source) -> Vec<Violation> {
    let Some(module) = source.module().filter(|module| !module.is_empty()) else {
        return Vec::new();
    };
    let own = module[0];
    let Some(own_floor) = floor(own) else {
        let message = format!("module `{own}` has no floor: give it one in tests/tidy/floors.rs");
        return vec![source.violation(1, "floors", message)];
    };
    let mut out = Vec::new();
    for path in named_paths(&tokens(&source.text)) {
        let Some(other) = path.in_crate(&module).and_then(|below| below.first().copied()) else {
            continue;
        };
        let Some(other_floor) = floor(other).filter(|_| other != own) else { continue };
        if other_floor >= own_floor {
            let message =
                format!("`{own}` (floor {own_floor}) names `{other}` (floor {other_floor})");
            out.push(source.violation(path.line, "floors", message));
        }
        for (_, others, reason) in FORBIDDEN.iter().filter(|(module, ..)| *module == own) {
            if others.contains(&other) {
                let message = format!("`{own}` names `{other}`: {reason}");
                out.push(source.violation(path.line, "floors", message));
            }
        }
    }
    out.dedup();
    out
}

/// Returns each place outside `db` that knows the index beside the store. The analysis and the
/// predicate of `text` are values that any higher floor may use.
pub fn check_index(source: &Source) -> Vec<Violation> {
    let Some(module) = source.module() else { return Vec::new() };
    if module.first().is_none_or(|own| INDEX_KNOWN_TO.contains(own)) {
        return Vec::new();
    }
    let message = "only `db` knows both the store and the index, and keeps them in step";
    tokens(&source.text)
        .iter()
        .filter(|token| token.text == "TextIndex")
        .map(|token| source.violation(token.line, "index", message))
        .collect()
}

/// Returns each use of a crate outside the modules that may name it.
pub fn check_crates(source: &Source) -> Vec<Violation> {
    let Some(module) = source.module() else { return Vec::new() };
    let own = module.first().copied().unwrap_or("lib");
    let mut out = Vec::new();
    for path in named_paths(&tokens(&source.text)) {
        let name = path.segments[0].as_str();
        let rule = CRATES.iter().find(|(pattern, _)| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => *pattern == name,
        });
        let Some((_, modules)) = rule.filter(|(_, modules)| !modules.contains(&own)) else {
            continue;
        };
        let message =
            format!("crate `{name}` belongs to `{}` and is named in `{own}`", modules.join("`, `"));
        out.push(source.violation(path.line, "crates", message));
    }
    out
}

/// Returns each place below `session` that reads the clock, randomness or the environment.
pub fn check_ambient(source: &Source) -> Vec<Violation> {
    let Some(module) = source.module() else { return Vec::new() };
    if module.first().and_then(|own| floor(own)).is_none_or(|floor| floor >= SESSION) {
        return Vec::new();
    }
    let tokens = tokens(&source.text);
    let mut lines: Vec<(usize, String)> = named_paths(&tokens)
        .iter()
        .filter(|path| is_ambient(path))
        .map(|path| (path.line, path.print()))
        .collect();
    lines.extend(
        tokens
            .iter()
            .filter(|token| AMBIENT.contains(&token.text.as_str()))
            .map(|Token { text, line }| (*line, text.clone())),
    );
    lines.sort();
    lines.dedup_by_key(|(line, _)| *line);
    let message = |what: &str| {
        format!("`{what}` reads clock, randomness or environment; below `session` it is handed in")
    };
    lines.iter().map(|(line, what)| source.violation(*line, "ambient", message(what))).collect()
}

fn is_ambient(path: &NamedPath) -> bool {
    let printed = path.print();
    printed == "std::env"
        || printed.starts_with("std::env::")
        || path.segments[0] == "getrandom"
        || AMBIENT.iter().any(|what| printed == *what || printed.ends_with(&format!("::{what}")))
}

/// Returns a violation for each line of the drawing in `src/lib.rs` (`2  store  text  lm ..`) that
/// does not name the modules of that floor first.
pub fn check_drawing(library: &Source) -> Vec<Violation> {
    let mut out = Vec::new();
    for (number, line) in library.text.lines().enumerate() {
        let drawing = line.strip_prefix("//!").and_then(|doc| doc.trim_start().split_once("  "));
        let Some((Ok(drawn), words)) = drawing.map(|(n, words)| (n.parse::<u8>(), words)) else {
            continue;
        };
        let words = words.split_whitespace();
        let mut names: Vec<&str> = words.take_while(|word| floor(word).is_some()).collect();
        let mut meant: Vec<&str> =
            FLOORS.iter().filter(|(_, floor)| *floor == drawn).map(|(name, _)| *name).collect();
        names.sort_unstable();
        meant.sort_unstable();
        if names != meant {
            let message = format!("floor {drawn} is drawn as {names:?} and held as {meant:?}");
            out.push(library.violation(number + 1, "drawing", message));
        }
    }
    out
}
