//! Pairs of names and their numbers.

use std::collections::{BTreeMap, HashMap};

use super::chart::PlotError;
use super::label::visible;

/// A number for each pair of names.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// The column that names the rows.
    pub row_name: String,
    /// The column that names the columns.
    pub column_name: String,
    /// The column of the numbers.
    pub value_name: String,
    /// The names of the rows.
    pub rows: Vec<String>,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The numbers by row and column; a pair that no row of the result names has none.
    pub cells: BTreeMap<(usize, usize), f64>,
    /// The last row and the last column, where they are sums of rows and columns not drawn.
    pub rest: (Option<usize>, Option<usize>),
}

impl Matrix {
    /// Returns the matrix of finite numbers. Names that are numbers are in their order; others by
    /// what stands in their row and column together where both sides have the same names, else by
    /// what stands in each; the most first.
    pub(super) fn new(
        row_name: &str,
        column_name: &str,
        value_name: &str,
        cells: Vec<(String, String, f64)>,
    ) -> Result<Matrix, PlotError> {
        if cells.is_empty() {
            return Err(PlotError::Empty);
        }
        let (mut of_rows, mut of_columns) = (HashMap::new(), HashMap::new());
        for (row, column, value) in &cells {
            *of_rows.entry(row.clone()).or_insert(0.0) += value.abs();
            *of_columns.entry(column.clone()).or_insert(0.0) += value.abs();
        }
        let shared = of_rows.keys().filter(|name| of_columns.contains_key(*name)).count();
        if 2 * shared >= of_rows.len().max(of_columns.len()) {
            let together = |name: &String| {
                let of = |sums: &HashMap<String, f64>| sums.get(name).copied().unwrap_or(0.0);
                of(&of_rows) + of(&of_columns)
            };
            let rows = of_rows.keys().map(|name| (name.clone(), together(name)));
            let columns = of_columns.keys().map(|name| (name.clone(), together(name)));
            let (rows, columns) = (rows.collect(), columns.collect());
            (of_rows, of_columns) = (rows, columns);
        }
        let (rows, columns) = (ordered(of_rows), ordered(of_columns));
        let mut filled = BTreeMap::new();
        let places = |names: &[String]| -> HashMap<String, usize> {
            names.iter().cloned().enumerate().map(|(at, name)| (name, at)).collect()
        };
        let (row_places, column_places) = (places(&rows), places(&columns));
        for (row, column, value) in cells {
            let place = (row_places[&row], column_places[&column]);
            if filled.insert(place, value).is_some() {
                return Err(PlotError::CellTwice {
                    row_name: row_name.to_owned(),
                    row,
                    column_name: column_name.to_owned(),
                    column,
                });
            }
        }
        Ok(Matrix {
            row_name: row_name.to_owned(),
            column_name: column_name.to_owned(),
            value_name: value_name.to_owned(),
            rows: rows.iter().map(|name| visible(name)).collect(),
            columns: columns.iter().map(|name| visible(name)).collect(),
            cells: filled,
            rest: (None, None),
        })
    }

    /// Returns the number of a cell.
    pub fn cell(&self, row: usize, column: usize) -> Option<f64> {
        self.cells.get(&(row, column)).copied()
    }

    /// Returns whether a cell is a sum of cells that are not drawn.
    pub fn is_rest(&self, row: usize, column: usize) -> bool {
        self.rest.0 == Some(row) || self.rest.1 == Some(column)
    }

    /// Returns the largest number without its sign, sums aside.
    pub fn size_max(&self) -> f64 {
        let cells = self.cells.iter().filter(|((row, column), _)| !self.is_rest(*row, *column));
        cells.map(|(_, value)| value.abs()).fold(0.0, f64::max)
    }

    /// Returns the matrix of at most so many rows and columns, the others summed in one more, and
    /// a note if there are any.
    pub fn fitted(&self, rows_max: usize, columns_max: usize) -> (Matrix, Option<String>) {
        let keep = |all: usize, most: usize| if all > most { most.max(2) - 1 } else { all };
        let (rows, columns) =
            (keep(self.rows.len(), rows_max), keep(self.columns.len(), columns_max));
        let names = |names: &[String], kept: usize| {
            let mut out = names[..kept].to_vec();
            if names.len() > kept {
                out.push(format!("… {} more", names.len() - kept));
            }
            out
        };
        let mut out = Matrix {
            rows: names(&self.rows, rows),
            columns: names(&self.columns, columns),
            cells: BTreeMap::new(),
            rest: (
                (rows < self.rows.len()).then_some(rows),
                (columns < self.columns.len()).then_some(columns),
            ),
            row_name: self.row_name.clone(),
            column_name: self.column_name.clone(),
            value_name: self.value_name.clone(),
        };
        for ((row, column), value) in &self.cells {
            *out.cells.entry(((*row).min(rows), (*column).min(columns))).or_insert(0.0) += value;
        }
        let mut parts = Vec::new();
        if rows < self.rows.len() {
            parts.push(format!("{} of {} rows", rows, self.rows.len()));
        }
        if columns < self.columns.len() {
            parts.push(format!("{} of {} columns", columns, self.columns.len()));
        }
        let note = (!parts.is_empty()).then(|| {
            format!("{} drawn; '… more' is the sum of {}", parts.join(" and "), self.value_name)
        });
        (out, note)
    }
}

/// Returns how strong the shade of a number is where `most` has the strongest, with its sign. The
/// square root lets small numbers be told from none beside a large one; the numbers say the rest.
pub(super) fn strength(value: f64, most: f64) -> f64 {
    if most > 0.0 { (value.abs() / most).sqrt().copysign(value) } else { 0.0 }
}

/// Returns names in the order of the numbers they are, or of their sums.
fn ordered(sums: HashMap<String, f64>) -> Vec<String> {
    let number = |name: &str| name.parse::<f64>().ok().filter(|number| !number.is_nan());
    let is_numeric = sums.keys().all(|name| number(name).is_some());
    let mut names: Vec<(String, f64)> = sums.into_iter().collect();
    names.sort_by(|a, b| {
        let by_value = match is_numeric {
            true => number(&a.0).unwrap_or(0.0).total_cmp(&number(&b.0).unwrap_or(0.0)),
            false => b.1.total_cmp(&a.1),
        };
        by_value.then_with(|| a.0.cmp(&b.0))
    });
    names.into_iter().map(|(name, _)| name).collect()
}
