//! What a database holds, and what it takes on disk.

use super::StoreError;
use super::view::View;
use crate::codec::{Family, Key, TableId};

/// One family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyStats {
    /// Its name.
    pub name: &'static str,
    /// Entries in files, those that others have replaced included.
    pub entries: u64,
    /// Their keys and values in bytes, before compression.
    pub raw_bytes: u64,
    /// The files in bytes.
    pub file_bytes: u64,
}

/// Texts of more than 255 bytes, which are stored once however often they occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextStats {
    /// How many are stored.
    pub texts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often one occurs in a prompt, an action or an observation.
    pub occurrences: u64,
    /// The bytes if every one of them were stored.
    pub occurring_bytes: u64,
}

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Trajectories.
    pub trajectories: u64,
    /// Steps.
    pub steps: u64,
    /// Commits so far.
    pub sequence: u64,
    /// Steps that are not yet in columns.
    pub unfolded: u64,
    /// Deleted trajectories whose records a compaction will remove.
    pub not_swept: u64,
    /// The families that hold anything.
    pub families: Vec<FamilyStats>,
    /// Long texts; `None` where the walk over them was stopped.
    pub texts: Option<TextStats>,
}

impl View {
    /// Returns what the database holds. What was written last may still be in the log alone, and is
    /// then in no family. `progress` is told how many entries of how many were looked at for
    /// [`StoreStats::texts`]; it returns false to stop.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn census(
        &self,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<StoreStats, StoreError> {
        let mut families = Vec::new();
        for family in Family::ALL.into_iter().filter(|family| self.store.engine.has(*family)) {
            let stats = self.store.engine.stats(family)?;
            families.extend((stats.entries > 0).then_some(stats));
        }
        let not_swept = self.store.not_swept()?;
        let not_swept = not_swept.iter().map(|(_, gone)| gone.trajectories.len() as u64).sum();
        Ok(StoreStats {
            not_swept,
            trajectories: self.count(TableId::Trajectories),
            steps: self.count(TableId::Steps),
            sequence: self.sequence(),
            unfolded: self.state.tail_rows(TableId::Steps),
            families,
            texts: self.text_stats(progress)?,
        })
    }

    /// Counts occurrences of every long text, then measures the texts.
    fn text_stats(
        &self,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Option<TextStats>, StoreError> {
        const TOLD_EVERY: u64 = 4_096;
        let rows = TableId::ALL.map(|table| self.rows(table)).iter().sum::<u64>();
        let all = rows + self.state.next_body;
        let mut done = 0;
        let mut goes_on = |done: &mut u64| {
            *done += 1;
            !done.is_multiple_of(TOLD_EVERY) || progress(*done, all)
        };
        let mut occurrences = vec![0u32; self.state.next_body as usize];
        let mut count = |number: u64| {
            if let Some(slot) = occurrences.get_mut(number as usize) {
                *slot = slot.saturating_add(1);
            }
        };
        let engine = &self.store.engine;
        let mut is_whole = engine.scan_references(&mut count, &mut || goes_on(&mut done))?;
        let mut found = TextStats::default();
        if is_whole {
            engine.scan(Family::Body, &[], &[], |key, value| {
                let key = Key::decode(Family::Body, key).map_err(StoreError::key)?;
                let Key::Body(number) = key else { return Ok(false) };
                let Some(times) = occurrences.get(number as usize) else { return Ok(false) };
                found.texts += 1;
                found.bytes += value.len() as u64;
                found.occurrences += u64::from(*times);
                found.occurring_bytes += u64::from(*times) * value.len() as u64;
                is_whole = goes_on(&mut done);
                Ok(is_whole)
            })?;
        }
        Ok(is_whole.then_some(found))
    }
}
