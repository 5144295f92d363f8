//! The fields of the index, how their text becomes terms, and how a query asks for them.

use tantivy::Term;
use tantivy::query::{BooleanQuery, Occur, PhraseQuery, Query, TermQuery};
use tantivy::schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

use super::query::TextQuery;
use super::words::{ANALYSIS_VERSION, Words};

/// The columns that are indexed. A change makes every older index be rebuilt.
pub const COLUMNS: &[&str] = &["reasoning", "action", "arguments", "observation"];

/// The field of the row number.
pub const ROW: &str = "row";

/// The name carries the version, so that an index of another analysis has another schema.
pub fn tokenizer_name() -> String {
    format!("words-{ANALYSIS_VERSION}")
}

/// Returns the schema of an index of this version.
pub fn schema() -> Schema {
    let mut builder = Schema::builder();
    builder.add_u64_field(ROW, FAST);
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(&tokenizer_name())
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    for column in COLUMNS {
        builder
            .add_text_field(column, TextOptions::default().set_indexing_options(indexing.clone()));
    }
    builder.build()
}

/// Returns the query over one field.
pub fn plan(field: Field, query: &TextQuery) -> Box<dyn Query> {
    let term = |word: &String| Term::from_field_text(field, word);
    let mut phrases: Vec<Box<dyn Query>> = query
        .phrases()
        .iter()
        .map(|phrase| match phrase.as_slice() {
            [word] => Box::new(TermQuery::new(term(word), IndexRecordOption::Basic)) as _,
            words => Box::new(PhraseQuery::new(words.iter().map(term).collect())) as _,
        })
        .collect();
    match phrases.pop() {
        Some(only) if phrases.is_empty() => only,
        last => {
            let all = phrases.into_iter().chain(last).map(|phrase| (Occur::Must, phrase));
            Box::new(BooleanQuery::new(all.collect()))
        }
    }
}

/// `Words` as tantivy wants them.
#[derive(Clone)]
pub struct WordTokenizer;

pub struct WordStream<'a> {
    words: Words<'a>,
    token: Token,
}

impl Tokenizer for WordTokenizer {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        WordStream { words: Words::new(text), token: Token::default() }
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        self.token.position = self.token.position.wrapping_add(1);
        self.words.read(&mut self.token.text)
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}
