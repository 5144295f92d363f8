//! Appending trajectories: one batch, one commit, or several of them together ([`super::group`]).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use rayon::prelude::*;

use super::StoreError;
use super::engine::Changes;
use super::label::{Fact, LabelReport, fact_changes, row_of};
use super::open::{Durability, Store, Writer};
use super::state::State;
use super::view::arrow_error;
use crate::codec::{
    BodyPlacer, Catalogue, CodecError, Delta, Family, HeaderRecord, IdRecord, JudgeRecord, Key,
    LabelCell, LabelColumn, Record, StepRecord, StepRows, TableId, TrajectoryRows, body_texts,
    encode_batch,
};
use crate::model::{Judge, Label, Trajectory};

/// A trajectory to be stored, with its labels.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The trajectory; its id is not empty.
    pub trajectory: Trajectory,
    /// BLAKE3 of its canonical content.
    pub content_hash: [u8; 32],
    /// Its labels.
    pub labels: Vec<Label>,
}

/// What became of a trajectory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was stored under this ordinal.
    Stored(u64),
    /// The same content is there already, under this ordinal.
    Same(u64),
    /// Other content is there under the same source and id; nothing was overwritten.
    Conflict(u64),
}

/// A commit of fewer trajectories is made by one thread: waking others takes longer.
const SHARED_MIN: usize = 32;

/// Trajectories and judges that are stored together.
pub(super) type Part<'a> = (&'a [Incoming], &'a [Judge]);

/// What became of a part that is committed.
pub(super) struct Committed {
    /// What became of each trajectory.
    pub outcome: Vec<Appended>,
    /// The labels of those that were there already.
    pub facts: Vec<Fact>,
    /// The sequence that has to survive a power cut.
    pub sequence: u64,
}

/// A trajectory that is new, and where it will be.
struct New<'a> {
    incoming: &'a Incoming,
    ordinal: u64,
    first_row: u64,
    bodies: Vec<[u8; 16]>,
    numbers: Vec<u64>,
    /// Which of its long texts were never seen before.
    unseen: Vec<usize>,
}

impl Store {
    /// Stores trajectories and labels in one commit. Labels of a trajectory that is there
    /// already are added to it where they differ from its newest ones.
    ///
    /// # Errors
    /// Damage, or what the disk says: then nothing of the batch is stored, but where only the wait
    /// for the disk failed it is seen, and may not be there after a power cut.
    pub fn append(
        &self,
        batch: &[Incoming],
        judges: &[Judge],
        durability: Durability,
    ) -> Result<(Vec<Appended>, LabelReport), StoreError> {
        let together = durability == Durability::Now;
        let committed = self.commit_batch((batch, judges), together)?;
        let Committed { outcome, facts, sequence } = committed;
        if together {
            self.make_durable(sequence)?;
        }
        let mut report = self.label(&facts, &[], durability)?;
        for (appended, incoming) in outcome.iter().zip(batch) {
            if matches!(appended, Appended::Stored(_)) {
                report.added += incoming.labels.len() as u64;
            }
        }
        self.fold_if_due()?;
        Ok((outcome, report))
    }

    /// Stores what is new of several batches in one commit; returns what became of each.
    pub(super) fn append_new(
        &self,
        parts: &[Part<'_>],
        writer: &mut Writer,
    ) -> Result<Vec<Committed>, StoreError> {
        let state = self.state();
        let batch: Vec<&Incoming> = parts.iter().flat_map(|(batch, _)| *batch).collect();
        let judges: Vec<&Judge> = parts.iter().flat_map(|(_, judges)| *judges).collect();
        let outcome = self.placed(&batch, &state)?;
        let mut first_row = state.rows[1];
        let mut new: Vec<New<'_>> = Vec::new();
        for (appended, incoming) in outcome.iter().zip(batch) {
            if let Appended::Stored(ordinal) = *appended {
                let (bodies, numbers, unseen) = (Vec::new(), Vec::new(), Vec::new());
                new.push(New { incoming, ordinal, first_row, bodies, numbers, unseen });
                first_row += incoming.trajectory.steps.len() as u64;
            }
        }
        if new.is_empty() && !unknown_judges(&state.catalogue, &judges) {
            return Ok(dealt(parts, outcome, state.sequence));
        }
        let mut changes = Changes::default();
        let mut next = State { sequence: state.sequence + 1, ..state.as_ref().clone() };
        let mut catalogue = state.catalogue.as_ref().clone();
        add_judges(&mut catalogue, judges);
        next.next_body = self.place_bodies(&mut new, next.next_body, &mut changes)?;
        let (encoded, batches): (Vec<Changes>, _) = match new.len() < SHARED_MIN {
            true => (new.iter().map(encode).collect(), rows(&new)),
            false => rayon::join(|| new.par_iter().map(encode).collect(), || rows(&new)),
        };
        for encoded in encoded {
            changes.append(encoded);
        }
        let mut delta = Delta { first_rows: state.rows, ..Delta::default() };
        for (table, (rows, encoded)) in TableId::ALL.into_iter().zip(batches?) {
            delta.batches[table.code() as usize] = encoded;
            next.push_tail(table, rows).map_err(arrow_error)?;
        }
        delta.cells = label_changes(&new, &mut catalogue, next.sequence, &mut changes);
        next.push_cells(delta.cells.clone());
        changes.put(&Key::Delta(next.sequence), &delta);
        add_sources(&mut catalogue, &new);
        if catalogue != *state.catalogue {
            changes.put(&Key::Meta("catalogue".to_owned()), &catalogue);
            next.catalogue = Arc::new(catalogue);
        }
        let sequence = next.sequence;
        self.publish_records(writer, changes, next)?;
        Ok(dealt(parts, outcome, sequence))
    }

    /// Says for each trajectory whether it is new, and gives new ones their ordinals.
    fn placed(&self, batch: &[&Incoming], state: &State) -> Result<Vec<Appended>, StoreError> {
        let next = state.rows[0];
        let is_there = |ordinal| !state.deleted.holds(TableId::Trajectories, ordinal);
        let key = |t: &Trajectory| Key::Id(t.source.clone(), t.id.clone()).encode();
        let keys: Vec<Vec<u8>> = batch.iter().map(|i| key(&i.trajectory)).collect();
        let stored = self.engine.get_many(Family::Id, &keys)?;
        let mut seen: HashMap<&[u8], (u64, [u8; 32])> = HashMap::new();
        let mut ordinals = next..;
        let mut outcome = Vec::with_capacity(batch.len());
        for ((incoming, key), stored) in batch.iter().zip(&keys).zip(stored) {
            let stored = stored.map(|bytes| IdRecord::decode(&bytes)).transpose();
            let stored = stored.map_err(StoreError::codec("id"))?;
            let before = match stored.filter(|record| is_there(record.ordinal)) {
                Some(record) => Some((record.ordinal, record.content_hash)),
                None => seen.get(key.as_slice()).copied(),
            };
            outcome.push(match before {
                Some((ordinal, hash)) if hash == incoming.content_hash => Appended::Same(ordinal),
                Some((ordinal, _)) => Appended::Conflict(ordinal),
                None => {
                    let ordinal = ordinals.next().unwrap_or(next);
                    seen.insert(key, (ordinal, incoming.content_hash));
                    Appended::Stored(ordinal)
                }
            });
        }
        Ok(outcome)
    }

    /// Gives every long text its number, a new one where it was never seen, and returns the
    /// number after the last.
    fn place_bodies(
        &self,
        new: &mut [New<'_>],
        mut next: u64,
        changes: &mut Changes,
    ) -> Result<u64, StoreError> {
        let name = |n: &mut New<'_>| {
            n.bodies = body_texts(&n.incoming.trajectory).into_iter().map(body_hash).collect();
        };
        match new.len() < SHARED_MIN {
            true => new.iter_mut().for_each(name),
            false => new.par_iter_mut().for_each(name),
        }
        let mut numbers: HashMap<[u8; 16], u64> = HashMap::new();
        let mut unseen: Vec<Vec<u8>> = Vec::new();
        for hash in new.iter().flat_map(|n| &n.bodies) {
            if numbers.insert(*hash, u64::MAX).is_none() {
                unseen.push(hash.to_vec());
            }
        }
        let stored = self.engine.get_many(Family::BodyId, &unseen)?;
        for (hash, number) in unseen.iter().zip(stored) {
            let Some(number) = number else { continue };
            let damaged = || StoreError::Damaged {
                place: format!("body_id {hash:02x?}"),
                why: "its value is no number".to_owned(),
            };
            let number = number.try_into().map(u64::from_be_bytes).map_err(|_| damaged())?;
            if let Some(slot) =
                <[u8; 16]>::try_from(hash.as_slice()).ok().and_then(|h| numbers.get_mut(&h))
            {
                *slot = number;
            }
        }
        for n in new.iter_mut() {
            for (at, hash) in n.bodies.iter().enumerate() {
                let slot = numbers.entry(*hash).or_insert(u64::MAX);
                if *slot == u64::MAX {
                    *slot = next;
                    next += 1;
                    n.unseen.push(at);
                    changes.put_bytes(&Key::BodyId(*hash), slot.to_be_bytes().to_vec());
                }
                n.numbers.push(*slot);
            }
        }
        Ok(next)
    }
}

/// Returns to each batch what became of it.
fn dealt(parts: &[Part<'_>], outcome: Vec<Appended>, sequence: u64) -> Vec<Committed> {
    let mut outcome = outcome.into_iter();
    let of_part = |(batch, _): &Part<'_>| {
        let outcome: Vec<Appended> = outcome.by_ref().take(batch.len()).collect();
        let mut facts = Vec::new();
        for (appended, incoming) in outcome.iter().zip(*batch) {
            if let Appended::Same(ordinal) = *appended {
                let labels = incoming.labels.iter().cloned();
                facts.extend(labels.map(|label| Fact { trajectory: ordinal, label }));
            }
        }
        Committed { outcome, facts, sequence }
    };
    parts.iter().map(of_part).collect()
}

/// Returns the name of a long text: the first 16 bytes of its BLAKE3.
pub(super) fn body_hash(text: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    short
}

/// Returns the records of one trajectory.
fn encode(new: &New<'_>) -> Changes {
    let trajectory = &new.incoming.trajectory;
    let mut changes = Changes::default();
    if !new.unseen.is_empty() {
        let texts = body_texts(trajectory);
        for at in &new.unseen {
            let text = texts[*at].as_bytes().to_vec();
            changes.put_bytes(&Key::Body(new.numbers[*at]), text);
        }
    }
    let mut placer = BodyPlacer::new(&new.numbers);
    let header = HeaderRecord::new(trajectory, new.first_row, &mut placer);
    let id = Key::Id(trajectory.source.clone(), trajectory.id.clone());
    let record = IdRecord { ordinal: new.ordinal, content_hash: new.incoming.content_hash };
    changes.put(&id, &record);
    changes.put(&Key::Trajectory(new.ordinal), &header);
    for (step, number) in trajectory.steps.iter().zip(1..) {
        let record = StepRecord::new(step, &mut placer);
        changes.put(&Key::Step(new.ordinal, number), &record);
    }
    changes
}

/// Rows of a table, and their bytes.
type Encoded = (RecordBatch, Vec<u8>);

/// Returns the rows of both tables.
fn rows(new: &[New<'_>]) -> Result<[Encoded; 2], StoreError> {
    let all_steps = new.iter().map(|n| n.incoming.trajectory.steps.len()).sum();
    let mut trajectories = TrajectoryRows::with_capacity(new.len());
    let mut steps = StepRows::with_capacity(all_steps);
    for n in new {
        trajectories.push(&n.incoming.trajectory, n.first_row);
        steps.push(n.ordinal, &n.incoming.trajectory);
    }
    let encoded = |rows: Result<RecordBatch, CodecError>| {
        let rows = rows.map_err(StoreError::codec("rows"))?;
        let bytes = encode_batch(&rows).map_err(StoreError::codec("delta"))?;
        Ok((rows, bytes))
    };
    Ok([encoded(trajectories.finish())?, encoded(steps.finish())?])
}

/// Adds the labels of new trajectories to the changes and returns their cells.
fn label_changes(
    new: &[New<'_>],
    catalogue: &mut Catalogue,
    sequence: u64,
    changes: &mut Changes,
) -> Vec<LabelCell> {
    let mut cells = Vec::new();
    for n in new {
        for label in &n.incoming.labels {
            let fact = Fact { trajectory: n.ordinal, label: label.clone() };
            let row = row_of(&label.target, n.ordinal, n.first_row);
            fact_changes(&fact, row, sequence, catalogue, changes, &mut cells);
        }
    }
    cells
}

/// Returns the position of a label column, which is added when it is new.
pub(super) fn label_column(
    catalogue: &mut Catalogue,
    name: &str,
    judge: &str,
    on_steps: bool,
) -> u16 {
    let same = |c: &LabelColumn| c.on_steps == on_steps && c.name == name && c.judge == judge;
    if let Some(at) = catalogue.labels.iter().position(same) {
        return at as u16;
    }
    catalogue.labels.push(LabelColumn { name: name.to_owned(), judge: judge.to_owned(), on_steps });
    (catalogue.labels.len() - 1) as u16
}

fn unknown_judges(catalogue: &Catalogue, judges: &[&Judge]) -> bool {
    judges.iter().any(|j| !catalogue.judges.contains(&JudgeRecord::new(j)))
}

/// Adds judges that are not there. The first description of a name stays.
pub(super) fn add_judges<'j>(
    catalogue: &mut Catalogue,
    judges: impl IntoIterator<Item = &'j Judge>,
) {
    for judge in judges {
        let known = catalogue.judges.iter().any(|known| known.name() == judge.name);
        if !known {
            catalogue.judges.push(JudgeRecord::new(judge));
        }
    }
}

fn add_sources(catalogue: &mut Catalogue, new: &[New<'_>]) {
    for n in new {
        let source = &n.incoming.trajectory.source;
        if !catalogue.sources.contains(source) {
            catalogue.sources.push(source.clone());
        }
    }
}
