//! Chat JSONL out, as far as the format can carry a trajectory.

use std::io::{self, Write};

use super::fields::Fields;
use super::json::{self, ObjectText, list_text};
use super::line::MESSAGE_FIELDS;
use super::message::CALLS_IN_CONTENT;
use crate::model::{Label, Message, Target, ToolCall, Trajectory, role};

/// Writes chat JSONL that this program and others read.
///
/// Left out, because no field of the format holds them: log-probabilities, token ids, lengths,
/// times and costs of steps, rewritten histories, and labels other than one judge's `process` in
/// steps of one half, that judge's `outcome`, and the source's `reward`. Calls that are written in
/// a message's content stand in `calls_in_content`, which others pass over.
#[derive(Debug)]
pub struct ChatWriter<W: Write> {
    out: W,
}

impl<W: Write> ChatWriter<W> {
    /// Returns a writer to `out`, which should be buffered.
    pub fn new(out: W) -> ChatWriter<W> {
        ChatWriter { out }
    }

    /// Writes a trajectory with the labels the format can carry and returns how many of them it
    /// cannot.
    ///
    /// # Errors
    /// The underlying writer's.
    pub fn write(&mut self, trajectory: &Trajectory, labels: &[Label]) -> io::Result<usize> {
        let meta = trajectory.meta.as_ref().map_or("{}", |meta| meta.as_str());
        let meta: Fields<'_> = serde_json::from_str(meta).unwrap_or_default();
        let message_fields = meta.peek(MESSAGE_FIELDS).map_or("{}", |raw| raw.get());
        let message_fields: Fields<'_> = serde_json::from_str(message_fields).unwrap_or_default();
        let mut record = described(trajectory);
        let carried = put_labels(&mut record, trajectory, labels);
        put_messages(&mut record, trajectory, &message_fields);
        if let Some(tools) = &trajectory.tools {
            record.json("tools", tools.as_str());
        }
        for (name, raw) in meta.iter().filter(|(name, _)| *name != MESSAGE_FIELDS) {
            // A record with a field twice is none.
            let is_taken = record.has(name);
            record.json(&if is_taken { meta.unused(name) } else { name.to_owned() }, raw.get());
        }
        let mut line = record.finish();
        // Kept JSON may hold line breaks, which can only stand between its tokens.
        if line.contains(['\n', '\r']) {
            line = line.replace(['\n', '\r'], " ");
        }
        line.push('\n');
        self.out.write_all(line.as_bytes())?;
        Ok(labels.len() - carried)
    }

    /// Flushes and returns the underlying writer.
    ///
    /// # Errors
    /// The underlying writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Returns a record with what a trajectory says besides its messages.
fn described(trajectory: &Trajectory) -> ObjectText {
    let mut record = ObjectText::new();
    record.text("id", (!trajectory.id.is_empty()).then_some(&trajectory.id));
    record.text("source", Some(&trajectory.source));
    record.text("split", trajectory.split.as_deref());
    record.text("question_id", trajectory.question_id.as_deref());
    record.text("question", trajectory.question.as_deref());
    if !trajectory.gold.is_empty() {
        let quoted = trajectory.gold.iter().map(|answer| quoted(answer));
        record.json("gold", &list_text(quoted));
    }
    // `answer` beside `prompt` and `completion` is read as the answer that is looked for.
    record.text("final_answer", trajectory.answer.as_deref());
    record.text("model", trajectory.model.as_deref());
    if let Some(sampler) = &trajectory.sampler {
        record.json("sampler", sampler.as_str());
    }
    record.integer("sample_index", trajectory.sample_index);
    record.text("run_id", trajectory.run_id.as_deref());
    record.integer("round", trajectory.round);
    record.text("status", trajectory.status.map(|status| status.as_str()));
    record.integer("created_at", trajectory.created_at);
    record
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    json::push_string(&mut out, text);
    out
}

/// Appends `messages`, or `prompt` and `completion` where the prompt holds turns of the
/// assistant, which would be read as steps.
fn put_messages(record: &mut ObjectText, trajectory: &Trajectory, fields: &Fields<'_>) {
    let texts: Vec<String> = trajectory
        .transcript()
        .enumerate()
        .map(|(index, message)| message_text(message, fields.peek(&index.to_string())))
        .collect();
    let (prompt, rest) = texts.split_at(trajectory.prompt.len());
    if trajectory.prompt.iter().any(|message| message.role == role::ASSISTANT) {
        record.json("prompt", &list_text(prompt.iter().cloned()));
        record.json("completion", &list_text(rest.iter().cloned()));
    } else {
        record.json("messages", &list_text(texts.into_iter()));
    }
}

/// Returns a message as JSON; `rest` holds fields of it that the model has no place for.
fn message_text(message: &Message, rest: Option<&serde_json::value::RawValue>) -> String {
    let mut text = ObjectText::new();
    text.text("role", Some(&message.role));
    match (&message.parts, &message.content) {
        (Some(parts), _) => text.json("content", parts.as_str()),
        (None, Some(content)) => text.text("content", Some(content)),
        (None, None) => text.json("content", "null"),
    }
    text.text("reasoning_content", message.reasoning.as_deref());
    if !message.tool_calls.is_empty() {
        let name = if message.calls_in_content { CALLS_IN_CONTENT } else { "tool_calls" };
        text.json(name, &list_text(message.tool_calls.iter().map(call_text)));
    }
    text.text("tool_call_id", message.tool_call_id.as_deref());
    text.text("name", message.name.as_deref());
    if let Some(error) = message.error {
        text.json("is_error", if error { "true" } else { "false" });
    }
    let rest: Fields<'_> =
        rest.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    for (name, raw) in rest.iter() {
        text.json(name, raw.get());
    }
    text.finish()
}

fn call_text(call: &ToolCall) -> String {
    let mut function = ObjectText::new();
    function.text("name", Some(&call.name));
    function.text("arguments", Some(&call.arguments));
    let mut text = ObjectText::new();
    text.text("id", call.id.as_deref());
    text.json("type", "\"function\"");
    text.json("function", &function.finish());
    text.finish()
}

/// Appends the labels that the format can carry and returns their number.
fn put_labels(record: &mut ObjectText, trajectory: &Trajectory, labels: &[Label]) -> usize {
    let mut carried = 0;
    let reward = labels.iter().find(|label| is_reward(label));
    if let Some(label) = reward {
        record.json("reward", &serde_json::Value::from(label.value).to_string());
        carried += 1;
    }
    let Some(judge) = labels.iter().find(|l| third(l).is_some()).map(|l| l.judge.as_str()) else {
        return carried;
    };
    let own: Vec<&Label> = labels.iter().filter(|label| label.judge == judge).collect();
    let mut steps = ObjectText::new();
    let mut why = ObjectText::new();
    let mut index = trajectory.prompt.len();
    for (step, number) in trajectory.steps.iter().zip(1..) {
        let named = |label: &&&Label| label.target == Target::Step(number);
        if let Some((label, raw)) = own.iter().find(named).and_then(|l| Some((l, third(l)?))) {
            steps.json(&index.to_string(), raw);
            why.text(&index.to_string(), label.rationale.as_deref());
            carried += 1;
        }
        index += 1 + step.observation.len();
    }
    record.json("step_labels", &steps.finish());
    let whole =
        own.iter().find(|label| label.target == Target::Trajectory && third(label).is_some());
    if let Some((label, raw)) = whole.and_then(|label| Some((label, third(label)?))) {
        record.json("final_label", raw);
        carried += 1;
        put_explanations(record, why, label.rationale.as_deref());
    } else {
        put_explanations(record, why, None);
    }
    if judge != "human" {
        record.text("annotator", Some(judge));
    }
    carried
}

fn put_explanations(record: &mut ObjectText, steps: ObjectText, whole: Option<&str>) {
    if steps.is_empty() && whole.is_none() {
        return;
    }
    let mut explanations = ObjectText::new();
    explanations.json("steps", &steps.finish());
    explanations.text("final", whole);
    record.json("explanations", &explanations.finish());
}

/// Whether a label is the episode's reward as its source gave it.
fn is_reward(label: &Label) -> bool {
    label.target == Target::Trajectory
        && label.name.as_str() == "reward"
        && label.judge == "source"
        && label.value.is_finite()
}

/// Returns -1, 0 or 1 for a `process` label of a step or an `outcome` label of the trajectory
/// whose value is 0, one half or 1.
fn third(label: &Label) -> Option<&'static str> {
    let name = match label.target {
        Target::Trajectory => "outcome",
        Target::Step(_) => "process",
        Target::Sample { .. } => return None,
    };
    let values = [(0.0, "-1"), (0.5, "0"), (1.0, "1")];
    let found = values.into_iter().find(|(value, _)| *value == label.value);
    found.filter(|_| label.name.as_str() == name).map(|(_, raw)| raw)
}
