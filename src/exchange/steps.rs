//! Tables of steps: a row a step, the rows of a trajectory one behind the other.
//!
//! ```text
//!   trajectory_id  step  action      tool    arguments        observation   reward
//!   a              1     look it up  search  {"query": "x"}   a page        .5       ┐ one
//!   a              2     it is 7                                            .5       ┘ trajectory
//!   b              1     ..
//! ```
//! Columns are known by their names, or by those that an option gives them. A trajectory's own
//! columns (question, gold, model, prompt, ..) are those of the first row with them, its answer,
//! status and reward those of the last. Columns without a place, and values that their column does
//! not take, go into `meta.step_fields`, an entry a step.
//!
//! Rows are parsed by themselves, in parallel, and joined in the order of the file ([`Joining`]).
//! What is remembered of trajectories that have ended, to know their rows where they stand apart,
//! is 16 bytes each.

use std::collections::HashSet;

use rayon::prelude::*;
use serde_json::value::RawValue;

use super::chat;
use super::error::{BadRecord, Fault, Place};
use super::fields::{Fields, wrong};
use super::json::ObjectText;
use super::line::judge;
use super::native::content_hash_of;
use super::parser::{Names, Parser};
use super::record::{Draft, Imported, Record};
use super::scores::{self, SOURCE, source_label};
use crate::diag::nearest;
use crate::model::{
    Json, JudgeKind, Label, LabelName, Message, Status, Step, Target, ToolCall, Trajectory, role,
};

/// The columns that have a place, each with the other names it is known by.
const STEP_COLUMNS: [(&str, &[&str]); 29] = [
    ("trajectory_id", &["traj_id", "episode_id", "conversation_id", "session_id"]),
    ("step", &["step_id", "step_index", "step_number", "idx", "turn"]),
    ("action", &["thought", "response", "completion", "content"]),
    ("reasoning", &["reasoning_content", "thinking"]),
    ("tool", &["tool_name", "function"]),
    ("arguments", &["args", "tool_input", "tool_args", "tool_arguments"]),
    ("observation", &["tool_output", "tool_result", "result", "output"]),
    ("observation_error", &["is_error", "error"]),
    ("prompt", &[]),
    ("system", &["system_prompt", "instructions"]),
    ("question", &["query", "task", "problem"]),
    ("question_id", &["task_id", "problem_id", "example_id"]),
    ("gold", &["gold_answer", "ground_truth", "answers"]),
    ("answer", &["final_answer", "prediction"]),
    ("status", &[]),
    ("model", &["policy", "model_name"]),
    ("source", &["dataset", "data_source"]),
    ("split", &[]),
    ("sample_index", &["sample", "rollout"]),
    ("run_id", &["run"]),
    ("round", &[]),
    ("reward", &["outcome", "score", "return"]),
    ("step_reward", &[]),
    ("process", &["process_label", "step_label"]),
    ("latency_ms", &[]),
    ("cost", &[]),
    ("action_tokens", &[]),
    ("observation_tokens", &[]),
    ("finish_reason", &[]),
];

/// Columns of `steps` and `trajectories` that follow from others, and are made anew.
const DERIVED: [&str; 8] = [
    "is_final",
    "n_calls",
    "action_chars",
    "observation_chars",
    "state_chars",
    "state_is_prefix",
    "n_steps",
    "n_tool_calls",
];

/// Returns a column that an option names, if it is one.
///
/// # Errors
/// What there is instead.
pub fn step_column(given: &str) -> Result<(String, String), String> {
    let Some((ours, theirs)) = given.split_once('=') else {
        return Err(format!("'{given}': expected NAME=COLUMN, such as action=thought"));
    };
    let (ours, theirs) = (ours.trim(), theirs.trim());
    let known = STEP_COLUMNS.map(|(name, _)| name.to_owned());
    match known.iter().any(|name| name == ours) && !theirs.is_empty() {
        true => Ok((ours.to_owned(), theirs.to_owned())),
        false => Err(format!(
            "'{ours}' is no column of steps; {}",
            nearest(ours, &known, "there are", "")
        )),
    }
}

/// Reads the rows of a table of steps.
pub(super) struct Steps {
    names: Names,
}

impl Steps {
    /// Returns a reader that calls trajectories and columns as `names` says.
    pub(super) fn new(names: Names) -> Steps {
        Steps { names }
    }

    /// Gives columns the names that are known here: first those that the option tells.
    fn renamed(&self, fields: &mut Fields<'_>) {
        let told = &self.names.columns;
        for (ours, theirs) in told.iter().filter(|(ours, theirs)| ours != theirs) {
            let known = STEP_COLUMNS.iter().find(|(known, _)| known == ours);
            if let (Some((ours, _)), true) = (known, fields.has(theirs)) {
                // What else has the name is another column.
                let aside = fields.unused(ours);
                fields.rename_to(ours, aside);
                fields.rename(theirs, ours);
            }
        }
        for (ours, others) in STEP_COLUMNS {
            if told.iter().any(|(known, _)| known == ours) {
                continue;
            }
            // By another name it is taken for this only where its value is of the kind.
            let fits = |raw: &RawValue| !NUMBERS.contains(&ours) || number(raw).is_some();
            for other in others {
                if fields.peek(other).is_some_and(fits) {
                    fields.rename(other, ours);
                }
            }
        }
    }
}

/// Columns that hold numbers.
const NUMBERS: [&str; 10] = [
    "step",
    "sample_index",
    "round",
    "reward",
    "step_reward",
    "process",
    "latency_ms",
    "cost",
    "action_tokens",
    "observation_tokens",
];

/// Returns a number, a truth value as 1 or 0, or the number that a text is.
fn number(raw: &RawValue) -> Option<f64> {
    let written = || raw.get().trim_matches('"').trim().parse().ok();
    let number = scores::number(raw).map(|(number, _)| number).or_else(written);
    number.filter(|number: &f64| number.is_finite())
}

/// Takes a number.
fn real(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<f64>, Fault> {
    let Some(raw) = fields.raw(name) else { return Ok(None) };
    number(raw).map(Some).ok_or_else(|| wrong(name, raw, "a number"))
}

/// Takes a whole number; tables with missing values write them as `3.0`.
fn whole(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<i64>, Fault> {
    let Some(raw) = fields.raw(name) else { return Ok(None) };
    let whole = number(raw).filter(|n| n.fract() == 0.0 && n.abs() < 9e15).map(|n| n as i64);
    whole.map(Some).ok_or_else(|| wrong(name, raw, "a whole number"))
}

impl Parser for Steps {
    fn parse(&self, text: &str, place: Place) -> Result<Vec<Record>, Fault> {
        let mut fields = Fields::parse(text)?;
        self.renamed(&mut fields);
        let Some(id) = fields.identifier(&["trajectory_id"])? else {
            let message = "missing; expected the column that says which rows are one trajectory \
                           (--columns trajectory_id=NAME)";
            return Err(Fault::of("trajectory_id", message));
        };
        let number = whole(&mut fields, "step")?;
        let step = step(&mut fields)?;
        let (judges, labels) = labels(&mut fields)?;
        let said = fields.text_if(&["source"]);
        let split = fields.text_if(&["split"]);
        let mut trajectory = Trajectory {
            // Empty where the row does not say: another of its rows may.
            source: self.names.source.clone().or(said).unwrap_or_default(),
            id,
            split: self.names.split.clone().or(split),
            question_id: fields.identifier(&["question_id"])?,
            question: fields.text_if(&["question"]),
            gold: fields.answers_if(&["gold"]),
            model: fields.text_if(&["model"]),
            sample_index: whole(&mut fields, "sample_index")?,
            run_id: fields.scalar_if(&["run_id"]),
            round: whole(&mut fields, "round")?,
            status: fields.word_if("status", Status::parse),
            answer: fields.scalar_if(&["answer"]),
            steps: vec![step],
            ..Trajectory::default()
        };
        fields.retain(|name, raw| raw.get() != "null" && !DERIVED.contains(&name));
        trajectory.prompt = prompt(&mut fields, trajectory.question.as_deref())?;
        let rest = fields.into_rest()?;
        trajectory.meta = (!rest.is_empty()).then(|| Json::stored(rest.finish()));
        let draft = Draft { place, trajectory, labels, judges };
        Ok(vec![draft.row(number)])
    }
}

/// Takes what the policy did and what came back.
fn step(fields: &mut Fields<'_>) -> Result<Step, Fault> {
    let action = fields.text_if(&["action"]);
    let tool = fields.text_if(&["tool"]).filter(|tool| !tool.is_empty());
    let arguments = match tool {
        Some(_) => fields.raw("arguments").map(text_or_json).transpose()?,
        None => None,
    };
    let observation = fields.scalar_if(&["observation"]);
    let error = if observation.is_some() { error_of(fields) } else { None };
    let reasoning = fields.text_if(&["reasoning"]);
    if action.is_none() && tool.is_none() && reasoning.is_none() {
        let message = "missing, as is 'tool'; expected what the policy said or called";
        return Err(Fault::of("action", message));
    }
    let has_tool = tool.is_some();
    let call = tool.map(|name| ToolCall {
        id: None,
        name,
        arguments: arguments.unwrap_or_else(|| "{}".to_owned()),
    });
    let came_back = observation.map(|text| Message {
        error,
        ..Message::new(if has_tool { role::TOOL } else { role::USER }, text)
    });
    Ok(Step {
        action: Message {
            role: role::ASSISTANT.to_owned(),
            content: action,
            reasoning,
            tool_calls: call.into_iter().collect(),
            ..Message::default()
        },
        observation: came_back.into_iter().collect(),
        latency_ms: real(fields, "latency_ms")?,
        cost: real(fields, "cost")?,
        action_tokens: whole(fields, "action_tokens")?,
        observation_tokens: whole(fields, "observation_tokens")?,
        finish_reason: fields.text_if(&["finish_reason"]),
        ..Step::default()
    })
}

/// Takes whether what came back is an error. A text that is neither yes nor no says what is wrong:
/// it stays, to be kept with the columns that have no place.
fn error_of(fields: &mut Fields<'_>) -> Option<bool> {
    let text = fields.peek_scalar("observation_error")?;
    let known = match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "1.0" | "yes" => Some(true),
        "" | "false" | "0" | "0.0" | "no" | "none" => Some(false),
        _ => None,
    };
    if known.is_some() {
        fields.retain(|name, _| name != "observation_error");
    }
    known.or(Some(true))
}

/// Returns arguments as a policy writes them: the text of a string, or the JSON itself.
fn text_or_json(raw: &RawValue) -> Result<String, Fault> {
    match raw.get().starts_with('"') {
        true => serde_json::from_str(raw.get()).map_err(|e| Fault::of("arguments", e.to_string())),
        false => Ok(raw.get().to_owned()),
    }
}

/// Takes the messages before the first action; without any they are the question.
fn prompt(fields: &mut Fields<'_>, question: Option<&str>) -> Result<Vec<Message>, Fault> {
    let system = fields.text_if(&["system"]).map(|text| Message::new(role::SYSTEM, text));
    let told = fields.raw("prompt").map(|raw| chat::turns(raw, "prompt", role::USER));
    let messages: Vec<Message> = match told.transpose()? {
        Some(turns) => turns.into_iter().map(|turn| turn.message).collect(),
        None => question.map(|text| Message::new(role::USER, text)).into_iter().collect(),
    };
    Ok(system.into_iter().chain(messages).collect())
}

type Labelled = (Vec<crate::model::Judge>, Vec<Label>);

/// Takes the labels of a row: of the trajectory, and of its step.
fn labels(fields: &mut Fields<'_>) -> Result<Labelled, Fault> {
    let mut labels = Vec::new();
    for (column, target, name) in [
        ("reward", Target::Trajectory, LabelName::reward()),
        ("step_reward", Target::Step(1), LabelName::reward()),
        ("process", Target::Step(1), LabelName::process()),
    ] {
        if let Some(value) = real(fields, column)? {
            labels.push(Label { target, ..source_label(name, value, None) });
        }
    }
    let judges =
        if labels.is_empty() { Vec::new() } else { vec![judge(SOURCE, JudgeKind::Source)] };
    Ok((judges, labels))
}

/// Joins rows to trajectories.
pub(super) struct Joining {
    open: Option<Open>,
    /// Whether the row before could not be read: it may have been of the next trajectory.
    is_doubtful: bool,
    /// The source of trajectories none of whose rows names one.
    stem: String,
    /// The most bytes of a trajectory's texts.
    bytes_max: usize,
    /// The trajectories that have ended.
    ended: HashSet<[u8; 16]>,
}

/// A trajectory whose last row may not have come.
struct Open {
    imported: Imported,
    /// The number of its last step, where the table numbers them.
    last: Option<i64>,
    /// Columns without a place, a row an entry.
    rest: Vec<Option<Json>>,
    /// The bytes of its texts.
    bytes: usize,
    /// Why it is left out.
    broken: Option<String>,
}

impl Joining {
    /// Returns what joins rows; a trajectory has at most `bytes_max` bytes of texts.
    pub(super) fn new(stem: &str, bytes_max: usize) -> Joining {
        let (open, stem, ended) = (None, stem.to_owned(), HashSet::new());
        Joining { open, is_doubtful: false, stem, bytes_max, ended }
    }

    /// Returns what is whole when these rows have come.
    pub(super) fn join(
        &mut self,
        rows: Vec<Result<Record, BadRecord>>,
    ) -> Vec<Result<Record, BadRecord>> {
        let mut whole = Vec::new();
        for row in rows {
            match row {
                Ok(Record::Trajectory(row)) => whole.extend(self.take(*row)),
                Ok(other) => whole.push(Ok(other)),
                Err(bad) => {
                    if let Some(open) = &mut self.open {
                        let message =
                            format!("the row behind its last ({}) cannot be read", bad.place);
                        open.broken.get_or_insert(message);
                    }
                    whole.extend(self.end());
                    self.is_doubtful = true;
                    whole.push(Err(bad));
                }
            }
        }
        whole.par_iter_mut().for_each(hash);
        whole
    }

    /// Returns the last trajectory, when no more rows come.
    pub(super) fn last(&mut self) -> Option<Result<Record, BadRecord>> {
        let mut last = self.end()?;
        hash(&mut last);
        Some(last)
    }

    /// Returns the trajectory whose rows have ended, not hashed yet.
    fn end(&mut self) -> Option<Result<Record, BadRecord>> {
        let mut open = self.open.take()?;
        let own = &mut open.imported.trajectory;
        if own.source.is_empty() {
            own.source.clone_from(&self.stem);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(own.source.as_bytes()).update(b"\0").update(own.id.as_bytes());
        let mut name = [0; 16];
        name.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        if !self.ended.insert(name) {
            let message = "its rows do not follow each other, and only those before were taken: \
                           sort the table by trajectory_id and step, and import it under another \
                           --source";
            open.broken = Some(message.to_owned());
        }
        Some(open.close())
    }

    fn take(&mut self, mut row: Imported) -> Option<Result<Record, BadRecord>> {
        let meta = row.trajectory.meta.take();
        let bytes = text_bytes(&row.trajectory) + meta.as_ref().map_or(0, |m| m.as_str().len());
        if let Some(open) = &mut self.open
            && open.is_of(&row.trajectory)
        {
            open.bytes += bytes;
            if open.bytes > self.bytes_max {
                let message = format!("its texts are longer than {} bytes", self.bytes_max);
                open.broken.get_or_insert(message);
            }
            open.add(row, meta);
            return None;
        }
        let before = self.end();
        let broken = std::mem::take(&mut self.is_doubtful)
            .then(|| "the row before its first cannot be read".to_owned());
        self.open = Some(Open { last: row.row, imported: row, rest: vec![meta], bytes, broken });
        before
    }
}

/// Returns the bytes of what a row says and saw.
fn text_bytes(row: &Trajectory) -> usize {
    let of = |message: &Message| {
        let calls = message.tool_calls.iter().map(|call| call.arguments.len()).sum::<usize>();
        message.text().len() + message.reasoning.as_deref().map_or(0, str::len) + calls
    };
    row.transcript().map(of).sum()
}

impl Open {
    /// Whether a row is of this trajectory; one that names no source is told by its id.
    fn is_of(&self, row: &Trajectory) -> bool {
        let own = &self.imported.trajectory;
        let unsaid = own.source.is_empty() || row.source.is_empty();
        own.id == row.id && (unsaid || own.source == row.source)
    }

    fn add(&mut self, row: Imported, meta: Option<Json>) {
        if let (Some(last), Some(number)) = (self.last, row.row)
            && number <= last
        {
            let message = format!(
                "step {number} ({}) stands behind step {last}; expected the rows of a trajectory \
                 in the order of their steps",
                row.place
            );
            self.broken.get_or_insert(message);
        }
        self.last = row.row.or(self.last);
        let own = &mut self.imported.trajectory;
        if self.broken.is_some() {
            // It is left out, and nobody needs its texts.
            own.steps.clear();
            self.rest.clear();
            return;
        }
        self.rest.push(meta);
        let Trajectory { source, split, question_id, question, gold, model, .. } = row.trajectory;
        if own.source.is_empty() {
            own.source = source;
        }
        own.split = own.split.take().or(split);
        own.question_id = own.question_id.take().or(question_id);
        own.question = own.question.take().or(question);
        own.model = own.model.take().or(model);
        if own.gold.is_empty() {
            own.gold = gold;
        }
        let Trajectory { sample_index, run_id, round, prompt, .. } = row.trajectory;
        own.sample_index = own.sample_index.or(sample_index);
        own.run_id = own.run_id.take().or(run_id);
        own.round = own.round.or(round);
        if own.prompt.is_empty() {
            own.prompt = prompt;
        }
        own.steps.extend(row.trajectory.steps);
        own.answer = row.trajectory.answer.or(own.answer.take());
        own.status = row.trajectory.status.or(own.status);
        self.label(row.labels);
        if self.imported.judges.is_empty() {
            self.imported.judges = row.judges;
        }
    }

    /// Adds the labels of the last row.
    fn label(&mut self, labels: Vec<Label>) {
        let step = self.imported.trajectory.steps.len() as u32;
        let known = &mut self.imported.labels;
        for label in labels {
            match label.target {
                Target::Trajectory => {
                    known.retain(|l| l.target != Target::Trajectory || l.name != label.name);
                    known.push(label);
                }
                _ => known.push(Label { target: Target::Step(step), ..label }),
            }
        }
    }

    fn close(self) -> Result<Record, BadRecord> {
        let Open { mut imported, rest, broken, .. } = self;
        if let Some(message) = broken {
            let message = format!("trajectory '{}' is left out: {message}", imported.trajectory.id);
            let (place, field) = (imported.place, Some("step".to_owned()));
            return Err(BadRecord { place, field, message });
        }
        if rest.iter().any(Option::is_some) {
            let entries = rest.iter().map(|json| json.as_ref().map_or("null", Json::as_str));
            let mut meta = ObjectText::new();
            meta.json("step_fields", &format!("[{}]", entries.collect::<Vec<_>>().join(",")));
            imported.trajectory.meta = Some(Json::stored(meta.finish()));
        }
        imported.row = None;
        Ok(Record::Trajectory(Box::new(imported)))
    }
}

fn hash(record: &mut Result<Record, BadRecord>) {
    if let Ok(Record::Trajectory(imported)) = record {
        imported.content_hash = content_hash_of(&mut imported.trajectory);
    }
}
