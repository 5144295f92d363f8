//! The table for people: columns as wide as their values, folded to the terminal's width.
//!
//! The first rows decide the widths and are held back until they are known; later rows are
//! written as they come, so that a result of any size needs no more memory than that.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::cells;

/// Rows that decide the widths.
const ROWS_MEASURED: usize = 2_000;

/// A column is not made narrower than this to fit the terminal; sooner some are left out.
const WIDTH_MIN: usize = 12;

/// What stands between two columns.
const BETWEEN: &str = " │ ";

/// Lines of one cell that are shown; what is cut is marked.
const CELL_LINES_MAX: usize = 6;

/// The widest column where there is no terminal to fit.
const WIDTH_MAX_PIPED: usize = 200;

pub(super) struct TableWriter {
    names: Vec<String>,
    numbers: Vec<bool>,
    terminal: Option<usize>,
    held: Vec<Vec<Option<String>>>,
    /// The columns that are shown, with their widths, once they are known.
    shown: Option<Vec<(Shown, usize)>>,
}

/// What stands in a column of the screen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The column of the rows at this place.
    Column(usize),
    /// A mark where columns are left out.
    LeftOut,
}

impl TableWriter {
    pub fn new(schema: &Schema, terminal: Option<usize>) -> TableWriter {
        let names = schema.fields().iter().map(|f| f.name().clone()).collect();
        let numbers = schema.fields().iter().map(|f| cells::is_number(f.data_type())).collect();
        TableWriter { names, numbers, terminal, held: Vec::new(), shown: None }
    }

    pub fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()> {
        let columns: Result<Vec<Vec<Option<String>>>, _> =
            batch.columns().iter().map(cells::texts).collect();
        let mut columns: Vec<_> =
            columns.map_err(io::Error::other)?.into_iter().map(Vec::into_iter).collect();
        for _ in 0..batch.num_rows() {
            let row: Vec<_> = columns.iter_mut().map(|c| c.next().flatten()).collect();
            match &self.shown {
                Some(shown) => self.row(out, &row, shown)?,
                None => self.held.push(row),
            }
        }
        if self.shown.is_none() && self.held.len() >= ROWS_MEASURED {
            self.release(out)?;
        }
        Ok(())
    }

    pub fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.shown.is_none() {
            self.release(out)?;
        }
        Ok(())
    }

    /// Returns how many columns are shown, of how many.
    pub fn columns(&self) -> (usize, usize) {
        let is_column = |(what, _): &&(Shown, usize)| *what != Shown::LeftOut;
        let shown = self.shown.as_ref().map(|shown| shown.iter().filter(is_column).count());
        (shown.unwrap_or(self.names.len()), self.names.len())
    }

    /// Decides the widths, and writes the header and what was held back.
    fn release(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let shown = self.fitted();
        let names: Vec<Option<String>> = self.names.iter().cloned().map(Some).collect();
        self.row(out, &names, &shown)?;
        let rules: Vec<String> = shown.iter().map(|(_, width)| "─".repeat(*width)).collect();
        writeln!(out, "{}", rules.join("─┼─"))?;
        for row in std::mem::take(&mut self.held) {
            self.row(out, &row, &shown)?;
        }
        self.shown = Some(shown);
        Ok(())
    }

    /// Returns the columns with the widths that the held rows need, the widest made narrower until
    /// all fit; where that is not enough, columns in the middle are left out.
    fn fitted(&self) -> Vec<(Shown, usize)> {
        let longest = |text: &str| text.split('\n').map(shown_width).max().unwrap_or(0);
        let mut widths: Vec<usize> = self.names.iter().map(|n| n.width().max(1)).collect();
        for row in &self.held {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.as_deref().map_or(4, longest));
            }
        }
        let Some(terminal) = self.terminal else {
            let widths = widths.into_iter().map(|w| w.min(WIDTH_MAX_PIPED));
            return (0..).map(Shown::Column).zip(widths).collect();
        };
        let mut shown: Vec<(Shown, usize)> = (0..).map(Shown::Column).zip(widths).collect();
        let least = |shown: &[(Shown, usize)]| {
            let widths = shown.iter().map(|(_, width)| (*width).min(WIDTH_MIN));
            widths.sum::<usize>() + BETWEEN.width() * shown.len().saturating_sub(1)
        };
        if least(&shown) > terminal {
            let mark = shown.len() / 2;
            shown[mark] = (Shown::LeftOut, 1);
            while least(&shown) > terminal && shown.len() > 2 {
                // The first columns and the last ones say most: the middle goes first, from both
                // sides of the mark in turn.
                let at = shown.iter().position(|(what, _)| *what == Shown::LeftOut).unwrap_or(0);
                let right = shown.len() - 1 - at;
                shown.remove(if right >= at { at + 1 } else { at - 1 });
            }
        }
        let between = BETWEEN.width() * shown.len().saturating_sub(1);
        while shown.iter().map(|(_, width)| width).sum::<usize>() + between > terminal {
            let Some((_, widest)) = shown.iter_mut().max_by_key(|(_, width)| *width) else { break };
            if *widest <= WIDTH_MIN {
                break;
            }
            *widest -= 1;
        }
        shown
    }

    fn row(
        &self,
        out: &mut dyn Write,
        row: &[Option<String>],
        shown: &[(Shown, usize)],
    ) -> io::Result<()> {
        let cell = |(what, width): &(Shown, usize)| match what {
            Shown::Column(at) => fold(row[*at].as_deref().unwrap_or("null"), *width),
            Shown::LeftOut => vec!["…".to_owned()],
        };
        let folded: Vec<Vec<String>> = shown.iter().map(cell).collect();
        let lines = folded.iter().map(Vec::len).max().unwrap_or(1);
        for line in 0..lines {
            let mut text = String::new();
            for (at, (cell, (what, width))) in folded.iter().zip(shown).enumerate() {
                if at > 0 {
                    text.push_str(BETWEEN);
                }
                let part = cell.get(line).map_or("", String::as_str);
                let space = " ".repeat(width.saturating_sub(part.width()));
                let is_number = matches!(what, Shown::Column(at) if self.numbers[*at]);
                match is_number {
                    true => text.extend([space.as_str(), part]),
                    false => text.extend([part, space.as_str()]),
                }
            }
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// Returns the width of a text on the screen, control characters as they are shown.
fn shown_width(text: &str) -> usize {
    text.chars().map(|c| if c.is_control() { 1 } else { c.width().unwrap_or(0) }).sum()
}

/// Cuts a text into lines of at most `width`; control characters become visible and harmless.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    'text: for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut used = 0;
        for letter in paragraph.chars() {
            let letter = if letter.is_control() { '·' } else { letter };
            let wide = letter.width().unwrap_or(0);
            if used + wide > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
                if lines.len() >= CELL_LINES_MAX {
                    break 'text;
                }
            }
            line.push(letter);
            used += wide;
        }
        lines.push(line);
        if lines.len() >= CELL_LINES_MAX {
            break;
        }
    }
    let shown: usize = lines.iter().map(|l| l.chars().count()).sum();
    let all = text.chars().filter(|c| *c != '\n').count();
    if shown < all
        && let Some(last) = lines.last_mut()
    {
        while last.width() + 1 > width && last.pop().is_some() {}
        last.push('…');
    }
    lines
}
