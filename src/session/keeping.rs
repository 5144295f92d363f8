//! Looking after a database: what it takes, its backups, its repair.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::SessionError;
use super::statement::{Session, SessionOptions};
use crate::store::{Backup, Limits, RepairReport, Store, StoreStats, Swept, folder_bytes, restore};

/// What a database holds, and what it takes on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The records.
    pub store: StoreStats,
    /// Labels that have a column.
    pub label_columns: usize,
    /// Bytes of each folder that is there.
    pub folders: Vec<(&'static str, u64)>,
    /// Bytes of text that imports read; `None` where one of them did not note it.
    pub imported_bytes: Option<u64>,
}

impl Session {
    /// Returns what the database holds and takes.
    ///
    /// # Errors
    /// Damage, or what the disk says; `Cancelled`.
    pub fn stats(&self) -> Result<Stats, SessionError> {
        let view = self.database().view();
        self.progress().begin("counting", 0);
        let store = view.census(&mut |done, all| {
            self.progress().set(done, all);
            !self.cancel().is_cancelled()
        });
        self.progress().end();
        let store = store?;
        if store.texts.is_none() {
            return Err(SessionError::Cancelled);
        }
        let folders = self.folders()?;
        let runs = self.database().store().runs()?;
        let imports = runs.iter().filter(|run| run.kind == "import").map(|run| {
            let output: Value = serde_json::from_str(run.output.as_deref()?).ok()?;
            output["bytes"].as_u64()
        });
        let imported_bytes = imports.sum::<Option<u64>>();
        Ok(Stats { store, label_columns: view.labels().len(), folders, imported_bytes })
    }

    /// Returns the bytes of each folder of the database that is there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn folders(&self) -> Result<Vec<(&'static str, u64)>, SessionError> {
        let path = self.database().store().path();
        let mut folders = Vec::new();
        for name in ["records", "text", "corpora", "runs"] {
            let folder = path.join(name);
            if folder.is_dir() {
                let bytes = folder_bytes(&folder)?;
                folders.push((name, bytes));
            }
        }
        Ok(folders)
    }

    /// Writes a backup into a folder that is missing or empty.
    ///
    /// # Errors
    /// Something is in it; what the disk says; `Cancelled`.
    pub fn backup(&self, to: &Path) -> Result<Backup, SessionError> {
        self.progress().begin("backing up", 0);
        let written = self.database().store().backup(to, &mut |done, all| {
            self.progress().set(done, all);
            !self.cancel().is_cancelled()
        });
        self.progress().end();
        written?.ok_or(SessionError::Cancelled)
    }

    /// Folds what waits, removes what deleted trajectories left behind, full text included, and
    /// merges the files of every family.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn compact(&self) -> Result<Swept, SessionError> {
        let swept = self.database().store().compact()?;
        if swept.trajectories > 0 {
            let failed = |e| SessionError::Environment(format!("removing full text: {e}"));
            self.database().drop_text().map_err(failed)?;
        }
        Ok(swept)
    }
}

/// Makes a database from a backup. `told` hears of bytes done and of all, and says false to stop.
///
/// # Errors
/// There is no whole backup, or something is where the database is to be; what the disk says;
/// `Cancelled`.
pub fn restore_backup(
    from: &Path,
    to: &Path,
    told: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Backup, SessionError> {
    restore(from, to, told)?.ok_or(SessionError::Cancelled)
}

/// Makes everything that is derived anew: the columns from the records, at once; full text and
/// indices of corpora when they are asked for. `told` hears of trajectories done and of all.
///
/// # Errors
/// A record that cannot be read; what the disk says; `Cancelled`.
pub fn repair(
    path: &Path,
    options: SessionOptions,
    told: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<RepairReport, SessionError> {
    let limits = Limits { memory_bytes: options.memory_bytes / 2 };
    let repaired = Store::repair(path, limits, told)?;
    let report = repaired.ok_or(SessionError::Cancelled)?;
    for folder in derived(path) {
        std::fs::remove_dir_all(&folder)
            .map_err(|e| SessionError::Environment(format!("{}: {e}", folder.display())))?;
    }
    Ok(report)
}

/// Returns the folders that are made again by whoever needs them: full text, and ranked indices of
/// corpora. The vectors that lie beside these are not: a model made them.
fn derived(path: &Path) -> Vec<PathBuf> {
    let corpora = std::fs::read_dir(path.join("corpora")).into_iter().flatten().flatten();
    let indices = corpora.map(|entry| entry.path());
    std::iter::once(path.join("text")).chain(indices).filter(|folder| folder.is_dir()).collect()
}
