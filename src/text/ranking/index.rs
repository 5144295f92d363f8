//! A sealed index, open for answers.

use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::error::RankingError;
use super::formula::inverse_document_frequency;
use super::formula::{Bm25, Contribution, Damping, Grain};
use super::manifest::Manifest;
use super::names::Names;
use super::query::RankedQuery;
use super::segment::{Segment, SegmentTerm, TermPlace};
use super::top::Top;
use super::{accumulate, windows};

/// What is compared when an index is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checking {
    /// That every file is there and as long as it was: what a kill or a full disk leaves is found,
    /// a changed byte is not.
    Lengths,
    /// Every byte, at the speed of reading them.
    Contents,
}

/// A ranked index. It is never written, no lock is taken, and any number of processes and threads
/// may have it open at once.
pub struct RankedIndex {
    directory: PathBuf,
    manifest: Manifest,
    names: Names,
    segments: Vec<Segment>,
    bm25: Bm25,
    weights: Vec<f64>,
}

/// How a document came by its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The score, the same to the last bit as in an answer; 0 where no token occurs.
    pub score: f64,
    /// What the tokens contribute, in the order in which it is summed.
    pub parts: Vec<Part>,
}

/// What one token contributes to the score of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The field, counted from 0.
    pub field: usize,
    /// The token.
    pub token: String,
    /// How often it stands in the query.
    pub count: u32,
    /// In how many documents the field has it.
    pub document_frequency: u32,
    /// The logarithm of that, turned around.
    pub inverse_document_frequency: f64,
    /// How often it occurs in the document's field.
    pub frequency: u32,
    /// How many tokens the document's field has.
    pub length: u32,
    /// How many tokens the field has on average.
    pub average_length: f64,
    /// What it contributes.
    pub score: f64,
}

/// A term of a query as the whole index has it.
struct Term<'q> {
    field: usize,
    token: &'q str,
    count: u32,
    document_frequency: u32,
    weight: f64,
    damping: Damping,
    /// By segment: its place among the terms.
    places: Vec<Option<TermPlace>>,
}

impl RankedIndex {
    /// Opens the index in `directory` that was built from what `key` names, to score with k1 = 0.9
    /// and b = 0.4 and all fields weighing 1.
    ///
    /// # Errors
    /// `Missing`, `Outdated`, `Damaged`: build it again; `Io`.
    pub fn open(
        directory: &Path,
        key: &str,
        checking: Checking,
    ) -> Result<RankedIndex, RankingError> {
        let manifest = Manifest::read(directory, key)?;
        manifest.check(directory, checking == Checking::Contents)?;
        let open = |entry| Segment::open(directory, entry);
        let segments = manifest.segments.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let weights = vec![1.0; manifest.fields.len()];
        let directory = directory.to_path_buf();
        let names = Names::open(&directory, manifest.documents)?;
        Ok(RankedIndex { directory, manifest, names, segments, bm25: Bm25::default(), weights })
    }

    /// Returns the index with other parameters and weights of the fields. Nothing is built again.
    ///
    /// # Errors
    /// `BadParameter` unless there is a weight from 0 to 1000000 for each field.
    pub fn with_scoring(self, bm25: Bm25, weights: &[f64]) -> Result<RankedIndex, RankingError> {
        let are_good = weights.iter().all(|weight| (0.0..=1e6).contains(weight));
        if weights.len() != self.weights.len() || !are_good {
            return Err(RankingError::BadParameter {
                name: "weights",
                found: format!("{weights:?}"),
                expected: "a number from 0 to 1000000 for each field",
            });
        }
        Ok(RankedIndex { bm25, weights: weights.to_vec(), ..self })
    }

    /// Returns how many documents it has.
    pub fn documents(&self) -> u32 {
        self.manifest.documents
    }

    /// Returns the name of a document.
    ///
    /// # Errors
    /// `UnknownDocument`; `Damaged`.
    pub fn name(&self, number: u32) -> Result<&str, RankingError> {
        self.names.get(number)
    }

    /// Returns the number of the document of a name, if there is one.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn number(&self, name: &str) -> Result<Option<u32>, RankingError> {
        self.names.find(name)
    }

    /// Returns the names of its fields.
    pub fn fields(&self) -> &[String] {
        &self.manifest.fields
    }

    /// Returns how many tokens a field has in all documents, `None` for a field that is not there.
    pub fn tokens(&self, field: usize) -> Option<u64> {
        self.manifest.tokens.get(field).copied()
    }

    /// Returns the bytes of its files.
    pub fn size_bytes(&self) -> u64 {
        self.manifest.size_bytes()
    }

    /// Returns how many segments it has: the fewer, the faster it answers.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Compares every byte of its files with what was written.
    ///
    /// # Errors
    /// `Damaged`, which names the first file that differs; `Io`.
    pub fn verify(&self) -> Result<(), RankingError> {
        self.manifest.check(&self.directory, true)
    }

    /// Returns in how many documents a field has a token.
    ///
    /// # Errors
    /// `UnknownField`; `Damaged`.
    pub fn document_frequency(&self, field: usize, token: &str) -> Result<u32, RankingError> {
        if field >= self.weights.len() {
            return Err(RankingError::UnknownField { field, count: self.weights.len() });
        }
        Ok(self.find(field, token)?.iter().flatten().map(|place| place.documents).sum())
    }

    /// Returns the numbers and scores of the best `k` documents in which a token of the query
    /// occurs, the best first; of equal scores the lower number first.
    ///
    /// `cancelled` is asked every few milliseconds at most. Memory grows with k as far as documents
    /// are found, and with the tokens (some 50 bytes for each and segment): more than 64 different
    /// tokens are scored one after the other over all documents, without leaving any out.
    ///
    /// # Errors
    /// `UnknownField` where the query names one; `Cancelled`; `Damaged`; `Io`.
    pub fn search(
        &self,
        query: &RankedQuery,
        k: usize,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<(u32, f64)>, RankingError> {
        self.check_fields(query)?;
        if k == 0 {
            return Ok(Vec::new());
        }
        let terms = self.terms(query, cancelled)?.ok_or(RankingError::Cancelled)?;
        let mut top = Top::new(k, self.manifest.documents as usize);
        let grain = Grain::new(terms.iter().map(|term| term.weight));
        for (number, segment) in self.segments.iter().enumerate() {
            let within = terms.iter().map(|term| term.within(number, segment, grain));
            let terms: Vec<SegmentTerm<'_>> =
                within.filter_map(Result::transpose).collect::<Result<_, _>>()?;
            let rank = match terms.len() {
                0 => continue,
                1..=windows::TERMS_MAX => windows::rank,
                _ => accumulate::rank,
            };
            if rank(segment, &terms, &mut top, cancelled)?.is_break() {
                return Err(RankingError::Cancelled);
            }
        }
        Ok(top.into_sorted())
    }

    /// Returns how a document comes by its score.
    ///
    /// # Errors
    /// `UnknownDocument`; otherwise as [`RankedIndex::search`].
    pub fn explain(&self, query: &RankedQuery, number: u32) -> Result<Explanation, RankingError> {
        self.check_fields(query)?;
        let holder = self.segments.iter().enumerate().find_map(|(at, segment)| {
            let document = segment.numbers().partition(number);
            let is_found = document < segment.numbers().len();
            (is_found && segment.numbers().get(document) == number).then_some((
                at,
                segment,
                document as u32,
            ))
        });
        let Some((at, segment, document)) = holder else {
            return Err(RankingError::UnknownDocument { number, count: self.documents() });
        };
        let mut explanation = Explanation { score: 0.0, parts: Vec::new() };
        let terms = self.terms(query, &|| false)?.unwrap_or_default();
        let grain = Grain::new(terms.iter().map(|term| term.weight));
        for term in &terms {
            let Some(found) = term.within(at, segment, grain)? else { continue };
            if let Some(part) = self.part(term, &found, document)? {
                explanation.score += part.score;
                explanation.parts.push(part);
            }
        }
        Ok(explanation)
    }

    /// Returns what a term contributes for a document of a segment, if it occurs there.
    fn part(
        &self,
        term: &Term<'_>,
        found: &SegmentTerm<'_>,
        document: u32,
    ) -> Result<Option<Part>, RankingError> {
        let Some(occurrence) = Cursor::open(found)?.occurrence(document)? else {
            return Ok(None);
        };
        let documents = self.documents();
        Ok(Some(Part {
            field: term.field,
            token: term.token.to_owned(),
            count: term.count,
            document_frequency: term.document_frequency,
            inverse_document_frequency: inverse_document_frequency(
                documents,
                term.document_frequency,
            ),
            frequency: occurrence.frequency,
            length: occurrence.length,
            average_length: self.manifest.tokens[term.field] as f64 / f64::from(documents),
            score: found.contribution.of(occurrence),
        }))
    }

    fn check_fields(&self, query: &RankedQuery) -> Result<(), RankingError> {
        let count = self.weights.len();
        match query.greatest_field() {
            Some(field) if field >= count => Err(RankingError::UnknownField { field, count }),
            _ => Ok(()),
        }
    }

    /// Returns the terms that occur anywhere and weigh anything, by field and spelling; `None`
    /// where it was cancelled.
    fn terms<'q>(
        &self,
        query: &'q RankedQuery,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Term<'q>>>, RankingError> {
        const TERMS_UNASKED: usize = 256;
        let documents = self.documents();
        let mut terms = Vec::new();
        for (field, weight) in self.weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0)
        {
            let damping = self.bm25.damping(self.manifest.tokens[field], documents);
            for (at, (token, count)) in query.terms(field).into_iter().enumerate() {
                if (at + 1).is_multiple_of(TERMS_UNASKED) && cancelled() {
                    return Ok(None);
                }
                let places = self.find(field, token)?;
                let document_frequency = places.iter().flatten().map(|place| place.documents).sum();
                if document_frequency == 0 {
                    continue;
                }
                let rarity = inverse_document_frequency(documents, document_frequency);
                let weight = weight * rarity * f64::from(count);
                terms.push(Term {
                    field,
                    token,
                    count,
                    document_frequency,
                    weight,
                    damping,
                    places,
                });
            }
        }
        Ok(Some(terms))
    }

    fn find(&self, field: usize, token: &str) -> Result<Vec<Option<TermPlace>>, RankingError> {
        self.segments.iter().map(|segment| segment.fields[field].find(token)).collect()
    }
}

impl Term<'_> {
    /// Returns the term as a segment has it, `None` where it does not.
    fn within<'s>(
        &self,
        number: usize,
        segment: &'s Segment,
        grain: Grain,
    ) -> Result<Option<SegmentTerm<'s>>, RankingError> {
        let Some(place) = self.places[number] else { return Ok(None) };
        let field = &segment.fields[self.field];
        let contribution = Contribution { weight: self.weight, damping: self.damping, grain };
        Ok(Some(SegmentTerm { field, postings: field.postings(place)?, contribution }))
    }
}
