//! Reading the columns of one state.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Builder, Int64Array, UInt64Array, new_null_array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Float64Type};

use super::open::Store;
use super::state::{Place, Segment, State};
use super::{StoreError, engine};
use crate::codec::{
    Catalogue, ChunkStats, ColumnEntry, Key, LabelColumn, Manifest, TableId, decode_column,
    stored_columns,
};

/// One column on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnRef {
    /// A stored column: its table and position in [`stored_columns`].
    Stored(TableId, u16),
    /// A label column: its position in [`View::labels`].
    Label(u16),
}

/// What an array in the cache is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum CacheKey {
    /// A chunk as it is on disk.
    Chunk { column: ColumnRef, chunk: u32, version: u64 },
    /// A column for the rows of a segment that begins at `first_row` of `table`, as a state sees
    /// it: widened, or with newer label values over it.
    Made { column: ColumnRef, table: TableId, first_row: u64, sequence: u64, made_from: u64 },
    /// A text column of either kind as codes.
    Codes(Box<CacheKey>),
    /// The same where the texts are few; an array of type Null where they are not.
    Few(Box<CacheKey>),
}

/// The store at one sequence. Holding it keeps everything it names.
#[derive(Clone)]
pub struct View {
    pub(super) store: Arc<Store>,
    pub(super) state: Arc<State>,
}

impl View {
    pub(super) fn new(store: Arc<Store>, state: Arc<State>) -> View {
        View { store, state }
    }

    /// Returns the sequence of the last commit seen.
    pub fn sequence(&self) -> u64 {
        self.state.sequence
    }

    /// Returns the number of rows of a table.
    pub fn rows(&self, table: TableId) -> u64 {
        self.state.rows[table.code() as usize]
    }

    /// Returns the runs of rows of a table, in row order.
    pub fn segments(&self, table: TableId) -> Vec<Segment> {
        self.state.segments(table)
    }

    /// Returns the label columns.
    pub fn labels(&self) -> &[LabelColumn] {
        &self.state.catalogue.labels
    }

    /// Returns the names known at this sequence.
    pub fn catalogue(&self) -> &Catalogue {
        &self.state.catalogue
    }

    /// Returns the store this is a view of.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Returns the stored column of that name.
    pub fn stored(&self, table: TableId, name: &str) -> Option<ColumnRef> {
        let at = stored_columns(table).iter().position(|c| c.name == name)?;
        Some(ColumnRef::Stored(table, at as u16))
    }

    /// Returns what is known of a column's values in a segment without reading it.
    pub fn stats(&self, segment: &Segment, column: ColumnRef) -> Option<&ChunkStats> {
        let Place::Chunk(chunk) = segment.place else { return None };
        if self.state.past.is_some() {
            // They speak of rows and labels that this view does not see.
            return None;
        }
        if let ColumnRef::Label(label) = column {
            let mut cells = self.state.cells_of(label, segment.first_row, segment.rows);
            if cells.next().is_some() {
                return None;
            }
        }
        let entry = self.entry(column)?.chunks.get(chunk as usize)?.as_ref()?;
        Some(&entry.stats)
    }

    /// Returns a column's values in a segment of its own table.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn column(&self, segment: &Segment, column: ColumnRef) -> Result<ArrayRef, StoreError> {
        let base = match (segment.place, column) {
            (Place::Chunk(chunk), _) => self.chunk(segment, column, chunk)?,
            (Place::Tail(at), ColumnRef::Stored(table, index)) => {
                let tail = &self.state.tails[table.code() as usize][at];
                tail.batch.column(index as usize).clone()
            }
            (Place::Tail(_), ColumnRef::Label(_)) => {
                new_null_array(&DataType::Float64, segment.rows as usize)
            }
        };
        match column {
            ColumnRef::Label(label) => self.overlaid(segment, label, base),
            ColumnRef::Stored(..) => Ok(base),
        }
    }

    /// Returns a column of trajectories for the rows of a segment of steps: each step gets its
    /// trajectory's value.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn widened(&self, steps: &Segment, column: ColumnRef) -> Result<ArrayRef, StoreError> {
        self.made(steps, column, || {
            let ordinals = self.column(steps, ColumnRef::Stored(TableId::Steps, 0))?;
            self.of_trajectories(column, integers(&ordinals)?.values())
        })
    }

    /// Returns a column of trajectories for any ordinals, in the order asked for.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn of_trajectories(
        &self,
        column: ColumnRef,
        ordinals: &[i64],
    ) -> Result<ArrayRef, StoreError> {
        let segments = self.trajectories_of(ordinals);
        let Some(base) = segments.first().map(|segment| segment.first_row) else {
            return Ok(arrow::array::new_empty_array(&data_type(column)));
        };
        let parts = segments.iter().map(|segment| self.column(segment, column));
        let parts: Vec<ArrayRef> = parts.collect::<Result<_, _>>()?;
        let values = match parts.as_slice() {
            [one] => one.clone(),
            several => {
                let several: Vec<&dyn Array> = several.iter().map(AsRef::as_ref).collect();
                concat(&several).map_err(arrow_error)?
            }
        };
        let at = ordinals.iter().map(|o| (*o as u64).saturating_sub(base));
        let at = UInt64Array::from_iter_values(at);
        take(&values, &at, None).map_err(arrow_error)
    }

    /// Returns the segments that trajectories of these ordinals lie in and all between them.
    pub(super) fn trajectories_of(&self, ordinals: &[i64]) -> Vec<Segment> {
        let (first, last) = (ordinals.iter().min(), ordinals.iter().max());
        let Some((first, last)) = first.zip(last).map(|(f, l)| (*f as u64, *l as u64)) else {
            return Vec::new();
        };
        let mut segments = self.segments(TableId::Trajectories);
        segments.retain(|s| s.first_row <= last && first < s.first_row + s.rows);
        segments
    }

    /// Returns the type of a column.
    pub fn data_type(&self, column: ColumnRef) -> DataType {
        data_type(column)
    }

    fn entry(&self, column: ColumnRef) -> Option<&ColumnEntry> {
        entry(&self.state.manifest, column)
    }

    fn chunk(
        &self,
        segment: &Segment,
        column: ColumnRef,
        chunk: u32,
    ) -> Result<ArrayRef, StoreError> {
        self.live(segment, column, chunk, |key, version| {
            self.cached(key, || self.read_version(segment.table, column, chunk, version))
        })
    }

    /// Returns what [`View::column`] does of a stored column, and leaves the cache as it is.
    pub(super) fn chunk_once(
        &self,
        segment: &Segment,
        column: ColumnRef,
        chunk: u32,
    ) -> Result<ArrayRef, StoreError> {
        self.live(segment, column, chunk, |key, version| match self.store.cache.get(&key) {
            Some(kept) => Ok(kept),
            None => self.read_version(segment.table, column, chunk, version),
        })
    }

    /// Returns the part of a chunk that a segment is, got by `whole` from its name in the cache and
    /// its version; nulls where there is no chunk of the column.
    fn live(
        &self,
        segment: &Segment,
        column: ColumnRef,
        chunk: u32,
        whole: impl FnOnce(CacheKey, u64) -> Result<ArrayRef, StoreError>,
    ) -> Result<ArrayRef, StoreError> {
        let rows = segment.rows as usize;
        match self.version(column, chunk) {
            Some(version) => {
                let key = CacheKey::Chunk { column, chunk, version };
                Ok(whole(key, version)?.slice(0, rows))
            }
            None => Ok(new_null_array(&data_type(column), rows)),
        }
    }

    fn read_version(
        &self,
        table: TableId,
        column: ColumnRef,
        chunk: u32,
        version: u64,
    ) -> Result<ArrayRef, StoreError> {
        let key = chunk_key(column, chunk, version);
        let rows = self.state.chunk_rows(table, chunk);
        read_chunk(&self.store.engine, &key, &data_type(column), rows)
    }

    /// Returns the live version of a column's chunk, if there is one.
    fn version(&self, column: ColumnRef, chunk: u32) -> Option<u64> {
        Some(self.entry(column)?.chunks.get(chunk as usize)?.as_ref()?.version)
    }

    /// Returns the name in the cache of the chunk that a segment is all of.
    pub(super) fn whole_chunk_key(&self, segment: &Segment, column: ColumnRef) -> Option<CacheKey> {
        match segment.place {
            Place::Chunk(chunk) if self.is_whole(segment, chunk) => {
                let version = self.version(column, chunk)?;
                Some(CacheKey::Chunk { column, chunk, version })
            }
            _ => None,
        }
    }

    /// Whether a segment is all of its chunk.
    fn is_whole(&self, segment: &Segment, chunk: u32) -> bool {
        segment.rows == self.state.chunk_rows(segment.table, chunk)
    }

    /// Returns what is in the cache, or what `make` makes, which is kept there.
    pub(super) fn cached(
        &self,
        key: CacheKey,
        make: impl FnOnce() -> Result<ArrayRef, StoreError>,
    ) -> Result<ArrayRef, StoreError> {
        if let Some(array) = self.store.cache.get(&key) {
            return Ok(array);
        }
        let array = make()?;
        self.store.cache.insert(key, &array);
        Ok(array)
    }

    fn overlaid(
        &self,
        segment: &Segment,
        label: u16,
        base: ArrayRef,
    ) -> Result<ArrayRef, StoreError> {
        let (first_row, rows) = (segment.first_row, segment.rows);
        let mut cells = self.state.cells_of(label, first_row, rows).peekable();
        let mut replaced = self.state.replaced(label, first_row, rows).peekable();
        if cells.peek().is_none() && replaced.peek().is_none() {
            return Ok(base);
        }
        self.made(segment, ColumnRef::Label(label), || {
            let newer = cells.map(|c| (c.row, Some(c.value)));
            let values = newer.chain(replaced);
            Ok(overlay(&base, values.map(|(row, value)| ((row - first_row) as usize, value))))
        })
    }

    /// Returns what `make` makes for a segment, or made before in this state: a scan asks for a
    /// segment once for every few thousand of its rows.
    fn made(
        &self,
        segment: &Segment,
        column: ColumnRef,
        make: impl FnOnce() -> Result<ArrayRef, StoreError>,
    ) -> Result<ArrayRef, StoreError> {
        self.cached(self.made_key(segment, column), make)
    }

    pub(super) fn made_key(&self, segment: &Segment, column: ColumnRef) -> CacheKey {
        let (table, first_row, sequence) = (segment.table, segment.first_row, self.sequence());
        let made_from = self.state.past.as_ref().map_or(sequence, |past| past.made_from);
        CacheKey::Made { column, table, first_row, sequence, made_from }
    }
}

/// Returns the values of a label column with newer values laid over them.
pub(super) fn overlay(
    base: &ArrayRef,
    cells: impl Iterator<Item = (usize, Option<f64>)>,
) -> ArrayRef {
    use arrow::array::AsArray;
    let old = base.as_primitive::<Float64Type>();
    let mut values: Vec<Option<f64>> = old.iter().collect();
    for (at, value) in cells {
        if let Some(slot) = values.get_mut(at) {
            *slot = value;
        }
    }
    let mut builder = Float64Builder::with_capacity(values.len());
    for value in values {
        builder.append_option(value);
    }
    Arc::new(builder.finish())
}

pub(super) fn data_type(column: ColumnRef) -> DataType {
    match column {
        ColumnRef::Stored(table, at) => {
            stored_columns(table).get(at as usize).map_or(DataType::Null, |c| c.kind.data_type())
        }
        ColumnRef::Label(_) => DataType::Float64,
    }
}

pub(super) fn entry(manifest: &Manifest, column: ColumnRef) -> Option<&ColumnEntry> {
    match column {
        ColumnRef::Stored(table, at) => {
            manifest.columns.get(table.code() as usize)?.get(at as usize)
        }
        ColumnRef::Label(label) => manifest.label_columns.get(label as usize),
    }
}

/// Returns where a chunk of a column is: labels are numbered from 1,000 on, in the table of
/// steps for all of them, since a label column's number is unique in the database.
pub(super) fn chunk_key(column: ColumnRef, chunk: u32, version: u64) -> Key {
    const FIRST_LABEL: u16 = 1_000;
    match column {
        ColumnRef::Stored(table, at) => Key::Column { table, column: at, chunk, version },
        ColumnRef::Label(at) => {
            Key::Column { table: TableId::Steps, column: FIRST_LABEL + at, chunk, version }
        }
    }
}

pub(super) fn read_chunk(
    engine: &engine::Engine,
    key: &Key,
    kind: &DataType,
    rows: u64,
) -> Result<ArrayRef, StoreError> {
    let missing = || StoreError::Damaged { place: format!("{key:?}"), why: "it is missing".into() };
    let bytes = engine.get(key)?.ok_or_else(missing)?;
    decode_column(&bytes, kind, rows).map_err(|e| StoreError::record(key, e))
}

pub(super) fn arrow_error(error: arrow::error::ArrowError) -> StoreError {
    StoreError::Damaged { place: "column".into(), why: error.to_string() }
}

pub(super) fn integers(array: &ArrayRef) -> Result<&Int64Array, StoreError> {
    array.as_any().downcast_ref::<Int64Array>().ok_or_else(|| StoreError::Damaged {
        place: "column".into(),
        why: format!("type {}, expected Int64", array.data_type()),
    })
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({})", self.sequence())
    }
}
