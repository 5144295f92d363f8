//! Work that waits for others, run for callers that block.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;

/// How often a blocked caller is asked whether it still wants the outcome.
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// One thread on which work waits. Callers may come from several threads at once.
pub struct Worker {
    /// Taken out when the worker ends, without waiting.
    runtime: Option<Runtime>,
    handle: Handle,
}

/// What came of waiting.
#[derive(Debug)]
pub enum Waited<T> {
    /// The work's outcome.
    Done(T),
    /// There was none in time; the work was dropped.
    OutOfTime,
    /// The caller wished to end; the work was dropped.
    Cancelled,
    /// The work stopped without an outcome, which is a bug.
    Broken,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot start it.
    pub fn start(name: &str) -> io::Result<Worker> {
        let mut builder = Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(1).enable_io().enable_time().thread_name(name).build()?;
        Ok(Worker { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Returns where further work can be left.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for the outcome of work for at most a time. `cancelled` is asked meanwhile, fifty
    /// times a second.
    pub fn run<T: Send + 'static>(
        &self,
        time: Duration,
        cancelled: &dyn Fn() -> bool,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Waited<T> {
        let (send, receive) = sync_channel(1);
        let task = self.handle.spawn(async move {
            let outcome = timeout(time, work).await;
            // A caller that left does not read this.
            let _read = send.send(outcome.map_or(Waited::OutOfTime, Waited::Done));
        });
        loop {
            match receive.recv_timeout(ASKED_EVERY) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) if cancelled() => {
                    task.abort();
                    return Waited::Cancelled;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Waited::Broken,
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
