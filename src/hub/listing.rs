//! Which files of a model are fetched: those that a text model of safetensors needs.

use std::collections::BTreeSet;
use std::fs;

use serde::Deserialize;
use serde_json::Value;

use crate::diag::list_some;

use super::error::{HubError, at};
use super::layout::{FileName, Repository};
use super::model_id::ModelId;

/// The weights, where they are one file.
const WEIGHTS: &str = "model.safetensors";

/// The list of shards, where they are several.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Files without which there is no text model.
const NEEDED: &[&str] = &["config.json", "tokenizer.json"];

/// Files that not every model has.
const OPTIONAL: &[&str] = &[
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// The answer of `/api/models/ORG/NAME/revision/REVISION`, as far as it is used.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    pub sha: Option<String>,
    #[serde(default)]
    pub siblings: Vec<Sibling>,
}

/// A file of a model.
#[derive(Debug, Deserialize)]
pub(super) struct Sibling {
    pub rfilename: String,
}

/// What a cache has of a commit.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Files that are wanted and not there.
    pub missing: Vec<String>,
    /// Files that are not there, where nobody knows whether the commit has them.
    pub unknown: Vec<String>,
}

/// Files of a commit, from a list that `huggingface_hub` keeps.
#[derive(Deserialize)]
struct Tree {
    format_version: u64,
    files: serde_json::Map<String, Value>,
}

impl Listing {
    pub fn has(&self, name: &str) -> bool {
        self.siblings.iter().any(|sibling| sibling.rfilename == name)
    }

    /// Returns the files to fetch, the small ones first; of weights that are several files the
    /// list of them.
    pub fn wanted(&self, id: &ModelId) -> Result<Vec<FileName>, HubError> {
        let unusable = |missing: &str| {
            let names = self.siblings.iter().map(|sibling| sibling.rfilename.as_str());
            let found = match self.siblings.is_empty() {
                true => "it has no files".to_owned(),
                false => format!("it has {}", list_some(names)),
            };
            HubError::Unusable { model: id.to_string(), missing: missing.to_owned(), found }
        };
        if let Some(name) = NEEDED.iter().find(|name| !self.has(name)) {
            return Err(unusable(name));
        }
        let weights = match (self.has(WEIGHTS), self.has(INDEX)) {
            (true, _) => WEIGHTS,
            (false, true) => INDEX,
            (false, false) => return Err(unusable(&format!("{WEIGHTS} or {INDEX}"))),
        };
        let small = NEEDED.iter().chain(OPTIONAL).filter(|name| self.has(name));
        Ok(small.chain([&weights]).map(|name| FileName::known(name)).collect())
    }

    /// Returns the files that would be fetched if there were any.
    pub fn absent(&self) -> impl Iterator<Item = FileName> {
        let names = OPTIONAL.iter().chain(&[WEIGHTS, INDEX]).filter(|name| !self.has(name));
        names.map(|name| FileName::known(name))
    }
}

/// Returns the shards that a list in a snapshot names, each once.
pub(super) fn shards(
    repository: &Repository,
    id: &ModelId,
    commit: &str,
) -> Result<Vec<FileName>, HubError> {
    let path = repository.file(commit, &FileName::known(INDEX));
    let text = fs::read(&path).map_err(at(&path))?;
    let wrong = |problem: String| broken(id, problem);
    let index: Value =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
    let map = index.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| wrong("it has no object 'weight_map'".to_owned()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let file = file.as_str();
        let file = file.ok_or_else(|| wrong(format!("the file of '{tensor}' is no text")))?;
        names.insert(file);
    }
    if names.is_empty() {
        return Err(wrong("it names no files".to_owned()));
    }
    let mut out = Vec::new();
    for name in names {
        let parsed = FileName::parse(name).map_err(wrong)?;
        if !name.ends_with(".safetensors") {
            return Err(wrong(format!("it names '{}', no .safetensors", name.escape_debug())));
        }
        out.push(parsed);
    }
    Ok(out)
}

/// Returns how a broken list of shards is told.
pub(super) fn broken(id: &ModelId, problem: String) -> HubError {
    HubError::Index { model: id.to_string(), file: INDEX.to_owned(), problem }
}

/// Returns what the cache has of a commit and what it lacks.
pub(super) fn take_inventory(
    repository: &Repository,
    id: &ModelId,
    commit: &str,
) -> Result<Inventory, HubError> {
    let tree = repository.tree(commit).and_then(|text| serde_json::from_str::<Tree>(&text).ok());
    let tree = tree.filter(|tree| tree.format_version == 1);
    let mut out = Inventory::default();
    let has = |name| repository.has(commit, &FileName::known(name));
    for name in OPTIONAL.iter().filter(|name| !has(name)) {
        match &tree {
            Some(tree) if tree.files.contains_key(*name) => out.missing.push((*name).to_owned()),
            Some(_) => {}
            None if repository.is_absent(commit, &FileName::known(name)) => {}
            None => out.unknown.push((*name).to_owned()),
        }
    }
    let needed = NEEDED.iter().filter(|name| !has(name));
    out.missing.extend(needed.map(|name| (*name).to_owned()));
    if has(WEIGHTS) {
        return Ok(out);
    }
    if !has(INDEX) {
        out.missing.push(WEIGHTS.to_owned());
        return Ok(out);
    }
    let shards = shards(repository, id, commit)?;
    let missing = shards.iter().filter(|shard| !repository.has(commit, shard));
    out.missing.extend(missing.map(|shard| shard.as_str().to_owned()));
    Ok(out)
}
