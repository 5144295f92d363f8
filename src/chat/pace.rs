//! When the next request may be sent.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Gives out moments at even distances, to all threads of a client.
pub(super) struct Pace {
    interval: Duration,
    /// The first moment that is not given out.
    next: Mutex<Duration>,
}

impl Pace {
    /// Returns a pace of so many requests a minute.
    pub fn new(requests_per_minute: Option<u32>) -> Pace {
        let interval =
            requests_per_minute.map_or(Duration::ZERO, |n| Duration::from_secs(60) / n.max(1));
        Pace { interval, next: Mutex::new(Duration::ZERO) }
    }

    /// Takes the next moment and returns how long it is until then.
    pub fn take(&self, now: Duration) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now.max(*next);
        *next = at + self.interval;
        at - now
    }

    /// Gives out no moment before this one.
    pub fn hold_until(&self, moment: Duration) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = moment.max(*next);
    }
}
