//! The form in which most open chat templates write calls (Hermes, Qwen 2.5 and 3, SmolLM3),
//! read back in order to see whether a template kept everything.

use super::action::{Action, CallObject};

const CALL: &str = "<tool_call>";
const CALL_END: &str = "</tool_call>";

/// What a template can express, found in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// It writes calls as `<tool_call>` and JSON.
    calls: bool,
    /// It writes reasoning as `<think>`.
    reasoning: bool,
}

impl Form {
    /// Returns the form that a template writes.
    pub(super) fn of(template: &str) -> Form {
        Form { calls: template.contains(CALL), reasoning: template.contains("</think>") }
    }

    /// Returns the action that the text of a turn holds.
    ///
    /// # Errors
    /// A sentence about what cannot be read.
    pub(super) fn parse(self, text: &str) -> Result<Action, String> {
        let mut action = Action::default();
        let mut rest = text;
        if self.reasoning
            && let Some(inside) = text.strip_prefix("<think>")
        {
            let (reasoning, after) =
                inside.split_once("</think>").ok_or("<think> is not closed")?;
            let reasoning = reasoning.strip_prefix('\n').unwrap_or(reasoning);
            let reasoning = reasoning.strip_suffix('\n').unwrap_or(reasoning);
            action.reasoning = Some(reasoning.to_owned());
            rest = after.strip_prefix("\n\n").unwrap_or(after);
        }
        let start = if self.calls { rest.find(CALL) } else { None };
        let (content, mut rest) = rest.split_at(start.unwrap_or(rest.len()));
        let content = match start {
            Some(_) => content.strip_suffix('\n').unwrap_or(content),
            None => content,
        };
        action.content = (!content.is_empty()).then(|| content.to_owned());
        while let Some(inside) = rest.trim_start().strip_prefix(CALL) {
            let (body, after) = inside.split_once(CALL_END).ok_or("<tool_call> is not closed")?;
            action.calls.push(CallObject::parse(body.trim())?);
            rest = after;
        }
        if rest.trim().is_empty() { Ok(action) } else { Err("text follows a call".to_owned()) }
    }
}
