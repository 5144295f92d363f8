//! A message with a place in a text.

use std::fmt::Write as _;

/// A range of bytes in a statement as typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// Returns the range `start..end`.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end: end.max(start) }
    }

    /// Returns the smallest range that holds both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// What is wrong with a statement, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable name of the kind of mistake, such as `unknown-column`.
    pub code: &'static str,
    /// What was found and what was expected: one sentence without a full stop.
    pub message: String,
    /// Where, if it can be said.
    pub span: Option<Span>,
    /// What to do next.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// Returns a message of kind `code` without a place.
    pub fn new(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { code, message: message.into(), span: None, help: Vec::new() }
    }

    /// Returns the message with a place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Diagnostic {
        self.span = Some(span);
        self
    }

    /// Returns the message with one more piece of advice.
    #[must_use]
    pub fn help(mut self, advice: impl Into<String>) -> Diagnostic {
        self.help.push(advice.into());
        self
    }

    /// Returns the message as shown to a person: the sentence, the line of `text` it speaks of
    /// with a caret under it, and the advice.
    ///
    /// ```text
    /// error: unknown column 'rewrad'
    ///   2 | |> WHERE rewrad > .5
    ///     |          ^^^^^^
    ///   help: did you mean 'reward'?
    /// ```
    pub fn render(&self, text: &str) -> String {
        let mut out = format!("error: {}\n", self.message);
        if let Some(span) = self.span {
            render_place(&mut out, text, span);
        }
        for advice in &self.help {
            let _ = writeln!(out, "  help: {advice}");
        }
        out
    }
}

/// Writes the line of `text` that `span` starts in, with carets under the part it covers.
fn render_place(out: &mut String, text: &str, span: Span) {
    let start = floor_boundary(text, span.start);
    let end = floor_boundary(text, span.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let number = text[..start].matches('\n').count() + 1;
    let line = text[line_start..line_end].replace('\t', " ");
    let width = |s: &str| unicode_width::UnicodeWidthStr::width(s);
    let before = width(&text[line_start..start].replace('\t', " "));
    let marked = width(&text[start..end.min(line_end).max(start)]).max(1);
    let margin = number.to_string().len();
    let _ = writeln!(out, "  {number} | {}", line.trim_end());
    let _ = writeln!(out, "  {:margin$} | {:before$}{}", "", "", "^".repeat(marked));
}

/// Returns the largest boundary of a character that is not behind `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
