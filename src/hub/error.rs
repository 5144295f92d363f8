//! Why a model of the hub is not there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A failure of naming, finding or fetching a model of the hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A name is none of a model on the hub.
    #[error(
        "'{text}' names no model of the hub: {problem}; expected 'organisation/name', \
         'organisation/name@revision' or 'hf:organisation/name@revision'"
    )]
    Name {
        /// The name as given.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting cannot be used.
    #[error("{setting} {problem}; expected {expected}")]
    Setting {
        /// Which one, by its environment variable, with its value unless that is a secret.
        setting: String,
        /// What is wrong with it.
        problem: String,
        /// What it must be.
        expected: &'static str,
    },
    /// There is no such model, or nobody may know of it.
    #[error(
        "{endpoint} has no model '{model}', or keeps it private; check the name{token}",
        token = match has_token {
            true => ", and that the account of HF_TOKEN may read it",
            false => ", or set HF_TOKEN to a token of an account that may read it",
        }
    )]
    NoModel {
        /// The address of the hub.
        endpoint: String,
        /// The model.
        model: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The model has no such branch, tag or commit.
    #[error(
        "the model '{model}' has no revision '{revision}'; see its branches and tags at {page}"
    )]
    NoRevision {
        /// The model.
        model: String,
        /// The revision that was asked for.
        revision: String,
        /// Where its revisions are listed.
        page: String,
    },
    /// The hub lists a file and does not have it.
    #[error("the hub has no file '{file}' of the model '{model}'")]
    NoFile {
        /// The model.
        model: String,
        /// The file.
        file: String,
    },
    /// Terms have to be accepted first.
    #[error(
        "the model '{model}' is gated: accept its terms at {page}{token}",
        token = match has_token {
            true => " with the account of HF_TOKEN, and wait until access is granted",
            false => " and set HF_TOKEN to a token of that account",
        }
    )]
    Gated {
        /// The model.
        model: String,
        /// Where its terms are.
        page: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The token is none.
    #[error(
        "{endpoint} does not know the token: {message}; set HF_TOKEN to a valid one, or unset it"
    )]
    Token {
        /// The address of the hub.
        endpoint: String,
        /// What the hub says.
        message: String,
    },
    /// Access is denied for another reason than terms.
    #[error("access to {url} is denied: {message}; check what the token in HF_TOKEN may read")]
    Forbidden {
        /// The address.
        url: String,
        /// What the hub says.
        message: String,
    },
    /// The hub wants fewer requests.
    #[error(
        "{url} takes no more requests for now{after}; try again later{token}",
        after = after.map(|time| format!(" ({} s)", time.as_secs())).unwrap_or_default(),
        token = if *has_token { "" } else { ", or set HF_TOKEN: with a token more are taken" }
    )]
    Busy {
        /// The address.
        url: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The hub or the store behind it answers with another status.
    #[error("{url} answers {status}: {message}")]
    Status {
        /// The address.
        url: String,
        /// The status of HTTP.
        status: u16,
        /// What the answer says.
        message: String,
    },
    /// Nothing answers, or the connection broke.
    #[error("{url} cannot be reached: {problem}")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong.
        problem: String,
    },
    /// The hub cannot be asked which commit a revision is, and the cache has an earlier answer.
    #[error(
        "{source}; the cache has '{model}' as of an earlier answer: name that as \
         '{model}@{commit}', or set HF_HUB_OFFLINE=1"
    )]
    Stale {
        /// Why the hub cannot be asked.
        source: Box<HubError>,
        /// The model.
        model: String,
        /// The commit in the cache.
        commit: String,
    },
    /// What answers is no hub.
    #[error("{url} does not answer as a Hugging Face hub: {problem}; check HF_ENDPOINT")]
    Protocol {
        /// The address.
        url: String,
        /// What is missing or wrong.
        problem: String,
    },
    /// The model is stored in a form that is of no use here.
    #[error("the model '{model}' has no {missing}: {found}; choose a model that has it")]
    Unusable {
        /// The model.
        model: String,
        /// The file that it would need.
        missing: String,
        /// What it has instead.
        found: String,
    },
    /// The list of a model's shards is broken.
    #[error("'{file}' of the model '{model}': {problem}; the model is broken on the hub")]
    Index {
        /// The model.
        model: String,
        /// The list.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The bytes that came are not those of the file. They are gone.
    #[error(
        "'{file}' came damaged: {found}, expected {expected}; what was fetched of it \
         ({path}) is removed, fetch it again",
        path = path.display()
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where its bytes were.
        path: PathBuf,
        /// What came.
        found: String,
        /// What the hub promised.
        expected: String,
    },
    /// The hub must not be asked and the cache does not have it.
    #[error(
        "the cache at {cache} does not have the model '{model}': {problem}; unset \
         HF_HUB_OFFLINE to fetch it",
        cache = cache.display()
    )]
    NotCached {
        /// The folder of the cache.
        cache: PathBuf,
        /// The model, with its revision.
        model: String,
        /// What is missing.
        problem: String,
    },
    /// Who watches wished to end. What was fetched stays.
    #[error("fetching was stopped; what has come is kept and gone on with next time")]
    Stopped,
    /// A file of the cache cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing can be sent from here.
    #[error("the hub cannot be asked: {0}")]
    Run(#[source] io::Error),
}

/// Returns how a failure at a path is told.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::Io { path, source }
}
