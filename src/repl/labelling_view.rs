//! Labels by hand: `.label NAME QUERY` shows a row and takes an answer, one after another.

use std::io::{self, IsTerminal, Write};

use console::{Key, Style, Term};

use super::console::{grouped, plural, say};
use super::conversation::{Hidden, everything_before, row_to_label};
use super::screen::page;
use crate::session::{Session, SessionError, Sitting, SittingOptions};

const KEYS: &str = "g 1 · b 0 · n 0.5 · or a number, Enter · s skip · u undo · r rationale · \
                    v view all · q end";

/// What `.label` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub options: SittingOptions,
    /// The query; empty: the last one.
    pub query: String,
}

/// Reads `NAME [BY JUDGE] [WITH LABELS] [AGAIN] [QUERY]`.
///
/// # Errors
/// What was expected.
pub(super) fn request(arguments: &str) -> Result<Request, String> {
    let (name, mut rest) = word(arguments);
    if name.is_empty() {
        return Err(".label takes the name of a label and a query: .help label".to_owned());
    }
    let mut options = SittingOptions {
        name: name.to_owned(),
        judge: "human".to_owned(),
        sees_labels: false,
        again: false,
    };
    loop {
        let (first, after) = word(rest);
        let (second, behind) = word(after);
        match first.to_ascii_uppercase().as_str() {
            "BY" if second.is_empty() => return Err("expected a judge behind BY".to_owned()),
            "BY" => {
                options.judge = second.trim_matches(['\'', '"']).to_owned();
                rest = behind;
            }
            "WITH" if second.eq_ignore_ascii_case("LABELS") => {
                options.sees_labels = true;
                rest = behind;
            }
            "AGAIN" => {
                options.again = true;
                rest = after;
            }
            _ => return Ok(Request { options, query: rest.trim().to_owned() }),
        }
    }
}

/// Returns the byte where the query of a `.label` line begins, if it has one.
pub(super) fn query_start(line: &str) -> Option<usize> {
    let (_, arguments) = line.split_once(char::is_whitespace)?;
    let query = request(arguments).ok()?.query;
    (!query.is_empty()).then(|| line.trim_end().len() - query.len())
}

/// Returns the first word of a text, a quoted one whole, and what is behind it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let end = match quote {
        Some(quote) => text[1..].find(quote).map(|at| at + 2),
        None => text.find(char::is_whitespace),
    };
    text.split_at(end.unwrap_or(text.len()))
}

/// What a person says to a row.
enum Answer {
    Value(f64),
    Skip,
    Undo,
    /// A rationale for the next label; empty: none.
    Rationale(String),
    View,
    Quit,
    Unknown(String),
}

/// Where answers come from.
pub(super) enum Answers<'a> {
    /// Keys of a terminal.
    Keys(Term),
    /// Lines, one answer each.
    Lines(&'a mut dyn Iterator<Item = String>),
}

impl<'a> Answers<'a> {
    /// Returns keys where a person sits at a terminal.
    pub fn keys() -> Option<Answers<'a>> {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        is_terminal.then(|| Answers::Keys(Term::stdout()))
    }

    fn next(&mut self) -> io::Result<Answer> {
        match self {
            Answers::Keys(term) => key(term),
            Answers::Lines(lines) => {
                let mut lines = lines.map(|line| line.trim().to_owned());
                let line = lines.find(|line| !line.is_empty());
                Ok(line.map_or(Answer::Quit, |line| spoken(&line)))
            }
        }
    }
}

/// Reads an answer that is a line.
fn spoken(line: &str) -> Answer {
    match line {
        "g" => Answer::Value(1.0),
        "b" => Answer::Value(0.0),
        "n" => Answer::Value(0.5),
        "s" => Answer::Skip,
        "u" => Answer::Undo,
        "v" => Answer::View,
        "q" => Answer::Quit,
        "r" => Answer::Rationale(String::new()),
        _ => match (line.strip_prefix("r "), line.parse()) {
            (Some(why), _) => Answer::Rationale(why.trim().to_owned()),
            (None, Ok(value)) => Answer::Value(value),
            (None, Err(_)) => Answer::Unknown(line.to_owned()),
        },
    }
}

/// Reads an answer from keys.
fn key(term: &Term) -> io::Result<Answer> {
    let pressed = match term.read_key_raw() {
        Ok(pressed) => pressed,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Answer::Quit),
        Err(error) => return Err(error),
    };
    Ok(match pressed {
        Key::CtrlC | Key::Char('\x04') => Answer::Quit,
        Key::Char(' ') => Answer::Skip,
        Key::Char('r') => typed(term, "rationale: ", "")?
            .map_or(Answer::Unknown(String::new()), Answer::Rationale),
        Key::Char(c @ ('0'..='9' | '.')) => match typed(term, "value: ", &c.to_string())? {
            Some(number) => spoken(number.trim()),
            None => Answer::Unknown(String::new()),
        },
        Key::Char(c) => spoken(&c.to_string()),
        _ => Answer::Unknown(String::new()),
    })
}

/// Reads a line key by key; `None` if it is given up with Escape or Ctrl-C.
fn typed(term: &Term, ask: &str, begun: &str) -> io::Result<Option<String>> {
    let mut line = begun.to_owned();
    let taken = loop {
        term.clear_line()?;
        term.write_str(&format!("{ask}{line}"))?;
        match term.read_key_raw()? {
            Key::Enter => break Some(line),
            Key::Escape | Key::CtrlC | Key::Char('\x04') => break None,
            Key::Backspace => drop(line.pop()),
            Key::Char(c) if !c.is_control() => line.push(c),
            _ => {}
        }
    };
    term.clear_line()?;
    Ok(taken)
}

/// Walks the rows of a query until they or the answers end.
///
/// # Errors
/// As [`Sitting::give`]; the terminal fails. What was given is stored.
pub(super) fn label(
    session: &Session,
    mut sitting: Sitting<'_>,
    hidden: Hidden,
    answers: &mut Answers<'_>,
) -> Result<(), SessionError> {
    let walked = walk(session, &mut sitting, hidden, answers);
    tell(&sitting);
    walked
}

fn walk(
    session: &Session,
    sitting: &mut Sitting<'_>,
    hidden: Hidden,
    answers: &mut Answers<'_>,
) -> Result<(), SessionError> {
    let mut rationale = None;
    let mut shown = None;
    loop {
        let Some((number, row)) = sitting.row() else {
            // The last answer can be taken back, too.
            if !matches!(answers, Answers::Keys(_)) || sitting.counts().given == 0 {
                return Ok(());
            }
            write("all rows are seen: u goes back to the last label, any other key ends\n")?;
            match answers.next().map_err(SessionError::Output)? {
                Answer::Undo if sitting.undo() => continue,
                _ => return Ok(()),
            }
        };
        if shown != Some(number) {
            show(session, sitting, hidden)?;
            shown = Some(number);
        }
        let answer = answers.next().map_err(SessionError::Output)?;
        if session.cancel().is_cancelled() {
            return Ok(());
        }
        match answer {
            Answer::Quit => return Ok(()),
            Answer::Skip => sitting.skip(),
            Answer::Undo if sitting.undo() => {
                shown = None;
                write("back to the last label: the next value takes its place\n")?;
            }
            Answer::Undo => write("nothing was given in this sitting\n")?,
            Answer::Rationale(why) => {
                rationale = Some(why).filter(|why| !why.is_empty());
                let told = rationale.as_deref().unwrap_or("none");
                write(&format!("rationale of the next label: {told}\n"))?;
            }
            Answer::View => {
                page(&everything_before(session, &row, hidden)?, None);
                ask(sitting)?;
            }
            Answer::Value(value) => match sitting.give(value, rationale.clone()) {
                Ok(()) => {
                    rationale = None;
                    write(&format!("{} = {value}\n", sitting.name()))?;
                }
                Err(SessionError::Mistake { diagnostic, .. }) => {
                    write(&format!("{}\n", diagnostic.message))?;
                }
                Err(error) => return Err(error),
            },
            Answer::Unknown(line) if line.is_empty() => {}
            Answer::Unknown(line) => write(&format!("expected {KEYS}; found '{line}'\n"))?,
        }
    }
}

/// Shows the row that is asked about, and how far the sitting is.
fn show(session: &Session, sitting: &Sitting<'_>, hidden: Hidden) -> Result<(), SessionError> {
    let Some((_, row)) = sitting.row() else { return Ok(()) };
    let quiet = Style::new().dim();
    let mut text = format!("\n{}", row_to_label(session, &row, hidden)?);
    if let Some(own) = sitting.own_label()? {
        text.push_str(&format!("{}\n", quiet.apply_to(format!("you gave {}", own.value))));
    }
    write(&text)?;
    ask(sitting)
}

/// Says which row is asked about and what may be answered.
fn ask(sitting: &Sitting<'_>) -> Result<(), SessionError> {
    let Some((number, _)) = sitting.row() else { return Ok(()) };
    let counts = sitting.counts();
    let quiet = Style::new().dim();
    let (name, of) = (sitting.name(), grouped(counts.rows as u64));
    let skipped = match counts.skipped {
        0 => String::new(),
        skipped => format!(", {} skipped", grouped(skipped as u64)),
    };
    let place = format!("{name}: {} of {of}{skipped}", grouped(number as u64));
    let place = Style::new().bold().apply_to(place);
    write(&format!("{place}  {}\n", quiet.apply_to(KEYS)))
}

/// Says what the sitting brought.
fn tell(sitting: &Sitting<'_>) {
    let counts = sitting.counts();
    let left = counts.rows - counts.given - counts.skipped;
    let (name, judge) = (sitting.name(), sitting.judge());
    let given = plural(counts.given as u64, "label", "labels");
    let (skipped, left) = (grouped(counts.skipped as u64), grouped(left as u64));
    let mut told = format!("gave {given} '{name}' by {judge}, {skipped} skipped, {left} left");
    if counts.before > 0 {
        let before = plural(counts.before as u64, "row was", "rows were");
        told.push_str(&format!("; {before} labelled before: AGAIN asks about them too"));
    }
    say(&told);
}

fn write(text: &str) -> Result<(), SessionError> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(SessionError::Output)
}
