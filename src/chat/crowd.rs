//! Many requests at once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use super::client::{ChatClient, Completed};
use super::error::ChatError;
use super::request::ChatRequest;

/// How often the caller is asked whether it still wants the answers.
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// What came of one request.
type Outcome = (usize, Result<Completed, ChatError>);

impl ChatClient {
    /// Asks everything, `concurrency` requests at once, and hands each outcome on as it comes,
    /// with the index of its request. Requests are taken from the iterator when there is room for
    /// them: at most twice `concurrency` are held.
    ///
    /// An error of one request is its outcome. After one that [stops all](ChatError::stops_all) no
    /// request is begun; those under way end, and what they bring is handed on. After
    /// [`ControlFlow::Break`], or once `cancelled` says so, those under way are given up.
    ///
    /// # Errors
    /// The error that stops all with the smallest index, or [`ChatError::Cancelled`].
    pub fn run_all(
        &self,
        requests: &mut dyn Iterator<Item = ChatRequest>,
        cancelled: &dyn Fn() -> bool,
        on_done: &mut dyn FnMut(usize, Result<Completed, ChatError>) -> ControlFlow<()>,
    ) -> Result<(), ChatError> {
        let (is_given_up, is_stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        let room = 2 * self.options().concurrency;
        let (give, take) = sync_channel::<(usize, ChatRequest)>(room);
        let (done, outcomes) = channel::<Outcome>();
        let take = Mutex::new(take);
        std::thread::scope(|scope| {
            let mut state = State { threads: 0, waiting: 0, fatal: BTreeMap::new() };
            let mut requests = requests.enumerate();
            let mut has_more = true;
            // Leaving the scope drops the queue, at which the threads end.
            let give = give;
            let mut outcome = Ok(());
            loop {
                if cancelled() {
                    // What has come is paid for.
                    while let Ok(came) = outcomes.try_recv() {
                        let _wish = state.hand_on(came, on_done);
                    }
                    outcome = Err(ChatError::Cancelled);
                    break;
                }
                while has_more && state.waiting < room && !is_stopped.load(Ordering::Relaxed) {
                    let Some(next) = requests.next() else {
                        has_more = false;
                        break;
                    };
                    if state.threads < self.options().concurrency {
                        state.threads += 1;
                        let (take, done) = (&take, done.clone());
                        let (is_given_up, is_stopped) = (&is_given_up, &is_stopped);
                        let work = move || self.work(take, &done, is_given_up, is_stopped);
                        let thread = Builder::new().name("chat".to_owned());
                        thread.spawn_scoped(scope, work)?;
                    }
                    state.waiting += 1;
                    if give.send(next).is_err() {
                        break;
                    }
                }
                if state.waiting == 0 {
                    break;
                }
                match outcomes.recv_timeout(ASKED_EVERY) {
                    Ok(came) => {
                        if state.hand_on(came, on_done).is_break() {
                            break;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            is_given_up.store(state.waiting > 0, Ordering::Relaxed);
            is_stopped.store(true, Ordering::Relaxed);
            drop(give);
            outcome?;
            state.fatal.into_values().next().map_or(Ok(()), Err)
        })
    }

    /// Asks what is in the queue until it ends. After a stop, what is still in it is handed back
    /// without being asked.
    fn work(
        &self,
        queue: &Mutex<Receiver<(usize, ChatRequest)>>,
        done: &Sender<Outcome>,
        is_given_up: &AtomicBool,
        is_stopped: &AtomicBool,
    ) {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((index, request)) = next else { return };
            let outcome = match is_stopped.load(Ordering::Relaxed) {
                true => Err(ChatError::Cancelled),
                false => self.complete(&request, &|| is_given_up.load(Ordering::Relaxed)),
            };
            if outcome.as_ref().is_err_and(ChatError::stops_all) {
                is_stopped.store(true, Ordering::Relaxed);
            }
            // The caller may have left.
            if done.send((index, outcome)).is_err() {
                return;
            }
        }
    }
}

/// What the calling thread knows.
struct State {
    threads: usize,
    /// Requests that are in the queue or under way.
    waiting: usize,
    /// What stopped everything, by index.
    fatal: BTreeMap<usize, ChatError>,
}

impl State {
    fn hand_on(
        &mut self,
        (index, outcome): Outcome,
        on_done: &mut dyn FnMut(usize, Result<Completed, ChatError>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.waiting -= 1;
        match outcome {
            // Never begun.
            Err(ChatError::Cancelled) => ControlFlow::Continue(()),
            Err(error) if error.stops_all() => {
                self.fatal.insert(index, error);
                ControlFlow::Continue(())
            }
            outcome => on_done(index, outcome),
        }
    }
}
