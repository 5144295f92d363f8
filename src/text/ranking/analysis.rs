//! From text to the numbers of terms: whoever builds an index says how.

use std::sync::Arc;

use crate::text::analysis::{Analysis, TermNumbers};

/// The longest token in bytes; longer ones are as if they were not there, in lengths too.
pub const TOKEN_BYTES_MAX: usize = (1 << 16) - 6;

/// An analysis: what a text's tokens are. Each thread and field has its own, so that it may keep
/// buffers.
///
/// The tokens must depend on the text alone.
pub trait TermSource: Send + Sync {
    /// Calls `each` for every token of `text`, in order; a token that occurs twice comes twice.
    fn tokens(&mut self, text: &str, each: &mut dyn FnMut(&str));

    /// Appends the number of every token of `text` to `to`, in order. `numbers` is the same in
    /// every call, so that a source which knows its words may remember theirs.
    fn numbers(&mut self, text: &str, numbers: &mut dyn TermNumbers, to: &mut Vec<u32>) {
        self.tokens(text, &mut |token| to.extend(numbers.number(token)));
    }
}

impl TermSource for Analysis {
    fn tokens(&mut self, text: &str, each: &mut dyn FnMut(&str)) {
        Analysis::tokens(self, text, each);
    }

    fn numbers(&mut self, text: &str, numbers: &mut dyn TermNumbers, to: &mut Vec<u32>) {
        Analysis::numbers(self, text, numbers, to);
    }
}

/// Makes an analysis for a thread.
pub type AnalysisFactory = Arc<dyn Fn() -> Box<dyn TermSource> + Send + Sync>;
