//! Group commit: batches of threads that wait while another commits are committed together.
//!
//! ```text
//!   thread 1   commits 1 ──► waits for the disk
//!   thread 2       queued ─┐
//!   thread 3       queued ─┴► whichever gets the lock commits 2 and 3 ──► one wait for both
//! ```
//! What a commit costs beside its records is paid once for all of them.

use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};

use super::StoreError;
use super::append::{Committed, Incoming, Part};
use super::open::{Store, Writer};
use crate::model::Judge;

/// What became of a batch.
type Outcome = Result<Committed, StoreError>;

/// A batch whose thread waits for the lock.
pub(super) struct Waiting {
    batch: Vec<Incoming>,
    judges: Vec<Judge>,
    outcome: Arc<OnceLock<Outcome>>,
}

impl Store {
    /// Commits a batch; `together` with those of other threads that wait.
    pub(super) fn commit_batch(&self, part: Part<'_>, together: bool) -> Outcome {
        if !together {
            return alone(self.append_new(&[part], &mut self.writer()));
        }
        // Where nobody commits, nothing is copied.
        if let Ok(mut writer) = self.writer.try_lock() {
            return self.lead(Some(part), &mut writer);
        }
        let outcome = Arc::new(OnceLock::new());
        let (batch, judges) = (part.0.to_vec(), part.1.to_vec());
        self.waiting().push(Waiting { batch, judges, outcome: outcome.clone() });
        let mut writer = self.writer();
        if outcome.get().is_none() {
            let _of_no_own = self.lead(None, &mut writer);
        }
        drop(writer);
        // Whoever committed it has told so, and forgotten it, before the lock was free.
        let told = Arc::into_inner(outcome).and_then(OnceLock::into_inner);
        told.unwrap_or_else(|| alone(Ok(Vec::new())))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits what is handed in and all that waits, tells the others, and returns what became of
    /// the former.
    fn lead(&self, own: Option<Part<'_>>, writer: &mut Writer) -> Outcome {
        let waiting = std::mem::take(&mut *self.waiting());
        let queued = waiting.iter().map(|w| (w.batch.as_slice(), w.judges.as_slice()));
        let parts: Vec<Part<'_>> = own.into_iter().chain(queued).collect();
        let mut committed = self.append_new(&parts, writer).map(Vec::into_iter);
        let mut next = || match &mut committed {
            Ok(each) => alone(Ok(each.next().into_iter().collect())),
            Err(error) => Err(error.clone()),
        };
        let own = own.map(|_| next());
        for Waiting { outcome, .. } in &waiting {
            let _is_first = outcome.set(next());
        }
        own.unwrap_or_else(|| alone(Ok(Vec::new())))
    }
}

/// Returns what became of the one part of a commit.
fn alone(committed: Result<Vec<Committed>, StoreError>) -> Outcome {
    let untold = || StoreError::Environment {
        doing: "committing".to_owned(),
        why: "what became of a batch was not told".to_owned(),
    };
    committed?.pop().ok_or_else(untold)
}
