//! Records: bincode behind a version byte, one structure a kind.
//!
//! They mirror the model but are not the model: what is on disk changes only by a new version.
//! Long texts stand apart as bodies, each stored once; a record refers to them by number.

use bincode::{Decode, Encode, config};

use super::CodecError;
use super::marks::{climb, encode_least, mark, mark_step, places, step_messages};
use crate::model::{
    ContextItem, Json, Judge, JudgeKind, Label, LabelName, Message, Status, Step, Target, ToolCall,
    Trajectory,
};

/// Texts of at most this many bytes stand in their record; longer ones are bodies.
pub const INLINE_BYTES_MAX: usize = 255;

/// A kind of record.
pub trait Record: Encode + Decode<()> + Sized {
    /// What the record is called in messages.
    const WHAT: &'static str;
    /// The version written, and the newest that can be read.
    const VERSION: u8 = 1;

    /// Returns the record's bytes.
    fn encode(&self) -> Vec<u8> {
        self.encode_current()
    }

    /// Returns the record's bytes in the version written now.
    fn encode_current(&self) -> Vec<u8> {
        let mut out = vec![Self::VERSION];
        // Encoding into a vector fails only for types that refuse to be encoded; none here does.
        if let Ok(body) = bincode::encode_to_vec(self, config::standard()) {
            out.extend_from_slice(&body);
        }
        out
    }

    /// Returns the record that `bytes` hold.
    ///
    /// # Errors
    /// [`CodecError::Newer`] for a later version, [`CodecError::Damaged`] for anything that
    /// `encode` does not write.
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        Self::decode_current(bytes)
    }

    /// Returns the record that `bytes` of the version written now hold.
    ///
    /// # Errors
    /// As [`Record::decode`].
    fn decode_current(bytes: &[u8]) -> Result<Self, CodecError> {
        let (&version, body) =
            bytes.split_first().ok_or_else(|| CodecError::damaged(Self::WHAT, "no bytes"))?;
        if version > Self::VERSION {
            let what = Self::WHAT;
            return Err(CodecError::Newer { what, found: version, known: Self::VERSION });
        }
        if version != Self::VERSION {
            return Err(CodecError::damaged(Self::WHAT, format!("version {version}")));
        }
        let limited = config::standard().with_limit::<{ 1 << 30 }>();
        let (record, read) = bincode::decode_from_slice(body, limited)
            .map_err(|e| CodecError::damaged(Self::WHAT, e.to_string()))?;
        if read != body.len() {
            let why = format!("{} bytes behind its end", body.len() - read);
            return Err(CodecError::damaged(Self::WHAT, why));
        }
        Ok(record)
    }
}

/// A text in its record, or the number of the body that holds it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Text {
    /// The text itself.
    Inline(String),
    /// The body's number.
    Body(u64),
}

/// Gives long texts their body numbers, in the order of [`body_texts`].
pub struct BodyPlacer<'a> {
    numbers: std::slice::Iter<'a, u64>,
}

impl<'a> BodyPlacer<'a> {
    /// Returns a placer that hands out `numbers` one after another.
    pub fn new(numbers: &'a [u64]) -> BodyPlacer<'a> {
        BodyPlacer { numbers: numbers.iter() }
    }

    fn place(&mut self, text: &str) -> Text {
        if text.len() <= INLINE_BYTES_MAX {
            return Text::Inline(text.to_owned());
        }
        // A list too short would be a mistake of the caller; the text then stays in the record.
        self.numbers.next().map_or_else(|| Text::Inline(text.to_owned()), |n| Text::Body(*n))
    }
}

/// Returns the long texts of a trajectory in the order its records refer to them: tools offered,
/// prompt, then observations step by step. Actions stand in their records: they rarely repeat.
pub fn body_texts(trajectory: &Trajectory) -> Vec<&str> {
    let tools = trajectory.tools.iter().map(Json::as_str);
    let observed = trajectory.steps.iter().flat_map(|s| s.observation.iter());
    let messages = trajectory.prompt.iter().chain(observed);
    let texts = messages.filter_map(|m| m.content.as_deref());
    tools.chain(texts).filter(|t| t.len() > INLINE_BYTES_MAX).collect()
}

/// A message, its long content apart.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct MessageRecord {
    role: String,
    content: Option<Text>,
    parts: Option<String>,
    reasoning: Option<String>,
    tool_calls: Vec<(Option<String>, String, String)>,
    tool_call_id: Option<String>,
    name: Option<String>,
    error: Option<bool>,
}

impl MessageRecord {
    fn new(message: &Message, content: Option<Text>) -> MessageRecord {
        let call = |c: &ToolCall| (c.id.clone(), c.name.clone(), c.arguments.clone());
        MessageRecord {
            role: message.role.clone(),
            content,
            parts: message.parts.as_ref().map(|p| p.as_str().to_owned()),
            reasoning: message.reasoning.clone(),
            tool_calls: message.tool_calls.iter().map(call).collect(),
            tool_call_id: message.tool_call_id.clone(),
            name: message.name.clone(),
            error: message.error,
        }
    }

    fn placed(message: &Message, placer: &mut BodyPlacer<'_>) -> MessageRecord {
        let content = message.content.as_deref().map(|text| placer.place(text));
        MessageRecord::new(message, content)
    }

    fn inline(message: &Message) -> MessageRecord {
        MessageRecord::new(message, message.content.clone().map(Text::Inline))
    }

    /// Returns the body that holds the content, if one does.
    pub fn body(&self) -> Option<u64> {
        match self.content {
            Some(Text::Body(number)) => Some(number),
            _ => None,
        }
    }

    fn into_message(self, bodies: &dyn Fn(u64) -> Option<String>) -> Result<Message, CodecError> {
        let call = |(id, name, arguments)| ToolCall { id, name, arguments };
        Ok(Message {
            role: self.role,
            content: self.content.map(|t| read_text(t, bodies)).transpose()?,
            parts: self.parts.map(Json::stored),
            reasoning: self.reasoning,
            tool_calls: self.tool_calls.into_iter().map(call).collect(),
            tool_call_id: self.tool_call_id,
            name: self.name,
            error: self.error,
            calls_in_content: false,
        })
    }
}

fn read_text(text: Text, bodies: &dyn Fn(u64) -> Option<String>) -> Result<String, CodecError> {
    match text {
        Text::Inline(text) => Ok(text),
        Text::Body(number) => bodies(number)
            .ok_or_else(|| CodecError::damaged("record", format!("body {number} is missing"))),
    }
}

/// Everything of a trajectory but its steps.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct HeaderRecord {
    /// The collection it came from.
    pub source: String,
    /// The identifier within its source.
    pub id: String,
    /// The number of steps.
    pub n_steps: u32,
    /// The row of the first step.
    pub first_row: u64,
    /// Its split.
    pub split: Option<String>,
    /// The question's identifier.
    pub question_id: Option<String>,
    /// The question's text.
    pub question: Option<String>,
    /// Answers accepted as right.
    pub gold: Vec<String>,
    tools: Option<Text>,
    model: Option<String>,
    sampler: Option<String>,
    sample_index: Option<i64>,
    run_id: Option<String>,
    round: Option<i64>,
    /// How it ended, in the word for it.
    pub status: Option<String>,
    /// The final answer.
    pub answer: Option<String>,
    created_at: Option<i64>,
    /// Whatever else the source says.
    pub meta: Option<String>,
    prompt: Vec<MessageRecord>,
    /// Which messages of the prompt have their calls in their content.
    calls_in_content: Vec<u32>,
}

impl Record for HeaderRecord {
    const WHAT: &'static str = "trajectory record";
    const VERSION: u8 = 2;

    fn encode(&self) -> Vec<u8> {
        encode_least(self, &self.calls_in_content)
    }

    fn decode(bytes: &[u8]) -> Result<HeaderRecord, CodecError> {
        Self::decode_current(&climb::<Self>(bytes))
    }
}

impl HeaderRecord {
    /// Returns the header of `trajectory`, whose steps begin at row `first_row`.
    pub fn new(
        trajectory: &Trajectory,
        first_row: u64,
        placer: &mut BodyPlacer<'_>,
    ) -> HeaderRecord {
        let t = trajectory;
        let tools = t.tools.as_ref().map(|j| placer.place(j.as_str()));
        HeaderRecord {
            source: t.source.clone(),
            id: t.id.clone(),
            n_steps: t.steps.len() as u32,
            first_row,
            split: t.split.clone(),
            question_id: t.question_id.clone(),
            question: t.question.clone(),
            gold: t.gold.clone(),
            tools,
            model: t.model.clone(),
            sampler: t.sampler.as_ref().map(|j| j.as_str().to_owned()),
            sample_index: t.sample_index,
            run_id: t.run_id.clone(),
            round: t.round,
            status: t.status.map(|s| s.as_str().to_owned()),
            answer: t.answer.clone(),
            created_at: t.created_at,
            meta: t.meta.as_ref().map(|j| j.as_str().to_owned()),
            prompt: t.prompt.iter().map(|m| MessageRecord::placed(m, placer)).collect(),
            calls_in_content: places(t.prompt.iter()),
        }
    }

    /// Returns the numbers of the bodies that the header refers to.
    pub fn bodies(&self) -> impl Iterator<Item = u64> + '_ {
        let tools = match self.tools {
            Some(Text::Body(number)) => Some(number),
            _ => None,
        };
        tools.into_iter().chain(self.prompt.iter().filter_map(MessageRecord::body))
    }

    /// Returns the trajectory without steps.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when a body is missing or the status is no status.
    pub fn into_trajectory(
        self,
        bodies: &dyn Fn(u64) -> Option<String>,
    ) -> Result<Trajectory, CodecError> {
        let status = match self.status.as_deref() {
            None => None,
            Some(word) => Some(
                Status::parse(word)
                    .ok_or_else(|| CodecError::damaged(Self::WHAT, format!("status '{word}'")))?,
            ),
        };
        let prompt: Result<Vec<Message>, CodecError> =
            self.prompt.into_iter().map(|m| m.into_message(bodies)).collect();
        let mut prompt = prompt?;
        mark(prompt.iter_mut(), &self.calls_in_content);
        Ok(Trajectory {
            source: self.source,
            id: self.id,
            split: self.split,
            question_id: self.question_id,
            question: self.question,
            gold: self.gold,
            tools: self.tools.map(|t| read_text(t, bodies)).transpose()?.map(Json::stored),
            model: self.model,
            sampler: self.sampler.map(Json::stored),
            sample_index: self.sample_index,
            run_id: self.run_id,
            round: self.round,
            status,
            answer: self.answer,
            created_at: self.created_at,
            meta: self.meta.map(Json::stored),
            prompt,
            steps: Vec::new(),
        })
    }
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
enum ContextRecord {
    Kept(u32, u32),
    Replaced(MessageRecord),
}

/// One step: the action in it, long observations apart.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct StepRecord {
    action: MessageRecord,
    observation: Vec<MessageRecord>,
    finish_reason: Option<String>,
    action_tokens: Option<i64>,
    observation_tokens: Option<i64>,
    latency_ms: Option<f64>,
    cost: Option<f64>,
    token_ids: Option<Vec<u32>>,
    logprobs: Option<Vec<f32>>,
    context: Option<Vec<ContextRecord>>,
    /// Which messages have their calls in their content: of the action, the observation and those
    /// that replace others in the state, counted through.
    calls_in_content: Vec<u32>,
}

impl Record for StepRecord {
    const WHAT: &'static str = "step record";
    const VERSION: u8 = 2;

    fn encode(&self) -> Vec<u8> {
        encode_least(self, &self.calls_in_content)
    }

    fn decode(bytes: &[u8]) -> Result<StepRecord, CodecError> {
        Self::decode_current(&climb::<Self>(bytes))
    }
}

impl StepRecord {
    /// Returns the record of `step`.
    pub fn new(step: &Step, placer: &mut BodyPlacer<'_>) -> StepRecord {
        let context = |item: &ContextItem| match item {
            ContextItem::Kept { from, to } => ContextRecord::Kept(*from, *to),
            ContextItem::Replaced(m) => ContextRecord::Replaced(MessageRecord::inline(m)),
        };
        StepRecord {
            action: MessageRecord::inline(&step.action),
            observation: step
                .observation
                .iter()
                .map(|m| MessageRecord::placed(m, placer))
                .collect(),
            finish_reason: step.finish_reason.clone(),
            action_tokens: step.action_tokens,
            observation_tokens: step.observation_tokens,
            latency_ms: step.latency_ms,
            cost: step.cost,
            token_ids: step.token_ids.clone(),
            logprobs: step.logprobs.clone(),
            context: step.context.as_ref().map(|items| items.iter().map(context).collect()),
            calls_in_content: places(step_messages(step)),
        }
    }

    /// Returns the numbers of the bodies that the step refers to.
    pub fn bodies(&self) -> impl Iterator<Item = u64> + '_ {
        self.observation.iter().filter_map(MessageRecord::body)
    }

    /// Returns the step.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when a body is missing.
    pub fn into_step(self, bodies: &dyn Fn(u64) -> Option<String>) -> Result<Step, CodecError> {
        let context = |item: ContextRecord| match item {
            ContextRecord::Kept(from, to) => Ok(ContextItem::Kept { from, to }),
            ContextRecord::Replaced(m) => m.into_message(bodies).map(ContextItem::Replaced),
        };
        let context: Option<Result<Vec<ContextItem>, CodecError>> =
            self.context.map(|items| items.into_iter().map(context).collect());
        let observation: Result<Vec<Message>, CodecError> =
            self.observation.into_iter().map(|m| m.into_message(bodies)).collect();
        let mut step = Step {
            action: self.action.into_message(bodies)?,
            observation: observation?,
            finish_reason: self.finish_reason,
            action_tokens: self.action_tokens,
            observation_tokens: self.observation_tokens,
            latency_ms: self.latency_ms,
            cost: self.cost,
            token_ids: self.token_ids,
            logprobs: self.logprobs,
            context: context.transpose()?,
        };
        mark_step(&mut step, &self.calls_in_content);
        Ok(step)
    }
}

/// What an external id leads to.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct IdRecord {
    /// The trajectory's ordinal.
    pub ordinal: u64,
    /// BLAKE3 of the trajectory's canonical content.
    pub content_hash: [u8; 32],
}

impl Record for IdRecord {
    const WHAT: &'static str = "id record";
}

/// One label; its target, name, judge and sequence are in its key.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct LabelRecord {
    /// The value.
    pub value: f64,
    /// The source's own value.
    pub raw: Option<String>,
    /// The verdict in the judge's word.
    pub verdict: Option<String>,
    /// Why.
    pub rationale: Option<String>,
    /// The run that made it.
    pub run_id: Option<String>,
}

impl Record for LabelRecord {
    const WHAT: &'static str = "label record";
}

impl LabelRecord {
    /// Returns the record of `label`.
    pub fn new(label: &Label) -> LabelRecord {
        LabelRecord {
            value: label.value,
            raw: label.raw.clone(),
            verdict: label.verdict.clone(),
            rationale: label.rationale.clone(),
            run_id: label.run_id.clone(),
        }
    }

    /// Returns the label that key and record make.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when the key's name is no label name.
    pub fn into_label(self, step: u32, name: &str, judge: &str) -> Result<Label, CodecError> {
        let name = LabelName::new(name).map_err(|e| CodecError::damaged(Self::WHAT, e))?;
        Ok(Label {
            target: if step == 0 { Target::Trajectory } else { Target::Step(step) },
            name,
            judge: judge.to_owned(),
            value: self.value,
            raw: self.raw,
            verdict: self.verdict,
            rationale: self.rationale,
            run_id: self.run_id,
        })
    }
}

/// A judge.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct JudgeRecord {
    name: String,
    kind: String,
    definition: Option<String>,
    sees_gold: Option<bool>,
}

impl JudgeRecord {
    /// Returns the record of `judge`.
    pub fn new(judge: &Judge) -> JudgeRecord {
        JudgeRecord {
            name: judge.name.clone(),
            kind: judge.kind.as_str().to_owned(),
            definition: judge.definition.as_ref().map(|j| j.as_str().to_owned()),
            sees_gold: judge.sees_gold,
        }
    }

    /// Returns the name that labels carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the judge.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when its kind is none.
    pub fn judge(&self) -> Result<Judge, CodecError> {
        let kinds = [JudgeKind::Human, JudgeKind::Model, JudgeKind::Program, JudgeKind::Source];
        let kind = kinds
            .into_iter()
            .find(|k| k.as_str() == self.kind)
            .ok_or_else(|| CodecError::damaged("judge record", format!("kind '{}'", self.kind)))?;
        Ok(Judge {
            name: self.name.clone(),
            kind,
            definition: self.definition.clone().map(Json::stored),
            sees_gold: self.sees_gold,
        })
    }
}

/// A value of a label column: table row, position in [`Catalogue::labels`], value.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
pub struct LabelCell {
    /// The label column.
    pub label: u16,
    /// The row of its table.
    pub row: u64,
    /// The value.
    pub value: f64,
}

/// Everything one commit added that is not yet in columns.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Delta {
    /// The first row of each table that the batches hold: trajectories, steps.
    pub first_rows: [u64; 2],
    /// Arrow IPC streams of the rows added to each table; empty where none was.
    pub batches: [Vec<u8>; 2],
    /// Labels given to rows.
    pub cells: Vec<LabelCell>,
}

impl Record for Delta {
    const WHAT: &'static str = "delta record";
}

/// A trajectory that was deleted, and the rows that its steps have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeletedTrajectory {
    /// Its ordinal.
    pub ordinal: u64,
    /// The row of its first step.
    pub first_row: u64,
    /// Its steps.
    pub n_steps: u32,
}

/// What one deletion took away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct TombstoneRecord {
    /// The trajectories, in the order of their ordinals.
    pub trajectories: Vec<DeletedTrajectory>,
    /// Whether their records are gone and their columns are blank.
    pub swept: bool,
}

impl Record for TombstoneRecord {
    const WHAT: &'static str = "tombstone";
}

/// A chunk of a column, as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ChunkEntry {
    /// The version that is live.
    pub version: u64,
    /// What is known of its values.
    pub stats: super::ChunkStats,
}

/// A column's chunks.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct ColumnEntry {
    /// Its chunks in order; `None`: all null.
    pub chunks: Vec<Option<ChunkEntry>>,
}

/// A label that is a column: the newest value of each row by one judge.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LabelColumn {
    /// The label's name.
    pub name: String,
    /// Who gave it.
    pub judge: String,
    /// Whether it stands on steps (else on trajectories).
    pub on_steps: bool,
}

/// The live chunks: written with every fold.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Manifest {
    /// Rows in columns, by table: trajectories, steps. Later rows are in deltas.
    pub folded_rows: [u64; 2],
    /// The stored columns by table, in the order of [`super::stored_columns`].
    pub columns: [Vec<ColumnEntry>; 2],
    /// The label columns, in the order of [`Catalogue::labels`]; missing ones have no chunk yet.
    pub label_columns: Vec<ColumnEntry>,
}

impl Record for Manifest {
    const WHAT: &'static str = "manifest";
}

/// Names: written with every commit that brings a new one.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Catalogue {
    /// The label columns.
    pub labels: Vec<LabelColumn>,
    /// Every source that trajectories came from, in order of arrival.
    pub sources: Vec<String>,
    /// Every judge.
    pub judges: Vec<JudgeRecord>,
    /// The judge a bare label name means, where one was chosen: (label, judge).
    pub default_judges: Vec<(String, String)>,
}

impl Record for Catalogue {
    const WHAT: &'static str = "catalogue";
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RunStatus {
    /// It is at work, or was killed.
    Running,
    /// It ended as planned.
    Finished,
    /// It was stopped and can go on.
    Stopped,
    /// It failed.
    Failed,
}

impl RunStatus {
    /// Returns the word used in columns.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Running => "running",
            RunStatus::Finished => "finished",
            RunStatus::Stopped => "stopped",
            RunStatus::Failed => "failed",
        }
    }
}

/// One import, generation, evaluation, judging or training run.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct RunRecord {
    /// The name, unique in the database.
    pub id: String,
    /// `import`, `generate`, `evaluate`, `judge`, `train` or `study`.
    pub kind: String,
    /// How far it came.
    pub status: RunStatus,
    /// The statement or command that started it.
    pub statement: String,
    /// Its options and everything it pins, as a JSON object.
    pub config: String,
    /// Its seed.
    pub seed: Option<u64>,
    /// The dataset it used.
    pub dataset: Option<String>,
    /// What it made, as a path or a count, as JSON.
    pub output: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it began, in microseconds since 1970-01-01T00:00:00Z.
    pub started_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
}

impl Record for RunRecord {
    const WHAT: &'static str = "run record";
}

/// A number that a run measured; run, step and name are in its key.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct MetricRecord {
    /// The number.
    pub value: f64,
}

impl Record for MetricRecord {
    const WHAT: &'static str = "metric record";
}

/// An action proposed at a stored state and not executed; which one is in its key.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct SampleRecord {
    /// What the policy wrote.
    pub text: String,
    /// The tool that it would call first.
    pub tool: Option<String>,
    /// Why it ended: `stop`, `length`, `context`.
    pub finish_reason: String,
    /// Why it is no action, if it is none.
    pub malformed: Option<String>,
    /// Its tokens in the policy's vocabulary.
    pub token_ids: Vec<u32>,
    /// The log-probability of each token under the policy.
    pub log_probs: Vec<f32>,
    /// What the judge of its training said, from 0 to 1.
    pub verdict: Option<f64>,
    /// What it was worth to training: the verdict less the price of its divergence.
    pub reward: Option<f64>,
    /// What training made of it.
    pub advantage: Option<f64>,
    /// The optimiser step that it was drawn in, from 1; 0 outside of training.
    pub training_step: u64,
    /// Where its random numbers came from.
    pub seed: u64,
}

impl Record for SampleRecord {
    const WHAT: &'static str = "sample record";
}

/// What a training run made of an action in one epoch; which one is in its key.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ExampleRecord {
    /// Its reward or label as it was handed in; of a pair 1 (chosen) and 0.
    pub weight: f64,
    /// What the loss made of it: reward less baseline, or advantage; of a pair 1 and -1.
    pub advantage: f64,
    /// Its tokens, the end of turn included.
    pub tokens: u32,
    /// The optimiser step that it was part of, from 1.
    pub training_step: u64,
    /// The log-probability of the whole action when the epoch came to it, before the update.
    pub log_prob_start: Option<f64>,
    /// The same at the end of the epoch, where the run took it.
    pub log_prob_end: Option<f64>,
    /// The same under the policy at the start of the run, where its objective looks at it.
    pub log_prob_reference: Option<f64>,
}

impl Record for ExampleRecord {
    const WHAT: &'static str = "example record";
    const VERSION: u8 = 2;

    fn decode(bytes: &[u8]) -> Result<ExampleRecord, CodecError> {
        match bytes.first() {
            Some(&FirstExample::VERSION) => {
                FirstExample::decode_current(bytes).map(FirstExample::climb)
            }
            _ => Self::decode_current(bytes),
        }
    }
}

/// The first version of [`ExampleRecord`].
#[derive(Encode, Decode)]
struct FirstExample {
    weight: f64,
    advantage: f64,
    tokens: u32,
    training_step: u64,
    log_prob_start: Option<f64>,
    log_prob_end: Option<f64>,
}

impl Record for FirstExample {
    const WHAT: &'static str = ExampleRecord::WHAT;
}

impl FirstExample {
    fn climb(self) -> ExampleRecord {
        ExampleRecord {
            weight: self.weight,
            advantage: self.advantage,
            tokens: self.tokens,
            training_step: self.training_step,
            log_prob_start: self.log_prob_start,
            log_prob_end: self.log_prob_end,
            log_prob_reference: None,
        }
    }
}
