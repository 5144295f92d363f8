//! Sealing a corpus: its fingerprint, its ranked index, and whether both are what they were.

use std::sync::Arc;

use super::corpus::{CorpusProgress, analyzer_of};
use super::{Database, DbError};
use crate::codec::{CorpusRecord, DocumentRecord};
use crate::diag::hexadecimal;
use crate::text::ranking::{
    BuildOptions, Checking, RankedIndex, RankedIndexBuilder, RankingError, TermSource,
};

/// Begins what a fingerprint is the hash of; another layout of it begins otherwise.
const FINGERPRINT_DOMAIN: &[u8] = b"swirl corpus 1";

impl Database {
    /// Seals a corpus: takes its fingerprint and builds its index. Returns it as it is then.
    ///
    /// # Errors
    /// There is none, or it has no documents; [`DbError::Stopped`]; what the disk says. The corpus
    /// is then begun as before.
    pub fn seal_corpus(
        &self,
        name: &str,
        options: &BuildOptions,
        progress: &mut CorpusProgress<'_>,
    ) -> Result<CorpusRecord, DbError> {
        let mut record = self.corpus_record(name)?;
        self.store().flush_documents(false)?;
        // What counts may have been lost with the kill that it goes on after.
        let (fingerprint, documents, text_bytes) =
            self.build_ranking(&record, options, progress)?;
        if documents == 0 {
            let why = "it has no documents".to_owned();
            return Err(DbError::Corpus { name: name.to_owned(), why });
        }
        (record.documents, record.text_bytes) = (documents, text_bytes);
        record.fingerprint = Some(fingerprint);
        self.store().flush_documents(true)?;
        self.store().put_corpus(&record)?;
        Ok(record)
    }

    /// Reads every document of a corpus again and compares it with the fingerprint; so is every
    /// byte of the index, where it is there. Returns what is wrong, nothing if all is well.
    ///
    /// # Errors
    /// There is no such corpus; [`DbError::Stopped`]; what the disk says.
    pub fn verify_corpus(
        &self,
        name: &str,
        progress: &mut CorpusProgress<'_>,
    ) -> Result<Vec<String>, DbError> {
        let record = self.corpus_record(name)?;
        let Some(fingerprint) = record.fingerprint else {
            return Ok(vec!["it is not sealed".to_owned()]);
        };
        let mut wrong = Vec::new();
        let (mut hasher, mut seen) = (fingerprint_hasher(&record), 0);
        self.each_document(&record, progress, |id, document| {
            hasher.update(&document.hash(id));
            seen += 1;
            Ok(())
        })?;
        let found = *hasher.finalize().as_bytes();
        if seen != record.documents {
            wrong.push(format!("it has {seen} documents, {} were sealed", record.documents));
        }
        if found != fingerprint {
            wrong.push(changed_documents(fingerprint, found));
        }
        let key = hexadecimal(&fingerprint);
        match RankedIndex::open(&self.ranking_directory(name), &key, Checking::Contents) {
            Ok(_) | Err(RankingError::Missing { .. }) => {}
            Err(error) => wrong.push(format!(
                "{error} (remove {}, and it is built when the corpus is opened next)",
                self.ranking_directory(name).display()
            )),
        }
        wrong.extend(self.verify_vectors(&record)?);
        Ok(wrong)
    }

    /// Visits every document of a corpus in the order of ids.
    ///
    /// # Errors
    /// [`DbError::Stopped`], what `visit` returns; damage, or what the disk says.
    pub fn each_document(
        &self,
        corpus: &CorpusRecord,
        progress: &mut CorpusProgress<'_>,
        mut visit: impl FnMut(&str, DocumentRecord) -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        let mut stopped = None;
        let mut seen = 0;
        self.store().scan_documents(&corpus.name, |id, document| {
            let visited = visit(id, document);
            seen += 1;
            let visited = match visited {
                Ok(()) if progress(seen, corpus.documents).is_break() => Err(DbError::Stopped),
                other => other,
            };
            stopped = visited.err();
            Ok(stopped.is_none())
        })?;
        stopped.map_or(Ok(()), Err)
    }

    /// Builds the ranked index of a corpus. Returns its fingerprint, its documents and the bytes of
    /// their titles and texts.
    pub(super) fn build_ranking(
        &self,
        record: &CorpusRecord,
        options: &BuildOptions,
        progress: &mut CorpusProgress<'_>,
    ) -> Result<([u8; 32], u64, u64), DbError> {
        let directory = self.ranking_directory(&record.name);
        let fields: Vec<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
        let analyzer = analyzer_of(record)?;
        let factory = Arc::new(move || -> Box<dyn TermSource> { Box::new(analyzer.start()) });
        let mut builder = RankedIndexBuilder::create(&directory, &fields, factory, options)?;
        let mut hasher = fingerprint_hasher(record);
        let (mut documents, mut text_bytes) = (0, 0);
        let mut contents = String::new();
        self.each_document(record, progress, |id, document| {
            hasher.update(&document.hash(id));
            let title = document.title.as_deref().unwrap_or_default();
            documents += 1;
            text_bytes += (title.len() + document.text.len()) as u64;
            contents.clear();
            if !title.is_empty() {
                contents.push_str(title);
                contents.push('\n');
            }
            contents.push_str(&document.text);
            let text = |field: &&str| match *field {
                "title" => title,
                "text" => &document.text,
                _ => contents.as_str(),
            };
            let texts: Vec<&str> = fields.iter().map(text).collect();
            builder.add(id, &texts)?;
            Ok(())
        })?;
        let fingerprint = *hasher.finalize().as_bytes();
        builder.finish(&hexadecimal(&fingerprint))?;
        Ok((fingerprint, documents, text_bytes))
    }
}

/// Returns the hash that the documents of a corpus join, by their ids.
fn fingerprint_hasher(record: &CorpusRecord) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(FINGERPRINT_DOMAIN);
    add(record.analyzer.0.as_bytes());
    add(&record.analyzer.1.to_le_bytes());
    add(&record.k1.to_bits().to_le_bytes());
    add(&record.b.to_bits().to_le_bytes());
    for field in &record.fields {
        add(field.name.as_bytes());
        add(&field.weight.to_bits().to_le_bytes());
    }
    add(b"documents");
    hasher
}

/// Says that documents are not those that were sealed.
pub(super) fn changed_documents(sealed: [u8; 32], found: [u8; 32]) -> String {
    format!(
        "its documents are not those that were sealed: fingerprint {} instead of {}",
        hexadecimal(&found),
        hexadecimal(&sealed)
    )
}
