//! The thread that a model is trained on.

use std::thread;

use super::error::TrainError;
use crate::diag::KeptMemory;

/// Address space of the stack, in bytes; pages are taken from memory only as they are touched.
const STACK_BYTES: usize = 256 << 20;

/// Runs `work` on a thread of its own and returns what it returns. Its stack is large, since candle
/// walks the graph of a backward pass by recursion, a frame for each operation; memory that it
/// frees stays with the process until it ends.
///
/// # Errors
/// [`TrainError::Thread`] when the system gives no thread. A panic of `work` goes on here.
pub fn on_training_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, TrainError> {
    let _kept = KeptMemory::hold();
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("train".to_owned()).stack_size(STACK_BYTES);
        let worker = builder.spawn_scoped(scope, work).map_err(TrainError::Thread)?;
        worker.join().map_err(|panic| std::panic::resume_unwind(panic))
    })
}
