//! The template renderer: the model's own chat template, where it loses nothing.
//!
//! A chat template is a program in Jinja that somebody shipped with the weights. It may ignore
//! tools, drop calls, trim texts or rewrite earlier turns, and says nothing when it does. So every
//! step is rendered twice, state with the generation prompt and state with action, and checked:
//!
//! ```text
//! P = render(state, add_generation_prompt)      ...<|im_start|>assistant\n
//! F = render(state + action)                    ...<|im_start|>assistant\nParis<|im_end|>\n
//!     F begins with P; what follows, up to the end of turn, reads back as the action;
//!     P holds every text, call and tool of the state, in order.
//! ```
//!
//! Steps whose F is a beginning of a later one share its sequence; the others stand apart. Reading
//! back knows plain text and the `<tool_call>` form; a template with another form of calls is
//! refused for rows that have calls.

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};

use crate::model::{Json, Message, Trajectory};

use super::action::{Action, only_text};
use super::choice::Vocabulary;
use super::error::RenderError;
use super::hermes::Form;
use super::json;
use super::segment::{Rendered, RenderedSequence, Segment};
use super::shield::Shield;
use super::turns::{TurnForm, cut_state, fixed_head};

/// The renderer's name in options and messages.
pub(super) const NAME: &str = "template";

/// The day that a template may ask for. Without one `strftime_now` is not defined, and templates
/// that test for it fall back to a day of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateDate {
    /// The year.
    pub year: i32,
    /// The month, from 1.
    pub month: u32,
    /// The day of the month, from 1.
    pub day: u32,
}

/// Renders by the model's own chat template and refuses what the template would lose.
#[derive(Debug)]
pub struct TemplateRenderer {
    environment: Environment<'static>,
    form: Form,
    vocabulary: Vocabulary,
    end: String,
}

impl TemplateRenderer {
    /// Returns a renderer for a chat template.
    ///
    /// # Errors
    /// A template that is no Jinja, or a vocabulary without any token that ends a turn.
    pub fn new(
        template: &str,
        vocabulary: &Vocabulary,
        date: Option<TemplateDate>,
    ) -> Result<TemplateRenderer, RenderError> {
        let failed = |message: String| RenderError::Template { message };
        let mut environment = environment(date);
        environment
            .add_template_owned("chat", without_generation_blocks(template))
            .map_err(|error| failed(describe(&error)))?;
        let known = |end: &&str| vocabulary.control_tokens.iter().any(|t| t == end);
        let written = TurnForm::known_ends().find(|end| known(end) && template.contains(end));
        let end = written.or(vocabulary.eos.as_deref()).ok_or_else(|| {
            failed("it writes no end of turn and the model has no end of text".to_owned())
        })?;
        Ok(TemplateRenderer {
            environment,
            form: Form::of(template),
            vocabulary: vocabulary.clone(),
            end: end.to_owned(),
        })
    }

    /// Returns the control token that ends an action.
    pub fn end_of_turn(&self) -> &str {
        &self.end
    }

    /// Returns the trajectory up to the last of the `chosen` steps, in as few sequences as the
    /// template allows.
    ///
    /// # Errors
    /// A template that fails, or one that loses a part of an action or of a state.
    pub fn trajectory(&self, of: &Trajectory, chosen: &[u32]) -> Result<Rendered, RenderError> {
        let last = chosen.iter().copied().max().unwrap_or(0);
        let mut rendered = Vec::new();
        let shield = self.shield_for(of);
        for step in 1..=last {
            rendered.push(self.step(of, step, 0, &shield)?);
        }
        // From the last step back: each joins the first sequence that begins with it.
        let mut groups: Vec<(&StepText, Vec<&StepText>)> = Vec::new();
        for step in rendered.iter().rev() {
            match groups.iter_mut().find(|(longest, _)| longest.text.starts_with(&step.text)) {
                Some((_, members)) => members.push(step),
                None if chosen.contains(&step.step) => groups.push((step, vec![step])),
                None => {}
            }
        }
        let sequence = |(longest, mut members): (&StepText, Vec<&StepText>)| {
            members.reverse();
            self.segments(&longest.text, &members, chosen, &shield)
        };
        Ok(Rendered { sequences: groups.into_iter().map(sequence).collect() })
    }

    /// Returns one step with its state, without `cut` of the state's oldest turns.
    ///
    /// # Errors
    /// As [`TemplateRenderer::trajectory`].
    pub fn sub_trajectory(
        &self,
        of: &Trajectory,
        step: u32,
        cut: usize,
    ) -> Result<RenderedSequence, RenderError> {
        let shield = self.shield_for(of);
        let text = self.step(of, step, cut, &shield)?;
        Ok(self.segments(&text.text, &[&text], &[step], &shield))
    }

    /// Returns a transcript with the generation prompt: what an action is sampled from.
    ///
    /// # Errors
    /// A template that fails or leaves out a part of the transcript.
    pub fn state(
        &self,
        messages: &[&Message],
        tools: Option<&Json>,
    ) -> Result<RenderedSequence, RenderError> {
        let shield = Shield::new(&self.vocabulary, messages.iter().copied(), tools);
        let step = messages.iter().filter(|m| is_action(m)).count() as u32 + 1;
        let text = self.render(messages, tools, true, step, &shield)?;
        self.check_state(&text, messages, tools, step, &shield)?;
        Ok(self.segments(&text, &[], &[], &shield))
    }

    /// Returns the action that a turn's text holds.
    ///
    /// # Errors
    /// A sentence about what cannot be read.
    pub fn parse_action(&self, text: &str) -> Result<Action, String> {
        self.form.parse(text)
    }

    fn shield_for(&self, of: &Trajectory) -> Shield {
        let replaced = of.steps.iter().flat_map(|s| s.context.iter().flatten());
        let replaced = replaced.filter_map(|item| match item {
            crate::model::ContextItem::Replaced(message) => Some(message),
            crate::model::ContextItem::Kept { .. } => None,
        });
        Shield::new(&self.vocabulary, of.transcript().chain(replaced), of.tools.as_ref())
    }

    /// Renders and checks one step.
    fn step(
        &self,
        of: &Trajectory,
        step: u32,
        cut: usize,
        shield: &Shield,
    ) -> Result<StepText, RenderError> {
        let action = step.checked_sub(1).and_then(|i| of.steps.get(i as usize));
        let action = action.ok_or(RenderError::NoStep { step, steps: of.steps.len() })?;
        let tools = of.tools.as_ref();
        let whole = of.state(step);
        let kept = cut_state(whole.len(), fixed_head(&whole), cut);
        let mut messages: Vec<&Message> = kept.into_iter().map(|i| whole[i]).collect();
        let prompt = self.render(&messages, tools, true, step, shield)?;
        self.check_state(&prompt, &messages, tools, step, shield)?;
        messages.push(&action.action);
        let full = self.render(&messages, tools, false, step, shield)?;
        let lost =
            |reason: &str| RenderError::Lossy { step, renderer: NAME, reason: reason.to_owned() };
        if prompt.is_empty() {
            return Err(lost("the template writes nothing before the action"));
        }
        let turn = full
            .strip_prefix(prompt.as_str())
            .ok_or_else(|| lost("the text does not begin with its state and generation prompt"))?;
        let end = turn
            .find(&self.end)
            .ok_or_else(|| lost(&format!("the turn does not end with {}", self.end)))?;
        if !turn[end + self.end.len()..].trim().is_empty() {
            return Err(lost("the template writes more behind the end of the turn"));
        }
        self.check_action(&shield.uncover(&turn[..end]), &action.action)
            .map_err(|reason| lost(&reason))?;
        let text = full[..prompt.len() + end + self.end.len()].to_owned();
        Ok(StepText { step, text, action_start: prompt.len() })
    }

    /// Whether the text of a turn reads back as the action.
    fn check_action(&self, turn: &str, message: &Message) -> Result<(), String> {
        let action =
            Action::of(message).map_err(|part| format!("it holds a part of type '{part}'"))?;
        let read = self
            .form
            .parse(turn)
            .map_err(|error| format!("its text reads as an action that is broken: {error}"))?;
        if read.says_the_same_as(&action) {
            return Ok(());
        }
        Err(if read.calls.len() < action.calls.len() {
            "the template drops tool calls".to_owned()
        } else if read.reasoning.is_none() && action.reasoning.is_some() {
            "the template drops the reasoning".to_owned()
        } else {
            "the text reads back as another action".to_owned()
        })
    }

    /// Whether a rendered state holds every content, call and tool, in order.
    fn check_state(
        &self,
        text: &str,
        messages: &[&Message],
        tools: Option<&Json>,
        step: u32,
        shield: &Shield,
    ) -> Result<(), RenderError> {
        let lost = |reason| RenderError::StateLossy { step, renderer: NAME, reason };
        let mut rest = text;
        let mut find = |wanted: &str, what: &str, number: usize| {
            let wanted = wanted.trim();
            let at = rest.find(wanted);
            let at = at.ok_or_else(|| lost(format!("{what} of message {number} is missing")))?;
            rest = &rest[at + wanted.len()..];
            Ok(())
        };
        for (message, number) in messages.iter().zip(1..) {
            only_text(message).map_err(|part| RenderError::Message {
                message: number,
                reason: format!("it holds a part of type '{part}'"),
            })?;
            find(&shield.cover(message.text()), "the text", number)?;
            for call in message.calls_apart() {
                find(&shield.cover(&call.name), "a tool call", number)?;
                let arguments = printed_arguments(&call.arguments, shield);
                find(&arguments, "the arguments of a tool call", number)?;
            }
        }
        for name in tool_names(tools) {
            if !text.contains(&shield.cover(&name)) {
                return Err(lost(format!("the tool '{name}' is not mentioned")));
            }
        }
        // A tool's name may stand in the question, so a template must show that it looks at them.
        if given_tools(tools) && self.render(messages, None, true, step, shield)? == text {
            return Err(lost("the tools offered are ignored".to_owned()));
        }
        Ok(())
    }

    fn render(
        &self,
        messages: &[&Message],
        tools: Option<&Json>,
        add_generation_prompt: bool,
        step: u32,
        shield: &Shield,
    ) -> Result<String, RenderError> {
        let failed = |message: String| RenderError::TemplateRun { step, message };
        let template =
            self.environment.get_template("chat").map_err(|error| failed(describe(&error)))?;
        let list: Vec<Value> = messages.iter().map(|m| message_value(m, shield)).collect();
        let tools = tools
            .and_then(|t| json::parse(t.as_str(), &|s| Some(shield.cover(s))))
            .filter(|t| t.len().is_some_and(|n| n > 0))
            .unwrap_or_else(|| Value::from(()));
        let given = context! {
            messages => list,
            tools => tools,
            documents => Value::from(()),
            add_generation_prompt => add_generation_prompt,
            bos_token => self.vocabulary.bos.clone().unwrap_or_default(),
            eos_token => self.vocabulary.eos.clone().unwrap_or_default(),
        };
        template.render(given).map_err(|error| failed(describe(&error)))
    }

    /// Cuts a rendered text into pieces: at the borders of the `members`' actions, and around
    /// text that only looks like a control token.
    fn segments(
        &self,
        text: &str,
        members: &[&StepText],
        chosen: &[u32],
        shield: &Shield,
    ) -> RenderedSequence {
        let mut sequence = RenderedSequence::default();
        let mut at = 0;
        let mut push = |piece: &str, step: Option<u32>| {
            for (text, covered) in shield.split(piece) {
                if !text.is_empty() {
                    sequence.segments.push(Segment { text, control: !covered, step });
                }
            }
        };
        for member in members {
            push(&text[at..member.action_start], None);
            let step = Some(member.step).filter(|step| chosen.contains(step));
            push(&text[member.action_start..member.text.len()], step);
            at = member.text.len();
        }
        push(&text[at..], None);
        sequence
    }
}

/// A step's state and action as the template writes them, still covered.
struct StepText {
    step: u32,
    text: String,
    /// Where in the text the action begins, in bytes.
    action_start: usize,
}

fn is_action(message: &Message) -> bool {
    message.role == crate::model::role::ASSISTANT
}

/// Whether any tool is offered.
fn given_tools(tools: Option<&Json>) -> bool {
    matches!(tools.map(Json::to_value), Some(serde_json::Value::Array(list)) if !list.is_empty())
}

/// Returns the names of the tools offered.
fn tool_names(tools: Option<&Json>) -> Vec<String> {
    let name = |tool: &serde_json::Value| {
        let name = tool.get("function").unwrap_or(tool).get("name")?;
        name.as_str().map(str::to_owned)
    };
    match tools.map(Json::to_value) {
        Some(serde_json::Value::Array(tools)) => tools.iter().filter_map(name).collect(),
        _ => Vec::new(),
    }
}

/// Returns a message as templates expect it: OpenAI's form, arguments parsed where they are JSON.
fn message_value(message: &Message, shield: &Shield) -> Value {
    let text = |s: &str| Value::from(shield.cover(s));
    let mut entries = vec![("role".to_owned(), Value::from(message.role.as_str()))];
    let content = message.content.as_deref().map_or_else(|| Value::from(()), text);
    entries.push(("content".to_owned(), content));
    if let Some(reasoning) = &message.reasoning {
        entries.push(("reasoning_content".to_owned(), text(reasoning)));
    }
    if !message.calls_apart().is_empty() {
        let call = |call: &crate::model::ToolCall| {
            let function = json::map(vec![
                ("name".to_owned(), text(&call.name)),
                ("arguments".to_owned(), arguments_value(&call.arguments, shield)),
            ]);
            let mut entries = Vec::new();
            entries.extend(call.id.as_deref().map(|id| ("id".to_owned(), text(id))));
            entries.push(("type".to_owned(), Value::from("function")));
            entries.push(("function".to_owned(), function));
            json::map(entries)
        };
        let calls: Vec<Value> = message.calls_apart().iter().map(call).collect();
        entries.push(("tool_calls".to_owned(), Value::from(calls)));
    }
    for (key, value) in [("tool_call_id", &message.tool_call_id), ("name", &message.name)] {
        entries.extend(value.as_deref().map(|v| (key.to_owned(), text(v))));
    }
    json::map(entries)
}

/// Returns arguments parsed where they are JSON and as text where not.
fn arguments_value(arguments: &str, shield: &Shield) -> Value {
    json::parse(arguments, &|s| Some(shield.cover(s)))
        .unwrap_or_else(|| Value::from(shield.cover(arguments)))
}

/// Returns arguments as templates print them.
fn printed_arguments(arguments: &str, shield: &Shield) -> String {
    let value = arguments_value(arguments, shield);
    let options = minijinja::value::Kwargs::from_iter(std::iter::empty::<(String, Value)>());
    json::tojson(&value, options).unwrap_or_else(|_| arguments.to_owned())
}

/// Returns the template engine set up as Hugging Face sets up Jinja.
fn environment(date: Option<TemplateDate>) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", |value: &Value, options| json::tojson(value, options));
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    if let Some(date) = date {
        environment.add_function("strftime_now", move |format: &str| date.format(format));
    }
    environment
}

/// Returns the template without TRL's `generation` blocks, which mark text and print nothing.
fn without_generation_blocks(template: &str) -> String {
    let mut out = template.to_owned();
    for (name, plain) in [("generation", "if true"), ("endgeneration", "endif")] {
        for open in ["{%", "{%-"] {
            for close in ["%}", "-%}"] {
                out = out
                    .replace(&format!("{open} {name} {close}"), &format!("{open} {plain} {close}"));
            }
        }
    }
    out
}

/// Returns an error of the template engine in one line.
fn describe(error: &Error) -> String {
    let place =
        error.line().map_or(String::new(), |line| format!(" (line {line} of the template)"));
    match error.detail() {
        Some(detail) => format!("{detail}{place}"),
        None => format!("{}{place}", error.kind()),
    }
}

impl TemplateDate {
    /// Returns the day in a format of `strftime`; times of day are midnight.
    fn format(self, format: &str) -> String {
        const MONTHS: [&str; 12] = [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ];
        let month = MONTHS[(self.month.clamp(1, 12) - 1) as usize];
        let mut out = String::new();
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                out.push(letter);
                continue;
            }
            match letters.next() {
                Some('Y') => out.push_str(&self.year.to_string()),
                Some('m') => out.push_str(&format!("{:02}", self.month)),
                Some('d') => out.push_str(&format!("{:02}", self.day)),
                Some('B') => out.push_str(month),
                Some('b') => out.push_str(&month[..3]),
                Some('H' | 'M' | 'S') => out.push_str("00"),
                Some(other) => {
                    out.push('%');
                    out.push(other);
                }
                None => out.push('%'),
            }
        }
        out
    }
}
