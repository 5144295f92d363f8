//! A trajectory as a conversation, with the labels of every judge: `.show ID [STEP]`.

use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

use console::{Style, Term};

use crate::model::{Label, Message, Target, Trajectory};
use crate::session::{Session, SessionError};

/// Characters of a text that are shown while all steps are; one step alone is shown whole.
const SHOWN_CHARS: usize = 1_500;

/// Returns the trajectory of that id, or one of its steps, as text for a terminal.
///
/// # Errors
/// There is no such trajectory or step, or there are several; what the disk says.
pub(super) fn conversation(
    session: &Session,
    id: &str,
    step: Option<u32>,
) -> Result<String, SessionError> {
    let wrong = |message: String| SessionError::mistake("show", message);
    let view = session.database().view();
    let (source, bare) = match id.split_once('/') {
        Some((source, bare)) if view.find(source, bare)?.is_some() => (Some(source), bare),
        _ => (None, id),
    };
    let mut found = view.find_in_any_source(bare)?;
    found.retain(|(of, _)| source.is_none_or(|source| source == of.as_str()));
    let ordinal = match found.as_slice() {
        [(_, ordinal)] => *ordinal,
        [] => return Err(wrong(format!("there is no trajectory '{id}'"))),
        several => {
            let names: Vec<String> = several.iter().map(|(s, _)| format!("{s}/{bare}")).collect();
            return Err(wrong(format!("several sources have it; name one: {}", names.join(", "))));
        }
    };
    let labels = view.current_labels(ordinal)?;
    let Some(trajectory) = view.trajectories(&[ordinal])?.pop() else {
        return Err(wrong(format!("there is no trajectory '{id}'")));
    };
    let steps = trajectory.steps.len();
    if let Some(step) = step.filter(|step| *step == 0 || *step as usize > steps) {
        return Err(wrong(format!("'{id}' has steps 1 to {steps}, no step {step}")));
    }
    Ok(Telling::new(step.is_some()).told(&trajectory, &labels, step))
}

/// Shows a text through the user's pager where it is longer than the terminal.
pub(super) fn page(text: &str) {
    let rows = usize::from(Term::stdout().size().0);
    if std::io::stdout().is_terminal() && text.lines().count() >= rows {
        let pager = std::env::var("PAGER").unwrap_or_else(|_| "less -R".to_owned());
        let mut words = pager.split_whitespace();
        let child = words.next().and_then(|program| {
            Command::new(program).args(words).stdin(Stdio::piped()).spawn().ok()
        });
        if let Some(mut child) = child {
            // A pager that is left early closes its end.
            let _ = child.stdin.take().map(|mut pipe| pipe.write_all(text.as_bytes()));
            let _ = child.wait();
            return;
        }
    }
    let _ = std::io::stdout().write_all(text.as_bytes());
}

struct Telling {
    out: String,
    is_whole: bool,
    heading: Style,
    quiet: Style,
    call: Style,
}

impl Telling {
    fn new(is_whole: bool) -> Telling {
        let (heading, quiet, call) =
            (Style::new().bold().cyan(), Style::new().dim(), Style::new().magenta());
        Telling { out: String::new(), is_whole, heading, quiet, call }
    }

    fn told(mut self, trajectory: &Trajectory, labels: &[Label], only: Option<u32>) -> String {
        let facts = [
            Some(format!("{}/{}", trajectory.source, trajectory.id)),
            trajectory.model.clone(),
            trajectory.status.map(|status| status.as_str().to_owned()),
            Some(format!("{} steps", trajectory.steps.len())),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        self.heading(&facts.join(" · "), labels, Target::Trajectory);
        for (name, text) in [
            ("question", trajectory.question.clone()),
            ("gold", (!trajectory.gold.is_empty()).then(|| trajectory.gold.join(" | "))),
            ("answer", trajectory.answer.clone()),
        ] {
            if let Some(text) = text {
                self.out.push_str(&format!("{} {text}\n", self.quiet.apply_to(name)));
            }
        }
        if only.is_none() {
            trajectory.prompt.iter().for_each(|message| self.message(message));
        }
        for (step, number) in trajectory.steps.iter().zip(1..) {
            if only.is_some_and(|only| only != number) {
                continue;
            }
            self.out.push('\n');
            self.heading(&format!("step {number}"), labels, Target::Step(number));
            self.message(&step.action);
            step.observation.iter().for_each(|message| self.message(message));
        }
        self.out
    }

    /// A line of its own, with the labels of what it is about.
    fn heading(&mut self, text: &str, labels: &[Label], of: Target) {
        self.out.push_str(&self.heading.apply_to(text).to_string());
        let mut rationales = Vec::new();
        for (at, label) in labels.iter().enumerate().filter(|(_, label)| label.target == of) {
            let same = |other: &Label| {
                other.target == of && other.name == label.name && other.judge == label.judge
            };
            if labels[at + 1..].iter().any(same) {
                continue;
            }
            let style = match label.value {
                value if label.name.is_verdict() && value > 0.5 => Style::new().green(),
                value if label.name.is_verdict() && value < 0.5 => Style::new().red(),
                _ => Style::new().yellow(),
            };
            let told = format!("{}@{} {}", label.name.as_str(), label.judge, label.value);
            self.out.push_str(&format!("  {}", style.apply_to(told)));
            rationales
                .extend(label.rationale.as_ref().map(|why| format!("{}: {why}", label.judge)));
        }
        self.out.push('\n');
        for why in rationales {
            self.out.push_str(&format!("{}\n", self.quiet.apply_to(why)));
        }
    }

    fn message(&mut self, message: &Message) {
        self.out.push_str(&format!("{}\n", self.quiet.apply_to(format!("[{}]", message.role))));
        if let Some(reasoning) = &message.reasoning {
            let shown = self.shortened(reasoning);
            self.out.push_str(&format!("{}\n", self.quiet.apply_to(shown)));
        }
        if let Some(content) = message.content.as_deref().filter(|content| !content.is_empty()) {
            let shown = self.shortened(content);
            self.out.push_str(&format!("{}\n", shown.trim_end()));
        }
        for call in &message.tool_calls {
            let told = format!("→ {}({})", call.name, self.shortened(&call.arguments));
            self.out.push_str(&format!("{}\n", self.call.apply_to(told)));
        }
    }

    /// Returns what is shown of a text, without what would command the terminal.
    fn shortened(&self, text: &str) -> String {
        let is_command = |c: char| c.is_control() && c != '\n' && c != '\t';
        let text = text.replace(is_command, "\u{fffd}");
        match text.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) if !self.is_whole => {
                let more = text[end..].chars().count();
                format!("{} … {more} more characters; .show ID STEP has all", &text[..end])
            }
            _ => text,
        }
    }
}
