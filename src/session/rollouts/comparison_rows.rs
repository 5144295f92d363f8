//! The rows of a comparison of two evaluations.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};

use crate::plot::fixed;
use crate::score::{Comparison, Estimate};
use crate::session::error::SessionError;
use crate::session::statement::{Outcome, Sink};

/// Digits behind the point of means that are read.
const DIGITS: usize = 3;

/// What stands for a value that there is not.
const NONE: &str = "none";

/// One line of a comparison. For people both values are texts; for programs they are numbers too,
/// where they are any.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// What it speaks of: `option`, `metric`, `flipped`.
    what: &'static str,
    /// Which one.
    name: String,
    /// Of which questions or steps.
    group: String,
    /// Both values as texts.
    texts: [String; 2],
    /// Both values as numbers.
    values: [Option<f64>; 2],
    /// What the values are over: questions, steps.
    counts: [Option<u64>; 2],
    /// The second less the first, and its interval where there is one.
    difference: Option<f64>,
    interval: Option<(f64, f64)>,
    p_value: Option<f64>,
    note: String,
}

impl Row {
    /// Returns a row of something that has no numbers.
    pub(super) fn texts(what: &'static str, name: &str, texts: [String; 2]) -> Row {
        Row { what, name: name.to_owned(), texts, ..Row::default() }
    }

    /// Returns a row of two counts.
    pub(super) fn counted(what: &'static str, name: &str, group: &str, counts: [u64; 2]) -> Row {
        Row {
            group: group.to_owned(),
            values: counts.map(|count| Some(count as f64)),
            ..Row::texts(what, name, counts.map(|count| count.to_string()))
        }
    }

    /// Returns a row of two means, each over so many; one over none has no value.
    pub(super) fn means(
        what: &'static str,
        name: &str,
        group: &str,
        means: [Option<f64>; 2],
    ) -> Row {
        let told = |mean: Option<f64>| mean.map_or(NONE.to_owned(), |mean| fixed(mean, DIGITS));
        Row { group: group.to_owned(), values: means, ..Row::texts(what, name, means.map(told)) }
    }

    /// Returns the row with what its values are over.
    pub(super) fn over(self, counts: [usize; 2]) -> Row {
        Row { counts: counts.map(|count| Some(count as u64)), ..self }
    }

    /// Returns the row with a difference that has no interval.
    pub(super) fn apart(self, difference: f64) -> Row {
        Row { difference: Some(difference), ..self }
    }

    /// Returns the row with the difference that a paired test found.
    pub(super) fn compared(self, comparison: Comparison) -> Row {
        let Estimate { value, low, high } = comparison.difference;
        Row { interval: Some((low, high)), ..self.apart(value).p_value(comparison.p_value) }
    }

    /// Returns the row with the p-value of no difference.
    pub(super) fn p_value(self, p: f64) -> Row {
        Row { p_value: Some(p), ..self }
    }

    /// Returns the row with what else is to be said.
    pub(super) fn note(self, note: String) -> Row {
        Row { note, ..self }
    }
}

/// Gives rows to the sink.
///
/// # Errors
/// They cannot be written.
pub(super) fn show(rows: &[Row], sink: &mut dyn Sink) -> Result<Outcome, SessionError> {
    let texts = |of: &dyn Fn(&Row) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(of)))
    };
    let numbers = |of: &dyn Fn(&Row) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Float64Array>())
    };
    let counts = |of: usize| -> ArrayRef {
        let counts = rows.iter().map(|row| row.counts[of].map(|count| count as i64));
        Arc::new(counts.collect::<Int64Array>())
    };
    // Where a screen is narrow, columns in the middle are left out: those for programs.
    let columns: [(&str, DataType, ArrayRef); 14] = [
        ("what", DataType::Utf8View, texts(&|row| row.what)),
        ("name", DataType::Utf8View, texts(&|row| &row.name)),
        ("group", DataType::Utf8View, texts(&|row| &row.group)),
        ("a", DataType::Utf8View, texts(&|row| &row.texts[0])),
        ("b", DataType::Utf8View, texts(&|row| &row.texts[1])),
        ("n_a", DataType::Int64, counts(0)),
        ("n_b", DataType::Int64, counts(1)),
        ("value_a", DataType::Float64, numbers(&|row| row.values[0])),
        ("value_b", DataType::Float64, numbers(&|row| row.values[1])),
        ("difference", DataType::Float64, numbers(&|row| row.difference)),
        ("low", DataType::Float64, numbers(&|row| row.interval.map(|(low, _)| low))),
        ("high", DataType::Float64, numbers(&|row| row.interval.map(|(_, high)| high))),
        ("p", DataType::Float64, numbers(&|row| row.p_value)),
        ("note", DataType::Utf8View, texts(&|row| &row.note)),
    ];
    let fields = columns.iter().map(|(name, kind, _)| Field::new(*name, kind.clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(.., array)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays);
    let batch = batch.map_err(|e| SessionError::Environment(e.to_string()))?;
    let written = sink.begin(&schema).and_then(|()| sink.batch(&batch)).and_then(|()| sink.end());
    written.map_err(SessionError::Output)?;
    Ok(Outcome::Rows { rows: rows.len() as u64, undecided: 0 })
}
