//! Which renderer a run uses.

use serde::{Deserialize, Serialize};

use crate::model::{Json, Message, Trajectory};

use super::action::Action;
use super::error::RenderError;
use super::segment::{Rendered, RenderedSequence};
use super::tags::{self, TagRenderer};
use super::template::{self, TemplateRenderer};

/// What rendering has to know of a tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// The spellings of all control tokens.
    pub control_tokens: Vec<String>,
    /// The beginning of a text, where the model has one.
    pub bos: Option<String>,
    /// The end of a text, where the model has one.
    pub eos: Option<String>,
}

/// Which renderer is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RendererChoice {
    /// The model's template if it loses nothing of any row, else tags for all of them.
    #[default]
    Auto,
    /// The tag renderer.
    Tags,
    /// The model's template; a row that it would lose is an error.
    Template,
}

/// A renderer.
#[derive(Debug)]
pub enum Renderer {
    /// The tag form.
    Tags(TagRenderer),
    /// The model's chat template.
    Template(Box<TemplateRenderer>),
}

impl Renderer {
    /// Returns the tag renderer.
    ///
    /// # Errors
    /// A tokenizer without control tokens for turns.
    pub fn of_tags(vocabulary: &Vocabulary) -> Result<Renderer, RenderError> {
        TagRenderer::new(vocabulary).map(Renderer::Tags)
    }

    /// Returns the renderer of a model's chat template.
    ///
    /// # Errors
    /// A template that is missing or no Jinja. Rows that it would lose are found when they are
    /// rendered.
    pub fn of_template(
        template: Option<&str>,
        vocabulary: &Vocabulary,
    ) -> Result<Renderer, RenderError> {
        let text = template.ok_or(RenderError::NoTemplate)?;
        let renderer = TemplateRenderer::new(text, vocabulary, None)?;
        Ok(Renderer::Template(Box::new(renderer)))
    }

    /// Returns the renderer's name: `tags` or `template`.
    pub fn name(&self) -> &'static str {
        match self {
            Renderer::Tags(_) => tags::NAME,
            Renderer::Template(_) => template::NAME,
        }
    }

    /// Returns the control token that ends an action.
    pub fn end_of_turn(&self) -> &str {
        match self {
            Renderer::Tags(renderer) => renderer.end_of_turn(),
            Renderer::Template(renderer) => renderer.end_of_turn(),
        }
    }

    /// Returns the trajectory up to the last of the `chosen` steps.
    ///
    /// # Errors
    /// What would be lost, and where.
    pub fn trajectory(&self, of: &Trajectory, chosen: &[u32]) -> Result<Rendered, RenderError> {
        match self {
            Renderer::Tags(renderer) => renderer.trajectory(of, chosen),
            Renderer::Template(renderer) => renderer.trajectory(of, chosen),
        }
    }

    /// Returns one step with its state, without `cut` of the state's oldest turns.
    ///
    /// # Errors
    /// As [`Renderer::trajectory`].
    pub fn sub_trajectory(
        &self,
        of: &Trajectory,
        step: u32,
        cut: usize,
    ) -> Result<RenderedSequence, RenderError> {
        match self {
            Renderer::Tags(renderer) => renderer.sub_trajectory(of, step, cut),
            Renderer::Template(renderer) => renderer.sub_trajectory(of, step, cut),
        }
    }

    /// Returns the numbers of oldest turns that can be cut from the state of `step`, instructions
    /// spared, ascending.
    pub fn possible_cuts(&self, of: &Trajectory, step: u32) -> Vec<usize> {
        super::turns::possible_cuts(&of.state(step))
    }

    /// Returns a transcript with the head of the policy's next turn: what an action is sampled
    /// from.
    ///
    /// # Errors
    /// As [`Renderer::trajectory`].
    pub fn state(
        &self,
        messages: &[&Message],
        tools: Option<&Json>,
    ) -> Result<RenderedSequence, RenderError> {
        match self {
            Renderer::Tags(renderer) => renderer.state(messages, tools),
            Renderer::Template(renderer) => renderer.state(messages, tools),
        }
    }

    /// Returns the action that the text of a turn holds, with or without its end of turn.
    ///
    /// # Errors
    /// A sentence about what cannot be read.
    pub fn parse_action(&self, text: &str) -> Result<Action, String> {
        let text = text.strip_suffix(self.end_of_turn()).unwrap_or(text);
        match self {
            Renderer::Tags(_) => Action::parse(text).map_err(|error| error.to_string()),
            Renderer::Template(renderer) => renderer.parse_action(text),
        }
    }
}
