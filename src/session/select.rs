//! From a query's rows to selected sub-trajectories.

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::error::SessionError;
use super::statement::{Session, worded};
use crate::db::NewRow;
use crate::diag::Diagnostic;
use crate::query::syntax::{QueryStatement, STEP, Statement, StatementKind, TRAJECTORY};
use crate::query::{Prepared, QueryError, Scope, TextPlace};
use crate::store::View;

/// The name of the reward's column while a selection is made.
const REWARD: &str = "_reward";

/// What a query selected.
pub(super) struct Selection {
    /// The rows, in the query's order.
    pub rows: Vec<NewRow>,
    /// The labels that the query names, as `name@judge`.
    pub labels: Vec<String>,
    /// The tables it read as they are now, whatever the view.
    pub present: Vec<&'static str>,
    /// Trajectories that `every` left out because a step had no label.
    pub undecided: u64,
    /// Rows whose reward is null; they are left out.
    pub without_reward: u64,
}

/// Runs a query for the sub-trajectories it selects, each with `reward`, an SQL expression over
/// the query's columns.
pub(super) fn select(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    reward: Option<&str>,
) -> Result<Selection, SessionError> {
    let (collector, prepared) =
        collected(session, scope, query, reward, &mut |collector, batch| collector.take(batch))?;
    let Collector { rows, dropped, .. } = collector;
    let undecided = prepared.undecided();
    let (labels, present) = (prepared.labels, prepared.present);
    Ok(Selection { rows, labels, present, undecided, without_reward: dropped })
}

/// Runs a query for the rows it selects, each with the text that `expression` is of it.
pub(super) fn select_texts(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    expression: &str,
) -> Result<Vec<(NewRow, Option<String>)>, SessionError> {
    let mut texts = Vec::new();
    let mut take = |collector: &mut Collector<'_>, batch: &RecordBatch| {
        let mut places = batch.clone();
        if let Ok(at) = batch.schema().index_of(REWARD) {
            texts.extend(text(&places.remove_column(at))?);
        }
        collector.take(&places)
    };
    let (collector, _) = collected(session, scope, query, Some(expression), &mut take)?;
    Ok(collector.rows.into_iter().zip(texts).collect())
}

/// Runs a query, with an expression over its columns as `REWARD`, and has `take` collect its rows.
fn collected<'a>(
    session: &Session,
    scope: &Scope<'a>,
    query: &QueryStatement,
    expression: Option<&str>,
    take: &mut dyn FnMut(&mut Collector<'a>, &RecordBatch) -> Result<(), QueryError>,
) -> Result<(Collector<'a>, Prepared), SessionError> {
    let engine = session.engine();
    let prepared = engine.prepare_places(scope, query, expression, REWARD);
    let prepared = prepared.map_err(|e| worded(e, scope.text))?;
    let mut collector = Collector::new(scope.view);
    let ran = engine.run(&prepared, session.cancel(), &mut |batch| {
        take(&mut collector, batch).map(|()| ControlFlow::Continue(()))
    });
    ran.map_err(|e| worded(e, scope.text))?;
    Ok((collector, prepared))
}

/// Returns the only statement of a text: a query without a verb behind it. `what` is what takes it.
pub(super) fn only_query<'a>(
    statements: &'a [Statement],
    what: &str,
) -> Result<&'a QueryStatement, SessionError> {
    if let [Statement { kind: StatementKind::Query(query), .. }] = statements
        && query.then.is_none()
    {
        return Ok(query);
    }
    let message = format!("{what} takes one query whose rows are trajectories or steps");
    Err(SessionError::mistake("one-query", message))
}

/// Returns the columns of a query's rows that say which steps they are, `None` where none do.
pub(super) fn identity(batch: &RecordBatch) -> Option<RecordBatch> {
    let known = [TRAJECTORY, STEP, "trajectory_id", "source", "step"];
    let schema = batch.schema();
    let at = known.iter().filter_map(|name| schema.index_of(name).ok());
    let hidden = schema.index_of(TRAJECTORY).is_ok();
    let named = hidden || schema.index_of("trajectory_id").is_ok();
    named.then(|| batch.project(&at.collect::<Vec<_>>()).ok()).flatten()
}

impl Session {
    /// Returns which trajectories or steps the rows of a query are, of columns that a
    /// [`Sink`](super::Sink) was given by `identity`.
    ///
    /// # Errors
    /// A row names no trajectory, one that does not exist, or several; what the disk says.
    pub fn places(&self, identity: &RecordBatch) -> Result<Vec<NewRow>, SessionError> {
        let view = self.database().view();
        let mut collector = Collector::new(&view);
        collector.take(identity).map_err(|e| worded(e, ""))?;
        Ok(collector.rows)
    }
}

struct Collector<'a> {
    view: &'a View,
    known: HashMap<(Option<String>, String), u64>,
    rows: Vec<NewRow>,
    dropped: u64,
}

impl Collector<'_> {
    fn new(view: &View) -> Collector<'_> {
        Collector { view, known: HashMap::new(), rows: Vec::new(), dropped: 0 }
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        let reward = batch.column_by_name(REWARD).map(number).transpose()?;
        let hidden = (batch.column_by_name(TRAJECTORY), batch.column_by_name(STEP));
        let steps = match hidden {
            (Some(_), Some(step)) => Some(step.clone()),
            _ => batch.column_by_name("step").cloned(),
        };
        let steps = steps.as_ref().map(whole).transpose()?;
        if let (None, Some(chosen), Some(rejected)) =
            (hidden.0, batch.column_by_name("chosen_id"), batch.column_by_name("rejected_id"))
        {
            if reward.is_some() {
                let message = "the rows are pairs of actions, which have no value each";
                return Err(selection_error(message.to_owned()));
            }
            let sides = [text(chosen)?, text(rejected)?];
            let source = batch.column_by_name("source").map(text).transpose()?;
            return self.take_pairs(sides, source, steps);
        }
        let ordinals = match hidden.0 {
            Some(ordinals) => whole(ordinals)?,
            None => self.ordinals(batch)?,
        };
        for (row, trajectory) in ordinals.into_iter().enumerate() {
            let Some(trajectory) = trajectory else { return Err(no_identity()) };
            let step = steps.as_ref().and_then(|s| s[row]).unwrap_or(0);
            let value = reward.as_ref().map(|r| r[row]);
            if value == Some(None) {
                self.dropped += 1;
                continue;
            }
            self.rows.push(NewRow {
                trajectory: trajectory as u64,
                // 0 stands for the trajectory: all of its steps.
                step: (step > 0).then_some(step as u32),
                reward: value.flatten(),
                pair: None,
            });
        }
        Ok(())
    }

    /// Takes pairs of actions at one step: two rows each, the chosen one with reward 1 first.
    fn take_pairs(
        &mut self,
        sides: [Vec<Option<String>>; 2],
        source: Option<Vec<Option<String>>>,
        steps: Option<Vec<Option<i64>>>,
    ) -> Result<(), QueryError> {
        let Some(steps) = steps else {
            let message = "the rows name pairs (chosen_id, rejected_id) and no step";
            return Err(selection_error(message.to_owned()));
        };
        for (row, step) in steps.into_iter().enumerate() {
            let step = step.and_then(|step| u32::try_from(step).ok()).ok_or_else(no_identity)?;
            let pair = self.rows.len() as u64 / 2;
            for (side, reward) in sides.iter().zip([1.0, 0.0]) {
                let source = source.as_ref().and_then(|source| source[row].clone());
                let id = side[row].clone().ok_or_else(no_identity)?;
                let trajectory = self.find(source, id)?;
                let (reward, pair) = (Some(reward), Some(pair));
                self.rows.push(NewRow { trajectory, step: Some(step), reward, pair });
            }
        }
        Ok(())
    }

    /// Finds the trajectories that the columns `trajectory_id` and `source` name.
    fn ordinals(&mut self, batch: &RecordBatch) -> Result<Vec<Option<i64>>, QueryError> {
        let text = |name: &str| batch.column_by_name(name).map(text).transpose();
        let ids = text("trajectory_id")?.ok_or_else(no_identity)?;
        let sources = text("source")?;
        let mut ordinals = Vec::with_capacity(ids.len());
        for (row, id) in ids.into_iter().enumerate() {
            let Some(id) = id else { return Err(no_identity()) };
            let source = sources.as_ref().and_then(|s| s[row].clone());
            ordinals.push(Some(self.find(source, id)? as i64));
        }
        Ok(ordinals)
    }

    fn find(&mut self, source: Option<String>, id: String) -> Result<u64, QueryError> {
        let key = (source, id);
        if let Some(ordinal) = self.known.get(&key) {
            return Ok(*ordinal);
        }
        let view = self.view;
        let failed = |e| QueryError::Database(Box::new(crate::db::DbError::Store(e)));
        let found = match &key.0 {
            Some(source) => view.find(source, &key.1).map_err(failed)?.map(|(o, _)| vec![o]),
            None => {
                let found = view.find_in_any_source(&key.1).map_err(failed)?;
                Some(found.into_iter().map(|(_, ordinal)| ordinal).collect())
            }
        };
        match found.unwrap_or_default().as_slice() {
            [ordinal] => {
                self.known.insert(key, *ordinal);
                Ok(*ordinal)
            }
            [] => Err(selection_error(format!("there is no trajectory '{}'", key.1))),
            _ => Err(selection_error(format!(
                "several sources have a trajectory '{}': select the column 'source' too",
                key.1
            ))),
        }
    }
}

fn selection_error(message: String) -> QueryError {
    QueryError::Placed(Diagnostic::new("selection", message), TextPlace::None)
}

fn no_identity() -> QueryError {
    let diagnostic = Diagnostic::new("selection", "the rows do not say which steps they are")
        .help("keep the column 'trajectory_id', and 'step' unless all steps are meant");
    QueryError::Placed(diagnostic, TextPlace::None)
}

fn cast_to(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, QueryError> {
    cast(array, kind).map_err(|e| selection_error(e.to_string()))
}

fn whole(array: &ArrayRef) -> Result<Vec<Option<i64>>, QueryError> {
    let array = cast_to(array, &DataType::Int64)?;
    Ok(array.as_primitive::<Int64Type>().iter().collect())
}

fn number(array: &ArrayRef) -> Result<Vec<Option<f64>>, QueryError> {
    if !array.data_type().is_numeric()
        && !matches!(array.data_type(), DataType::Boolean | DataType::Null)
    {
        let found = array.data_type();
        return Err(selection_error(format!("the reward is of type {found}; expected a number")));
    }
    let array = cast_to(array, &DataType::Float64)?;
    Ok(array.as_primitive::<Float64Type>().iter().collect())
}

fn text(array: &ArrayRef) -> Result<Vec<Option<String>>, QueryError> {
    let array = cast_to(array, &DataType::Utf8View)?;
    Ok(array.as_string_view().iter().map(|t| t.map(str::to_owned)).collect())
}
