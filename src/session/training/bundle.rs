//! A run as a folder that can be taken to another machine and made again there.
//!
//! ```text
//! first.bundle/
//!   run.json          the run: options, what it was made with, hashes of the weights it made
//!   data.swirl.zst    its dataset and the held-out ones, with trajectories, labels and rows
//!   metrics.jsonl     {"step":1,"name":"loss","value":..} of every metric
//!   model/            the model it began with, where that was asked for
//! ```
//! Made again (`rerun`), data, model and options are those of the folder, and every metric is
//! compared to the last bit, and so are the weights.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::difference::{Metrics, collected, differences};
use super::model::{load, locate, weights_of};
use super::request::RunConfig;
use super::runs::{checkpoint_of, directory, ended_after, repeat, training_run};
use crate::codec::{RunRecord, RunStatus};
use crate::db::import;
use crate::exchange::{ReadOptions, create, open};
use crate::session::datasets::write;
use crate::session::error::SessionError;
use crate::session::statement::{Session, Sink};

const VERSION: u32 = 1;
const RUN: &str = "run.json";
const DATA: &str = "data.swirl.zst";
const METRICS: &str = "metrics.jsonl";
const MODEL: &str = "model";

/// What `run.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    bundle: u32,
    run: String,
    statement: String,
    dataset: String,
    config: RunConfig,
    steps: u64,
    /// BLAKE3 of the weights it ended with, by file.
    weights: BTreeMap<String, String>,
    /// The path of the model inside the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<PathBuf>,
}

/// A number of a metric.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    step: u64,
    name: String,
    value: f64,
}

/// What came of making a run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Rerun {
    /// The new run.
    pub run: String,
    /// Whether it came to its end.
    pub complete: bool,
    /// Numbers that were compared.
    pub numbers: u64,
    /// The first number that differs: its step, the metric, then and now.
    pub first_difference: Option<(u64, String, Option<f64>, Option<f64>)>,
    /// Whether the weights are the same, byte for byte.
    pub same_weights: bool,
    /// What it was made with that differs: what, then and now.
    pub made_with: Vec<(String, String, String)>,
}

impl Rerun {
    /// Whether it came out the same, to the last bit.
    pub fn is_same(&self) -> bool {
        self.complete && self.first_difference.is_none() && self.same_weights
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> SessionError + '_ {
    move |error| SessionError::Environment(format!("{}: {error}", path.display()))
}

fn refused(message: String) -> SessionError {
    SessionError::mistake("bundle", message)
}

/// Writes a finished run as a folder. With `with_model` the model's files go with it.
///
/// # Errors
/// There is no such run, it has not finished, or what the disk says.
pub fn bundle(
    session: &Session,
    run: &str,
    target: &Path,
    with_model: bool,
) -> Result<(), SessionError> {
    let store = session.database().store();
    let record = training_run(store, run)?;
    if record.status != RunStatus::Finished {
        let message = format!("run '{run}' has not finished: go on with it first");
        return Err(refused(message));
    }
    if fs::read_dir(target).is_ok_and(|mut all| all.next().is_some()) {
        return Err(refused(format!("{} is there already and not empty", target.display())));
    }
    let config = RunConfig::stored(run, &record.config)?;
    let dataset = record.dataset.clone().unwrap_or_default();
    let mut datasets = Vec::new();
    for name in std::iter::once(&dataset).chain(&config.eval_dataset) {
        let found = store.dataset(name)?;
        datasets.push(found.ok_or_else(|| refused(format!("dataset '{name}' is gone")))?);
    }
    fs::create_dir_all(target).map_err(failed(target))?;
    write(session, &datasets, &target.join(DATA))?;
    let mut file = create(&target.join(METRICS))?;
    for (name, values) in collected(store, run)? {
        for (step, value) in values {
            let line = serde_json::to_string(&Measured { step, name: name.clone(), value });
            let line = line.map_err(|e| SessionError::Environment(e.to_string()))?;
            std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes())
                .map_err(SessionError::Output)?;
        }
    }
    file.finish()?;
    let model = match with_model {
        true => {
            let revision = config.revision.as_deref();
            let path = locate(session, &config.model, revision)?.path;
            Some(copy_model(&path, &target.join(MODEL))?)
        }
        false => None,
    };
    let (steps, weights) = ended(&directory(store, run), &record)?;
    let manifest = Manifest {
        bundle: VERSION,
        run: run.to_owned(),
        statement: record.statement.clone(),
        dataset,
        config,
        steps,
        weights,
        model: model.map(|name| Path::new(MODEL).join(name)),
    };
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|e| SessionError::Environment(e.to_string()))?;
    let path = target.join(RUN);
    fs::write(&path, text + "\n").map_err(failed(&path))
}

/// Returns the steps that a run ended with, and the hashes of the weights it made.
fn ended(
    directory: &Path,
    record: &RunRecord,
) -> Result<(u64, BTreeMap<String, String>), SessionError> {
    let (steps, _) = ended_after(record).unwrap_or_default();
    let folder = checkpoint_of(directory, steps);
    let mut weights = BTreeMap::new();
    for name in ["adapter_model.safetensors", "model.safetensors"] {
        let path = folder.join(name);
        if path.is_file() {
            weights.insert(name.to_owned(), hash(&path)?);
        }
    }
    if weights.is_empty() {
        let message = format!("the last checkpoint of run '{}' is gone", record.id);
        return Err(refused(message));
    }
    Ok((steps, weights))
}

fn hash(path: &Path) -> Result<String, SessionError> {
    let mut hasher = blake3::Hasher::new();
    let mut file = fs::File::open(path).map_err(failed(path))?;
    std::io::copy(&mut file, &mut hasher).map_err(failed(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Copies a model's files and returns the name of what stands for it: the file, or `.`.
fn copy_model(model: &Path, target: &Path) -> Result<PathBuf, SessionError> {
    fs::create_dir_all(target).map_err(failed(target))?;
    let copy = |from: &Path| {
        let name = from.file_name().unwrap_or_default();
        fs::copy(from, target.join(name)).map(drop).map_err(failed(from))
    };
    if model.is_file() {
        copy(model)?;
        return Ok(PathBuf::from(model.file_name().unwrap_or_default()));
    }
    for entry in fs::read_dir(model).map_err(failed(model))? {
        let path = entry.map_err(failed(model))?.path();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_file() && ["json", "jinja", "safetensors"].contains(&ending) {
            copy(&path)?;
        }
    }
    Ok(PathBuf::from("."))
}

/// Makes the run of a bundle again in this database, and compares. The model is the one at `model`
/// where that is given, else the bundle's own, else where the run had it.
///
/// # Errors
/// It is no bundle, the model is another one, the data does not fit; what training refuses.
pub fn rerun(
    session: &Session,
    folder: &Path,
    model: Option<&Path>,
    sink: &mut dyn Sink,
) -> Result<Rerun, SessionError> {
    let manifest = manifest(folder)?;
    let mut config = manifest.config.clone();
    let own = manifest.model.as_ref().map(|path| folder.join(path));
    if let Some(path) = model.map(Path::to_owned).or(own) {
        config.model = path;
        config.revision = None;
    }
    let loaded = load(session, &mut config)?;
    check_model(&manifest.config.pinned, &loaded, &config.model)?;
    restore(session, &folder.join(DATA))?;
    let then = measured(&folder.join(METRICS))?;
    let store = session.database().store();
    let name = free_name(session, &manifest.run)?;
    let (summary, config) =
        repeat(session, &name, &manifest.dataset, config, &loaded, &manifest.statement, sink)?;
    let now = collected(store, &name)?;
    let record = training_run(store, &name)?;
    let same_weights =
        summary.complete && ended(&directory(store, &name), &record)?.1 == manifest.weights;
    Ok(Rerun {
        run: name,
        complete: summary.complete,
        numbers: then.values().map(|values| values.len() as u64).sum(),
        first_difference: first_difference(&then, &now),
        same_weights,
        made_with: made_with(&manifest.config.pinned, &config.pinned),
    })
}

fn manifest(folder: &Path) -> Result<Manifest, SessionError> {
    let path = folder.join(RUN);
    let text = fs::read_to_string(&path)
        .map_err(|e| refused(format!("{} is no bundle of a run: {RUN}: {e}", folder.display())))?;
    let version: Value = serde_json::from_str(&text).unwrap_or_default();
    match version["bundle"].as_u64() {
        Some(found) if found > u64::from(VERSION) => {
            return Err(refused(format!(
                "{} is a bundle of version {found}, and this program knows {VERSION}: a newer \
                 program wrote it",
                folder.display()
            )));
        }
        _ => {}
    }
    serde_json::from_str(&text).map_err(|e| refused(format!("{}: {e}", path.display())))
}

/// Checks that a model has the weights that a run began with.
fn check_model(
    pinned: &Value,
    loaded: &crate::lm::LoadedModel,
    path: &Path,
) -> Result<(), SessionError> {
    let hashes = |weights: &Value| -> Vec<Value> {
        weights.as_array().into_iter().flatten().map(|file| file["blake3"].clone()).collect()
    };
    let (then, now) = (hashes(&pinned["weights"]), hashes(&weights_of(loaded)));
    if then == now {
        return Ok(());
    }
    let short = |all: &[Value]| {
        let texts = all.iter().filter_map(Value::as_str).map(|h| h.get(..12).unwrap_or(h));
        texts.collect::<Vec<_>>().join(", ")
    };
    Err(refused(format!(
        "{} has weights with hash {}, and the run began with {}: name the right model with --model",
        path.display(),
        short(&now),
        short(&then)
    )))
}

/// Brings the bundle's data into the database.
fn restore(session: &Session, path: &Path) -> Result<(), SessionError> {
    let read = ReadOptions {
        threads: session.options().threads.max(1),
        bytes_ahead: session.database().store().commit_bytes(),
        ..ReadOptions::default()
    };
    let reader = open(path, &read)?;
    let report =
        import(session.database(), reader, true, &mut |_| match session.cancel().is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })?;
    if session.cancel().is_cancelled() {
        return Err(SessionError::Cancelled);
    }
    if report.conflicts + report.skipped > 0 {
        return Err(refused(format!(
            "{} trajectories of the bundle are in this database with other content: make the run \
             again in a database of its own",
            report.conflicts + report.skipped
        )));
    }
    Ok(())
}

fn measured(path: &Path) -> Result<Metrics, SessionError> {
    let text = fs::read_to_string(path).map_err(failed(path))?;
    let mut metrics = Metrics::new();
    for (line, number) in text.lines().zip(1..) {
        let measured: Measured = serde_json::from_str(line)
            .map_err(|e| refused(format!("{} line {number}: {e}", path.display())))?;
        metrics.entry(measured.name).or_default().insert(measured.step, measured.value);
    }
    Ok(metrics)
}

/// Returns a name that no run and no other dataset has.
fn free_name(session: &Session, run: &str) -> Result<String, SessionError> {
    let store = session.database().store();
    let names = std::iter::once(run.to_owned()).chain((2u64..).map(|n| format!("{run}_{n}")));
    for name in names {
        if store.run(&name)?.is_none() {
            return Ok(name);
        }
    }
    Err(refused("no name is left for the run".to_owned()))
}

/// Returns the first number that differs: its step, metric and both values.
fn first_difference(
    then: &Metrics,
    now: &Metrics,
) -> Option<(u64, String, Option<f64>, Option<f64>)> {
    let (name, step) = differences(then, now).into_iter().min_by_key(|(_, step)| *step)?;
    let value = |of: &Metrics| of.get(&name)?.get(&step).copied();
    let (before, after) = (value(then), value(now));
    Some((step, name, before, after))
}

/// Returns what a run was made with that differs.
fn made_with(then: &Value, now: &Value) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    let none = json!({});
    let fields = then.as_object().or(none.as_object());
    for (name, value) in fields.into_iter().flatten() {
        if name != "weights" && *value != now[name] {
            all.push((name.clone(), value.to_string(), now[name].to_string()));
        }
    }
    all
}
