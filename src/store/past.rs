//! The store as it was at an earlier sequence.
//!
//! ```text
//!   rows       only ever added, in the order of commits: the first n of them
//!   names      likewise: the first labels, sources and judges
//!   labels     facts keep their sequence: where a later one has replaced a value, the value
//!              before it is laid over the column
//! ```
//! Runs, metrics and datasets have no sequence of their own: a view of the past sees those of now.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StoreError;
use super::state::{Past, State, TailBatch};
use super::view::View;
use crate::codec::{Catalogue, Horizon, LabelColumn, TableId};
use crate::model::{Label, Target};

impl View {
    /// Returns how far the store goes in this view.
    pub fn horizon(&self) -> Horizon {
        let catalogue = self.catalogue();
        Horizon {
            rows: self.state.rows,
            labels: catalogue.labels.len() as u32,
            sources: catalogue.sources.len() as u32,
            judges: catalogue.judges.len() as u32,
            default_judges: catalogue.default_judges.clone(),
        }
    }

    /// Returns the store as it was at an earlier sequence, at which it went as far as `horizon`.
    /// Reads every label once.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the store goes less far than that; what the disk says.
    pub fn as_of(&self, sequence: u64, horizon: &Horizon) -> Result<View, StoreError> {
        let now = self.horizon();
        let fits = sequence <= self.sequence()
            && horizon.rows.iter().zip(now.rows).all(|(then, now)| *then <= now)
            && horizon.labels <= now.labels
            && horizon.sources <= now.sources
            && horizon.judges <= now.judges;
        if !fits {
            let place = format!("sequence {sequence}");
            let why = format!("there were {:?} rows, now there are {:?}", horizon.rows, now.rows);
            return Err(StoreError::Damaged { place, why });
        }
        let mut catalogue = self.catalogue().clone();
        catalogue.labels.truncate(horizon.labels as usize);
        catalogue.sources.truncate(horizon.sources as usize);
        catalogue.judges.truncate(horizon.judges as usize);
        catalogue.default_judges.clone_from(&horizon.default_judges);
        let replaced = replaced(self, sequence, horizon, &catalogue)?;
        let past = Past { made_from: self.sequence(), replaced: Arc::new(replaced) };
        let tails = TableId::ALL.map(|table| {
            let at = table.code() as usize;
            let end = horizon.rows[at];
            let within = self.state.tails[at].iter().filter(|tail| tail.first_row < end);
            within
                .map(|tail| match (end - tail.first_row) as usize {
                    rows if rows >= tail.batch.num_rows() => tail.clone(),
                    rows => Arc::new(TailBatch {
                        first_row: tail.first_row,
                        batch: tail.batch.slice(0, rows),
                    }),
                })
                .collect()
        });
        let state = State {
            sequence,
            rows: horizon.rows,
            catalogue: Arc::new(catalogue),
            tails,
            past: Some(past),
            ..self.state.as_ref().clone()
        };
        Ok(View::new(self.store.clone(), Arc::new(state)))
    }
}

/// Returns what labels given after `sequence` have replaced, by label column and row.
fn replaced(
    view: &View,
    sequence: u64,
    horizon: &Horizon,
    catalogue: &Catalogue,
) -> Result<BTreeMap<(u16, u64), Option<f64>>, StoreError> {
    let mut walk = Walk { view, columns: &catalogue.labels, newest: None, found: BTreeMap::new() };
    view.store().scan_labels(|trajectory, at, label| {
        if trajectory < horizon.rows[0] {
            walk.take(trajectory, at <= sequence, label)?;
        }
        Ok(true)
    })?;
    walk.finish()?;
    Ok(walk.found)
}

/// The labels of one target, name and judge so far.
struct Newest {
    trajectory: u64,
    label: Label,
    /// The value at the sequence.
    value: Option<f64>,
    /// Whether there is a later one.
    is_replaced: bool,
}

struct Walk<'a> {
    view: &'a View,
    columns: &'a [LabelColumn],
    newest: Option<Newest>,
    found: BTreeMap<(u16, u64), Option<f64>>,
}

impl Walk<'_> {
    fn take(&mut self, trajectory: u64, is_seen: bool, label: Label) -> Result<(), StoreError> {
        let is_same = |n: &Newest| {
            n.trajectory == trajectory
                && n.label.target == label.target
                && n.label.name == label.name
                && n.label.judge == label.judge
        };
        if !self.newest.as_ref().is_some_and(is_same) {
            self.finish()?;
        }
        let value = is_seen.then_some(label.value);
        match &mut self.newest {
            Some(newest) => {
                newest.value = value.or(newest.value);
                newest.is_replaced |= !is_seen;
            }
            None => {
                self.newest = Some(Newest { trajectory, label, value, is_replaced: !is_seen });
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let Some(newest) = self.newest.take().filter(|newest| newest.is_replaced) else {
            return Ok(());
        };
        let Newest { trajectory, label, value, .. } = newest;
        let on_steps = label.target != Target::Trajectory;
        let name = label.name.as_str();
        let column = self
            .columns
            .iter()
            .position(|c| c.on_steps == on_steps && c.name == name && c.judge == label.judge);
        // A label that was not there at the sequence has no column to be read by.
        let Some(column) = column else { return Ok(()) };
        let row = match label.target {
            Target::Trajectory => trajectory,
            Target::Step(step) | Target::Sample { step, .. } => {
                let header = self.view.headers(&[trajectory])?.pop();
                header.map_or(0, |h| h.first_row) + u64::from(step).saturating_sub(1)
            }
        };
        self.found.insert((column as u16, row), value);
        Ok(())
    }
}
