//! Documents on their way to the workers, many in one piece.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// About so many bytes of text go to a worker at once.
const BATCH_BYTES: usize = 1 << 20;

/// Documents with successive numbers.
pub struct Batch {
    /// The number of the first one.
    pub first: u32,
    fields: usize,
    text: String,
    /// Where each field of each document ends in `text`.
    ends: Vec<usize>,
}

impl Batch {
    /// Returns an empty batch of documents with so many fields that starts with document `first`.
    pub fn new(first: u32, fields: usize) -> Batch {
        Batch { first, fields, text: String::new(), ends: Vec::new() }
    }

    /// Returns the number behind its last document's.
    pub fn next(&self) -> u32 {
        self.first + (self.ends.len() / self.fields) as u32
    }

    /// Adds a document.
    pub fn push(&mut self, texts: &[&str]) {
        for text in texts {
            self.text.push_str(text);
            self.ends.push(self.text.len());
        }
    }

    /// Returns whether it holds enough for a worker.
    pub fn is_full(&self) -> bool {
        // Texts may be empty: their documents take room all the same.
        self.text.len() + self.ends.len() * size_of::<usize>() >= BATCH_BYTES
    }

    /// Returns whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the texts of the documents, field after field of one document after the other.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }
}

/// The workers' end of the queue; each batch goes to one of them.
#[derive(Clone)]
pub struct Batches(Arc<Mutex<Receiver<Batch>>>);

impl Batches {
    /// Waits for a batch; `None` when no more will come.
    pub fn take(&self) -> Option<Batch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

/// Returns the two ends of a queue with room for `batches`.
pub fn queue(batches: usize) -> (SyncSender<Batch>, Batches) {
    let (sender, receiver) = sync_channel(batches);
    (sender, Batches(Arc::new(Mutex::new(receiver))))
}
