//! How far long work is: counters that who works moves on, and who shows them reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is being done and how far it is. Clones share the counters.
///
/// It says something to people and nothing to the program: counters of work that was given up may
/// still move for a moment.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    work: Mutex<Option<&'static str>>,
    done: AtomicU64,
    total: AtomicU64,
}

/// The state of some work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// What is being done, as in "reading rows".
    pub work: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; 0: nobody knows.
    pub total: u64,
}

impl Progress {
    /// Says that other work begins; `total` is how much there is of it, 0 if nobody knows.
    pub fn begin(&self, work: &'static str, total: u64) {
        let mut current = self.0.work.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
        *current = Some(work);
    }

    /// Says that nothing is being done any more.
    pub fn end(&self) {
        *self.0.work.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Adds to what is done.
    pub fn advance(&self, by: u64) {
        self.0.done.fetch_add(by, Ordering::Relaxed);
    }

    /// Sets what is done, and of how much.
    pub fn set(&self, done: u64, total: u64) {
        self.0.done.store(done, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// Returns how far the work is, `None` while nothing is being done.
    pub fn reached(&self) -> Option<Reached> {
        let work = (*self.0.work.lock().unwrap_or_else(PoisonError::into_inner))?;
        let total = self.0.total.load(Ordering::Relaxed);
        let done = self.0.done.load(Ordering::Relaxed);
        Some(Reached { work, done, total })
    }
}
