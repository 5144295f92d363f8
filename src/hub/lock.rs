//! One process at a time fetches a content.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::error::{HubError, at};
use super::layout::make_folder_of;
use super::watch::Watch;

/// How often a lock that another process holds is tried.
const TRIED_EVERY: Duration = Duration::from_millis(50);

/// A lock on a file, as Python's filelock takes it (`flock`), until it is dropped. The file stays.
pub(super) struct Lock(Option<File>);

impl Lock {
    /// Waits until no other process has the lock.
    pub async fn acquire(path: &Path, watch: &mut Watch<'_, '_>) -> Result<Lock, HubError> {
        make_folder_of(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // Others who share the cache take the same lock.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o664);
        let file = options.open(path).map_err(at(path))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(Some(file))),
                Err(TryLockError::WouldBlock) => {
                    watch.locked()?;
                    tokio::time::sleep(TRIED_EVERY).await;
                }
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    return Ok(Lock(None));
                }
                Err(TryLockError::Error(error)) => return Err(at(path)(error)),
            }
        }
    }

    /// Returns whether others are kept out: not every file system has locks.
    pub fn is_held(&self) -> bool {
        self.0.is_some()
    }
}
