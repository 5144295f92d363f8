//! Labels: facts that are only added, and the cells that make them columns.

use std::sync::Arc;

use super::StoreError;
use super::append::{add_judges, label_column};
use super::engine::Changes;
use super::open::{Durability, Store};
use super::state::State;
use crate::codec::{
    Catalogue, Delta, Family, HeaderRecord, Key, LabelCell, LabelRecord, Record, TableId,
};
use crate::model::{Judge, Label, Target};

/// A label of a stored trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The trajectory's ordinal.
    pub trajectory: u64,
    /// The label.
    pub label: Label,
}

/// What became of labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelReport {
    /// New ones stored.
    pub added: u64,
    /// Equal to the newest one of the same target, name and judge: not stored again.
    pub same: u64,
}

impl Store {
    /// Adds labels in one commit; a label equal to the newest of its target, name and
    /// judge changes nothing.
    ///
    /// # Errors
    /// A step that its trajectory does not have is [`StoreError::Name`] and nothing is stored;
    /// else damage, or what the disk says.
    pub fn label(
        &self,
        facts: &[Fact],
        judges: &[Judge],
        durability: Durability,
    ) -> Result<LabelReport, StoreError> {
        let mut report = LabelReport::default();
        if facts.is_empty() && judges.is_empty() {
            return Ok(report);
        }
        let sequence = {
            let _writer = self.writer();
            let state = self.state();
            let mut next = State { sequence: state.sequence + 1, ..state.as_ref().clone() };
            let mut catalogue = state.catalogue.as_ref().clone();
            add_judges(&mut catalogue, judges);
            let mut changes = Changes::default();
            let mut delta = Delta { first_rows: state.rows, ..Delta::default() };
            for fact in facts {
                let row = self.row_of(fact)?;
                if self.newest(fact)?.as_ref() == Some(&LabelRecord::new(&fact.label)) {
                    report.same += 1;
                    continue;
                }
                report.added += 1;
                let cells = &mut delta.cells;
                fact_changes(fact, row, next.sequence, &mut catalogue, &mut changes, cells);
            }
            if catalogue != *state.catalogue {
                changes.put(&Key::Meta("catalogue".to_owned()), &catalogue);
                next.catalogue = Arc::new(catalogue);
            }
            if changes.is_empty() {
                // An equal one may still be on its way to the disk.
                state.sequence
            } else {
                if !delta.cells.is_empty() {
                    changes.put(&Key::Delta(next.sequence), &delta);
                    next.push_cells(delta.cells);
                }
                let sequence = next.sequence;
                self.publish(changes, next, Durability::Later)?;
                sequence
            }
        };
        if durability == Durability::Now {
            self.make_durable(sequence)?;
        }
        self.fold_if_due()?;
        Ok(report)
    }

    /// Returns the labels of a trajectory, oldest first within target, name and judge, each with
    /// its sequence.
    ///
    /// # Errors
    /// Damage, or what the disk says.
    pub fn labels_of(&self, trajectory: u64) -> Result<Vec<(u64, Label)>, StoreError> {
        let mut labels = Vec::new();
        let prefix = Key::trajectory_prefix(trajectory);
        self.engine.scan(Family::Label, &prefix, &[], |key, value| {
            labels.push(decode_label(key, value)?);
            Ok(true)
        })?;
        Ok(labels.into_iter().map(|(_, sequence, label)| (sequence, label)).collect())
    }

    /// Visits every label in the order of trajectory, step, name, judge and sequence.
    ///
    /// # Errors
    /// Damage, or what the disk says; or what `visit` returns.
    pub fn scan_labels(
        &self,
        mut visit: impl FnMut(u64, u64, Label) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.engine.scan(Family::Label, &[], &[], |key, value| {
            let (trajectory, sequence, label) = decode_label(key, value)?;
            visit(trajectory, sequence, label)
        })
    }

    /// Chooses the judge that a bare label name means.
    ///
    /// # Errors
    /// [`StoreError::Name`] when no label of that name has that judge.
    pub fn set_default_judge(&self, label: &str, judge: &str) -> Result<(), StoreError> {
        let _writer = self.writer();
        let state = self.state();
        let mut catalogue = state.catalogue.as_ref().clone();
        if !catalogue.labels.iter().any(|c| c.name == label && c.judge == judge) {
            return Err(StoreError::Name(format!("no label '{label}' has judge '{judge}'")));
        }
        catalogue.default_judges.retain(|(name, _)| name != label);
        catalogue.default_judges.push((label.to_owned(), judge.to_owned()));
        let mut changes = Changes::default();
        changes.put(&Key::Meta("catalogue".to_owned()), &catalogue);
        let catalogue = Arc::new(catalogue);
        let sequence = state.sequence + 1;
        let next = State { sequence, catalogue, ..state.as_ref().clone() };
        self.publish(changes, next, Durability::Now)
    }

    fn row_of(&self, fact: &Fact) -> Result<u64, StoreError> {
        if self.state().deleted.holds(TableId::Trajectories, fact.trajectory) {
            let message = format!("trajectory {} was deleted", fact.trajectory);
            return Err(StoreError::Name(message));
        }
        let step = match &fact.label.target {
            Target::Trajectory => return Ok(fact.trajectory),
            Target::Step(step) => *step,
            Target::Sample { run_id, .. } => {
                return Err(StoreError::Name(format!("there is no sample of run '{run_id}'")));
            }
        };
        let key = Key::Trajectory(fact.trajectory);
        let header: HeaderRecord = self.engine.record(&key)?.ok_or_else(|| {
            StoreError::Name(format!("there is no trajectory {}", fact.trajectory))
        })?;
        if step == 0 || step > header.n_steps {
            let (id, n) = (&header.id, header.n_steps);
            return Err(StoreError::Name(format!("'{id}' has steps 1 to {n}, no step {step}")));
        }
        Ok(row_of(&fact.label.target, fact.trajectory, header.first_row))
    }

    /// Returns the newest record of the fact's target, name and judge.
    fn newest(&self, fact: &Fact) -> Result<Option<LabelRecord>, StoreError> {
        let last = fact_key(fact, u64::MAX).encode();
        let prefix = &last[..last.len() - 8];
        let mut newest = None;
        self.engine.scan(Family::Label, prefix, &[], |_, value| {
            newest = Some(LabelRecord::decode(value).map_err(StoreError::codec("label"))?);
            Ok(true)
        })?;
        Ok(newest)
    }
}

fn decode_label(key: &[u8], value: &[u8]) -> Result<(u64, u64, Label), StoreError> {
    let decoded = Key::decode(Family::Label, key).map_err(StoreError::key)?;
    let Key::Label { trajectory, step, name, judge, sequence } = &decoded else {
        return Err(StoreError::Damaged { place: "label".into(), why: "its key".into() });
    };
    let record = LabelRecord::decode(value).map_err(|e| StoreError::record(&decoded, e))?;
    let label =
        record.into_label(*step, name, judge).map_err(|e| StoreError::record(&decoded, e))?;
    Ok((*trajectory, *sequence, label))
}

fn fact_key(fact: &Fact, sequence: u64) -> Key {
    let step = match fact.label.target {
        Target::Trajectory => 0,
        Target::Step(step) | Target::Sample { step, .. } => step,
    };
    Key::Label {
        trajectory: fact.trajectory,
        step,
        name: fact.label.name.as_str().to_owned(),
        judge: fact.label.judge.clone(),
        sequence,
    }
}

/// Returns the row that a label of a trajectory speaks of, whose steps begin at `first_row`.
pub(super) fn row_of(target: &Target, trajectory: u64, first_row: u64) -> u64 {
    match target {
        Target::Trajectory => trajectory,
        Target::Step(step) | Target::Sample { step, .. } => first_row + u64::from(*step) - 1,
    }
}

/// Adds the record of a fact to the changes, and its cell in its column.
pub(super) fn fact_changes(
    fact: &Fact,
    row: u64,
    sequence: u64,
    catalogue: &mut Catalogue,
    changes: &mut Changes,
    cells: &mut Vec<LabelCell>,
) {
    let label = &fact.label;
    let on_steps = label.target != Target::Trajectory;
    let column = label_column(catalogue, label.name.as_str(), &label.judge, on_steps);
    changes.put(&fact_key(fact, sequence), &LabelRecord::new(label));
    cells.push(LabelCell { label: column, row, value: label.value });
}
