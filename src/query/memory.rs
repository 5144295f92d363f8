//! The memory of queries, divided between what can be spilled to files and what cannot.
//!
//! DataFusion's pool that is fair to whoever spills lets them fill it to the last byte; a sort that
//! then wants to spill merges its batches first, finds no memory for that, and fails. Here all
//! that spills has one half, in equal shares, and merges find theirs in the other.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// The pool of one engine.
#[derive(Debug)]
pub(super) struct QueryMemory {
    bytes: usize,
    spilling: FairSpillPool,
    /// Bytes of what cannot be spilled.
    others: AtomicUsize,
}

impl QueryMemory {
    /// Returns a pool of so many bytes.
    pub fn new(bytes: usize) -> QueryMemory {
        let spilling = FairSpillPool::new(bytes / 2);
        QueryMemory { bytes, spilling, others: AtomicUsize::new(0) }
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MB for queries", self.bytes as f64 / 1e6)
    }
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &str {
        "queries"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.spilling.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.spilling.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        match reservation.consumer().can_spill() {
            true => self.spilling.grow(reservation, additional),
            false => drop(self.others.fetch_add(additional, Ordering::Relaxed)),
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        match reservation.consumer().can_spill() {
            true => self.spilling.shrink(reservation, shrink),
            false => drop(self.others.fetch_sub(shrink, Ordering::Relaxed)),
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let few = |left: usize| {
            resources_datafusion_err!(
                "{} needs {additional} bytes more, {left} of {self} are left",
                reservation.consumer().name()
            )
        };
        if reservation.consumer().can_spill() {
            let left = self.bytes.saturating_sub(self.reserved());
            return match additional <= left {
                true => self.spilling.try_grow(reservation, additional),
                false => Err(few(left)),
            };
        }
        let most = self.bytes.saturating_sub(self.spilling.reserved());
        let grown = |used: usize| Some(used + additional).filter(|grown| *grown <= most);
        let used = self.others.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
        used.map(|_| ()).map_err(|used| few(most.saturating_sub(used)))
    }

    fn reserved(&self) -> usize {
        self.spilling.reserved() + self.others.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }
}
