//! Families and keys.
//!
//! Numbers are big-endian, so that bytewise order is numeric order. Text inside a key ends with
//! `00`; a zero byte within it is written `00 FF`, so that no text can end another's early and
//! `a` sorts before `ab`. What follows a text never begins with `FF`: texts are UTF-8, and
//! numbers in keys stay below 2^56 (u64) and 255 * 2^24 (u32).

use super::CodecError;
use crate::diag::hexadecimal;

/// A column family. All exist from format 1 on, since an open reader does not see later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Format version, database identity, sequence, manifest.
    Meta,
    /// Source and external id to ordinal.
    Id,
    /// A header a trajectory.
    Trajectory,
    /// A record a step.
    Step,
    /// Long texts by number, each stored once.
    Body,
    /// BLAKE3 of a long text to its number.
    BodyId,
    /// Scalars of 65,536 rows as one Arrow array.
    Column,
    /// Scalars of the newest rows, not yet in columns.
    Delta,
    /// Deleted rows.
    Tombstone,
    /// Labels, one record a fact.
    Label,
    /// Actions proposed at a state and not executed.
    Sample,
    /// Datasets and their rows.
    Dataset,
    /// Runs.
    Run,
    /// Numbers a run measured.
    Metric,
    /// What a training run did with each action.
    Example,
    /// Recorded calls.
    Recording,
    /// Corpora behind search tools.
    Corpus,
    /// Documents of a corpus.
    Document,
    /// Tokens of trajectories, as one tokenizer and one rendering give them.
    Token,
}

impl Family {
    /// Every family, in the order of their meaning.
    pub const ALL: [Family; 19] = [
        Family::Meta,
        Family::Id,
        Family::Trajectory,
        Family::Step,
        Family::Body,
        Family::BodyId,
        Family::Column,
        Family::Delta,
        Family::Tombstone,
        Family::Label,
        Family::Sample,
        Family::Dataset,
        Family::Run,
        Family::Metric,
        Family::Example,
        Family::Recording,
        Family::Corpus,
        Family::Document,
        Family::Token,
    ];

    /// Returns the family's name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Family::Meta => "meta",
            Family::Id => "id",
            Family::Trajectory => "trajectory",
            Family::Step => "step",
            Family::Body => "body",
            Family::BodyId => "body_id",
            Family::Column => "column",
            Family::Delta => "delta",
            Family::Tombstone => "tombstone",
            Family::Label => "label",
            Family::Sample => "sample",
            Family::Dataset => "dataset",
            Family::Run => "run",
            Family::Metric => "metric",
            Family::Example => "example",
            Family::Recording => "recording",
            Family::Corpus => "corpus",
            Family::Document => "document",
            Family::Token => "token",
        }
    }
}

/// A table that has columns on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableId {
    /// A row a trajectory; the row number is the ordinal.
    Trajectories,
    /// A row a step, trajectories in ordinal order.
    Steps,
}

impl TableId {
    /// Both tables.
    pub const ALL: [TableId; 2] = [TableId::Trajectories, TableId::Steps];

    /// Returns the number used in keys.
    pub fn code(self) -> u8 {
        match self {
            TableId::Trajectories => 0,
            TableId::Steps => 1,
        }
    }

    /// Returns the table's name in statements.
    pub fn name(self) -> &'static str {
        match self {
            TableId::Trajectories => "trajectories",
            TableId::Steps => "steps",
        }
    }

    fn decode(code: u8) -> Option<TableId> {
        TableId::ALL.into_iter().find(|t| t.code() == code)
    }
}

/// Every key that is written, by family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `meta`: the name as it stands.
    Meta(String),
    /// `id`: source, external id.
    Id(String, String),
    /// `trajectory`: ordinal.
    Trajectory(u64),
    /// `step`: ordinal, step from 1.
    Step(u64, u32),
    /// `body`: number in ingest order.
    Body(u64),
    /// `body_id`: the first 16 bytes of BLAKE3 of the text.
    BodyId([u8; 16]),
    /// `column`: table, column number, chunk, version.
    Column {
        /// The table.
        table: TableId,
        /// The column's number in the manifest.
        column: u16,
        /// Rows `chunk * 65,536 ..`.
        chunk: u32,
        /// The sequence at which this version was written.
        version: u64,
    },
    /// `delta`: the sequence it was committed with.
    Delta(u64),
    /// `tombstone`: the sequence of the deletion.
    Tombstone(u64),
    /// `label`: ordinal, step (0: the trajectory), name, judge, sequence.
    Label {
        /// The trajectory's ordinal.
        trajectory: u64,
        /// The step, 0 for the trajectory itself.
        step: u32,
        /// The label's name.
        name: String,
        /// Who gave it.
        judge: String,
        /// When, as a sequence.
        sequence: u64,
    },
    /// `sample`: ordinal, step, run, number.
    Sample {
        /// The trajectory's ordinal.
        trajectory: u64,
        /// The step whose state it was proposed at, from 1.
        step: u32,
        /// The run that proposed it.
        run: String,
        /// Its number among the samples of that run and state, from 0.
        sample: u32,
    },
    /// `dataset`: name, chunk; chunk 0 is the manifest, rows follow from 1.
    Dataset(String, u32),
    /// `run`: id.
    Run(String),
    /// `metric`: run, training step, name.
    Metric(String, u64, String),
    /// `example`: run, epoch, then whose action it is.
    Example {
        /// The run.
        run: String,
        /// The epoch, from 0.
        epoch: u64,
        /// The trajectory's ordinal.
        trajectory: u64,
        /// The step, from 1.
        step: u32,
        /// The pair that it is a side of, from 1; 0 for none.
        pair: u64,
    },
    /// `recording`: cassette, key of the call.
    Recording(String, [u8; 32]),
    /// `corpus`: name.
    Corpus(String),
    /// `document`: corpus, id.
    Document(String, String),
    /// `token`: BLAKE3 of tokenizer, rendering, content and chosen steps.
    Token([u8; 32]),
}

impl Key {
    /// Returns the family the key belongs to.
    pub fn family(&self) -> Family {
        match self {
            Key::Meta(_) => Family::Meta,
            Key::Id(..) => Family::Id,
            Key::Trajectory(_) => Family::Trajectory,
            Key::Step(..) => Family::Step,
            Key::Body(_) => Family::Body,
            Key::BodyId(_) => Family::BodyId,
            Key::Column { .. } => Family::Column,
            Key::Delta(_) => Family::Delta,
            Key::Tombstone(_) => Family::Tombstone,
            Key::Label { .. } => Family::Label,
            Key::Sample { .. } => Family::Sample,
            Key::Dataset(..) => Family::Dataset,
            Key::Run(_) => Family::Run,
            Key::Metric(..) => Family::Metric,
            Key::Example { .. } => Family::Example,
            Key::Recording(..) => Family::Recording,
            Key::Corpus(_) => Family::Corpus,
            Key::Document(..) => Family::Document,
            Key::Token(_) => Family::Token,
        }
    }

    /// Returns the key's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        match self {
            Key::Meta(name) => out.extend_from_slice(name.as_bytes()),
            Key::Id(source, id) => {
                put_text(&mut out, source);
                put_text(&mut out, id);
            }
            Key::Trajectory(n) | Key::Body(n) | Key::Delta(n) | Key::Tombstone(n) => {
                out.extend_from_slice(&n.to_be_bytes());
            }
            Key::Step(trajectory, step) => {
                out.extend_from_slice(&trajectory.to_be_bytes());
                out.extend_from_slice(&step.to_be_bytes());
            }
            Key::BodyId(hash) => out.extend_from_slice(hash),
            Key::Token(hash) => out.extend_from_slice(hash),
            Key::Column { table, column, chunk, version } => {
                out.push(table.code());
                out.extend_from_slice(&column.to_be_bytes());
                out.extend_from_slice(&chunk.to_be_bytes());
                out.extend_from_slice(&version.to_be_bytes());
            }
            Key::Label { trajectory, step, name, judge, sequence } => {
                out.extend_from_slice(&trajectory.to_be_bytes());
                out.extend_from_slice(&step.to_be_bytes());
                put_text(&mut out, name);
                put_text(&mut out, judge);
                out.extend_from_slice(&sequence.to_be_bytes());
            }
            Key::Sample { trajectory, step, run, sample } => {
                out.extend_from_slice(&trajectory.to_be_bytes());
                out.extend_from_slice(&step.to_be_bytes());
                put_text(&mut out, run);
                out.extend_from_slice(&sample.to_be_bytes());
            }
            Key::Dataset(name, chunk) => {
                put_text(&mut out, name);
                out.extend_from_slice(&chunk.to_be_bytes());
            }
            Key::Run(name) | Key::Corpus(name) => put_text(&mut out, name),
            Key::Recording(cassette, call) => {
                put_text(&mut out, cassette);
                out.extend_from_slice(call);
            }
            Key::Document(corpus, id) => {
                put_text(&mut out, corpus);
                put_text(&mut out, id);
            }
            Key::Metric(run, step, name) => {
                put_text(&mut out, run);
                out.extend_from_slice(&step.to_be_bytes());
                put_text(&mut out, name);
            }
            Key::Example { run, epoch, trajectory, step, pair } => {
                put_text(&mut out, run);
                out.extend_from_slice(&epoch.to_be_bytes());
                out.extend_from_slice(&trajectory.to_be_bytes());
                out.extend_from_slice(&step.to_be_bytes());
                out.extend_from_slice(&pair.to_be_bytes());
            }
        }
        out
    }

    /// Returns the bytes that every key of the trajectory begins with, in `step`, `label` and
    /// `sample`.
    pub fn trajectory_prefix(trajectory: u64) -> Vec<u8> {
        trajectory.to_be_bytes().to_vec()
    }

    /// Returns the bytes that every key of the named dataset, run, cassette or corpus begins with.
    pub fn name_prefix(name: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(name.len() + 1);
        put_text(&mut out, name);
        out
    }

    /// Returns the key that `bytes` are.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when no key of `family` has these bytes.
    pub fn decode(family: Family, bytes: &[u8]) -> Result<Key, CodecError> {
        let mut from = KeyBytes(bytes);
        let key = from.key(family);
        match key {
            Some(key) if from.0.is_empty() => Ok(key),
            _ => Err(CodecError::damaged("key", format!("{} {}", family.name(), hex(bytes)))),
        }
    }
}

/// The bytes of a key not yet read.
struct KeyBytes<'a>(&'a [u8]);

impl KeyBytes<'_> {
    fn key(&mut self, family: Family) -> Option<Key> {
        Some(match family {
            Family::Meta => {
                let name = std::str::from_utf8(std::mem::take(&mut self.0)).ok()?;
                Key::Meta(name.to_owned())
            }
            Family::Id => Key::Id(self.text()?, self.text()?),
            Family::Trajectory => Key::Trajectory(self.u64()?),
            Family::Step => Key::Step(self.u64()?, self.u32()?),
            Family::Body => Key::Body(self.u64()?),
            Family::BodyId => Key::BodyId(self.array()?),
            Family::Column => Key::Column {
                table: TableId::decode(self.array::<1>()?[0])?,
                column: u16::from_be_bytes(self.array()?),
                chunk: self.u32()?,
                version: self.u64()?,
            },
            Family::Delta => Key::Delta(self.u64()?),
            Family::Label => Key::Label {
                trajectory: self.u64()?,
                step: self.u32()?,
                name: self.text()?,
                judge: self.text()?,
                sequence: self.u64()?,
            },
            Family::Dataset => Key::Dataset(self.text()?, self.u32()?),
            Family::Run => Key::Run(self.text()?),
            Family::Metric => Key::Metric(self.text()?, self.u64()?, self.text()?),
            Family::Recording => Key::Recording(self.text()?, self.array()?),
            Family::Corpus => Key::Corpus(self.text()?),
            Family::Document => Key::Document(self.text()?, self.text()?),
            Family::Token => Key::Token(self.array()?),
            Family::Example => Key::Example {
                run: self.text()?,
                epoch: self.u64()?,
                trajectory: self.u64()?,
                step: self.u32()?,
                pair: self.u64()?,
            },
            Family::Sample => Key::Sample {
                trajectory: self.u64()?,
                step: self.u32()?,
                run: self.text()?,
                sample: self.u32()?,
            },
            Family::Tombstone => Key::Tombstone(self.u64()?),
        })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let mut out = Vec::new();
        loop {
            let [byte] = self.array()?;
            if byte != 0 {
                out.push(byte);
            } else if self.0.first() == Some(&0xFF) {
                self.0 = &self.0[1..];
                out.push(0);
            } else {
                return String::from_utf8(out).ok();
            }
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.push(0);
}

/// Returns the first bytes of a key in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    hexadecimal(&bytes[..bytes.len().min(40)])
}
