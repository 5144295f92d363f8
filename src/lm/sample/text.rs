//! The text of a sample while it grows, and the stop strings in it.
//!
//! Tokens are bytes: a character or a stop string may begin in one and end in another. So bytes are
//! what is kept and searched, and they become text at the end.

/// The bytes of a sample.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
}

/// A stop string in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Which stop string.
    pub(super) number: usize,
    /// Its first byte.
    pub(super) start: usize,
    /// One past its last byte.
    pub(super) end: usize,
}

impl Text {
    /// Adds the bytes of a token and returns the stop string that ends first in them; of several
    /// that end there, the longest.
    pub(super) fn push(&mut self, token: &[u8], stop: &[String]) -> Option<Found> {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(token);
        let found = stop.iter().enumerate().filter_map(|(number, stop)| {
            // It ends in the new bytes, or it would have been found before.
            let from = (before + 1).saturating_sub(stop.len());
            let at = self.bytes[from..].windows(stop.len()).position(|w| w == stop.as_bytes())?;
            Some(Found { number, start: from + at, end: from + at + stop.len() })
        });
        found.min_by_key(|found| (found.end, found.start))
    }

    /// Returns the place in the text of a place in the bytes, where a character begins.
    pub(super) fn place(&self, at: usize) -> usize {
        String::from_utf8_lossy(&self.bytes[..at.min(self.bytes.len())]).len()
    }

    /// Cuts what is behind `end` and returns it.
    pub(super) fn cut(&mut self, end: usize) -> String {
        let behind = self.bytes.split_off(end.min(self.bytes.len()));
        String::from_utf8_lossy(&behind).into_owned()
    }

    /// Returns the text.
    pub(super) fn into_string(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
