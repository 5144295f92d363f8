//! Numbers with the intervals around them, by group.

use super::chart::Axis;
use super::grid::Grid;
use super::label::{grouped, visible};
use super::lines::around;

/// Lines of a picture, names of groups among them; more are not seen at one time.
const LANES_MAX: usize = 60;

/// A number, the interval around it, and what they are of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interval {
    /// What it stands under: a data set, a kind of question.
    pub group: String,
    /// Its name among those of the group: a system, before or after; empty where a group has one.
    pub name: String,
    /// The number.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How they read.
    pub told: String,
}

/// Numbers with intervals, groups below each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Intervals {
    /// What is measured.
    pub value: Axis,
    /// The rows, those of a group side by side, groups in the order of their first rows.
    pub rows: Vec<Interval>,
    /// The names within groups, in the order in which they come first.
    pub names: Vec<String>,
}

/// A line of the picture.
pub(super) enum Lane<'i> {
    /// The name of the group whose rows follow.
    Group(&'i str),
    /// A row: its label, which of the names it has, and itself.
    Row { label: &'i str, series: usize, interval: &'i Interval },
}

impl Intervals {
    /// Returns rows of finite numbers by group, and a note if some are not drawn; `None` without
    /// any.
    pub(super) fn new(value: Axis, mut rows: Vec<Interval>) -> Option<(Intervals, Option<String>)> {
        if rows.is_empty() {
            return None;
        }
        let all = rows.len();
        let mut groups: Vec<String> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for row in &mut rows {
            row.group = visible(&row.group);
            row.told = if row.told.is_empty() { String::new() } else { visible(&row.told) };
            if !row.name.is_empty() {
                row.name = visible(&row.name);
            }
            if !groups.contains(&row.group) {
                groups.push(row.group.clone());
            }
            if !names.contains(&row.name) {
                names.push(row.name.clone());
            }
        }
        rows.sort_by_key(|row| groups.iter().position(|group| *group == row.group));
        rows.truncate(LANES_MAX);
        let mut intervals = Intervals { value, rows, names };
        while intervals.lanes().len() > LANES_MAX {
            intervals.rows.pop();
        }
        let shown = intervals.rows.len();
        let note = (all > shown)
            .then(|| format!("the first {shown} of {} intervals", grouped(all as f64)));
        Some((intervals, note))
    }

    /// Returns the lines of the picture from top to bottom. A group of one row without a name is
    /// one line, any other has its name above its rows.
    pub(super) fn lanes(&self) -> Vec<Lane<'_>> {
        let mut out = Vec::new();
        for group in self.rows.chunk_by(|a, b| a.group == b.group) {
            let is_single = group.len() == 1 && group[0].name.is_empty();
            if !is_single {
                out.push(Lane::Group(&group[0].group));
            }
            for interval in group {
                let label = if is_single { &interval.group } else { &interval.name };
                let series = self.names.iter().position(|name| *name == interval.name);
                out.push(Lane::Row { label, series: series.unwrap_or(0), interval });
            }
        }
        out
    }

    /// Returns the grid, in about `parts` parts, that encloses every interval.
    pub fn grid(&self, parts: usize) -> Grid {
        let ends = || self.rows.iter().flat_map(|row| [row.low, row.value, row.high]);
        let (low, high) = (ends().fold(f64::MAX, f64::min), ends().fold(f64::MIN, f64::max));
        let (low, high) = if low < high { (low, high) } else { around(low) };
        Grid::new(low, high, parts, self.value.scale, false)
    }
}
