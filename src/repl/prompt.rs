//! The prompt: lines become statements, a dot begins a command.

use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::{CompletionType, Config, Editor};

use super::commands::{commands, help};
use super::console::{Console, say};
use super::conversation::{Hidden, conversation, conversation_of, exists};
use super::editing::Editing;
use super::format::Format;
use super::labelling_view::{Answers, Request, label, request};
use super::plot::plot;
use super::screen::page;
use super::shipped::{SHIPPED, about, shipped};
use crate::diag::did_you_mean;
use crate::query::parameters::{given, written};
use crate::query::syntax::split;
use crate::session::{Session, SessionError};

const WELCOME: &str = "Statements end with a semicolon; .help lists commands, .quit leaves.";

/// Tables are not folded to less.
const WIDTH_LEAST: usize = 20;

/// Whether to go on after a line.
enum Next {
    GoOn,
    Quit,
}

/// Reads statements and commands from the terminal until the end of input or `.quit`.
///
/// # Errors
/// The terminal fails; mistakes in statements are printed and the prompt goes on.
pub fn prompt(session: &Session, console: &mut Console) -> Result<(), SessionError> {
    let failed = |e: ReadlineError| SessionError::Environment(e.to_string());
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .auto_add_history(true)
        .max_history_size(10_000);
    let config = config.map_err(failed)?.history_ignore_dups(true).map_err(failed)?.build();
    let mut editor: Editor<Editing<'_>, rustyline::history::DefaultHistory> =
        Editor::with_config(config).map_err(failed)?;
    editor.set_helper(Some(Editing::new(session)));
    let history = history_file();
    if let Some(history) = &history {
        // No history yet is no failure.
        let _ = editor.load_history(history);
    }
    greet(session);
    let mut idle = session.idle();
    loop {
        session.cancel().clear();
        let read = editor.readline("swirl> ");
        idle.stop();
        match read {
            Ok(line) => match take(session, console, &line) {
                Ok(Next::GoOn) => {}
                Ok(Next::Quit) => break,
                Err(error) => say(error.render().trim_end()),
            },
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failed(error)),
        }
        idle = session.idle();
    }
    if let Some(history) = &history {
        if let Some(folder) = history.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        // A history that cannot be kept is not worth a message on leaving.
        let _ = editor.save_history(history);
    }
    Ok(())
}

fn greet(session: &Session) {
    use crate::codec::TableId;
    let view = session.database().view();
    let path = session.database().store().path().display().to_string();
    let count = |table| super::console::grouped(view.count(table));
    let (trajectories, steps) = (count(TableId::Trajectories), count(TableId::Steps));
    say(&format!("{path}: {trajectories} trajectories, {steps} steps"));
    say(WELCOME);
}

fn take(session: &Session, console: &mut Console, line: &str) -> Result<Next, SessionError> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Next::GoOn);
    }
    if line.starts_with('.') {
        return command(session, console, line, None);
    }
    console.run(session, line).map(|()| Next::GoOn)
}

/// Runs a text that may hold commands on lines of their own among statements. What `.label` asks
/// is answered at the terminal, or by the lines of standard input.
///
/// # Errors
/// The first failure.
pub fn script(session: &Session, console: &mut Console, text: &str) -> Result<(), SessionError> {
    run_lines(session, console, text, false)
}

/// Runs a text as [`script`] does; the lines behind a `.label` are the answers to it.
///
/// # Errors
/// The first failure.
pub fn script_with_answers(
    session: &Session,
    console: &mut Console,
    text: &str,
) -> Result<(), SessionError> {
    run_lines(session, console, text, true)
}

fn run_lines(
    session: &Session,
    console: &mut Console,
    text: &str,
    with_answers: bool,
) -> Result<(), SessionError> {
    let mut statements = String::new();
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with('.') && split(&statements).is_complete() {
            console.run(session, &std::mem::take(&mut statements))?;
            let mut answers = lines.by_ref().map(str::to_owned);
            let answers = with_answers.then_some(&mut answers as &mut dyn Iterator<Item = String>);
            if let Next::Quit = command(session, console, line, answers)? {
                return Ok(());
            }
        } else {
            statements.push_str(line);
        }
    }
    console.run(session, &statements)
}

/// Runs a command; `answers` are the lines behind it, where they answer what it asks.
fn command(
    session: &Session,
    console: &mut Console,
    line: &str,
    answers: Option<&mut dyn Iterator<Item = String>>,
) -> Result<Next, SessionError> {
    let line = line.trim().trim_end_matches(';').trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match (name, rest) {
        (".quit" | ".exit", _) => return Ok(Next::Quit),
        (".help", name) => match help(name) {
            Some(text) => say(&text),
            None => return Err(unknown_command(name)),
        },
        (".tables", _) => console.run(session, "SHOW TABLES")?,
        (".labels", _) => console.run(session, "SHOW LABELS")?,
        (".judges", "") => console.run(session, "SHOW JUDGES")?,
        (".judges", chosen) => match chosen.split_once('=') {
            Some((label, judge)) => {
                let store = session.database().store();
                store.set_default_judge(label.trim(), judge.trim().trim_matches('\''))?;
            }
            None => return wrong(format!(".judges takes LABEL = JUDGE, found '{chosen}'")),
        },
        (".schema", "") => {
            for table in ["trajectories", "steps"] {
                say(&format!("{table}:"));
                console.run(session, &format!("DESCRIBE {table}"))?;
            }
        }
        (".schema", table) => console.run(session, &format!("DESCRIBE {table}"))?,
        (".mode" | ".timer" | ".pager" | ".width" | ".output", _) => setting(console, name, rest)?,
        (".read", "") => {
            return wrong(".read takes a file, or the name of a query: .queries".to_owned());
        }
        (".read", name) => read(session, console, name)?,
        (".params", set) => parameters(session, set)?,
        (".show", "") => {
            return wrong(".show takes the id of a trajectory, or #3: .help show".to_owned());
        }
        (".show", what) => show(session, console, what)?,
        (".plot", rest) => plot(session, console, rest)?,
        (".label", arguments) => label_rows(session, console, arguments, answers)?,
        (".queries", _) => {
            for (name, text) in SHIPPED {
                say(&format!("{name:<28} {}", about(text)));
            }
        }
        (other, _) => return Err(unknown_command(other)),
    }
    Ok(Next::GoOn)
}

fn wrong<T>(message: String) -> Result<T, SessionError> {
    Err(SessionError::mistake("command", message))
}

fn unknown_command(name: &str) -> SessionError {
    let dotted = format!(".{}", name.trim_start_matches('.'));
    let near = did_you_mean(&dotted, commands().map(|command| command.name));
    let hint =
        near.map_or(".help lists commands".to_owned(), |near| format!("did you mean {near}?"));
    SessionError::mistake("command", format!("unknown command {dotted}: {hint}"))
}

/// Changes how rows are shown.
fn setting(console: &mut Console, name: &str, value: &str) -> Result<(), SessionError> {
    let switch = || match value {
        "on" => Ok(true),
        "off" => Ok(false),
        other => wrong(format!("{name} takes on or off, found '{other}'")),
    };
    match name {
        ".mode" => match Format::parse(value) {
            Some(format) => console.format = format,
            None => {
                let known = Format::ALL.map(Format::as_str).join(", ");
                return wrong(format!(".mode takes one of {known}, found '{value}'"));
            }
        },
        ".timer" => console.timer = switch()?,
        ".pager" => console.pager = switch()?,
        ".width" if value.is_empty() => console.width = None,
        ".width" => match value.parse() {
            Ok(width) if width >= WIDTH_LEAST => console.width = Some(width),
            _ => {
                return wrong(format!(
                    ".width takes a number of columns, {WIDTH_LEAST} or more, or nothing for the \
                     screen's; found '{value}'"
                ));
            }
        },
        _ => {
            let file = (!value.is_empty()).then(|| Path::new(value));
            console.redirect(file).map_err(SessionError::Output)?;
        }
    }
    Ok(())
}

fn history_file() -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_STATE_HOME") {
        Some(state) => PathBuf::from(state),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".local").join("state"),
    };
    Some(base.join("swirldb").join("history"))
}

/// Runs a query that comes with the program, or the statements of a file.
fn read(session: &Session, console: &mut Console, name: &str) -> Result<(), SessionError> {
    if let Some(text) = shipped(name) {
        return script(session, console, text);
    }
    let text = std::fs::read_to_string(name).map_err(|e| {
        let near = did_you_mean(name, SHIPPED.iter().map(|(name, _)| *name));
        let near = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
        SessionError::mistake("command", format!("{name}: {e}{near}"))
    })?;
    script(session, console, &text)
}

/// Shows the trajectory that an id names, one of its steps, or a row of the last query.
fn show(session: &Session, console: &Console, what: &str) -> Result<(), SessionError> {
    if let Some(number) = what.strip_prefix('#') {
        let Ok(number) = number.trim().parse() else {
            return wrong(format!(".show takes #1, #2, ... for a row, found '{what}'"));
        };
        let shown = conversation_of(session, &console.last.place(session, number)?)?;
        page(&shown.text, shown.line);
        return Ok(());
    }
    let (id, step) = match what.rsplit_once(char::is_whitespace) {
        // An id may end like that, too.
        Some((id, step)) if !exists(session, what) && step.parse::<u32>().is_ok() => {
            (id.trim(), step.parse().ok())
        }
        _ => (what, None),
    };
    page(&conversation(session, id, step)?.text, None);
    Ok(())
}

/// Walks the rows of a query, or of the last one, for a person who labels them.
fn label_rows(
    session: &Session,
    console: &Console,
    arguments: &str,
    answers: Option<&mut dyn Iterator<Item = String>>,
) -> Result<(), SessionError> {
    let Request { options, query } = match request(arguments) {
        Ok(request) => request,
        Err(message) => return wrong(message),
    };
    let query = match (query.is_empty(), &console.last.query) {
        (false, _) => query.as_str(),
        (true, Some(last)) => last.as_str(),
        (true, None) => return wrong("there is no last query: .help label".to_owned()),
    };
    let mut lines = std::io::stdin().lines().map_while(Result::ok);
    let mut answers = match (answers, Answers::keys()) {
        (Some(lines), _) => Answers::Lines(lines),
        (None, Some(keys)) => keys,
        (None, None) => Answers::Lines(&mut lines),
    };
    let sitting = console.watched(session, || session.sit(query, &options))?;
    let hidden = if options.sees_labels { Hidden::Nothing } else { Hidden::Verdicts };
    label(session, sitting, hidden, &mut answers)
}

/// Lists the parameters, or gives one a value.
fn parameters(session: &Session, set: &str) -> Result<(), SessionError> {
    if set.is_empty() {
        for (name, value) in session.parameters() {
            say(&format!("${name} = {}", written(&value)));
        }
        return Ok(());
    }
    let Some((name, value)) = set.split_once('=') else {
        let message = format!(".params takes NAME = VALUE, found '{set}'");
        return Err(SessionError::mistake("command", message));
    };
    let value = Some(value.trim()).filter(|value| !value.is_empty()).map(given);
    session.set_parameter(name.trim().trim_start_matches('$'), value);
    Ok(())
}
