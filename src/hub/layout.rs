//! Where things lie in the cache, and how they get there.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{HubError, at};
use super::model_id::{ModelId, is_commit, is_lower_hexadecimal};
use super::options::HubOptions;

/// The most characters of an `ETag`, which is a name of a file.
const ETAG_CHARACTERS_MAX: usize = 200;

/// The most bytes of a part of a file's name.
const PART_BYTES_MAX: usize = 255;

/// The name of a file in a model: parts between `/`, none of which leads out of its folder on any
/// system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileName(String);

/// What names a content: the `ETag` of its file without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Etag(String);

/// The part of a cache that belongs to one model.
pub(super) struct Repository {
    folder: PathBuf,
    locks: PathBuf,
    has_symlinks: bool,
}

impl FileName {
    /// Checks a name that came from elsewhere, or says what is wrong with it.
    pub fn parse(name: &str) -> Result<FileName, String> {
        let shown = name.escape_debug();
        if let Some(c) = name.chars().find(|&c| c.is_control() || matches!(c, '\\' | ':')) {
            return Err(format!("the file name '{shown}' has '{}'", c.escape_debug()));
        }
        let leads_out = |part: &str| part.is_empty() || part == "." || part == "..";
        if name.split('/').any(leads_out) {
            return Err(format!("the file name '{shown}' leads out of the model's folder"));
        }
        match name.split('/').any(|part| part.len() > PART_BYTES_MAX) {
            true => Err(format!("the file name '{shown}' is too long")),
            false => Ok(FileName(name.to_owned())),
        }
    }

    /// Returns one of the names that are known here.
    pub fn known(name: &'static str) -> FileName {
        FileName(name.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn below(&self, folder: &Path) -> PathBuf {
        let mut path = folder.to_owned();
        path.extend(self.0.split('/'));
        path
    }
}

impl Etag {
    /// Reads the value of a header, `"abc"` or `W/"abc"`, or says what is wrong with it.
    pub fn parse(value: &str) -> Result<Etag, String> {
        let text = value.trim_start_matches(['W', '/']).trim_matches('"');
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_+=".contains(c);
        let length = text.chars().count();
        match (1..=ETAG_CHARACTERS_MAX).contains(&length) && text.chars().all(is_allowed) {
            true => Ok(Etag(text.to_owned())),
            false => Err(format!("the ETag '{}' cannot name a file", value.escape_debug())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether it is a SHA-256; contents that are not large have Git's SHA-1 as theirs.
    pub fn is_sha256(&self) -> bool {
        self.0.len() == 64 && is_lower_hexadecimal(&self.0)
    }
}

impl Repository {
    pub fn new(options: &HubOptions, id: &ModelId) -> Repository {
        let name = format!("models--{}--{}", id.owner(), id.name());
        Repository {
            locks: options.cache.join(".locks").join(&name),
            folder: options.cache.join(&name),
            has_symlinks: options.symlinks,
        }
    }

    pub fn blob(&self, etag: &Etag) -> PathBuf {
        self.folder.join("blobs").join(etag.as_str())
    }

    /// Where a content is while it comes.
    pub fn partial(&self, etag: &Etag) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", etag.as_str()))
    }

    /// A name for a content while it comes that no other process uses.
    pub fn own_partial(&self, etag: &Etag) -> PathBuf {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let name = format!("{}.{process}-{number}.incomplete", etag.as_str());
        self.folder.join("blobs").join(name)
    }

    pub fn lock(&self, etag: &Etag) -> PathBuf {
        self.locks.join(format!("{}.lock", etag.as_str()))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub fn file(&self, commit: &str, name: &FileName) -> PathBuf {
        name.below(&self.snapshot(commit))
    }

    /// Returns whether a snapshot has a file and its content is there.
    pub fn has(&self, commit: &str, name: &FileName) -> bool {
        self.file(commit, name).is_file()
    }

    /// Returns the text of the list of all files of a commit, which `huggingface_hub` keeps.
    pub fn tree(&self, commit: &str) -> Option<String> {
        fs::read_to_string(self.folder.join("trees").join(format!("{commit}.json"))).ok()
    }

    /// Returns whether it is noted that a commit does not have a file.
    pub fn is_absent(&self, commit: &str, name: &FileName) -> bool {
        self.absence(commit, name).is_file()
    }

    /// Notes that a commit does not have a file. Without the note one question is asked again, so
    /// that a cache that cannot be written is none to tell of.
    pub fn note_absent(&self, commit: &str, name: &FileName) {
        let path = self.absence(commit, name);
        if path.exists() {
            return;
        }
        let _noted = make_folder_of(&path).and_then(|()| fs::write(&path, "").map_err(at(&path)));
    }

    fn absence(&self, commit: &str, name: &FileName) -> PathBuf {
        name.below(&self.folder.join(".no_exist").join(commit))
    }

    /// Returns the commit that a branch or a tag was when the hub was asked last.
    pub fn reference(&self, revision: &str) -> Result<Option<String>, HubError> {
        let path = self.reference_path(revision);
        let is_none = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
        match fs::read_to_string(&path) {
            Ok(text) if is_commit(text.trim()) => Ok(Some(text.trim().to_owned())),
            Ok(text) => {
                let problem =
                    format!("it holds '{}' and no commit; remove it", text.escape_debug());
                Err(at(&path)(io::Error::new(ErrorKind::InvalidData, problem)))
            }
            Err(error) if is_none(error.kind()) || path.is_dir() => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Writes which commit a branch or a tag is, unless it is written already.
    pub fn set_reference(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.reference_path(revision);
        if fs::read_to_string(&path).is_ok_and(|text| text == commit) {
            return Ok(());
        }
        make_folder_of(&path)?;
        let own = self.own_partial(&Etag(format!("ref-{commit}")));
        make_folder_of(&own)?;
        let written = fs::write(&own, commit).map_err(at(&own));
        settle(written, &own, &path)
    }

    fn reference_path(&self, revision: &str) -> PathBuf {
        let mut path = self.folder.join("refs");
        path.extend(revision.split('/'));
        path
    }

    /// Puts a blob into a snapshot under a file's name: a link where that is possible, else a copy.
    pub fn place(&self, commit: &str, name: &FileName, etag: &Etag) -> Result<(), HubError> {
        let path = self.file(commit, name);
        make_folder_of(&path)?;
        let own = self.own_partial(etag);
        if self.has_symlinks {
            let depth = name.as_str().split('/').count() + 1;
            let target = format!("{}blobs/{}", "../".repeat(depth), etag.as_str());
            if link(Path::new(&target), &own).is_ok() {
                return settle(Ok(()), &own, &path);
            }
        }
        let blob = self.blob(etag);
        let written = fs::hard_link(&blob, &own).or_else(|_| copy(&blob, &own)).map_err(at(&own));
        settle(written, &own, &path)
    }
}

/// Makes the folders that a file needs.
pub(super) fn make_folder_of(path: &Path) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(at(folder))
}

/// Gives a file its name, and makes that outlast a loss of power.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), HubError> {
    fs::rename(from, to).map_err(at(to))?;
    sync_folder_of(to)
}

/// Gives a file that only this process knows its name, or removes it where that fails.
fn settle(written: Result<(), HubError>, own: &Path, path: &Path) -> Result<(), HubError> {
    let outcome = written.and_then(|()| rename(own, path));
    if outcome.is_err() {
        let _removed = fs::remove_file(own);
    }
    outcome
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    fs::File::open(to)?.sync_all()
}

#[cfg(unix)]
fn sync_folder_of(path: &Path) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    fs::File::open(folder).and_then(|file| file.sync_all()).map_err(at(folder))
}

#[cfg(not(unix))]
fn sync_folder_of(_path: &Path) -> Result<(), HubError> {
    Ok(())
}

#[cfg(unix)]
fn link(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn link(target: &Path, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, path)
}
