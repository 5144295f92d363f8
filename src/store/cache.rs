//! Decoded chunks, kept under a limit of bytes.
//!
//! What is dropped is drawn by lot. Statements scan: of columns larger than the cache, one that
//! drops what was used least recently would hold nothing of use each time they are read again.

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
    arrays: HashMap<K, ArrayRef>,
    bytes: usize,
    /// The state of the lot.
    lot: u64,
}

impl<K: Hash + Eq + Clone> ArrayCache<K> {
    pub fn new(bytes_max: usize) -> ArrayCache<K> {
        let inner = Inner { arrays: HashMap::new(), bytes: 0, lot: 1 };
        ArrayCache { inner: Mutex::new(inner), bytes_max }
    }

    pub fn get(&self, key: &K) -> Option<ArrayRef> {
        // A panic elsewhere leaves the map whole: every change below is one insertion or removal.
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.arrays.get(key).cloned()
    }

    pub fn insert(&self, key: K, array: &ArrayRef) {
        let bytes = bytes_of(&array.to_data());
        if bytes > self.bytes_max {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while inner.bytes + bytes > self.bytes_max && !inner.arrays.is_empty() {
            // Knuth's linear congruence; its upper bits are drawn.
            inner.lot =
                inner.lot.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let drawn = (inner.lot >> 33) as usize % inner.arrays.len();
            let Some(key) = inner.arrays.keys().nth(drawn).cloned() else { break };
            if let Some(old) = inner.arrays.remove(&key) {
                inner.bytes -= bytes_of(&old.to_data());
            }
        }
        inner.bytes += bytes;
        if let Some(old) = inner.arrays.insert(key, array.clone()) {
            inner.bytes -= bytes_of(&old.to_data());
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
