//! Two datasets against each other, row by row.

use std::cmp::Ordering;
use std::iter::Peekable;

use super::DbError;
use crate::codec::DatasetRow;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it, with different rewards.
    Relabelled,
    /// Both have it, with different content.
    Changed,
}

impl Change {
    /// Returns the word used in columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Relabelled => "relabelled",
            Change::Changed => "changed",
        }
    }
}

/// A row that two datasets do not share.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedRow {
    /// What became of it.
    pub change: Change,
    /// Its trajectory's ordinal.
    pub trajectory: u64,
    /// The step.
    pub step: u32,
    /// The reward in the first.
    pub first_reward: Option<f64>,
    /// The reward in the second.
    pub second_reward: Option<f64>,
}

/// How many rows two datasets share, and how many not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rows of the second that the first has not.
    pub added: u64,
    /// Rows of the first that the second has not.
    pub removed: u64,
    /// Rows of both with different rewards.
    pub relabelled: u64,
    /// Rows of both with different content.
    pub changed: u64,
    /// Rows that are the same in both.
    pub same: u64,
}

impl Difference {
    /// Whether all rows are the same, perhaps in another order.
    pub fn is_none(&self) -> bool {
        self.added + self.removed + self.relabelled + self.changed == 0
    }

    fn count(&mut self, change: Change) {
        *match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Relabelled => &mut self.relabelled,
            Change::Changed => &mut self.changed,
        } += 1;
    }
}

/// Visits the rows that `first` and `second` do not share, in the order of trajectory and step.
/// Both are sorted. Of rows that come several times, equal ones are paired first.
///
/// # Errors
/// What `visit` returns.
pub fn difference(
    first: &mut [DatasetRow],
    second: &mut [DatasetRow],
    mut visit: impl FnMut(ChangedRow) -> Result<(), DbError>,
) -> Result<Difference, DbError> {
    first.sort_unstable_by(order);
    second.sort_unstable_by(order);
    let mut all = Difference::default();
    let (mut ones, mut others) = (first.iter().peekable(), second.iter().peekable());
    loop {
        let key = match (ones.peek(), others.peek()) {
            (None, None) => return Ok(all),
            (Some(row), None) | (None, Some(row)) => key(row),
            (Some(one), Some(other)) => key(one).min(key(other)),
        };
        let (mut of_first, mut of_second) = (take(&mut ones, key), take(&mut others, key));
        all.same += cancel(&mut of_first, &mut of_second);
        let longest = of_first.len().max(of_second.len());
        for at in 0..longest {
            let (one, other) = (of_first.get(at), of_second.get(at));
            let change = match (one, other) {
                (Some(one), Some(other)) if one.content_hash != other.content_hash => {
                    Change::Changed
                }
                (Some(_), Some(_)) => Change::Relabelled,
                (Some(_), None) => Change::Removed,
                (None, _) => Change::Added,
            };
            all.count(change);
            let (trajectory, step) = key;
            let first_reward = one.and_then(|row| row.reward);
            let second_reward = other.and_then(|row| row.reward);
            visit(ChangedRow { change, trajectory, step, first_reward, second_reward })?;
        }
    }
}

fn key(row: &DatasetRow) -> (u64, u32) {
    (row.trajectory, row.step)
}

fn order(one: &DatasetRow, other: &DatasetRow) -> Ordering {
    let bits = |row: &DatasetRow| (row.content_hash, row.reward.map(f64::to_bits), row.pair);
    let rest = || bits(one).cmp(&bits(other));
    key(one).cmp(&key(other)).then_with(rest)
}

/// Takes the rows of one step.
fn take<'a>(
    rows: &mut Peekable<impl Iterator<Item = &'a DatasetRow>>,
    of: (u64, u32),
) -> Vec<&'a DatasetRow> {
    std::iter::from_fn(|| rows.next_if(|row| key(row) == of)).collect()
}

/// Takes out what both have, and returns how many that are. Both are in order.
fn cancel(first: &mut Vec<&DatasetRow>, second: &mut Vec<&DatasetRow>) -> u64 {
    let before = first.len();
    first.retain(|row| match second.iter().position(|other| order(row, other).is_eq()) {
        Some(at) => {
            second.remove(at);
            false
        }
        None => true,
    });
    (before - first.len()) as u64
}
