//! The fields of the index, how their text becomes terms, and how a query asks for them.

use std::ops::Bound;

use tantivy::query::{
    BooleanQuery, InvertedIndexRangeQuery, Occur, PhrasePrefixQuery, PhraseQuery, Query, TermQuery,
};
use tantivy::schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use tantivy::{Searcher, TantivyError, Term};

use super::query::{Clause, Phrase, TextQuery};
use super::words::{ANALYSIS_VERSION, Words};

/// The columns that are indexed. A change makes every older index be rebuilt.
pub const COLUMNS: &[&str] = &["reasoning", "action", "arguments", "observation"];

/// The field of the row number.
pub const ROW: &str = "row";

/// Up to so many words the beginning that ends a phrase may stand for: each is a list of places.
const CONTINUATIONS_MAX: u32 = 1 << 16;

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
///
/// # Errors
/// What the index says; an invalid argument where a phrase ends with the beginning of too many
/// words.
pub fn plan(
    field: Field,
    query: &TextQuery,
    searcher: &Searcher,
) -> tantivy::Result<Box<dyn Query>> {
    plan_clause(field, query.clause(), searcher)
}

fn plan_clause(
    field: Field,
    clause: &Clause,
    searcher: &Searcher,
) -> tantivy::Result<Box<dyn Query>> {
    let plan_as =
        |occur: Occur| move |clause: &Clause| Ok((occur, plan_clause(field, clause, searcher)?));
    let clauses: tantivy::Result<Vec<_>> = match clause {
        Clause::Phrase(phrase) => return plan_phrase(field, phrase, searcher),
        Clause::All(clauses) => clauses.iter().map(plan_as(Occur::Must)).collect(),
        Clause::Any(clauses) => clauses.iter().map(plan_as(Occur::Should)).collect(),
        Clause::Without(kept, dropped) => {
            let kept = plan_as(Occur::Must)(kept);
            [kept, plan_as(Occur::MustNot)(dropped)].into_iter().collect()
        }
    };
    Ok(Box::new(BooleanQuery::new(clauses?)))
}

/// Returns the query for one phrase over one field; by it a document is also scored.
///
/// # Errors
/// As [`plan`].
pub fn plan_phrase(
    field: Field,
    phrase: &Phrase,
    searcher: &Searcher,
) -> tantivy::Result<Box<dyn Query>> {
    let term = |word: &String| Term::from_field_text(field, word);
    Ok(match phrase.words.as_slice() {
        [word] if phrase.is_prefix => {
            let from = Bound::Included(term(word));
            Box::new(InvertedIndexRangeQuery::new(from, behind(field, word)))
        }
        [word] => Box::new(TermQuery::new(term(word), IndexRecordOption::WithFreqs)),
        words if phrase.is_prefix => {
            let mut query = PhrasePrefixQuery::new(words.iter().map(term).collect());
            query.set_max_expansions(continuations(field, &words[words.len() - 1], searcher)?);
            Box::new(query)
        }
        words => Box::new(PhraseQuery::new(words.iter().map(term).collect())),
    })
}

/// Returns the end of the terms that begin with `prefix`. No word contains U+10FFFF, which stands
/// behind every other character.
fn behind(field: Field, prefix: &str) -> Bound<Term> {
    Bound::Excluded(Term::from_field_text(field, &format!("{prefix}\u{10FFFF}")))
}

/// Returns how many words of one segment begin with `prefix`, at most.
fn continuations(field: Field, prefix: &str, searcher: &Searcher) -> tantivy::Result<u32> {
    let mut most = 1;
    for segment in searcher.segment_readers() {
        let index = segment.inverted_index(field)?;
        let end = format!("{prefix}\u{10FFFF}");
        let words = index.terms().range().ge(prefix).lt(end);
        let mut words = words.into_stream()?;
        let mut count = 0;
        while words.advance() {
            count += 1;
            if count > CONTINUATIONS_MAX {
                return Err(TantivyError::InvalidArgument(prefix.to_owned()));
            }
        }
        most = most.max(count);
    }
    Ok(most)
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
