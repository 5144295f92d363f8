//! Corpora and their documents.

use super::StoreError;
use super::engine::Changes;
use super::open::Store;
use crate::codec::{CorpusRecord, DocumentRecord, Family, Key, Record};

/// Documents removed in one batch.
const REMOVED_TOGETHER: usize = 4_096;

/// What became of documents that were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Those that were new.
    pub new: u64,
    /// The bytes of their titles and texts.
    pub text_bytes: u64,
    /// Those that were there with the same content.
    pub same: u64,
    /// Places in what was handed over of those that were there with other content; they were not
    /// stored.
    pub conflicts: Vec<usize>,
}

impl Store {
    /// Stores what a corpus says of itself.
    ///
    /// # Errors
    /// What the disk says.
    pub fn put_corpus(&self, corpus: &CorpusRecord) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        changes.put(&Key::Corpus(corpus.name.clone()), corpus);
        // A corpus is no part of what a view sees: the sequence stays.
        self.engine.write(changes, true)
    }

    /// Returns the corpus of that name.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn corpus(&self, name: &str) -> Result<Option<CorpusRecord>, StoreError> {
        self.engine.record(&Key::Corpus(name.to_owned()))
    }

    /// Returns every corpus by name.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn corpora(&self) -> Result<Vec<CorpusRecord>, StoreError> {
        let mut corpora = Vec::new();
        self.engine.scan(Family::Corpus, &[], &[], |key, value| {
            let key = Key::decode(Family::Corpus, key).map_err(StoreError::key)?;
            corpora.push(CorpusRecord::decode(value).map_err(|e| StoreError::record(&key, e))?);
            Ok(true)
        })?;
        Ok(corpora)
    }

    /// Adds documents, pairs of id and content, to a corpus. They are durable with
    /// [`Store::flush_documents`]: a corpus is sealed only after that, and one that is begun goes
    /// on from what a kill has left.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn add_documents(
        &self,
        corpus: &str,
        documents: Vec<(String, DocumentRecord)>,
    ) -> Result<Added, StoreError> {
        let _writer = self.writer();
        let keys: Vec<Key> =
            documents.iter().map(|(id, _)| Key::Document(corpus.to_owned(), id.clone())).collect();
        let encoded: Vec<Vec<u8>> = keys.iter().map(Key::encode).collect();
        let stored = self.engine.get_many(Family::Document, &encoded)?;
        let mut added = Added::default();
        let mut changes = Changes::default();
        let mut here: std::collections::HashMap<&[u8], usize> = std::collections::HashMap::new();
        for (at, (_, document)) in documents.iter().enumerate() {
            let earlier = match here.get(encoded[at].as_slice()) {
                Some(earlier) => Some(documents[*earlier].1.clone()),
                None => {
                    let record = stored[at].as_deref().map(DocumentRecord::decode);
                    record.transpose().map_err(|e| StoreError::record(&keys[at], e))?
                }
            };
            match earlier {
                Some(earlier) if earlier == *document => added.same += 1,
                Some(_) => added.conflicts.push(at),
                None => {
                    let title = document.title.as_ref().map_or(0, String::len);
                    added.new += 1;
                    added.text_bytes += (title + document.text.len()) as u64;
                    changes.put(&keys[at], document);
                    here.insert(&encoded[at], at);
                }
            }
        }
        self.engine.write_unlogged(changes)?;
        Ok(added)
    }

    /// Makes the documents added so far durable; without `wait` it is only begun.
    ///
    /// # Errors
    /// What the disk says.
    pub fn flush_documents(&self, wait: bool) -> Result<(), StoreError> {
        self.engine.flush_family(Family::Document, wait)
    }

    /// Makes durable what was written without being so.
    ///
    /// # Errors
    /// What the disk says.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.engine.sync()
    }

    /// Returns a document of a corpus.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn document(&self, corpus: &str, id: &str) -> Result<Option<DocumentRecord>, StoreError> {
        self.engine.record(&Key::Document(corpus.to_owned(), id.to_owned()))
    }

    /// Returns documents of a corpus in the order of `ids`; `None` for those that are not there.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn documents(
        &self,
        corpus: &str,
        ids: &[&str],
    ) -> Result<Vec<Option<DocumentRecord>>, StoreError> {
        let key = |id: &&str| Key::Document(corpus.to_owned(), (*id).to_owned());
        let keys: Vec<Key> = ids.iter().map(key).collect();
        let encoded: Vec<Vec<u8>> = keys.iter().map(Key::encode).collect();
        let values = self.engine.get_many(Family::Document, &encoded)?;
        let decoded = values.into_iter().zip(&keys).map(|(value, key)| {
            let record = value.map(|value| DocumentRecord::decode(&value)).transpose();
            record.map_err(|e| StoreError::record(key, e))
        });
        decoded.collect()
    }

    /// Visits the documents of a corpus in the order of their ids, until `visit` returns false.
    ///
    /// # Errors
    /// Damage, or what the disk says; what `visit` returns.
    pub fn scan_documents(
        &self,
        corpus: &str,
        mut visit: impl FnMut(&str, DocumentRecord) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let prefix = Key::name_prefix(corpus);
        self.engine.scan(Family::Document, &prefix, &[], |key, value| {
            let key = Key::decode(Family::Document, key).map_err(StoreError::key)?;
            let document =
                DocumentRecord::decode(value).map_err(|e| StoreError::record(&key, e))?;
            match &key {
                Key::Document(_, id) => visit(id, document),
                _ => Ok(true),
            }
        })
    }

    /// Removes a corpus and its documents.
    ///
    /// # Errors
    /// [`StoreError::Name`] when there is none of that name; what the disk says.
    pub fn drop_corpus(&self, name: &str) -> Result<CorpusRecord, StoreError> {
        let Some(corpus) = self.corpus(name)? else {
            return Err(StoreError::Name(format!("there is no corpus '{name}'")));
        };
        // The documents first: what is left after a kill is a corpus that is not sealed.
        self.put_corpus(&CorpusRecord { fingerprint: None, ..corpus.clone() })?;
        loop {
            let mut changes = Changes::default();
            let mut found = 0;
            self.engine.scan(Family::Document, &Key::name_prefix(name), &[], |key, _| {
                changes.delete(&Key::decode(Family::Document, key).map_err(StoreError::key)?);
                found += 1;
                Ok(found < REMOVED_TOGETHER)
            })?;
            if found == 0 {
                break;
            }
            self.engine.write(changes, false)?;
        }
        let mut changes = Changes::default();
        changes.delete(&Key::Corpus(name.to_owned()));
        self.engine.write(changes, true)?;
        Ok(corpus)
    }
}
