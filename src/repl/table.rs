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

/// A column is not made narrower than this to fit the terminal.
const WIDTH_MIN: usize = 8;

/// Lines of one cell that are shown; what is cut is marked.
const CELL_LINES_MAX: usize = 6;

/// The widest column where there is no terminal to fit.
const WIDTH_MAX_PIPED: usize = 200;

pub(super) struct TableWriter {
    names: Vec<String>,
    numbers: Vec<bool>,
    terminal: Option<usize>,
    held: Vec<Vec<Option<String>>>,
    widths: Option<Vec<usize>>,
}

impl TableWriter {
    pub fn new(schema: &Schema, terminal: Option<usize>) -> TableWriter {
        let names = schema.fields().iter().map(|f| f.name().clone()).collect();
        let numbers = schema.fields().iter().map(|f| cells::is_number(f.data_type())).collect();
        TableWriter { names, numbers, terminal, held: Vec::new(), widths: None }
    }

    pub fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()> {
        let columns: Result<Vec<Vec<Option<String>>>, _> =
            batch.columns().iter().map(cells::texts).collect();
        let mut columns: Vec<_> =
            columns.map_err(io::Error::other)?.into_iter().map(Vec::into_iter).collect();
        for _ in 0..batch.num_rows() {
            let row: Vec<_> = columns.iter_mut().map(|c| c.next().flatten()).collect();
            match &self.widths {
                Some(widths) => self.row(out, &row, widths)?,
                None => self.held.push(row),
            }
        }
        if self.widths.is_none() && self.held.len() >= ROWS_MEASURED {
            self.release(out)?;
        }
        Ok(())
    }

    pub fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.widths.is_none() {
            self.release(out)?;
        }
        Ok(())
    }

    /// Decides the widths, and writes the header and what was held back.
    fn release(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let widths = self.fitted();
        let names: Vec<Option<String>> = self.names.iter().cloned().map(Some).collect();
        self.row(out, &names, &widths)?;
        let rules: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
        writeln!(out, "{}", rules.join("─┼─"))?;
        for row in std::mem::take(&mut self.held) {
            self.row(out, &row, &widths)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    /// Returns the widths that the held rows need, the widest made narrower until all fit.
    fn fitted(&self) -> Vec<usize> {
        let longest = |text: &str| text.split('\n').map(shown_width).max().unwrap_or(0);
        let mut widths: Vec<usize> = self.names.iter().map(|n| n.width().max(1)).collect();
        for row in &self.held {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.as_deref().map_or(4, longest));
            }
        }
        let Some(terminal) = self.terminal else {
            return widths.into_iter().map(|w| w.min(WIDTH_MAX_PIPED)).collect();
        };
        let between = 3 * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + between > terminal {
            let Some(widest) = widths.iter_mut().max() else { break };
            if *widest <= WIDTH_MIN {
                break;
            }
            *widest -= 1;
        }
        widths
    }

    fn row(&self, out: &mut dyn Write, row: &[Option<String>], widths: &[usize]) -> io::Result<()> {
        let cells = row.iter().zip(widths);
        let folded: Vec<Vec<String>> =
            cells.map(|(cell, width)| fold(cell.as_deref().unwrap_or("null"), *width)).collect();
        let lines = folded.iter().map(Vec::len).max().unwrap_or(1);
        for line in 0..lines {
            let mut text = String::new();
            for (at, (cell, width)) in folded.iter().zip(widths).enumerate() {
                if at > 0 {
                    text.push_str(" │ ");
                }
                let part = cell.get(line).map_or("", String::as_str);
                let space = " ".repeat(width.saturating_sub(part.width()));
                match self.numbers[at] {
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
