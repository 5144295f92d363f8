//! Import: records of a file become trajectories and labels, batch by batch.

use std::ops::ControlFlow;

use super::DbError;
use super::database::Database;
use super::restoring::Restoring;
use crate::codec::DatasetRecord;
use crate::diag::{KeptMemory, hexadecimal};
use crate::exchange::{BadRecord, Imported, LabelRecord, Place, Reader, Record};
use crate::model::{Judge, Label};
use crate::store::{Appended, Durability, Fact, Incoming, StoreError, View};

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Trajectories stored.
    pub trajectories: u64,
    /// Their steps.
    pub steps: u64,
    /// Their tool calls.
    pub tool_calls: u64,
    /// Labels stored.
    pub labels: u64,
    /// Trajectories that were there already with the same content.
    pub unchanged: u64,
    /// Labels that were there already.
    pub labels_unchanged: u64,
    /// Records that could not be read.
    pub skipped: u64,
    /// Trajectories whose id is taken by other content.
    pub conflicts: u64,
    /// Datasets saved.
    pub datasets: u64,
    /// The text that was read, in bytes, before compression.
    pub bytes: u64,
}

impl ImportReport {
    /// Adds what another import did.
    pub fn add(&mut self, other: &ImportReport) {
        self.trajectories += other.trajectories;
        self.steps += other.steps;
        self.tool_calls += other.tool_calls;
        self.labels += other.labels;
        self.unchanged += other.unchanged;
        self.labels_unchanged += other.labels_unchanged;
        self.skipped += other.skipped;
        self.conflicts += other.conflicts;
        self.datasets += other.datasets;
        self.bytes += other.bytes;
    }
}

/// Something the user must hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incident {
    /// A record that could not be read; it was skipped.
    Bad(BadRecord),
    /// A trajectory whose source and id are taken by other content; it was skipped.
    Conflict {
        /// Where it stands.
        place: Place,
        /// Its source.
        source: String,
        /// Its id.
        id: String,
    },
}

/// What is told while an import runs.
pub enum ImportEvent<'a> {
    /// A record was skipped.
    Incident(&'a Incident),
    /// A commit is done; this is the report so far.
    Committed(&'a ImportReport),
    /// A dataset is there with the hash that the file gives.
    Dataset {
        /// The dataset.
        record: &'a DatasetRecord,
        /// Whether it was not there before.
        is_new: bool,
    },
}

/// Watches an import; `Break` ends it after the commit at hand.
pub type ImportObserver<'a> = dyn FnMut(ImportEvent<'_>) -> ControlFlow<()> + 'a;

/// Imports all records of `reader`. With `strict` the first bad record or conflict ends the
/// import with what came before it stored. What is there already changes nothing.
///
/// # Errors
/// What reader and store say; commits before the error stay.
pub fn import(
    database: &Database,
    reader: Reader,
    strict: bool,
    observer: &mut ImportObserver<'_>,
) -> Result<ImportReport, DbError> {
    let _kept = KeptMemory::hold();
    let report = ImportReport::default();
    let restoring = Restoring::default();
    let mut import = Import { database, strict, observer, report, restoring };
    let ended = import.run(reader);
    // What came before an error or a stop is good and stays.
    database.store().settle()?;
    ended.map(|()| import.report)
}

impl Import<'_, '_> {
    fn run(&mut self, reader: Reader) -> Result<(), DbError> {
        let mut pending = Pending::default();
        let commit_bytes = self.database.store().commit_bytes();
        for batch in reader {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    let _ends_anyway = self.commit(&mut pending)?;
                    return Err(error.into());
                }
            };
            pending.bytes += batch.bytes;
            self.report.bytes += batch.bytes as u64;
            for record in batch.records {
                if self.take(record, &mut pending)?.is_break() {
                    let _ends_anyway = self.commit(&mut pending)?;
                    return Ok(());
                }
            }
            if pending.bytes >= commit_bytes && self.commit(&mut pending)?.is_break() {
                return Ok(());
            }
        }
        match self.commit(&mut pending)? {
            ControlFlow::Break(()) => Ok(()),
            ControlFlow::Continue(()) => self.datasets(),
        }
    }

    /// Saves the datasets of the file.
    fn datasets(&mut self) -> Result<(), DbError> {
        let Import { database, observer, report, restoring, .. } = self;
        std::mem::take(restoring).finish(database, &mut |record, is_new| {
            report.datasets += u64::from(is_new);
            // Nothing is left to be stopped.
            let _ends_anyway = observer(ImportEvent::Dataset { record, is_new });
        })
    }
}

/// What was read and is not yet committed.
#[derive(Default)]
struct Pending {
    records: Vec<Imported>,
    judges: Vec<Judge>,
    /// The length of their text.
    bytes: usize,
}

struct Import<'a, 'b> {
    database: &'a Database,
    strict: bool,
    observer: &'a mut ImportObserver<'b>,
    report: ImportReport,
    restoring: Restoring,
}

impl Import<'_, '_> {
    fn take(
        &mut self,
        record: Result<Record, BadRecord>,
        pending: &mut Pending,
    ) -> Result<ControlFlow<()>, DbError> {
        match record {
            Err(bad) => Ok(self.incident(Incident::Bad(bad))),
            Ok(Record::Judge(judge)) => {
                add_judges(&mut pending.judges, vec![judge]);
                Ok(ControlFlow::Continue(()))
            }
            Ok(Record::Trajectory(mut imported)) => {
                add_judges(&mut pending.judges, std::mem::take(&mut imported.judges));
                if let Some(message) = imported.labels.iter().find_map(unfit) {
                    let field = Some("labels".to_owned());
                    let bad = BadRecord { place: imported.place, field, message };
                    return Ok(self.incident(Incident::Bad(bad)));
                }
                pending.records.push(*imported);
                Ok(ControlFlow::Continue(()))
            }
            Ok(Record::Labels(labels)) => {
                // They may speak of a trajectory that was read just before them.
                if !pending.records.is_empty() && self.commit(pending)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.label(*labels)
            }
            Ok(Record::Dataset(manifest)) => {
                self.restoring.begin(self.database, *manifest)?;
                Ok(ControlFlow::Continue(()))
            }
            Ok(Record::DatasetRows(rows)) => {
                if !pending.records.is_empty() && self.commit(pending)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.restoring.take(&self.database.view(), &rows)?;
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    fn incident(&mut self, incident: Incident) -> ControlFlow<()> {
        match incident {
            Incident::Bad(_) => self.report.skipped += 1,
            Incident::Conflict { .. } => self.report.conflicts += 1,
        }
        let told = (self.observer)(ImportEvent::Incident(&incident));
        if self.strict { ControlFlow::Break(()) } else { told }
    }

    /// Stores labels of a trajectory that is in the store.
    fn label(&mut self, record: LabelRecord) -> Result<ControlFlow<()>, DbError> {
        let view = self.database.view();
        let resolved = match find(&view, &record)? {
            Err(message) => Err(message),
            Ok(ordinal) => {
                let trajectory = view.trajectories(&[ordinal])?.pop();
                let labels = record.labels.into_iter().map(|l| match &trajectory {
                    Some(t) => l.resolve(t).and_then(|l| unfit(&l).map_or(Ok(l), Err)),
                    None => Err(format!("trajectory {ordinal} is gone")),
                });
                labels.collect::<Result<Vec<Label>, String>>().map(|labels| (ordinal, labels))
            }
        };
        let (trajectory, labels) = match resolved {
            Ok(found) => found,
            Err(message) => {
                let bad = BadRecord { place: record.place, field: None, message };
                return Ok(self.incident(Incident::Bad(bad)));
            }
        };
        let facts: Vec<Fact> = labels.into_iter().map(|label| Fact { trajectory, label }).collect();
        let report = self.database.store().label(&facts, &record.judges, Durability::Later)?;
        self.report.labels += report.added;
        self.report.labels_unchanged += report.same;
        Ok((self.observer)(ImportEvent::Committed(&self.report)))
    }

    /// Stores what is pending in one commit.
    fn commit(&mut self, pending: &mut Pending) -> Result<ControlFlow<()>, DbError> {
        let Pending { records, judges, bytes: _ } = std::mem::take(pending);
        if records.is_empty() && judges.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let (places, incoming): (Vec<Place>, Vec<Incoming>) =
            records.into_iter().map(incoming).unzip();
        let (outcome, labels) =
            self.database.store().append(&incoming, &judges, Durability::Later)?;
        self.report.labels += labels.added;
        self.report.labels_unchanged += labels.same;
        let mut stop = false;
        for ((appended, place), new) in outcome.iter().zip(places).zip(&incoming) {
            match appended {
                Appended::Stored(_) => {
                    self.report.trajectories += 1;
                    self.report.steps += new.trajectory.steps.len() as u64;
                    self.report.tool_calls += new.trajectory.n_tool_calls();
                }
                Appended::Same(_) => self.report.unchanged += 1,
                Appended::Conflict(_) => {
                    let (source, id) = (new.trajectory.source.clone(), new.trajectory.id.clone());
                    stop |= self.incident(Incident::Conflict { place, source, id }).is_break();
                }
            }
        }
        // Freeing so many texts takes a while, and nobody waits for it.
        rayon::spawn(move || drop(incoming));
        let told = (self.observer)(ImportEvent::Committed(&self.report));
        Ok(if stop { ControlFlow::Break(()) } else { told })
    }
}

/// Returns the record as the store takes it: with a name made of its content where the source
/// gives none.
fn incoming(imported: Imported) -> (Place, Incoming) {
    let Imported { place, mut trajectory, content_hash, labels, .. } = imported;
    if trajectory.id.is_empty() {
        trajectory.id = hexadecimal(&content_hash[..16]);
    }
    (place, Incoming { trajectory, content_hash, labels })
}

fn add_judges(judges: &mut Vec<Judge>, more: Vec<Judge>) {
    for judge in more {
        if !judges.contains(&judge) {
            judges.push(judge);
        }
    }
}

/// Returns what is wrong with a label's value, if anything is.
fn unfit(label: &Label) -> Option<String> {
    if !label.value.is_finite() {
        return Some(format!("label '{}' is {}; expected a number", label.name, label.value));
    }
    let verdict = label.name.is_verdict() && !(0.0..=1.0).contains(&label.value);
    verdict.then(|| format!("label '{}' is {}; expected 0 to 1", label.name, label.value))
}

/// Finds the trajectory that labels speak of: in the source they name, else wherever its id is.
fn find(view: &View, record: &LabelRecord) -> Result<Result<u64, String>, StoreError> {
    if let Some(source) = &record.source
        && let Some((ordinal, _)) = view.find(source, &record.id)?
    {
        return Ok(Ok(ordinal));
    }
    let found = view.find_in_any_source(&record.id)?;
    let id = &record.id;
    Ok(match found.as_slice() {
        [(_, ordinal)] => Ok(*ordinal),
        [] => Err(format!("no trajectory '{id}' is stored; import the trajectories first")),
        several => {
            let sources: Vec<&str> = several.iter().map(|(source, _)| source.as_str()).collect();
            let sources = sources.join(", ");
            Err(format!("trajectory '{id}' is in several sources ({sources}); give --source"))
        }
    })
}
