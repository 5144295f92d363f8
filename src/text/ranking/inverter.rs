//! From documents to postings, in bounded memory.
//!
//! ```text
//!   text -> numbers of terms      (`TermTable`: numbers count from 0 as terms are first seen)
//!        -> log, document after document:
//!             terms · (number << 1 | occurs once) · frequency if not once · ..    variable length
//!   sealing: terms by spelling, as many at once as their postings have room for;
//!            the log is read once for each such group, and puts every posting in its place
//! ```
//!
//! Frequent words are seen early and have low numbers, so that the log takes some two bytes for a
//! posting; it is written and read in order only. A token costs one look at its term's state.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::analysis::{TOKEN_BYTES_MAX, TermSource};
use super::error::RankingError;
use super::variable;
use crate::text::analysis::TermNumbers;

/// About so many bytes of the log lie in one piece: a longer one would be copied as it grows.
const CHUNK_BYTES: usize = 1 << 20;

/// A document in which a term occurs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Posting {
    /// The document, counted in the segment.
    pub document: u32,
    /// How often the term occurs there.
    pub frequency: u32,
}

/// The documents of one field of a segment while it grows.
pub struct Inverter {
    source: Box<dyn TermSource>,
    terms: TermTable,
    states: Vec<TermState>,
    /// Pieces of the log; a document's entry lies in one.
    log: Vec<Vec<u8>>,
    lengths: Vec<u32>,
    /// The tokens of a document, and its terms.
    tokens: Vec<u32>,
    touched: Vec<u32>,
}

/// What is known of a term.
#[derive(Clone, Copy, Default)]
struct TermState {
    /// The last document with it, counted from 1.
    last: u32,
    /// How often it occurs there.
    frequency: u32,
    /// In how many documents it occurs.
    documents: u32,
}

impl Inverter {
    /// Returns one without documents.
    pub fn new(source: Box<dyn TermSource>) -> Inverter {
        Inverter {
            source,
            terms: TermTable::default(),
            states: Vec::new(),
            log: Vec::new(),
            lengths: Vec::new(),
            tokens: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// Adds the next document.
    ///
    /// # Errors
    /// `Failed` where the analysis gives a number that it was not given.
    pub fn add(&mut self, text: &str) -> Result<(), RankingError> {
        let Inverter { source, terms, states, tokens, touched, .. } = self;
        tokens.clear();
        touched.clear();
        source.numbers(text, terms, tokens);
        self.lengths.push(tokens.len() as u32);
        let document = self.lengths.len() as u32;
        states.resize(terms.len(), TermState::default());
        for number in tokens {
            let Some(state) = states.get_mut(*number as usize) else {
                let reason = format!("the analysis gave {number}, which is the number of no term");
                return Err(RankingError::Failed(reason));
            };
            if state.last == document {
                state.frequency += 1;
            } else {
                *state = TermState { last: document, frequency: 1, documents: state.documents + 1 };
                touched.push(*number);
            }
        }
        self.write_log();
        Ok(())
    }

    /// Writes the terms of the last document, `self.touched`, to the log.
    fn write_log(&mut self) {
        if self.log.last().is_none_or(|chunk| chunk.len() >= CHUNK_BYTES) {
            self.log.push(Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 16));
        }
        let Some(chunk) = self.log.last_mut() else { return };
        variable::write(chunk, self.touched.len() as u64);
        for number in &self.touched {
            let frequency = self.states[*number as usize].frequency;
            let once = u64::from(frequency == 1);
            variable::write(chunk, u64::from(*number) << 1 | once);
            if frequency > 1 {
                variable::write(chunk, u64::from(frequency));
            }
        }
    }

    /// Returns the lengths of the documents in tokens.
    pub fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    /// Returns the memory that it takes.
    pub fn bytes(&self) -> usize {
        let log: usize = self.log.iter().map(Vec::capacity).sum();
        let scratch = self.lengths.capacity() + self.tokens.capacity() + self.touched.capacity();
        let states = self.states.capacity() * size_of::<TermState>();
        log + scratch * size_of::<u32>() + states + self.terms.bytes()
    }

    /// Calls `each` with every term, in the order of their bytes, and its postings. Beside what it
    /// has it takes memory for postings: `room_bytes`, or those of one term.
    ///
    /// # Errors
    /// What `each` returns.
    pub fn visit(
        &self,
        room_bytes: usize,
        mut each: impl FnMut(&[u8], &[Posting]) -> Result<(), RankingError>,
    ) -> Result<(), RankingError> {
        /// The place of a term that is not in the group.
        const ELSEWHERE: u32 = u32::MAX;
        let room = (room_bytes / size_of::<Posting>()).min(ELSEWHERE as usize - 1);
        let order = self.terms.sorted();
        let mut places = vec![ELSEWHERE; order.len()];
        let mut postings = Vec::new();
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let (mut count, mut sum) = (0, 0);
            for number in rest {
                let documents = self.states[*number as usize].documents;
                if count > 0 && sum + documents as usize > room {
                    break;
                }
                places[*number as usize] = sum as u32;
                sum += documents as usize;
                count += 1;
            }
            postings.clear();
            postings.resize(sum, Posting::default());
            self.read_log(|number, posting| {
                let place = &mut places[number];
                if let Some(to) = postings.get_mut(*place as usize) {
                    *to = posting;
                    *place += 1;
                }
            });
            let (group, behind) = rest.split_at(count);
            let mut postings = postings.as_slice();
            for number in group {
                let documents = self.states[*number as usize].documents;
                let (own, others) = postings.split_at(documents as usize);
                each(self.terms.text(*number), own)?;
                postings = others;
                places[*number as usize] = ELSEWHERE;
            }
            rest = behind;
        }
        Ok(())
    }

    /// Calls `each` with every posting of the log and the number of its term.
    fn read_log(&self, mut each: impl FnMut(usize, Posting)) {
        let mut document = 0;
        for chunk in &self.log {
            let mut bytes = chunk.as_slice();
            while let Some(terms) = variable::read(&mut bytes) {
                for _ in 0..terms {
                    let Some(entry) = variable::read(&mut bytes) else { break };
                    let frequency = match entry & 1 {
                        1 => 1,
                        _ => variable::read(&mut bytes).unwrap_or_default() as u32,
                    };
                    each((entry >> 1) as usize, Posting { document, frequency });
                }
                document += 1;
            }
        }
    }
}

/// Terms and their numbers.
#[derive(Default)]
struct TermTable {
    /// The terms, one after the other.
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    numbers: HashTable<u32>,
    hasher: FixedState,
}

impl TermTable {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn text(&self, number: u32) -> &[u8] {
        text(&self.text, &self.ends, number)
    }

    fn bytes(&self) -> usize {
        self.text.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.numbers.capacity() * (size_of::<u32>() + 1)
    }

    /// Returns the numbers in the order of their terms' bytes.
    fn sorted(&self) -> Vec<u32> {
        // Most pairs differ in their first bytes, which lie side by side.
        let first_bytes = |number: u32| {
            let mut first = [0; 8];
            for (to, from) in first.iter_mut().zip(self.text(number)) {
                *to = *from;
            }
            (u64::from_be_bytes(first), number)
        };
        let mut order: Vec<(u64, u32)> = (0..self.len() as u32).map(first_bytes).collect();
        order.sort_unstable_by(|(a, one), (b, other)| {
            a.cmp(b).then_with(|| self.text(*one).cmp(self.text(*other)))
        });
        order.into_iter().map(|(_, number)| number).collect()
    }
}

impl TermNumbers for TermTable {
    fn number(&mut self, term: &str) -> Option<u32> {
        let term = term.as_bytes();
        if term.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let TermTable { text: all, ends, numbers, hasher } = self;
        let hash = |term: &[u8]| {
            let mut hasher = hasher.build_hasher();
            hasher.write(term);
            hasher.finish()
        };
        let is_same = |number: &u32| text(all, ends, *number) == term;
        if let Some(number) = numbers.find(hash(term), is_same) {
            return Some(*number);
        }
        let number = ends.len() as u32;
        all.extend_from_slice(term);
        ends.push(all.len());
        numbers.insert_unique(hash(term), number, |number| hash(text(all, ends, *number)));
        Some(number)
    }
}

fn text<'a>(all: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &all[start..ends[number]]
}
