//! The rules of style: lengths, names, what code must not contain, what every file must have.

use super::source::{Source, Token, Violation, tokens};

const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
const README_LINES_MAX: usize = 199;

/// From here on a file is long enough to be mentioned.
pub const FILE_LINES_TARGET: usize = 500;

/// The modules that may print (with main).
const PRINTING: &[&str] = &["main", "repl", "serve"];

/// Names that say nothing about what a module holds.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "misc"];

/// What is code, by the end of its path; tables and goldens may have long lines.
const CODE: &[&str] = &[".rs", ".py", ".sh", ".sql", "Makefile", ".ci/run"];

/// Returns lines of code that are too long, and lines of any text that end in blanks.
pub fn check_lines(source: &Source) -> Vec<Violation> {
    let is_code = CODE.iter().any(|ending| source.path.ends_with(ending));
    let mut out = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && is_code {
            let message = format!("{columns} columns, {COLUMNS_MAX} are allowed");
            out.push(source.violation(number + 1, "columns", message));
        }
        if line.ends_with([' ', '\t', '\r']) {
            out.push(source.violation(number + 1, "blanks", "the line ends in a blank"));
        }
    }
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        let last = source.text.lines().count();
        out.push(source.violation(last, "blanks", "the last line has no end"));
    }
    out
}

/// Returns files that are too long.
pub fn check_file_length(source: &Source) -> Vec<Violation> {
    let lines = source.text.lines().count();
    let allowed = match source.path.as_str() {
        "README.md" => README_LINES_MAX,
        path if path.ends_with(".rs") || path.ends_with(".py") => FILE_LINES_MAX,
        _ => return Vec::new(),
    };
    if lines <= allowed {
        return Vec::new();
    }
    let message = format!("{lines} lines, {allowed} are allowed");
    vec![source.violation(lines, "file-length", message)]
}

/// Returns functions that are too long, signature and braces included.
pub fn check_function_length(source: &Source) -> Vec<Violation> {
    let tokens = tokens(&source.text);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut out = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.text != "fn" || text(at + 1) == "(" {
            continue;
        }
        let Some(end) = end_of_function(&tokens, at) else { continue };
        let lines = tokens[end].line - token.line + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = text(at + 1);
            let message =
                format!("function `{name}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed");
            out.push(source.violation(token.line, "function-length", message));
        }
    }
    out
}

/// Returns the place of the brace that closes the function whose `fn` is at `start`, or `None`
/// for one without a body.
fn end_of_function(tokens: &[Token], start: usize) -> Option<usize> {
    let (mut inside, mut braces) = (0, 0);
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "(" | "[" => inside += 1,
            ")" | "]" => inside -= 1,
            ";" if inside == 0 && braces == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                if braces == 0 && inside == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns what code under `src/` must not contain: unfinished places, panics on bad input,
/// printing outside the printing floor, tests, and `allow` in place of `expect`.
pub fn check_code(source: &Source) -> Vec<Violation> {
    let Some(module) = source.module() else { return Vec::new() };
    let own = module.first().copied().unwrap_or("lib");
    let tokens = tokens(&source.text);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut out = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_macro = text(at + 1) == "!" && text(at + 2) != "=";
        let is_attribute = at > 0 && text(at - 1) == "[";
        let (rule, message) = match token.text.as_str() {
            "todo" | "unimplemented" | "dbg" if is_macro => {
                ("unfinished", format!("`{}!` is not for finished code", token.text))
            }
            "println" | "print" | "eprintln" | "eprint" if is_macro && !PRINTING.contains(&own) => {
                ("printing", format!("`{}!` below the printing floor", token.text))
            }
            "unwrap" if at > 0 && text(at - 1) == "." && text(at + 1) == "(" => {
                ("unwrap", "return an error, or `expect` an invariant with its reason".to_owned())
            }
            "allow" if is_attribute => {
                ("allow", "use `expect(.., reason = \"..\")`, which says when it is out".to_owned())
            }
            "test" if is_attribute || (text(at + 1) == ")" && text(at - 2) == "cfg") => {
                ("tests-in-src", "tests live under tests/: here they would never run".to_owned())
            }
            _ => continue,
        };
        out.push(source.violation(token.line, rule, message));
    }
    out
}

/// Returns Rust files that do not start with a `//!` doc.
pub fn check_module_doc(source: &Source) -> Vec<Violation> {
    if !source.is_rust() || source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![source.violation(1, "module-doc", "a file starts with a `//!` line that says what it is")]
}

/// Returns items in a door (`mod.rs`, `lib.rs`) that are neither `mod` nor `use`.
pub fn check_doors(source: &Source) -> Vec<Violation> {
    let is_door = source.path == "src/lib.rs" || source.path.ends_with("/mod.rs");
    if !is_door || !source.path.starts_with("src/") {
        return Vec::new();
    }
    const ITEMS: &[&str] =
        &["fn", "struct", "enum", "trait", "impl", "const", "static", "type", "macro_rules"];
    let is_item = |token: &&Token| ITEMS.contains(&token.text.as_str());
    tokens(&source.text)
        .iter()
        .find(is_item)
        .map(|token| {
            let message =
                format!("`{}` in a door: only the doc, `mod` and `use` stand here", token.text);
            source.violation(token.line, "doors", message)
        })
        .into_iter()
        .collect()
}

/// Returns files and folders whose name says nothing.
pub fn check_names(source: &Source) -> Vec<Violation> {
    source
        .path
        .split('/')
        .map(|part| part.split('.').next().unwrap_or(part))
        .filter(|name| EMPTY_NAMES.contains(name))
        .map(|name| {
            let message = format!("`{name}` says nothing; name the module after what it holds");
            source.violation(1, "names", message)
        })
        .collect()
}

/// Returns characters that are pictures; in tests they are data.
pub fn check_pictures(source: &Source) -> Vec<Violation> {
    if source.path.starts_with("tests/") {
        return Vec::new();
    }
    let is_picture =
        |c: char| matches!(c, '\u{2600}'..='\u{27BF}' | '\u{FE0F}' | '\u{1F000}'..='\u{1FAFF}');
    let mut out = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        if let Some(c) = line.chars().find(|&c| is_picture(c)) {
            let message = format!("the picture U+{:04X}", u32::from(c));
            out.push(source.violation(number + 1, "pictures", message));
        }
    }
    out
}

/// Returns paths that exist on one machine only.
pub fn check_machine_paths(source: &Source) -> Vec<Violation> {
    // Written in halves, so that this file does not contain what it looks for.
    let roots =
        [["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"], ["/wo", "rk/"], ["../sha", "red/"]]
            .map(|halves| halves.concat());
    let mut out = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        for root in &roots {
            let found = line.match_indices(root.as_str()).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && !"_-.}/~".contains(c))
            });
            if found {
                let message = format!("`{root}` is a path of one machine");
                out.push(source.violation(number + 1, "machine-paths", message));
            }
        }
    }
    out
}

/// Returns Rust files that no other file declares with `mod`, so that they are not compiled.
pub fn check_listed(sources: &[Source]) -> Vec<Violation> {
    let mut out = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let Some((parents, name)) = parents(&source.path) else { continue };
        let is_declared = sources
            .iter()
            .filter(|other| parents.contains(&other.path))
            .any(|other| declares(&tokens(&other.text), &name));
        if !is_declared {
            let message = format!("no `mod {name};` in {}", parents.join(" or "));
            out.push(source.violation(1, "listed", message));
        }
    }
    out
}

fn declares(tokens: &[Token], name: &str) -> bool {
    let is_declaration =
        |three: &[Token]| three[0].text == "mod" && three[1].text == name && three[2].text == ";";
    tokens.windows(3).any(is_declaration)
}

/// Returns the files that may declare the module at `path`, and its name; `None` for a root.
fn parents(path: &str) -> Option<(Vec<String>, String)> {
    if ["src/lib.rs", "src/main.rs", "tests/runner.rs"].contains(&path) {
        return None;
    }
    let path = path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix(".rs"))?;
    let (folder, name) = path.rsplit_once('/')?;
    let parents = match folder {
        "src" => vec!["src/lib.rs".to_owned(), "src/main.rs".to_owned()],
        "tests" => vec!["tests/runner.rs".to_owned()],
        _ => vec![format!("{folder}/mod.rs"), format!("{folder}.rs")],
    };
    Some((parents, name.to_owned()))
}
