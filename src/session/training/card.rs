//! The model card: what a model was made of, for whoever finds it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::request::RunConfig;
use crate::codec::{DatasetRecord, RunRecord};
use crate::diag::hexadecimal;
use crate::session::error::SessionError;
use crate::store::Store;

const FILE: &str = "README.md";

/// First and last value of a metric, each behind its step.
type Ends = BTreeMap<String, [(u64, f64); 2]>;

/// Writes the card of a run's model into a folder.
///
/// # Errors
/// What the disk says.
pub(super) fn write(
    store: &Store,
    record: &RunRecord,
    config: &RunConfig,
    folder: &Path,
) -> Result<(), SessionError> {
    let dataset = match &record.dataset {
        Some(name) => store.dataset(name)?,
        None => None,
    };
    let is_adapter = folder.join("adapter_config.json").is_file();
    let mut lines = head(record, config, is_adapter);
    lines.extend(dataset.map(|dataset| data(&dataset, config)).unwrap_or_default());
    lines.extend(numbers(&ends(store, &record.id)?));
    let options = serde_json::to_value(&config.options).unwrap_or_default();
    lines.extend(["## Options".to_owned(), String::new(), pretty(&options), String::new()]);
    lines.extend(["## Made with".to_owned(), String::new(), pretty(&config.pinned)]);
    let path = folder.join(FILE);
    std::fs::write(&path, lines.join("\n") + "\n")
        .map_err(|e| SessionError::Environment(format!("{}: {e}", path.display())))
}

/// Returns the front matter that hubs read, title and first sentence.
fn head(record: &RunRecord, config: &RunConfig, is_adapter: bool) -> Vec<String> {
    let base = config.model.display().to_string();
    let (library, what) = match is_adapter {
        true => ("peft", "An adapter for"),
        false => ("transformers", "A model made of"),
    };
    let version = env!("CARGO_PKG_VERSION");
    vec![
        "---".to_owned(),
        format!("library_name: {library}"),
        // A text in JSON is one in YAML.
        format!("base_model: {}", Value::from(base.as_str())),
        "tags:".to_owned(),
        "- swirldb".to_owned(),
        format!("- {}", config.options.objective.name()),
        "---".to_owned(),
        String::new(),
        format!("# {}", record.id),
        String::new(),
        format!("{what} `{base}`, trained by swirldb {version}."),
        String::new(),
    ]
}

fn data(dataset: &DatasetRecord, config: &RunConfig) -> Vec<String> {
    let (rows, trajectories) = (dataset.rows, dataset.trajectories);
    let mut lines = vec![
        "## Data".to_owned(),
        String::new(),
        format!("{rows} sub-trajectories of {trajectories} trajectories, selected by"),
        String::new(),
        "```sql".to_owned(),
        dataset.statement.clone(),
        "```".to_owned(),
        String::new(),
        format!("- hash of content, rewards and order: `{}`", hexadecimal(&dataset.hash)),
    ];
    if !dataset.judges.is_empty() {
        lines.push(format!("- labels: {}", dataset.judges.join(", ")));
        let gold = match dataset.saw_gold {
            Some(true) => "a judge of these labels saw gold answers",
            Some(false) => "no judge of these labels saw gold answers",
            None => "whether a judge of these labels saw gold answers is not known",
        };
        lines.push(format!("- {gold}"));
    }
    lines.extend(config.reward.iter().map(|reward| format!("- reward: `{reward}`")));
    if !config.eval_dataset.is_empty() {
        lines.push(format!("- held out: {}", config.eval_dataset.join(", ")));
    }
    lines.push(String::new());
    lines
}

/// Returns the ends of the metrics that a card shows.
fn ends(store: &Store, run: &str) -> Result<Ends, SessionError> {
    let is_shown = |name: &str| {
        ["loss", "nll", "reward"].contains(&name)
            || name.starts_with("eval_")
            || name.starts_with("rewards/")
    };
    let mut ends = Ends::new();
    store.scan_metrics(|of, step, name, value| {
        if of == run && is_shown(&name) {
            let both = ends.entry(name).or_insert([(step, value); 2]);
            both[1] = (step, value);
        }
    })?;
    Ok(ends)
}

fn numbers(ends: &Ends) -> Vec<String> {
    let mut lines = vec![
        "## Numbers".to_owned(),
        String::new(),
        "| metric | at step | | at step | |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(ends.iter().map(|(name, [(from, first), (to, last)])| {
        format!("| {name} | {from} | {first:.4} | {to} | {last:.4} |")
    }));
    lines.push(String::new());
    lines
}

/// Returns what is set of an object, a line each, as a block of code.
fn pretty(value: &Value) -> String {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    format!("```json\n{value:#}\n```")
}
