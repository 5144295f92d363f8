//! Runs: made, gone on with, explained.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::card;
use super::examples::saved;
use super::journal::Journal;
use super::material::{Live, Material};
use super::model::{identity, load, pinned};
use super::online::{RolloutForm, SLOTS};
use super::recorder::Recorder;
use super::request::{RunConfig, request};
use crate::codec::{RunRecord, RunStatus};
use crate::db::NewRow;
use crate::diag::{Diagnostic, nearest};
use crate::lm::LoadedModel;
use crate::query::Scope;
use crate::query::parameters::with_values;
use crate::query::syntax::{QueryStatement, Statement, WithOption};
use crate::rollout::{CallForm, Protocol};
use crate::session::describe::{episode_plan, token_listing, train_plan};
use crate::session::error::SessionError;
use crate::session::host::now_micros;
use crate::session::select::{Selection, select};
use crate::session::statement::{Session, Sink, draft, mistake};
use crate::store::Store;
use crate::train::{
    Event, Objective, Observer, Online, Outcome, Run, TrainPlan, train as run_training,
    train_episodes, train_online,
};

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
    /// The mean negative log-probability of action tokens at each step made now that has some.
    pub losses: Vec<f64>,
    /// The mean reward at each step made now, of an objective that samples.
    pub rewards: Vec<f64>,
    /// Steps made now in which no token carried loss.
    pub idle_steps: u64,
    /// Held-out sets: name, loss before, loss after.
    pub evaluations: Vec<(String, f64, f64)>,
    /// Rows left out because their reward is null.
    pub without_reward: u64,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
}

/// Trains on the rows of a query.
pub(in crate::session) fn train(
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
        None => free_name(session, (1u64..).map(|number| format!("train_{number}")))?,
    };
    let mut config = request.config;
    let model = load(session, &mut config)?;
    let selection = selected(session, scope, query, &config)?;
    let text = with_values(&statement.text, scope.parameters);
    let draft = draft(&run, &text, query, &selection, false);
    // Everything that can be refused is refused before anything is stored.
    let material = Material::of(session, scope.view, &model, &config, &selection.rows)?;
    config.pinned = pinned(&model);
    drop_orphan(store, &run, &text)?;
    session.database().save_dataset(scope.view, draft, &selection.rows)?;
    let record = begun(&run, &run, &config, &statement.text)?;
    store.put_run(&record)?;
    let start = Start { record, resume: false, material };
    let mut summary = carry_out(session, &config, &model, start, sink)?;
    summary.without_reward = selection.without_reward;
    Ok(summary)
}

/// Returns the record of a run that begins.
fn begun(
    name: &str,
    dataset: &str,
    config: &RunConfig,
    statement: &str,
) -> Result<RunRecord, SessionError> {
    Ok(RunRecord {
        id: name.to_owned(),
        kind: "train".to_owned(),
        status: RunStatus::Running,
        statement: statement.to_owned(),
        config: config.text()?,
        seed: Some(config.options.seed),
        dataset: Some(dataset.to_owned()),
        output: None,
        error: None,
        started_at: now_micros(),
        ended_at: None,
    })
}

/// Forgets the dataset of a run that was killed before there was a record of it: the same statement
/// saves it again.
fn drop_orphan(store: &Store, run: &str, text: &str) -> Result<(), SessionError> {
    if store.dataset(run)?.is_some_and(|dataset| dataset.statement == text) {
        store.drop_dataset(run)?;
    }
    Ok(())
}

/// Trains on a saved dataset with the options of an earlier run; returns what was done and the
/// options, with what this run was made with.
pub(super) fn repeat(
    session: &Session,
    name: &str,
    dataset: &str,
    mut config: RunConfig,
    model: &LoadedModel,
    statement: &str,
    sink: &mut dyn Sink,
) -> Result<(TrainSummary, RunConfig), SessionError> {
    let store = session.database().store();
    let view = session.database().view();
    let rows: Vec<NewRow> = store.dataset_rows(dataset)?.iter().map(saved).collect();
    let material = Material::of(session, &view, model, &config, &rows)?;
    config.pinned = pinned(model);
    let record = begun(name, dataset, &config, statement)?;
    let start = Start { record, resume: false, material };
    let summary = carry_out(session, &config, model, start, sink)?;
    Ok((summary, config))
}

/// Goes on with a run from its newest checkpoint, or from its start if it has none.
pub(in crate::session) fn resume(
    session: &Session,
    run: &str,
    sink: &mut dyn Sink,
) -> Result<TrainSummary, SessionError> {
    let store = session.database().store();
    let record = training_run(store, run)?;
    let mut config = RunConfig::stored(run, &record.config)?;
    let dataset = record.dataset.clone().unwrap_or_default();
    let rows: Vec<NewRow> = store.dataset_rows(&dataset)?.iter().map(saved).collect();
    let view = session.database().view();
    let model = load(session, &mut config)?;
    let material = Material::of(session, &view, &model, &config, &rows)?;
    let start = Start { record, resume: true, material };
    carry_out(session, &config, &model, start, sink)
}

/// Returns the training run of a name.
///
/// # Errors
/// There is none, with the nearest name.
pub(super) fn training_run(store: &Store, run: &str) -> Result<RunRecord, SessionError> {
    if let Some(record) = store.run(run)?.filter(|record| record.kind == "train") {
        return Ok(record);
    }
    let names: Vec<String> =
        store.runs()?.into_iter().filter(|r| r.kind == "train").map(|r| r.id).collect();
    let help = nearest(run, &names, "runs", "|> TRAIN WITH (...) AS name makes one");
    let unknown = Diagnostic::new("unknown-run", format!("no training run '{run}'")).help(help);
    Err(mistake(unknown, ""))
}

/// Returns after how many optimiser steps a run ended, and after how many it had the weights that
/// it gives; `None` if it has not ended.
pub(super) fn ended_after(record: &RunRecord) -> Option<(u64, u64)> {
    let output: Value = serde_json::from_str(record.output.as_deref()?).ok()?;
    let steps = output["steps"].as_u64()?;
    Some((steps, output["result"].as_u64().unwrap_or(steps)))
}

/// Returns what a query selects for the objective: rows with rewards, or pairs.
fn selected(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    config: &RunConfig,
) -> Result<Selection, SessionError> {
    let selection = select(session, scope, query, config.reward.as_deref())?;
    let wants_pairs = config.options.objective == Objective::Dpo;
    let fail = |message: &str, help: &str| {
        let diagnostic = Diagnostic::new("train", message).at(query.selection).help(help);
        Err(mistake(diagnostic, scope.text))
    };
    match selection.rows.first() {
        Some(row) if wants_pairs && row.pair.is_none() => fail(
            "'dpo' takes pairs of actions, and the rows are single actions",
            "FROM preference_pairs('process') |> TRAIN WITH (objective = 'dpo', ...); or 'kto', \
             which takes steps with reward = 'process'",
        ),
        Some(row) if !wants_pairs && row.pair.is_some() => fail(
            "the rows are pairs of actions, and this objective takes single actions",
            "set objective = 'dpo'",
        ),
        _ => Ok(selection),
    }
}

/// Says what TRAIN would do, and shows one row token by token.
pub(in crate::session) fn explain(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    options: &[WithOption],
) -> Result<String, SessionError> {
    let mut config = request(options, scope.text)?.config;
    let model = load(session, &mut config)?;
    let selection = selected(session, scope, query, &config)?;
    let rows = &selection.rows;
    let Material { ready, live } = Material::of(session, scope.view, &model, &config, rows)?;
    let mut text = train_plan(&ready.plan, selection.without_reward);
    if let Live::Episodes(episodes) = &live {
        text.push_str(&episode_plan(&config.options, &episodes.described()));
    }
    let first = ready.sequences.first().and_then(|s| s.actions.first());
    if let (Some(span), Some(tokenizer)) = (first, &model.tokenizer) {
        let lines = ready.listing(tokenizer, span.row.key, span.row.step).unwrap_or_default();
        text.push_str(&token_listing(&span.row.to_string(), &lines));
    }
    Ok(text)
}

/// Returns the folder of a run.
pub(super) fn directory(store: &Store, run: &str) -> PathBuf {
    store.path().join("runs").join(folder_of(run))
}

/// How a run begins.
struct Start<'a> {
    record: RunRecord,
    resume: bool,
    material: Material<'a>,
}

/// Runs the training, stores its metrics and what became of it.
fn carry_out(
    session: &Session,
    config: &RunConfig,
    model: &LoadedModel,
    start: Start<'_>,
    sink: &mut dyn Sink,
) -> Result<TrainSummary, SessionError> {
    let Start { mut record, resume, material: Material { ready, mut live } } = start;
    let store = session.database().store();
    let directory = directory(store, &record.id);
    let Some(tokenizer) = &model.tokenizer else {
        return Err(SessionError::mistake("model", "the model has no tokenizer"));
    };
    record.status = RunStatus::Running;
    store.put_run(&record)?;
    let began = Instant::now();
    make_folder(&directory)?;
    let mut recorder = Recorder::new(session, &record.id, Journal::new(&directory), config, sink);
    let run = Run {
        decoder: &model.decoder,
        tokenizer,
        chat_template: model.chat_template.as_deref(),
        model_identity: &identity(model),
        prepared: &ready,
        config: &config.options,
        directory: &directory,
        resume: resume && has_checkpoint(&directory),
        clock: &|| began.elapsed(),
    };
    let mut take = |event: &Event| recorder.take(event);
    let form = config.action_form.unwrap_or_default();
    let trained = trained(session, model, &run, &mut live, form, &mut take);
    let Recorder { losses, rewards, idle_steps, evaluations, failed, .. } = recorder;
    record.ended_at = Some(now_micros());
    let trained = failed.map_or(trained, Err);
    let outcome = trained.inspect_err(|error| {
        record.status = RunStatus::Failed;
        record.error = Some(error.to_string());
        // Where nothing can be stored, the first reason is the one to tell.
        let _ = store.put_run(&record);
    })?;
    record.status = if outcome.complete { RunStatus::Finished } else { RunStatus::Stopped };
    record.error = None;
    let result = result_of(&outcome, config);
    let (checkpoint, steps) = (outcome.checkpoint.display().to_string(), outcome.steps);
    let output = json!({"checkpoint": checkpoint, "steps": steps, "result": result});
    record.output = Some(output.to_string());
    store.put_run(&record)?;
    if outcome.complete {
        card::write(store, &record, config, &checkpoint_of(&directory, result))?;
    }
    Ok(TrainSummary {
        run: record.id,
        dataset: record.dataset.unwrap_or_default(),
        complete: outcome.complete,
        plan: ready.plan,
        steps: outcome.steps,
        losses,
        rewards,
        idle_steps,
        evaluations: evaluations.into_iter().map(|(name, (a, b))| (name, a, b)).collect(),
        without_reward: 0,
        checkpoint: outcome.checkpoint,
    })
}

/// Trains, with whom the objective needs.
fn trained(
    session: &Session,
    model: &LoadedModel,
    run: &Run<'_>,
    live: &mut Live<'_>,
    action_form: CallForm,
    observer: &mut (dyn Observer + Send),
) -> Result<Outcome, SessionError> {
    Ok(match live {
        Live::Nobody => run_training(run, observer)?,
        Live::Judge(judge) => {
            let renderer = &run.prepared.renderer;
            let protocol = Protocol { action_form, ..Protocol::default() };
            let form = RolloutForm { renderer, protocol };
            let online = Online { judge: judge.as_mut(), form: &form, slots: SLOTS };
            train_online(run, online, observer)?
        }
        Live::Episodes(episodes) => {
            let mut player = episodes.player(session, model, run.config)?;
            train_episodes(run, &mut player, observer)?
        }
    })
}

fn make_folder(path: &Path) -> Result<(), SessionError> {
    let failed = |e| SessionError::Environment(format!("{}: {e}", path.display()));
    std::fs::create_dir_all(path).map_err(failed)
}

/// Returns the steps after which the run had the weights that it gives.
fn result_of(outcome: &Outcome, config: &RunConfig) -> u64 {
    match &outcome.best {
        Some(best) if config.options.load_best_model_at_end && outcome.complete => best.step,
        _ => outcome.steps,
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

/// Returns the first name that neither a run nor a dataset has.
pub(in crate::session) fn free_name(
    session: &Session,
    names: impl Iterator<Item = String>,
) -> Result<String, SessionError> {
    let store = session.database().store();
    for name in names {
        if store.run(&name)?.is_none() && store.dataset(&name)?.is_none() {
            return Ok(name);
        }
    }
    Err(SessionError::mistake("run", "no name is left for the run: ... AS name gives it one"))
}

/// Returns the folder of a run's checkpoint after some steps.
pub(super) fn checkpoint_of(directory: &Path, steps: u64) -> PathBuf {
    directory.join(format!("checkpoint-{steps}"))
}
