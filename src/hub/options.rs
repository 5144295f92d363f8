//! What a fetch is given: where the hub and the cache are, who asks, how long to wait.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The address of the hub.
pub const ENDPOINT: &str = "https://huggingface.co";

/// What a fetch is given from outside.
#[derive(Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// The address of the hub or of a mirror, with a path or without (`HF_ENDPOINT`).
    pub endpoint: String,
    /// The folder of the cache (`HF_HUB_CACHE`); it is made where it is missing.
    pub cache: PathBuf,
    /// Who asks (`HF_TOKEN`). It goes to the endpoint, and to the hub itself where a mirror
    /// redirects there; to no other host.
    pub token: Option<String>,
    /// Whether only the cache may be used (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Whether snapshots link to blobs; else, and where links cannot be made, they hold copies
    /// (`HF_HUB_DISABLE_SYMLINKS` turns it off).
    pub symlinks: bool,
    /// The address of a proxy that all requests go through (`HTTPS_PROXY`).
    pub proxy: Option<String>,
    /// Hosts that are asked without the proxy, between commas (`NO_PROXY`).
    pub no_proxy: Option<String>,
    /// How long to wait, and how often to try again.
    pub patience: Patience,
}

/// How long to wait for the hub, and how often to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The pauses before further tries; their number is the number of those. Tries in a row count:
    /// once a mebibyte has come, they begin again.
    pub pauses: Vec<Duration>,
    /// The longest pause that the hub may ask for (`Retry-After`); where it asks for more, the
    /// fetch ends with an error.
    pub pause_max: Duration,
    /// How long nothing may come before a connection counts as cut.
    pub silence_max: Duration,
}

impl HubOptions {
    /// Returns options for a cache at `cache`: the public hub, no token, links, no proxy.
    pub fn new(cache: impl Into<PathBuf>) -> HubOptions {
        HubOptions {
            endpoint: ENDPOINT.to_owned(),
            cache: cache.into(),
            token: None,
            offline: false,
            symlinks: true,
            proxy: None,
            no_proxy: None,
            patience: Patience::default(),
        }
    }
}

impl Default for Patience {
    /// Three further tries after 1, 2 and 4 s, pauses to 5 minutes (the window of the hub's
    /// limits), 30 s of silence.
    fn default() -> Patience {
        Patience {
            pauses: [1, 2, 4].map(Duration::from_secs).to_vec(),
            pause_max: Duration::from_secs(300),
            silence_max: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for HubOptions {
    /// Writes all but the token and the proxy, whose address may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("has_token", &self.token.is_some())
            .field("offline", &self.offline)
            .field("symlinks", &self.symlinks)
            .field("has_proxy", &self.proxy.is_some())
            .field("no_proxy", &self.no_proxy)
            .field("patience", &self.patience)
            .finish()
    }
}
