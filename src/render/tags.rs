//! The tag renderer: turns marked by control tokens, actions in the tag form.
//!
//! ```text
//! <|im_start|>tools
//! [..the tools offered, JSON as stored..]<|im_end|>
//! <|im_start|>user
//! ..<|im_end|>
//! <|im_start|>assistant
//! ..action in the tag form..<|im_end|>
//! <|im_start|>tool
//! ..result..<|im_end|>
//! ```
//!
//! Where an action made several calls, a result's role says which one it answers: `tool 2`.

use crate::model::{Json, Message, Trajectory, role};

use super::action::{Action, only_text};
use super::choice::Vocabulary;
use super::error::RenderError;
use super::segment::{Rendered, RenderedSequence, Segment};
use super::turns::{TurnForm, answered_calls, cut_state, fixed_head, is_edited};

/// The renderer's name in options and messages.
pub(super) const NAME: &str = "tags";

/// Renders every action without loss, for any model whose tokenizer has control tokens for turns.
#[derive(Clone, Debug)]
pub struct TagRenderer {
    form: TurnForm,
}

impl TagRenderer {
    /// Returns a renderer with the control tokens that the vocabulary has.
    ///
    /// # Errors
    /// [`RenderError::NoTurnForm`] when it has none for turns.
    pub fn new(vocabulary: &Vocabulary) -> Result<TagRenderer, RenderError> {
        Ok(TagRenderer { form: TurnForm::find(vocabulary)? })
    }

    /// Returns the control token that ends an action.
    pub fn end_of_turn(&self) -> &str {
        self.form.end
    }

    /// Returns the trajectory up to the last of the `chosen` steps, in one sequence unless
    /// histories were edited.
    ///
    /// # Errors
    /// A step that does not exist, a message that is not all text.
    pub fn trajectory(&self, of: &Trajectory, chosen: &[u32]) -> Result<Rendered, RenderError> {
        let (edited, plain): (Vec<u32>, Vec<u32>) =
            chosen.iter().copied().partition(|step| is_edited(of, *step));
        let mut rendered = Rendered::default();
        if let Some(last) = plain.iter().max() {
            let mut sequence = self.state_of(of, *last, 0)?;
            self.mark(&mut sequence, of, &plain);
            self.push_action(&mut sequence, of, *last)?;
            rendered.sequences.push(sequence.rendered);
        }
        for step in edited {
            rendered.sequences.push(self.sub_trajectory(of, step, 0)?);
        }
        Ok(rendered)
    }

    /// Returns one step with its state, without `cut` of the state's oldest turns.
    ///
    /// # Errors
    /// As [`TagRenderer::trajectory`].
    pub fn sub_trajectory(
        &self,
        of: &Trajectory,
        step: u32,
        cut: usize,
    ) -> Result<RenderedSequence, RenderError> {
        let mut sequence = self.state_of(of, step, cut)?;
        self.push_action(&mut sequence, of, step)?;
        Ok(sequence.rendered)
    }

    /// Returns a transcript with the head of the policy's next turn: what an action is sampled
    /// from.
    ///
    /// # Errors
    /// A message that is not all text.
    pub fn state(
        &self,
        messages: &[&Message],
        tools: Option<&Json>,
    ) -> Result<RenderedSequence, RenderError> {
        let all: Vec<usize> = (0..messages.len()).collect();
        Ok(self.turns(messages, &all, tools)?.rendered)
    }

    fn state_of(&self, of: &Trajectory, step: u32, cut: usize) -> Result<Turns, RenderError> {
        if step == 0 || step as usize > of.steps.len() {
            return Err(RenderError::NoStep { step, steps: of.steps.len() });
        }
        let state = of.state(step);
        let kept = cut_state(state.len(), fixed_head(&state), cut);
        self.turns(&state, &kept, of.tools.as_ref())
    }

    /// Returns the turns of the messages at `kept`, and the head of the policy's next turn.
    fn turns(
        &self,
        messages: &[&Message],
        kept: &[usize],
        tools: Option<&Json>,
    ) -> Result<Turns, RenderError> {
        let mut turns = Turns::default();
        if let Some(begin) = self.form.begin {
            turns.rendered.push(begin, true, None);
        }
        if let Some(tools) = tools.filter(|t| !matches!(t.as_str().trim(), "" | "[]" | "null")) {
            self.push_head(&mut turns, "tools");
            turns.rendered.push(tools.as_str(), false, None);
            self.push_end(&mut turns, None);
        }
        let answered = answered_calls(messages);
        for index in kept {
            let message = messages[*index];
            let lost = |reason| RenderError::Message { message: index + 1, reason };
            let number = answered[*index].map_or(String::new(), |n| format!(" {n}"));
            self.push_head(&mut turns, &format!("{}{number}", message.role));
            turns.bodies.push((*index, turns.rendered.segments.len()));
            let text = body(message).map_err(lost)?;
            // A body is a piece of its own, so that an action has the same tokens whether it
            // is trained on or only read.
            turns.rendered.segments.push(Segment { text, control: false, step: None });
            self.push_end(&mut turns, None);
        }
        self.push_head(&mut turns, role::ASSISTANT);
        Ok(turns)
    }

    fn push_head(&self, turns: &mut Turns, role_text: &str) {
        let role_text = if role_text == role::ASSISTANT { self.form.policy } else { role_text };
        let out = &mut turns.rendered;
        out.push(self.form.start, true, None);
        out.push(role_text, false, None);
        if let Some(end) = self.form.role_end {
            out.push(end, true, None);
        }
        out.push(self.form.gap, false, None);
    }

    fn push_end(&self, turns: &mut Turns, step: Option<u32>) {
        turns.rendered.push(self.form.end, true, step);
        if step.is_none() {
            turns.rendered.push(self.form.after, false, None);
        }
    }

    /// Marks the actions of the `chosen` steps that the turns hold.
    fn mark(&self, turns: &mut Turns, of: &Trajectory, chosen: &[u32]) {
        for (message, segment) in &turns.bodies {
            let step = of.step_of_message(*message).filter(|step| chosen.contains(step));
            if step.is_some() {
                // The body and the end of turn behind it.
                for segment in &mut turns.rendered.segments[*segment..segment + 2] {
                    segment.step = step;
                }
            }
        }
    }

    fn push_action(
        &self,
        turns: &mut Turns,
        of: &Trajectory,
        step: u32,
    ) -> Result<(), RenderError> {
        let message = &of.steps[step as usize - 1].action;
        let lost = |reason: String| RenderError::Lossy { step, renderer: NAME, reason };
        let text = action_text(message).map_err(lost)?;
        turns.rendered.segments.push(Segment { text, control: false, step: Some(step) });
        self.push_end(turns, Some(step));
        Ok(())
    }
}

/// Turns rendered so far.
#[derive(Default)]
struct Turns {
    rendered: RenderedSequence,
    /// For each message its index in the state and that of the piece that is its body.
    bodies: Vec<(usize, usize)>,
}

/// Returns the text of a turn: an action in the tag form, other messages as they are.
fn body(message: &Message) -> Result<String, String> {
    let acts = message.role == role::ASSISTANT
        || message.reasoning.is_some()
        || !message.calls_apart().is_empty();
    if acts {
        return action_text(message);
    }
    only_text(message).map_err(|part| format!("it holds a part of type '{part}'"))?;
    Ok(message.text().to_owned())
}

/// Returns an action in the tag form, read back and compared.
fn action_text(message: &Message) -> Result<String, String> {
    let action = Action::of(message).map_err(|part| format!("it holds a part of type '{part}'"))?;
    let text = action.print();
    match Action::parse(&text) {
        Ok(read) if read == action => Ok(text),
        Ok(_) => Err("it reads back as another action".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
