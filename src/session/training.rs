//! TRAIN: a selection becomes a dataset, the dataset examples, the examples a run.
//!
//! ```text
//!   FROM ... |> TRAIN WITH (model = 'm', objective = 'sft') AS first
//!
//!   1  options     ours (model, reward, eval_dataset, resume) and the trainer's
//!   2  select      the rows are frozen as dataset 'first', rewards included
//!   3  examples    the dataset's trajectories with their chosen steps, in ordinal order
//!   4  run         record 'first' is stored; events become metrics; checkpoints go to
//!                  DB/runs/first/checkpoint-N
//! ```
//! Going on after a kill starts at 3: the run record and the dataset say everything.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::describe::{token_listing, train_plan};
use super::error::SessionError;
use super::select::select;
use super::statement::{Session, Sink, draft, mistake};
use crate::codec::{DatasetRow, ExampleRecord, RunRecord, RunStatus};
use crate::db::NewRow;
use crate::diag::{Diagnostic, did_you_mean, list_some};
use crate::lm::{self, LoadedModel};
use crate::model::Trajectory;
use crate::query::Scope;
use crate::query::parameters::with_values;
use crate::query::syntax::{Literal, QueryStatement, Statement, WithOption};
use crate::store::View;
use crate::train::{
    ChosenStep, ConfigError, Event, Example, ExampleReport, Moment, Objective, OptionValue,
    Prepared, Run, TrainConfig, TrainPlan, prepare, train as run_training,
};

/// Trajectories fetched together.
const FETCHED: usize = 256;

/// Options of TRAIN beside the trainer's.
const OWN_OPTIONS: [&str; 4] = ["model", "reward", "eval_dataset", "resume"];

/// Returns the names of all options of TRAIN.
pub(super) fn option_names() -> Vec<String> {
    let own = OWN_OPTIONS.iter().map(|name| (*name).to_owned());
    own.chain(TrainConfig::option_names()).collect()
}

/// What a training run did.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSummary {
    /// The run.
    pub run: String,
    /// The dataset it was trained on.
    pub dataset: String,
    /// Whether all steps were made; else it can be resumed.
    pub complete: bool,
    /// What it did.
    pub plan: TrainPlan,
    /// Optimiser steps made.
    pub steps: u64,
    /// The mean negative log-probability of action tokens at each step made now.
    pub losses: Vec<f64>,
    /// Held-out sets: name, loss before, loss after.
    pub evaluations: Vec<(String, f64, f64)>,
    /// Rows left out because their reward is null.
    pub without_reward: u64,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
}

/// What a run needs to be made again: stored with it as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RunConfig {
    model: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reward: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    eval_dataset: Vec<String>,
    options: TrainConfig,
    /// What the run depends on beside these: hashes, versions, threads.
    #[serde(default)]
    pinned: serde_json::Value,
}

/// The options of a statement, sorted out.
struct Request {
    config: RunConfig,
    resume: bool,
}

/// Trains on the rows of a query.
pub(super) fn train(
    session: &Session,
    scope: &Scope<'_>,
    statement: &Statement,
    query: &QueryStatement,
    options: &[WithOption],
    name: Option<&str>,
    sink: &mut dyn Sink,
) -> Result<TrainSummary, SessionError> {
    let request = request(options, scope.text)?;
    let store = session.database().store();
    if request.resume {
        let Some(name) = name else {
            let advice = "resume goes on with a run of that name: TRAIN WITH (...) AS name";
            return Err(SessionError::mistake("train", advice));
        };
        return resume(session, name, sink);
    }
    let run = match name {
        Some(name) if store.run(name)?.is_some() => {
            let message = format!("run '{name}' is there already");
            let diagnostic = Diagnostic::new("train", message)
                .help("choose another name, or go on with it: resume = true");
            return Err(mistake(diagnostic, scope.text));
        }
        Some(name) => name.to_owned(),
        None => free_name(session)?,
    };
    let mut config = request.config;
    let model = load(&config)?;
    let selection = select(session, scope, query, config.reward.as_deref())?;
    let text = with_values(&statement.text, scope.parameters);
    let draft = draft(&run, &text, query, &selection, false);
    // Everything that can be refused is refused before anything is stored.
    let examples = examples(scope.view, &selection.rows)?;
    let held_out = held_out(session, scope.view, &config, &examples)?;
    let ready = ready(&model, &config, &examples, &held_out)?;
    config.pinned = pinned(&model);
    session.database().save_dataset(scope.view, draft, &selection.rows)?;
    let record = RunRecord {
        id: run.clone(),
        kind: "train".to_owned(),
        status: RunStatus::Running,
        statement: statement.text.clone(),
        config: text_of(&config)?,
        seed: Some(config.options.seed),
        dataset: Some(run),
        output: None,
        error: None,
        started_at: super::now_micros(),
        ended_at: None,
    };
    store.put_run(&record)?;
    let mut summary = carry_out(session, &config, &model, &ready, record, false, sink)?;
    summary.without_reward = selection.without_reward;
    Ok(summary)
}

/// Goes on with a run from its newest checkpoint, or from its start if it has none.
pub(super) fn resume(
    session: &Session,
    run: &str,
    sink: &mut dyn Sink,
) -> Result<TrainSummary, SessionError> {
    let store = session.database().store();
    let Some(record) = store.run(run)?.filter(|r| r.kind == "train") else {
        let runs = store.runs()?;
        let names = || runs.iter().filter(|r| r.kind == "train").map(|r| r.id.as_str());
        let mut diagnostic = Diagnostic::new("unknown-run", format!("no training run '{run}'"));
        diagnostic = match did_you_mean(run, names()) {
            Some(near) => diagnostic.help(format!("did you mean '{near}'?")),
            None => diagnostic.help(format!("runs: {}", list_some(names()))),
        };
        return Err(mistake(diagnostic, ""));
    };
    let config: RunConfig = serde_json::from_str(&record.config).map_err(|e| {
        SessionError::mistake("run", format!("the options of run '{run}' cannot be read: {e}"))
    })?;
    let dataset = record.dataset.clone().unwrap_or_default();
    let rows: Vec<NewRow> = store.dataset_rows(&dataset)?.iter().map(saved).collect();
    let view = session.database().view();
    let model = load(&config)?;
    let examples = examples(&view, &rows)?;
    let held_out = held_out(session, &view, &config, &examples)?;
    let ready = ready(&model, &config, &examples, &held_out)?;
    carry_out(session, &config, &model, &ready, record, true, sink)
}

/// Says what TRAIN would do, and shows one row token by token.
pub(super) fn explain(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    options: &[WithOption],
) -> Result<String, SessionError> {
    let config = request(options, scope.text)?.config;
    let model = load(&config)?;
    let selection = select(session, scope, query, config.reward.as_deref())?;
    let examples = examples(scope.view, &selection.rows)?;
    let held_out = held_out(session, scope.view, &config, &examples)?;
    let ready = ready(&model, &config, &examples, &held_out)?;
    let mut text = train_plan(&ready.plan, selection.without_reward);
    let first = ready.sequences.first().and_then(|s| s.actions.first());
    if let (Some(span), Some(tokenizer)) = (first, &model.tokenizer) {
        let lines = ready.listing(tokenizer, span.row.key, span.row.step).unwrap_or_default();
        text.push_str(&token_listing(&span.row.to_string(), &lines));
    }
    Ok(text)
}

/// Sorts out the options of a statement.
fn request(options: &[WithOption], text: &str) -> Result<Request, SessionError> {
    let at = |name: &str| options.iter().find(|o| o.name.text == name);
    let fail = |message: String, option: Option<&WithOption>| {
        let mut diagnostic = Diagnostic::new("train-option", message);
        if let Some(option) = option {
            diagnostic = diagnostic.at(option.name.span.to(option.span));
        }
        mistake(diagnostic, text)
    };
    let own_text = |name: &str| match at(name) {
        None => Ok(None),
        Some(WithOption { value: Literal::Text(value), .. }) => Ok(Some(value.clone())),
        other => Err(fail(format!("option '{name}' takes a text in single quotes"), other)),
    };
    let resume = match at("resume") {
        None => false,
        Some(WithOption { value: Literal::Bool(resume), .. }) => *resume,
        other => return Err(fail("option 'resume' takes true or false".to_owned(), other)),
    };
    let model = own_text("model")?;
    let reward = own_text("reward")?;
    let eval_dataset = own_text("eval_dataset")?;
    let others: Vec<(String, OptionValue)> = options
        .iter()
        .filter(|o| !OWN_OPTIONS.contains(&o.name.text.as_str()))
        .map(|o| (o.name.text.clone(), option_value(&o.value)))
        .collect();
    let options_of_trainer = TrainConfig::from_options(&others).map_err(|error| match &error {
        ConfigError::UnknownOption { name, .. } => {
            let own = did_you_mean(name, OWN_OPTIONS);
            let message = match own {
                Some(own) => format!("unknown option '{name}', did you mean '{own}'?"),
                None => error.to_string(),
            };
            fail(message, at(name))
        }
        ConfigError::Twice { name } | ConfigError::Value { name, .. } => {
            fail(error.to_string(), at(name))
        }
        ConfigError::Combination(_) => fail(error.to_string(), None),
    })?;
    if options_of_trainer.objective == Objective::Dpo {
        let message = "'dpo' takes pairs of actions, which a selection of steps does not have; \
                       'kto' takes steps, reward = 'process' saying which are good";
        return Err(fail(message.to_owned(), at("objective")));
    }
    let uses_reward = options_of_trainer.objective != Objective::Sft;
    if uses_reward && reward.is_none() && !resume {
        let message = "this objective needs reward = '<SQL expression>', such as \
                       reward = 'process - 0.5'";
        return Err(fail(message.to_owned(), at("objective")));
    }
    if !uses_reward && reward.is_some() {
        let message = "option 'reward' has no effect on objective 'sft': drop it, or set objective";
        return Err(fail(message.to_owned(), at("reward")));
    }
    let model = match model {
        Some(model) => PathBuf::from(model),
        None if resume => PathBuf::new(),
        None => {
            let message = "TRAIN needs model = '<a .gguf file or a model's directory>'";
            return Err(fail(message.to_owned(), None));
        }
    };
    let names = eval_dataset.iter().flat_map(|names| names.split(','));
    let eval_dataset = names.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
    let pinned = serde_json::Value::Null;
    let config = RunConfig { model, reward, eval_dataset, options: options_of_trainer, pinned };
    Ok(Request { config, resume })
}

fn option_value(literal: &Literal) -> OptionValue {
    match literal {
        Literal::Number(number) => OptionValue::Number(*number),
        Literal::Text(text) => OptionValue::Text(text.clone()),
        Literal::Bool(bool) => OptionValue::Bool(*bool),
    }
}

fn load(config: &RunConfig) -> Result<LoadedModel, SessionError> {
    let options = &config.options;
    let device = candle_device();
    let model = lm::load(&config.model, &options.training(), options.seed, &device)?;
    if model.tokenizer.is_none() {
        let path = config.model.display();
        let message = format!("{path} has no tokenizer: put its tokenizer.json beside the weights");
        return Err(SessionError::mistake("model", message));
    }
    Ok(model)
}

fn candle_device() -> lm::Device {
    lm::Device::Cpu
}

/// Returns a saved row as a selected one.
fn saved(row: &DatasetRow) -> NewRow {
    NewRow { trajectory: row.trajectory, step: Some(row.step), reward: row.reward }
}

/// Returns the examples of rows, in the order of ordinals: a trajectory with its chosen steps each.
fn examples(view: &View, rows: &[NewRow]) -> Result<Vec<Example>, SessionError> {
    let mut chosen: BTreeMap<u64, Vec<&NewRow>> = BTreeMap::new();
    for row in rows {
        chosen.entry(row.trajectory).or_default().push(row);
    }
    let ordinals: Vec<u64> = chosen.keys().copied().collect();
    let mut examples = Vec::with_capacity(ordinals.len());
    for part in ordinals.chunks(FETCHED) {
        for (key, trajectory) in part.iter().zip(view.trajectories(part)?) {
            let all = 1..=trajectory.steps.len() as u32;
            let of_row = |row: &&NewRow| {
                let weight = row.reward.unwrap_or(1.0);
                let steps = row.step.map_or(all.clone(), |step| step..=step);
                steps.map(move |step| ChosenStep::new(step, weight)).collect::<Vec<_>>()
            };
            let rows = chosen.get(key).into_iter().flatten();
            let mut steps: Vec<ChosenStep> = rows.flat_map(of_row).collect();
            steps.sort_by_key(|chosen| chosen.step);
            examples.push(Example { key: *key, trajectory: Arc::new(trajectory), steps });
        }
    }
    Ok(examples)
}

/// Returns the held-out sets, none of whose questions is trained on.
fn held_out(
    session: &Session,
    view: &View,
    config: &RunConfig,
    trained: &[Example],
) -> Result<Vec<(String, Vec<Example>)>, SessionError> {
    let store = session.database().store();
    let questions: HashSet<String> =
        trained.iter().filter_map(|e| question(&e.trajectory)).collect();
    let mut sets = Vec::new();
    for name in &config.eval_dataset {
        if store.dataset(name)?.is_none() {
            let datasets = store.datasets()?;
            let names = || datasets.iter().map(|d| d.name.as_str());
            let help = match did_you_mean(name, names()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("datasets: {}", list_some(names())),
            };
            let message = format!("eval_dataset: unknown dataset '{name}'");
            return Err(mistake(Diagnostic::new("unknown-dataset", message).help(help), ""));
        }
        let rows = store.dataset_rows(name)?;
        let rows: Vec<NewRow> = rows.iter().map(saved).collect();
        let examples = examples(view, &rows)?;
        let shared = examples.iter().filter_map(|e| question(&e.trajectory));
        let shared: HashSet<String> = shared.filter(|q| questions.contains(q)).collect();
        if let Some(first) = shared.iter().min() {
            let message = format!(
                "{} questions of eval_dataset '{name}' are trained on, such as '{first}'",
                shared.len()
            );
            let diagnostic = Diagnostic::new("shared-questions", message)
                .help("split by question: WHERE split = 'train' and WHERE split = 'dev'");
            return Err(mistake(diagnostic, ""));
        }
        sets.push((name.clone(), examples));
    }
    Ok(sets)
}

/// Returns what a trajectory answers: the question's id, else its text.
fn question(trajectory: &Trajectory) -> Option<String> {
    trajectory.question_id.clone().or_else(|| trajectory.question.clone())
}

fn ready(
    model: &LoadedModel,
    config: &RunConfig,
    examples: &[Example],
    held_out: &[(String, Vec<Example>)],
) -> Result<Prepared, SessionError> {
    let Some(tokenizer) = &model.tokenizer else {
        return Err(SessionError::mistake("model", "the model has no tokenizer"));
    };
    let template = model.chat_template.as_deref();
    let prepared =
        prepare(&model.decoder, tokenizer, template, &config.options, examples, held_out);
    Ok(prepared?)
}

/// Returns what a run depends on beside its options and data.
fn pinned(model: &LoadedModel) -> serde_json::Value {
    let description = &model.description;
    let weights: Vec<serde_json::Value> = description
        .weights
        .iter()
        .map(|f| json!({"file": f.name, "bytes": f.size_bytes, "blake3": f.blake3}))
        .collect();
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let tokenizer = model.tokenizer.as_ref().map(|t| hash(t.to_json().as_bytes()));
    json!({
        "weights": weights,
        "dequantised_from": description.dequantised_from,
        "left_out": description.left_out,
        "tokenizer": tokenizer,
        "chat_template": model.chat_template.as_ref().map(|t| hash(t.as_bytes())),
        "program": env!("CARGO_PKG_VERSION"),
        "dependencies": hash(include_bytes!("../../Cargo.lock")),
        "architecture": std::env::consts::ARCH,
        "threads": std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// Returns what names the model's weights.
fn identity(model: &LoadedModel) -> String {
    let mut hasher = blake3::Hasher::new();
    for file in &model.description.weights {
        hasher.update(file.blake3.as_bytes());
    }
    if let Some(tokenizer) = &model.tokenizer {
        hasher.update(&tokenizer.fingerprint());
    }
    hasher.finalize().to_hex().to_string()
}

/// Runs the training, stores its metrics and what became of it.
fn carry_out(
    session: &Session,
    config: &RunConfig,
    model: &LoadedModel,
    ready: &Prepared,
    mut record: RunRecord,
    resume: bool,
    sink: &mut dyn Sink,
) -> Result<TrainSummary, SessionError> {
    let store = session.database().store();
    let directory = store.path().join("runs").join(folder_of(&record.id));
    let Some(tokenizer) = &model.tokenizer else {
        return Err(SessionError::mistake("model", "the model has no tokenizer"));
    };
    record.status = RunStatus::Running;
    store.put_run(&record)?;
    let began = Instant::now();
    let mut recorder = Recorder {
        session,
        run: &record.id,
        sink,
        losses: Vec::new(),
        evaluations: BTreeMap::new(),
        failed: None,
    };
    let trained = run_training(
        &Run {
            decoder: &model.decoder,
            tokenizer,
            model_identity: &identity(model),
            prepared: ready,
            config: &config.options,
            directory: &directory,
            resume: resume && has_checkpoint(&directory),
            clock: &|| began.elapsed(),
        },
        &mut |event: &Event| recorder.take(event),
    );
    let Recorder { losses, evaluations, failed, .. } = recorder;
    record.ended_at = Some(super::now_micros());
    let outcome = match (trained, failed) {
        (Ok(outcome), None) => outcome,
        (Err(error), _) => {
            record.status = RunStatus::Failed;
            record.error = Some(error.to_string());
            store.put_run(&record)?;
            return Err(error.into());
        }
        (Ok(_), Some(error)) => return Err(error),
    };
    record.status = if outcome.complete { RunStatus::Finished } else { RunStatus::Stopped };
    record.error = None;
    let checkpoint = outcome.checkpoint.display().to_string();
    record.output = Some(json!({"checkpoint": checkpoint, "steps": outcome.steps}).to_string());
    store.put_run(&record)?;
    let evaluations =
        evaluations.into_iter().map(|(name, (before, after))| (name, before, after)).collect();
    Ok(TrainSummary {
        run: record.id,
        dataset: record.dataset.unwrap_or_default(),
        complete: outcome.complete,
        plan: ready.plan.clone(),
        steps: outcome.steps,
        losses,
        evaluations,
        without_reward: 0,
        checkpoint: outcome.checkpoint,
    })
}

/// Turns events into metrics, and hands them on.
struct Recorder<'a, 'b> {
    session: &'a Session,
    run: &'a str,
    sink: &'b mut dyn Sink,
    losses: Vec<f64>,
    evaluations: BTreeMap<String, (f64, f64)>,
    failed: Option<SessionError>,
}

impl Recorder<'_, '_> {
    fn take(&mut self, event: &Event) -> ControlFlow<()> {
        if let Err(error) = self.store(event) {
            self.failed = Some(error);
            return ControlFlow::Break(());
        }
        let told = self.sink.train(event);
        if self.session.cancel().is_cancelled() { ControlFlow::Break(()) } else { told }
    }

    fn store(&mut self, event: &Event) -> Result<(), SessionError> {
        let store = self.session.database().store();
        match event {
            Event::Step(step) => {
                self.losses.push(step.nll);
                let metrics = [
                    ("loss", step.loss),
                    ("nll", step.nll),
                    ("kl", step.kl),
                    ("clip_fraction", step.clip_fraction),
                    ("grad_norm", step.grad_norm),
                    ("learning_rate", step.learning_rate),
                    ("epoch", step.epoch),
                    ("num_tokens", step.tokens_seen as f64),
                    ("tokens_per_s", step.tokens_per_s),
                ];
                store.put_metrics(self.run, step.step, &metrics)?;
            }
            Event::Evaluated { step, name, loss, log_prob, .. } => {
                let of = self.evaluations.entry(name.clone()).or_insert((*loss, *loss));
                of.1 = *loss;
                let (loss_name, log_prob_name) =
                    (format!("eval_{name}_loss"), format!("eval_{name}_log_prob"));
                let metrics = [(loss_name.as_str(), *loss), (log_prob_name.as_str(), *log_prob)];
                store.put_metrics(self.run, *step, &metrics)?;
            }
            Event::Examples { epoch, step, moment, examples } => {
                let is_start = *moment == Moment::Step;
                let example = |report: &ExampleReport| {
                    let log_prob = Some(report.log_prob);
                    let record = ExampleRecord {
                        weight: report.weight,
                        advantage: report.advantage,
                        tokens: report.tokens as u32,
                        training_step: *step,
                        log_prob_start: log_prob.filter(|_| is_start),
                        log_prob_end: log_prob.filter(|_| !is_start),
                    };
                    let pair = report.pair.map_or(0, |pair| pair + 1);
                    ((report.row.key, report.row.step, pair), record)
                };
                let examples: Vec<_> = examples.iter().map(example).collect();
                store.put_examples(self.run, *epoch, &examples)?;
            }
            Event::Started { .. }
            | Event::StartPolicy { .. }
            | Event::Checkpoint { .. }
            | Event::Finished(_) => {}
        }
        Ok(())
    }
}

fn has_checkpoint(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    let is_checkpoint =
        |e: std::fs::DirEntry| e.file_name().to_string_lossy().starts_with("checkpoint-");
    entries.filter_map(Result::ok).any(is_checkpoint)
}

/// Returns a run's folder: its name, with what file systems dislike written as `%XX`.
fn folder_of(run: &str) -> String {
    let mut folder = String::new();
    for byte in run.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => folder.push(byte as char),
            other => folder.push_str(&format!("%{other:02X}")),
        }
    }
    folder
}

fn free_name(session: &Session) -> Result<String, SessionError> {
    let store = session.database().store();
    for number in 1u64.. {
        let name = format!("train_{number}");
        if store.run(&name)?.is_none() && store.dataset(&name)?.is_none() {
            return Ok(name);
        }
    }
    Err(SessionError::mistake("train", "no name is left for the run: TRAIN ... AS name"))
}

fn text_of(config: &RunConfig) -> Result<String, SessionError> {
    serde_json::to_string(config).map_err(|e| SessionError::Environment(e.to_string()))
}
