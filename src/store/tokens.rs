//! Tokens of trajectories, kept so that nothing is rendered and tokenised twice.

use super::StoreError;
use super::engine::Changes;
use super::open::Store;
use crate::codec::{Family, Key, Record, TokensRecord};

impl Store {
    /// Returns the tokens kept under each key, in the order of the keys.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn tokens(&self, keys: &[[u8; 32]]) -> Result<Vec<Option<TokensRecord>>, StoreError> {
        if !self.engine.has(Family::Token) {
            return Ok(vec![None; keys.len()]);
        }
        let keys: Vec<Key> = keys.iter().map(|key| Key::Token(*key)).collect();
        let encoded: Vec<Vec<u8>> = keys.iter().map(Key::encode).collect();
        let found = self.engine.get_many(Family::Token, &encoded)?;
        let decode = |(key, bytes): (&Key, Option<Vec<u8>>)| {
            let decode = |bytes: Vec<u8>| TokensRecord::decode(&bytes);
            bytes.map(decode).transpose().map_err(|e| StoreError::record(key, e))
        };
        keys.iter().zip(found).map(decode).collect()
    }

    /// Keeps tokens. A database that is open for reading keeps none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn put_tokens(&self, entries: &[([u8; 32], TokensRecord)]) -> Result<(), StoreError> {
        if !self.engine.is_writable() || entries.is_empty() {
            return Ok(());
        }
        let mut changes = Changes::default();
        for (key, record) in entries {
            changes.put(&Key::Token(*key), record);
        }
        // Not synced: what is lost with the power is made again.
        self.engine.write(changes, false)
    }
}
