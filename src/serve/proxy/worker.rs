//! Work that waits for others, run for callers that block.

use std::io;
use std::time::Duration;

use tokio::runtime::Handle;

use super::super::backend::Cancelled;
use super::error::ProxyError;
use crate::http::{self, Waited};

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
pub(super) struct Worker(http::Worker);

impl Worker {
    pub fn start() -> Result<Worker, ProxyError> {
        Ok(Worker(http::Worker::start("proxy")?))
    }

    pub fn handle(&self) -> &Handle {
        self.0.handle()
    }

    /// Waits for the work's outcome; work that comes too late is dropped.
    pub fn run<T: Send + 'static>(
        &self,
        time: Duration,
        cancelled: Cancelled,
        work: impl Future<Output = Result<T, ProxyError>> + Send + 'static,
    ) -> Result<T, ProxyError> {
        match self.0.run(time, cancelled, work) {
            Waited::Done(outcome) => outcome,
            Waited::OutOfTime => Err(ProxyError::OutOfTime { seconds: time.as_secs_f64() }),
            Waited::Cancelled => Err(ProxyError::Cancelled),
            Waited::Broken => Err(ProxyError::Run(io::Error::other("a thread stopped; a bug"))),
        }
    }
}
