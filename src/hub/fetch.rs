//! From a name to a folder with a model.

use std::io;
use std::path::PathBuf;

use tokio::runtime::{Builder, Handle};

use crate::diag::list_some;

use super::blob::{Wanted, fetch_blob};
use super::client::Hub;
use super::error::HubError;
use super::layout::{FileName, Repository};
use super::listing::{INDEX, Listing, broken, shards, take_inventory};
use super::model_id::{ModelId, is_commit};
use super::options::HubOptions;
use super::watch::{Observer, Watch};

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder with its files.
    pub path: PathBuf,
    /// The commit that they are of.
    pub commit: String,
}

/// Returns a text model of the hub as a folder with `config.json`, `tokenizer.json`, what else
/// there is of `generation_config.json`, `tokenizer_config.json`, `special_tokens_map.json`,
/// `chat_template.jinja` and `chat_template.json`, and `model.safetensors` or
/// `model.safetensors.index.json` with the shards that it names. Other files are not fetched.
///
/// Files that the cache has are not fetched again. Where a commit is named and the cache has all of
/// it, and where options say offline, nothing is asked. Blocks until all is there; `observer` is
/// told how far it is and may stop it, and what has come is gone on with by the next fetch.
///
/// # Errors
/// What the hub refuses; a hub that cannot be reached, although the cache may have the model as of
/// an earlier answer; a model without safetensors; files that come damaged, which are removed; a
/// cache that cannot be written; offline, what the cache does not have.
pub fn fetch(
    options: &HubOptions,
    id: &ModelId,
    observer: &mut Observer<'_>,
) -> Result<Snapshot, HubError> {
    let repository = Repository::new(options, id);
    if options.offline {
        return find(options, &repository, id);
    }
    let commit = id.revision().filter(|revision| is_commit(revision));
    if let Some(commit) = commit {
        let inventory = take_inventory(&repository, id, commit)?;
        if inventory.missing.is_empty() && inventory.unknown.is_empty() {
            return Ok(snapshot(&repository, commit));
        }
    }
    let hub = Hub::new(options)?;
    if Handle::try_current().is_ok() {
        let problem = "a fetch blocks, and was begun where no work may block; a bug";
        return Err(HubError::Run(io::Error::other(problem)));
    }
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(HubError::Run)?;
    let outcome = runtime.block_on(fetch_all(&hub, &repository, id, &mut Watch::new(observer)));
    // A look-up of a host's name cannot be stopped; nobody waits for it.
    runtime.shutdown_background();
    outcome
}

fn snapshot(repository: &Repository, commit: &str) -> Snapshot {
    Snapshot { path: repository.snapshot(commit), commit: commit.to_owned() }
}

/// Returns what the cache has.
fn find(options: &HubOptions, repository: &Repository, id: &ModelId) -> Result<Snapshot, HubError> {
    let lacking = |problem: String| HubError::NotCached {
        cache: options.cache.clone(),
        model: id.to_string(),
        problem,
    };
    let revision = id.meant_revision();
    let commit = match is_commit(revision) {
        true => revision.to_owned(),
        false => repository
            .reference(revision)?
            .ok_or_else(|| lacking(format!("nothing of its revision '{revision}' was fetched")))?,
    };
    let inventory = take_inventory(repository, id, &commit)?;
    match inventory.missing.is_empty() {
        true => Ok(snapshot(repository, &commit)),
        false => {
            let missing = list_some(inventory.missing.iter().map(String::as_str));
            Err(lacking(format!("of commit {commit} it lacks {missing}")))
        }
    }
}

async fn fetch_all(
    hub: &Hub<'_>,
    repository: &Repository,
    id: &ModelId,
    watch: &mut Watch<'_, '_>,
) -> Result<Snapshot, HubError> {
    let answer = hub.listing(id, watch).await;
    let (commit, listing) = answer.map_err(|error| stale(repository, id, error))?;
    let revision = id.meant_revision();
    if is_commit(revision) && revision != commit {
        let url = hub.page(id);
        let problem = format!("asked for the commit {revision}, it has {commit}");
        return Err(HubError::Protocol { url, problem });
    }
    let mut wanted = listing.wanted(id)?;
    let index = FileName::known(INDEX);
    if wanted.last() == Some(&index) {
        fetch_files(hub, repository, id, &commit, &[index], watch).await?;
        wanted.pop();
        wanted.extend(listed_shards(repository, id, &commit, &listing)?);
    }
    fetch_files(hub, repository, id, &commit, &wanted, watch).await?;
    for name in listing.absent() {
        repository.note_absent(&commit, &name);
    }
    if revision != commit {
        repository.set_reference(revision, &commit)?;
    }
    Ok(snapshot(repository, &commit))
}

/// Returns the shards, each of which the model has.
fn listed_shards(
    repository: &Repository,
    id: &ModelId,
    commit: &str,
    listing: &Listing,
) -> Result<Vec<FileName>, HubError> {
    let shards = shards(repository, id, commit)?;
    match shards.iter().find(|shard| !listing.has(shard.as_str())) {
        Some(shard) => {
            let problem = format!("it names '{}', which the model does not have", shard.as_str());
            Err(broken(id, problem))
        }
        None => Ok(shards),
    }
}

/// Fetches the files that a snapshot lacks.
async fn fetch_files(
    hub: &Hub<'_>,
    repository: &Repository,
    id: &ModelId,
    commit: &str,
    files: &[FileName],
    watch: &mut Watch<'_, '_>,
) -> Result<(), HubError> {
    let mut missing = Vec::new();
    for file in files.iter().filter(|file| !repository.has(commit, file)) {
        let content = hub.content(id, commit, file, watch).await?;
        watch.expect(content.size);
        missing.push((file, content));
    }
    for (file, content) in &missing {
        let url = hub.address_of(id, commit, file)?;
        let wanted = Wanted { model: id, file, url, content };
        fetch_blob(hub, repository, &wanted, watch).await?;
        repository.place(commit, file, &content.etag)?;
    }
    Ok(())
}

/// Says of a hub that cannot be asked that the cache has an earlier answer, where it does.
fn stale(repository: &Repository, id: &ModelId, error: HubError) -> HubError {
    let is_away = match &error {
        HubError::Unreachable { .. } | HubError::Busy { .. } => true,
        HubError::Status { status, .. } => *status >= 500,
        _ => false,
    };
    let is_whole = |commit: &String| {
        take_inventory(repository, id, commit).is_ok_and(|i| i.missing.is_empty())
    };
    let commit = match is_away {
        true => repository.reference(id.meant_revision()).ok().flatten().filter(is_whole),
        false => None,
    };
    match commit {
        Some(commit) => HubError::Stale { source: Box::new(error), model: id.repository(), commit },
        None => error,
    }
}
