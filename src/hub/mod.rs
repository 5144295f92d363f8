//! Models of the Hugging Face hub: a blocking client and the cache that it shares with
//! `huggingface_hub`, the library of Python.
//!
//! ```text
//! CACHE/
//!   .locks/models--ORG--NAME/ETAG.lock           held while a blob is fetched (flock)
//!   models--ORG--NAME/
//!     blobs/ETAG                                 a content; large ones are named by their SHA-256
//!     blobs/ETAG.incomplete                      what is there of one so far; gone on with
//!     refs/main                                  the commit of a branch or a tag
//!     snapshots/COMMIT/config.json               -> ../../blobs/ETAG
//!     .no_exist/COMMIT/chat_template.jinja       empty: the commit has no such file
//!     trees/COMMIT.json                          all files of a commit; read and never written
//! ```
//!
//! A content is whole before it has its name, a reference is written when all that it leads to is
//! there, and a commit never changes: what is found under a name can be used without asking.
//!
//! 1. `GET ENDPOINT/api/models/ORG/NAME/revision/REVISION` says which commit it is and which files
//!    there are.
//! 2. `HEAD ENDPOINT/ORG/NAME/resolve/COMMIT/FILE` says a file's `X-Repo-Commit`, `X-Linked-Etag`
//!    (or `ETag`) and `X-Linked-Size` (or `Content-Length`), also where it redirects to a store.
//! 3. `GET` of the same address fetches it, with `Range` from where an earlier try stopped.
//!
//! Nothing here reads the environment or a clock: endpoint, cache, token and waits are handed in.

mod blob;
mod client;
mod error;
mod fetch;
mod layout;
mod listing;
mod lock;
mod model_id;
mod options;
mod variables;
mod watch;

pub use error::HubError;
pub use fetch::{Snapshot, fetch};
pub use model_id::ModelId;
pub use options::{ENDPOINT, HubOptions, Patience};
pub use watch::{FetchEvent, Observer};
