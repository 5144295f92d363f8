//! Decoded chunks, kept under a limit of bytes, the least recently used dropped first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use arrow::array::{Array, ArrayData, ArrayRef};

/// A cache of arrays by key.
pub(super) struct ArrayCache<K> {
    inner: Mutex<Inner<K>>,
    bytes_max: usize,
}

struct Inner<K> {
    arrays: HashMap<K, (ArrayRef, u64)>,
    bytes: usize,
    clock: u64,
}

impl<K: Hash + Eq + Clone> ArrayCache<K> {
    pub fn new(bytes_max: usize) -> ArrayCache<K> {
        let inner = Inner { arrays: HashMap::new(), bytes: 0, clock: 0 };
        ArrayCache { inner: Mutex::new(inner), bytes_max }
    }

    pub fn get(&self, key: &K) -> Option<ArrayRef> {
        // A panic elsewhere leaves the map whole: every change below is one insertion or removal.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let now = inner.clock;
        let (array, used) = inner.arrays.get_mut(key)?;
        *used = now;
        Some(array.clone())
    }

    pub fn insert(&self, key: K, array: &ArrayRef) {
        let bytes = bytes_of(&array.to_data());
        if bytes > self.bytes_max {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let now = inner.clock;
        inner.bytes += bytes;
        if let Some((old, _)) = inner.arrays.insert(key, (array.clone(), now)) {
            inner.bytes -= bytes_of(&old.to_data());
        }
        while inner.bytes > self.bytes_max {
            let oldest = inner.arrays.iter().min_by_key(|(_, (_, used))| *used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { break };
            if let Some((old, _)) = inner.arrays.remove(&key) {
                inner.bytes -= bytes_of(&old.to_data());
            }
        }
    }
}

/// Returns the bytes of an array. Its buffers are often parts of one allocation, the chunk as read:
/// what that takes is counted once, and not once for each of them.
fn bytes_of(data: &ArrayData) -> usize {
    let own: usize = data.buffers().iter().map(|buffer| buffer.len()).sum();
    let valid = data.nulls().map_or(0, |nulls| nulls.buffer().len());
    own + valid + data.child_data().iter().map(bytes_of).sum::<usize>()
}
