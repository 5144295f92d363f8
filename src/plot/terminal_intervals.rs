//! Intervals in a terminal: `├──●──┤` over an axis, with the numbers in words at the right.

use super::grid::share;
use super::intervals::{Intervals, Lane};
use super::label::{cut, left, middle, shown_width};
use super::terminal::{COLOURS, Pen};

/// Writes intervals.
pub(super) fn intervals(
    intervals: &Intervals,
    pen: Pen,
    out: &mut Vec<String>,
    notes: &mut Vec<String>,
) {
    let lanes = intervals.lanes();
    let has_groups = lanes.iter().any(|lane| matches!(lane, Lane::Group(_)));
    let indent = if has_groups { 2 } else { 0 };
    let (mut labels, mut told) = (0, 0);
    for lane in &lanes {
        let Lane::Row { label, interval, .. } = lane else { continue };
        labels = labels.max(shown_width(label));
        told = told.max(shown_width(&interval.told));
    }
    let (labels, told) = (labels.min(pen.width * 3 / 10), told.min(pen.width * 3 / 10));
    let offset = indent + labels + 1;
    let columns = pen.width.saturating_sub(offset + told + 2).max(8);
    let grid = intervals.grid(4);
    let (low, high) = (grid.low(), grid.high());
    let place = |value: f64| (share(value, low, high) * (columns - 1) as f64).round() as usize;
    let zero = (low < 0.0 && high > 0.0).then(|| place(0.0));
    for lane in &lanes {
        let (label, series, interval) = match lane {
            Lane::Group(name) => {
                out.push(pen.styled(&cut(name, pen.width), "1"));
                continue;
            }
            Lane::Row { label, series, interval } => (label, series, interval),
        };
        let ends = (place(interval.low), place(interval.value), place(interval.high));
        let (before, shape, behind) = shape(ends, zero, columns);
        let shape = pen.styled(&shape, COLOURS[series % COLOURS.len()]);
        let label = left(label, labels);
        let told = cut(&interval.told, told);
        out.push(format!("{}{label} {before}{shape}{behind}  {told}", " ".repeat(indent)));
    }
    foot(&grid, place, offset, columns, out);
    out.push(" ".repeat(offset) + &middle(&intervals.value.name, columns));
    if let Some(note) = grid.time_note() {
        notes.push(format!("{}: {note}", intervals.value.name));
    }
}

/// Returns what is before an interval, the interval, and what is behind it.
fn shape(
    (low, value, high): (usize, usize, usize),
    zero: Option<usize>,
    columns: usize,
) -> (String, String, String) {
    let (first, last) = (low.min(value).min(high), low.max(value).max(high));
    let letter = |at: usize| match at {
        _ if at == value => '●',
        _ if at == first => '├',
        _ if at == last => '┤',
        _ if at > first && at < last => '─',
        _ if Some(at) == zero => '│',
        _ => ' ',
    };
    let part = |from: usize, to: usize| (from..to).map(letter).collect();
    (part(0, first), part(first, last + 1), part(last + 1, columns))
}

/// Writes the axis and the labels of its marks, as many as fit side by side.
fn foot(
    grid: &super::grid::Grid,
    place: impl Fn(f64) -> usize,
    offset: usize,
    columns: usize,
    out: &mut Vec<String>,
) {
    let mut rule = vec!['─'; columns];
    let mut labels = String::new();
    for mark in &grid.marks {
        let at = place(mark.value).min(columns - 1);
        let wide = shown_width(&mark.label);
        let start = (offset + at).saturating_sub(wide / 2);
        let start = start.min((offset + columns).saturating_sub(wide));
        let used = shown_width(&labels);
        if used == 0 || used < start {
            rule[at] = '┬';
            labels.push_str(&" ".repeat(start.saturating_sub(used)));
            labels.push_str(&mark.label);
        }
    }
    out.push(" ".repeat(offset) + &rule.into_iter().collect::<String>());
    out.push(labels);
}
