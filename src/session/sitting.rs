//! A person's labels, one after another: a sitting walks the rows of a query.

use std::collections::HashSet;

use super::error::SessionError;
use super::select::select;
use super::statement::Session;
use crate::db::NewRow;
use crate::model::{Judge, JudgeKind, Label, LabelName, Target};
use crate::query::Scope;
use crate::query::syntax::StatementKind;
use crate::store::{Durability, Fact, View};

/// What is labelled, by whom, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SittingOptions {
    /// The label.
    pub name: String,
    /// The judge: a person.
    pub judge: String,
    /// Whether other judges' labels and gold answers are shown.
    pub sees_labels: bool,
    /// Whether rows that the judge labelled before come again.
    pub again: bool,
}

/// What became of the rows of a sitting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows to label.
    pub rows: usize,
    /// Rows that got a label.
    pub given: usize,
    /// Rows that were skipped.
    pub skipped: usize,
    /// Rows that are passed over: the judge had labelled them before.
    pub before: usize,
}

/// What became of one row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Skipped,
    Given,
}

/// A walk through rows, each of which gets a label or none. What is given is stored at once.
pub struct Sitting<'s> {
    session: &'s Session,
    name: LabelName,
    judge: String,
    /// The judge, until the first label makes it known.
    new_judge: Option<Judge>,
    rows: Vec<(NewRow, State)>,
    /// The row that is asked about; one past the last at the end.
    at: usize,
    /// The rows that got labels, in that order.
    history: Vec<usize>,
    before: usize,
}

impl Session {
    /// Begins a sitting over the rows of `query`: steps, or trajectories where the rows are.
    ///
    /// # Errors
    /// The database is open for reading; the name is none, or the judge is no person or not the
    /// one it was; the query's, with their places in it.
    pub fn sit(&self, query: &str, options: &SittingOptions) -> Result<Sitting<'_>, SessionError> {
        let wrong = |message: String| SessionError::mistake("label", message);
        if !self.database().is_writable() {
            let message = "the database is open for reading only; labels cannot be stored";
            return Err(wrong(message.to_owned()));
        }
        let name = LabelName::new(&options.name).map_err(wrong)?;
        let view = self.database().view();
        let new_judge = judge(&view, options)?;
        let statements = self.parse(query)?;
        let kinds: Vec<_> = statements.iter().map(|statement| &statement.kind).collect();
        let [StatementKind::Query(selected)] = kinds.as_slice() else {
            return Err(wrong("expected one query whose rows are labelled".to_owned()));
        };
        if selected.then.is_some() {
            let message = "expected a query that only gives rows: without its last stage";
            return Err(wrong(message.to_owned()));
        }
        let (database, cancel) = (self.database(), self.cancel());
        let parameters = &self.parameters();
        let scope = Scope { database, view: &view, cancel, text: query, parameters };
        let selection = select(self, &scope, selected, None);
        self.progress().end();
        let mut rows = selection?.rows;
        let mut seen = HashSet::with_capacity(rows.len());
        rows.retain(|row| seen.insert((row.trajectory, row.step)));
        let all = rows.len();
        if !options.again {
            rows = unlabelled(self, &view, rows, &name, &options.judge)?;
        }
        Ok(Sitting {
            session: self,
            name,
            judge: options.judge.clone(),
            new_judge,
            before: all - rows.len(),
            rows: rows.into_iter().map(|row| (row, State::Open)).collect(),
            at: 0,
            history: Vec::new(),
        })
    }
}

/// Returns the person who labels, unless they are known. A judge never changes: who has not seen
/// gold answers and is to see them now is another one.
fn judge(view: &View, options: &SittingOptions) -> Result<Option<Judge>, SessionError> {
    let wrong = |message: String| Err(SessionError::mistake("label-judge", message));
    let name = &options.judge;
    let mut judges = view.catalogue().judges.iter().filter_map(|record| record.judge().ok());
    match judges.find(|known| known.name == *name) {
        None => Ok(Some(Judge {
            name: name.clone(),
            kind: JudgeKind::Human,
            definition: None,
            sees_gold: Some(options.sees_labels),
        })),
        Some(known) if known.kind != JudgeKind::Human => wrong(format!(
            "'{name}' is a judge of kind {}; a person needs a name of their own: BY NAME",
            known.kind.as_str()
        )),
        Some(known) if known.sees_gold == Some(false) && options.sees_labels => wrong(format!(
            "'{name}' labels without seeing gold answers, and a judge never changes; another name \
             tells them apart: BY '{name}:2' WITH LABELS"
        )),
        Some(_) => Ok(None),
    }
}

/// Returns the rows that `judge` has given no label `name`.
fn unlabelled(
    session: &Session,
    view: &View,
    rows: Vec<NewRow>,
    name: &LabelName,
    judge: &str,
) -> Result<Vec<NewRow>, SessionError> {
    let known =
        |label: &crate::codec::LabelColumn| label.name == name.as_str() && label.judge == judge;
    if !view.labels().iter().any(known) {
        return Ok(rows);
    }
    let progress = session.progress();
    progress.begin("looking for labels given before", rows.len() as u64);
    let mut labelled: HashSet<(u64, Target)> = HashSet::new();
    let mut looked_at = HashSet::new();
    for row in &rows {
        if session.cancel().is_cancelled() {
            return Err(SessionError::Cancelled);
        }
        progress.advance(1);
        if !looked_at.insert(row.trajectory) {
            continue;
        }
        let labels = view.labels_of(row.trajectory)?.into_iter().map(|(_, label)| label);
        let own = labels.filter(|label| label.name == *name && label.judge == judge);
        labelled.extend(own.map(|label| (row.trajectory, label.target)));
    }
    progress.end();
    let is_open = |row: &NewRow| !labelled.contains(&(row.trajectory, target(row)));
    Ok(rows.into_iter().filter(is_open).collect())
}

/// Returns what a row's label speaks of.
fn target(row: &NewRow) -> Target {
    row.step.map_or(Target::Trajectory, Target::Step)
}

impl Sitting<'_> {
    /// Returns the row that is asked about and its number from 1; `None` at the end.
    pub fn row(&self) -> Option<(usize, NewRow)> {
        self.rows.get(self.at).map(|(row, _)| (self.at + 1, *row))
    }

    /// Returns the label's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns the judge's name.
    pub fn judge(&self) -> &str {
        &self.judge
    }

    /// Returns what became of the rows so far.
    pub fn counts(&self) -> Counts {
        let count = |state: State| self.rows.iter().filter(|(_, s)| *s == state).count();
        let (given, skipped) = (count(State::Given), count(State::Skipped));
        Counts { rows: self.rows.len(), given, skipped, before: self.before }
    }

    /// Returns the newest label that the judge gave the row, if there is one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn own_label(&self) -> Result<Option<Label>, SessionError> {
        let Some((_, row)) = self.row() else { return Ok(None) };
        let labels = self.session.database().view().labels_of(row.trajectory)?;
        let own = |label: &Label| {
            label.target == target(&row) && label.name == self.name && label.judge == self.judge
        };
        Ok(labels.into_iter().map(|(_, label)| label).rfind(own))
    }

    /// Gives the row a label, stores it, and goes to the next row.
    ///
    /// # Errors
    /// A value outside of 0 to 1; what the disk says. The row is asked about still.
    pub fn give(&mut self, value: f64, rationale: Option<String>) -> Result<(), SessionError> {
        if !(0.0..=1.0).contains(&value) {
            let message = format!("expected a value from 0 to 1, found {value}");
            return Err(SessionError::mistake("label-value", message));
        }
        let Some((_, row)) = self.row() else { return Ok(()) };
        let label = Label {
            target: target(&row),
            name: self.name.clone(),
            judge: self.judge.clone(),
            value,
            raw: None,
            verdict: None,
            rationale,
            run_id: None,
        };
        let fact = Fact { trajectory: row.trajectory, label };
        let judges = self.new_judge.as_slice();
        self.session.database().store().label(&[fact], judges, Durability::Now)?;
        self.new_judge = None;
        self.rows[self.at].1 = State::Given;
        self.history.retain(|given| *given != self.at);
        self.history.push(self.at);
        self.go_on();
        Ok(())
    }

    /// Leaves the row as it is and goes to the next one.
    pub fn skip(&mut self) {
        if let Some((_, state)) = self.rows.get_mut(self.at) {
            if *state == State::Open {
                *state = State::Skipped;
            }
            self.go_on();
        }
    }

    /// Goes back to the row that was labelled last: labels are only added, so the next value
    /// given there takes the place of the last one. Returns false if there is none.
    pub fn undo(&mut self) -> bool {
        let Some(last) = self.history.pop() else { return false };
        self.at = last;
        true
    }

    fn go_on(&mut self) {
        let open = self.rows.iter().position(|(_, state)| *state == State::Open);
        self.at = open.unwrap_or(self.rows.len());
    }
}
