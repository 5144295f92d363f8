//! Opening a database, and keeping its text index in step.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::DbError;
use crate::codec::TableId;
use crate::store::{Limits, Mode, Store, View};
use crate::text::{Position, TextError, TextIndex, TextQuery};

/// Rows put into the text index between two looks at whether to stop.
const INDEX_ROWS: u64 = 2_048;

/// Memory of the text index while rows are added, in bytes.
const INDEX_MEMORY_BYTES: usize = 128 << 20;

/// Told how many rows of how many are in the index; returns false to stop.
pub type TextProgress<'a> = dyn FnMut(u64, u64) -> bool + 'a;

/// An open database.
pub struct Database {
    store: Arc<Store>,
    mode: Mode,
    /// `None` until a statement needs it.
    text: Mutex<Option<TextIndex>>,
}

impl Database {
    /// Creates a database in an empty or missing directory; `identity` is a random number.
    ///
    /// # Errors
    /// Something else is there, or the disk refuses.
    pub fn create(path: &Path, identity: [u8; 16], limits: Limits) -> Result<Database, DbError> {
        let store = Store::create(path, identity, limits)?;
        Ok(Database { store, mode: Mode::Write, text: Mutex::new(None) })
    }

    /// Opens a database.
    ///
    /// # Errors
    /// There is none, it is of a newer format, open elsewhere, damaged; or the disk refuses.
    pub fn open(path: &Path, mode: Mode, limits: Limits) -> Result<Database, DbError> {
        let store = Store::open(path, mode, limits)?;
        Ok(Database { store, mode, text: Mutex::new(None) })
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Returns the state now.
    pub fn view(&self) -> View {
        self.store.view()
    }

    /// Whether it can be written to.
    pub fn is_writable(&self) -> bool {
        self.mode == Mode::Write
    }

    /// Returns the rows of steps whose `column` matches, ascending, up to the rows of `view`.
    /// The index is brought up to date first. `None`: the database is open for reading and the
    /// index is behind, so each row has to be looked at.
    ///
    /// # Errors
    /// [`DbError::TextAhead`], [`DbError::Stopped`], or what index and store say. A damaged index
    /// is made anew: it holds nothing that the store does not.
    pub fn text_rows(
        &self,
        view: &View,
        column: &str,
        query: &TextQuery,
        progress: &mut TextProgress<'_>,
    ) -> Result<Option<Vec<u64>>, DbError> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if self.mode == Mode::Read {
            return self.text_rows_read_only(&mut text, view, column, query);
        }
        let rows = match self.caught_up(&mut text, view, progress) {
            Ok(index) => index.rows(column, query).map_err(DbError::from),
            Err(error) => Err(error),
        };
        let mut rows = match rows {
            Err(DbError::Text(TextError::Damaged { .. })) => {
                *text = None;
                let made = TextIndex::recreate(&self.text_directory(), INDEX_MEMORY_BYTES)?;
                *text = Some(made);
                self.caught_up(&mut text, view, progress)?.rows(column, query)?
            }
            other => other?,
        };
        let end = view.rows(TableId::Steps);
        rows.truncate(rows.partition_point(|row| *row < end));
        Ok(Some(rows))
    }

    fn text_directory(&self) -> std::path::PathBuf {
        self.store.path().join("text")
    }

    fn text_rows_read_only(
        &self,
        text: &mut Option<TextIndex>,
        view: &View,
        column: &str,
        query: &TextQuery,
    ) -> Result<Option<Vec<u64>>, DbError> {
        if text.is_none() {
            match TextIndex::open_read_only(&self.text_directory()) {
                Ok(index) => *text = Some(index),
                Err(TextError::Outdated { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let Some(index) = text.as_mut() else { return Ok(None) };
        index.refresh()?;
        let end = view.rows(TableId::Steps);
        let position = index.position();
        if position.is_none_or(|p| p.database != self.store.identity()) || index.row_count()? < end
        {
            return Ok(None);
        }
        let mut rows = index.rows(column, query)?;
        rows.truncate(rows.partition_point(|row| *row < end));
        Ok(Some(rows))
    }

    /// Adds the rows that the index does not have yet.
    fn caught_up<'a>(
        &self,
        text: &'a mut Option<TextIndex>,
        view: &View,
        progress: &mut TextProgress<'_>,
    ) -> Result<&'a mut TextIndex, DbError> {
        let index = match text {
            Some(index) => index,
            None => {
                let directory = self.text_directory();
                text.insert(TextIndex::open_or_create(&directory, INDEX_MEMORY_BYTES)?)
            }
        };
        let database = self.store.identity();
        let position = Position { database, sequence: view.sequence() };
        match index.position() {
            Some(at) if at.database != database => index.clear()?,
            Some(at) if at.sequence > self.store.view().sequence() => {
                let store = self.store.view().sequence();
                return Err(DbError::TextAhead { text: at.sequence, store });
            }
            _ => {}
        }
        let rows = view.rows(TableId::Steps);
        let mut next = index.row_count()?;
        if next >= rows {
            return Ok(index);
        }
        let ordinal = view.stored(TableId::Steps, "_trajectory");
        let step = view.stored(TableId::Steps, "step");
        while next < rows {
            let end = rows.min(next + INDEX_ROWS);
            let places = places(view, ordinal, step, next, end)?;
            for (row, s) in (next..end).zip(view.steps(&places, true)?) {
                let observation = s.observation_text();
                let mut texts = vec![("action", s.action.text())];
                texts.push(("observation", &observation));
                texts.extend(s.action.reasoning.as_deref().map(|r| ("reasoning", r)));
                let first = s.action.tool_calls.first();
                texts.extend(first.map(|c| ("arguments", c.arguments.as_str())));
                index.add(row, &texts)?;
            }
            next = end;
            if !progress(next, rows) {
                // What was added stays: the next statement goes on from here.
                index.commit(position)?;
                return Err(DbError::Stopped);
            }
        }
        index.commit(position)?;
        Ok(index)
    }
}

/// Returns the ordinals and steps of rows `first .. end` of steps.
fn places(
    view: &View,
    ordinal: Option<crate::store::ColumnRef>,
    step: Option<crate::store::ColumnRef>,
    first: u64,
    end: u64,
) -> Result<Vec<(u64, u32)>, DbError> {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    let mut places = Vec::new();
    let (Some(ordinal), Some(step)) = (ordinal, step) else { return Ok(places) };
    for segment in view.segments(TableId::Steps) {
        let from = first.max(segment.first_row);
        let to = end.min(segment.first_row + segment.rows);
        if from >= to {
            continue;
        }
        let ordinals = view.column(&segment, ordinal)?;
        let steps = view.column(&segment, step)?;
        let (ordinals, steps) =
            (ordinals.as_primitive::<Int64Type>(), steps.as_primitive::<Int64Type>());
        for row in from..to {
            let at = (row - segment.first_row) as usize;
            places.push((ordinals.value(at) as u64, steps.value(at) as u32));
        }
    }
    Ok(places)
}
