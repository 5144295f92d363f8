//! The command `.plot`: a query's rows as a picture, in the terminal or in a file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::console::{Console, plural, say};
use super::plot_rows::PlotRows;
use crate::diag::{Diagnostic, did_you_mean};
use crate::plot::{Chart, ChartKind, draw, png, scene, svg};
use crate::query::syntax::{Statement, StatementKind};
use crate::session::{Outcome, Session, SessionError};

/// How the command is written.
const USAGE: &str = ".plot [hist|line|bar|matrix] [TO file.svg|file.png] [QUERY]";

/// Columns of a picture where there is no screen.
const WIDTH_PIPED: usize = 80;

/// Other words for the kinds.
const OTHER_WORDS: [(&str, ChartKind); 7] = [
    ("histogram", ChartKind::Histogram),
    ("lines", ChartKind::Line),
    ("series", ChartKind::Line),
    ("bars", ChartKind::Bar),
    ("column", ChartKind::Bar),
    ("heatmap", ChartKind::Matrix),
    ("confusion", ChartKind::Matrix),
];

/// What is to be drawn and where.
#[derive(Debug, Default, PartialEq, Eq)]
struct Order<'t> {
    kind: Option<ChartKind>,
    file: Option<(PathBuf, FileKind)>,
    query: &'t str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileKind {
    Svg,
    Png,
}

/// Runs the query and draws its rows; without a query, runs the last one.
///
/// # Errors
/// The command or the query has a mistake, the columns make no picture, or the file cannot be
/// written.
pub(super) fn plot(
    session: &Session,
    console: &mut Console,
    rest: &str,
) -> Result<(), SessionError> {
    let began = Instant::now();
    let order = order(rest)?;
    let text = match (order.query, &console.last.query) {
        ("", Some(last)) => last.clone(),
        ("", None) => {
            let mistake = Diagnostic::new("plot", "there is no query to draw yet")
                .help(format!("{USAGE}; without a query it draws the last one"));
            return Err(SessionError::Mistake { diagnostic: mistake, text: String::new() });
        }
        (query, _) => query.to_owned(),
    };
    let statement = only_query(session, &text)?;
    let mut rows = PlotRows::new(order.kind, &statement.text);
    let outcome = console.watched(session, || session.run(&statement, &text, &mut rows));
    if let Some(diagnostic) = rows.mistake() {
        return Err(SessionError::Mistake { diagnostic, text: String::new() });
    }
    let outcome = outcome?;
    console.last = std::mem::take(&mut rows.last);
    let (mut chart, kind) = rows
        .chart()
        .map_err(|diagnostic| SessionError::Mistake { diagnostic, text: String::new() })?;
    if let Outcome::Rows { undecided, .. } = outcome
        && undecided > 0
    {
        let trajectories = plural(undecided, "trajectory", "trajectories");
        chart.notes.push(format!("undecided: {trajectories} (a step has no label)"));
    }
    match order.file {
        Some((path, file_kind)) => write(&chart, kind, &path, file_kind)?,
        None => {
            let width = console.columns().unwrap_or(WIDTH_PIPED);
            let written = console.picture(|is_coloured| draw(&chart, width, is_coloured));
            written.map_err(SessionError::Output)?;
        }
    }
    console.tell_time(began);
    Ok(())
}

/// Returns the byte where the query of a `.plot` line begins, if it has one.
pub(super) fn query_start(line: &str) -> Option<usize> {
    let rest = line.strip_prefix(".plot").filter(|rest| rest.starts_with(char::is_whitespace))?;
    let query = order(rest).ok()?.query;
    (!query.is_empty()).then(|| line.trim_end().len() - query.len())
}

/// Reads the one query of a text.
fn only_query(session: &Session, text: &str) -> Result<Statement, SessionError> {
    let mut statements = session.parse(text)?;
    let wrong = |message: String, at: Option<&Statement>| {
        let mut diagnostic = Diagnostic::new("plot", message).help(USAGE);
        diagnostic.span = at.map(|statement| statement.span);
        SessionError::Mistake { diagnostic, text: text.to_owned() }
    };
    if let Some(second) = statements.get(1) {
        return Err(wrong(".plot takes one query, found another one".to_owned(), Some(second)));
    }
    let Some(statement) = statements.pop() else {
        return Err(wrong(".plot takes a query, found none".to_owned(), None));
    };
    match &statement.kind {
        StatementKind::Query(query) if query.then.is_none() => Ok(statement),
        _ => {
            let message = ".plot takes a query that gives rows and does nothing else with them";
            Err(wrong(message.to_owned(), Some(&statement)))
        }
    }
}

/// Reads what follows the command's name.
fn order(rest: &str) -> Result<Order<'_>, SessionError> {
    let wrong = |message: String, help: String| {
        let diagnostic = Diagnostic::new("command", message).help(help).help(USAGE);
        SessionError::Mistake { diagnostic, text: String::new() }
    };
    let mut order = Order { query: rest.trim(), ..Order::default() };
    loop {
        let (word, after) =
            order.query.split_once(char::is_whitespace).unwrap_or((order.query, ""));
        let after = after.trim_start();
        if let Some(kind) = ChartKind::parse(word).filter(|_| order.kind.is_none()) {
            (order.kind, order.query) = (Some(kind), after);
        } else if word.eq_ignore_ascii_case("to") && order.file.is_none() {
            let Some((name, after)) = file_name(after) else {
                let help = "name a file that ends in .svg or .png: TO reward.svg".to_owned();
                return Err(wrong("TO lacks the name of a file".to_owned(), help));
            };
            let Some(kind) = file_kind(name) else {
                let help = "the ending says what is written: .svg or .png".to_owned();
                return Err(wrong(format!("'{name}' is neither .svg nor .png"), help));
            };
            (order.file, order.query) = (Some((PathBuf::from(name), kind)), after);
        } else if let Some(meant) = meant_kind(word).filter(|_| order.kind.is_none()) {
            let help = format!("did you mean {}?", meant.as_str());
            return Err(wrong(format!("'{word}' is no kind of picture"), help));
        } else {
            return Ok(order);
        }
    }
}

/// Returns the kind that a word is near to; words that statements begin with are near to none.
fn meant_kind(word: &str) -> Option<ChartKind> {
    let word = word.to_lowercase();
    let other = OTHER_WORDS.iter().find(|(other, _)| *other == word);
    let near = || did_you_mean(&word, ChartKind::ALL.map(ChartKind::as_str));
    let begins = ["from", "select", "with", "values", "table", "describe", "show", "explain"];
    match other {
        Some((_, kind)) => Some(*kind),
        None if begins.contains(&word.as_str()) => None,
        None => near().and_then(ChartKind::parse),
    }
}

/// Splits the name of a file, quoted or not, from what follows it.
fn file_name(text: &str) -> Option<(&str, &str)> {
    for quote in ['\'', '"'] {
        if let Some(quoted) = text.strip_prefix(quote) {
            let (name, after) = quoted.split_once(quote)?;
            return Some((name, after.trim_start())).filter(|(name, _)| !name.is_empty());
        }
    }
    let (name, after) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Some((name, after.trim_start())).filter(|(name, _)| !name.is_empty())
}

fn file_kind(name: &str) -> Option<FileKind> {
    let ending = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "svg" => Some(FileKind::Svg),
        "png" => Some(FileKind::Png),
        _ => None,
    }
}

fn write(
    chart: &Chart,
    kind: ChartKind,
    path: &Path,
    file_kind: FileKind,
) -> Result<(), SessionError> {
    let scene = scene(chart);
    let mut boxes = 0;
    let bytes = match file_kind {
        FileKind::Svg => svg(&scene).into_bytes(),
        FileKind::Png => {
            let drawn = png(&scene).map_err(SessionError::Output)?;
            boxes = drawn.boxes;
            drawn.bytes
        }
    };
    std::fs::write(path, bytes).map_err(|e| {
        SessionError::Output(std::io::Error::new(e.kind(), format!("{}: {e}", path.display())))
    })?;
    say(&format!("wrote {} ({})", path.display(), kind.as_str()));
    if boxes > 0 {
        let letters = plural(boxes as u64, "letter is", "letters are");
        say(&format!("{letters} not in the font and drawn as boxes; an SVG shows them"));
    }
    // What a picture leaves out is worth knowing before it is opened.
    for note in &chart.notes {
        say(note);
    }
    Ok(())
}
