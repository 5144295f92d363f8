//! `VERIFY DATASET`: whether a dataset is what was saved, and whether its statement gives it again.
//!
//! ```text
//!   pinned content       every trajectory is read; its content has the hash that was saved
//!   hash over all rows   is computed again
//!   statement            is run again on the store as it was at the dataset's sequence: rows,
//!                        names, labels and chosen judges of then; runs, metrics and datasets are
//!                        those of now, and a dataset of another database has no past here
//! ```

use super::datasets::{differing, names};
use super::error::SessionError;
use super::host::PROGRAM_VERSION;
use super::listing::list;
use super::select::select;
use super::statement::{Outcome, Session, Sink};
use crate::codec::{DatasetRecord, DatasetRow};
use crate::db::{BrokenPin, ChangedRow, DbError, Difference, dataset_hash, pin};
use crate::diag::hexadecimal;
use crate::query::Scope;
use crate::query::parameters::values_behind;
use crate::query::syntax::{self, Literal, QueryStatement, StatementKind, Then};
use crate::store::View;

/// Rows that differ and are listed; the rest is counted.
const LISTED: usize = 5;

/// What became of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The dataset.
    pub dataset: String,
    /// Whether every trajectory it pins is stored as it was.
    pub content_is_same: bool,
    /// Whether the hash over all rows is the one it was saved with.
    pub hash_is_same: bool,
    /// What its statement gave.
    pub rerun: Rerun,
}

/// What a dataset's statement gave when it was run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rerun {
    /// The same hash, as of its sequence.
    Same,
    /// Something else, as of its sequence.
    Differs,
    /// It was not run as of its sequence, for this reason; nothing follows from it.
    NotCompared(String),
}

impl Verified {
    /// Whether anything is not what was saved.
    pub fn differs(&self) -> bool {
        !self.content_is_same || !self.hash_is_same || self.rerun == Rerun::Differs
    }
}

/// Verifies datasets, a line a check.
pub(super) fn verify(
    session: &Session,
    datasets: Vec<DatasetRecord>,
    sink: &mut dyn Sink,
) -> Result<Outcome, SessionError> {
    let mut lines = Vec::new();
    let mut verified = Vec::new();
    for dataset in &datasets {
        let mut verifier = Verifier { session, dataset, lines: &mut lines };
        verified.push(verifier.verify()?);
    }
    list(sink, ["dataset", "check", "result", "detail"], lines)?;
    Ok(Outcome::Verified(verified))
}

struct Verifier<'a> {
    session: &'a Session,
    dataset: &'a DatasetRecord,
    lines: &'a mut Vec<[String; 4]>,
}

/// What a statement gave, and what it was run on.
struct Again {
    hash: [u8; 32],
    rows: Vec<DatasetRow>,
    undecided: u64,
    present: Vec<&'static str>,
}

const SAME: &str = "same";
const DIFFERS: &str = "differs";

impl Verifier<'_> {
    fn line(&mut self, check: &str, result: &str, detail: impl Into<String>) {
        let name = self.dataset.name.clone();
        self.lines.push([name, check.to_owned(), result.to_owned(), detail.into()]);
    }

    fn verify(&mut self) -> Result<Verified, SessionError> {
        let database = self.session.database();
        let view = database.view();
        let rows = database.store().dataset_rows(&self.dataset.name)?;
        let content_is_same = self.content(&view, &rows)?;
        let hash_is_same = self.hash(&view, &rows)?;
        let rerun = self.statement(&view, rows)?;
        let dataset = self.dataset.name.clone();
        Ok(Verified { dataset, content_is_same, hash_is_same, rerun })
    }

    fn content(&mut self, view: &View, rows: &[DatasetRow]) -> Result<bool, SessionError> {
        const CHECK: &str = "pinned content";
        let cancel = self.session.cancel();
        let mut go_on = || !cancel.is_cancelled();
        let report = match self.session.database().check_pins(view, rows, &mut go_on) {
            Err(DbError::Stopped) => return Err(SessionError::Cancelled),
            report => report?,
        };
        for BrokenPin { source, id, what } in &report.described {
            let of = [source, id].map(|name| name.as_deref().unwrap_or("?")).join("/");
            let detail = if id.is_some() { format!("{of}: {what}") } else { what.clone() };
            self.line(CHECK, DIFFERS, detail);
        }
        let described = report.described.len() as u64;
        if report.broken > described {
            self.line(CHECK, DIFFERS, format!("{} more trajectories", report.broken - described));
        }
        if report.broken == 0 {
            let detail = format!("{} trajectories read", report.trajectories);
            self.line(CHECK, SAME, detail);
        }
        Ok(report.broken == 0)
    }

    fn hash(&mut self, view: &View, rows: &[DatasetRow]) -> Result<bool, SessionError> {
        const CHECK: &str = "hash over all rows";
        let saved = hexadecimal(&self.dataset.hash);
        if rows.len() as u64 != self.dataset.rows {
            let detail = format!("{} of {} rows are there", rows.len(), self.dataset.rows);
            self.line(CHECK, DIFFERS, detail);
            return Ok(false);
        }
        match dataset_hash(view, rows) {
            Ok(hash) if hash == self.dataset.hash => {
                self.line(CHECK, SAME, saved);
                Ok(true)
            }
            Ok(hash) => {
                let detail = format!("{}, saved with {saved}", hexadecimal(&hash));
                self.line(CHECK, DIFFERS, detail);
                Ok(false)
            }
            Err(error) => {
                self.line(CHECK, DIFFERS, error.to_string());
                Ok(false)
            }
        }
    }

    /// Runs the statement again and compares what it gives with what was saved.
    fn statement(&mut self, now: &View, saved: Vec<DatasetRow>) -> Result<Rerun, SessionError> {
        const CHECK: &str = "statement run again";
        let not_compared = self.not_compared();
        let view = match (&not_compared, &self.dataset.horizon) {
            (None, Some(horizon)) => match now.as_of(self.dataset.sequence, horizon) {
                Ok(view) => view,
                Err(error) => {
                    self.line(CHECK, DIFFERS, error.to_string());
                    return Ok(Rerun::Differs);
                }
            },
            _ => self.present(now)?,
        };
        let again = match self.again(&view) {
            Ok(again) => again,
            Err(SessionError::Cancelled) => return Err(SessionError::Cancelled),
            Err(error) => {
                let reason = format!("it cannot be run: {error}");
                self.line(CHECK, "not run", reason.clone());
                return Ok(Rerun::NotCompared(reason));
            }
        };
        let is_same = again.hash == self.dataset.hash;
        match (is_same, not_compared) {
            (true, None) => {
                let mut detail = format!("as of sequence {}: same hash again", view.sequence());
                if !again.present.is_empty() {
                    let tables = again.present.join(", ");
                    detail.push_str(&format!("; {tables} read as now"));
                }
                self.line(CHECK, SAME, detail);
                Ok(Rerun::Same)
            }
            (false, None) => {
                self.differing(CHECK, &view, saved, again)?;
                Ok(Rerun::Differs)
            }
            (is_same, Some(reason)) => {
                let now = match is_same {
                    true => "on the database as it is now it gives the same hash",
                    false => "on the database as it is now it gives other rows",
                };
                self.line(CHECK, "not compared", format!("{reason}; {now}"));
                Ok(Rerun::NotCompared(reason))
            }
        }
    }

    /// Says why the store cannot be read as it was when the dataset was saved, if it cannot.
    fn not_compared(&self) -> Option<String> {
        let own = self.session.database().store().identity();
        match (self.dataset.origin, &self.dataset.horizon) {
            (Some(origin), _) if origin != own => {
                Some("it was saved in another database, whose other rows are not here".to_owned())
            }
            (Some(_), _) => {
                Some("it came back from a file, which does not say how far this went".to_owned())
            }
            (None, None) => {
                Some("an earlier version saved it, and did not note how far this went".to_owned())
            }
            (None, Some(_)) => None,
        }
    }

    /// Returns the store as it is now, where bare names of labels mean the judges that the dataset
    /// used.
    fn present(&self, now: &View) -> Result<View, SessionError> {
        let mut horizon = now.horizon();
        for label in &self.dataset.judges {
            let Some((name, judge)) = label.split_once('@') else { continue };
            let of_name = |other: &&String| other.split_once('@').is_some_and(|(n, _)| n == name);
            if self.dataset.judges.iter().filter(of_name).count() == 1 {
                horizon.default_judges.retain(|(known, _)| known != name);
                horizon.default_judges.push((name.to_owned(), judge.to_owned()));
            }
        }
        Ok(now.as_of(now.sequence(), &horizon)?)
    }

    fn again(&self, view: &View) -> Result<Again, SessionError> {
        let session = self.session;
        let text = self.dataset.statement.as_str();
        let catalog = session.engine().catalog(view, text);
        let mistake = |diagnostic| SessionError::Mistake { diagnostic, text: text.to_owned() };
        let statements = syntax::parse(text, &catalog).map_err(mistake)?;
        let statement = statements.first();
        let query = statement.and_then(|statement| match &statement.kind {
            StatementKind::Query(query) => Some(query),
            _ => None,
        });
        let Some((query, statement)) = query.zip(statement) else {
            return Err(SessionError::mistake("dataset", "its statement is no query"));
        };
        let parameters = values_behind(&text[statement.span.end..]);
        let (database, cancel) = (session.database(), session.cancel());
        let scope = Scope { database, view, cancel, text, parameters: &parameters };
        let selection = select(session, &scope, query, reward(query))?;
        let rows = pin(view, &selection.rows)?;
        let hash = dataset_hash(view, &rows)?;
        let (undecided, present) = (selection.undecided, selection.present);
        Ok(Again { hash, rows, undecided, present })
    }

    /// Says what differs and, as far as it can be found, why.
    fn differing(
        &mut self,
        check: &str,
        view: &View,
        mut saved: Vec<DatasetRow>,
        mut again: Again,
    ) -> Result<(), SessionError> {
        let mut listed: Vec<ChangedRow> = Vec::new();
        let found = differing(self.session, &mut saved, &mut again.rows, &mut |row| {
            if listed.len() < LISTED {
                listed.push(row);
            }
            Ok(())
        })?;
        let reason = self.reason(&again);
        let told = match found.is_none() {
            true => "the same rows in another order".to_owned(),
            false => counts(&found),
        };
        let detail = format!("as of sequence {}: {told}; {reason}", view.sequence());
        self.line(check, DIFFERS, detail);
        if again.undecided != self.dataset.undecided {
            let (then, now) = (self.dataset.undecided, again.undecided);
            self.line(check, DIFFERS, format!("undecided trajectories: {then} then, {now} now"));
        }
        let names = names(view, listed.iter().map(|row| row.trajectory))?;
        for row in &listed {
            let of = match names.get(&row.trajectory) {
                Some((source, id)) => format!("{source}/{id}"),
                None => format!("trajectory {}", row.trajectory),
            };
            let mut detail = format!("{of} step {} {}", row.step, row.change.as_str());
            if row.first_reward != row.second_reward {
                let told =
                    |reward: Option<f64>| reward.map_or("none".to_owned(), |r| r.to_string());
                let (then, now) = (told(row.first_reward), told(row.second_reward));
                detail.push_str(&format!(": reward {then} then, {now} now"));
            }
            self.line(check, DIFFERS, detail);
        }
        Ok(())
    }

    fn reason(&self, again: &Again) -> String {
        let mut reasons = Vec::new();
        if let Some(program) = self.dataset.program.as_ref().filter(|p| *p != PROGRAM_VERSION) {
            reasons.push(format!("version {program} saved it, this is {PROGRAM_VERSION}"));
        }
        if !again.present.is_empty() {
            reasons.push(format!("{} are read as they are now", again.present.join(", ")));
        }
        match reasons.is_empty() {
            true => "labels, judges and program are those of then: a function such as random() or \
                     now() gives other values each time"
                .to_owned(),
            false => reasons.join("; "),
        }
    }
}

/// Returns the expression of the rewards that a selection was saved with.
fn reward(query: &QueryStatement) -> Option<&str> {
    let Some(Then::Train { options, .. }) = &query.then else { return None };
    let option = options.iter().find(|option| option.name.text == "reward")?;
    match &option.value {
        Literal::Text(text) => Some(text),
        _ => None,
    }
}

/// Returns the rows of each kind of change, as in "3 added, 2 removed, 120 the same".
pub fn counts(found: &Difference) -> String {
    let kinds = [
        (found.added, "added"),
        (found.removed, "removed"),
        (found.relabelled, "relabelled"),
        (found.changed, "changed"),
    ];
    let some = kinds.into_iter().filter(|(count, _)| *count > 0);
    let told = some.map(|(count, what)| format!("{count} {what}"));
    let all: Vec<String> = told.chain([format!("{} the same", found.same)]).collect();
    all.join(", ")
}
