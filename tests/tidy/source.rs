//! A source file as the rules see it: without comments and without the contents of literals.

use std::fmt;

/// One text file of the repository.
pub struct Source {
    /// The path from the root of the repository, with `/` between its parts.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// Something that a rule forbids, with its place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The path of the file.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The name of the rule.
    pub rule: &'static str,
    /// What was found and what to do instead.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.message)
    }
}

impl Source {
    /// Returns a violation of `rule` at `line` of this file.
    pub fn violation(
        &self,
        line: usize,
        rule: &'static str,
        message: impl Into<String>,
    ) -> Violation {
        Violation { path: self.path.clone(), line, rule, message: message.into() }
    }

    /// Returns whether the file is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Returns the path of the module that the file holds: `["store", "keys"]` for
    /// `src/store/keys.rs`; `[]` for `src/lib.rs`; `["main"]` for `src/main.rs`.
    pub fn module(&self) -> Option<Vec<&str>> {
        let inside = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let mut parts: Vec<&str> = inside.split('/').collect();
        if parts.len() > 1 && parts.last() == Some(&"mod") || parts == ["lib"] {
            parts.pop();
        }
        Some(parts)
    }
}

/// A word (an identifier, a keyword or a number), `::`, or one character of punctuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token as written.
    pub text: String,
    /// The line it stands on, from 1.
    pub line: usize,
}

/// Returns the tokens of Rust code, without comments and the contents of literals.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::new();
    let mut line = 1;
    let masked: Vec<char> = mask(text).chars().collect();
    let mut at = 0;
    while let Some(&c) = masked.get(at) {
        let start = at;
        at += 1;
        if c == '\n' {
            line += 1;
        }
        if c.is_whitespace() {
            continue;
        }
        if is_word(c) {
            while masked.get(at).is_some_and(|&c| is_word(c)) {
                at += 1;
            }
        } else if c == ':' && masked.get(at) == Some(&':') {
            at += 1;
        }
        out.push(Token { text: masked[start..at].iter().collect(), line });
    }
    out
}

/// Returns the code with comments and the contents of literals blanked, every line kept.
pub fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Returns the end of the comment or literal that starts at `at`, or `at` if none does.
fn skip(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    let after_word = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if next(1) == '/' => find(chars, at, |c| c == '\n'),
        '/' if next(1) == '*' => end_of_block_comment(chars, at),
        '"' => end_of_string(chars, at),
        '\'' => end_of_character(chars, at),
        'r' | 'b' | 'c' if !after_word => {
            let prefix = if next(1) == 'r' { 2 } else { 1 };
            let hashes = chars[at + prefix..].iter().take_while(|&&c| c == '#').count();
            let is_raw = chars[at + prefix - 1] == 'r';
            match next(prefix + hashes) {
                '"' if is_raw => end_of_raw_string(chars, at + prefix + hashes, hashes),
                '"' if hashes == 0 => end_of_string(chars, at + prefix),
                '\'' if hashes == 0 && next(0) == 'b' => end_of_character(chars, at + prefix),
                _ => at,
            }
        }
        _ => at,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn find(chars: &[char], at: usize, is_end: impl Fn(char) -> bool) -> usize {
    chars[at..].iter().position(|&c| is_end(c)).map_or(chars.len(), |n| at + n)
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// `quote` is the place of the opening quote.
fn end_of_string(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn end_of_raw_string(chars: &[char], quote: usize, hashes: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() {
        let closing = chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count();
        if chars[at] == '"' && closing == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// Returns `at` for a lifetime, which is no literal.
fn end_of_character(chars: &[char], quote: usize) -> usize {
    if chars.get(quote + 1) == Some(&'\\') {
        return (find(chars, quote + 3, |c| c == '\'') + 1).min(chars.len());
    }
    if chars.get(quote + 2) == Some(&'\'') { quote + 3 } else { quote }
}
