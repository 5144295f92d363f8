//! Which rows a row sees.

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::compute::partition;
use datafusion::common::Result;

/// How far a frame reaches that starts where its partition does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// To the row itself.
    Row,
    /// To the last row that is equal in the order, whose keys are the inputs at these places.
    Peers(Vec<usize>),
    /// To the end of the partition.
    Partition,
}

/// The frames of rows whose partitions are whole.
pub(super) struct Frames<'a> {
    starts: &'a [usize],
    groups: Groups,
}

/// The rows of a partition, cut where frames end.
enum Groups {
    Rows,
    Partitions,
    /// Where each group starts, and where the last ends.
    Starts(Vec<usize>),
}

impl<'a> Frames<'a> {
    /// Returns the frames of rows whose partitions start at `starts`; the last of these is the
    /// number of rows.
    pub fn new(reach: &Reach, inputs: &[ArrayRef], starts: &'a [usize]) -> Result<Frames<'a>> {
        let groups = match reach {
            Reach::Row => Groups::Rows,
            Reach::Partition => Groups::Partitions,
            Reach::Peers(order) if order.is_empty() => Groups::Partitions,
            Reach::Peers(order) => {
                let keys: Vec<ArrayRef> = order.iter().map(|at| inputs[*at].clone()).collect();
                let equal = partition(&keys)?.ranges();
                let groups = union(starts, equal.iter().map(|range| range.start));
                // No two rows are equal: the usual case, an order by step.
                let rows = starts.last().copied().unwrap_or_default();
                if groups.len() == rows + 1 { Groups::Rows } else { Groups::Starts(groups) }
            }
        };
        Ok(Frames { starts, groups })
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.starts.last().copied().unwrap_or_default()
    }

    /// Returns where partitions start and the last ends.
    pub fn starts(&self) -> &[usize] {
        self.starts
    }

    /// Calls `visit` with the rows that share a frame, in order, and with the start of that frame.
    #[inline]
    pub fn visit(&self, mut visit: impl FnMut(usize, Range<usize>)) {
        let partitions = self.starts.windows(2).map(|pair| pair[0]..pair[1]);
        match &self.groups {
            Groups::Rows => {
                for partition in partitions {
                    for row in partition.clone() {
                        visit(partition.start, row..row + 1);
                    }
                }
            }
            Groups::Partitions => {
                for partition in partitions {
                    visit(partition.start, partition);
                }
            }
            Groups::Starts(groups) => {
                let (mut start, mut ahead) = (0, self.starts.iter().copied().peekable());
                for group in groups.windows(2) {
                    start = ahead.next_if_eq(&group[0]).unwrap_or(start);
                    visit(start, group[0]..group[1]);
                }
            }
        }
    }

    /// Returns the number of the group of each row, to give rows what was found for groups;
    /// `None` where each row is a group.
    pub fn group_of_rows(&self) -> Option<Vec<u64>> {
        if matches!(self.groups, Groups::Rows) {
            return None;
        }
        let (mut of_rows, mut number) = (Vec::with_capacity(self.rows()), 0);
        self.visit(|_, group| {
            of_rows.extend(std::iter::repeat_n(number, group.len()));
            number += 1;
        });
        Some(of_rows)
    }
}

/// Returns what ascends in either of two, each once.
fn union(one: &[usize], other: impl Iterator<Item = usize>) -> Vec<usize> {
    let (mut all, mut rest) = (Vec::with_capacity(one.len()), one.iter().copied().peekable());
    for value in other {
        while let Some(before) = rest.next_if(|before| *before < value) {
            all.push(before);
        }
        rest.next_if_eq(&value);
        all.push(value);
    }
    all.extend(rest);
    all
}
