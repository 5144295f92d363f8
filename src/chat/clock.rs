//! Time, handed in.

use std::time::Duration;

/// The time that pauses are measured with. Tests hand in one that does not wait.
pub trait Clock: Send + Sync {
    /// Returns the time since some fixed moment; it never goes back.
    fn now(&self) -> Duration;

    /// Blocks the calling thread for a time. A client asks for at most a twentieth of a second at
    /// once, and asks meanwhile whether its caller still wants to wait.
    fn sleep(&self, time: Duration);
}
