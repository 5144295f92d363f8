//! Corpora: documents in the store, sealed under a fingerprint, and a ranked index beside them.
//!
//! ```text
//!   begun      documents join in any order; the same again is no news, other content is refused
//!     |
//!   sealed     fingerprint = BLAKE3 over analyzer, parameters and every document by its id;
//!              ranked index built in the order of ids, in a folder that is renamed at the end
//! ```
//! What a corpus answers depends on fingerprint and query alone. The index may be deleted: it is
//! made again from the documents. A kill before the seal leaves a corpus that is begun, which goes
//! on from what it has.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::dense::{Dense, Retrieval, fused, fused_depth};
use super::sealing::changed_documents;
use super::{Database, DbError};
use crate::codec::{CorpusField, CorpusRecord, DocumentRecord};
use crate::diag::hexadecimal;
use crate::exchange::Document;
use crate::store::{Added, Store};
use crate::text::analysis::{Analysis, Analyzer, Chunking};
use crate::text::ranking::{
    Bm25, BuildOptions, Checking, Explanation, RankedIndex, RankedQuery, RankingError, remove_index,
};

/// The longest name of a corpus: it stands in paths, headers and names of tools.
const NAME_BYTES_MAX: usize = 64;

/// The most bytes of an index that are compared with their hashes whenever it is opened, which
/// takes a fraction of a second; of larger ones only the lengths are, the rest by VERIFY CORPUS.
const COMPARED_BYTES_MAX: u64 = 1 << 30;

/// The fields a corpus may be searched by.
pub const CORPUS_FIELDS: [&str; 3] = ["contents", "title", "text"];

/// How a corpus is to be searched, and what is known of it before it has documents.
#[derive(Clone, Debug, PartialEq)]
pub struct CorpusDraft {
    /// The name.
    pub name: String,
    /// What is in it, for whoever searches it.
    pub description: String,
    /// How texts become terms.
    pub analyzer: Analyzer,
    /// How soon a term's repetitions stop counting.
    pub k1: f64,
    /// How much a long document's terms count less, from 0 to 1.
    pub b: f64,
    /// The searched fields, of [`CORPUS_FIELDS`], and their weights.
    pub fields: Vec<CorpusField>,
    /// How documents are cut into passages, if they are.
    pub passages: Option<Chunking>,
    /// What it is made from.
    pub made_from: Vec<String>,
    /// When it was begun, in microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
    /// The version of the program.
    pub program: &'static str,
}

impl CorpusDraft {
    /// Returns the draft of a corpus as Anserini's flat indices are: English, k1 = 0.9, b = 0.4,
    /// title and text searched as one.
    pub fn new(name: &str) -> CorpusDraft {
        CorpusDraft {
            name: name.to_owned(),
            description: String::new(),
            analyzer: Analyzer::English,
            k1: 0.9,
            b: 0.4,
            fields: vec![CorpusField { name: CORPUS_FIELDS[0].to_owned(), weight: 1.0 }],
            passages: None,
            made_from: Vec::new(),
            created_at: 0,
            program: "",
        }
    }

    fn record(&self) -> CorpusRecord {
        let CorpusDraft { analyzer, passages, .. } = self;
        CorpusRecord {
            name: self.name.clone(),
            description: self.description.clone(),
            analyzer: (analyzer.as_str().to_owned(), analyzer.version()),
            k1: self.k1,
            b: self.b,
            fields: self.fields.clone(),
            passages: passages.map(|p| (p.words() as u32, p.overlap() as u32)),
            made_from: self.made_from.clone(),
            documents: 0,
            text_bytes: 0,
            fingerprint: None,
            created_at: self.created_at,
            program: self.program.to_owned(),
        }
    }

    /// Returns the first thing that is wrong with it.
    fn check(&self) -> Result<(), DbError> {
        let wrong = |what: String| Err(DbError::Corpus { name: self.name.clone(), why: what });
        if self.name.is_empty()
            || self.name.len() > NAME_BYTES_MAX
            || self.name.contains(['/', '\\', '\0'])
        {
            return wrong(format!(
                "a name has 1 to {NAME_BYTES_MAX} bytes, and no '/', '\\' or zero"
            ));
        }
        Bm25::new(self.k1, self.b)?;
        for (at, field) in self.fields.iter().enumerate() {
            if !CORPUS_FIELDS.contains(&field.name.as_str()) {
                let known = CORPUS_FIELDS.join(", ");
                return wrong(format!("unknown field '{}'; fields: {known}", field.name));
            }
            if self.fields[..at].iter().any(|other| other.name == field.name) {
                return wrong(format!("the field '{}' is named twice", field.name));
            }
        }
        match self.fields.is_empty() {
            true => wrong("it needs a field that is searched".to_owned()),
            false => Ok(()),
        }
    }
}

/// A document that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// Its content.
    pub document: DocumentRecord,
    /// How well it answers.
    pub score: f64,
}

/// A sealed corpus, open for answers. Threads share one.
pub struct Corpus {
    record: CorpusRecord,
    store: Arc<Store>,
    index: RankedIndex,
    analyzer: Analyzer,
    /// Analyses that no search uses at the moment.
    idle: Mutex<Vec<Analysis>>,
    /// How documents are ranked, beside or instead of by words.
    retrieval: Retrieval,
    dense: Option<Dense>,
}

/// Told how many documents of how many are done; returns `Break` to stop.
pub type CorpusProgress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

impl Database {
    /// Begins a corpus, or goes on with one of the same settings that was begun and not sealed.
    ///
    /// # Errors
    /// A setting is out of bounds; the name is taken; what the disk says.
    pub fn begin_corpus(&self, draft: &CorpusDraft) -> Result<CorpusRecord, DbError> {
        draft.check()?;
        let record = draft.record();
        let refused =
            |why: &str| Err(DbError::Corpus { name: draft.name.clone(), why: why.to_owned() });
        match self.store().corpus(&draft.name)? {
            None => {
                self.store().put_corpus(&record)?;
                Ok(record)
            }
            Some(earlier) if earlier.fingerprint.is_some() => {
                refused("it is there already, and sealed: choose another name, or drop it first")
            }
            Some(earlier) => {
                let known = (earlier.documents, earlier.text_bytes, earlier.created_at);
                let same = CorpusRecord {
                    documents: known.0,
                    text_bytes: known.1,
                    created_at: known.2,
                    program: earlier.program.clone(),
                    ..record
                };
                match same == earlier {
                    true => Ok(earlier),
                    false => refused(
                        "it was begun with other settings or other files and never sealed: repeat \
                         those to go on, or drop it first",
                    ),
                }
            }
        }
    }

    /// Adds documents to a corpus that is begun, cut into passages if it has them: those of a
    /// document are called `id#1`, `id#2` and so on.
    ///
    /// The conflicts of what is returned are places in what the passages are, returned beside it.
    ///
    /// # Errors
    /// The corpus is sealed; damage, or what the disk says.
    pub fn add_documents(
        &self,
        corpus: &CorpusRecord,
        documents: Vec<Document>,
    ) -> Result<(Added, Vec<String>), DbError> {
        if corpus.fingerprint.is_some() {
            let why = "it is sealed: nothing can be added".to_owned();
            return Err(DbError::Corpus { name: corpus.name.clone(), why });
        }
        let chunking =
            corpus.passages.map(|(words, overlap)| Chunking::new(words as usize, overlap as usize));
        let chunking = chunking.transpose().map_err(|error| DbError::Corpus {
            name: corpus.name.clone(),
            why: error.to_string(),
        })?;
        let mut records = Vec::with_capacity(documents.len());
        for document in documents {
            match chunking {
                None => records.push(record_of(document)),
                Some(chunking) => records.extend(passages(document, chunking)),
            }
        }
        let ids: Vec<String> = records.iter().map(|(id, _)| id.clone()).collect();
        Ok((self.store().add_documents(&corpus.name, records)?, ids))
    }

    /// Opens a sealed corpus. An index that is missing, damaged or of an older version is built
    /// again first.
    ///
    /// # Errors
    /// There is none, or it is not sealed; its analyzer is of another version; its index has to be
    /// built and the database is open for reading only; what the disk says.
    pub fn open_corpus(
        &self,
        name: &str,
        options: &BuildOptions,
        progress: &mut CorpusProgress<'_>,
    ) -> Result<Corpus, DbError> {
        let record = self.corpus_record(name)?;
        let refused = |why: String| DbError::Corpus { name: name.to_owned(), why };
        let Some(fingerprint) = record.fingerprint else {
            let why = "it is not sealed: creating it was interrupted; create it again with the \
                       same settings to go on";
            return Err(refused(why.to_owned()));
        };
        let analyzer = analyzer_of(&record)?;
        let directory = self.ranking_directory(name);
        let key = hexadecimal(&fingerprint);
        let index = match opened(&directory, &key) {
            Err(error) if error.is_mended_by_building() && self.is_writable() => {
                let built = self.build_ranking(&record, options, progress)?;
                if built.0 != fingerprint {
                    return Err(refused(changed_documents(fingerprint, built.0)));
                }
                opened(&directory, &key)?
            }
            Err(error) if error.is_mended_by_building() => {
                return Err(refused(format!(
                    "its index has to be built and the database is open for reading only ({error})"
                )));
            }
            other => other?,
        };
        let weights: Vec<f64> = record.fields.iter().map(|field| field.weight).collect();
        let index = index.with_scoring(Bm25::new(record.k1, record.b)?, &weights)?;
        let (store, idle) = (self.store().clone(), Mutex::default());
        let (retrieval, dense) = (Retrieval::Bm25, None);
        Ok(Corpus { record, store, index, analyzer, idle, retrieval, dense })
    }

    /// Returns whether a corpus can be opened as it is, without building its index first. What
    /// cannot be opened at all can be opened as it is: opening it says why.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn has_index(&self, name: &str) -> Result<bool, DbError> {
        let corpus = self.store().corpus(name)?;
        let Some(fingerprint) = corpus.and_then(|corpus| corpus.fingerprint) else {
            return Ok(true);
        };
        let (directory, key) = (self.ranking_directory(name), hexadecimal(&fingerprint));
        match opened(&directory, &key) {
            Err(error) => Ok(!error.is_mended_by_building()),
            Ok(_) => Ok(true),
        }
    }

    /// Removes a corpus with its documents and its index.
    ///
    /// # Errors
    /// There is none of that name; what the disk says.
    pub fn drop_corpus(&self, name: &str) -> Result<CorpusRecord, DbError> {
        let dropped = self.store().drop_corpus(name)?;
        self.remove_vectors(name)?;
        remove_index(&self.ranking_directory(name))?;
        Ok(dropped)
    }

    /// Returns the record of a corpus.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn corpus_record(&self, name: &str) -> Result<CorpusRecord, DbError> {
        let missing =
            || DbError::Corpus { name: name.to_owned(), why: "there is no such corpus".to_owned() };
        self.store().corpus(name)?.ok_or_else(missing)
    }

    /// Returns where the index of a corpus lies: names are of any letters, folders are not.
    pub(super) fn ranking_directory(&self, name: &str) -> PathBuf {
        let folder = blake3::hash(name.as_bytes()).to_hex();
        self.store().path().join("corpora").join(&folder.as_str()[..16])
    }
}

impl Corpus {
    /// Returns what it says of itself.
    pub fn record(&self) -> &CorpusRecord {
        &self.record
    }

    /// Returns what answers depend on beside the query: the fingerprint in hexadecimal digits, and
    /// behind it how documents are ranked and the hash of their vectors, where words alone do not
    /// decide.
    pub fn fingerprint(&self) -> String {
        let own = self.record.fingerprint.as_ref().map(|f| hexadecimal(f)).unwrap_or_default();
        match &self.dense {
            None => own,
            Some(dense) => format!("{own}+{}.{}", self.retrieval.as_str(), dense.hash()),
        }
    }

    /// Returns how documents are ranked.
    pub fn retrieval(&self) -> Retrieval {
        self.retrieval
    }

    /// Returns the corpus searched otherwise.
    pub(super) fn searched(self, retrieval: Retrieval, dense: Dense) -> Corpus {
        Corpus { retrieval, dense: Some(dense), ..self }
    }

    /// Returns the best `k` documents for a query, the best first; of equal scores the one whose id
    /// comes first. In a corpus of several fields `title:word` is sought in that field alone.
    ///
    /// # Errors
    /// [`DbError::Stopped`] when `cancelled` says so; damage, or what the disk says.
    pub fn search(
        &self,
        query: &str,
        k: usize,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Found>, DbError> {
        let ranked = self.rank(query, k, cancelled)?;
        let ids: Vec<&str> = ranked.iter().map(|(id, _)| id.as_str()).collect();
        let documents = self.store.documents(&self.record.name, &ids)?;
        let found = ranked.iter().zip(documents).map(|((id, score), document)| match document {
            Some(document) => Ok(Found { id: id.clone(), document, score: *score }),
            None => Err(DbError::Corpus {
                name: self.record.name.clone(),
                why: format!("its document '{id}' is missing: verify the corpus"),
            }),
        });
        found.collect()
    }

    /// Returns the ids and scores of [`Corpus::search`].
    ///
    /// # Errors
    /// As [`Corpus::search`].
    pub fn rank(
        &self,
        query: &str,
        k: usize,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<(String, f64)>, DbError> {
        let by_words = |k: usize| self.index.search(&self.query(query), k, cancelled);
        let ranked = match (&self.dense, self.retrieval) {
            (Some(dense), Retrieval::Dense) => dense.search(query, k)?,
            (Some(dense), Retrieval::Hybrid) => {
                let depth = fused_depth(k);
                fused(&by_words(depth)?, &dense.search(query, depth)?, k)?
            }
            _ => by_words(k)?,
        };
        let named = ranked
            .into_iter()
            .map(|(number, score)| Ok((self.index.name(number)?.to_owned(), score)));
        named.collect()
    }

    /// Returns how a document comes by its score, `None` if there is no such document.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn explain(&self, query: &str, id: &str) -> Result<Option<Explanation>, DbError> {
        let Some(number) = self.index.number(id)? else { return Ok(None) };
        Ok(Some(self.index.explain(&self.query(query), number)?))
    }

    /// Returns the document of an id.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn document(&self, id: &str) -> Result<Option<DocumentRecord>, DbError> {
        Ok(self.store.document(&self.record.name, id)?)
    }

    fn query(&self, text: &str) -> RankedQuery {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut analysis = idle.unwrap_or_else(|| self.analyzer.start());
        let mut query = RankedQuery::new();
        match self.record.fields.as_slice() {
            [_] => analysis.tokens(text, &mut |token: &str| query.add(token)),
            fields => {
                for word in text.split_whitespace() {
                    let field = word.split_once(':').and_then(|(name, rest)| {
                        let at = fields.iter().position(|field| field.name == name)?;
                        Some((at, rest)).filter(|(_, rest)| !rest.is_empty())
                    });
                    match field {
                        Some((at, rest)) => {
                            analysis.tokens(rest, &mut |t: &str| query.add_to_field(at, t));
                        }
                        None => analysis.tokens(word, &mut |t: &str| query.add(t)),
                    }
                }
            }
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(analysis);
        query
    }
}

/// Opens an index and compares it with what was written: byte by byte, unless that would take long.
fn opened(directory: &Path, key: &str) -> Result<RankedIndex, RankingError> {
    let index = RankedIndex::open(directory, key, Checking::Lengths)?;
    if index.size_bytes() <= COMPARED_BYTES_MAX {
        index.verify()?;
    }
    Ok(index)
}

/// Returns the analyzer of a corpus, if this program has it in the version it was sealed with.
pub(super) fn analyzer_of(record: &CorpusRecord) -> Result<Analyzer, DbError> {
    let (name, version) = &record.analyzer;
    Analyzer::of_version(name, *version).ok_or_else(|| DbError::Corpus {
        name: record.name.clone(),
        why: format!(
            "its words are those of analyzer {name} {version}, which this program does not have: \
             its answers would be others; use the program that sealed it ({})",
            record.program
        ),
    })
}

fn record_of(document: Document) -> (String, DocumentRecord) {
    let Document { id, title, text, metadata } = document;
    (id, DocumentRecord { title, text, metadata })
}

/// Returns the passages of a document. A document without words is one passage.
fn passages(document: Document, chunking: Chunking) -> Vec<(String, DocumentRecord)> {
    let mut ranges = chunking.passages(&document.text);
    if ranges.is_empty() {
        ranges.push(0..document.text.len());
    }
    let passage = |(number, range): (usize, std::ops::Range<usize>)| {
        let record = DocumentRecord {
            title: document.title.clone(),
            text: document.text[range].to_owned(),
            metadata: document.metadata.clone(),
        };
        (format!("{}#{}", document.id, number + 1), record)
    };
    ranges.into_iter().enumerate().map(passage).collect()
}
