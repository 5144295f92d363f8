//! Tables: what a column holds decides how its cells read.
//!
//! No cell is marked as the best of its column. The highest of several numbers is the highest by
//! choice, its interval is about itself and not about a difference, and runs on the same questions
//! vary together, so that neither apart nor overlapping intervals say whether one is better. A
//! table that compares has a column of kind `Difference` from a paired test, and one of kind
//! `PValue`.

use super::numbers::{bracketed, print_estimate, print_p_value, print_share, print_signed};
use crate::plot::{fixed, readable};
use crate::score::Estimate;

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// At its left.
    Left,
    /// In its middle.
    Centre,
    /// At its right.
    Right,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names and sentences.
    Text,
    /// Names in letters of one width: hashes, columns, commands.
    Code,
    /// Numbers with thousands apart: `12,034`, `3.50`.
    Number {
        /// Digits behind the point.
        digits: usize,
    },
    /// Shares, with their interval where there is one: `.512`.
    Share {
        /// Digits behind the point.
        digits: usize,
    },
    /// Numbers of any size with their intervals: `3.50 [3.10, 3.90]`.
    Estimate {
        /// Digits behind the point.
        digits: usize,
    },
    /// Differences of shares with their sign, and their interval where there is one: `+.032`.
    Difference {
        /// Digits behind the point.
        digits: usize,
    },
    /// Probabilities under no difference: `.032`, `<.001`.
    PValue,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What stands above it.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Where its cells stand.
    pub align: Align,
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// There is no value; shown as a dash.
    Missing,
    /// A text, in a column of any kind.
    Text(String),
    /// A number.
    Number(f64),
    /// A number and its interval.
    Estimate(Estimate),
}

/// A table. Every row has a cell for each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    caption: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// Why a document cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// A row has other cells than the table has columns.
    #[error(
        "row {row} of table '{caption}' (rows count from 1) has {found} cells; expected \
         {expected}, one for each column: put `Cell::Missing` where there is no value"
    )]
    Cells {
        /// The table's caption.
        caption: String,
        /// Which row, from 1.
        row: usize,
        /// Its cells.
        found: usize,
        /// The table's columns.
        expected: usize,
    },
}

impl Column {
    /// Returns a column; text stands at the left, numbers at the right.
    pub fn new(name: impl Into<String>, kind: Kind) -> Column {
        let align =
            if matches!(kind, Kind::Text | Kind::Code) { Align::Left } else { Align::Right };
        Column { name: name.into(), kind, align }
    }

    /// Returns the column with its cells elsewhere.
    #[must_use]
    pub fn aligned(mut self, align: Align) -> Column {
        self.align = align;
        self
    }

    /// Returns how a cell reads in this column. A text is itself; numbers in columns of text read
    /// as short as they can; what is no number reads `NaN`, `inf` or `-inf`.
    pub fn print(&self, cell: &Cell) -> String {
        let number = |value: f64| match self.kind {
            Kind::Text | Kind::Code => readable(value),
            Kind::Number { digits } | Kind::Estimate { digits } => fixed(value, digits),
            Kind::Share { digits } => print_share(value, digits),
            Kind::Difference { digits } => print_signed(value, digits),
            Kind::PValue => print_p_value(value),
        };
        match (cell, self.kind) {
            (Cell::Missing, _) => "–".to_owned(),
            (Cell::Text(text), _) => text.clone(),
            (Cell::Number(value), _) => number(*value),
            (Cell::Estimate(estimate), Kind::Share { digits }) => print_estimate(*estimate, digits),
            (Cell::Estimate(estimate), _) => bracketed(*estimate, number),
        }
    }
}

impl Table {
    /// Returns a table without rows.
    pub fn new(caption: impl Into<String>, columns: impl IntoIterator<Item = Column>) -> Table {
        let columns = columns.into_iter().collect();
        Table { caption: caption.into(), columns, rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// It has more or fewer cells than there are columns; the table is as before.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) -> Result<(), ReportError> {
        let row: Vec<Cell> = row.into_iter().collect();
        if row.len() != self.columns.len() {
            return Err(ReportError::Cells {
                caption: self.caption.clone(),
                row: self.rows.len() + 1,
                found: row.len(),
                expected: self.columns.len(),
            });
        }
        self.rows.push(row);
        Ok(())
    }

    /// Returns what it shows, in a few words.
    pub fn caption(&self) -> &str {
        &self.caption
    }

    /// Returns its columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns its rows.
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Cell {
        Cell::Number(number)
    }
}

impl From<Estimate> for Cell {
    fn from(estimate: Estimate) -> Cell {
        Cell::Estimate(estimate)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Cell {
        cell.map_or(Cell::Missing, Into::into)
    }
}
