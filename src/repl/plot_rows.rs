//! From a query's rows to a chart: what kind its columns make, and their values in bounded memory.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, TimeUnit};

use super::cells;
use super::console::{grouped, plural};
use super::last_result::LastResult;
use crate::diag::Diagnostic;
use crate::plot::{Axis, Chart, ChartKind, PlotError, Scale, Series};
use crate::session::Sink;
use crate::train::Event;

/// Memory for the values of a picture; a histogram holds 8 million of them in it.
const MEMORY_BYTES: usize = 64 << 20;

/// What a name takes beside its letters.
const NAME_BYTES: usize = 32;

/// Letters of a name that are kept; no picture shows more.
const NAME_CHARS_MAX: usize = 200;

/// What a column can be in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Number(Scale),
    Name,
    Other,
}

/// A column of the result.
#[derive(Clone)]
struct Column {
    name: String,
    class: Class,
    kind: DataType,
}

impl Column {
    fn axis(&self) -> Axis {
        let scale = match self.class {
            Class::Number(scale) => scale,
            Class::Name | Class::Other => Scale::Number,
        };
        Axis::new(self.name.clone(), scale)
    }

    fn is_number(&self) -> bool {
        matches!(self.class, Class::Number(_))
    }

    fn told(&self) -> String {
        match self.class {
            Class::Number(Scale::Number) => format!("'{}' (number)", self.name),
            Class::Number(Scale::Truth) => format!("'{}' (boolean)", self.name),
            Class::Number(Scale::Time) => format!("'{}' (time)", self.name),
            Class::Name => format!("'{}' (text)", self.name),
            Class::Other => format!("'{}' ({})", self.name, self.kind),
        }
    }
}

/// The values of a picture, as they come.
enum Values {
    Histogram(Vec<f64>),
    Lines { places: HashMap<String, usize>, series: Vec<Series> },
    Bars(Vec<(String, f64)>),
    Matrix(Vec<(String, String, f64)>),
}

/// Takes rows and makes a chart of them.
pub(super) struct PlotRows {
    asked: Option<ChartKind>,
    columns: Vec<Column>,
    values: Values,
    /// Rows left out, by the first column that is null in them.
    nulls: Vec<u64>,
    rows: u64,
    bytes: usize,
    mistake: Option<Diagnostic>,
    /// The query, and which steps its rows are.
    pub last: LastResult,
}

impl PlotRows {
    /// Returns the sink of a picture of that kind, or of the one that the columns make.
    pub fn new(asked: Option<ChartKind>, query: &str) -> PlotRows {
        let mut last = LastResult::default();
        last.begin(query);
        PlotRows {
            asked,
            columns: Vec::new(),
            values: Values::Histogram(Vec::new()),
            nulls: Vec::new(),
            rows: 0,
            bytes: 0,
            mistake: None,
            last,
        }
    }

    /// Returns what stopped the rows: their columns, or how many they are.
    pub fn mistake(&mut self) -> Option<Diagnostic> {
        self.mistake.take()
    }

    /// Returns the chart of all rows, and its kind.
    ///
    /// # Errors
    /// There is nothing to draw, or a cell of a matrix comes twice.
    pub fn chart(self) -> Result<(Chart, ChartKind), Diagnostic> {
        let mut notes = Vec::new();
        for (column, rows) in self.columns.iter().zip(&self.nulls) {
            if *rows > 0 {
                let rows = plural(*rows, "row", "rows");
                notes.push(format!("{rows} left out: {} is null", column.name));
            }
        }
        let columns = &self.columns;
        let axis = |at: usize| columns[at].axis();
        let name = |at: usize| columns[at].name.as_str();
        let (chart, kind) = match self.values {
            Values::Histogram(values) => (Chart::histogram(axis(0), values), ChartKind::Histogram),
            Values::Lines { series, .. } => {
                (Chart::lines(axis(0), axis(1), series), ChartKind::Line)
            }
            Values::Bars(rows) => (Chart::bars(name(0), axis(1), rows), ChartKind::Bar),
            Values::Matrix(cells) => {
                (Chart::matrix(name(0), name(1), name(2), cells), ChartKind::Matrix)
            }
        };
        match chart {
            Ok(mut chart) => {
                notes.append(&mut chart.notes);
                chart.notes = notes;
                Ok((chart, kind))
            }
            Err(error @ PlotError::CellTwice { .. }) => {
                let keys = format!("GROUP BY {}, {}", name(0), name(1));
                Err(Diagnostic::new("plot", error.to_string())
                    .help(format!("a matrix takes one row for each cell: |> AGGREGATE ... {keys}")))
            }
            Err(error @ PlotError::Empty) => {
                let mut mistake = Diagnostic::new("plot", error.to_string())
                    .help(format!("the query gave {}", plural(self.rows, "row", "rows")));
                for note in notes {
                    mistake = mistake.help(note);
                }
                Err(mistake)
            }
        }
    }

    fn refuse(&mut self, mistake: Diagnostic) -> io::Error {
        self.mistake = Some(mistake);
        io::Error::other("the rows make no picture")
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), arrow::error::ArrowError> {
        let whole = batch.columns();
        let name_columns = match &self.values {
            Values::Histogram(_) => 0..0,
            Values::Lines { .. } => 2..whole.len(),
            Values::Bars(_) => 0..1,
            Values::Matrix(_) => 0..2,
        };
        let mut names: Vec<Vec<Option<String>>> = Vec::new();
        let mut numbers: Vec<Vec<Option<f64>>> = Vec::new();
        for (at, array) in whole.iter().enumerate() {
            if name_columns.contains(&at) {
                names.push(cells::texts(array)?);
            } else {
                numbers.push(numbers_of(array)?);
            }
        }
        let is_named = !names.is_empty();
        let nulls: Vec<Option<NullBuffer>> = whole.iter().map(|a| a.logical_nulls()).collect();
        for row in 0..batch.num_rows() {
            let is_null =
                |nulls: &Option<NullBuffer>| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            if let Some(null) = nulls.iter().position(is_null) {
                self.nulls[null] += 1;
                continue;
            }
            let number = |at: usize| numbers[at][row].unwrap_or(f64::NAN);
            let mut name = |at: usize| names[at][row].take().unwrap_or_default();
            self.bytes += match &mut self.values {
                Values::Histogram(values) => {
                    values.push(number(0));
                    8
                }
                Values::Lines { places, series } => {
                    let of = if is_named { name(0) } else { String::new() };
                    let mut added = 16;
                    let place = *places.entry(of).or_insert_with_key(|of| {
                        added += 2 * (of.len() + NAME_BYTES);
                        series.push(Series { name: of.clone(), points: Vec::new() });
                        series.len() - 1
                    });
                    series[place].points.push((number(0), number(1)));
                    added
                }
                Values::Bars(rows) => {
                    let label: String = name(0).chars().take(NAME_CHARS_MAX).collect();
                    let added = label.len() + NAME_BYTES;
                    rows.push((label, number(0)));
                    added
                }
                Values::Matrix(cells) => {
                    let (row, column) = (name(0), name(1));
                    let added = row.len() + column.len() + 2 * NAME_BYTES;
                    cells.push((row, column, number(0)));
                    added
                }
            };
        }
        Ok(())
    }
}

impl Sink for PlotRows {
    fn begin(&mut self, schema: &Schema) -> io::Result<()> {
        let column = |field: &arrow::datatypes::FieldRef| Column {
            name: field.name().clone(),
            class: class(field.data_type()),
            kind: field.data_type().clone(),
        };
        self.columns = schema.fields().iter().map(column).collect();
        self.nulls = vec![0; self.columns.len()];
        let kind = match self.asked {
            Some(kind) => Some(kind).filter(|kind| fits(*kind, &self.columns)),
            None => inferred(&self.columns),
        };
        self.values = match kind {
            Some(ChartKind::Histogram) => Values::Histogram(Vec::new()),
            Some(ChartKind::Line) => Values::Lines { places: HashMap::new(), series: Vec::new() },
            Some(ChartKind::Bar) => Values::Bars(Vec::new()),
            Some(ChartKind::Matrix) => Values::Matrix(Vec::new()),
            None => {
                let mistake = unfit(self.asked, &self.columns);
                return Err(self.refuse(mistake));
            }
        };
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch) -> io::Result<()> {
        self.rows += batch.num_rows() as u64;
        self.take(batch).map_err(io::Error::other)?;
        if self.bytes > MEMORY_BYTES {
            let rows = grouped(self.rows);
            let message = format!(
                "a picture holds at most {} MiB of values in memory; {rows} rows are more",
                MEMORY_BYTES >> 20
            );
            let mistake = Diagnostic::new("plot", message)
                .help("count or average them first: |> AGGREGATE count(*) AS n GROUP BY ...")
                .help("or draw a part of them: |> SAMPLE 100000 STEPS SEED 7");
            return Err(self.refuse(mistake));
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn identity(&mut self, columns: &RecordBatch) {
        self.last.identity(columns);
    }

    fn train(&mut self, _: &Event) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

fn class(kind: &DataType) -> Class {
    match kind {
        DataType::Boolean => Class::Number(Scale::Truth),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Class::Number(Scale::Time),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Class::Name,
        DataType::Dictionary(_, values) => class(values),
        // A column that is null everywhere is left out as the number it may be.
        DataType::Null => Class::Number(Scale::Number),
        kind if kind.is_numeric() => Class::Number(Scale::Number),
        _ => Class::Other,
    }
}

/// Returns the kind that columns make by themselves.
fn inferred(columns: &[Column]) -> Option<ChartKind> {
    let numbers: Vec<bool> = columns.iter().map(Column::is_number).collect();
    let names: Vec<bool> = columns.iter().map(|column| column.class == Class::Name).collect();
    match (numbers.as_slice(), names.as_slice()) {
        ([true], _) => Some(ChartKind::Histogram),
        ([true, true], _) => Some(ChartKind::Line),
        ([true, true, _], [_, _, true]) => Some(ChartKind::Line),
        ([_, true], [true, _]) => Some(ChartKind::Bar),
        ([_, _, true], [true, true, _]) => Some(ChartKind::Matrix),
        _ => None,
    }
}

/// Returns whether columns can make a kind that was asked for: any value can be a name then.
fn fits(kind: ChartKind, columns: &[Column]) -> bool {
    let number = |at: usize| columns.get(at).is_some_and(Column::is_number);
    match kind {
        ChartKind::Histogram => columns.len() == 1 && number(0),
        ChartKind::Line => matches!(columns.len(), 2 | 3) && number(0) && number(1),
        ChartKind::Bar => columns.len() == 2 && number(1),
        ChartKind::Matrix => columns.len() == 3 && number(2),
    }
}

/// Returns the message about columns that make no picture, or not the one asked for.
fn unfit(asked: Option<ChartKind>, columns: &[Column]) -> Diagnostic {
    let found: Vec<String> = columns.iter().map(Column::told).collect();
    let found = found.join(", ");
    let message = match asked {
        Some(kind) => format!("'.plot {}' does not fit the columns {found}", kind.as_str()),
        None => format!("no picture fits the columns {found}"),
    };
    let mut mistake = Diagnostic::new("plot", message);
    for (kind, takes, example) in EXPECTED {
        mistake = mistake.help(format!("{kind} takes {takes}: {example}"));
    }
    mistake
}

/// What each kind takes, with an example.
const EXPECTED: [(&str, &str, &str); 4] = [
    ("hist", "a number", ".plot FROM steps |> SELECT observation_chars"),
    (
        "line",
        "two numbers, x and y, and a name if there are several lines",
        ".plot FROM steps |> AGGREGATE avg(reward) AS mean GROUP BY step",
    ),
    (
        "bar",
        "a name and a number",
        ".plot FROM steps |> AGGREGATE count(*) AS n GROUP BY tool |> ORDER BY n DESC",
    ),
    (
        "matrix",
        "two names, for row and column, and a number",
        ".plot FROM tool_calls |> AGGREGATE count(*) AS n GROUP BY tool, error",
    ),
];

/// Returns the values of a column of numbers, booleans as 0 and 1, times in seconds since 1970.
fn numbers_of(array: &ArrayRef) -> Result<Vec<Option<f64>>, arrow::error::ArrowError> {
    let seconds = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => Some(1.0),
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => Some(1e-3),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(1e-6),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(1e-9),
        DataType::Date32 => Some(86_400.0),
        DataType::Dictionary(_, values) => {
            return numbers_of(&cast(array, values)?);
        }
        _ => None,
    };
    if let Some(seconds) = seconds {
        let kind = array.data_type();
        let days =
            if kind == &DataType::Date32 { cast(array, &DataType::Int32)? } else { array.clone() };
        let array = cast(&days, &DataType::Int64)?;
        let values = array.as_primitive::<Int64Type>().iter();
        return Ok(values.map(|value| value.map(|value| value as f64 * seconds)).collect());
    }
    let array = cast(array, &DataType::Float64)?;
    Ok(array.as_primitive::<Float64Type>().iter().collect())
}
