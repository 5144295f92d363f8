//! Backups: what is true, with a manifest of hashes, in a folder of its own.
//!
//! ```text
//!   BACKUP.json    what it is of, and every other file with its length and BLAKE3; written last
//!   records/       a checkpoint of RocksDB
//!   runs/          checkpoints of training runs
//!   corpora/       vectors of documents, and which model made them
//! ```
//! Full text and ranked indices are made again from the records by whoever needs them. On one file
//! system tables are links to the database's own, which never change; elsewhere they are copies.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::open::{Store, write_marker};
use crate::codec::FORMAT_VERSION;
use crate::diag::hexadecimal;

/// The manifest's file.
const MANIFEST: &str = "BACKUP.json";

/// What is kept; all else is made from it.
const FOLDERS: [&str; 3] = ["records", "runs", "corpora"];

/// A backup, as its manifest says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The format version of the database.
    pub format: u32,
    /// The random number that names the database, in hexadecimal digits.
    pub database: String,
    /// The last commit that is in it; later ones may be too.
    pub sequence: u64,
    /// Its files.
    pub files: Vec<BackupFile>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its place below the backup's folder, with `/` between folders.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// BLAKE3 of its content, in hexadecimal digits.
    pub blake3: String,
}

impl Backup {
    /// Returns the bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Told the bytes done and of all; returns false to stop.
pub type Progress<'a> = dyn FnMut(u64, u64) -> bool + 'a;

impl Store {
    /// Writes a backup into the folder `to`, which must be missing or empty, and is empty again
    /// where it does not come to its end. `None`: it was stopped.
    ///
    /// # Errors
    /// Something is in the folder; what the disk says.
    pub fn backup(
        &self,
        to: &Path,
        progress: &mut Progress<'_>,
    ) -> Result<Option<Backup>, StoreError> {
        fresh(to)?;
        let written = self.write_backup(to, progress);
        if !matches!(written, Ok(Some(_))) {
            for name in FOLDERS {
                // What cannot be removed is no backup either: there is no manifest.
                let _ = fs::remove_dir_all(to.join(name));
            }
        }
        written
    }

    fn write_backup(
        &self,
        to: &Path,
        progress: &mut Progress<'_>,
    ) -> Result<Option<Backup>, StoreError> {
        let sequence = self.state().sequence;
        self.engine.checkpoint(&to.join("records"))?;
        let runs = files(&self.path.join("runs"))?.into_iter();
        let corpora = files(&self.path.join("corpora"))?.into_iter();
        // Folders there are indices, which are made again.
        let vectors = corpora.filter(|file| file.components().count() == 1);
        let runs = runs.map(|file| Path::new("runs").join(file));
        for file in runs.chain(vectors.map(|file| Path::new("corpora").join(file))) {
            let (source, place) = (self.path.join(&file), to.join(&file));
            // A run that is at work removes what it has replaced.
            if source.is_file() {
                make_parent(&place)?;
                hashed(&source, Some(&place), &mut |_| true)?;
            }
        }
        let mut found = Vec::new();
        for folder in FOLDERS {
            let below = to.join(folder);
            if below.is_dir() {
                found.extend(files(&below)?.into_iter().map(|file| Path::new(folder).join(file)));
            }
        }
        let mut all = 0;
        for file in &found {
            all += length(&to.join(file))?;
        }
        let (mut done, mut listed) = (0, Vec::new());
        for file in found {
            let source = to.join(&file);
            let Some((bytes, hash)) = hashed(&source, None, &mut |more| {
                done += more;
                progress(done, all)
            })?
            else {
                return Ok(None);
            };
            let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
            listed.push(BackupFile { path: parts.join("/"), bytes, blake3: hash });
        }
        let backup = Backup {
            format: FORMAT_VERSION,
            database: hexadecimal(&self.identity),
            sequence,
            files: listed,
        };
        sync_parents(to, &backup)?;
        let place = to.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&backup).unwrap_or_default();
        durable_file(&place, &text)?;
        sync_folder(to)?;
        Ok(Some(backup))
    }
}

/// Makes the database at `to`, which must be missing or empty, from the backup in the folder
/// `from`. Every file is compared with its hash while it is copied, and the database is one only
/// when all were. `None`: it was stopped.
///
/// # Errors
/// There is no backup; a file is missing or not what was written; it is of a newer format; what the
/// disk says.
pub fn restore(
    from: &Path,
    to: &Path,
    progress: &mut Progress<'_>,
) -> Result<Option<Backup>, StoreError> {
    let backup = manifest(from)?;
    fresh(to)?;
    let all = backup.bytes();
    let mut done = 0;
    for file in &backup.files {
        let (source, place) = (from.join(&file.path), to.join(&file.path));
        let damaged = |why: String| StoreError::Damaged {
            place: format!("backup file {}", source.display()),
            why,
        };
        if !source.is_file() {
            return Err(damaged("it is missing".to_owned()));
        }
        make_parent(&place)?;
        let told = &mut |more| {
            done += more;
            progress(done, all)
        };
        let Some((bytes, hash)) = hashed(&source, Some(&place), told)? else { return Ok(None) };
        if bytes != file.bytes {
            return Err(damaged(format!("{bytes} bytes, the manifest says {}", file.bytes)));
        }
        if hash != file.blake3 {
            return Err(damaged("its content is not what was written".to_owned()));
        }
    }
    sync_parents(to, &backup)?;
    write_marker(to)?;
    sync_folder(to)?;
    Ok(Some(backup))
}

fn manifest(from: &Path) -> Result<Backup, StoreError> {
    let path = from.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => StoreError::NotADatabase {
            path: from.to_owned(),
            why: format!("it has no file {MANIFEST}, which is written when a backup is whole"),
        },
        _ => StoreError::io("reading", &path)(error),
    })?;
    let damaged = |why: String| StoreError::Damaged { place: format!("{}", path.display()), why };
    let backup: Backup = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if backup.format > FORMAT_VERSION {
        return Err(StoreError::Newer { path: from.to_owned(), found: backup.format });
    }
    let is_below = |file: &BackupFile| {
        let parts: Vec<&str> = file.path.split('/').collect();
        parts.len() > 1
            && FOLDERS.contains(&parts[0])
            && parts.iter().all(|part| !part.is_empty() && *part != "." && *part != "..")
    };
    match backup.files.iter().find(|file| !is_below(file)) {
        Some(file) => Err(damaged(format!("it names '{}', which is no place here", file.path))),
        None => Ok(backup),
    }
}

/// Returns the bytes of all files below a folder.
///
/// # Errors
/// What the disk says.
pub fn folder_bytes(folder: &Path) -> Result<u64, StoreError> {
    files(folder)?.into_iter().map(|file| length(&folder.join(file))).sum()
}

/// Makes a folder, or takes an empty one.
fn fresh(folder: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
    let mut entries = fs::read_dir(folder).map_err(StoreError::io("reading", folder))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            let doing = format!("writing into {}", folder.display());
            let why = "something is in it; expected a folder that is missing or empty".to_owned();
            Err(StoreError::Environment { doing, why })
        }
    }
}

/// Returns the files below a folder, by their places in it, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let (mut found, mut waiting) = (Vec::new(), vec![PathBuf::new()]);
    if !folder.is_dir() {
        return Ok(found);
    }
    while let Some(below) = waiting.pop() {
        let place = folder.join(&below);
        for entry in fs::read_dir(&place).map_err(StoreError::io("reading", &place))? {
            let entry = entry.map_err(StoreError::io("reading", &place))?;
            let path = below.join(entry.file_name());
            match entry.file_type().map_err(StoreError::io("reading", &place))?.is_dir() {
                true => waiting.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Makes durable which files there are in the folders of a backup.
fn sync_parents(root: &Path, backup: &Backup) -> Result<(), StoreError> {
    let files = backup.files.iter().map(|file| root.join(&file.path));
    let folders: BTreeSet<PathBuf> = files
        .flat_map(|file| {
            let below = file.ancestors().skip(1).take_while(|folder| *folder != root);
            below.map(Path::to_owned).collect::<Vec<_>>()
        })
        .collect();
    folders.iter().try_for_each(|folder| sync_folder(folder))
}

fn length(path: &Path) -> Result<u64, StoreError> {
    Ok(fs::metadata(path).map_err(StoreError::io("reading", path))?.len())
}

fn make_parent(path: &Path) -> Result<(), StoreError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(StoreError::io("creating", parent))
}

/// Returns length and hash of a file, which is copied to `to` and synced there if it is given;
/// `None`: `told`, which hears of more bytes, said to stop.
fn hashed(
    path: &Path,
    to: Option<&Path>,
    told: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<(u64, String)>, StoreError> {
    const BLOCK_BYTES: usize = 1 << 20;
    let mut file = File::open(path).map_err(StoreError::io("reading", path))?;
    let mut copy = match to {
        None => None,
        Some(to) => Some((File::create(to).map_err(StoreError::io("writing", to))?, to)),
    };
    let (mut hasher, mut bytes, mut block) = (blake3::Hasher::new(), 0, vec![0; BLOCK_BYTES]);
    loop {
        let read = file.read(&mut block).map_err(StoreError::io("reading", path))?;
        if read == 0 {
            break;
        }
        hasher.update(&block[..read]);
        if let Some((copy, to)) = &mut copy {
            copy.write_all(&block[..read]).map_err(StoreError::io("writing", to))?;
        }
        bytes += read as u64;
        if !told(read as u64) {
            return Ok(None);
        }
    }
    if let Some((copy, to)) = copy {
        copy.sync_all().map_err(StoreError::io("writing", to))?;
    }
    Ok(Some((bytes, hasher.finalize().to_hex().to_string())))
}

/// Writes a file that survives a power cut once this returns.
pub(super) fn durable_file(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    durable_bytes(path, content).map_err(StoreError::io("writing", path))
}

/// As [`durable_file`], with the system's own error.
pub(super) fn durable_bytes(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = File::open(path).map_err(StoreError::io("reading", path))?;
    folder.sync_all().map_err(StoreError::io("writing", path))
}
