//! What a picture shows, before it is known where it is drawn.

use super::bars::Bars;
use super::histogram::Histogram;
use super::intervals::{Interval, Intervals};
use super::label::visible;
use super::lines::{Lines, Series};
use super::matrix::Matrix;

/// A kind of picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChartKind {
    /// How often values of one column fall into bins.
    Histogram,
    /// One number over another.
    Line,
    /// A number for each name.
    Bar,
    /// A number for each pair of names.
    Matrix,
}

impl ChartKind {
    /// Every kind.
    pub const ALL: [ChartKind; 4] =
        [ChartKind::Histogram, ChartKind::Line, ChartKind::Bar, ChartKind::Matrix];

    /// Returns the word used at the prompt.
    pub fn as_str(self) -> &'static str {
        match self {
            ChartKind::Histogram => "hist",
            ChartKind::Line => "line",
            ChartKind::Bar => "bar",
            ChartKind::Matrix => "matrix",
        }
    }

    /// Returns the kind that a word names, in any case, or `None` for any other word.
    pub fn parse(word: &str) -> Option<ChartKind> {
        ChartKind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word))
    }
}

/// How the values of a column are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// As numbers.
    #[default]
    Number,
    /// As false (0) and true (1).
    Truth,
    /// As seconds since 1970-01-01T00:00:00Z.
    Time,
}

/// A column that is measured along a side of the picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// How its values are read.
    pub scale: Scale,
}

impl Axis {
    /// Returns the axis of a column.
    pub fn new(name: impl Into<String>, scale: Scale) -> Axis {
        Axis { name: visible(&name.into()), scale }
    }
}

/// A picture's content.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows, in a few words.
    pub title: String,
    /// The data.
    pub body: Body,
    /// What was left out, summed up or should be known, a sentence each.
    pub notes: Vec<String>,
}

/// The data of each kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Bins and their counts.
    Histogram(Histogram),
    /// Points, joined within a series.
    Lines(Lines),
    /// Names and their numbers.
    Bars(Bars),
    /// Numbers and the intervals around them.
    Intervals(Intervals),
    /// Pairs of names and their numbers.
    Matrix(Matrix),
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlotError {
    /// No value is left to draw.
    #[error("there is nothing to draw: no row has a value in every column")]
    Empty,
    /// A cell of a matrix is given twice.
    #[error("two rows are for the same cell: {row_name} '{row}', {column_name} '{column}'")]
    CellTwice {
        /// The column that names the rows of the matrix.
        row_name: String,
        /// The row.
        row: String,
        /// The column that names the columns of the matrix.
        column_name: String,
        /// The column.
        column: String,
    },
}

impl Chart {
    /// Returns the histogram of finite values; others are left out and noted.
    ///
    /// # Errors
    /// No value is finite.
    pub fn histogram(axis: Axis, mut values: Vec<f64>) -> Result<Chart, PlotError> {
        let all = values.len();
        values.retain(|value| value.is_finite());
        let notes = not_finite(all - values.len());
        let title = axis.name.clone();
        let histogram = Histogram::new(axis, values).ok_or(PlotError::Empty)?;
        Ok(Chart { title, body: Body::Histogram(histogram), notes })
    }

    /// Returns lines through points, in the order of x within each series; points that are not
    /// finite are left out and noted, as are series beyond those that can be told apart.
    ///
    /// # Errors
    /// No point is finite.
    pub fn lines(x: Axis, y: Axis, mut series: Vec<Series>) -> Result<Chart, PlotError> {
        let mut dropped = 0;
        for one in &mut series {
            let all = one.points.len();
            one.points.retain(|(x, y)| x.is_finite() && y.is_finite());
            dropped += all - one.points.len();
        }
        let title = format!("{} by {}", y.name, x.name);
        let (lines, note) = Lines::new(x, y, series).ok_or(PlotError::Empty)?;
        let mut notes = not_finite(dropped);
        notes.extend(note);
        Ok(Chart { title, body: Body::Lines(lines), notes })
    }

    /// Returns a bar for each name, in the order given; of many, the smallest are summed.
    ///
    /// # Errors
    /// No number is finite.
    pub fn bars(
        label_name: &str,
        value: Axis,
        mut rows: Vec<(String, f64)>,
    ) -> Result<Chart, PlotError> {
        let (label_name, all) = (visible(label_name), rows.len());
        rows.retain(|(_, value)| value.is_finite());
        let mut notes = not_finite(all - rows.len());
        let title = format!("{} by {label_name}", value.name);
        let (bars, note) = Bars::new(&label_name, value, rows).ok_or(PlotError::Empty)?;
        notes.extend(note);
        Ok(Chart { title, body: Body::Bars(bars), notes })
    }

    /// Returns a dot and a line from end to end for each interval, by group; those with a number
    /// that is not finite are left out and noted.
    ///
    /// # Errors
    /// No interval has finite numbers.
    pub fn intervals(value: Axis, mut rows: Vec<Interval>) -> Result<Chart, PlotError> {
        let all = rows.len();
        rows.retain(|row| [row.low, row.value, row.high].iter().all(|end| end.is_finite()));
        let mut notes = not_finite(all - rows.len());
        let title = value.name.clone();
        let (intervals, note) = Intervals::new(value, rows).ok_or(PlotError::Empty)?;
        notes.extend(note);
        Ok(Chart { title, body: Body::Intervals(intervals), notes })
    }

    /// Returns a cell for each pair of names: the first names the row, the second the column.
    ///
    /// # Errors
    /// No number is finite, or a pair comes twice.
    pub fn matrix(
        row_name: &str,
        column_name: &str,
        value_name: &str,
        mut cells: Vec<(String, String, f64)>,
    ) -> Result<Chart, PlotError> {
        let names = [row_name, column_name, value_name].map(visible);
        let [row_name, column_name, value_name] = names.each_ref().map(String::as_str);
        let all = cells.len();
        cells.retain(|(_, _, value)| value.is_finite());
        let notes = not_finite(all - cells.len());
        let title = format!("{value_name}: {row_name} → {column_name}");
        let matrix = Matrix::new(row_name, column_name, value_name, cells)?;
        Ok(Chart { title, body: Body::Matrix(matrix), notes })
    }
}

fn not_finite(count: usize) -> Vec<String> {
    match count {
        0 => Vec::new(),
        1 => vec!["1 row left out: NaN or infinite".to_owned()],
        _ => vec![format!("{} rows left out: NaN or infinite", super::grouped(count as f64))],
    }
}
