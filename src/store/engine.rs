//! RocksDB behind the few verbs the store needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor,
    CompactOptions, DB, DBCompressionType, DBRecoveryMode, DataBlockIndexType, Direction,
    ErrorKind, FlushOptions, IngestExternalFileOptions, IteratorMode, LogLevel, Options,
    SstFileWriter, WriteBatch, WriteOptions,
};

use super::StoreError;
use super::bulk::put_back;
use super::stats::FamilyStats;
use super::tables::take_back_last;
use crate::codec::{Family, HeaderRecord, Key, Record, StepRecord};

/// How a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One writer; a second one is refused.
    Write,
    /// Any number of readers beside a writer; they see what was there when they opened.
    Read,
}

/// Counts what changes the disk, and lets it fail from one change on, as if the process had been
/// killed there. It shows in which order things reach the disk, not what a power cut leaves.
#[derive(Debug)]
pub struct CrashPoints {
    passed: AtomicU64,
    last: u64,
}

impl CrashPoints {
    /// Lets so many changes pass and none after.
    pub fn after(last: u64) -> CrashPoints {
        CrashPoints { passed: AtomicU64::new(0), last }
    }

    /// Returns how many changes were asked for.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    fn pass(&self) -> Result<(), StoreError> {
        match self.passed.fetch_add(1, Ordering::SeqCst) < self.last {
            true => Ok(()),
            false => Err(StoreError::Environment {
                doing: "writing".to_owned(),
                why: format!("crash point {}", self.last),
            }),
        }
    }
}

/// The open database and its families.
pub(super) struct Engine {
    db: DB,
    cache: Cache,
    /// Where tables are built before they are taken in.
    incoming: PathBuf,
    writable: bool,
    reads: [AtomicU64; Family::ALL.len()],
    crash_points: Option<Arc<CrashPoints>>,
}

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// Changes that become visible, and durable, together.
#[derive(Default)]
pub(super) struct Changes {
    puts: [Vec<Entry>; Family::ALL.len()],
    deletes: Vec<(Family, Vec<u8>)>,
}

impl Changes {
    pub fn put(&mut self, key: &Key, record: &impl Record) {
        self.put_bytes(key, Record::encode(record));
    }

    pub fn put_bytes(&mut self, key: &Key, value: Vec<u8>) {
        self.puts[key.family() as usize].push((key.encode(), value));
    }

    pub fn delete(&mut self, key: &Key) {
        self.deletes.push((key.family(), key.encode()));
    }

    pub fn is_empty(&self) -> bool {
        self.puts.iter().all(Vec::is_empty) && self.deletes.is_empty()
    }

    /// Returns how many entries are removed.
    pub fn deletions(&self) -> usize {
        self.deletes.len()
    }

    pub fn append(&mut self, other: Changes) {
        for (mine, others) in self.puts.iter_mut().zip(other.puts) {
            mine.extend(others);
        }
        self.deletes.extend(other.deletes);
    }

    /// Returns the bytes of the entries put into `families`.
    pub fn bytes(&self, families: &[Family]) -> usize {
        let entries = families.iter().flat_map(|family| &self.puts[*family as usize]);
        entries.map(|(key, value)| key.len() + value.len()).sum()
    }

    /// Takes the entries put into `family`, in the order they were put.
    pub fn take(&mut self, family: Family) -> Vec<Entry> {
        std::mem::take(&mut self.puts[family as usize])
    }
}

/// The part of the memory that RocksDB may use: blocks read, and writes not yet in files.
pub(super) struct Memory {
    pub cache_bytes: usize,
    pub write_bytes: usize,
}

impl Engine {
    /// Opens the database at `path`; `create` makes it when it is not there.
    pub fn open(
        path: &Path,
        mode: Mode,
        create: bool,
        memory: &Memory,
    ) -> Result<Engine, StoreError> {
        let cache = Cache::new_lru_cache(memory.cache_bytes);
        let mut options = database_options(create, memory);
        if mode == Mode::Read && tables(path) < FILES_HELD_MAX {
            // A writer may merge them away meanwhile: what is open stays readable.
            options.set_max_open_files(-1);
        }
        // Databases of earlier versions have no tokens, and one whose repair was killed may lack
        // what it makes anew: a writer gives them the family, a reader does without tokens.
        let lacks = if create { Vec::new() } else { lacks_only(path, &options, &REMADE) };
        options.create_missing_column_families(create || !lacks.is_empty());
        let is_there = |family: &Family| {
            !(mode == Mode::Read && *family == Family::Token && lacks.contains(family))
        };
        let families = || {
            let there = Family::ALL.into_iter().filter(is_there);
            there.map(|f| ColumnFamilyDescriptor::new(f.name(), family_options(f, &cache)))
        };
        let open = || match mode {
            Mode::Write => DB::open_cf_descriptors(&options, path, families()),
            Mode::Read => DB::open_cf_descriptors_read_only(&options, path, families(), false),
        };
        let mut opened = open();
        let lost = |opened: &Result<DB, rocksdb::Error>| match opened {
            Err(error) if mode == Mode::Write => lost_table(error),
            _ => None,
        };
        if lost(&opened).is_some() && take_back_last(path) {
            opened = open();
        }
        while lost(&opened).is_some_and(|number| put_back(path, &number)) {
            opened = open();
        }
        let db = opened.map_err(|e| open_error(path, e))?;
        let reads = std::array::from_fn(|_| AtomicU64::new(0));
        let incoming = path.with_file_name("incoming");
        Ok(Engine { db, cache, incoming, writable: mode == Mode::Write, reads, crash_points: None })
    }

    /// Lets changes of the disk fail from one on.
    pub fn fail_at(&mut self, points: Arc<CrashPoints>) {
        self.crash_points = Some(points);
    }

    /// Checks that the disk can be changed.
    fn changing(&self) -> Result<(), StoreError> {
        if !self.writable {
            return Err(StoreError::ReadOnly);
        }
        self.crash_points.as_ref().map_or(Ok(()), |points| points.pass())
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(family.name()).ok_or_else(|| StoreError::Damaged {
            place: format!("family {}", family.name()),
            why: "it does not exist".to_owned(),
        })
    }

    /// Whether the family exists: a reader of an earlier version's database may lack tokens.
    pub fn has(&self, family: Family) -> bool {
        self.db.cf_handle(family.name()).is_some()
    }

    /// Whether anything can be written.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    fn count(&self, family: Family, reads: usize) {
        self.reads[family as usize].fetch_add(reads as u64, Ordering::Relaxed);
    }

    /// Returns how many values of `family` were read since the database was opened.
    pub fn reads(&self, family: Family) -> u64 {
        self.reads[family as usize].load(Ordering::Relaxed)
    }

    pub fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.count(key.family(), 1);
        let found = self.db.get_cf(self.family(key.family())?, key.encode());
        found.map_err(|e| read_error(key.family(), e))
    }

    pub fn record<R: Record>(&self, key: &Key) -> Result<Option<R>, StoreError> {
        let bytes = self.get(key)?;
        bytes.map(|b| Record::decode(&b).map_err(|e| StoreError::record(key, e))).transpose()
    }

    /// Returns the values of many keys of one family, in the order of the keys.
    pub fn get_many(
        &self,
        family: Family,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.get_each(family, keys, false, |_, value| Ok(value.to_vec()))
    }

    /// Returns what `make` makes of the place and value of each key of one family, in the order of
    /// the keys; `None` where there is no value. `neighbours`: the keys ascend, and little is
    /// between them; walking from one to the next costs a fraction of looking each of them up.
    pub fn get_each<T>(
        &self,
        family: Family,
        keys: &[Vec<u8>],
        neighbours: bool,
        mut make: impl FnMut(usize, &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<Option<T>>, StoreError> {
        self.count(family, keys.len());
        let handle = self.family(family)?;
        if !neighbours {
            let values = self.db.batched_multi_get_cf(handle, keys, false);
            let made = |(at, value): (usize, Result<Option<rocksdb::DBPinnableSlice<'_>>, _>)| {
                let value = value.map_err(|e| read_error(family, e))?;
                value.map(|value| make(at, &value)).transpose()
            };
            return values.into_iter().enumerate().map(made).collect();
        }
        let mut entries = self.db.raw_iterator_cf(handle);
        let mut found = Vec::with_capacity(keys.len());
        for (at, key) in keys.iter().enumerate() {
            let mut steps = 0;
            while entries.key().is_some_and(|there| there < key.as_slice()) && steps < WALKED_MAX {
                entries.next();
                steps += 1;
            }
            if at == 0 || entries.key().is_some_and(|there| there < key.as_slice()) {
                entries.seek(key);
            }
            entries.status().map_err(|e| read_error(family, e))?;
            let value = entries.item().filter(|(there, _)| *there == key.as_slice());
            found.push(value.map(|(_, value)| make(at, value)).transpose()?);
        }
        Ok(found)
    }

    /// Visits every entry of `family` whose key begins with `prefix`, in order, from `from` on.
    pub fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let start = if from > prefix { from } else { prefix };
        let mode = IteratorMode::From(start, Direction::Forward);
        let mut visited = 0;
        for entry in self.db.iterator_cf(self.family(family)?, mode) {
            let (key, value) = entry.map_err(|e| read_error(family, e))?;
            if !key.starts_with(prefix) {
                break;
            }
            visited += 1;
            if !visit(&key, &value)? {
                break;
            }
        }
        self.count(family, visited);
        Ok(())
    }

    /// Visits every key of `family`, in order.
    pub fn scan_keys(&self, family: Family, mut visit: impl FnMut(Key)) -> Result<(), StoreError> {
        self.scan(family, &[], &[], |key, _| {
            visit(Key::decode(family, key).map_err(StoreError::key)?);
            Ok(true)
        })
    }

    /// Visits every key of the family of `first` that is not before it, in order.
    pub fn scan_keys_from(
        &self,
        first: &Key,
        mut visit: impl FnMut(Key),
    ) -> Result<(), StoreError> {
        let family = first.family();
        self.scan(family, &[], &first.encode(), |key, _| {
            visit(Key::decode(family, key).map_err(StoreError::key)?);
            Ok(true)
        })
    }

    /// Tells `mark` the number of every long text that a record refers to, as often as one does.
    /// `go_on` is asked behind every record; false ends the walk, and is returned.
    pub fn scan_references(
        &self,
        mark: &mut dyn FnMut(u64),
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool, StoreError> {
        let mut is_whole = true;
        self.scan(Family::Trajectory, &[], &[], |_, value| {
            let header = HeaderRecord::decode(value).map_err(StoreError::codec("trajectory"))?;
            header.bodies().for_each(&mut *mark);
            is_whole = go_on();
            Ok(is_whole)
        })?;
        if is_whole {
            self.scan(Family::Step, &[], &[], |_, value| {
                let step = StepRecord::decode(value).map_err(StoreError::codec("step"))?;
                step.bodies().for_each(&mut *mark);
                is_whole = go_on();
                Ok(is_whole)
            })?;
        }
        Ok(is_whole)
    }

    /// Writes ascending entries into a table of their own, synced, and returns its path.
    pub fn build_table(
        &self,
        family: Family,
        number: usize,
        entries: &[Entry],
    ) -> Result<PathBuf, StoreError> {
        self.changing()?;
        std::fs::create_dir_all(&self.incoming)
            .map_err(StoreError::io("creating", &self.incoming))?;
        let path = self.incoming.join(format!("{}-{number}.sst", family.name()));
        let options = family_options(family, &self.cache);
        let mut table = SstFileWriter::create(&options);
        table.open(&path).map_err(write_error)?;
        for (key, value) in entries {
            table.put(key, value).map_err(write_error)?;
        }
        table.finish().map_err(write_error)?;
        Ok(path)
    }

    /// Takes in tables of one family; their files become RocksDB's.
    pub fn ingest(&self, family: Family, tables: &[&Path]) -> Result<(), StoreError> {
        if tables.is_empty() {
            return Ok(());
        }
        self.changing()?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let handle = self.family(family)?;
        let taken = self.db.ingest_external_file_cf_opts(handle, &options, tables.to_vec());
        taken.map_err(write_error)
    }

    /// Removes tables that were built and never taken in.
    pub fn remove_incoming(&self) -> Result<(), StoreError> {
        if !self.incoming.exists() {
            return Ok(());
        }
        self.changing()?;
        match std::fs::remove_dir_all(&self.incoming) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("removing", &self.incoming)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes all changes or none. `durable`: they survive a power cut once this returns.
    pub fn write(&self, changes: Changes, durable: bool) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(durable);
        self.write_opt(changes, &options)
    }

    /// Writes changes past the log: a kill takes those that [`Engine::flush_family`] has not
    /// brought into files. For what is read again from elsewhere then, in bulk.
    pub fn write_unlogged(&self, changes: Changes) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.write_opt(changes, &options)
    }

    fn write_opt(&self, changes: Changes, options: &WriteOptions) -> Result<(), StoreError> {
        self.changing()?;
        let mut batch = WriteBatch::default();
        for (family, entries) in Family::ALL.into_iter().zip(&changes.puts) {
            let handle = self.family(family)?;
            entries.iter().for_each(|(key, value)| batch.put_cf(handle, key, value));
        }
        for (family, key) in &changes.deletes {
            batch.delete_cf(self.family(*family)?, key);
        }
        self.db.write_opt(batch, options).map_err(write_error)
    }

    /// Brings everything of a family into files, at once or, without `wait`, soon.
    pub fn flush_family(&self, family: Family, wait: bool) -> Result<(), StoreError> {
        if !self.writable {
            return Ok(());
        }
        self.changing()?;
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        self.db.flush_cf_opt(self.family(family)?, &options).map_err(write_error)
    }

    /// Makes durable what was written without being so.
    pub fn sync(&self) -> Result<(), StoreError> {
        if !self.writable {
            return Ok(());
        }
        self.changing()?;
        self.db.flush_wal(true).map_err(write_error)
    }

    /// Returns the bytes of a family's files.
    pub fn bytes(&self, family: Family) -> Result<u64, StoreError> {
        self.number_of(family, rocksdb::properties::TOTAL_SST_FILES_SIZE)
    }

    /// Returns the bytes that were written and are in no file but the log.
    pub fn unflushed_bytes(&self) -> Result<u64, StoreError> {
        let property = rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES;
        Family::ALL.into_iter().map(|family| self.number_of(family, property)).sum()
    }

    /// Returns what RocksDB counts of a family.
    fn number_of(
        &self,
        family: Family,
        property: &rocksdb::properties::PropName,
    ) -> Result<u64, StoreError> {
        let value = self.db.property_int_value_cf(self.family(family)?, property);
        Ok(value.map_err(|e| read_error(family, e))?.unwrap_or(0))
    }

    /// Returns what the files of a family hold.
    pub fn stats(&self, family: Family) -> Result<FamilyStats, StoreError> {
        let handle = self.family(family)?;
        let property = rocksdb::properties::AGGREGATED_TABLE_PROPERTIES;
        let text =
            self.db.property_value_cf(handle, property).map_err(|e| read_error(family, e))?;
        let text = text.unwrap_or_default();
        let number = |name: &str| {
            let parts = text.split(';').filter_map(|part| part.split_once('='));
            let mut found = parts.filter(|(key, _)| key.trim() == name);
            found.next().and_then(|(_, value)| value.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        Ok(FamilyStats {
            name: family.name(),
            entries: number("# entries"),
            raw_bytes: number("raw key size") + number("raw value size"),
            file_bytes: self.bytes(family)?,
        })
    }

    /// Drops everything of a family, whatever state its files are in.
    pub fn empty(&mut self, family: Family) -> Result<(), StoreError> {
        self.changing()?;
        let options = family_options(family, &self.cache);
        self.db.drop_cf(family.name()).map_err(write_error)?;
        self.changing()?;
        self.db.create_cf(family.name(), &options).map_err(write_error)
    }

    /// Merges the files of every family, which gives the space of what was deleted back.
    pub fn compact(&self) -> Result<(), StoreError> {
        self.changing()?;
        let before = self.background_errors()?;
        let mut options = CompactOptions::default();
        // Else files that nothing lies over are left as they are, with what was deleted in them.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for family in Family::ALL {
            let handle = self.family(family)?;
            if is_text(family) {
                let well = compacted_options(self.stats(family)?.raw_bytes);
                let options = [
                    ("bottommost_compression", "kZSTD"),
                    ("bottommost_compression_opts", well.as_str()),
                ];
                self.db.set_options_cf(handle, &options).map_err(write_error)?;
            }
            self.db.compact_range_cf_opt(handle, None::<&[u8]>, None::<&[u8]>, &options);
            if self.background_errors()? > before {
                // The call itself does not say so.
                let doing = format!("merging family {}", family.name());
                let why = "the disk failed; what was there before is whole".to_owned();
                return Err(StoreError::Environment { doing, why });
            }
        }
        Ok(())
    }

    /// Returns how often work in the background has failed.
    fn background_errors(&self) -> Result<u64, StoreError> {
        let value = self.db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS);
        Ok(value.map_err(write_error)?.unwrap_or(0))
    }

    /// Puts what is there now into the directory `path`, which must be missing. Files that never
    /// change are linked where the file system can, else copied. A reader, beside which files come
    /// and go, writes every entry that it sees anew.
    pub fn checkpoint(&self, path: &Path) -> Result<(), StoreError> {
        if !self.writable {
            return self.copy(path);
        }
        let made = Checkpoint::new(&self.db).and_then(|point| point.create_checkpoint(path));
        made.map_err(|error| match error.kind() {
            ErrorKind::Corruption => write_error(error),
            _ => StoreError::Environment {
                doing: format!("writing {}", path.display()),
                why: error.to_string(),
            },
        })
    }

    fn copy(&self, path: &Path) -> Result<(), StoreError> {
        const TABLE_BYTES: usize = 32 << 20;
        let memory = Memory { cache_bytes: 8 << 20, write_bytes: 8 << 20 };
        let copy = Engine::open(path, Mode::Write, true, &memory)?;
        for family in Family::ALL.into_iter().filter(|family| self.has(*family)) {
            let (mut entries, mut bytes, mut number) = (Vec::new(), 0, 0);
            let mut put = |entries: &mut Vec<Entry>| -> Result<(), StoreError> {
                let table = copy.build_table(family, number, entries)?;
                number += 1;
                entries.clear();
                copy.ingest(family, &[table.as_path()])
            };
            self.scan(family, &[], &[], |key, value| {
                bytes += key.len() + value.len();
                entries.push((key.to_vec(), value.to_vec()));
                if bytes >= TABLE_BYTES {
                    put(&mut entries)?;
                    bytes = 0;
                }
                Ok(true)
            })?;
            if !entries.is_empty() {
                put(&mut entries)?;
            }
        }
        copy.remove_incoming()
    }

    /// Waits until everything written is in files.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.changing()?;
        let families: Vec<&ColumnFamily> =
            Family::ALL.into_iter().map(|f| self.family(f)).collect::<Result<_, _>>()?;
        self.db
            .flush_cfs_opt(&families.iter().collect::<Vec<_>>(), &FlushOptions::default())
            .map_err(write_error)
    }

    /// Reads every block of every file and checks its checksum.
    pub fn verify_checksums(&self) -> Result<(), StoreError> {
        for family in Family::ALL.into_iter().filter(|family| self.has(*family)) {
            let mut options = rocksdb::ReadOptions::default();
            options.set_verify_checksums(true);
            options.fill_cache(false);
            let handle = self.family(family)?;
            let entries = self.db.iterator_cf_opt(handle, options, IteratorMode::Start);
            for entry in entries {
                entry.map_err(|e| read_error(family, e))?;
            }
        }
        Ok(())
    }
}

fn database_options(create: bool, memory: &Memory) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    // The default would drop everything behind a damaged record in the middle without a word.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(memory.write_bytes);
    options.set_max_total_wal_size(memory.write_bytes as u64 * 4);
    // Two of them write memory tables to files.
    options.set_max_background_jobs(8);
    options.set_keep_log_file_num(2);
    options.set_log_level(LogLevel::Warn);
    options.set_max_open_files(512);
    options
}

/// The entries that are walked over on the way to a key before it is looked up.
const WALKED_MAX: usize = 16;

/// A reader holds fewer files than this open at once: systems commonly allow a process 1,024.
const FILES_HELD_MAX: usize = 900;

/// Returns how many tables there are.
fn tables(path: &Path) -> usize {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "sst")).count()
}

/// Families that a writer makes where they are missing; without others it is no database.
const REMADE: [Family; 3] = [Family::Token, Family::Column, Family::Delta];

/// Returns the families that are missing, where they are among `remade` alone.
fn lacks_only(path: &Path, options: &Options, remade: &[Family]) -> Vec<Family> {
    let Ok(there) = DB::list_cf(options, path) else { return Vec::new() };
    let is_missing = |family: &Family| !there.iter().any(|name| name == family.name());
    let missing: Vec<Family> = Family::ALL.into_iter().filter(is_missing).collect();
    let is_known = missing.iter().all(|family| remade.contains(family));
    if is_known { missing } else { Vec::new() }
}

/// Whether a family holds what people and models wrote.
fn is_text(family: Family) -> bool {
    matches!(family, Family::Body | Family::Step | Family::Trajectory)
}

/// Bytes of a family to a byte of the dictionary that a compaction makes of them, and the most that
/// the dictionary of a file takes.
const BYTES_A_DICTIONARY_BYTE: u64 = 32;
const DICTIONARY_BYTES_MAX: u64 = 256 << 10;

/// Returns how a compaction compresses a family of so many bytes: zstd 3, with a dictionary that
/// all blocks of a file share.
fn compacted_options(raw_bytes: u64) -> String {
    let dictionary = (raw_bytes / BYTES_A_DICTIONARY_BYTE).min(DICTIONARY_BYTES_MAX);
    let samples = dictionary * 16;
    format!(
        "{{window_bits=-14;level=3;strategy=0;max_dict_bytes={dictionary};\
         zstd_max_train_bytes={samples};enabled=true}}"
    )
}

/// Texts compress well and are read in neighbouring groups; scalars are decoded whole.
fn family_options(family: Family, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // Indices and filters grow with the data: the cache bounds them too.
    table.set_cache_index_and_filter_blocks(true);
    table.set_format_version(5);
    table.set_block_size(if is_text(family) { 32 << 10 } else { 8 << 10 });
    if matches!(family, Family::Id | Family::BodyId) {
        table.set_bloom_filter(10.0, false);
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Zstd);
    options.set_compression_options(-14, 1, 0, 0);
    options.set_write_buffer_size(16 << 20);
    if family == Family::Document {
        // Bulk goes in here through memory tables: with two, writing waits for files half the time.
        options.set_max_write_buffer_number(6);
    }
    // Keys mostly ascend, so files of level 0 rarely overlap: merging them early would rewrite a
    // bulk load for nothing.
    options.set_level_zero_file_num_compaction_trigger(16);
    options.set_level_zero_slowdown_writes_trigger(48);
    options.set_level_zero_stop_writes_trigger(96);
    options
}

/// Returns the number, as in its file's name, of a table that is listed and not there.
fn lost_table(error: &rocksdb::Error) -> Option<String> {
    let message: &str = error.as_ref();
    let (before, _) = message.split_once(".sst: No such file")?;
    let number = before.rsplit('/').next()?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.to_owned())
}

fn open_error(path: &Path, error: rocksdb::Error) -> StoreError {
    let text = error.to_string();
    if text.contains("LOCK") || text.to_lowercase().contains("lock ") {
        return StoreError::Locked { path: path.to_owned() };
    }
    match error.kind() {
        ErrorKind::Corruption => {
            StoreError::Damaged { place: path.display().to_string(), why: text }
        }
        _ => StoreError::Environment { doing: format!("opening {}", path.display()), why: text },
    }
}

fn read_error(family: Family, error: rocksdb::Error) -> StoreError {
    match error.kind() {
        ErrorKind::Corruption => StoreError::Damaged {
            place: format!("family {}", family.name()),
            why: error.to_string(),
        },
        _ => StoreError::Environment {
            doing: format!("reading family {}", family.name()),
            why: error.to_string(),
        },
    }
}

fn write_error(error: rocksdb::Error) -> StoreError {
    let why = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => StoreError::Damaged { place: "write".to_owned(), why },
        _ => StoreError::Environment { doing: "writing".to_owned(), why },
    }
}
