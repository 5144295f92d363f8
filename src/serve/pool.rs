//! Calls of the backend: a bounded number at once, a bounded number in line, each with its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio::time::timeout_at;

use super::backend::{Cancelled, Refusal};
use super::reply::Failure;

/// Runs calls of the backend.
pub(super) struct Pool {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    running_max: usize,
    /// Told to everything that runs, when the server stops waiting for it.
    ended: Arc<AtomicBool>,
}

/// Until when an answer is of use.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    time: Duration,
}

impl Deadline {
    pub fn after(time: Duration) -> Deadline {
        Deadline { at: Instant::now() + time, time }
    }

    pub fn instant(self) -> tokio::time::Instant {
        self.at.into()
    }

    /// Returns what a request gets that was not answered by then.
    pub fn passed(self) -> Failure {
        Failure::out_of_time(self.time.as_secs_f64())
    }
}

/// A place in the line, given up when it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Cancels the work of a request whose answer nobody waits for any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Pool {
    pub fn new(running_max: usize, waiting_max: usize) -> Pool {
        Pool {
            permits: Arc::new(Semaphore::new(running_max)),
            waiting: AtomicUsize::new(0),
            waiting_max,
            running_max,
            ended: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Cancels everything that runs.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Runs one piece of work.
    ///
    /// # Errors
    /// 503 where the line is full or the deadline passes, else what the work says.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Deadline,
        work: impl Fn(Cancelled) -> Result<T, Refusal> + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        let mut results = self.run_all(deadline, 1, move |_, cancelled| work(cancelled)).await?;
        results.pop().ok_or_else(|| Failure::internal("the work gave no answer"))
    }

    /// Runs `count` pieces of work and returns their answers in order. One thread at least works on
    /// them; others do while they would be idle, so that a large request cannot keep small ones
    /// from their turn. The first refusal ends all.
    ///
    /// # Errors
    /// As `run`.
    pub async fn run_all<T: Send + 'static>(
        &self,
        deadline: Deadline,
        count: usize,
        work: impl Fn(usize, Cancelled) -> Result<T, Refusal> + Send + Sync + 'static,
    ) -> Result<Vec<T>, Failure> {
        let first = self.enter(deadline).await?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let _cancel = CancelOnDrop(Arc::clone(&cancelled));
        let shared = Arc::new(Shared {
            work,
            count,
            next: AtomicUsize::new(0),
            cancelled,
            ended: Arc::clone(&self.ended),
            deadline: deadline.at,
        });
        let mut permits = vec![first];
        while permits.len() < count.min(self.running_max)
            && let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned()
        {
            permits.push(permit);
        }
        let workers = permits.into_iter().map(|permit| {
            let shared = Arc::clone(&shared);
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                shared.run()
            })
        });
        let all = futures::future::try_join_all(workers.collect::<Vec<_>>());
        let parts = match timeout_at(deadline.instant(), all).await {
            Ok(parts) => parts.map_err(|error| broken(&error))?,
            Err(_) => return Err(deadline.passed()),
        };
        let mut found = Vec::with_capacity(count);
        for part in parts {
            found.extend(part.map_err(|refusal| match refusal {
                Refusal::Cancelled if Instant::now() >= deadline.at => deadline.passed(),
                other => Failure::from(other),
            })?);
        }
        found.sort_unstable_by_key(|(index, _)| *index);
        Ok(found.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Waits in line for the right to run.
    async fn enter(&self, deadline: Deadline) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let place = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= self.waiting_max {
            return Err(Failure::busy(format!(
                "{} requests wait already, which is as many as may; ask again",
                self.waiting_max
            )));
        }
        let permit = timeout_at(deadline.instant(), Arc::clone(&self.permits).acquire_owned());
        let permit = permit.await.map_err(|_| deadline.passed())?;
        drop(place);
        permit.map_err(|_| Failure::busy("the server is stopping"))
    }
}

/// What the threads of one request share.
struct Shared<F> {
    work: F,
    count: usize,
    next: AtomicUsize,
    cancelled: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    deadline: Instant,
}

impl<F> Shared<F> {
    fn run<T>(&self) -> Result<Vec<(usize, T)>, Refusal>
    where
        F: Fn(usize, Cancelled) -> Result<T, Refusal>,
    {
        let cancelled = || {
            self.cancelled.load(Ordering::Acquire)
                || self.ended.load(Ordering::Acquire)
                || Instant::now() >= self.deadline
        };
        let mut found = Vec::new();
        loop {
            let index = self.next.fetch_add(1, Ordering::AcqRel);
            if index >= self.count {
                return Ok(found);
            }
            if cancelled() {
                return Err(Refusal::Cancelled);
            }
            match (self.work)(index, &cancelled) {
                Ok(answer) => found.push((index, answer)),
                Err(refusal) => {
                    // The others have nothing left to do.
                    self.next.store(self.count, Ordering::Release);
                    return Err(refusal);
                }
            }
        }
    }
}

fn broken(error: &JoinError) -> Failure {
    Failure::internal(if error.is_panic() {
        "the search stopped where it must not; this is a bug"
    } else {
        "the server is stopping"
    })
}
