//! Building: threads that fill segments, and the one rename that makes an index of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};

use super::analysis::AnalysisFactory;
use super::batches::{Batch, Batches, queue};
use super::error::RankingError;
use super::files;
use super::manifest::{Manifest, SegmentEntry};
use super::names::NamesWriter;
use super::segment_writer::SegmentWriter;

/// The least memory a thread works with: pieces of the log have a mebibyte for each field.
const THREAD_BYTES_MIN: usize = 8 << 20;

/// The most documents of an index: a number is left for none.
const DOCUMENTS_MAX: u32 = i32::MAX as u32 - 1;

/// How an index is built. None of it changes an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// Threads that analyse and index; at least 1.
    pub threads: usize,
    /// Memory for all threads together; each takes some 8 MiB at least. Where three quarters are
    /// full a segment ends, and fewer segments answer faster. While a segment is written, twenty
    /// bytes for each of its terms, and the postings of the most frequent term, may come on top.
    pub memory_bytes: usize,
    /// The most documents of a segment.
    pub segment_documents_max: usize,
}

impl Default for BuildOptions {
    /// One thread, 512 MiB, segments as large as memory allows.
    fn default() -> BuildOptions {
        BuildOptions { threads: 1, memory_bytes: 512 << 20, segment_documents_max: usize::MAX }
    }
}

/// Builds a ranked index from documents in the order of their numbers.
///
/// Until [`RankedIndexBuilder::finish`] returns, the directory holds what it held before; a builder
/// that is dropped, or a process that is killed, leaves at most a folder beside it, which the next
/// builder removes.
pub struct RankedIndexBuilder {
    directory: PathBuf,
    partial: PathBuf,
    fields: Vec<String>,
    names: Option<NamesWriter>,
    batch: Batch,
    sender: Option<SyncSender<Batch>>,
    workers: Vec<JoinHandle<Result<Vec<SegmentEntry>, RankingError>>>,
}

impl RankedIndexBuilder {
    /// Begins an index in `directory`, which is replaced at the end if it exists. Only one builder
    /// may work on a directory at a time.
    ///
    /// `fields` are the scored fields, at least one.
    ///
    /// # Errors
    /// `BadParameter` without fields; `Io`.
    pub fn create(
        directory: &Path,
        fields: &[&str],
        factory: AnalysisFactory,
        options: &BuildOptions,
    ) -> Result<RankedIndexBuilder, RankingError> {
        if fields.is_empty() {
            return Err(RankingError::BadParameter {
                name: "fields",
                found: "empty".to_owned(),
                expected: "at least one name",
            });
        }
        let partial = beside(directory, "partial")?;
        remove(&partial)?;
        fs::create_dir_all(&partial).map_err(RankingError::io(&partial, "created"))?;
        let names = NamesWriter::create(&partial)?;
        let threads = options.threads.max(1);
        let (sender, batches) = queue(threads);
        let worker = Worker {
            partial: partial.clone(),
            fields: fields.len(),
            factory,
            memory_bytes: (options.memory_bytes / threads).max(THREAD_BYTES_MIN),
            documents_max: options.segment_documents_max.max(1),
            batches,
            next: Arc::default(),
        };
        let spawn = |_| {
            let worker = worker.clone();
            let work = move || worker.work();
            thread::Builder::new().name("ranking".to_owned()).spawn(work)
        };
        let workers = (0..threads)
            .map(spawn)
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| RankingError::Failed(format!("no thread: {error}")))?;
        Ok(RankedIndexBuilder {
            directory: directory.to_path_buf(),
            partial,
            names: Some(names),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            batch: Batch::new(0, fields.len()),
            sender: Some(sender),
            workers,
        })
    }

    /// Adds the next document: its name, which is greater than all before, and the text of each
    /// field. Returns its number; they count from 0.
    ///
    /// # Errors
    /// `NotAscending`; `UnlikeFields` where the texts are not as many as the fields;
    /// `TooManyDocuments`; what a thread met, after which nothing can be added.
    pub fn add(&mut self, name: &str, texts: &[&str]) -> Result<u32, RankingError> {
        if texts.len() != self.fields.len() {
            let count = self.fields.len();
            return Err(RankingError::UnlikeFields { found: texts.len(), count });
        }
        let number = self.batch.next();
        if number > DOCUMENTS_MAX {
            return Err(RankingError::TooManyDocuments { limit: DOCUMENTS_MAX });
        }
        if let Some(names) = &mut self.names {
            names.add(name)?;
        }
        self.batch.push(texts);
        if self.batch.is_full() {
            self.send()?;
        }
        Ok(number)
    }

    /// Seals the index and puts it in its place. `key` names what it is made from (documents,
    /// analysis and their versions); opening it asks for the same.
    ///
    /// # Errors
    /// What a thread met; `Io`. The directory then holds what it held before.
    pub fn finish(mut self, key: &str) -> Result<(), RankingError> {
        if !self.batch.is_empty() {
            self.send()?;
        }
        let segments = self.join()?;
        let names = self.names.take().map_or(Ok(Vec::new()), NamesWriter::finish)?;
        Manifest::new(key, &self.fields, names, segments).write(&self.partial)?;
        files::sync_folder(&self.partial)?;
        self.publish()
    }

    fn send(&mut self) -> Result<(), RankingError> {
        let next = Batch::new(self.batch.next(), self.fields.len());
        let batch = std::mem::replace(&mut self.batch, next);
        let sent = self.sender.as_ref().is_some_and(|sender| sender.send(batch).is_ok());
        if sent {
            return Ok(());
        }
        // Every worker has left; one of them knows why.
        let met = self.join().err();
        Err(met.unwrap_or_else(|| RankingError::Failed("the builder has failed".to_owned())))
    }

    /// Waits for the workers and returns their segments.
    fn join(&mut self) -> Result<Vec<SegmentEntry>, RankingError> {
        self.sender = None;
        let mut segments = Vec::new();
        let mut met = None;
        for worker in self.workers.drain(..) {
            match worker.join() {
                Ok(Ok(entries)) => segments.extend(entries),
                Ok(Err(error)) => met = met.or(Some(error)),
                Err(_) => {
                    let reason = "a thread stopped in the middle of its work".to_owned();
                    met = met.or(Some(RankingError::Failed(reason)));
                }
            }
        }
        met.map_or(Ok(segments), Err)
    }

    /// Renames the finished folder to the directory. A kill in between leaves no index, or the
    /// whole one; never a half.
    fn publish(&self) -> Result<(), RankingError> {
        let replaced = beside(&self.directory, "replaced")?;
        remove(&replaced)?;
        if self.directory.exists() {
            fs::rename(&self.directory, &replaced)
                .map_err(RankingError::io(&self.directory, "renamed"))?;
        }
        fs::rename(&self.partial, &self.directory)
            .map_err(RankingError::io(&self.partial, "renamed"))?;
        if let Some(parent) = self.directory.parent().filter(|parent| parent.is_dir()) {
            files::sync_folder(parent)?;
        }
        remove(&replaced)
    }
}

impl Drop for RankedIndexBuilder {
    fn drop(&mut self) {
        if self.sender.is_some() {
            // Given up: what the workers made is of no use, and they end when the queue does.
            let _ = self.join();
        }
        let _ = remove(&self.partial);
    }
}

/// Returns the path of a folder beside `directory`, on the same disk.
fn beside(directory: &Path, ending: &str) -> Result<PathBuf, RankingError> {
    let name = directory.file_name().ok_or_else(|| RankingError::BadParameter {
        name: "directory",
        found: directory.display().to_string(),
        expected: "a path with a name at its end",
    })?;
    Ok(directory.with_file_name(format!("{}.{ending}", name.to_string_lossy())))
}

/// Removes the index in `directory`, if there is one.
///
/// # Errors
/// `Io`.
pub fn remove_index(directory: &Path) -> Result<(), RankingError> {
    remove(directory)
}

fn remove(folder: &Path) -> Result<(), RankingError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RankingError::io(folder, "removed")(error))
        }
        _ => Ok(()),
    }
}

/// What each thread does: batches into a segment until memory is full, then into the next one.
#[derive(Clone)]
struct Worker {
    partial: PathBuf,
    fields: usize,
    factory: AnalysisFactory,
    memory_bytes: usize,
    documents_max: usize,
    batches: Batches,
    next: Arc<AtomicUsize>,
}

impl Worker {
    fn work(self) -> Result<Vec<SegmentEntry>, RankingError> {
        let mut sealed = Vec::new();
        let mut growing: Option<SegmentWriter> = None;
        while let Some(batch) = self.batches.take() {
            let mut texts = batch.texts();
            for number in batch.first..batch.next() {
                let segment = match &mut growing {
                    Some(segment) => segment,
                    None => growing.insert(self.create()?),
                };
                segment.add(number, texts.by_ref().take(self.fields))?;
                let is_full = segment.documents() >= self.documents_max || segment.is_full();
                if is_full && let Some(full) = growing.take() {
                    sealed.push(full.seal()?);
                }
            }
        }
        if let Some(segment) = growing {
            sealed.push(segment.seal()?);
        }
        Ok(sealed)
    }

    fn create(&self) -> Result<SegmentWriter, RankingError> {
        let folder = format!("{:04}", self.next.fetch_add(1, Ordering::Relaxed));
        let folder = self.partial.join(folder);
        SegmentWriter::create(folder, self.fields, &self.factory, self.memory_bytes)
    }
}
