//! A chart as text: bars of eighths of a letter, dots of braille, shaded cells.

use super::bars::Bars;
use super::chart::{Body, Chart};
use super::histogram::Histogram;
use super::label::{cut, grouped, left, right, shown_width, visible, wrapped};
use super::{terminal_intervals, terminal_lines, terminal_matrix};

/// The narrowest picture; on a narrower terminal lines are broken.
const WIDTH_MIN: usize = 40;

/// The widest one: bars of more columns say no more.
const WIDTH_MAX: usize = 160;

/// Parts of a letter from the left, in eighths.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Codes of the terminal's colours for series.
pub(super) const COLOURS: [&str; 8] = ["36", "33", "32", "35", "34", "31", "96", "37"];

/// Codes of the colour of bars.
const BAR: &str = "36";
/// Codes of bars that are not as wide as the others.
const TAIL: &str = "2;36";

/// How a picture is written.
#[derive(Clone, Copy)]
pub(super) struct Pen {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether colours are written.
    pub is_coloured: bool,
}

impl Pen {
    /// Returns the text in a style of the terminal, given as the codes of ANSI.
    pub fn styled(self, text: &str, codes: &str) -> String {
        match self.is_coloured && !text.is_empty() {
            true => format!("\x1b[{codes}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Returns a chart in lines of at most `width` columns, from 40 on, each with its end.
pub fn draw(chart: &Chart, width: usize, is_coloured: bool) -> String {
    let pen = Pen { width: width.clamp(WIDTH_MIN, WIDTH_MAX), is_coloured };
    let mut out = vec![pen.styled(&cut(&chart.title, pen.width), "1")];
    let mut notes = Vec::new();
    match &chart.body {
        Body::Histogram(histogram) => {
            out.extend(of_histogram(histogram, pen));
            notes.push(histogram.summary.clone());
            notes.extend(histogram.time_note.clone());
        }
        Body::Lines(lines) => terminal_lines::lines(lines, pen, &mut out, &mut notes),
        Body::Intervals(intervals) => {
            terminal_intervals::intervals(intervals, pen, &mut out, &mut notes);
        }
        Body::Bars(bars) => out.extend(of_bars(bars, pen)),
        Body::Matrix(matrix) => terminal_matrix::matrix(matrix, pen, &mut out, &mut notes),
    }
    for note in notes.iter().chain(&chart.notes) {
        out.extend(wrapped(&visible(note), pen.width).iter().map(|line| pen.styled(line, "2")));
    }
    let lines: Vec<&str> = out.iter().map(|line| line.trim_end()).collect();
    lines.join("\n") + "\n"
}

/// Returns a bar of a share of `columns`; what is above 0 is seen.
fn bar(share: f64, columns: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * columns as f64 * 8.0).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn of_histogram(histogram: &Histogram, pen: Pen) -> Vec<String> {
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let labels = widest(&mut histogram.bins.iter().map(|bin| shown_width(&bin.label)));
    let labels = labels.min(pen.width / 2);
    let counts: Vec<String> = histogram.bins.iter().map(|bin| grouped(bin.count as f64)).collect();
    let told = widest(&mut counts.iter().map(|count| count.len()));
    let columns = pen.width.saturating_sub(labels + told + 3).max(4);
    let most = histogram.count_max().max(1) as f64;
    let mut out = Vec::new();
    for (bin, count) in histogram.bins.iter().zip(&counts) {
        let shape = bar(bin.count as f64 / most, columns);
        let colour = if bin.is_tail { TAIL } else { BAR };
        let (label, shape) = (right(&bin.label, labels), pen.styled(&shape, colour));
        out.push(format!("{label} │{shape} {count}"));
    }
    out
}

fn of_bars(bars: &Bars, pen: Pen) -> Vec<String> {
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let labels = widest(&mut bars.bars.iter().map(|bar| shown_width(&bar.label)));
    let labels = labels.min(pen.width * 2 / 5);
    let (low, high) = bars.range();
    // A number stands at the end of its bar; at its left below 0.
    let told = |is_left: bool| {
        let bars = bars.bars.iter().filter(|bar| (bar.value < 0.0 && !bar.is_rest) == is_left);
        bars.map(|bar| shown_width(&bar.told) + 1).max().unwrap_or(0)
    };
    let (told_left, told_right) = (told(true), told(false));
    // Names give way to numbers.
    let room = pen.width.saturating_sub(2 + told_left + told_right);
    let labels = labels.min(room.saturating_sub(8).max(4));
    let columns = room.saturating_sub(labels).max(4);
    let below = match (low < 0.0, high > 0.0) {
        (true, true) => {
            ((super::grid::share(0.0, low, high) * columns as f64) as usize).clamp(1, columns - 1)
        }
        (true, false) => columns,
        _ => 0,
    };
    let above = columns - below;
    let mut out = Vec::new();
    for one in &bars.bars {
        let label = left(&one.label, labels);
        let room = told_left + below;
        // A sum is only told: its bar would make the others small.
        let line = if one.is_rest {
            format!("{label} {}│ {}", " ".repeat(room), pen.styled(&one.told, "2"))
        } else if one.value < 0.0 {
            // There are no eighths from the right: halves.
            let halves = (one.value / low * below as f64 * 2.0).round().max(1.0) as usize;
            let shape = "▐".repeat(halves % 2) + &"█".repeat(halves / 2);
            let told = right(&one.told, room - shown_width(&shape) - 1);
            format!("{label} {told} {}│", pen.styled(&shape, BAR))
        } else {
            let share = if high > 0.0 { one.value / high } else { 0.0 };
            let shape = pen.styled(&bar(share, above), BAR);
            format!("{label} {}│{shape} {}", " ".repeat(room), one.told)
        };
        out.push(line);
    }
    out
}
