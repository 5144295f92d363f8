//! Folding: what is in deltas becomes columns.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;

use super::StoreError;
use super::delete::{Swept, blanked, without};
use super::engine::Changes;
use super::open::{Durability, Store, Writer};
use super::state::State;
use super::view::{ColumnRef, arrow_error, chunk_key, data_type, entry, overlay, read_chunk};
use crate::codec::{
    CHUNK_ROWS, Catalogue, ChunkEntry, ChunkStats, ColumnEntry, Family, Key, Manifest, TableId,
    encode_column, stored_columns,
};

/// A commit folds when one of these is reached: rows of a table, label values.
const TAIL_ROWS_MAX: u64 = CHUNK_ROWS;
const CELLS_MAX: u64 = CHUNK_ROWS;

/// At so many times that much, a commit waits for the fold that is under way.
const OVERDUE: u64 = 4;

/// The end of a bulk load folds when this many rows wait: fewer are cheaper left as deltas.
const SETTLE_ROWS_MIN: u64 = 4_096;

/// The end of a bulk load writes files where this much is in the log alone: whoever opens next
/// would read it again.
const UNFLUSHED_BYTES_MAX: u64 = 4 << 20;

impl Store {
    /// Makes a bulk load durable, and folds what it left behind if that is worth it.
    ///
    /// # Errors
    /// Damage, or what the disk says; the deltas then still hold everything.
    pub fn settle(&self) -> Result<(), StoreError> {
        let state = self.state();
        let rows = TableId::ALL.map(|t| state.tail_rows(t)).into_iter().max().unwrap_or(0);
        let waiting = rows.max(state.cell_count() as u64);
        drop(state);
        if waiting >= SETTLE_ROWS_MIN {
            self.fold()?;
        } else if self.engine.unflushed_bytes()? < UNFLUSHED_BYTES_MAX {
            return self.engine.sync();
        }
        self.flush()
    }

    /// Folds, removes what deleted trajectories left behind, and merges the files of every family:
    /// the space of what was deleted or replaced is given back.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn compact(&self) -> Result<Swept, StoreError> {
        let swept = {
            let _folding = self.folding();
            let mut writer = self.writer();
            let folded = self.folded()?;
            self.publish_fold(folded, &mut writer)?;
            self.sweep_deleted(&mut writer)?
        };
        self.flush()?;
        self.engine.compact()?;
        Ok(swept)
    }

    /// Folds if the deltas have grown enough. Threads that append meanwhile go on, until much more
    /// has come together.
    pub(super) fn fold_if_due(&self) -> Result<(), StoreError> {
        if !is_due(&self.state(), 1) {
            return Ok(());
        }
        let folding = match self.folding.try_lock() {
            Err(TryLockError::WouldBlock) if is_due(&self.state(), OVERDUE) => self.folding(),
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Poisoned(lock)) => lock.into_inner(),
            Ok(lock) => lock,
        };
        // Whoever had the lock may have done it.
        if is_due(&self.state(), 1) { self.fold_beside(folding) } else { Ok(()) }
    }

    /// Writes every row and label value of the deltas into columns and drops the deltas.
    ///
    /// # Errors
    /// Damage, or what the disk says; the deltas then still hold everything.
    pub fn fold(&self) -> Result<(), StoreError> {
        self.fold_beside(self.folding())
    }

    /// Makes chunks of what is there now, while others commit, and publishes them.
    fn fold_beside(&self, _folding: MutexGuard<'_, ()>) -> Result<(), StoreError> {
        let folded = self.folded()?;
        self.publish_fold(folded, &mut self.writer())
    }

    fn folding(&self) -> MutexGuard<'_, ()> {
        self.folding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes chunks of all rows and label values beside the columns.
    fn folded(&self) -> Result<Folded, StoreError> {
        let state = self.state();
        let mut folding = Folding::of(self, &state);
        folding.run()?;
        let Folding { changes, replaced, manifest, .. } = folding;
        Ok(Folded { state, changes, replaced, manifest })
    }

    /// Publishes new chunks, and the manifest that names them, in the place of others. What was
    /// committed since they were made stays beside the columns.
    pub(super) fn publish_fold(
        &self,
        folded: Folded,
        writer: &mut Writer,
    ) -> Result<(), StoreError> {
        let Folded { state, mut changes, replaced, manifest } = folded;
        self.engine.scan_keys(Family::Delta, |key| {
            if matches!(key, Key::Delta(sequence) if sequence <= state.sequence) {
                changes.delete(&key);
            }
        })?;
        changes.put(&Key::Meta("manifest".to_owned()), &manifest);
        let now = self.state();
        let next = now.folded(manifest, &state);
        let epoch = Arc::downgrade(&now.epoch);
        drop((state, now));
        let before = writer.retired.iter().flat_map(|(_, keys)| keys);
        put_retired(&mut changes, before.chain(&replaced));
        self.publish(changes, next, Durability::Now)?;
        writer.retired.push((epoch, replaced));
        self.delete_retired(&mut writer.retired)
    }

    /// Deletes the chunk versions whose last view has ended. A view of a later epoch never names
    /// them, one of an earlier epoch may: they wait for all epochs before.
    fn delete_retired(
        &self,
        retired: &mut Vec<(std::sync::Weak<()>, Vec<Key>)>,
    ) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        while retired.first().is_some_and(|(epoch, _)| epoch.strong_count() == 0) {
            for key in retired.remove(0).1 {
                changes.delete(&key);
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        put_retired(&mut changes, retired.iter().flat_map(|(_, keys)| keys));
        self.engine.write(changes, false)
    }

    /// Deletes the chunk versions that waited for their last view when the process that made them
    /// ended.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        let Some(keys) = self.engine.get(&Key::Meta(RETIRED.to_owned()))? else { return Ok(()) };
        let mut changes = Changes::default();
        for key in keys.chunks(RETIRED_KEY_BYTES) {
            changes.delete(&Key::decode(Family::Column, key).map_err(StoreError::key)?);
        }
        changes.delete(&Key::Meta(RETIRED.to_owned()));
        self.engine.write(changes, true)
    }
}

/// Whether what is not yet in columns has grown to so many times what is enough to be folded.
pub(super) fn is_due(state: &State, times: u64) -> bool {
    let most = TAIL_ROWS_MAX * times;
    let rows_due = TableId::ALL.iter().any(|table| state.tail_rows(*table) >= most);
    rows_due || state.cell_count() as u64 >= CELLS_MAX * times
}

/// Where the keys of chunk versions stand that are no longer live, one behind the other.
pub(super) const RETIRED: &str = "retired";
const RETIRED_KEY_BYTES: usize = 15;

fn put_retired<'a>(changes: &mut Changes, keys: impl Iterator<Item = &'a Key>) {
    let keys: Vec<u8> = keys.flat_map(Key::encode).collect();
    let place = Key::Meta(RETIRED.to_owned());
    if keys.is_empty() { changes.delete(&place) } else { changes.put_bytes(&place, keys) }
}

/// Returns the keys of every live chunk.
pub(super) fn live_keys(state: &State) -> HashSet<Key> {
    let mut keys = HashSet::new();
    for column in all_columns(&state.catalogue) {
        let chunks =
            entry(&state.manifest, column).map(|e| e.chunks.as_slice()).unwrap_or_default();
        for (chunk, live) in chunks.iter().enumerate() {
            if let Some(live) = live {
                keys.insert(chunk_key(column, chunk as u32, live.version));
            }
        }
    }
    keys
}

/// Returns every column there is.
pub(super) fn all_columns(catalogue: &Catalogue) -> Vec<ColumnRef> {
    let stored = TableId::ALL.into_iter().flat_map(|table| {
        (0..stored_columns(table).len()).map(move |at| ColumnRef::Stored(table, at as u16))
    });
    let labels = (0..catalogue.labels.len()).map(|at| ColumnRef::Label(at as u16));
    stored.chain(labels).collect()
}

/// Returns the table that a column belongs to.
pub(super) fn table_of(catalogue: &Catalogue, column: ColumnRef) -> TableId {
    match column {
        ColumnRef::Stored(table, _) => table,
        ColumnRef::Label(at) => match catalogue.labels.get(at as usize) {
            Some(label) if !label.on_steps => TableId::Trajectories,
            _ => TableId::Steps,
        },
    }
}

/// What a fold made of a state.
pub(super) struct Folded {
    pub state: Arc<State>,
    pub changes: Changes,
    pub replaced: Vec<Key>,
    pub manifest: Manifest,
}

/// A fold at work.
pub(super) struct Folding<'a> {
    store: &'a Store,
    state: &'a State,
    version: u64,
    /// The manifest as it will be.
    pub manifest: Manifest,
    /// The chunks that are written.
    pub changes: Changes,
    /// The chunks that they replace.
    pub replaced: Vec<Key>,
}

impl<'a> Folding<'a> {
    /// Begins to fold what a state has beside its columns; new chunks get the next sequence as
    /// their version.
    pub fn of(store: &'a Store, state: &'a State) -> Folding<'a> {
        Folding {
            store,
            state,
            version: state.sequence + 1,
            manifest: state.manifest.as_ref().clone(),
            changes: Changes::default(),
            replaced: Vec::new(),
        }
    }

    /// Makes every chunk that new rows or label values reach into.
    pub fn run(&mut self) -> Result<(), StoreError> {
        let catalogue = &self.state.catalogue;
        self.manifest.label_columns.resize(catalogue.labels.len(), ColumnEntry::default());
        for column in all_columns(catalogue) {
            let table = table_of(catalogue, column);
            let rows = self.state.rows[table.code() as usize];
            for chunk in self.touched(table, column) {
                let first_row = chunk as u64 * CHUNK_ROWS;
                let array = self.new_chunk(table, column, chunk, first_row, rows)?;
                self.write_chunk(column, chunk, &array)?;
            }
        }
        self.manifest.folded_rows = self.state.rows;
        Ok(())
    }

    /// Makes a chunk of every column of a table without what it says of `rows`, ascending runs of
    /// it that are deleted.
    pub fn blank(
        &mut self,
        table: TableId,
        chunk: u32,
        rows: &[Range<u64>],
    ) -> Result<(), StoreError> {
        for column in blanked(&self.state.catalogue, table) {
            let all = self.state.chunk_rows(table, chunk);
            let old = self.old_chunk(column, chunk, all)?;
            if old.null_count() < old.len() {
                self.write_chunk(column, chunk, &without(&old, rows)?)?;
            }
        }
        Ok(())
    }

    /// Returns the chunks that new rows or new label values reach into.
    fn touched(&self, table: TableId, column: ColumnRef) -> Vec<u32> {
        let at = table.code() as usize;
        let (folded, rows) = (self.manifest.folded_rows[at], self.state.rows[at]);
        let grown =
            if rows > folded { folded / CHUNK_ROWS..rows.div_ceil(CHUNK_ROWS) } else { 0..0 };
        let mut chunks: Vec<u32> = grown.map(|c| c as u32).collect();
        if let ColumnRef::Label(label) = column {
            let cells = self.state.cells_of(label, 0, u64::MAX);
            chunks.extend(cells.map(|c| (c.row / CHUNK_ROWS) as u32));
            chunks.sort_unstable();
            chunks.dedup();
        }
        chunks
    }

    fn new_chunk(
        &self,
        table: TableId,
        column: ColumnRef,
        chunk: u32,
        first_row: u64,
        rows: u64,
    ) -> Result<ArrayRef, StoreError> {
        let end = rows.min(first_row + CHUNK_ROWS);
        let folded = self.manifest.folded_rows[table.code() as usize];
        let mut parts: Vec<ArrayRef> = Vec::new();
        if folded > first_row {
            parts.push(self.old_chunk(column, chunk, folded.min(end) - first_row)?);
        }
        match column {
            ColumnRef::Stored(_, at) => parts.extend(self.tail_parts(table, at, first_row, end)),
            ColumnRef::Label(_) if end > folded.max(first_row) => {
                let missing = (end - folded.max(first_row)) as usize;
                parts.push(arrow::array::new_null_array(&data_type(column), missing));
            }
            ColumnRef::Label(_) => {}
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        let whole = concat(&parts).map_err(arrow_error)?;
        let ColumnRef::Label(label) = column else { return Ok(whole) };
        let cells = self.state.cells_of(label, first_row, end - first_row);
        Ok(overlay(&whole, cells.map(|c| ((c.row - first_row) as usize, Some(c.value)))))
    }

    fn old_chunk(&self, column: ColumnRef, chunk: u32, rows: u64) -> Result<ArrayRef, StoreError> {
        let kind = data_type(column);
        let old = entry(&self.manifest, column).and_then(|e| e.chunks.get(chunk as usize));
        match old {
            Some(Some(live)) => {
                let key = chunk_key(column, chunk, live.version);
                read_chunk(&self.store.engine, &key, &kind, rows)
            }
            _ => Ok(arrow::array::new_null_array(&kind, rows as usize)),
        }
    }

    /// Returns the parts of the tail that lie in rows `first_row .. end`.
    fn tail_parts(&self, table: TableId, at: u16, first_row: u64, end: u64) -> Vec<ArrayRef> {
        let tails = &self.state.tails[table.code() as usize];
        let part = |tail: &Arc<super::state::TailBatch>| {
            let rows = tail.batch.num_rows() as u64;
            let from = first_row.max(tail.first_row);
            let to = end.min(tail.first_row + rows);
            let array = tail.batch.column(at as usize);
            (from < to).then(|| array.slice((from - tail.first_row) as usize, (to - from) as usize))
        };
        tails.iter().filter_map(part).collect()
    }

    fn write_chunk(
        &mut self,
        column: ColumnRef,
        chunk: u32,
        array: &ArrayRef,
    ) -> Result<(), StoreError> {
        let version = self.version;
        let columns = match column {
            ColumnRef::Stored(table, at) => {
                self.manifest.columns[table.code() as usize].get_mut(at as usize)
            }
            ColumnRef::Label(at) => self.manifest.label_columns.get_mut(at as usize),
        };
        let Some(ColumnEntry { chunks }) = columns else {
            let why = "the manifest has no such column".to_owned();
            return Err(StoreError::Damaged { place: format!("{column:?}"), why });
        };
        if chunks.len() <= chunk as usize {
            chunks.resize(chunk as usize + 1, None);
        }
        let slot = &mut chunks[chunk as usize];
        if let Some(old) = slot.take() {
            self.replaced.push(chunk_key(column, chunk, old.version));
        }
        if array.null_count() == array.len() {
            return Ok(());
        }
        let key = chunk_key(column, chunk, version);
        let bytes = encode_column(array).map_err(|e| StoreError::record(&key, e))?;
        self.changes.put_bytes(&key, bytes);
        *slot = Some(ChunkEntry { version, stats: ChunkStats::of(array) });
        Ok(())
    }
}
