//! What is read of matches: rows, slots, measures.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringViewBuilder, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::logical_expr::{AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column;

use super::navigation::{Place, Rows, Slot};
use super::node::Question;
use crate::query::syntax::ANY;

/// A match that was found.
pub(super) struct Found {
    /// Its first row.
    pub start: usize,
    /// The rows of its partition.
    pub partition: Range<usize>,
    /// Its number within the partition, from 1.
    pub number: i64,
    /// The variable of each of its rows.
    pub symbols: Vec<u32>,
}

/// The rows of a match up to one of them.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub start: usize,
    pub partition: &'a Range<usize>,
    pub symbols: &'a [u32],
}

impl Seen<'_> {
    /// Returns the row that a place is, if there is one.
    pub fn row(&self, place: Place) -> Option<usize> {
        let is_in = |symbol: &u32| match place.rows {
            Rows::Current | Rows::All => true,
            Rows::Of(variable) => *symbol == variable,
        };
        let mut rows = self.symbols.iter().enumerate().filter(|(_, symbol)| is_in(symbol));
        let at = match place.from_last {
            true => rows.rev().nth(place.skip as usize),
            false => rows.nth(place.skip as usize),
        };
        let (at, _) = at?;
        let row = (self.start + at).checked_add_signed(place.shift as isize)?;
        self.partition.contains(&row).then_some(row)
    }

    /// Returns the variable that the row at a place was matched as; `.` is none.
    pub fn variable<'q>(&self, place: Place, question: &'q Question) -> Option<&'q str> {
        let row = self.row(place).filter(|row| *row >= self.start)?;
        let symbol = *self.symbols.get(row - self.start)?;
        Some(question.variables[symbol as usize].as_str()).filter(|name| *name != ANY)
    }

    fn rows(&self, rows: Rows) -> impl Iterator<Item = usize> {
        let is_in = move |symbol: &u32| match rows {
            Rows::Current | Rows::All => true,
            Rows::Of(variable) => *symbol == variable,
        };
        let with_rows = (self.start..).zip(self.symbols);
        with_rows.filter(move |(_, symbol)| is_in(symbol)).map(|(row, _)| row)
    }
}

/// A row that comes out: a match, or a row of one.
struct Entry<'a> {
    found: &'a Found,
    seen: Seen<'a>,
    row: usize,
}

/// Reads what the measures ask of matches in one batch of rows.
pub(super) struct Answers<'a> {
    pub question: &'a Question,
    pub arguments: &'a [ArrayRef],
    pub slot_schema: &'a SchemaRef,
    entries: Vec<Entry<'a>>,
}

impl<'a> Answers<'a> {
    /// Returns the answers for the matches, or for every row of them.
    pub fn new(
        question: &'a Question,
        arguments: &'a [ArrayRef],
        slot_schema: &'a SchemaRef,
        found: &'a [Found],
    ) -> Answers<'a> {
        let mut entries = Vec::with_capacity(found.len());
        for found in found {
            let (start, partition) = (found.start, &found.partition);
            let mut push = |until: usize, row: usize| {
                let seen = Seen { start, partition, symbols: &found.symbols[..until] };
                entries.push(Entry { found, seen, row });
            };
            match (question.all_rows, found.symbols.len()) {
                (true, 0) => push(0, start),
                (true, length) => (0..length).for_each(|at| push(at + 1, start + at)),
                (false, length) => push(length, start),
            }
        }
        Answers { question, arguments, slot_schema, entries }
    }

    /// Returns the rows of the input whose columns come out.
    pub fn rows(&self) -> UInt32Array {
        UInt32Array::from_iter_values(self.entries.iter().map(|entry| entry.row as u32))
    }

    /// Returns the slots, a row for each that comes out.
    pub fn slots(&self) -> Result<RecordBatch> {
        let slots = self.question.slots.iter().map(|slot| self.slot(slot));
        let arrays = slots.collect::<Result<Vec<_>>>()?;
        slot_batch(self.slot_schema, arrays, self.entries.len())
    }

    fn slot(&self, slot: &Slot) -> Result<ArrayRef> {
        let rows = |place: &Place| {
            let rows = self.entries.iter().map(|entry| entry.seen.row(*place));
            UInt32Array::from_iter(rows.map(|row| row.map(|row| row as u32)))
        };
        Ok(match slot {
            Slot::Value { argument, place } => {
                take(&self.arguments[*argument], &rows(place), None)?
            }
            Slot::Classifier { place } => {
                let mut names = StringViewBuilder::with_capacity(self.entries.len());
                for Entry { seen, .. } in &self.entries {
                    names.append_option(seen.variable(*place, self.question));
                }
                Arc::new(names.finish())
            }
            Slot::MatchNumber => {
                Arc::new(Int64Array::from_iter_values(self.entries.iter().map(|e| e.found.number)))
            }
            Slot::Count { rows } => {
                let counts = self.entries.iter().map(|entry| entry.seen.rows(*rows).count() as i64);
                Arc::new(Int64Array::from_iter_values(counts))
            }
            Slot::Aggregate { function, argument, rows, is_distinct } => {
                self.aggregate(function, &self.arguments[*argument], *rows, *is_distinct)?
            }
        })
    }

    fn aggregate(
        &self,
        function: &Arc<AggregateUDF>,
        values: &ArrayRef,
        rows: Rows,
        is_distinct: bool,
    ) -> Result<ArrayRef> {
        let field = Field::new("argument", values.data_type().clone(), true);
        let expr =
            AggregateExprBuilder::new(function.clone(), vec![Arc::new(Column::new("argument", 0))])
                .schema(Arc::new(Schema::new(vec![field])))
                .alias("aggregate")
                .with_distinct(is_distinct)
                .build()?;
        let mut accumulator: Box<dyn GroupsAccumulator> = match expr.groups_accumulator_supported()
        {
            true => expr.create_groups_accumulator()?,
            false => Box::new(GroupsAccumulatorAdapter::new(move || expr.create_accumulator())),
        };
        let (mut taken, mut groups) = (Vec::new(), Vec::new());
        for (group, entry) in self.entries.iter().enumerate() {
            for row in entry.seen.rows(rows) {
                taken.push(row as u32);
                groups.push(group);
            }
        }
        let taken = take(values, &UInt32Array::from(taken), None)?;
        accumulator.update_batch(&[taken], &groups, None, self.entries.len())?;
        accumulator.evaluate(EmitTo::All)
    }
}

/// Returns a batch of slots.
pub(super) fn slot_batch(
    schema: &SchemaRef,
    arrays: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
}
