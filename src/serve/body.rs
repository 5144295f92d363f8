//! Bytes that are held for clients: bodies while they are read, answers until they are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};

use super::reply::Failure;

/// How many bytes may be held for all clients together.
pub(super) struct Budget {
    held: AtomicUsize,
    limit_bytes: usize,
}

/// A part of the budget, given back when it is dropped.
pub(super) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub fn new(limit_bytes: usize) -> Arc<Budget> {
        Arc::new(Budget { held: AtomicUsize::new(0), limit_bytes })
    }

    /// Returns a part of nothing, to grow.
    pub fn hold(self: &Arc<Budget>) -> Held {
        Held { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Held {
    /// Takes more of the budget.
    ///
    /// # Errors
    /// 503 if there is not that much left.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let limit = self.budget.limit_bytes;
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= limit);
        match self.budget.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(Failure::busy(
                "the server holds as many bytes of requests and answers as it may; ask again",
            )),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Bytes that keep something until the last of them was sent.
struct Kept<T> {
    bytes: Vec<u8>,
    _until_sent: T,
}

impl<T> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Returns the bytes such that `until_sent` is dropped with the last use of them.
pub(super) fn keep<T: Send + 'static>(bytes: Vec<u8>, until_sent: T) -> Bytes {
    Bytes::from_owner(Kept { bytes, _until_sent: until_sent })
}

/// Reads a body to its end.
///
/// # Errors
/// 413 over the limit, 503 over the budget, 400 where the body breaks off or is framed wrongly.
pub(super) async fn read(
    mut body: Incoming,
    limit_bytes: usize,
    held: &mut Held,
) -> Result<Vec<u8>, Failure> {
    let too_large = || {
        Failure::too_large(format!(
            "the body has more than {limit_bytes} bytes; send fewer queries at once"
        ))
    };
    let announced = body.size_hint().lower();
    if announced > limit_bytes as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::invalid(format!("the body cannot be read to its end: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit_bytes {
            return Err(too_large());
        }
        held.grow(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}
