//! Full text for the queries of one statement.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::{DataFusionError, Result};

use super::engine::Cancel;
use super::functions::words_error;
use super::table::{RowFinder, Scores};
use crate::db::Database;
use crate::diag::Progress;
use crate::store::View;
use crate::text::{COLUMNS, TextQuery};

/// Asks the text index for the rows that full-text predicates keep and searches find.
pub(super) struct Finder {
    database: Arc<Database>,
    view: View,
    cancel: Cancel,
    progress: Progress,
    /// Whether nobody waits for the rows of its query any more.
    ended: Arc<AtomicBool>,
    /// What was searched already, by columns and words: a filter and a projection ask for the same.
    searched: Mutex<HashMap<(String, String), Arc<Scores>>>,
}

impl Finder {
    /// Returns the finder over the rows of `view`. It moves `progress` on; `ended` says that nobody
    /// waits for the rows of its query any more.
    pub fn new(
        database: &Arc<Database>,
        view: &View,
        cancel: &Cancel,
        progress: Progress,
        ended: Arc<AtomicBool>,
    ) -> Finder {
        let (database, view, cancel) = (database.clone(), view.clone(), cancel.clone());
        Finder { database, view, cancel, progress, ended, searched: Mutex::default() }
    }

    fn go_on(&self) -> impl FnMut(u64, u64) -> bool {
        self.progress.begin("indexing texts", 0);
        |done, all| {
            self.progress.set(done, all);
            !self.cancel.is_cancelled()
        }
    }
}

impl RowFinder for Finder {
    fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn is_cancelled(&self) -> bool {
        // A later query may have begun, with a handle that says nothing of this one.
        self.ended.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    fn rows(&self, column: &str, words: &str) -> Result<Option<Arc<Vec<u64>>>> {
        if !COLUMNS.contains(&column) {
            return Ok(None);
        }
        let query = TextQuery::parse(words).map_err(|d| words_error(column, words, &d.message))?;
        let rows = self.database.text_rows(&self.view, column, &query, &mut self.go_on());
        let rows = rows.map_err(|e| DataFusionError::External(Box::new(e)))?;
        Ok(rows.map(Arc::new))
    }

    fn candidates(&self, column: &str, runs: &[String]) -> Result<Option<Arc<Vec<u64>>>> {
        if !COLUMNS.contains(&column) {
            return Ok(None);
        }
        let rows = self.database.text_candidates(&self.view, column, runs);
        Ok(rows.map_err(|e| DataFusionError::External(Box::new(e)))?.map(Arc::new))
    }

    fn scores(&self, columns: &str, words: &str) -> Result<Option<Arc<Scores>>> {
        let mut searched = self.searched.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = (columns.to_owned(), words.to_owned());
        if let Some(known) = searched.get(&asked) {
            return Ok(Some(known.clone()));
        }
        let parsed = TextQuery::parse_search(words);
        let query = parsed.map_err(|d| words_error(columns, words, &d.message))?;
        let names: Vec<&str> = columns.split(", ").collect();
        let found = self.database.text_scores(&self.view, &names, &query, &mut self.go_on());
        let found = found.map_err(|e| DataFusionError::External(Box::new(e)))?;
        let Some(found) = found else { return Ok(None) };
        let rows = Arc::new(found.iter().map(|scored| scored.row).collect());
        let place = |s: &crate::db::Scored| ((s.trajectory as i64, i64::from(s.step)), s.score);
        let scores = Arc::new(Scores { rows, by_step: found.iter().map(place).collect() });
        searched.insert(asked, scores.clone());
        Ok(Some(scores))
    }
}
