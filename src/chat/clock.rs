//! Time, handed in.

use std::time::Duration;

/// The time that pauses are measured with. Tests hand in one that does not wait.
pub trait Clock: Send + Sync {
    /// Returns the time since some fixed moment; it never goes back.
    fn now(&self) -> Duration;

    /// Blocks the calling thread for a time, never for more than a twentieth of a second at once.
    fn sleep(&self, time: Duration);
}
