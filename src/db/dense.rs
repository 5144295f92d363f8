//! Dense retrieval: vectors of a sealed corpus beside its ranked index, and rankings made one.
//!
//! ```text
//!   corpora/0123456789abcdef            the ranked index
//!   corpora/0123456789abcdef.vectors    a vector for each document, by its number there
//!   corpora/0123456789abcdef.json       the model that made them
//! ```
//! Vectors are derived from documents and model. They carry the fingerprints of both, and may be
//! deleted. Making them only reads the store, and goes on after a kill.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::corpus::{Corpus, CorpusProgress};
use super::{Database, DbError};
use crate::codec::{CorpusRecord, DocumentRecord};
use crate::diag::hexadecimal;
use crate::lm::{Device, SentenceEncoder};
use crate::score::{FUSION_CONSTANT, fuse};
use crate::vectors::{Checking, VectorIndex, VectorsError, VectorsWriter};

/// Texts that are encoded together.
const TEXTS_TOGETHER: usize = 256;

/// Vectors after which what is done is made safe.
const CHECKPOINT_ROWS: u32 = 4_096;

/// How deep the rankings go, at least, that are fused.
const FUSED_DEPTH: usize = 100;

/// How documents are ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retrieval {
    /// By their words.
    #[default]
    Bm25,
    /// By the cosine of their vector and the query's.
    Dense,
    /// By both rankings, as deep as 100 or as is asked for: reciprocal rank fusion.
    Hybrid,
}

impl Retrieval {
    /// Every way.
    pub const ALL: [Retrieval; 3] = [Retrieval::Bm25, Retrieval::Dense, Retrieval::Hybrid];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Retrieval::Bm25 => "bm25",
            Retrieval::Dense => "dense",
            Retrieval::Hybrid => "hybrid",
        }
    }

    /// Returns the way that a word names, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Retrieval> {
        Retrieval::ALL.into_iter().find(|retrieval| retrieval.as_str() == word)
    }
}

/// What made the vectors of a corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedding {
    /// The directory of the model.
    pub model: PathBuf,
    /// The hash of all of it that decides a vector, in hexadecimal digits.
    pub model_fingerprint: String,
    /// The numbers of a vector.
    pub dimensions: usize,
}

/// The vectors of a corpus and what makes those of queries.
pub(super) struct Dense {
    encoder: SentenceEncoder,
    vectors: VectorIndex,
}

impl Database {
    /// Makes a vector for each document of a sealed corpus, or goes on where that was interrupted.
    ///
    /// # Errors
    /// The corpus is not sealed; the directory holds no encoder; [`DbError::Stopped`]; damage, or
    /// what the disk says.
    pub fn embed_corpus(
        &self,
        name: &str,
        model: &Path,
        progress: &mut CorpusProgress<'_>,
    ) -> Result<Embedding, DbError> {
        let record = self.corpus_record(name)?;
        let encoder = SentenceEncoder::open(model, &Device::Cpu)?;
        let embedding = Embedding {
            model: std::path::absolute(model).unwrap_or_else(|_| model.to_path_buf()),
            model_fingerprint: hexadecimal(&encoder.fingerprint()),
            dimensions: encoder.dimensions(),
        };
        let (path, key) = (self.vectors_file(name), key(&record, &embedding)?);
        let begun = VectorsWriter::continue_from(&path, embedding.dimensions, &key);
        let mut writer = match begun {
            Err(error) if error.is_mended_by_building() => {
                VectorsWriter::create(&path, embedding.dimensions, &key)?
            }
            begun => begun?,
        };
        let there = u64::from(writer.rows());
        let (mut seen, mut safe_rows) = (0, writer.rows());
        let mut texts: Vec<String> = Vec::new();
        let mut flush = |texts: &mut Vec<String>, writer: &mut VectorsWriter| {
            let given: Vec<&str> = texts.iter().map(String::as_str).collect();
            for vector in encoder.encode(&given)? {
                writer.append(&vector)?;
            }
            texts.clear();
            if writer.rows() - safe_rows >= CHECKPOINT_ROWS {
                writer.checkpoint()?;
                safe_rows = writer.rows();
            }
            Ok::<_, DbError>(())
        };
        let done = self.each_document(&record, progress, |_, document| {
            seen += 1;
            if seen > there {
                texts.push(contents(&document));
            }
            match texts.len() < TEXTS_TOGETHER {
                true => Ok(()),
                false => flush(&mut texts, &mut writer),
            }
        });
        if let Err(DbError::Stopped) = done {
            writer.checkpoint()?;
        }
        done?;
        flush(&mut texts, &mut writer)?;
        let note = self.embedding_file(name);
        let json = serde_json::to_vec_pretty(&embedding).map_err(std::io::Error::from);
        let written = json.and_then(|json| std::fs::write(&note, json));
        written.map_err(|source| VectorsError::Io { path: note, action: "written", source })?;
        writer.finish()?;
        Ok(embedding)
    }

    /// Returns what made the vectors of a corpus; `None` where it has none.
    ///
    /// # Errors
    /// The note of it cannot be read.
    pub fn embedding(&self, name: &str) -> Result<Option<Embedding>, DbError> {
        let path = self.embedding_file(name);
        let failed = |source| VectorsError::Io { path: path.clone(), action: "read", source };
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error).into()),
            Ok(json) => Ok(serde_json::from_slice(&json).map_err(|e| failed(e.into()))?),
        }
    }

    /// Returns a corpus that is searched otherwise. Its model is sought in `model`, or where it was
    /// when the vectors were made.
    ///
    /// # Errors
    /// The corpus has no vectors, or those of other documents; the model is not the one that made
    /// them; what the disk says.
    pub fn with_retrieval(
        &self,
        corpus: Corpus,
        retrieval: Retrieval,
        model: Option<&Path>,
    ) -> Result<Corpus, DbError> {
        if retrieval == Retrieval::Bm25 {
            return Ok(corpus);
        }
        let record = corpus.record();
        let refused = |why: String| DbError::Corpus { name: record.name.clone(), why };
        let Some(embedding) = self.embedding(&record.name)? else {
            let why = "it has no vectors: swirl corpus embed makes them";
            return Err(refused(why.to_owned()));
        };
        let model = model.unwrap_or(&embedding.model);
        let encoder = SentenceEncoder::open(model, &Device::Cpu)?;
        if hexadecimal(&encoder.fingerprint()) != embedding.model_fingerprint {
            return Err(refused(format!(
                "the model in {} is not the one that made its vectors: name the directory of that \
                 one, or make them again",
                model.display()
            )));
        }
        let (path, key) = (self.vectors_file(&record.name), key(record, &embedding)?);
        let vectors = VectorIndex::open(&path, &key, Checking::Lengths)?;
        if u64::from(vectors.len()) != record.documents {
            let (found, documents) = (vectors.len(), record.documents);
            return Err(refused(format!("it has {found} vectors for {documents} documents")));
        }
        Ok(corpus.searched(retrieval, Dense { encoder, vectors }))
    }

    /// Compares the vectors of a corpus with what was written; returns what is wrong.
    pub(super) fn verify_vectors(&self, record: &CorpusRecord) -> Result<Option<String>, DbError> {
        let Some(embedding) = self.embedding(&record.name)? else { return Ok(None) };
        let (path, key) = (self.vectors_file(&record.name), key(record, &embedding)?);
        match VectorIndex::open(&path, &key, Checking::Contents) {
            Ok(_) => Ok(None),
            Err(error) => Ok(Some(format!("{error} (swirl corpus embed makes them again)"))),
        }
    }

    /// Removes the vectors of a corpus, where there are any.
    pub(super) fn remove_vectors(&self, name: &str) -> Result<(), DbError> {
        let vectors = self.vectors_file(name);
        let partial = vectors.with_extension("vectors.partial");
        for path in [self.embedding_file(name), partial, vectors] {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(VectorsError::Io { path, action: "removed", source }.into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn vectors_file(&self, name: &str) -> PathBuf {
        self.ranking_directory(name).with_extension("vectors")
    }

    fn embedding_file(&self, name: &str) -> PathBuf {
        self.ranking_directory(name).with_extension("json")
    }
}

impl Dense {
    /// Returns the hash of the vectors in hexadecimal digits.
    pub(super) fn hash(&self) -> &str {
        self.vectors.hash()
    }

    /// Returns numbers and cosines of the documents whose vectors are nearest to the query's.
    pub(super) fn search(&self, query: &str, k: usize) -> Result<Vec<(u32, f64)>, DbError> {
        let vectors = self.encoder.encode(&[query])?;
        let Some(vector) = vectors.first() else { return Ok(Vec::new()) };
        Ok(self.vectors.search(vector, k, &|| false)?)
    }
}

/// Returns how deep rankings go of which the best `k` are fused.
pub(super) fn fused_depth(k: usize) -> usize {
    k.max(FUSED_DEPTH)
}

/// Returns the best `k` of two rankings, with their fused scores.
pub(super) fn fused(
    first: &[(u32, f64)],
    second: &[(u32, f64)],
    k: usize,
) -> Result<Vec<(u32, f64)>, DbError> {
    let numbers =
        |ranked: &[(u32, f64)]| -> Vec<u32> { ranked.iter().map(|(number, _)| *number).collect() };
    let (first, second) = (numbers(first), numbers(second));
    let fused = fuse(&[&first, &second], FUSION_CONSTANT);
    let mut fused = fused.map_err(|error| DbError::Selection(error.to_string()))?;
    fused.truncate(k);
    Ok(fused)
}

/// Returns what vectors are made from: documents and model.
fn key(record: &CorpusRecord, embedding: &Embedding) -> Result<String, DbError> {
    let Some(fingerprint) = record.fingerprint else {
        let why = "it is not sealed: vectors are made of documents that stay".to_owned();
        return Err(DbError::Corpus { name: record.name.clone(), why });
    };
    Ok(format!("{} {}", hexadecimal(&fingerprint), embedding.model_fingerprint))
}

/// Returns the text of a document that is encoded: title and text.
fn contents(document: &DocumentRecord) -> String {
    match document.title.as_deref().unwrap_or_default() {
        "" => document.text.clone(),
        title => format!("{title}\n{}", document.text),
    }
}
