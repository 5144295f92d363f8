//! The rows of a query, for who reckons with them.

use std::ops::ControlFlow;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};

use crate::session::error::SessionError;
use crate::session::statement::{Session, Sink};
use crate::train::Event;

/// The rows of a query.
#[derive(Default)]
pub(super) struct Rows {
    batches: Vec<RecordBatch>,
}

impl Sink for Rows {
    fn begin(&mut self, _: &Schema) -> std::io::Result<()> {
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch) -> std::io::Result<()> {
        self.batches.push(batch.clone());
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn train(&mut self, _: &Event) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Returns what a query gives.
///
/// # Errors
/// The query's.
pub(super) fn ask(session: &Session, text: &str) -> Result<Rows, SessionError> {
    let mut rows = Rows::default();
    for statement in session.parse(text)? {
        session.run(&statement, text, &mut rows)?;
    }
    Ok(rows)
}

impl Rows {
    /// Returns a column, from 0, as texts.
    ///
    /// # Errors
    /// It is nothing that has a text.
    pub(super) fn texts(&self, at: usize) -> Result<Vec<Option<String>>, SessionError> {
        let columns = self.columns(at, &DataType::Utf8View)?;
        let texts = columns.iter().flat_map(|c| c.as_string_view().iter());
        Ok(texts.map(|text| text.map(str::to_owned)).collect())
    }

    /// Returns a column, from 0, as numbers: 1 for true.
    ///
    /// # Errors
    /// It is nothing that is a number.
    pub(super) fn numbers(&self, at: usize) -> Result<Vec<Option<f64>>, SessionError> {
        let columns = self.columns(at, &DataType::Float64)?;
        Ok(columns.iter().flat_map(|c| c.as_primitive::<Float64Type>().iter()).collect())
    }

    fn columns(&self, at: usize, kind: &DataType) -> Result<Vec<ArrayRef>, SessionError> {
        let column = |batch: &RecordBatch| cast(batch.column(at), kind);
        let columns = self.batches.iter().map(column).collect::<Result<Vec<ArrayRef>, _>>();
        columns.map_err(|error| SessionError::Environment(error.to_string()))
    }
}

/// Whether any step or trajectory has a label of this judge.
pub(super) fn has_label(session: &Session, name: &str, judge: &str) -> bool {
    let view = session.database().view();
    view.labels().iter().any(|label| label.name == name && label.judge == judge)
}
