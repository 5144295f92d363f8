//! What is done while nobody waits for an answer: an index of full text that is there is brought
//! up to date.
//!
//! One that is not there is not made: the first statement that asks for words does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::statement::Session;
use crate::db::Database;

/// Work under way while nobody waits; dropping it waits for its end, which is near.
pub struct Idle {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Begins to bring the index of full text up to date, in a thread of its own.
    pub fn idle(&self) -> Idle {
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = self.database().text_lags().then(|| {
            let (database, stopped) = (self.database().clone(), stopped.clone());
            std::thread::spawn(move || catch_up(&database, &stopped))
        });
        Idle { stopped, thread }
    }
}

fn catch_up(database: &Database, stopped: &AtomicBool) {
    let go_on = &mut |_, _| !stopped.load(Ordering::Relaxed);
    // What fails here fails again, and is told, where a statement asks for words.
    let _ = database.catch_text_up(go_on);
}

impl Idle {
    /// Waits until all is done.
    pub fn finish(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Its panic is its own.
            let _ = thread.join();
        }
    }

    /// Has it end soon, and does not wait for that.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.stop();
        self.join();
    }
}
