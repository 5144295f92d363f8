//! Who watches a fetch: how far it is, and whether it shall go on.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use super::error::HubError;

/// How often who watches is asked while nothing happens.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// What a fetch is doing.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchEvent<'a> {
    /// The hub is asked what there is.
    Asking,
    /// A file comes.
    Fetching {
        /// Its name in the model.
        file: &'a str,
        /// How many of its bytes are there, those of an earlier fetch too.
        done_bytes: u64,
        /// How many bytes it has.
        total_bytes: u64,
        /// The same of all files that this fetch began with not having.
        all_done_bytes: u64,
        /// How many bytes these have.
        all_total_bytes: u64,
    },
    /// Another process fetches the file.
    Locked {
        /// Its name in the model.
        file: &'a str,
    },
    /// Something failed that may pass; it is tried again.
    Waiting {
        /// What failed.
        problem: &'a HubError,
        /// How long it is until then.
        time: Duration,
    },
}

/// Is told what a fetch is doing, several times a second, and stops it with
/// [`ControlFlow::Break`].
pub type Observer<'a> = dyn FnMut(&FetchEvent<'_>) -> ControlFlow<()> + 'a;

/// What is being done.
enum Doing {
    Asking,
    Fetching,
    Locked,
}

/// How far a fetch is.
pub(super) struct Watch<'a, 'o> {
    observer: &'a mut Observer<'o>,
    doing: Doing,
    file: String,
    done: u64,
    total: u64,
    /// Bytes of the files before this one.
    before: u64,
    all: u64,
}

impl<'a, 'o> Watch<'a, 'o> {
    pub fn new(observer: &'a mut Observer<'o>) -> Watch<'a, 'o> {
        let file = String::new();
        Watch { observer, doing: Doing::Asking, file, done: 0, total: 0, before: 0, all: 0 }
    }

    /// Says that files of so many bytes will come.
    pub fn expect(&mut self, bytes: u64) {
        self.all += bytes;
    }

    /// Says which file comes now.
    pub fn begin(&mut self, file: &str, total: u64) {
        file.clone_into(&mut self.file);
        (self.done, self.total) = (0, total);
    }

    /// Says that the file is there.
    pub fn end(&mut self) {
        self.before += self.total;
        (self.done, self.total) = (0, 0);
        self.doing = Doing::Asking;
    }

    /// Says how many bytes of the file are there.
    pub fn reached(&mut self, done: u64) -> Result<(), HubError> {
        self.done = done;
        self.doing = Doing::Fetching;
        self.tell()
    }

    /// Says that another process has the file.
    pub fn locked(&mut self) -> Result<(), HubError> {
        self.doing = Doing::Locked;
        self.tell()
    }

    /// Waits for some work, and asks meanwhile whether it is still wanted.
    pub async fn wait<T>(&mut self, work: impl Future<Output = T>) -> Result<T, HubError> {
        let mut work = pin!(work);
        loop {
            match tokio::time::timeout(TOLD_EVERY, work.as_mut()).await {
                Ok(outcome) => return Ok(outcome),
                Err(_) => self.tell()?,
            }
        }
    }

    /// Waits for a time after a failure.
    pub async fn pause(&mut self, time: Duration, problem: &HubError) -> Result<(), HubError> {
        let mut left = time;
        loop {
            let event = FetchEvent::Waiting { problem, time: left };
            if (self.observer)(&event).is_break() {
                return Err(HubError::Stopped);
            }
            if left.is_zero() {
                return Ok(());
            }
            let part = left.min(TOLD_EVERY);
            tokio::time::sleep(part).await;
            left -= part;
        }
    }

    /// Says it again, which asks whether to go on.
    pub fn tell(&mut self) -> Result<(), HubError> {
        let file = self.file.as_str();
        let event = match self.doing {
            Doing::Asking => FetchEvent::Asking,
            Doing::Locked => FetchEvent::Locked { file },
            Doing::Fetching => FetchEvent::Fetching {
                file,
                done_bytes: self.done,
                total_bytes: self.total,
                all_done_bytes: self.before + self.done,
                all_total_bytes: self.all,
            },
        };
        match (self.observer)(&event) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(HubError::Stopped),
        }
    }
}
