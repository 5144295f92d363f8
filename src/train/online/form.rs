//! What counts as an action.

use crate::render::{Action, Renderer};

/// Why a sampled text is no action. It gets `malformed_reward` and is not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It was cut by `max_completion_length` or by the model's context.
    Cut,
    /// It cannot be read, and why.
    Unreadable(String),
    /// There is neither a call nor an answer.
    Nothing,
    /// There are several calls.
    Several,
}

impl Malformed {
    /// Returns the reason in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Malformed::Cut => "cut",
            Malformed::Unreadable(_) => "unreadable",
            Malformed::Nothing => "nothing",
            Malformed::Several => "several",
        }
    }
}

/// Says what an action is.
pub trait ActionForm {
    /// Returns the action that a text holds, which ended by itself and stands without its end of
    /// turn.
    ///
    /// # Errors
    /// Why it is none.
    fn read(&self, text: &str) -> Result<Action, Malformed>;
}

/// The form of step-wise RL in messages: one call, or an answer. A text beside a call leads up to
/// it; without a call the text is the answer.
#[derive(Clone, Copy, Debug)]
pub struct OneAction<'a> {
    /// The renderer that the states are made by.
    pub renderer: &'a Renderer,
}

impl ActionForm for OneAction<'_> {
    fn read(&self, text: &str) -> Result<Action, Malformed> {
        let action = self.renderer.parse_action(text).map_err(Malformed::Unreadable)?;
        let answers = action.content.as_ref().is_some_and(|content| !content.trim().is_empty());
        match action.calls.len() {
            0 if !answers => Err(Malformed::Nothing),
            0 | 1 => Ok(action),
            _ => Err(Malformed::Several),
        }
    }
}
