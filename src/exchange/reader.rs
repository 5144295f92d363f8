//! One file, its records in order, parsed by several threads.
//!
//! ```text
//! source thread          worker threads            whoever iterates
//! read, decompress,  ->  parse block 1   reply ->  batch 1
//! cut into blocks    ->  parse block 2   reply ->  batch 2
//!        \___ order: reply 1, reply 2, ... ___________/
//! ```
//!
//! The source hands each block to the workers and the block's reply to the iterating side, whose
//! queue is bounded: when nobody asks for batches, nothing more is read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::blocks::{BLOCK_BYTES, Block, Blocks, Content, too_long};
use super::error::{BadRecord, ExchangeError, Fault, Place};
use super::format::{self, Format};
use super::input::{Charge, Input, Progress};
use super::parser::{self, Names, Parser};
use super::record::Record;
use super::scan;
use super::steps::Joining;
use super::verifiers::Rollouts;

/// Records in the order of their file, of about 4 MiB of its text.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records.
    pub records: Vec<Result<Record, BadRecord>>,
    /// The length of their text in bytes.
    pub bytes: usize,
}

/// How a file is read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// The format; `None`: recognised from the content.
    pub format: Option<Format>,
    /// The source of every record, whatever the records say; `None`: what they say, else the
    /// file's name without its extensions.
    pub source: Option<String>,
    /// The split of every record, whatever the records say.
    pub split: Option<String>,
    /// Columns of a table of steps: our name and the file's. Files of other formats are refused
    /// then.
    pub columns: Vec<(String, String)>,
    /// The longest record that is read, in bytes of text.
    pub record_bytes_max: usize,
    /// The threads that parse, beside the one that reads and decompresses; at least 1.
    pub threads: usize,
    /// Bytes of text parsed ahead of the iterating side, beside a block a thread: who collects
    /// batches and then works on them for a while should find as much waiting.
    pub bytes_ahead: usize,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions {
            format: None,
            source: None,
            split: None,
            columns: Vec::new(),
            record_bytes_max: 256 << 20,
            threads: 1,
            bytes_ahead: 2 * BLOCK_BYTES,
        }
    }
}

/// What the iterating side gets in the order of the file.
enum Ordered {
    Reply(Receiver<Parsed>),
    Failed(ExchangeError),
}

struct Job {
    block: Block,
    reply: SyncSender<Parsed>,
}

struct Parsed {
    batch: Batch,
    charge: Charge,
}

/// Reads one file; an iterator of batches. It ends after the first error. Dropping it stops and
/// joins its threads.
pub struct Reader {
    order: Option<Receiver<Ordered>>,
    threads: Vec<JoinHandle<()>>,
    progress: Progress,
    format: Format,
    path: PathBuf,
    /// Numbers what its format does not number.
    rollouts: Option<Rollouts>,
    /// Joins rows to trajectories.
    joining: Option<Joining>,
}

/// Opens a file of trajectories or labels, plain or compressed with gzip or zstd.
///
/// # Errors
/// The file cannot be opened, is empty, is damaged before its first text, or is of no format
/// that is read (or of several, and `options.format` does not say which).
pub fn open(path: &Path, options: &ReadOptions) -> Result<Reader, ExchangeError> {
    let mut input = Input::open(path)?;
    let mut head = Vec::new();
    let ended = match input.fill(&mut head, BLOCK_BYTES) {
        Err(error) if head.is_empty() => return Err(error),
        ended => ended,
    };
    let whole = matches!(ended, Ok(true));
    let text = scan::trim_start(&head);
    let empty = |found| ExchangeError::Empty { path: path.to_owned(), found };
    if whole && head.is_empty() {
        return Err(empty("the file is empty"));
    }
    if whole && text.is_empty() {
        return Err(empty("the file holds only white space"));
    }
    if whole && scan::after_bracket(text).trim_ascii() == b"]" {
        return Err(empty("the file holds an empty list"));
    }
    let unrecognised = |found| ExchangeError::Unrecognised { path: path.to_owned(), found };
    let (format, framing) = format::recognise(&head, options.format).map_err(unrecognised)?;
    if format != Format::Steps && !options.columns.is_empty() {
        let found = format!(
            "found {}, and columns are told of a table of steps: drop them, or say --as steps",
            format.as_str()
        );
        return Err(unrecognised(found));
    }
    for (_, column) in &options.columns {
        let key = serde_json::to_string(column).unwrap_or_default();
        if memchr::memmem::find(&head, key.as_bytes()).is_none() {
            let found =
                format!("no row at its beginning has a column {key}, which --columns names");
            return Err(unrecognised(found));
        }
    }
    let names = Names {
        source: options.source.clone(),
        split: options.split.clone(),
        columns: options.columns.clone(),
        stem: stem(path).to_owned(),
    };
    let parser: Arc<dyn Parser> = parser::of(format, names, path).into();
    let progress = input.progress().clone();
    let blocks = Blocks::new(input, (head, ended), framing, options.record_bytes_max);
    let work = Work { parser, record_bytes_max: options.record_bytes_max };
    let blocks_ahead = options.bytes_ahead.div_ceil(BLOCK_BYTES);
    let (order, threads) = start(blocks, work, options.threads.max(1), blocks_ahead)
        .map_err(|source| ExchangeError::file(path, source))?;
    let rollouts = (format == Format::Verifiers).then(Rollouts::default);
    let joining = || Joining::new(stem(path), options.record_bytes_max);
    let joining = (format == Format::Steps).then(joining);
    let (order, path) = (Some(order), path.to_owned());
    Ok(Reader { order, threads, progress, format, path, rollouts, joining })
}

impl Reader {
    /// Returns a handle that tells how far reading has come.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Returns the format that is read.
    pub fn format(&self) -> Format {
        self.format
    }
}

impl Iterator for Reader {
    type Item = Result<Batch, ExchangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let failure = match self.order.as_ref()?.recv() {
                Ok(Ordered::Reply(reply)) => match reply.recv() {
                    Ok(Parsed { mut batch, charge }) => {
                        drop(charge);
                        if batch.records.is_empty() {
                            continue;
                        }
                        if let Some(rollouts) = &mut self.rollouts {
                            rollouts.number(&mut batch.records);
                        }
                        if let Some(joining) = &mut self.joining {
                            batch.records = joining.join(batch.records);
                        }
                        return Some(Ok(batch));
                    }
                    Err(_) => ExchangeError::Stopped { path: self.path.clone() },
                },
                Ok(Ordered::Failed(error)) => error,
                Err(_) => {
                    self.order = None;
                    let last = self.joining.as_mut().and_then(Joining::last)?;
                    return Some(Ok(Batch { records: vec![last], bytes: 0 }));
                }
            };
            self.order = None;
            return Some(Err(failure));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Without a receiver the source cannot queue its next reply, ends, and drops the sender
        // that the workers wait on.
        self.order = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has already cut its reply short, which was reported.
            let _ = thread.join();
        }
    }
}

/// What a worker needs besides a block.
#[derive(Clone)]
struct Work {
    parser: Arc<dyn Parser>,
    record_bytes_max: usize,
}

type Started = (Receiver<Ordered>, Vec<JoinHandle<()>>);

fn start(blocks: Blocks, work: Work, workers: usize, blocks_ahead: usize) -> io::Result<Started> {
    let (order_sender, order) = sync_channel(workers + blocks_ahead);
    let (job_sender, jobs) = channel::<Job>();
    let jobs = Arc::new(Mutex::new(jobs));
    let mut threads = Vec::with_capacity(workers + 1);
    for _ in 0..workers {
        let (work, jobs) = (work.clone(), Arc::clone(&jobs));
        let named = Builder::new().name("exchange-parse".to_owned());
        threads.push(named.spawn(move || run_worker(&work, &jobs))?);
    }
    let named = Builder::new().name("exchange-read".to_owned());
    threads.push(named.spawn(move || run_source(blocks, &order_sender, &job_sender))?);
    Ok((order, threads))
}

fn run_source(mut blocks: Blocks, order: &SyncSender<Ordered>, jobs: &Sender<Job>) {
    loop {
        let block = match blocks.next_block() {
            Ok(Some(block)) => block,
            Ok(None) => return,
            Err(error) => {
                let _ = order.send(Ordered::Failed(error));
                return;
            }
        };
        let (reply, replied) = sync_channel(1);
        // A failed send means that the reader was dropped.
        if order.send(Ordered::Reply(replied)).is_err() || jobs.send(Job { block, reply }).is_err()
        {
            return;
        }
    }
}

fn run_worker(work: &Work, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block: Block { cut, charge }, reply }) = job else { return };
        let batch = parse_block(work, cut.content());
        // The reader may be gone; the source notices.
        let _ = reply.send(Parsed { batch, charge });
    }
}

fn parse_block(work: &Work, content: Content) -> Batch {
    let mut batch = Batch::default();
    let records = &mut batch.records;
    match content {
        Content::Lines { bytes, first, place } => {
            batch.bytes = bytes.len();
            let mut from = 0;
            let ends = memchr::memchr_iter(b'\n', &bytes).chain(std::iter::once(bytes.len()));
            for (end, number) in ends.zip(first..) {
                parse_record(work, &bytes[from..end], place(number), records);
                from = end + 1;
            }
        }
        Content::Entries { bytes, spans, first } => {
            batch.bytes = bytes.len();
            for (span, index) in spans.into_iter().zip(first..) {
                parse_record(work, &bytes[span], Place::Entry(index), records);
            }
        }
        Content::Bad(bad) => records.push(Err(bad)),
    }
    batch
}

/// Parses one record, unless it is blank, and appends what it holds.
fn parse_record(work: &Work, bytes: &[u8], place: Place, out: &mut Vec<Result<Record, BadRecord>>) {
    let bytes = scan::trim_start(bytes).trim_ascii_end();
    if bytes.is_empty() {
        return;
    }
    let text = match std::str::from_utf8(bytes) {
        _ if bytes.len() > work.record_bytes_max => Err(too_long(work.record_bytes_max)),
        Ok(text) => Ok(text),
        Err(error) => Err(Fault::whole(format!(
            "found the byte 0x{:02x} at column {}, which is not UTF-8",
            bytes[error.valid_up_to()],
            error.valid_up_to() + 1
        ))),
    };
    match text.and_then(|text| work.parser.parse(text, place)) {
        Ok(records) => out.extend(records.into_iter().map(Ok)),
        Err(fault) => out.push(Err(fault.at(place))),
    }
}

/// Returns the name of a file without the extensions of formats and compressions.
fn stem(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("unnamed");
    let mut stem = name;
    while let Some((rest, extension)) = stem.rsplit_once('.') {
        let known = ["zst", "gz", "jsonl", "ndjson", "json", "swirl", "parquet"];
        if rest.is_empty() || !known.contains(&extension.to_ascii_lowercase().as_str()) {
            break;
        }
        stem = rest;
    }
    stem
}
