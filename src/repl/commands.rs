//! The commands of the prompt: what `.help` says of them and what Tab offers behind them.

use super::format::Format;
use super::labelling_view::query_start;
use super::plot;
use super::shipped::SHIPPED;
use crate::plot::ChartKind;
use crate::session::{Completions, Session};

/// A command, as `.help` tells it.
pub(super) struct Command {
    /// Its name, with the dot.
    pub name: &'static str,
    /// What stands behind the name.
    pub arguments: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// The rest of what there is to say, with an example.
    pub more: &'static str,
    /// What may stand behind the name, for Tab.
    expected: Argument,
}

/// What may stand behind the name of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Argument {
    Nothing,
    Format,
    Switch,
    Table,
    Judges,
    Label,
    Plot,
    Parameter,
    Shipped,
    File,
    Command,
    Trajectory,
}

const fn command(
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    more: &'static str,
    expected: Argument,
) -> Command {
    Command { name, arguments, about, more, expected }
}

/// The commands by what they are for.
pub(super) const GROUPS: &[(&str, &[Command])] = &[
    ("what there is", LOOKING),
    ("rows", ROWS),
    ("how rows are shown", SHOWING),
    ("statements", STATEMENTS),
];

const LOOKING: &[Command] = &[
    command(".tables", "", "tables and their rows", "", Argument::Nothing),
    command(
        ".schema",
        "[TABLE]",
        "columns of a table, or of the two main ones",
        "  .schema tool_calls",
        Argument::Table,
    ),
    command(".labels", "", "labels and who gave them", "", Argument::Nothing),
    command(
        ".judges",
        "[LABEL = JUDGE]",
        "judges, or whom a bare label name means",
        "Several judges may give the same label. The choice is kept in the database.\n\
         \x20 .judges process = human",
        Argument::Judges,
    ),
    command(".queries", "", "queries that come with the program", "", Argument::Nothing),
];

const ROWS: &[Command] = &[
    command(
        ".show",
        "ID [STEP] | #ROW",
        "a trajectory as a conversation, with every judge's labels",
        "With a step it is that step, whole; long texts of a whole trajectory are cut. #3 is row\n\
         3 of the last query: its step is marked inside its trajectory. Where several sources\n\
         have an id, SOURCE/ID names one.\n\
         \x20 .show 4f2c 3\n\
         \x20 .show hotpotqa/4f2c\n\
         \x20 .show #3",
        Argument::Trajectory,
    ),
    command(
        ".label",
        "NAME [BY JUDGE] [WITH LABELS] [AGAIN] [QUERY]",
        "label the rows of a query by hand",
        "Walks the rows of the query, or of the last one: steps, or trajectories where the rows\n\
         are. Keys: g good (1), b bad (0), n neither (0.5) or a number from 0 to 1; s or space\n\
         skips; u goes back to the last label given, and the next value takes its place; r writes\n\
         a rationale for the next label; v shows everything before the step; q ends. Labels are\n\
         stored as they are given; the next sitting goes on where this one ended. Without BY it\n\
         is the judge 'human'. Other judges' labels and gold answers are hidden unless WITH\n\
         LABELS is said. AGAIN asks about rows labelled before, too. Off a terminal, lines are\n\
         the keys.\n\
         \x20 .label process FROM steps |> SAMPLE 50 STEPS SEED 7\n\
         \x20 .label process BY anna WITH LABELS AGAIN FROM steps |> WHERE process < .5",
        Argument::Label,
    ),
    PLOT,
];

const PLOT: Command = command(
    ".plot",
    "[KIND] [TO FILE] [QUERY]",
    "the rows of a query, or of the last one, as a picture",
    "The columns say which kind: hist (a number), line (x, y and perhaps a name for each line),\n\
     bar (a name and a number) or matrix (two names and a number). The file is a .svg, for\n\
     papers, or a .png.\n\
     \x20 .plot FROM steps |> SELECT observation_chars\n\
     \x20 .plot line TO reward.svg FROM steps |> AGGREGATE avg(reward) AS mean GROUP BY step\n\
     \x20 .plot TO tools.png",
    Argument::Plot,
);

const SHOWING: &[Command] = &[
    command(
        ".mode",
        "FORMAT",
        "table, line, json, jsonl, csv or markdown",
        "'line' has a line for each column, for rows too wide for the screen.\n  .mode line",
        Argument::Format,
    ),
    command(
        ".width",
        "[COLUMNS]",
        "fold tables to so many columns, or to the screen",
        "  .width 80",
        Argument::Nothing,
    ),
    command(
        ".pager",
        "on|off",
        "whether rows that are longer than the screen go through $PAGER",
        "  .pager on",
        Argument::Switch,
    ),
    command(
        ".output",
        "[FILE]",
        "rows go to a file, or back to the screen",
        "  .mode csv\n  .output steps.csv\n  FROM steps;\n  .output",
        Argument::File,
    ),
    command(".timer", "on|off", "tell how long each statement took", "", Argument::Switch),
];

const STATEMENTS: &[Command] = &[
    command(
        ".read",
        "FILE | NAME",
        "run the statements of a file, or a query of .queries",
        "  .read failed_then_retried",
        Argument::Shipped,
    ),
    command(
        ".params",
        "[NAME = [VALUE]]",
        "parameters of statements, or give one a value",
        "Without a value it is taken away.\n\
         \x20 .params n = 7\n\
         \x20 FROM steps |> WHERE step > $n;",
        Argument::Parameter,
    ),
    command(
        ".help",
        "[COMMAND]",
        "this list, or one command with an example",
        "  .help label",
        Argument::Command,
    ),
    command(".quit", "", "leave; so does Ctrl-D", "", Argument::Nothing),
];

/// Returns every command.
pub(super) fn commands() -> impl Iterator<Item = &'static Command> {
    GROUPS.iter().flat_map(|(_, commands)| commands.iter())
}

/// Returns the text of `.help`, or what is known of one command; `None` if there is no such one.
pub(super) fn help(name: &str) -> Option<String> {
    let usage = |c: &Command| format!("{} {}", c.name, c.arguments).trim_end().to_owned();
    if name.is_empty() {
        let mut out = String::new();
        for (group, commands) in GROUPS {
            out.push_str(&format!("{group}\n"));
            for command in *commands {
                // What does not fit into its column is told by `.help COMMAND`.
                let usage = usage(command);
                let short = if usage.chars().count() > 24 { command.name } else { &usage };
                out.push_str(&format!("  {short:<24}  {}\n", command.about));
            }
        }
        out.push_str(".help COMMAND says more of one. Statements end with a semicolon.");
        return Some(out);
    }
    let bare = name.trim_start_matches('.');
    let found = commands().find(|c| c.name.trim_start_matches('.') == bare)?;
    let mut out = format!("{}\n{}", usage(found), found.about);
    if !found.more.is_empty() {
        out.push_str(&format!("\n{}", found.more));
    }
    Some(out)
}

/// What Tab offers on a line that begins with a dot.
pub(super) enum Offered {
    /// These, in place of what begins at a byte.
    Words(Completions),
    /// These, and files too.
    WordsAndFiles(Completions),
}

/// Returns what may be typed at the byte `cursor` of a command's line.
pub(super) fn completions(session: &Session, line: &str, cursor: usize) -> Offered {
    let typed = line.get(..cursor).unwrap_or(line);
    let words = |start: usize, candidates: Vec<String>| {
        let begun = typed.get(start..).unwrap_or_default();
        let fits = |c: &String| {
            c.get(..begun.len()).is_some_and(|first| first.eq_ignore_ascii_case(begun))
        };
        Completions { start, candidates: candidates.into_iter().filter(fits).collect() }
    };
    let Some((name, _)) = typed.split_once(char::is_whitespace) else {
        let names = commands().map(|c| c.name.to_owned()).collect();
        return Offered::Words(words(0, names));
    };
    let start = typed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let command = commands().find(|c| c.name == name);
    let expected = command.map_or(Argument::Nothing, |c| c.expected);
    let is_first = typed[name.len()..start].trim().is_empty();
    let texts = |known: &[&str]| known.iter().map(|word| (*word).to_owned()).collect();
    let candidates = match expected {
        Argument::Label => return Offered::Words(label_completions(session, typed, start, words)),
        Argument::Plot => return plot_completions(session, typed, start, words),
        Argument::Shipped | Argument::File if !is_first => Vec::new(),
        Argument::Shipped => {
            let names = SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect();
            return Offered::WordsAndFiles(words(start, names));
        }
        Argument::File => return Offered::WordsAndFiles(words(start, Vec::new())),
        Argument::Judges => judges_completions(session, typed, name.len()),
        _ if !is_first => Vec::new(),
        Argument::Nothing => Vec::new(),
        Argument::Format => Format::ALL.iter().map(|f| f.as_str().to_owned()).collect(),
        Argument::Switch => texts(&["on", "off"]),
        Argument::Table => of_statement(session, "DESCRIBE "),
        Argument::Parameter => session.parameters().into_keys().collect(),
        Argument::Command => commands().map(|c| c.name.trim_start_matches('.').into()).collect(),
        Argument::Trajectory => {
            of_statement(session, "FROM trajectories |> WHERE trajectory_id = '")
        }
    };
    Offered::Words(words(start, candidates))
}

/// Returns what may follow a statement's beginning.
fn of_statement(session: &Session, text: &str) -> Vec<String> {
    session.completions(text, text.len()).candidates
}

fn label_names(session: &Session) -> Vec<String> {
    let view = session.database().view();
    let mut names: Vec<String> = view.labels().iter().map(|label| label.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `LABEL = JUDGE`
fn judges_completions(session: &Session, typed: &str, name_end: usize) -> Vec<String> {
    let Some((label, _)) = typed[name_end..].split_once('=') else {
        return label_names(session);
    };
    let view = session.database().view();
    let of = view.labels().iter().filter(|known| known.name == label.trim());
    of.map(|known| known.judge.clone()).collect()
}

/// `.label NAME [BY JUDGE] [WITH LABELS] [AGAIN] QUERY`
fn label_completions(
    session: &Session,
    typed: &str,
    start: usize,
    words: impl Fn(usize, Vec<String>) -> Completions,
) -> Completions {
    if let Some(query) = query_start(typed).filter(|query| *query < start) {
        let found = session.completions(&typed[query..], typed.len() - query);
        return Completions { start: found.start + query, candidates: found.candidates };
    }
    let before: Vec<&str> = typed[..start].split_whitespace().skip(1).collect();
    let candidates = match before.as_slice() {
        [] => {
            let mut names = label_names(session);
            names.extend(["process", "outcome"].map(str::to_owned));
            names.sort_unstable();
            names.dedup();
            names
        }
        [.., last] if last.eq_ignore_ascii_case("by") => {
            let view = session.database().view();
            view.catalogue().judges.iter().map(|judge| judge.name().to_owned()).collect()
        }
        [.., last] if last.eq_ignore_ascii_case("with") => vec!["LABELS".to_owned()],
        _ => ["BY", "WITH LABELS", "AGAIN", "FROM", "SELECT"].map(str::to_owned).to_vec(),
    };
    words(start, candidates)
}

/// `.plot [KIND] [TO FILE] [QUERY]`
fn plot_completions(
    session: &Session,
    typed: &str,
    start: usize,
    words: impl Fn(usize, Vec<String>) -> Completions,
) -> Offered {
    if let Some(query) = plot::query_start(typed).filter(|query| *query < start) {
        let found = session.completions(&typed[query..], typed.len() - query);
        let completions = Completions { start: found.start + query, candidates: found.candidates };
        return Offered::Words(completions);
    }
    let last = typed[..start].split_whitespace().next_back().unwrap_or_default();
    if last.eq_ignore_ascii_case("to") {
        return Offered::WordsAndFiles(words(start, Vec::new()));
    }
    let mut candidates: Vec<String> = ["TO", "FROM", "SELECT"].map(str::to_owned).to_vec();
    candidates.extend(ChartKind::ALL.map(|kind| kind.as_str().to_owned()));
    Offered::Words(words(start, candidates))
}
