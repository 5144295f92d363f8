//! Records of datasets: what a selection says of itself, and its rows.

use bincode::{Decode, Encode};

use super::CodecError;
use super::record::Record;

/// One sub-trajectory of a dataset.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct DatasetRow {
    /// The trajectory's ordinal.
    pub trajectory: u64,
    /// The step, from 1.
    pub step: u32,
    /// BLAKE3 of the trajectory's canonical content.
    pub content_hash: [u8; 32],
    /// The reward it was saved with, if the selection had one; of a pair 1 (chosen) and 0.
    pub reward: Option<f64>,
    /// The pair that it is a side of, from 0, if the selection was one of pairs.
    pub pair: Option<u64>,
}

/// Rows of a dataset.
impl Record for Vec<DatasetRow> {
    const WHAT: &'static str = "dataset rows";
    const VERSION: u8 = 2;

    fn decode(bytes: &[u8]) -> Result<Vec<DatasetRow>, CodecError> {
        match bytes.first() {
            Some(&<Vec<FirstRow>>::VERSION) => {
                let rows = <Vec<FirstRow>>::decode_current(bytes)?;
                Ok(rows.into_iter().map(FirstRow::climb).collect())
            }
            _ => Self::decode_current(bytes),
        }
    }
}

/// The first version of [`DatasetRow`].
#[derive(Encode, Decode)]
struct FirstRow {
    trajectory: u64,
    step: u32,
    content_hash: [u8; 32],
    reward: Option<f64>,
}

impl Record for Vec<FirstRow> {
    const WHAT: &'static str = <Vec<DatasetRow>>::WHAT;
}

impl FirstRow {
    fn climb(self) -> DatasetRow {
        let FirstRow { trajectory, step, content_hash, reward } = self;
        DatasetRow { trajectory, step, content_hash, reward, pair: None }
    }
}

/// How far a database went at a sequence. Everything counted here is only ever added to, so that
/// the counts say what was there.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Horizon {
    /// Rows of trajectories and steps.
    pub rows: [u64; 2],
    /// Label columns.
    pub labels: u32,
    /// Sources.
    pub sources: u32,
    /// Judges.
    pub judges: u32,
    /// The judge that a bare label name meant, where one was chosen: (label, judge).
    pub default_judges: Vec<(String, String)>,
}

/// A dataset: chunk 0 of its records is this, rows follow in chunks.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct DatasetRecord {
    /// The name.
    pub name: String,
    /// The statement as typed, behind it a comment for each parameter's value.
    pub statement: String,
    /// The sequence it was selected at, of the database it was selected in.
    pub sequence: u64,
    /// The seeds it names.
    pub seeds: Vec<u64>,
    /// The judges whose labels it used, as `name@judge`.
    pub judges: Vec<String>,
    /// Whether a judge it used was shown gold answers; `None` if that is not known of all.
    pub saw_gold: Option<bool>,
    /// The number of rows.
    pub rows: u64,
    /// The number of trajectories among them.
    pub trajectories: u64,
    /// Trajectories left out because a step had no label.
    pub undecided: u64,
    /// BLAKE3 over all rows.
    pub hash: [u8; 32],
    /// When it was saved, in microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
    /// What the statement could see; `None` where that is not known: it was saved in another
    /// database, or before this was noted.
    pub horizon: Option<Horizon>,
    /// The version of the program that saved it, where known.
    pub program: Option<String>,
    /// The identity of the database it was saved in, if it came from a file.
    pub origin: Option<[u8; 16]>,
}

impl Record for DatasetRecord {
    const WHAT: &'static str = "dataset record";
    const VERSION: u8 = 2;

    fn decode(bytes: &[u8]) -> Result<DatasetRecord, CodecError> {
        match bytes.first() {
            Some(&First::VERSION) => First::decode_current(bytes).map(First::climb),
            _ => Self::decode_current(bytes),
        }
    }
}

/// The first version of [`DatasetRecord`].
#[derive(Encode, Decode)]
struct First {
    name: String,
    statement: String,
    sequence: u64,
    seeds: Vec<u64>,
    judges: Vec<String>,
    saw_gold: Option<bool>,
    rows: u64,
    trajectories: u64,
    undecided: u64,
    hash: [u8; 32],
    created_at: i64,
}

impl Record for First {
    const WHAT: &'static str = DatasetRecord::WHAT;
}

impl First {
    fn climb(self) -> DatasetRecord {
        DatasetRecord {
            name: self.name,
            statement: self.statement,
            sequence: self.sequence,
            seeds: self.seeds,
            judges: self.judges,
            saw_gold: self.saw_gold,
            rows: self.rows,
            trajectories: self.trajectories,
            undecided: self.undecided,
            hash: self.hash,
            created_at: self.created_at,
            horizon: None,
            program: None,
            origin: None,
        }
    }
}
