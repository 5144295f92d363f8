//! Places for connections. When all are taken, a connection whose client is not being worked for,
//! and that has been so for longest, makes room: a crowd of clients that open connections and say
//! nothing, or never read their answers, keeps nobody else out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// How many connections over the limit may be on their way out.
const LEAVING_MAX: usize = 64;

/// How many places there are at least, however few the system gives.
const PLACES_MIN: usize = 16;

/// All places.
pub(super) struct Places {
    state: Mutex<State>,
}

struct State {
    /// How many connections may be open; less than at the start where the system has no more.
    limit: usize,
    open: usize,
    next: u64,
    /// Connections without a request in work, in the order in which they became so.
    idle: BTreeMap<u64, CancellationToken>,
}

/// The place of one connection, given up when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    told_to_leave: CancellationToken,
    turn: Mutex<Turn>,
}

/// What a connection is doing: `requests` in work, or idle under a key.
struct Turn {
    requests: usize,
    key: Option<u64>,
}

/// A request in work; until it is dropped the connection keeps its place.
pub(super) struct Working(Arc<Place>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    pub fn new(limit: usize) -> Arc<Places> {
        let state = State { limit, open: 0, next: 0, idle: BTreeMap::new() };
        Arc::new(Places { state: Mutex::new(state) })
    }

    /// Returns a place, or none if every connection is being worked for.
    pub fn take(self: &Arc<Places>) -> Option<Arc<Place>> {
        let mut state = lock(&self.state);
        if state.open >= state.limit {
            let full = state.open >= state.limit + LEAVING_MAX;
            let (_, leaving) = if full { None } else { state.idle.pop_first() }?;
            leaving.cancel();
        }
        state.open += 1;
        let told_to_leave = CancellationToken::new();
        let key = state.add_idle(&told_to_leave);
        drop(state);
        let turn = Mutex::new(Turn { requests: 0, key: Some(key) });
        Some(Arc::new(Place { places: Arc::clone(self), told_to_leave, turn }))
    }

    /// Makes do with an eighth less than is open, for good: the system gives no more.
    pub fn shrink(&self) {
        let mut state = lock(&self.state);
        let fewer = (state.open - state.open / 8).max(PLACES_MIN);
        state.limit = state.limit.min(fewer);
        for _ in 0..=state.open.saturating_sub(state.limit) {
            let Some((_, leaving)) = state.idle.pop_first() else { break };
            leaving.cancel();
        }
    }
}

impl State {
    fn add_idle(&mut self, told_to_leave: &CancellationToken) -> u64 {
        let key = self.next;
        self.next += 1;
        self.idle.insert(key, told_to_leave.clone());
        key
    }
}

impl Place {
    /// Marks a request as in work.
    pub fn work(self: &Arc<Place>) -> Working {
        let mut turn = lock(&self.turn);
        turn.requests += 1;
        if let Some(key) = turn.key.take() {
            lock(&self.places.state).idle.remove(&key);
        }
        drop(turn);
        Working(Arc::clone(self))
    }

    /// Waits until the place is needed for another connection.
    pub async fn wait_to_leave(&self) {
        self.told_to_leave.cancelled().await;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let place = &self.0;
        let mut turn = lock(&place.turn);
        turn.requests -= 1;
        if turn.requests == 0 {
            turn.key = Some(lock(&place.places.state).add_idle(&place.told_to_leave));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let key = lock(&self.turn).key.take();
        let mut state = lock(&self.places.state);
        state.open -= 1;
        if let Some(key) = key {
            state.idle.remove(&key);
        }
    }
}
