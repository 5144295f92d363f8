//! Opening, creating and publishing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use super::StoreError;
use super::backup::durable_file;
use super::cache::ArrayCache;
use super::delete::{Deleted, load_deleted};
use super::engine::{Changes, CrashPoints, Engine, Memory, Mode};
use super::group::Waiting;
use super::state::State;
use super::view::{CacheKey, View};
use crate::codec::{
    Catalogue, Delta, FORMAT_VERSION, Family, Key, Manifest, Record, TableId, decode_batch,
    stored_columns,
};

/// The file that says what the directory is; written last when a database is created.
const MARKER: &str = "SWIRLDB";

/// The name in `meta` that is there while columns are made anew.
pub(super) const REPAIRING: &str = "repairing";

/// How much memory the store may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes for blocks read, writes not yet in files and decoded chunks together.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory_bytes: 1 << 30 }
    }
}

/// When a commit survives a power cut. A killed process loses nothing either way, and what is
/// lost is always the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the call returns.
    Now,
    /// Once a later commit does, or [`Store::settle`].
    Later,
}

/// An open database.
pub struct Store {
    pub(super) path: PathBuf,
    pub(super) engine: Engine,
    pub(super) cache: ArrayCache<CacheKey>,
    pub(super) identity: [u8; 16],
    limits: Limits,
    state: RwLock<Arc<State>>,
    /// Held by whoever commits.
    pub(super) writer: Mutex<Writer>,
    /// Held by whoever makes columns of what is beside them; taken before `writer`.
    pub(super) folding: Mutex<()>,
    /// Batches that whoever gets the lock takes along.
    pub(super) waiting: Mutex<Vec<Waiting>>,
    /// The last sequence that is known to survive a power cut; held by whoever waits for the disk.
    durable: Mutex<u64>,
}

/// What only whoever commits needs to know.
#[derive(Default)]
pub(super) struct Writer {
    /// Chunk versions that are no longer live, each with the epoch that still may name them.
    pub retired: Vec<(Weak<()>, Vec<Key>)>,
    /// Whether a bulk load failed and its entries may still be there.
    pub torn: bool,
}

impl Store {
    /// Creates a database in the directory `path`, which must be missing or empty. `identity` is
    /// a random number that names it for ever.
    ///
    /// # Errors
    /// [`StoreError::NotADatabase`] when something else is there.
    pub fn create(
        path: &Path,
        identity: [u8; 16],
        limits: Limits,
    ) -> Result<Arc<Store>, StoreError> {
        std::fs::create_dir_all(path).map_err(StoreError::io("creating", path))?;
        let mut entries = std::fs::read_dir(path).map_err(StoreError::io("reading", path))?;
        if entries.any(|e| e.is_ok_and(|e| e.file_name() != "records")) {
            let why = "the directory is not empty".to_owned();
            return Err(StoreError::NotADatabase { path: path.to_owned(), why });
        }
        let engine = Engine::open(&path.join("records"), Mode::Write, true, &memory(limits))?;
        let mut changes = Changes::default();
        changes.put_bytes(&Key::Meta("identity".to_owned()), identity.to_vec());
        for name in ["sequence", "bodies"] {
            changes.put_bytes(&Key::Meta(name.to_owned()), 0u64.to_be_bytes().to_vec());
        }
        changes.put(&Key::Meta("manifest".to_owned()), &empty_manifest());
        changes.put(&Key::Meta("catalogue".to_owned()), &Catalogue::default());
        engine.write(changes, true)?;
        drop(engine);
        write_marker(path)?;
        Store::open(path, Mode::Write, limits)
    }

    /// Opens the database in the directory `path`.
    ///
    /// # Errors
    /// [`StoreError::Missing`], `NotADatabase`, `Newer`, `Locked`, or what was found damaged.
    pub fn open(path: &Path, mode: Mode, limits: Limits) -> Result<Arc<Store>, StoreError> {
        Store::opened(path, mode, limits, None)
    }

    /// Opens the database for writing as [`Store::open`] does, and lets changes of the disk fail
    /// from one on.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_failing(
        path: &Path,
        limits: Limits,
        points: Arc<CrashPoints>,
    ) -> Result<Arc<Store>, StoreError> {
        Store::opened(path, Mode::Write, limits, Some(points))
    }

    fn opened(
        path: &Path,
        mode: Mode,
        limits: Limits,
        points: Option<Arc<CrashPoints>>,
    ) -> Result<Arc<Store>, StoreError> {
        read_marker(path)?;
        let engine = Engine::open(&path.join("records"), mode, false, &memory(limits));
        let mut engine = engine.map_err(|error| match error {
            StoreError::Locked { .. } => StoreError::Locked { path: path.to_owned() },
            other => other,
        })?;
        points.into_iter().for_each(|points| engine.fail_at(points));
        if engine.get(&Key::Meta(REPAIRING.to_owned()))?.is_some() {
            let why = "a repair did not come to its end: run 'swirl repair' again";
            return Err(StoreError::Damaged { place: "columns".into(), why: why.into() });
        }
        let state = load_state(&engine)?;
        let store = Store::of(path, engine, state, limits)?;
        if mode == Mode::Write {
            store.engine.remove_incoming()?;
            store.remove_unpublished()?;
            store.sweep()?;
        }
        Ok(Arc::new(store))
    }

    /// Returns the store of an open engine at a state.
    pub(super) fn of(
        path: &Path,
        engine: Engine,
        state: State,
        limits: Limits,
    ) -> Result<Store, StoreError> {
        let shares = memory(limits);
        // A reader has no writes in memory.
        let written = if engine.is_writable() { shares.write_bytes } else { 0 };
        Ok(Store {
            path: path.to_owned(),
            identity: meta(&engine, "identity")?,
            engine,
            cache: ArrayCache::new(limits.memory_bytes - shares.cache_bytes - written),
            limits,
            state: RwLock::new(Arc::new(state)),
            writer: Mutex::new(Writer::default()),
            folding: Mutex::new(()),
            waiting: Mutex::new(Vec::new()),
            durable: Mutex::new(0),
        })
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the random number that names this database.
    pub fn identity(&self) -> [u8; 16] {
        self.identity
    }

    /// Returns the state now, to be read for as long as it is held.
    pub fn view(self: &Arc<Store>) -> View {
        View::new(self.clone(), self.state())
    }

    /// Returns the bytes of text that a commit of a bulk load should hold: enough for sorted
    /// tables of good size, and little enough to be held a few times over.
    pub fn commit_bytes(&self) -> usize {
        (self.limits.memory_bytes / 16).clamp(4 << 20, 64 << 20)
    }

    /// Returns how many values of a family were read since the database was opened.
    pub fn reads(&self, family: Family) -> u64 {
        self.engine.reads(family)
    }

    /// Returns the bytes of a family's files.
    ///
    /// # Errors
    /// What RocksDB says.
    pub fn bytes(&self, family: Family) -> Result<u64, StoreError> {
        self.engine.bytes(family)
    }

    /// Writes everything in memory to files.
    ///
    /// # Errors
    /// What RocksDB says; the data is then still in the log.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.engine.flush()
    }

    /// Returns once a commit that was published without waiting for the disk survives a power cut.
    /// Whoever comes first waits for all that is published by then: many writers share one wait.
    ///
    /// # Errors
    /// What the disk says; what was published is then seen, and may not be there after a power cut.
    pub(super) fn make_durable(&self, sequence: u64) -> Result<(), StoreError> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if *durable >= sequence {
            return Ok(());
        }
        let published = self.state().sequence;
        self.engine.sync()?;
        *durable = published;
        Ok(())
    }

    /// Waits until nobody else commits.
    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes `changes` with `next`'s sequence and makes `next` the state. Readers see either all
    /// of it or nothing; after a crash the same holds.
    pub(super) fn publish(
        &self,
        mut changes: Changes,
        next: State,
        durability: Durability,
    ) -> Result<(), StoreError> {
        for (name, number) in [("sequence", next.sequence), ("bodies", next.next_body)] {
            changes.put_bytes(&Key::Meta(name.to_owned()), number.to_be_bytes().to_vec());
        }
        self.engine.write(changes, durability == Durability::Now)?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }
}

pub(super) fn memory(limits: Limits) -> Memory {
    Memory { cache_bytes: limits.memory_bytes / 4, write_bytes: limits.memory_bytes / 8 }
}

pub(super) fn empty_manifest() -> Manifest {
    let columns = TableId::ALL.map(|t| vec![Default::default(); stored_columns(t).len()]);
    Manifest { columns, ..Manifest::default() }
}

pub(super) fn write_marker(path: &Path) -> Result<(), StoreError> {
    let marker = path.join(MARKER);
    let text = format!("swirldb format {FORMAT_VERSION}\n");
    durable_file(&marker, text.as_bytes())
}

pub(super) fn read_marker(path: &Path) -> Result<(), StoreError> {
    let not_a_database =
        |why: &str| StoreError::NotADatabase { path: path.to_owned(), why: why.to_owned() };
    if !path.exists() {
        return Err(StoreError::Missing { path: path.to_owned() });
    }
    if !path.is_dir() {
        return Err(not_a_database("it is a file; a database is a directory"));
    }
    let marker = path.join(MARKER);
    let text = match std::fs::read_to_string(&marker) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(not_a_database(&format!("it has no file {MARKER}")));
        }
        Err(e) => return Err(StoreError::io("reading", &marker)(e)),
    };
    let version = text.strip_prefix("swirldb format ").and_then(|v| v.trim().parse().ok());
    match version {
        Some(FORMAT_VERSION) => Ok(()),
        Some(found) if found > FORMAT_VERSION => {
            Err(StoreError::Newer { path: path.to_owned(), found })
        }
        _ => Err(not_a_database(&format!("its file {MARKER} says {text:?}"))),
    }
}

fn meta<const N: usize>(engine: &Engine, name: &str) -> Result<[u8; N], StoreError> {
    let key = Key::Meta(name.to_owned());
    let damaged =
        |why: &str| StoreError::Damaged { place: format!("meta {name}"), why: why.to_owned() };
    let bytes = engine.get(&key)?.ok_or_else(|| damaged("it is missing"))?;
    bytes.try_into().map_err(|_| damaged("it has the wrong length"))
}

fn meta_record<R: Record>(engine: &Engine, name: &str) -> Result<R, StoreError> {
    let missing =
        || StoreError::Damaged { place: format!("meta {name}"), why: "it is missing".into() };
    engine.record(&Key::Meta(name.to_owned()))?.ok_or_else(missing)
}

/// Returns the state that a manifest alone gives.
pub(super) fn folded_state(engine: &Engine, manifest: Manifest) -> Result<State, StoreError> {
    Ok(State {
        epoch: Arc::new(()),
        sequence: u64::from_be_bytes(meta(engine, "sequence")?),
        rows: manifest.folded_rows,
        next_body: u64::from_be_bytes(meta(engine, "bodies")?),
        manifest: Arc::new(manifest),
        catalogue: Arc::new(meta_record(engine, "catalogue")?),
        tails: [Vec::new(), Vec::new()],
        cells: Vec::new(),
        deleted: Arc::new(Deleted::of(&load_deleted(engine)?)),
        past: None,
    })
}

/// Builds the state from manifest and deltas.
fn load_state(engine: &Engine) -> Result<State, StoreError> {
    let mut state = folded_state(engine, meta_record(engine, "manifest")?)?;
    engine.scan(Family::Delta, &[], &[], |key, value| {
        let place = || format!("delta {key:02x?}");
        let delta = Delta::decode(value).map_err(StoreError::codec(place()))?;
        for table in TableId::ALL {
            let at = table.code() as usize;
            if delta.batches[at].is_empty() {
                continue;
            }
            if delta.first_rows[at] != state.rows[at] {
                let why = format!(
                    "rows of {} begin at {}, expected {}",
                    table.name(),
                    delta.first_rows[at],
                    state.rows[at]
                );
                return Err(StoreError::Damaged { place: place(), why });
            }
            let batch = decode_batch(&delta.batches[at]).map_err(StoreError::codec(place()))?;
            state
                .push_tail(table, batch)
                .map_err(|e| StoreError::Damaged { place: place(), why: e.to_string() })?;
        }
        state.push_cells(delta.cells);
        Ok(true)
    })?;
    Ok(state)
}
