//! The terms and postings of one field of a segment, on disk.
//!
//! ```text
//!   words-f     the terms in the order of their bytes, one after the other
//!   terms-f     by term, and once more for the end:
//!                 end in words · documents · start in postings, low and high · first block
//!   postings-f  by term its blocks:
//!                 128 documents   bits of documents · bits of frequencies, a byte each;
//!                                 differences of the documents less 1, packed;
//!                                 frequencies less 1, packed
//!                 fewer           (difference << 1 | occurs once) · frequency if not once · ..,
//!                                 of variable length
//!   blocks-f    by block of terms with more than one, and once more for the end:
//!                 last document · start in the term's postings · first pair
//!   bounds-f    by pair: frequency · length (see `bounds`)
//! ```
//!
//! All numbers but those packed or of variable length have four bytes, the low one first. Packed
//! are 128 numbers at once (Lemire and Boytsov 2015, the layout for registers of 128 bits, which is
//! the same on machines that have none).

use std::path::{Path, PathBuf};

use bitpacking::{BitPacker, BitPacker4x};

use super::bounds;
use super::error::RankingError;
use super::files::{HashedFile, NumbersRef};
use super::formula::Occurrence;
use super::inverter::Posting;
use super::manifest::FileEntry;
use super::variable;

/// The documents of a full block.
pub const BLOCK_DOCUMENTS: usize = BitPacker4x::BLOCK_LEN;

/// The numbers of a term in its file.
pub const TERM: usize = 5;

/// The numbers of a block in its file.
pub const BLOCK: usize = 3;

/// The files of a field.
pub struct FieldFiles {
    folder: PathBuf,
    field: usize,
}

impl FieldFiles {
    /// Returns the files of a field of the segment in `folder`.
    pub fn new(folder: &Path, field: usize) -> FieldFiles {
        FieldFiles { folder: folder.to_path_buf(), field }
    }

    /// Returns the name of one of them, of which `kind` is the first part.
    pub fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.field)
    }

    /// Returns the path of one of them.
    pub fn path(&self, kind: &str) -> PathBuf {
        self.folder.join(self.name(kind))
    }

    /// Creates one of them.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(&self, kind: &str) -> Result<HashedFile, RankingError> {
        HashedFile::create(self.path(kind))
    }
}

/// Writes the terms of a field.
pub struct PostingsWriter {
    words: HashedFile,
    terms: HashedFile,
    postings: HashedFile,
    blocks: HashedFile,
    bounds: HashedFile,
    words_bytes: u32,
    postings_bytes: u64,
    block_count: u32,
    pair_count: u32,
    packer: BitPacker4x,
    /// A term's postings, as they are written.
    bytes: Vec<u8>,
    pairs: Vec<u32>,
}

impl PostingsWriter {
    /// Creates the files.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(files: &FieldFiles) -> Result<PostingsWriter, RankingError> {
        Ok(PostingsWriter {
            words: files.create("words")?,
            terms: files.create("terms")?,
            postings: files.create("postings")?,
            blocks: files.create("blocks")?,
            bounds: files.create("bounds")?,
            words_bytes: 0,
            postings_bytes: 0,
            block_count: 0,
            pair_count: 0,
            packer: BitPacker4x::new(),
            bytes: Vec::new(),
            pairs: Vec::new(),
        })
    }

    /// Adds a term behind all that there are, with its postings by document; `lengths` are those of
    /// all documents.
    ///
    /// # Errors
    /// `Io`; `Failed` where a file would have more than its numbers can count.
    pub fn add(
        &mut self,
        term: &[u8],
        postings: &[Posting],
        lengths: &[u32],
    ) -> Result<(), RankingError> {
        self.add_term(term, postings.len() as u32)?;
        self.bytes.clear();
        let mut before = None;
        for block in postings.chunks(BLOCK_DOCUMENTS) {
            let start = self.bytes.len();
            match block.len() {
                BLOCK_DOCUMENTS => self.pack(block, before),
                _ => self.write_rest(block, before),
            }
            before = block.last().map(|posting| posting.document);
            if postings.len() > BLOCK_DOCUMENTS {
                self.add_block(before.unwrap_or_default(), start, block, lengths)?;
            }
        }
        self.postings_bytes += self.bytes.len() as u64;
        self.postings.write(&self.bytes)
    }

    fn add_term(&mut self, term: &[u8], documents: u32) -> Result<(), RankingError> {
        self.words.write(term)?;
        let end = u32::try_from(term.len()).ok().and_then(|len| self.words_bytes.checked_add(len));
        self.words_bytes = end.ok_or_else(too_many)?;
        let start = self.postings_bytes;
        let (low, high) = (start as u32, (start >> 32) as u32);
        self.terms.write_numbers(&[self.words_bytes, documents, low, high, self.block_count])
    }

    /// Appends a full block to `self.bytes`.
    fn pack(&mut self, block: &[Posting], before: Option<u32>) {
        let mut documents = [0; BLOCK_DOCUMENTS];
        let mut frequencies = [0; BLOCK_DOCUMENTS];
        for (at, posting) in block.iter().enumerate().take(BLOCK_DOCUMENTS) {
            documents[at] = posting.document;
            frequencies[at] = posting.frequency.saturating_sub(1);
        }
        let packer = self.packer;
        let document_bits = packer.num_bits_strictly_sorted(before, &documents);
        let frequency_bits = packer.num_bits(&frequencies);
        self.bytes.extend([document_bits, frequency_bits]);
        let start = self.bytes.len();
        let middle = start + packed_bytes(document_bits);
        self.bytes.resize(middle + packed_bytes(frequency_bits), 0);
        let (first, second) = self.bytes[start..].split_at_mut(middle - start);
        packer.compress_strictly_sorted(before, &documents, first, document_bits);
        packer.compress(&frequencies, second, frequency_bits);
    }

    /// Appends a block that is not full to `self.bytes`.
    fn write_rest(&mut self, block: &[Posting], before: Option<u32>) {
        let mut before = before.unwrap_or_default();
        for Posting { document, frequency } in block {
            let once = u64::from(*frequency == 1);
            variable::write(&mut self.bytes, u64::from(document - before) << 1 | once);
            if *frequency != 1 {
                variable::write(&mut self.bytes, u64::from(*frequency));
            }
            before = *document;
        }
    }

    fn add_block(
        &mut self,
        last: u32,
        start: usize,
        block: &[Posting],
        lengths: &[u32],
    ) -> Result<(), RankingError> {
        let start = u32::try_from(start).map_err(|_| too_many())?;
        self.blocks.write_numbers(&[last, start, self.pair_count])?;
        self.block_count = self.block_count.checked_add(1).ok_or_else(too_many)?;
        let length = |document: u32| lengths.get(document as usize).copied().unwrap_or_default();
        let occurrence = |posting: &Posting| Occurrence {
            frequency: posting.frequency,
            length: length(posting.document),
        };
        self.pairs.clear();
        bounds::append(block.iter().map(occurrence), &mut self.pairs);
        let pairs = (self.pairs.len() / bounds::PAIR) as u32;
        self.pair_count = self.pair_count.checked_add(pairs).ok_or_else(too_many)?;
        self.bounds.write_numbers(&self.pairs)
    }

    /// Ends the files and returns what they are; durable on return.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<Vec<FileEntry>, RankingError> {
        let end = self.postings_bytes;
        let (low, high) = (end as u32, (end >> 32) as u32);
        self.terms.write_numbers(&[self.words_bytes, 0, low, high, self.block_count])?;
        self.blocks.write_numbers(&[u32::MAX, u32::MAX, self.pair_count])?;
        let files = [self.words, self.terms, self.postings, self.blocks, self.bounds];
        files.into_iter().map(HashedFile::finish).collect()
    }
}

fn too_many() -> RankingError {
    let reason = "a segment has more than its files can count; build with less memory for each";
    RankingError::Failed(reason.to_owned())
}

/// Returns the bytes of a full block of numbers with so many bits.
fn packed_bytes(bits: u8) -> usize {
    usize::from(bits) * BLOCK_DOCUMENTS / 8
}

/// A block of postings, decoded.
pub struct Decoded {
    documents: [u32; BLOCK_DOCUMENTS],
    frequencies: [u32; BLOCK_DOCUMENTS],
    count: usize,
}

impl Decoded {
    /// Returns one without documents.
    pub fn new() -> Decoded {
        let nothing = [0; BLOCK_DOCUMENTS];
        Decoded { documents: nothing, frequencies: nothing, count: 0 }
    }

    /// Returns the documents, ascending.
    #[inline]
    pub fn documents(&self) -> &[u32] {
        &self.documents[..self.count]
    }

    /// Returns how often the term occurs in each.
    #[inline]
    pub fn frequencies(&self) -> &[u32] {
        &self.frequencies[..self.count]
    }
}

/// The postings of a term.
#[derive(Clone)]
pub struct Postings<'a> {
    /// Its part of the postings' file.
    pub bytes: &'a [u8],
    /// Its blocks, [`BLOCK`] numbers each, and the start of what follows; empty for a term of one
    /// block.
    pub blocks: NumbersRef<'a>,
    /// In how many documents it occurs.
    pub documents: u32,
}

impl Postings<'_> {
    /// Returns how many blocks there are.
    #[inline]
    pub fn len(&self) -> usize {
        (self.documents as usize).div_ceil(BLOCK_DOCUMENTS)
    }

    /// Returns the last document of a block of a term with several, `u32::MAX` behind the last one.
    #[inline]
    pub fn last_document(&self, block: usize) -> u32 {
        match block < self.len() {
            true => self.blocks.get(block * BLOCK),
            false => u32::MAX,
        }
    }

    /// Returns the first block, from `block` on, that does not end before a document; the term has
    /// several. Mostly it is near.
    #[inline]
    pub fn block_of(&self, mut block: usize, document: u32) -> usize {
        let mut step = 1;
        while block + step < self.len() && self.last_document(block + step - 1) < document {
            block += step;
            step *= 2;
        }
        // The block sought is none before `block`, and none behind `block + step`.
        let mut range = block..(block + step).min(self.len());
        while !range.is_empty() {
            let middle = range.start + range.len() / 2;
            match self.last_document(middle) < document {
                true => range.start = middle + 1,
                false => range.end = middle,
            }
        }
        range.start
    }

    /// Decodes a block; returns `None` where the bytes are none.
    pub fn decode(&self, block: usize, into: &mut Decoded) -> Option<()> {
        into.count = 0;
        let count = (self.documents as usize).checked_sub(block * BLOCK_DOCUMENTS)?;
        let count = count.min(BLOCK_DOCUMENTS);
        let before = block.checked_sub(1).map(|before| self.blocks.get(before * BLOCK));
        let start = if self.len() > 1 { self.blocks.get(block * BLOCK + 1) } else { 0 };
        let bytes = self.bytes.get(start as usize..)?;
        match count {
            BLOCK_DOCUMENTS => unpack(bytes, before, into)?,
            _ => read_rest(bytes, before, count, into)?,
        }
        into.count = count;
        let is_last = self.len() == 1 || into.documents[count - 1] == self.last_document(block);
        is_last.then_some(())
    }
}

fn unpack(bytes: &[u8], before: Option<u32>, into: &mut Decoded) -> Option<()> {
    let ([document_bits, frequency_bits], bytes) = bytes.split_first_chunk()?;
    if *document_bits > 32 || *frequency_bits > 32 {
        return None;
    }
    let (documents, rest) = bytes.split_at_checked(packed_bytes(*document_bits))?;
    let frequencies = rest.get(..packed_bytes(*frequency_bits))?;
    let packer = BitPacker4x::new();
    packer.decompress_strictly_sorted(before, documents, &mut into.documents, *document_bits);
    packer.decompress(frequencies, &mut into.frequencies, *frequency_bits);
    into.frequencies.iter_mut().for_each(|frequency| *frequency = frequency.wrapping_add(1));
    Some(())
}

fn read_rest(
    mut bytes: &[u8],
    before: Option<u32>,
    count: usize,
    into: &mut Decoded,
) -> Option<()> {
    let mut document = before.unwrap_or_default();
    for (to, frequency) in into.documents.iter_mut().zip(&mut into.frequencies).take(count) {
        let entry = variable::read(&mut bytes)?;
        document = document.checked_add(u32::try_from(entry >> 1).ok()?)?;
        *to = document;
        *frequency = match entry & 1 {
            1 => 1,
            _ => u32::try_from(variable::read(&mut bytes)?).ok()?,
        };
    }
    Some(())
}
