//! Options from the variables that `huggingface_hub` reads, which the caller looks up.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::error::{HubError, at};
use super::options::HubOptions;

/// What a variable that is a yes may say, in capitals.
const YES: &[&str] = &["1", "ON", "YES", "TRUE"];

/// A look-up of a variable by its name.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl HubOptions {
    /// Returns the options that `huggingface_hub` would have where `lookup` finds the environment's
    /// variables. An empty one counts as absent.
    ///
    /// - `endpoint`: `HF_ENDPOINT`
    /// - `cache`: the first of `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`/hub,
    ///   `XDG_CACHE_HOME`/huggingface/hub, ~/.cache/huggingface/hub
    /// - `token`: the first of `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, what stands in the file
    ///   `HF_TOKEN_PATH`, in `HF_HOME`/token; none with `HF_HUB_DISABLE_IMPLICIT_TOKEN`
    /// - `offline`: `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`
    /// - `symlinks`: not `HF_HUB_DISABLE_SYMLINKS`
    /// - `proxy`: the first of `HTTPS_PROXY`, `https_proxy`, `ALL_PROXY`, `all_proxy`
    /// - `no_proxy`: `NO_PROXY`, `no_proxy`
    ///
    /// # Errors
    /// Where none of them says where the cache is (no `HOME`), and a token's file that cannot be
    /// read.
    pub fn from_variables(lookup: Lookup) -> Result<HubOptions, HubError> {
        let lookup: Lookup = &|name| lookup(name).filter(|value| !value.trim().is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| lookup(name));
        let is_yes = |names: &[&str]| {
            first(names).is_some_and(|value| YES.contains(&value.to_uppercase().as_str()))
        };
        let cache = match first(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]) {
            Some(path) => expand(&path, lookup)?,
            None => home(lookup)?.join("hub"),
        };
        let mut options = HubOptions::new(cache);
        if let Some(endpoint) = lookup("HF_ENDPOINT") {
            options.endpoint = endpoint;
        }
        options.offline = is_yes(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]);
        options.symlinks = !is_yes(&["HF_HUB_DISABLE_SYMLINKS"]);
        options.proxy = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
        options.no_proxy = first(&["NO_PROXY", "no_proxy"]);
        if !is_yes(&["HF_HUB_DISABLE_IMPLICIT_TOKEN"]) {
            options.token = match first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
                Some(token) => Some(token.trim().to_owned()),
                None => stored_token(lookup)?,
            };
        }
        Ok(options)
    }
}

/// Returns the folder of everything that belongs to Hugging Face.
fn home(lookup: Lookup) -> Result<PathBuf, HubError> {
    match (lookup("HF_HOME"), lookup("XDG_CACHE_HOME")) {
        (Some(home), _) => expand(&home, lookup),
        (None, Some(caches)) => Ok(expand(&caches, lookup)?.join("huggingface")),
        (None, None) => expand("~/.cache/huggingface", lookup),
    }
}

/// Returns the token that a log-in left in a file.
fn stored_token(lookup: Lookup) -> Result<Option<String>, HubError> {
    let path = match lookup("HF_TOKEN_PATH") {
        Some(path) => expand(&path, lookup)?,
        // Without a home there is no file either.
        None => match home(lookup) {
            Ok(home) => home.join("token"),
            Err(_) => return Ok(None),
        },
    };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(&path)(error)),
    }
}

/// Returns a path with the user's folder in place of a leading `~`.
fn expand(path: &str, lookup: Lookup) -> Result<PathBuf, HubError> {
    let Some(rest) = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'))
    else {
        return Ok(PathBuf::from(path));
    };
    let user = lookup("HOME").or_else(|| lookup("USERPROFILE")).ok_or(HubError::Setting {
        setting: "the folder of the cache".to_owned(),
        problem: "is unknown, since HOME is not set".to_owned(),
        expected: "HF_HUB_CACHE or HF_HOME to name a folder",
    })?;
    Ok(PathBuf::from(user).join(rest.trim_start_matches('/')))
}
