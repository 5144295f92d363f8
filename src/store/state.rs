//! The state at one sequence.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::delete::Deleted;
use crate::codec::{CHUNK_ROWS, Catalogue, LabelCell, Manifest, TableId};

/// Rows that are not yet in columns.
pub(super) struct TailBatch {
    pub first_row: u64,
    pub batch: RecordBatch,
}

impl TailBatch {
    /// Returns what lies behind row `row`.
    fn behind(self: &Arc<TailBatch>, row: u64) -> Option<Arc<TailBatch>> {
        if self.first_row >= row {
            return Some(self.clone());
        }
        let (before, rows) = ((row - self.first_row) as usize, self.batch.num_rows());
        (before < rows).then(|| {
            let batch = self.batch.slice(before, rows - before);
            Arc::new(TailBatch { first_row: row, batch })
        })
    }
}

/// How a state of the past differs from the one it was made from.
#[derive(Clone)]
pub(super) struct Past {
    /// The sequence of the state it was made from.
    pub made_from: u64,
    /// What labels given later replaced, by label and row; `None`: nothing was there.
    pub replaced: Arc<BTreeMap<(u16, u64), Option<f64>>>,
}

/// Everything a statement needs to know of the store at one sequence. Never changed once made.
#[derive(Clone)]
pub(super) struct State {
    /// Shared by all states between two folds: while one is held, the chunks of that time stay.
    pub epoch: Arc<()>,
    pub sequence: u64,
    /// Rows of trajectories and steps.
    pub rows: [u64; 2],
    /// The number the next body gets.
    pub next_body: u64,
    pub manifest: Arc<Manifest>,
    pub catalogue: Arc<Catalogue>,
    pub tails: [Vec<Arc<TailBatch>>; 2],
    /// Label values not yet in columns; within a layer sorted by (label, row), later layers win.
    pub cells: Vec<Arc<Vec<LabelCell>>>,
    /// Rows that are deleted, whatever the sequence.
    pub deleted: Arc<Deleted>,
    /// What a state of the past was made from.
    pub past: Option<Past>,
}

/// A run of rows of one table that are stored together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The table.
    pub table: TableId,
    /// The first row.
    pub first_row: u64,
    /// The number of rows, at least one.
    pub rows: u64,
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Chunk(u32),
    Tail(usize),
}

impl State {
    /// Returns the state after a fold that wrote what a manifest names, made of all that an earlier
    /// state had beside its columns: what this state has beyond that stays.
    pub fn folded(&self, manifest: Manifest, made_of: &State) -> State {
        let tails = TableId::ALL.map(|table| {
            let at = table.code() as usize;
            let behind = |tail: &Arc<TailBatch>| tail.behind(manifest.folded_rows[at]);
            self.tails[at].iter().filter_map(behind).collect()
        });
        let key = |cell: &LabelCell| (cell.label, cell.row);
        let written: HashMap<_, _> = made_of
            .cells
            .iter()
            .flat_map(|layer| layer.iter().map(|c| (key(c), c.value)))
            .collect();
        let mut cells: Vec<LabelCell> =
            self.cells.iter().flat_map(|layer| layer.iter().cloned()).collect();
        sort_cells(&mut cells);
        let is_written = |c: &LabelCell| {
            written.get(&key(c)).is_some_and(|value| value.to_bits() == c.value.to_bits())
        };
        cells.retain(|cell| !is_written(cell));
        State {
            epoch: Arc::new(()),
            sequence: self.sequence + 1,
            rows: self.rows,
            next_body: self.next_body,
            catalogue: self.catalogue.clone(),
            manifest: Arc::new(manifest),
            tails,
            cells: Some(cells)
                .filter(|cells| !cells.is_empty())
                .map(Arc::new)
                .into_iter()
                .collect(),
            deleted: self.deleted.clone(),
            past: None,
        }
    }

    /// Returns the segments of a table in row order.
    pub fn segments(&self, table: TableId) -> Vec<Segment> {
        let all = self.rows[table.code() as usize];
        let folded = self.manifest.folded_rows[table.code() as usize].min(all);
        let chunks = (0..folded.div_ceil(CHUNK_ROWS)).map(|chunk| {
            let first_row = chunk * CHUNK_ROWS;
            let rows = CHUNK_ROWS.min(folded - first_row);
            Segment { table, first_row, rows, place: Place::Chunk(chunk as u32) }
        });
        let tails = &self.tails[table.code() as usize];
        let tails = tails.iter().enumerate().map(|(at, tail)| {
            let rows = tail.batch.num_rows() as u64;
            Segment { table, first_row: tail.first_row, rows, place: Place::Tail(at) }
        });
        chunks.chain(tails).collect()
    }

    /// Returns the number of rows of a chunk as it is on disk, where a state of the past may see
    /// fewer.
    pub fn chunk_rows(&self, table: TableId, chunk: u32) -> u64 {
        let folded = self.manifest.folded_rows[table.code() as usize];
        CHUNK_ROWS.min(folded.saturating_sub(u64::from(chunk) * CHUNK_ROWS))
    }

    /// Returns the rows of a table that are not yet in columns.
    pub fn tail_rows(&self, table: TableId) -> u64 {
        let at = table.code() as usize;
        self.rows[at] - self.manifest.folded_rows[at]
    }

    /// Adds rows behind the last. Batches are joined like the digits of a counter, so that n
    /// appends copy each row log n times and leave log n batches.
    pub fn push_tail(
        &mut self,
        table: TableId,
        batch: RecordBatch,
    ) -> Result<(), arrow::error::ArrowError> {
        let at = table.code() as usize;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut last = TailBatch { first_row: self.rows[at], batch };
        self.rows[at] += last.batch.num_rows() as u64;
        while let Some(before) = self.tails[at].last() {
            if before.batch.num_rows() > last.batch.num_rows() {
                break;
            }
            let joined = [&before.batch, &last.batch];
            let batch = arrow::compute::concat_batches(&before.batch.schema(), joined)?;
            last = TailBatch { first_row: before.first_row, batch };
            self.tails[at].pop();
        }
        self.tails[at].push(Arc::new(last));
        Ok(())
    }

    /// Lays label values over the columns.
    pub fn push_cells(&mut self, mut cells: Vec<LabelCell>) {
        if cells.is_empty() {
            return;
        }
        sort_cells(&mut cells);
        let mut last = cells;
        while let Some(before) = self.cells.last() {
            if before.len() > last.len() {
                break;
            }
            let mut joined = before.as_ref().clone();
            joined.extend_from_slice(&last);
            sort_cells(&mut joined);
            last = joined;
            self.cells.pop();
        }
        self.cells.push(Arc::new(last));
    }

    /// Returns the cells of one label that speak of rows `first_row .. first_row + rows`, in the
    /// order in which they were given.
    pub fn cells_of(
        &self,
        label: u16,
        first_row: u64,
        rows: u64,
    ) -> impl Iterator<Item = &LabelCell> {
        self.cells.iter().flat_map(move |layer| {
            let key = |c: &LabelCell| (c.label, c.row);
            let from = layer.partition_point(|c| key(c) < (label, first_row));
            let to = layer.partition_point(|c| key(c) < (label, first_row + rows));
            layer[from..to].iter()
        })
    }

    /// Returns what later labels replaced in rows `first_row .. first_row + rows` of a label.
    pub fn replaced(
        &self,
        label: u16,
        first_row: u64,
        rows: u64,
    ) -> impl Iterator<Item = (u64, Option<f64>)> {
        let all = self.past.iter().flat_map(move |past| {
            past.replaced.range((label, first_row)..(label, first_row + rows))
        });
        all.map(|((_, row), value)| (*row, *value))
    }

    /// Returns the number of cells not yet in columns.
    pub fn cell_count(&self) -> usize {
        self.cells.iter().map(|layer| layer.len()).sum()
    }
}

/// Sorts by label and row and keeps the last of each.
fn sort_cells(cells: &mut Vec<LabelCell>) {
    cells.sort_by_key(|c| (c.label, c.row));
    cells.reverse();
    cells.dedup_by_key(|c| (c.label, c.row));
    cells.reverse();
}
