//! Editing at the prompt: when a statement is complete, its colours, and what Tab offers.

use std::borrow::Cow;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::commands::{Offered, completions};
use super::plot::query_start;
use crate::query::syntax::{TokenClass, highlight, split};
use crate::session::Session;

/// Knows the language and the names of a database.
pub(super) struct Editing<'s> {
    session: &'s Session,
    is_coloured: bool,
    files: FilenameCompleter,
}

impl Editing<'_> {
    /// Returns the helper of an editor; it colours where the terminal shows colours.
    pub fn new(session: &Session) -> Editing<'_> {
        let files = FilenameCompleter::new();
        Editing { session, is_coloured: console::colors_enabled(), files }
    }
}

impl Helper for Editing<'_> {}

impl Hinter for Editing<'_> {
    type Hint = Ending;

    fn hint(&self, line: &str, cursor: usize, _: &Context<'_>) -> Option<Ending> {
        // Enter was pressed and the statement goes on: a semicolon may have been forgotten.
        let is_fresh = line.ends_with('\n') && cursor == line.len();
        (is_fresh && !line.trim().is_empty()).then_some(Ending)
    }
}

/// Says how a statement ends, where one goes on. Nothing of it can be taken over.
pub(super) struct Ending;

impl Hint for Ending {
    fn display(&self) -> &str {
        "   ; ends the statement, Ctrl-C gives it up"
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Validator for Editing<'_> {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input();
        let command = input.trim_start().starts_with('.');
        let complete = command || input.trim().is_empty() || split(input).is_complete();
        Ok(if complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Editing<'_> {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let pair = |text: &str| Pair { display: text.to_owned(), replacement: text.to_owned() };
        if line.starts_with('.') {
            return Ok(match completions(self.session, line, cursor) {
                Offered::Words(found) => {
                    (found.start, found.candidates.iter().map(|word| pair(word)).collect())
                }
                Offered::WordsAndFiles(found) => {
                    let (start, files) = self.files.complete_path(line, cursor)?;
                    let words = found.candidates.iter().map(|word| pair(word));
                    (start, words.filter(|_| start == found.start).chain(files).collect())
                }
            });
        }
        let found = self.session.completions(line, cursor);
        Ok((found.start, found.candidates.iter().map(|candidate| pair(candidate)).collect()))
    }
}

impl Highlighter for Editing<'_> {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let query = query_start(line).unwrap_or(0);
        if !self.is_coloured || (line.starts_with('.') && query == 0) {
            return Cow::Borrowed(line);
        }
        let (command, line) = line.split_at(query);
        let mut out = String::with_capacity(2 * line.len());
        out.push_str(command);
        let mut done = 0;
        for (class, span) in highlight(line) {
            let Some(code) = colour(class).filter(|_| span.start >= done) else { continue };
            out.push_str(&line[done..span.start]);
            out.push_str(&format!("\x1b[{code}m{}\x1b[0m", &line[span.start..span.end]));
            done = span.end;
        }
        out.push_str(&line[done..]);
        Cow::Owned(out)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        match self.is_coloured {
            true => Cow::Owned(format!("\x1b[2m{hint}\x1b[0m")),
            false => Cow::Borrowed(hint),
        }
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        self.is_coloured
    }
}

/// Returns the code of a class's colour in ANSI's terms; names and operators keep the terminal's.
fn colour(class: TokenClass) -> Option<&'static str> {
    match class {
        TokenClass::Keyword => Some("1;34"),
        TokenClass::Stage => Some("1;35"),
        TokenClass::Function => Some("36"),
        TokenClass::Text => Some("32"),
        TokenClass::Number | TokenClass::Parameter => Some("33"),
        TokenClass::Comment => Some("2"),
        TokenClass::Name | TokenClass::Operator => None,
    }
}
