//! Opening a database, and keeping its text index in step.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::DbError;
use crate::codec::TableId;
use crate::model::Step;
use crate::store::{Limits, Mode, Store, View};
use crate::text::{Position, TextError, TextIndex, TextQuery};

/// Rows put into the text index between two looks at whether to stop.
const INDEX_ROWS: u64 = 2_048;

/// Up to so many rows an index is brought forward for a statement that can do without it.
const BEHIND_ROWS_MAX: u64 = 4_096;

/// The most memory that the text index takes while rows are added, in bytes, and its share of what
/// the database may use.
const INDEX_BYTES_MAX: usize = 128 << 20;
const INDEX_SHARE: usize = 8;

/// Told how many rows of how many are in the index; returns false to stop.
pub type TextProgress<'a> = dyn FnMut(u64, u64) -> bool + 'a;

/// A step that a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Its row of steps.
    pub row: u64,
    /// The ordinal of its trajectory.
    pub trajectory: u64,
    /// The step.
    pub step: u32,
    /// How well it answers.
    pub score: f64,
}

/// An open database.
pub struct Database {
    store: Arc<Store>,
    mode: Mode,
    /// `None` until a statement needs it.
    text: Mutex<Option<TextIndex>>,
    /// The memory of the text index while rows are added.
    text_bytes: usize,
}

impl Database {
    /// Creates a database in an empty or missing directory; `identity` is a random number.
    ///
    /// # Errors
    /// Something else is there, or the disk refuses.
    pub fn create(path: &Path, identity: [u8; 16], limits: Limits) -> Result<Database, DbError> {
        let store = Store::create(path, identity, limits)?;
        Ok(Database::of(store, Mode::Write, limits))
    }

    /// Opens a database.
    ///
    /// # Errors
    /// There is none, it is of a newer format, open elsewhere, damaged; or the disk refuses.
    pub fn open(path: &Path, mode: Mode, limits: Limits) -> Result<Database, DbError> {
        let store = Store::open(path, mode, limits)?;
        Ok(Database::of(store, mode, limits))
    }

    fn of(store: Arc<Store>, mode: Mode, limits: Limits) -> Database {
        let text_bytes = (limits.memory_bytes / INDEX_SHARE).min(INDEX_BYTES_MAX);
        Database { store, mode, text: Mutex::new(None), text_bytes }
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
        let ask = |index: &TextIndex| index.rows(column, query);
        Ok(self.asked(view, &ask, progress)?.map(|rows| there(rows, view)))
    }

    /// Returns rows of steps, ascending, among which are all whose `column` holds every one of
    /// `runs` of letters and digits, up to the rows of `view`. `None`: there is no index that is
    /// whole and nearly up to date, and a statement is not made to wait for one.
    ///
    /// # Errors
    /// [`DbError::TextAhead`], or what index and store say.
    pub fn text_candidates(
        &self,
        view: &View,
        column: &str,
        runs: &[String],
    ) -> Result<Option<Vec<u64>>, DbError> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match self.mode {
            Mode::Read => self.up_to_date_read_only(&mut text, view),
            Mode::Write => self.nearly_up_to_date(&mut text, view),
        };
        let rows = match index {
            Ok(Some(index)) => index.rows_with_runs(column, runs).map_err(DbError::from),
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        };
        match rows {
            Ok(rows) => Ok(Some(there(rows, view))),
            // Whoever asks for words makes it anew.
            Err(DbError::Text(TextError::Damaged(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the index brought up to date, if there is one that is not far behind.
    fn nearly_up_to_date<'a>(
        &self,
        text: &'a mut Option<TextIndex>,
        view: &View,
    ) -> Result<Option<&'a TextIndex>, DbError> {
        if text.is_none() && !self.text_directory().is_dir() {
            return Ok(None);
        }
        if self.opened(text)?.row_count()? + BEHIND_ROWS_MAX < view.rows(TableId::Steps) {
            return Ok(None);
        }
        Ok(Some(self.caught_up(text, view, &mut |_, _| true)?))
    }

    /// Returns the steps of `view` of which a query is true in any of `columns`, ascending, with
    /// their scores ([`TextIndex::scored`]); `None` as [`Database::text_rows`].
    ///
    /// # Errors
    /// As [`Database::text_rows`].
    pub fn text_scores(
        &self,
        view: &View,
        columns: &[&str],
        query: &TextQuery,
        progress: &mut TextProgress<'_>,
    ) -> Result<Option<Vec<Scored>>, DbError> {
        let ask = |index: &TextIndex| index.scored(columns, query);
        let Some(mut rows) = self.asked(view, &ask, progress)? else { return Ok(None) };
        rows.truncate(rows.partition_point(|(row, _)| *row < view.rows(TableId::Steps)));
        rows.retain(|(row, _)| !view.is_deleted(TableId::Steps, *row));
        let places = places(view, rows.iter().map(|(row, _)| *row))?;
        let scored = |((row, score), (trajectory, step)): ((u64, f64), (u64, u32))| Scored {
            row,
            trajectory,
            step,
            score,
        };
        Ok(Some(rows.into_iter().zip(places).map(scored).collect()))
    }

    /// Asks the index, brought up to date first.
    fn asked<T>(
        &self,
        view: &View,
        ask: &dyn Fn(&TextIndex) -> Result<T, TextError>,
        progress: &mut TextProgress<'_>,
    ) -> Result<Option<T>, DbError> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if self.mode == Mode::Read {
            return match self.up_to_date_read_only(&mut text, view)? {
                Some(index) => Ok(Some(ask(index)?)),
                None => Ok(None),
            };
        }
        let answer = match self.caught_up(&mut text, view, progress) {
            Ok(index) => ask(index).map_err(DbError::from),
            Err(error) => Err(error),
        };
        Ok(Some(match answer {
            Err(DbError::Text(TextError::Damaged { .. })) => {
                *text = None;
                let made = TextIndex::recreate(&self.text_directory(), self.text_bytes)?;
                *text = Some(made);
                ask(self.caught_up(&mut text, view, progress)?)?
            }
            other => other?,
        }))
    }

    /// Whether there is an index that lacks rows, as far as can be seen at once.
    pub fn text_lags(&self) -> bool {
        if self.mode == Mode::Read {
            return false;
        }
        match self.text.try_lock().as_deref() {
            Ok(Some(index)) => {
                let position = index.position();
                position.is_none_or(|at| at.sequence < self.store.view().sequence())
            }
            Ok(None) => self.text_directory().is_dir(),
            // It is at work, or a thread ended in the midst of it.
            Err(_) => false,
        }
    }

    /// Brings an index that is there up to date, until `progress` says to stop.
    ///
    /// # Errors
    /// As [`Database::text_rows`].
    pub fn catch_text_up(&self, progress: &mut TextProgress<'_>) -> Result<(), DbError> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.caught_up(&mut text, &self.view(), progress).map(|_| ())
    }

    /// Removes the text index; whoever asks it next makes it anew.
    ///
    /// # Errors
    /// What the disk says.
    pub fn drop_text(&self) -> std::io::Result<()> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        *text = None;
        match std::fs::remove_dir_all(self.text_directory()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn text_directory(&self) -> std::path::PathBuf {
        self.store.path().join("text")
    }

    /// Returns the index as it is on disk, if it has every row of the view.
    fn up_to_date_read_only<'a>(
        &self,
        text: &'a mut Option<TextIndex>,
        view: &View,
    ) -> Result<Option<&'a TextIndex>, DbError> {
        if text.is_none() {
            match TextIndex::open_read_only(&self.text_directory()) {
                Ok(index) => *text = Some(index),
                Err(TextError::Outdated { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let Some(index) = text.as_mut() else { return Ok(None) };
        index.refresh()?;
        let is_ours = index.position().is_some_and(|p| p.database == self.store.identity());
        Ok((is_ours && index.row_count()? >= view.rows(TableId::Steps)).then_some(index))
    }

    /// Returns the index, opened or created where it is not open yet.
    fn opened<'a>(&self, text: &'a mut Option<TextIndex>) -> Result<&'a mut TextIndex, TextError> {
        match text {
            Some(index) => Ok(index),
            None => {
                let directory = self.text_directory();
                Ok(text.insert(TextIndex::open_or_create(&directory, self.text_bytes)?))
            }
        }
    }

    /// Adds the rows that the index does not have yet.
    fn caught_up<'a>(
        &self,
        text: &'a mut Option<TextIndex>,
        view: &View,
        progress: &mut TextProgress<'_>,
    ) -> Result<&'a mut TextIndex, DbError> {
        let index = self.opened(text)?;
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
        while next < rows {
            let end = rows.min(next + INDEX_ROWS);
            let there = (next..end).filter(|row| !view.is_deleted(TableId::Steps, *row));
            let mut there = there.peekable();
            let places = places(view, there.clone())?;
            let mut steps = view.steps(&places, true)?.into_iter();
            for row in next..end {
                // Rows are counted by their entries: a deleted one has an entry without words.
                match there.next_if_eq(&row).and_then(|_| steps.next()) {
                    Some(step) => add(index, row, &step)?,
                    None => index.add(row, &[])?,
                }
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

/// Returns those of ascending rows of steps that are there in a view.
fn there(mut rows: Vec<u64>, view: &View) -> Vec<u64> {
    rows.truncate(rows.partition_point(|row| *row < view.rows(TableId::Steps)));
    rows.retain(|row| !view.is_deleted(TableId::Steps, *row));
    rows
}

/// Adds a step to the index.
fn add(index: &mut TextIndex, row: u64, step: &Step) -> Result<(), TextError> {
    let observation = step.observation_text();
    let mut texts = vec![("action", step.action.text()), ("observation", &observation)];
    texts.extend(step.action.reasoning.as_deref().map(|r| ("reasoning", r)));
    let first = step.action.tool_calls.first();
    texts.extend(first.map(|c| ("arguments", c.arguments.as_str())));
    index.add(row, &texts)
}

/// Returns the ordinals and steps of rows of steps, which ascend.
fn places(view: &View, rows: impl IntoIterator<Item = u64>) -> Result<Vec<(u64, u32)>, DbError> {
    let mut places = Vec::new();
    let stored = |name| view.stored(TableId::Steps, name);
    let (Some(ordinal), Some(step)) = (stored("_trajectory"), stored("step")) else {
        return Ok(places);
    };
    let mut rows = rows.into_iter().peekable();
    for segment in view.segments(TableId::Steps) {
        let is_here = |row: &u64| *row < segment.first_row + segment.rows;
        if !rows.peek().is_some_and(is_here) {
            continue;
        }
        let ordinals = view.column(&segment, ordinal)?;
        let steps = view.column(&segment, step)?;
        let (ordinals, steps) =
            (ordinals.as_primitive::<Int64Type>(), steps.as_primitive::<Int64Type>());
        while let Some(row) = rows.next_if(is_here) {
            let at = (row - segment.first_row) as usize;
            places.push((ordinals.value(at) as u64, steps.value(at) as u32));
        }
    }
    Ok(places)
}
