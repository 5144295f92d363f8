//! Keeping memory between the steps of what takes long.
//!
//! A step of training frees and asks again for gigabytes, a commit of an import for hundreds of
//! megabytes. The allocator of the program gives what was free for a second back to the system,
//! which has to fill it with zeros when it is asked for again: for steps of training that take
//! seconds that was measured at a quarter of their time, for imports at a tenth.

#![expect(unsafe_code, reason = "the allocator's options are functions of C")]

use std::ffi::c_long;
use std::sync::{Mutex, PoisonError};

use libmimalloc_sys::{mi_collect, mi_option_get, mi_option_set, mi_option_t};

/// `mi_option_purge_delay`: milliseconds for which freed memory is kept.
const PURGE_DELAY: mi_option_t = 15;

/// 24 days. With the option's own value for ever nothing would be noted as free, and nothing could
/// be given back at the end either.
const LONG: c_long = i32::MAX as c_long;

/// How many hold on to memory, and the delay from before the first.
static HOLDERS: Mutex<(usize, c_long)> = Mutex::new((0, 0));

/// While one of these lives, memory that is freed stays with the process; the last gives it back.
pub struct KeptMemory(());

impl KeptMemory {
    /// Begins to keep what is freed.
    #[must_use]
    pub fn hold() -> KeptMemory {
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        if holders.0 == 0 {
            // SAFETY: both only read and write a number of the allocator, which nobody else sets;
            // threads that allocate meanwhile see the old one or the new one.
            unsafe {
                holders.1 = mi_option_get(PURGE_DELAY);
                mi_option_set(PURGE_DELAY, LONG);
            }
        }
        holders.0 += 1;
        KeptMemory(())
    }
}

impl Drop for KeptMemory {
    fn drop(&mut self) {
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        holders.0 -= 1;
        if holders.0 == 0 {
            // SAFETY: as above; collecting gives back only what is free.
            unsafe {
                mi_option_set(PURGE_DELAY, holders.1);
                mi_collect(true);
            }
        }
    }
}
