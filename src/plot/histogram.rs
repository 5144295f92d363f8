//! Values fallen into bins of a round width.

use super::calendar::whole_time;
use super::chart::{Axis, Scale};
use super::grid::{Grid, is_whole};
use super::label::{grouped, readable};

/// Bins that are aimed at; rounding their width makes fewer of them, or one or two more.
const BINS: usize = 20;

/// Values from which on a long tail is told from the body.
const TAIL_FROM: usize = 50;

/// A tail is gathered in one bin where it is longer than so many times the body: the range of all
/// values but a hundredth at that end.
const TAIL_LENGTH: f64 = 2.0;

/// How often values fall between two numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Bin {
    /// The least value of the bin.
    pub low: f64,
    /// What all values of the bin are below; for the last of a long tail the greatest value.
    pub high: f64,
    /// How many.
    pub count: u64,
    /// The range as it reads.
    pub label: String,
    /// Whether it gathers a long tail and is not as wide as the others.
    pub is_tail: bool,
}

/// Counts of bins over one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The column.
    pub axis: Axis,
    /// The bins, ascending and without gaps.
    pub bins: Vec<Bin>,
    /// How many values there are, and their least, middle, mean and greatest one.
    pub summary: String,
    /// What the labels of times do not say.
    pub time_note: Option<String>,
}

impl Histogram {
    /// Returns the histogram of finite values; `None` without any.
    pub(super) fn new(axis: Axis, mut values: Vec<f64>) -> Option<Histogram> {
        values.sort_unstable_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let is_whole = axis.scale != Scale::Time && is_whole(values.iter().copied());
        let (from, to) = body(&values);
        let grid = Grid::new(from, to, BINS, axis.scale, is_whole);
        let mut edges: Vec<f64> = grid.marks.iter().map(|mark| mark.value).collect();
        // A bin holds what is below its end, so that the last value may need one more.
        let grid = match edges.last() {
            Some(last) if *last <= to => {
                let width = edges[edges.len() - 1] - edges[edges.len() - 2];
                let wider = Grid::new(from, to + width / 2.0, BINS, axis.scale, is_whole);
                edges = wider.marks.iter().map(|mark| mark.value).collect();
                wider
            }
            _ => grid,
        };
        let below = |edge: f64| values.partition_point(|value| *value < edge);
        let mut bins = Vec::new();
        if below(edges[0]) > 0 {
            let label = format!("< {}", grid.marks[0].label);
            let count = below(edges[0]) as u64;
            bins.push(Bin { low: least, high: edges[0], count, label, is_tail: true });
        }
        let style = RangeStyle { grid: &grid, axis: &axis, is_whole };
        for at in 0..edges.len() - 1 {
            let (low, high) = (edges[at], edges[at + 1]);
            let is_last = high == f64::MAX;
            let end = if is_last { values.len() } else { below(high) };
            let (count, label) = ((end - below(low)) as u64, style.label(at));
            bins.push(Bin { low, high, count, label, is_tail: false });
        }
        let end = edges[edges.len() - 1];
        let above = values.len() - below(end);
        if above > 0 && end < f64::MAX {
            let label = format!("≥ {}", grid.marks[edges.len() - 1].label);
            let count = above as u64;
            bins.push(Bin { low: end, high: greatest, count, label, is_tail: true });
        }
        let summary = summary(&values, axis.scale);
        let time_note = grid.time_note();
        Some(Histogram { axis, bins, summary, time_note })
    }

    /// Returns the greatest count.
    pub fn count_max(&self) -> u64 {
        self.bins.iter().map(|bin| bin.count).max().unwrap_or(0)
    }
}

/// Returns the range of sorted values without long tails.
fn body(values: &[f64]) -> (f64, f64) {
    let (least, greatest) = (values[0], values[values.len() - 1]);
    if values.len() < TAIL_FROM {
        return (least, greatest);
    }
    let tail = values.len() / 100;
    let (low, high) = (values[tail], values[values.len() - 1 - tail]);
    let body = high / 2.0 - low / 2.0;
    if body <= 0.0 {
        return (least, greatest);
    }
    let is_long = |length: f64| length / 2.0 > TAIL_LENGTH * body;
    let from = if is_long(low - least) { low } else { least };
    (from, if is_long(greatest - high) { high } else { greatest })
}

struct RangeStyle<'a> {
    grid: &'a Grid,
    axis: &'a Axis,
    is_whole: bool,
}

impl RangeStyle<'_> {
    /// Returns how the bin behind the mark `at` reads: whole numbers with both ends in it.
    fn label(&self, at: usize) -> String {
        let (low, high) = (&self.grid.marks[at].label, &self.grid.marks[at + 1].label);
        if self.axis.scale == Scale::Time {
            return low.clone();
        }
        if !self.is_whole {
            return format!("[{low}, {high})");
        }
        if self.grid.is_of_ones() {
            return low.clone();
        }
        format!("{low} – {}", self.grid.label_before(at + 1))
    }
}

fn summary(values: &[f64], scale: Scale) -> String {
    let count = values.len() as f64;
    let mean: f64 = values.iter().map(|value| value / count).sum();
    let show = |value: f64| match scale {
        Scale::Time => whole_time(value),
        Scale::Truth | Scale::Number => readable(value),
    };
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        0 => values[middle - 1] / 2.0 + values[middle] / 2.0,
        _ => values[middle],
    };
    let noun = if values.len() == 1 { "value" } else { "values" };
    let (least, greatest) = (values[0], values[values.len() - 1]);
    let mut told = format!("{} {noun}", grouped(count));
    for (what, value) in [("min", least), ("median", median), ("mean", mean), ("max", greatest)] {
        told.push_str(&format!(" · {what} {}", show(value)));
    }
    told
}
