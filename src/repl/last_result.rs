//! The rows of the last query, as far as they can be named again: `.show #3`, `.label NAME`.

use arrow::array::RecordBatch;

use crate::db::NewRow;
use crate::session::{Session, SessionError};

/// Rows that are remembered; those behind them can be had with a narrower query.
const ROWS_MAX: usize = 100_000;

/// The last query and which steps its rows are.
#[derive(Default)]
pub(super) struct LastResult {
    /// The query as typed, if there was one.
    pub query: Option<String>,
    columns: Vec<RecordBatch>,
    rows: usize,
}

impl LastResult {
    /// Begins the result of a query.
    pub fn begin(&mut self, query: &str) {
        *self = LastResult { query: Some(query.to_owned()), ..LastResult::default() };
    }

    /// Remembers the identity of more rows.
    pub fn identity(&mut self, columns: &RecordBatch) {
        let room = ROWS_MAX - self.rows;
        if room > 0 {
            self.columns.push(columns.slice(0, columns.num_rows().min(room)));
            self.rows += columns.num_rows().min(room);
        }
    }

    /// Returns which trajectory or step row `number`, from 1, is.
    ///
    /// # Errors
    /// There was no query, it had fewer rows, or they do not say which steps they are.
    pub fn place(&self, session: &Session, number: usize) -> Result<NewRow, SessionError> {
        let wrong = |message: String| Err(SessionError::mistake("show", message));
        if self.query.is_none() {
            return wrong("there is no result yet: #1 is the first row of the last query".into());
        }
        if self.columns.is_empty() {
            return wrong(
                "the rows of the last result do not say which steps they are: keep the column \
                 'trajectory_id', and 'step' unless all steps are meant"
                    .to_owned(),
            );
        }
        let mut before = 0;
        for batch in &self.columns {
            if (before + 1..=before + batch.num_rows()).contains(&number) {
                let places = session.places(&batch.slice(number - before - 1, 1))?;
                return match places.first() {
                    Some(place) => Ok(*place),
                    None => wrong(format!("row {number} names no trajectory")),
                };
            }
            before += batch.num_rows();
        }
        let least = if self.rows == ROWS_MAX { "remembered: " } else { "" };
        wrong(format!("the last result has {least}rows 1 to {}, no row {number}", self.rows))
    }
}
