//! A chart as a scene, for paper: dark on white, axes from round number to round number.

use super::bars::Bars;
use super::chart::{Axis, Body, Chart, Scale};
use super::figure_intervals::of_intervals;
use super::font::{cut, width};
use super::frame::{Frame, MARK_SIZE, Mark, Sheet, side_room};
use super::grid::{Grid, share};
use super::histogram::{Bin, Histogram};
use super::label::readable;
use super::lines::{Lines, SERIES_MAX, outline};
use super::matrix::{Matrix, strength};
use super::scene::{Anchor, Colour, INK, PALE, SERIES, Scene, TextStyle, WHITE};

/// The room at the right side for the half of a label.
pub(super) const RIGHT: f64 = 28.0;
/// Points of a line up to which each has a dot.
const DOTS_MAX: usize = 60;
/// The widest label at the left side.
const LABEL_MAX: f64 = 190.0;
/// Rows and columns of a matrix at most.
const NAMES_MAX: usize = 24;

/// Returns the picture of a chart.
pub fn scene(chart: &Chart) -> Scene {
    scene_on(chart, Sheet::default())
}

/// Returns the picture of a chart on a sheet; a matrix is as wide as its cells need.
pub fn scene_on(chart: &Chart, sheet: Sheet) -> Scene {
    let sheet = Sheet { width: sheet.width.clamp(320.0, 4_000.0), ..sheet };
    match &chart.body {
        Body::Histogram(histogram) => of_histogram(chart, histogram, sheet),
        Body::Lines(lines) => of_lines(chart, lines, sheet),
        Body::Bars(bars) => of_bars(chart, bars, sheet),
        Body::Intervals(intervals) => of_intervals(chart, intervals, sheet),
        Body::Matrix(matrix) => of_matrix(chart, matrix, sheet),
    }
}

pub(super) fn named(axis: &Axis, note: Option<String>) -> String {
    match note {
        Some(note) => format!("{} ({note})", axis.name),
        None => axis.name.clone(),
    }
}

/// Returns the marks of a grid along a side of `height` that ends at `bottom`.
fn upward(grid: &Grid, bottom: f64, height: f64) -> Vec<Mark> {
    let at = |value: f64| bottom - share(value, grid.low(), grid.high()) * height;
    let marks = grid.marks.iter();
    marks.map(|mark| Mark { at: at(mark.value), label: mark.label.clone() }).collect()
}

fn of_histogram(chart: &Chart, histogram: &Histogram, sheet: Sheet) -> Scene {
    let counts = Grid::new(0.0, histogram.count_max() as f64, 5, Scale::Number, true);
    let left = side_room(counts.marks.iter().map(|mark| mark.label.as_str()), LABEL_MAX);
    let mut frame = Frame::new(&chart.title, &[], (left, RIGHT), sheet.size(), sheet);
    let bottom = frame.top + frame.height;
    frame.side(&upward(&counts, bottom, frame.height), "rows");
    // Bins of one width share a scale; a tail stands beside them as wide as one, behind a gap.
    let is_tail = |bin: &&Bin| bin.is_tail;
    let tails = histogram.bins.iter().filter(is_tail).count() as f64;
    let bodies: Vec<&Bin> = histogram.bins.iter().filter(|bin| !bin.is_tail).collect();
    let (low, high) = (bodies[0].low, bodies[bodies.len() - 1].high);
    let tail_width = 34.0;
    let gap = 12.0;
    let has_low_tail = histogram.bins[0].is_tail;
    let body_left = frame.left + if has_low_tail { tail_width + gap } else { 0.0 };
    let body_width = frame.width - tails * (tail_width + gap);
    let height_of = |bin: &Bin| share(bin.count as f64, 0.0, counts.high()) * frame.height;
    let mut label_end = frame.scene.width;
    for (at, bin) in histogram.bins.iter().enumerate() {
        let (x, extent, fill) = match (bin.is_tail, at) {
            (true, 0) => (frame.left, tail_width, PALE),
            (true, _) => (frame.left + frame.width - tail_width, tail_width, PALE),
            _ => {
                let x = body_left + share(bin.low, low, high) * body_width;
                let end = body_left + share(bin.high, low, high) * body_width;
                (x, end - x, SERIES[0])
            }
        };
        let height = height_of(bin);
        let space = (extent * 0.06).min(1.0);
        if bin.count > 0 {
            // A single row can be seen among thousands.
            let height = height.max(1.0);
            frame.scene.rect(x + space / 2.0, bottom - height, extent - space, height, fill);
        }
        if bin.is_tail {
            let middle = x + extent / 2.0;
            frame.scene.text((middle, bottom + 17.0), &bin.label, MARK_SIZE, Anchor::Middle);
            if at > 0 {
                label_end = middle - width(&bin.label, MARK_SIZE) / 2.0 - 8.0;
            }
        }
    }
    let is_single = bodies.iter().all(|bin| bin.high - bin.low == 1.0)
        && bodies.iter().all(|bin| !bin.label.contains(['–', '[', ':']));
    let place = |value: f64| body_left + share(value, low, high) * body_width;
    let marks: Vec<Mark> = if is_single {
        let mark = |bin: &&Bin| Mark { at: place(bin.low + 0.5), label: bin.label.clone() };
        bodies.iter().map(mark).collect()
    } else {
        let grid = Grid::new(low, high, 8, histogram.axis.scale, false);
        let within = grid.within(low, high);
        within.map(|mark| Mark { at: place(mark.value), label: mark.label.clone() }).collect()
    };
    frame.foot(&marks, &named(&histogram.axis, histogram.time_note.clone()), label_end);
    frame.finished([histogram.summary.as_str()].into_iter().chain(notes(chart)))
}

pub(super) fn notes(chart: &Chart) -> impl Iterator<Item = &str> {
    chart.notes.iter().map(String::as_str)
}

fn of_lines(chart: &Chart, lines: &Lines, sheet: Sheet) -> Scene {
    let y_grid = lines.y_grid(6);
    let left = side_room(y_grid.marks.iter().map(|mark| mark.label.as_str()), LABEL_MAX);
    let legend: Vec<(String, Colour)> = if lines.is_named() {
        let colours = SERIES.iter().cycle();
        lines.series.iter().zip(colours).map(|(one, c)| (one.name.clone(), *c)).collect()
    } else {
        Vec::new()
    };
    let mut frame = Frame::new(&chart.title, &legend, (left, RIGHT), sheet.size(), sheet);
    let bottom = frame.top + frame.height;
    frame.side(&upward(&y_grid, bottom, frame.height), &named(&lines.y, y_grid.time_note()));
    let (low, high) = lines.x_range();
    // Under the lines: what is at 0 is seen.
    let grid = lines.x_grid(8);
    let across = |value: f64| frame.left + share(value, low, high) * frame.width;
    let within = grid.within(low, high);
    let marks: Vec<Mark> =
        within.map(|mark| Mark { at: across(mark.value), label: mark.label.clone() }).collect();
    let end = frame.scene.width;
    frame.foot(&marks, &named(&lines.x, grid.time_note()), end);
    let place = |(x, y): (f64, f64)| {
        let across = frame.left + share(x, low, high) * frame.width;
        (across, bottom - share(y, y_grid.low(), y_grid.high()) * frame.height)
    };
    let mut drawn = Vec::new();
    for (at, one) in lines.series.iter().enumerate() {
        let colour = SERIES[at % SERIES_MAX];
        // Two places for each point of the picture, as many as a PNG has pixels.
        let points = outline(&one.points, low, high, 2 * frame.width as usize);
        drawn.push((colour, points.into_iter().map(place).collect::<Vec<_>>()));
    }
    for (colour, points) in drawn {
        let dots = if points.len() <= DOTS_MAX { points.clone() } else { Vec::new() };
        if points.len() > 1 {
            frame.scene.line(points, colour, if dots.is_empty() { 1.0 } else { 1.8 });
        }
        for (x, y) in dots {
            frame.scene.dot(x, y, 2.6, colour);
        }
    }
    let told: Vec<String> = match lines.series.as_slice() {
        [one] => vec![lines.told(one)],
        _ => Vec::new(),
    };
    let said: Vec<&str> = told.iter().map(String::as_str).chain(notes(chart)).collect();
    frame.finished(said)
}

fn of_bars(chart: &Chart, bars: &Bars, sheet: Sheet) -> Scene {
    let labels = || bars.bars.iter().map(|bar| bar.label.as_str());
    let left = side_room(labels(), LABEL_MAX);
    let told_width =
        bars.bars.iter().map(|bar| width(&bar.told, MARK_SIZE)).fold(0.0, f64::max) + 8.0;
    let each = match bars.bars.len() {
        0..=12 => 24.0,
        13..=24 => 19.0,
        _ => 16.0,
    };
    let inside_height = each * bars.bars.len() as f64 + 6.0;
    let mut frame =
        Frame::new(&chart.title, &[], (left, RIGHT), (sheet.width, inside_height), sheet);
    let (low, high) = bars.range();
    let has_negative = low < 0.0;
    // The numbers stand behind their bars.
    let room_left = if has_negative { told_width } else { 0.0 };
    let has_right = bars.bars.iter().any(|bar| bar.value >= 0.0 || bar.is_rest);
    let room = frame.width - room_left - if has_right { told_width } else { 0.0 };
    let (start, extent) = (frame.left + room_left, room.max(40.0));
    let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
    let place = |value: f64| start + share(value, low, high) * extent;
    let grid = Grid::new(low, high, 6, bars.value.scale, false);
    let bottom = frame.top + frame.height;
    let marks: Vec<Mark> = grid
        .within(low, high)
        .map(|mark| Mark { at: place(mark.value), label: mark.label.clone() })
        .collect();
    for (at, bar) in bars.bars.iter().enumerate() {
        let y = frame.top + 3.0 + each * at as f64;
        let zero = place(0.0);
        // A sum is only told: its bar would make the others small.
        let end = if bar.is_rest { zero } else { place(bar.value) };
        if !bar.is_rest {
            frame.scene.rect(zero.min(end), y + 2.0, (end - zero).abs(), each - 4.0, SERIES[0]);
        }
        let base = y + each / 2.0 + 4.0;
        let label = cut(&bar.label, MARK_SIZE, LABEL_MAX);
        frame.scene.text((frame.left - 8.0, base), &label, MARK_SIZE, Anchor::End);
        let (x, anchor) = match bar.value < 0.0 && !bar.is_rest {
            true => (end - 5.0, Anchor::End),
            false => (end + 5.0, Anchor::Start),
        };
        frame.scene.text((x, base), &bar.told, MARK_SIZE, anchor);
    }
    frame.scene.line(vec![(place(0.0), frame.top), (place(0.0), bottom)], INK, 1.0);
    frame.side_name(&bars.label_name);
    let end = frame.scene.width;
    frame.foot(&marks, &named(&bars.value, grid.time_note()), end);
    frame.finished(notes(chart))
}

fn of_matrix(chart: &Chart, matrix: &Matrix, sheet: Sheet) -> Scene {
    let (matrix, note) = matrix.fitted(NAMES_MAX, NAMES_MAX);
    let told = |row: usize, column: usize| matrix.cell(row, column).map(readable);
    let texts = (0..matrix.rows.len())
        .flat_map(|row| (0..matrix.columns.len()).filter_map(move |column| told(row, column)));
    let cell_width = (texts.map(|t| width(&t, MARK_SIZE)).fold(0.0, f64::max) + 12.0).max(34.0);
    let cell_height = 24.0;
    let heads: Vec<String> =
        matrix.columns.iter().map(|name| cut(name, MARK_SIZE, LABEL_MAX)).collect();
    let head_width = heads.iter().map(|head| width(head, MARK_SIZE)).fold(0.0, f64::max);
    let is_turned = head_width > cell_width - 4.0;
    let left = side_room(matrix.rows.iter().map(String::as_str), LABEL_MAX);
    // A turned head reaches to the lower left of its column.
    let left = if is_turned { left.max(head_width * 0.71 + 12.0 - cell_width / 2.0) } else { left };
    let inside = (cell_width * matrix.columns.len() as f64, cell_height * matrix.rows.len() as f64);
    let whole_width = (left + inside.0 + RIGHT).max(sheet.width / 2.0).ceil();
    let right = whole_width - left - inside.0;
    let mut frame = Frame::new(&chart.title, &[], (left, right), (whole_width, inside.1), sheet);
    let most = matrix.size_max();
    for row in 0..matrix.rows.len() {
        let y = frame.top + cell_height * row as f64;
        let label = cut(&matrix.rows[row], MARK_SIZE, LABEL_MAX);
        let base = y + cell_height / 2.0 + 4.0;
        frame.scene.text((frame.left - 8.0, base), &label, MARK_SIZE, Anchor::End);
        for column in 0..matrix.columns.len() {
            let x = frame.left + cell_width * column as f64;
            let value = matrix.cell(row, column);
            let fill = match value {
                Some(_) if matrix.is_rest(row, column) => WHITE,
                Some(value) => Colour::shade(strength(value, most)),
                None => Colour(250, 250, 250),
            };
            frame.scene.rect(x + 0.5, y + 0.5, cell_width - 1.0, cell_height - 1.0, fill);
            let Some(value) = value else { continue };
            let style = TextStyle {
                size: MARK_SIZE,
                anchor: Anchor::Middle,
                fill: if fill.is_dark() { WHITE } else { INK },
                ..TextStyle::default()
            };
            frame.scene.styled((x + cell_width / 2.0, base), &readable(value), style);
        }
    }
    let bottom = frame.top + frame.height;
    for (at, head) in heads.iter().enumerate() {
        let middle = frame.left + cell_width * (at as f64 + 0.5);
        let (place, anchor, turn) = match is_turned {
            true => ((middle + 4.0, bottom + 12.0), Anchor::End, -45.0),
            false => ((middle, bottom + 16.0), Anchor::Middle, 0.0),
        };
        let style = TextStyle { size: MARK_SIZE, anchor, turn, ..TextStyle::default() };
        frame.scene.styled(place, head, style);
    }
    frame.reach(bottom + if is_turned { 14.0 + head_width * 0.71 } else { 18.0 });
    frame.side_name(&matrix.row_name);
    frame.foot_name(&matrix.column_name);
    frame.finished(note.as_deref().into_iter().chain(notes(chart)))
}
