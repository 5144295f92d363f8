//! Lines in a terminal: dots of braille between an axis at the left and one below.

use super::braille::{ACROSS, Cell, DOWN, Raster};
use super::grid::{Grid, share};
use super::label::{cut, left, middle, right, shown_width};
use super::lines::{Lines, outline};
use super::terminal::{COLOURS, Pen};

/// Rows of the inside.
const ROWS: usize = 16;

/// The sign where several series pass and no colour tells them apart.
const SEVERAL: char = '*';

/// Writes lines, and their names with what they are in numbers.
pub(super) fn lines(lines: &Lines, pen: Pen, out: &mut Vec<String>, notes: &mut Vec<String>) {
    let y_grid = lines.y_grid(5);
    let label_width = y_grid.marks.iter().map(|mark| shown_width(&mark.label)).max().unwrap_or(0);
    let label_width = label_width.max(1).min(pen.width / 3);
    let columns = pen.width - label_width - 2;
    let (low, high) = lines.x_range();
    let raster = raster(lines, &y_grid, (low, high), columns);
    let mut labels = vec![String::new(); ROWS];
    for mark in &y_grid.marks {
        let from_top = 1.0 - share(mark.value, y_grid.low(), y_grid.high());
        let row = (from_top * (ROWS * DOWN - 1) as f64).round() as usize / DOWN;
        labels[row] = mark.label.clone();
    }
    out.push(format!("{} {}", " ".repeat(label_width), cut(&lines.y.name, columns)));
    let has_letters = lines.series.len() > 1 && !pen.is_coloured;
    for (row, label) in labels.iter().enumerate() {
        let side = if label.is_empty() { '│' } else { '┤' };
        let inside = inside(raster.row(row), pen, has_letters);
        out.push(format!("{} {side}{inside}", right(label, label_width)));
    }
    foot(lines, (low, high), label_width, columns, out, notes);
    if let Some(note) = y_grid.time_note() {
        notes.push(format!("{}: {note}", lines.y.name));
    }
    for (at, one) in lines.series.iter().enumerate() {
        if !lines.is_named() {
            notes.push(lines.told(one));
            continue;
        }
        let sign = if has_letters { letter(at).to_string() } else { "━━".to_owned() };
        let sign = pen.styled(&sign, COLOURS[at % COLOURS.len()]);
        let name = left(&one.name, shown_width(&one.name).min(pen.width / 3));
        let told = cut(&lines.told(one), pen.width - shown_width(&name) - 5);
        out.push(format!("{sign} {name}  {}", pen.styled(&told, "2")));
    }
    if has_letters && (0..ROWS).any(|row| raster.row(row).iter().any(|cell| cell.is_shared)) {
        out.push(format!("{SEVERAL} several"));
    }
}

/// Returns the sign of a series without colours.
fn letter(series: usize) -> char {
    (b'A' + (series % 26) as u8) as char
}

fn raster(lines: &Lines, y_grid: &Grid, (low, high): (f64, f64), columns: usize) -> Raster {
    let mut raster = Raster::new(columns, ROWS);
    let (across, down) = (columns * ACROSS, ROWS * DOWN);
    let place = |(x, y): (f64, f64)| {
        let right = share(x, low, high) * (across - 1) as f64;
        let up = share(y, y_grid.low(), y_grid.high()) * (down - 1) as f64;
        (right.round() as usize, down - 1 - (up.round() as usize).min(down - 1))
    };
    for (series, one) in lines.series.iter().enumerate() {
        // Eight places for each column of dots: rounding to dots may part a group otherwise.
        let points: Vec<(usize, usize)> =
            outline(&one.points, low, high, 8 * across).into_iter().map(place).collect();
        if let [(x, y)] = points.as_slice() {
            // Four dots are seen.
            let (x, y) = (x - x % ACROSS, y - y % 2);
            for (right, down) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                raster.dot(x + right, y + down, series);
            }
        }
        for two in points.windows(2) {
            raster.line(two[0], two[1], series);
        }
    }
    raster
}

/// Returns a row of the inside, neighbours of one colour in one style.
fn inside(cells: &[Cell], pen: Pen, has_letters: bool) -> String {
    let mut out = String::new();
    for run in
        cells.chunk_by(|a, b| (a.series, a.letter().is_some()) == (b.series, b.letter().is_some()))
    {
        let text: String = run.iter().map(|cell| sign(*cell, has_letters)).collect();
        let is_drawn = run.iter().any(|cell| cell.letter().is_some());
        let colour = COLOURS[run[0].series % COLOURS.len()];
        match is_drawn {
            true => out.push_str(&pen.styled(&text, colour)),
            false => out.push_str(&text),
        }
    }
    out.trim_end().to_owned()
}

fn sign(cell: Cell, has_letters: bool) -> char {
    match cell.letter() {
        None => ' ',
        Some(_) if has_letters && cell.is_shared => SEVERAL,
        Some(_) if has_letters => letter(cell.series),
        Some(dots) => dots,
    }
}

/// Writes the lower axis with its marks and the name of x.
fn foot(
    lines: &Lines,
    (low, high): (f64, f64),
    label_width: usize,
    columns: usize,
    out: &mut Vec<String>,
    notes: &mut Vec<String>,
) {
    let grid = fitting(lines, (low, high), columns);
    let mut rule = vec!['─'; columns];
    // Labels may begin under the labels of y and end at the terminal's edge.
    let mut labels = String::new();
    let offset = label_width + 2;
    for mark in grid.within(low, high) {
        let at = (share(mark.value, low, high) * (columns * ACROSS - 1) as f64).round() as usize;
        rule[at / ACROSS] = '┬';
        let wide = shown_width(&mark.label);
        let start = (offset + at / ACROSS).saturating_sub(wide / 2);
        let start = start.min((offset + columns).saturating_sub(wide));
        let used = shown_width(&labels);
        if used == 0 || used + 2 <= start {
            labels.push_str(&" ".repeat(start - used));
            labels.push_str(&mark.label);
        }
    }
    let rule: String = rule.into_iter().collect();
    out.push(format!("{} └{rule}", " ".repeat(label_width)));
    out.push(labels);
    out.push(" ".repeat(offset) + &middle(&lines.x.name, columns));
    if let Some(note) = grid.time_note() {
        notes.push(format!("{}: {note}", lines.x.name));
    }
}

/// Returns the finest grid of x, of at most eight parts, whose labels fit side by side.
fn fitting(lines: &Lines, (low, high): (f64, f64), columns: usize) -> Grid {
    let grid = |parts: usize| lines.x_grid(parts);
    let fits = |grid: &Grid| {
        let marks: Vec<usize> =
            grid.within(low, high).map(|mark| shown_width(&mark.label) + 3).collect();
        marks.iter().sum::<usize>() <= columns + 3
    };
    (2..=8).rev().map(grid).find(fits).unwrap_or_else(|| grid(1))
}
