//! Fetching records: trajectories, steps and the texts they refer to.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use arrow::array::Array;

use super::StoreError;
use super::view::{ColumnRef, View};
use crate::codec::{Family, HeaderRecord, IdRecord, Key, Record, StepRecord};
use crate::model::{Json, Label, META, Step, Target, Trajectory};

impl View {
    /// Returns the ordinal and content hash of a trajectory.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn find(&self, source: &str, id: &str) -> Result<Option<(u64, [u8; 32])>, StoreError> {
        let key = Key::Id(source.to_owned(), id.to_owned());
        let record: Option<IdRecord> = self.store.engine.record(&key)?;
        let seen = record.filter(|r| self.is_there(r.ordinal));
        Ok(seen.map(|r| (r.ordinal, r.content_hash)))
    }

    /// Returns the ordinals of the trajectories of those ids, in the order asked for; `None` where
    /// there is none.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn find_all(&self, source: &str, ids: &[&str]) -> Result<Vec<Option<u64>>, StoreError> {
        let key = |id: &&str| Key::Id(source.to_owned(), (*id).to_owned()).encode();
        let keys: Vec<Vec<u8>> = ids.iter().map(key).collect();
        let ordinal = |value: Option<Vec<u8>>| {
            let record = value.map(|bytes| IdRecord::decode(&bytes)).transpose();
            let record = record.map_err(StoreError::codec("id"))?;
            Ok(record.map(|r| r.ordinal).filter(|ordinal| self.is_there(*ordinal)))
        };
        self.store.engine.get_many(Family::Id, &keys)?.into_iter().map(ordinal).collect()
    }

    /// Returns the ordinals of the trajectories of that id, one a source at most, with their
    /// sources.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn find_in_any_source(&self, id: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let mut found = Vec::new();
        for source in &self.catalogue().sources {
            if let Some((ordinal, _)) = self.find(source, id)? {
                found.push((source.clone(), ordinal));
            }
        }
        Ok(found)
    }

    /// Returns the headers of trajectories, in the order asked for.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn headers(&self, ordinals: &[u64]) -> Result<Vec<HeaderRecord>, StoreError> {
        let keys: Vec<Key> = ordinals.iter().map(|o| Key::Trajectory(*o)).collect();
        self.records(Family::Trajectory, &keys, false)
    }

    /// Returns steps as stored, in the order asked for: pairs of ordinal and step.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn step_records(&self, steps: &[(u64, u32)]) -> Result<Vec<StepRecord>, StoreError> {
        let keys: Vec<Key> = steps.iter().map(|(o, s)| Key::Step(*o, *s)).collect();
        let span = steps
            .last()
            .zip(steps.first())
            .map_or(0, |(last, first)| if steps.is_sorted() { last.0 - first.0 } else { u64::MAX });
        self.records(Family::Step, &keys, are_neighbours(steps.len(), span))
    }

    /// Returns steps, in the order asked for. With `texts` false the observations' long texts are
    /// not fetched and stand as `""`.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn steps(&self, steps: &[(u64, u32)], texts: bool) -> Result<Vec<Step>, StoreError> {
        let records = self.step_records(steps)?;
        let bodies = match texts {
            true => self.bodies(records.iter().flat_map(StepRecord::bodies))?,
            false => Bodies::default(),
        };
        let text = |n| if texts { bodies.take(n) } else { Some(String::new()) };
        let step = |r: StepRecord| r.into_step(&text).map_err(StoreError::codec("step"));
        records.into_iter().map(step).collect()
    }

    /// Returns whole trajectories, in the order asked for.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn trajectories(&self, ordinals: &[u64]) -> Result<Vec<Trajectory>, StoreError> {
        let headers = self.headers(ordinals)?;
        let mut records = Vec::with_capacity(headers.len());
        for (ordinal, header) in ordinals.iter().zip(&headers) {
            records.push(self.steps_of(*ordinal, header.n_steps)?);
        }
        let header_bodies = headers.iter().flat_map(|h| h.bodies().collect::<Vec<_>>());
        let step_bodies = records.iter().flatten().flat_map(StepRecord::bodies);
        let bodies = self.bodies(header_bodies.chain(step_bodies))?;
        let text = |n| bodies.take(n);
        let whole = |(header, steps): (HeaderRecord, Vec<StepRecord>)| {
            let failed = || StoreError::codec("trajectory");
            let mut t = header.into_trajectory(&text).map_err(failed())?;
            let steps = steps.into_iter().map(|s| s.into_step(&text));
            t.steps = steps.collect::<Result<_, _>>().map_err(failed())?;
            Ok(t)
        };
        headers.into_iter().zip(records).map(whole).collect()
    }

    /// Returns a trajectory's labels up to this view, with their sequences.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn labels_of(&self, trajectory: u64) -> Result<Vec<(u64, Label)>, StoreError> {
        let labels = self.store.labels_of(trajectory)?;
        Ok(labels.into_iter().filter(|(sequence, _)| *sequence <= self.sequence()).collect())
    }

    /// Returns a trajectory's labels as they are in this view: the newest of each target, name and
    /// judge.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn current_labels(&self, trajectory: u64) -> Result<Vec<Label>, StoreError> {
        self.labels_at(trajectory, self.sequence())
    }

    /// Returns a trajectory's labels as they were at a sequence up to this view's: the newest of
    /// each target, name and judge until then.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn labels_at(&self, trajectory: u64, sequence: u64) -> Result<Vec<Label>, StoreError> {
        let mut newest: Vec<Label> = Vec::new();
        let is_same =
            |a: &Label, b: &Label| a.target == b.target && a.name == b.name && a.judge == b.judge;
        // Those of one target, name and judge stand together, oldest first.
        let until = self.labels_of(trajectory)?.into_iter().filter(|(at, _)| *at <= sequence);
        for (_, label) in until {
            match newest.last_mut() {
                Some(last) if is_same(last, &label) => *last = label,
                _ => newest.push(label),
            }
        }
        Ok(newest)
    }

    /// Returns what labels lay over the `meta` of trajectories ([`Json::laid`]): the newest patch
    /// of each judge, in the order in which they were given. A trajectory without any is left out.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn meta_patches(&self, ordinals: &[u64]) -> Result<HashMap<u64, Vec<Json>>, StoreError> {
        let all: Vec<i64> = ordinals.iter().map(|ordinal| *ordinal as i64).collect();
        let mut has_any = vec![false; all.len()];
        for (column, at) in self.labels().iter().zip(0..) {
            if column.name == META && !column.on_steps {
                let given = self.of_trajectories(ColumnRef::Label(at), &all)?;
                let valid = |row| given.is_valid(row);
                has_any.iter_mut().enumerate().for_each(|(row, any)| *any |= valid(row));
            }
        }
        let mut found = HashMap::new();
        for (ordinal, _) in ordinals.iter().zip(has_any).filter(|(_, any)| *any) {
            let is_meta = |l: &Label| l.name.as_str() == META && l.target == Target::Trajectory;
            let mut patches: Vec<(u64, Label)> = Vec::new();
            for (sequence, label) in self.labels_of(*ordinal)? {
                if is_meta(&label) {
                    patches.retain(|(_, before)| before.judge != label.judge);
                    patches.push((sequence, label));
                }
            }
            patches.sort_by_key(|(sequence, _)| *sequence);
            let texts = patches.into_iter().filter_map(|(_, label)| label.raw);
            found.insert(*ordinal, texts.map(Json::stored).filter(Json::is_object).collect());
        }
        Ok(found)
    }

    /// Returns the content hashes of trajectories, in the order asked for.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn content_hashes(&self, ordinals: &[u64]) -> Result<Vec<[u8; 32]>, StoreError> {
        let headers = self.headers(ordinals)?;
        let keys: Vec<Key> = headers.into_iter().map(|h| Key::Id(h.source, h.id)).collect();
        let records: Vec<IdRecord> = self.records(Family::Id, &keys, false)?;
        Ok(records.into_iter().map(|r| r.content_hash).collect())
    }

    /// Reads the long texts of those numbers; one that is not there is simply absent.
    fn bodies(&self, numbers: impl Iterator<Item = u64>) -> Result<Bodies, StoreError> {
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        let occurrences: Vec<usize> = numbers.chunk_by(u64::eq).map(<[u64]>::len).collect();
        numbers.dedup();
        let keys: Vec<Vec<u8>> = numbers.iter().map(|n| Key::Body(*n).encode()).collect();
        let text = |at: usize, value: &[u8]| {
            String::from_utf8(value.to_vec()).map_err(|e| StoreError::Damaged {
                place: format!("body {}", numbers[at]),
                why: e.to_string(),
            })
        };
        let span = numbers.last().zip(numbers.first()).map_or(0, |(last, first)| last - first);
        let neighbours = are_neighbours(numbers.len(), span);
        let values = self.store.engine.get_each(Family::Body, &keys, neighbours, text)?;
        let mut bodies = HashMap::with_capacity(numbers.len());
        for ((number, text), occurrences) in numbers.iter().zip(values).zip(occurrences) {
            if let Some(text) = text {
                bodies.insert(*number, (occurrences, text));
            }
        }
        Ok(Bodies(RefCell::new(bodies)))
    }

    fn steps_of(&self, ordinal: u64, n_steps: u32) -> Result<Vec<StepRecord>, StoreError> {
        let mut steps = Vec::with_capacity(n_steps.min(1 << 16) as usize);
        let prefix = Key::trajectory_prefix(ordinal);
        self.store.engine.scan(Family::Step, &prefix, &[], |key, value| {
            let place = || format!("step {key:02x?}");
            steps.push(StepRecord::decode(value).map_err(StoreError::codec(place()))?);
            Ok(true)
        })?;
        if steps.len() == n_steps as usize {
            return Ok(steps);
        }
        let why = format!("{} steps, its header says {n_steps}", steps.len());
        Err(StoreError::Damaged { place: format!("trajectory {ordinal}"), why })
    }

    /// Returns the records of keys, which ascend where they are neighbours.
    fn records<R: Record>(
        &self,
        family: Family,
        keys: &[Key],
        neighbours: bool,
    ) -> Result<Vec<R>, StoreError> {
        let encoded: Vec<Vec<u8>> = keys.iter().map(Key::encode).collect();
        let record = |at: usize, value: &[u8]| {
            Record::decode(value).map_err(|e| StoreError::record(&keys[at], e))
        };
        let records = self.store.engine.get_each(family, &encoded, neighbours, record)?;
        let is_there = |(key, record): (&Key, Option<R>)| {
            record.ok_or_else(|| StoreError::Damaged {
                place: format!("{key:?}"),
                why: "it is missing".into(),
            })
        };
        keys.iter().zip(records).map(is_there).collect()
    }
}

/// Whether so many keys, whose numbers lie within a span, are best read by walking over all that
/// is between them.
fn are_neighbours(keys: usize, span: u64) -> bool {
    const KEYS_MIN: usize = 64;
    const NUMBERS_A_KEY: u64 = 8;
    keys >= KEYS_MIN && span / NUMBERS_A_KEY < keys as u64
}

/// Long texts by number, each with how often it is still asked for: whoever asks last gets it, and
/// the others copies.
#[derive(Default)]
struct Bodies(RefCell<HashMap<u64, (usize, String)>>);

impl Bodies {
    fn take(&self, number: u64) -> Option<String> {
        match self.0.borrow_mut().entry(number) {
            Entry::Occupied(last) if last.get().0 <= 1 => Some(last.remove().1),
            Entry::Occupied(mut other) => {
                other.get_mut().0 -= 1;
                Some(other.get().1.clone())
            }
            Entry::Vacant(_) => None,
        }
    }
}

/// Splits rows into runs whose texts are fetched together: a run ends when its texts, of `chars`
/// each, reach `chars_max`.
pub fn runs_of(chars: &[i64], chars_max: i64) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (at, length) in chars.iter().enumerate() {
        sum += length;
        if sum >= chars_max {
            runs.push(start..at + 1);
            (start, sum) = (at + 1, 0);
        }
    }
    if start < chars.len() {
        runs.push(start..chars.len());
    }
    runs
}
