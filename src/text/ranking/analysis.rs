//! From text to tokens: whoever builds an index says how, and tantivy is handed the tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tantivy::tokenizer::{MAX_TOKEN_LEN, Token, TokenStream, Tokenizer};

/// The longest token in bytes; longer ones are as if they were not there, in lengths too.
pub const TOKEN_BYTES_MAX: usize = MAX_TOKEN_LEN;

/// An analysis: what a text's tokens are. Each thread and field has its own, so that it may keep
/// buffers.
///
/// The tokens must depend on the text alone.
pub trait TermSource: Send + Sync {
    /// Calls `each` for every token of `text`, in order; a token that occurs twice comes twice.
    fn tokens(&mut self, text: &str, each: &mut dyn FnMut(&str));
}

impl TermSource for crate::text::analysis::Analysis {
    fn tokens(&mut self, text: &str, each: &mut dyn FnMut(&str)) {
        crate::text::analysis::Analysis::tokens(self, text, each);
    }
}

/// Makes an analysis for a thread.
pub type AnalysisFactory = Arc<dyn Fn() -> Box<dyn TermSource> + Send + Sync>;

/// How many tokens the texts of a field had since it was last asked: what tantivy keeps of a
/// length is lossy.
#[derive(Clone, Default)]
pub struct TokenCount(Arc<AtomicU32>);

impl TokenCount {
    /// Returns the number of tokens, and counts from 0 again.
    pub fn take(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// An analysis as tantivy wants it.
pub struct AnalysisTokenizer {
    factory: AnalysisFactory,
    analysis: Box<dyn TermSource>,
    token: Token,
    count: TokenCount,
}

impl AnalysisTokenizer {
    /// Returns the tokenizer of one field, which adds the tokens it gave to `count`.
    pub fn new(factory: AnalysisFactory, count: TokenCount) -> AnalysisTokenizer {
        let analysis = factory();
        AnalysisTokenizer { factory, analysis, token: Token::default(), count }
    }
}

impl Clone for AnalysisTokenizer {
    fn clone(&self) -> AnalysisTokenizer {
        AnalysisTokenizer::new(Arc::clone(&self.factory), self.count.clone())
    }
}

impl Tokenizer for AnalysisTokenizer {
    type TokenStream<'a> = AnalysisStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> AnalysisStream<'a> {
        let AnalysisTokenizer { analysis, token, count, .. } = self;
        AnalysisStream { analysis: analysis.as_mut(), text: Some(text), token, count }
    }
}

/// The tokens of one text. tantivy's indexing asks for all of them at once (`process`), which an
/// analysis that calls back serves without a buffer between.
pub struct AnalysisStream<'a> {
    analysis: &'a mut dyn TermSource,
    text: Option<&'a str>,
    token: &'a mut Token,
    count: &'a TokenCount,
}

impl TokenStream for AnalysisStream<'_> {
    /// Has no token one by one: see `process`.
    fn advance(&mut self) -> bool {
        false
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }

    fn process(&mut self, sink: &mut dyn FnMut(&Token)) {
        let Some(text) = self.text.take() else { return };
        let token = &mut *self.token;
        token.position = 0;
        let mut count = 0u32;
        self.analysis.tokens(text, &mut |word| {
            if word.len() <= TOKEN_BYTES_MAX {
                token.text.clear();
                token.text.push_str(word);
                sink(token);
                count += 1;
            }
        });
        self.count.0.fetch_add(count, Ordering::Relaxed);
    }
}
