//! The paths that a piece of Rust names: `use` trees and paths in expressions and types.

use super::source::Token;

/// One path, as `["crate", "store", "Store"]`, and the line it starts on.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// The segments; a leading `::` is dropped.
    pub segments: Vec<String>,
    /// The line, from 1.
    pub line: usize,
    /// How many inline modules (`mod x { .. }`) enclose it.
    pub depth: usize,
}

impl NamedPath {
    /// Returns the segments joined by `::`.
    pub fn print(&self) -> String {
        self.segments.join("::")
    }

    /// Returns the path below the root of the crate if it leads there: `["store", "Store"]` for
    /// `crate::store::Store` or, in the module `["db"]`, for `super::store::Store`.
    pub fn in_crate<'a>(&'a self, module: &[&'a str]) -> Option<Vec<&'a str>> {
        let segments: Vec<&str> = self.segments.iter().map(String::as_str).collect();
        match *segments.first()? {
            "crate" | "swirldb" => Some(segments[1..].to_vec()),
            "super" => {
                let ups = segments.iter().take_while(|&&s| s == "super").count();
                let kept = (module.len() + self.depth).saturating_sub(ups).min(module.len());
                Some([&module[..kept], &segments[ups..]].concat())
            }
            _ => None,
        }
    }
}

/// Returns every path of two or more segments, and every imported one.
pub fn named_paths(tokens: &[Token]) -> Vec<NamedPath> {
    let mut reader = Reader { tokens, at: 0, out: Vec::new(), braces: Vec::new() };
    reader.read_all();
    reader.out
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    out: Vec<NamedPath>,
    /// For every open brace, whether it is the body of an inline module.
    braces: Vec<bool>,
}

impl Reader<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.line)
    }

    fn read_all(&mut self) {
        while self.at < self.tokens.len() {
            match self.text(self.at) {
                "{" => {
                    let is_module = self.at >= 2 && self.text(self.at - 2) == "mod";
                    self.braces.push(is_module);
                    self.at += 1;
                }
                "}" => {
                    self.braces.pop();
                    self.at += 1;
                }
                "use" if self.text(self.at + 1) != "<" => {
                    self.at += 1;
                    self.read_use_tree(&[]);
                }
                "extern" if self.text(self.at + 1) == "crate" => {
                    let line = self.line();
                    self.push(vec![self.text(self.at + 2).to_owned()], line);
                    self.at += 3;
                }
                _ => self.read_plain(),
            }
        }
    }

    fn push(&mut self, segments: Vec<String>, line: usize) {
        let depth = self.braces.iter().filter(|&&is_module| is_module).count();
        self.out.push(NamedPath { segments, line, depth });
    }

    /// Reads a path outside `use`, or one token.
    fn read_plain(&mut self) {
        let (start, line) = (self.at, self.line());
        self.at += 1;
        let continues = start >= 2
            && self.text(start - 1) == "::"
            && (is_name(self.text(start - 2)) || self.text(start - 2) == ">");
        if !is_name(self.text(start)) || continues {
            return;
        }
        let mut segments = vec![self.text(start).to_owned()];
        while self.text(self.at) == "::" && is_name(self.text(self.at + 1)) {
            segments.push(self.text(self.at + 1).to_owned());
            self.at += 2;
        }
        if segments.len() > 1 {
            self.push(segments, line);
        }
    }

    /// Reads one tree of a `use` after `prefix`, up to the `,`, `}` or `;` behind it.
    fn read_use_tree(&mut self, prefix: &[String]) {
        let mut segments = prefix.to_vec();
        let line = self.line();
        loop {
            let text = self.text(self.at).to_owned();
            self.at += 1;
            match text.as_str() {
                "::" => {}
                "{" => {
                    while !matches!(self.text(self.at), "}" | "") {
                        self.read_use_tree(&segments);
                        // A comma, or a token that no `use` has: in either case one further.
                        if self.text(self.at) != "}" {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "as" => self.at += 1,
                "self" if segments.len() == prefix.len() && !prefix.is_empty() => {}
                _ if is_name(&text) || text == "*" => segments.push(text),
                _ => {
                    self.at -= 1;
                    break;
                }
            }
        }
        if !segments.is_empty() {
            self.push(segments, line);
        }
    }
}

fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}
