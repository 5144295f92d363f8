//! Text columns as codes: numbers into the texts that occur.
//!
//! A column of few texts is kept in memory as codes alone: four bytes a row where the texts take
//! sixteen, and whoever asks something of the texts asks it once for each and not once a row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, DictionaryArray, NullArray, StringViewArray,
    StringViewBuilder, UInt32Array, UInt32Builder,
};
use arrow::datatypes::{DataType, UInt32Type};

use super::StoreError;
use super::state::{Place, Segment};
use super::view::{CacheKey, ColumnRef, View, arrow_error, integers};
use crate::codec::TableId;

/// Texts are few up to this number in a chunk.
const FEW_MAX: usize = 4_096;

impl View {
    /// Returns a text column of the segment's own table as codes: a dictionary of the texts that
    /// occur in it.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn codes(&self, segment: &Segment, column: ColumnRef) -> Result<ArrayRef, StoreError> {
        match self.few_codes(segment, column)? {
            Some(codes) => Ok(codes),
            None => self.cached(CacheKey::Codes(Box::new(self.text_key(segment, column))), || {
                encode_all(&self.column(segment, column)?)
            }),
        }
    }

    /// Returns a text column of trajectories for the rows of a segment of steps, as codes. Some of
    /// the dictionary's texts may not occur, and one may stand in it twice.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn widened_codes(
        &self,
        steps: &Segment,
        column: ColumnRef,
    ) -> Result<ArrayRef, StoreError> {
        match self.few_widened_codes(steps, column)? {
            Some(codes) => Ok(codes),
            None => self.cached(CacheKey::Codes(Box::new(self.made_key(steps, column))), || {
                encode_all(&self.widened(steps, column)?)
            }),
        }
    }

    /// Returns [`View::codes`] if the segment's texts are few.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn few_codes(
        &self,
        segment: &Segment,
        column: ColumnRef,
    ) -> Result<Option<ArrayRef>, StoreError> {
        let key = self.text_key(segment, column);
        self.few(key.clone(), || {
            // Texts that become codes are not kept beside them.
            let texts = match segment.place {
                Place::Chunk(chunk) => self.chunk_once(segment, column, chunk)?,
                Place::Tail(_) => self.column(segment, column)?,
            };
            let codes = encode_few(texts.as_string_view())?;
            if codes.is_none() && matches!(key, CacheKey::Chunk { .. }) {
                self.store.cache.insert(key, &texts);
            }
            Ok(codes)
        })
    }

    /// Returns [`View::widened_codes`] if the texts are few.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn few_widened_codes(
        &self,
        steps: &Segment,
        column: ColumnRef,
    ) -> Result<Option<ArrayRef>, StoreError> {
        self.few(self.made_key(steps, column), || {
            let ordinals = self.column(steps, ColumnRef::Stored(TableId::Steps, 0))?;
            let ordinals = integers(&ordinals)?.values();
            let mut keys: Vec<Option<u32>> = Vec::new();
            let mut texts = StringViewBuilder::new();
            let mut base = 0;
            for (at, segment) in self.trajectories_of(ordinals).into_iter().enumerate() {
                let Some(codes) = self.few_codes(&segment, column)? else { return Ok(None) };
                let codes = codes.as_dictionary::<UInt32Type>();
                if at == 0 {
                    base = segment.first_row;
                }
                let before = texts.len() as u32;
                keys.extend(codes.keys().iter().map(|key| key.map(|key| before + key)));
                codes.values().as_string_view().iter().for_each(|text| texts.append_option(text));
            }
            let of_step = |ordinal: &i64| keys[(*ordinal as u64 - base) as usize];
            let keys: UInt32Array = ordinals.iter().map(of_step).collect();
            Ok(Some(dictionary(keys, texts.finish())?))
        })
    }

    /// Returns the codes in the cache, or what `make` makes; that texts are not few is kept too.
    fn few(
        &self,
        key: CacheKey,
        make: impl FnOnce() -> Result<Option<ArrayRef>, StoreError>,
    ) -> Result<Option<ArrayRef>, StoreError> {
        let kept = self.cached(CacheKey::Few(Box::new(key)), || {
            Ok(make()?.unwrap_or_else(|| Arc::new(NullArray::new(0))))
        })?;
        Ok(Some(kept).filter(|kept| *kept.data_type() != DataType::Null))
    }

    fn text_key(&self, segment: &Segment, column: ColumnRef) -> CacheKey {
        let whole = self.whole_chunk_key(segment, column);
        whole.unwrap_or_else(|| self.made_key(segment, column))
    }
}

/// Returns texts as a dictionary of those that occur, in the order of their first occurrence;
/// `None` where they are not few beside the rows.
fn encode_few(texts: &StringViewArray) -> Result<Option<ArrayRef>, StoreError> {
    let most = FEW_MAX.min(16 + texts.len() / 8);
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut keys = UInt32Builder::with_capacity(texts.len());
    let mut values = StringViewBuilder::new();
    for text in texts {
        let Some(text) = text else {
            keys.append_null();
            continue;
        };
        let next = numbers.len() as u32;
        let key = *numbers.entry(text).or_insert(next);
        if key == next {
            if numbers.len() > most {
                return Ok(None);
            }
            values.append_value(text);
        }
        keys.append_value(key);
    }
    dictionary(keys.finish(), values.finish()).map(Some)
}

fn dictionary(keys: UInt32Array, texts: StringViewArray) -> Result<ArrayRef, StoreError> {
    let array = DictionaryArray::<UInt32Type>::try_new(keys, Arc::new(texts));
    Ok(Arc::new(array.map_err(arrow_error)?))
}

fn encode_all(texts: &ArrayRef) -> Result<ArrayRef, StoreError> {
    let kind = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8View));
    arrow::compute::cast(texts, &kind).map_err(arrow_error)
}
