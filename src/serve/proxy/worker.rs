//! Work that waits for others, run for callers that block.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;

use super::super::backend::Cancelled;
use super::error::ProxyError;

/// How often a blocked caller is asked whether it still wants the answer.
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// What a tool elsewhere cannot exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyLimits {
    /// From a call to its answer.
    pub time: Duration,
    /// Bytes of an answer.
    pub answer_bytes: usize,
}

impl Default for ProxyLimits {
    fn default() -> ProxyLimits {
        ProxyLimits { time: Duration::from_secs(30), answer_bytes: 4 << 20 }
    }
}

/// One thread on which calls wait.
pub(super) struct Worker {
    /// Taken out when the worker ends, without waiting.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Worker {
    pub fn start() -> Result<Worker, ProxyError> {
        let mut builder = Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(1).enable_io().enable_time().thread_name("proxy").build()?;
        Ok(Worker { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for the work's outcome; work that comes too late is dropped.
    pub fn run<T: Send + 'static>(
        &self,
        time: Duration,
        cancelled: Cancelled,
        work: impl Future<Output = Result<T, ProxyError>> + Send + 'static,
    ) -> Result<T, ProxyError> {
        let (send, receive) = sync_channel(1);
        let task = self.handle.spawn(async move {
            let seconds = time.as_secs_f64();
            let outcome = timeout(time, work).await;
            // A caller that left does not read this.
            let _read = send.send(outcome.unwrap_or(Err(ProxyError::OutOfTime { seconds })));
        });
        loop {
            match receive.recv_timeout(ASKED_EVERY) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) if cancelled() => {
                    task.abort();
                    return Err(ProxyError::Cancelled);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ProxyError::Run(io::Error::other("a thread stopped; a bug")));
                }
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
