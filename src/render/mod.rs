//! Messages to text and back.
//!
//! A policy reads and writes tokens; a trajectory holds messages. Two renderers stand between:
//! [`TagRenderer`], a form of our own that loses nothing of any action, and [`TemplateRenderer`],
//! the model's own chat template, which is used where it loses nothing and refused where it does.
//!
//! Invariant: what a renderer returns for an action reads back as that action ([`Action`]), or
//! the renderer returns an error that names the message. No rendering is silently incomplete.
//!
//! Invariant: text from a transcript never becomes a control token. Only the renderer's own
//! marks, and the marks a template writes, are in segments with `control` set.

mod action;
mod choice;
mod error;
mod hermes;
mod json;
mod segment;
mod shield;
mod tags;
mod template;
mod turns;

pub use action::{Action, ActionError, Call};
pub use choice::{Renderer, RendererChoice, Vocabulary};
pub use error::RenderError;
pub use segment::{Rendered, RenderedSequence, Segment};
pub use tags::TagRenderer;
pub use template::{TemplateDate, TemplateRenderer};
pub use turns::TurnForm;
