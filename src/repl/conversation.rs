//! A trajectory as a conversation: `.show ID [STEP]`, `.show #3`, and the rows of `.label`.

use console::Style;

use super::screen::harmless;
use crate::db::NewRow;
use crate::model::{Label, Message, Step, Target, Trajectory};
use crate::session::{Session, SessionError};

/// Characters of a text that are shown while all steps are; one step alone is shown whole.
const SHOWN_CHARS: usize = 1_500;

/// Characters that are shown of the texts of steps before the one that is asked about.
const FOLDED_CHARS: usize = 240;

/// What a reader is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    /// All is shown.
    Nothing,
    /// Labels and gold answers are hidden, as from a judge who must not know them.
    Verdicts,
}

/// A conversation as text for a terminal.
pub(super) struct Conversation {
    pub text: String,
    /// The line of the step that is meant, from 1.
    pub line: Option<usize>,
}

/// Returns the trajectory of that id, or one of its steps, whole.
///
/// # Errors
/// There is no such trajectory or step, or there are several; what the disk says.
pub(super) fn conversation(
    session: &Session,
    id: &str,
    step: Option<u32>,
) -> Result<Conversation, SessionError> {
    let trajectory = find(session, id)?;
    let (told, labels) = read(session, trajectory)?;
    let steps = told.steps.len();
    if let Some(step) = step.filter(|step| *step == 0 || *step as usize > steps) {
        return Err(wrong(format!("'{id}' has steps 1 to {steps}, no step {step}")));
    }
    let mut telling = Telling::new(Hidden::Nothing, labels);
    telling.opening(&told);
    match step {
        Some(step) => {
            telling.shown_chars = usize::MAX;
            telling.step(&told.steps[step as usize - 1], step, false);
        }
        None => {
            telling.prompt(&told);
            telling.steps(&told, None);
        }
    }
    Ok(telling.done())
}

/// Returns true if there is a trajectory of that id.
pub(super) fn exists(session: &Session, id: &str) -> bool {
    session.database().view().find_in_any_source(id).is_ok_and(|found| !found.is_empty())
}

/// Returns the trajectory that a row is of; where it is a step, with that step marked and whole.
///
/// # Errors
/// What the disk says.
pub(super) fn conversation_of(
    session: &Session,
    row: &NewRow,
) -> Result<Conversation, SessionError> {
    let (told, labels) = read(session, row.trajectory)?;
    let mut telling = Telling::new(Hidden::Nothing, labels);
    telling.opening(&told);
    telling.prompt(&told);
    telling.steps(&told, row.step);
    Ok(telling.done())
}

/// Returns a row as someone who labels it sees it: what was asked, the steps before it in short,
/// the step itself whole. A trajectory is told to its end.
///
/// # Errors
/// What the disk says.
pub(super) fn row_to_label(
    session: &Session,
    row: &NewRow,
    hidden: Hidden,
) -> Result<String, SessionError> {
    to_label(session, row, hidden, FOLDED_CHARS)
}

/// Returns what [`row_to_label`] does with nothing cut.
///
/// # Errors
/// What the disk says.
pub(super) fn everything_before(
    session: &Session,
    row: &NewRow,
    hidden: Hidden,
) -> Result<String, SessionError> {
    to_label(session, row, hidden, usize::MAX)
}

fn to_label(
    session: &Session,
    row: &NewRow,
    hidden: Hidden,
    folded_chars: usize,
) -> Result<String, SessionError> {
    let (told, labels) = read(session, row.trajectory)?;
    let mut telling = Telling::new(hidden, labels);
    telling.hint = "v shows all";
    telling.opening(&told);
    let last = row.step.unwrap_or(told.steps.len() as u32);
    telling.shown_chars = folded_chars;
    match &told.question {
        // The task is in the prompt; where a question is known it is the task.
        Some(_) if folded_chars < usize::MAX => {}
        _ => telling.prompt(&told),
    }
    for (step, number) in told.steps.iter().zip(1..=last) {
        let is_asked = row.step.is_none() || number == last;
        telling.shown_chars = if is_asked { usize::MAX } else { folded_chars };
        telling.step(step, number, row.step.is_some() && is_asked);
    }
    if let Some(answer) = told.answer.as_ref().filter(|_| row.step.is_none()) {
        telling.fact("answer", answer);
    }
    Ok(telling.done().text)
}

fn wrong(message: String) -> SessionError {
    SessionError::mistake("show", message)
}

/// Returns the ordinal of the trajectory that `id` or `source/id` names.
fn find(session: &Session, id: &str) -> Result<u64, SessionError> {
    let view = session.database().view();
    let (source, bare) = match id.split_once('/') {
        Some((source, bare)) if view.find(source, bare)?.is_some() => (Some(source), bare),
        _ => (None, id),
    };
    let mut found = view.find_in_any_source(bare)?;
    found.retain(|(of, _)| source.is_none_or(|source| source == of.as_str()));
    match found.as_slice() {
        [(_, ordinal)] => Ok(*ordinal),
        [] => Err(wrong(format!("there is no trajectory '{id}'"))),
        several => {
            let names: Vec<String> = several.iter().map(|(s, _)| format!("{s}/{bare}")).collect();
            Err(wrong(format!("several sources have it; name one: {}", names.join(", "))))
        }
    }
}

/// Returns a trajectory and the newest labels of each judge.
fn read(session: &Session, ordinal: u64) -> Result<(Trajectory, Vec<Label>), SessionError> {
    let view = session.database().view();
    let labels = view.current_labels(ordinal)?;
    match view.trajectories(&[ordinal])?.pop() {
        Some(trajectory) => Ok((trajectory, labels)),
        None => Err(wrong(format!("there is no trajectory {ordinal}"))),
    }
}

struct Telling {
    out: String,
    line: Option<usize>,
    hidden: Hidden,
    labels: Vec<Label>,
    shown_chars: usize,
    /// How to see what is cut.
    hint: &'static str,
    heading: Style,
    quiet: Style,
    call: Style,
}

impl Telling {
    fn new(hidden: Hidden, labels: Vec<Label>) -> Telling {
        Telling {
            out: String::new(),
            line: None,
            hidden,
            labels,
            shown_chars: SHOWN_CHARS,
            hint: ".show ID STEP has all",
            heading: Style::new().bold().cyan(),
            quiet: Style::new().dim(),
            call: Style::new().magenta(),
        }
    }

    fn done(self) -> Conversation {
        Conversation { text: self.out, line: self.line }
    }

    /// What is known of the trajectory as a whole.
    fn opening(&mut self, trajectory: &Trajectory) {
        let is_open = self.hidden == Hidden::Nothing;
        let steps = trajectory.steps.len();
        let facts = [
            Some(format!("{}/{}", trajectory.source, trajectory.id)),
            trajectory.model.clone().filter(|_| is_open),
            trajectory.status.map(|status| status.as_str().to_owned()).filter(|_| is_open),
            Some(format!("{steps} {}", if steps == 1 { "step" } else { "steps" })),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        self.heading(&facts.join(" · "), Target::Trajectory);
        if let Some(question) = &trajectory.question {
            self.fact("question", question);
        }
        if is_open && !trajectory.gold.is_empty() {
            self.fact("gold", &trajectory.gold.join(" | "));
        }
        if let Some(answer) = trajectory.answer.as_ref().filter(|_| is_open) {
            self.fact("answer", answer);
        }
    }

    fn fact(&mut self, name: &str, text: &str) {
        self.out.push_str(&format!("{} {}\n", self.quiet.apply_to(name), harmless(text)));
    }

    fn prompt(&mut self, trajectory: &Trajectory) {
        trajectory.prompt.iter().for_each(|message| self.message(message));
    }

    /// All steps, one of them marked and whole.
    fn steps(&mut self, trajectory: &Trajectory, marked: Option<u32>) {
        let shown_chars = self.shown_chars;
        for (step, number) in trajectory.steps.iter().zip(1..) {
            let is_marked = marked == Some(number);
            self.shown_chars = if is_marked { usize::MAX } else { shown_chars };
            self.step(step, number, is_marked);
        }
    }

    fn step(&mut self, step: &Step, number: u32, is_marked: bool) {
        self.out.push('\n');
        if is_marked {
            self.line = Some(self.out.matches('\n').count() + 1);
        }
        let heading = self.heading.clone();
        if is_marked {
            self.heading = heading.clone().reverse();
        }
        let mark = if is_marked { "▶ " } else { "" };
        self.heading(&format!("{mark}step {number}"), Target::Step(number));
        self.heading = heading;
        self.message(&step.action);
        step.observation.iter().for_each(|message| self.message(message));
    }

    /// A line of its own, with the labels of what it is about.
    fn heading(&mut self, text: &str, of: Target) {
        self.out.push_str(&self.heading.apply_to(harmless(text)).to_string());
        let mut rationales = Vec::new();
        let is_shown = |label: &&Label| label.target == of && self.hidden == Hidden::Nothing;
        for label in self.labels.iter().filter(is_shown) {
            let style = match label.value {
                value if label.name.is_verdict() && value > 0.5 => Style::new().green(),
                value if label.name.is_verdict() && value < 0.5 => Style::new().red(),
                _ => Style::new().yellow(),
            };
            let told = format!("{}@{} {}", label.name.as_str(), label.judge, label.value);
            self.out.push_str(&format!("  {}", style.apply_to(harmless(&told))));
            let whose = format!("{}@{}", label.name.as_str(), label.judge);
            rationales.extend(label.rationale.as_ref().map(|why| format!("{whose}: {why}")));
        }
        self.out.push('\n');
        for why in rationales {
            self.out.push_str(&format!("{}\n", self.quiet.apply_to(harmless(&why))));
        }
    }

    fn message(&mut self, message: &Message) {
        let role = format!("[{}]", harmless(&message.role));
        self.out.push_str(&format!("{}\n", self.quiet.apply_to(role)));
        if let Some(reasoning) = &message.reasoning {
            let shown = self.shortened(reasoning);
            self.out.push_str(&format!("{}\n", self.quiet.apply_to(shown.trim_end())));
        }
        if let Some(content) = message.content.as_deref().filter(|content| !content.is_empty()) {
            let shown = self.shortened(content);
            self.out.push_str(&format!("{}\n", shown.trim_end()));
        }
        for call in message.calls_apart() {
            let told = format!("→ {}({})", harmless(&call.name), self.shortened(&call.arguments));
            self.out.push_str(&format!("{}\n", self.call.apply_to(told)));
        }
    }

    /// Returns what is shown of a text, without what would command the terminal.
    fn shortened(&self, text: &str) -> String {
        let text = harmless(text);
        match text.char_indices().nth(self.shown_chars) {
            Some((end, _)) => {
                let more = text[end..].chars().count();
                format!("{} … {more} more characters; {}", &text[..end], self.hint)
            }
            None => text.into_owned(),
        }
    }
}
