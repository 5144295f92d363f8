//! Why a transcript cannot be rendered.

/// Why a transcript cannot be rendered. Messages are counted from 1, the prompt first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The tokenizer knows no turn form.
    #[error(
        "the tokenizer knows no control tokens for turns: expected one of the pairs {known}; \
         train a tokenizer with <|im_start|> and <|im_end|>, or use renderer = 'template'"
    )]
    NoTurnForm {
        /// The pairs looked for.
        known: String,
    },
    /// The model has no chat template.
    #[error("the model has no chat template: use renderer = 'tags'")]
    NoTemplate,
    /// The template is not valid.
    #[error("the chat template cannot be read: {message}; use renderer = 'tags'")]
    Template {
        /// What the template engine says.
        message: String,
    },
    /// The template failed on a transcript.
    #[error("the chat template fails at the state of step {step}: {message}")]
    TemplateRun {
        /// The step, from 1.
        step: u32,
        /// What the template engine says.
        message: String,
    },
    /// A message that a text model can neither read nor write, or that is lost in rendering.
    #[error("message {message} cannot be rendered: {reason}")]
    Message {
        /// The message.
        message: usize,
        /// Why.
        reason: String,
    },
    /// The rendering of an action does not read back as the action.
    #[error("the action of step {step} is lost in rendering by {renderer}: {reason}")]
    Lossy {
        /// The step, from 1.
        step: u32,
        /// The renderer's name.
        renderer: &'static str,
        /// What is lost.
        reason: String,
    },
    /// The rendering of a state leaves something out.
    #[error("the state of step {step} is incomplete in rendering by {renderer}: {reason}")]
    StateLossy {
        /// The step, from 1.
        step: u32,
        /// The renderer's name.
        renderer: &'static str,
        /// What is left out.
        reason: String,
    },
    /// A step was asked for that the trajectory does not have.
    #[error("step {step} does not exist: the trajectory has {steps}")]
    NoStep {
        /// The step asked for.
        step: u32,
        /// How many there are.
        steps: usize,
    },
}
