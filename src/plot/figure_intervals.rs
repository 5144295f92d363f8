//! Intervals as a scene: a dot, a line from end to end, and the numbers in words at the right.

use super::chart::Chart;
use super::figure::{RIGHT, named, notes};
use super::font::{cut, width};
use super::frame::{Frame, MARGIN, MARK_SIZE, Mark, Sheet};
use super::grid::share;
use super::intervals::{Intervals, Lane};
use super::lines::SERIES_MAX;
use super::scene::{Anchor, INK, RULE, SERIES, Scene, TextStyle, WHITE};

/// The height of a line.
const LANE: f64 = 20.0;
/// The widest label at the left side, and the widest text at the right one, as shares of the sheet.
const LABEL_SHARE: f64 = 0.3;

/// Returns the picture of intervals.
pub(super) fn of_intervals(chart: &Chart, intervals: &Intervals, sheet: Sheet) -> Scene {
    let lanes = intervals.lanes();
    let most = sheet.width * LABEL_SHARE;
    let (mut labels, mut told) = (0.0_f64, 0.0_f64);
    for lane in &lanes {
        let Lane::Row { label, interval, .. } = lane else { continue };
        labels = labels.max(width(label, MARK_SIZE).min(most));
        told = told.max(width(&interval.told, MARK_SIZE).min(most));
    }
    let left = MARGIN + labels + 14.0;
    let right = if told > 0.0 { MARGIN + told + 12.0 } else { RIGHT };
    let height = LANE * lanes.len() as f64 + 6.0;
    let mut frame = Frame::new(&chart.title, &[], (left, right), (sheet.width, height), sheet);
    let bottom = frame.top + frame.height;
    let grid = intervals.grid(5);
    let (low, high) = (grid.low(), grid.high());
    let place = |value: f64| frame.left + share(value, low, high) * frame.width;
    let marks = grid.marks.iter();
    let marks: Vec<Mark> =
        marks.map(|mark| Mark { at: place(mark.value), label: mark.label.clone() }).collect();
    let zero = (low < 0.0 && high > 0.0).then(|| place(0.0));
    let places: Vec<[f64; 3]> = lanes
        .iter()
        .map(|lane| match lane {
            Lane::Group(_) => [0.0; 3],
            Lane::Row { interval, .. } => [interval.low, interval.value, interval.high].map(place),
        })
        .collect();
    for (top, end) in stretches(&lanes) {
        let (top, end) = (frame.top + 3.0 + LANE * top as f64, frame.top + 3.0 + LANE * end as f64);
        for mark in &marks {
            frame.scene.line(vec![(mark.at, top), (mark.at, end.min(bottom))], RULE, 1.0);
        }
        // What differs from nothing is seen.
        if let Some(zero) = zero {
            frame.scene.line(vec![(zero, top), (zero, end.min(bottom))], INK, 1.0);
        }
    }
    let told_at = frame.left + frame.width + 12.0;
    for (at, (lane, [start, middle, end])) in lanes.iter().zip(places).enumerate() {
        let y = frame.top + 3.0 + LANE * (at as f64 + 0.5);
        let base = y + 4.0;
        match lane {
            Lane::Group(name) => {
                let name = cut(name, MARK_SIZE, (sheet.width - 2.0 * MARGIN) / 1.08);
                let style = TextStyle { size: MARK_SIZE, is_bold: true, ..TextStyle::default() };
                frame.scene.styled((MARGIN, base), &name, style);
            }
            Lane::Row { label, series, interval } => {
                let colour = SERIES[series % SERIES_MAX];
                let label = cut(label, MARK_SIZE, most);
                frame.scene.text((frame.left - 10.0, base), &label, MARK_SIZE, Anchor::End);
                frame.scene.line(vec![(start, y), (end, y)], colour, 1.8);
                for side in [start, end] {
                    frame.scene.line(vec![(side, y - 4.0), (side, y + 4.0)], colour, 1.4);
                }
                frame.scene.dot(middle, y, 4.0, colour);
                // Neighbours are told apart where no colours are: every other one is hollow.
                if intervals.names.len() > 1 && series % 2 == 0 {
                    frame.scene.dot(middle, y, 2.2, WHITE);
                }
                let told = cut(&interval.told, MARK_SIZE, most);
                frame.scene.text((told_at, base), &told, MARK_SIZE, Anchor::Start);
            }
        }
    }
    let end = frame.scene.width;
    frame.foot(&marks, &named(&intervals.value, grid.time_note()), end);
    frame.finished(notes(chart))
}

/// Returns from where to where there are rows; the names of groups have no lines behind them.
fn stretches(lanes: &[Lane<'_>]) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut at = 0;
    let is_row = |lane: &Lane<'_>| matches!(lane, Lane::Row { .. });
    for run in lanes.chunk_by(|a, b| is_row(a) == is_row(b)) {
        if is_row(&run[0]) {
            out.push((at, at + run.len()));
        }
        at += run.len();
    }
    out
}
