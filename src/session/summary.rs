//! Rows described by numbers: SUMMARIZE, and EXPLAIN FUNNEL.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};

use super::error::SessionError;
use super::listing::type_name;
use super::statement::{Outcome, Session, Sink, worded};
use crate::codec::TableId;
use crate::query::syntax::{FunnelCut, QueryStatement, TRAJECTORY};
use crate::query::{QueryError, Scope, quoted};

/// Letters of the least and the greatest text that are shown.
const SHOWN_CHARS: usize = 40;

/// Up to so many steps in the database quartiles are exact: their values are all held in memory.
const EXACT_STEPS_MAX: u64 = 1_000_000;

/// What is measured of a column, in the order of the columns that are shown.
const MEASURES: [&str; 10] =
    ["min", "max", "approx_unique", "avg", "std", "q25", "q50", "q75", "count", "null_percentage"];

/// Describes every column that a query gives, a row each: type, least and greatest value, about
/// how many different ones, mean, sample standard deviation, quartiles (exact up to
/// [`EXACT_STEPS_MAX`] steps in the database, beyond that estimated by t-digest), rows, and the
/// share of nulls in percent.
pub(super) fn summarize(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let engine = session.engine();
    let columns = session.prepare(scope, query)?.schema();
    let mut items = vec!["count(*) AS n".to_owned()];
    let measured = columns.fields().iter().enumerate();
    let exact = scope.view.rows(TableId::Steps) <= EXACT_STEPS_MAX;
    items.extend(measured.flat_map(|(at, field)| measures(at, field, exact)));
    let prepared = engine.prepare_over(scope, query, &items.join(", "));
    let prepared = prepared.map_err(|e| worded(e, scope.text))?;
    let mut row: Option<RecordBatch> = None;
    let ran = engine.run(&prepared, session.cancel(), &mut |batch| {
        row = Some(batch.clone()).filter(|batch| batch.num_rows() > 0).or(row.take());
        Ok(ControlFlow::Continue(()))
    });
    ran.map_err(|e| worded(e, scope.text))?;
    let row = row.ok_or_else(|| bug("an aggregate without a row"))?;
    let described = described(&columns, &row).map_err(|e| bug(&e.to_string()))?;
    give(sink, &described, prepared.undecided())
}

/// Returns what is asked of the column at `at`, each under a name of its own.
fn measures(at: usize, field: &Field, exact: bool) -> Vec<String> {
    let name = quoted(field.name());
    let kind = field.data_type();
    let mut asked = vec![format!("count({name}) AS present_{at}")];
    let mut ask = |measure: &str, expression: String| {
        asked.push(format!("{expression} AS {measure}_{at}"));
    };
    if matches!(kind, DataType::Null) || kind.is_nested() {
        return asked;
    }
    // Of few types the engine estimates how many different values there are.
    ask("approx_unique", format!("approx_distinct(CAST({name} AS VARCHAR))"));
    for extreme in ["min", "max"] {
        ask(extreme, format!("{extreme}({name})"));
    }
    if matches!(kind, DataType::Boolean) {
        ask("avg", format!("avg(CAST(CAST({name} AS INT) AS DOUBLE))"));
    }
    if kind.is_numeric() {
        ask("avg", format!("avg(CAST({name} AS DOUBLE))"));
        ask("std", format!("stddev(CAST({name} AS DOUBLE))"));
        for (measure, share) in [("q25", "0.25"), ("q50", "0.5"), ("q75", "0.75")] {
            let quantile = match exact {
                true => format!("percentile_cont({share})"),
                false => format!("approx_percentile_cont({share}, 1000)"),
            };
            ask(measure, format!("{quantile} WITHIN GROUP (ORDER BY CAST({name} AS DOUBLE))"));
        }
    }
    asked
}

/// Turns one row of all measures into a row for each column.
fn described(columns: &Schema, row: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let number = |name: &str| -> Result<Option<f64>, arrow::error::ArrowError> {
        let Some(column) = row.column_by_name(name) else { return Ok(None) };
        let column = cast(column, &DataType::Float64)?;
        Ok(column.is_valid(0).then(|| column.as_primitive::<Float64Type>().value(0)))
    };
    let text = |name: &str| -> Result<Option<String>, arrow::error::ArrowError> {
        let Some(column) = row.column_by_name(name) else { return Ok(None) };
        let column = cast(column, &DataType::Utf8View)?;
        Ok(column.is_valid(0).then(|| shortened(column.as_string_view().value(0))))
    };
    let rows = number("n")?.unwrap_or(0.0);
    let fields = || columns.fields().iter();
    let names = StringViewArray::from_iter_values(fields().map(|f| f.name()));
    let types = StringViewArray::from_iter_values(fields().map(|f| type_name(f.data_type())));
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(types)];
    for measure in MEASURES {
        let of = |at: usize| format!("{measure}_{at}");
        let all = 0..columns.fields().len();
        let array: Result<ArrayRef, arrow::error::ArrowError> = match measure {
            "min" | "max" => {
                let texts: Result<StringViewArray, _> = all.map(|at| text(&of(at))).collect();
                texts.map(|texts| Arc::new(texts) as ArrayRef)
            }
            "approx_unique" => {
                // An estimate may be more than there are.
                let count = |at: usize| -> Result<Option<i64>, arrow::error::ArrowError> {
                    let present = number(&format!("present_{at}"))?.unwrap_or(0.0);
                    Ok(number(&of(at))?.map(|estimate| estimate.min(present) as i64))
                };
                let counts: Result<Int64Array, _> = all.map(count).collect();
                counts.map(|counts| Arc::new(counts) as ArrayRef)
            }
            "count" => Ok(Arc::new(Int64Array::from_iter_values(all.map(|_| rows as i64)))),
            "null_percentage" => {
                let share = |at: usize| -> Result<Option<f64>, arrow::error::ArrowError> {
                    let present = number(&format!("present_{at}"))?.unwrap_or(0.0);
                    Ok((rows > 0.0).then(|| (1e4 * (rows - present) / rows).round() / 1e2))
                };
                let shares: Result<Float64Array, _> = all.map(share).collect();
                shares.map(|shares| Arc::new(shares) as ArrayRef)
            }
            _ => {
                let numbers: Result<Float64Array, _> = all.map(|at| number(&of(at))).collect();
                numbers.map(|numbers| Arc::new(numbers) as ArrayRef)
            }
        };
        arrays.push(array?);
    }
    let names = ["column_name", "column_type"].into_iter().chain(MEASURES);
    let of = |(name, array): (&str, &ArrayRef)| Field::new(name, array.data_type().clone(), true);
    let schema = Schema::new(names.zip(&arrays).map(of).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), arrays)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Counts what each clause leaves: rows, and the trajectories they are of.
pub(super) fn funnel(
    session: &Session,
    scope: &Scope<'_>,
    cuts: &[FunnelCut],
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let mut counted = Vec::with_capacity(cuts.len());
    for cut in cuts {
        let prepared = session.prepare(scope, &cut.query)?;
        let mut trajectories = cut.query.identity.then(HashSet::<i64>::new);
        let ran = session.engine().run(&prepared, session.cancel(), &mut |batch| {
            if let (Some(seen), Some(of)) = (&mut trajectories, batch.column_by_name(TRAJECTORY)) {
                seen.extend(of.as_primitive::<Int64Type>().values());
            }
            Ok(ControlFlow::Continue(()))
        });
        let rows = ran.map_err(|e| worded(e, scope.text))? as i64;
        counted.push((rows, trajectories.map(|seen| seen.len() as i64), prepared.undecided()));
    }
    let before = || std::iter::once(None).chain(counted.iter().map(Some));
    let removed = |now: Option<i64>, before: Option<i64>| Some(before? - now?);
    let clauses = StringViewArray::from_iter_values(cuts.iter().map(|cut| cut.clause.as_str()));
    let trajectories: Int64Array =
        counted.iter().map(|(_, trajectories, _)| *trajectories).collect();
    let rows = Int64Array::from_iter_values(counted.iter().map(|(rows, _, _)| *rows));
    let trajectories_removed: Int64Array =
        counted.iter().zip(before()).map(|(now, before)| removed(now.1, before?.1)).collect();
    // Groups are made of rows, and none of these is removed.
    let rows_removed: Int64Array = counted
        .iter()
        .zip(before())
        .map(|(now, before)| {
            before.filter(|b| b.1.is_some() == now.1.is_some()).map(|b| b.0 - now.0)
        })
        .collect();
    let columns: [(&str, ArrayRef); 5] = [
        ("clause", Arc::new(clauses)),
        ("trajectories", Arc::new(trajectories)),
        ("rows", Arc::new(rows)),
        ("trajectories_removed", Arc::new(trajectories_removed)),
        ("rows_removed", Arc::new(rows_removed)),
    ];
    let table = RecordBatch::try_from_iter(columns).map_err(|e| bug(&e.to_string()))?;
    give(sink, &table, counted.last().map_or(0, |(_, _, undecided)| *undecided))
}

fn give(sink: &mut dyn Sink, table: &RecordBatch, undecided: u64) -> Result<Outcome, SessionError> {
    let given = sink
        .begin(table.schema().as_ref())
        .and_then(|()| sink.batch(table))
        .and_then(|()| sink.end());
    given.map_err(SessionError::Output)?;
    Ok(Outcome::Rows { rows: table.num_rows() as u64, undecided })
}

fn bug(why: &str) -> SessionError {
    SessionError::Query(QueryError::Bug(why.to_owned()))
}
